using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>Packets the kernel drops: where, why, and of which flow.</summary>
/// <remarks>Makes a stopped probe that shares its reading thread with the other probes of the package.</remarks>
public sealed unsafe class PacketLossProbe(EbpfPrograms programs, IOptions<PacketLossOptions>? options = null, TimeProvider? clock = null)
    : EbpfProbe<PacketLossRecord, PacketLossEvent, PacketLossOptions>(About, programs, options?.Value, clock)
{
    internal const string ReasonAttribute = "drop.reason";
    internal const string PartAttribute = "drop.part";
    private const int ReasonBits = 256; // PACKETLOSS_REASONS, bpf/packetloss.h
    private const int PlacesPerNamespace = 8;

    private KernelSymbols _symbols = new();
    private PacketLossCounts? _counts;
    private Dictionary<long, string> _reasons = [];
    private PacketLossSettings* _settings;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "packetloss",
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.Medium,
        Purpose = "Packets the kernel drops: where in the kernel, for which reason, and of which flow.",
        Finds =
        [
            "Firewall rules and network policies that drop.",
            "Full socket buffers, queues and backlogs.",
            "Packets without a route, a neighbour or a listener; broken ones; those whose time to live is over.",
        ],
        KernelSources = ["tracepoint skb:kfree_skb (with a reason: 5.17; with the receiving socket: 6.11)"],
        Requirements =
        [
            "CAP_BPF and CAP_PERFMON (before 5.8: CAP_SYS_ADMIN); CAP_SYSLOG, or kernel.kptr_restrict at 0, for the names of functions.",
            "A kernel with BTF, 5.8 or later.",
        ],
        Attributes =
        [
            new(ReasonAttribute, "the kernel's reason without SKB_DROP_REASON_, in lower case; none before 5.17"),
            new(PartAttribute, "the part of the kernel that dropped: netfilter, tcp, udp, icmp, ip, qdisc, traffic control, device, bridge, neighbour, socket, xfrm, bpf, sctp, other; unknown where symbols are hidden"),
        ],
        Metrics = PacketLossRecord.Metrics.Describe(),
        Events = [new(nameof(PacketLossEvent), "A packet was dropped: reason, function, part, device, flow in socket view, length; with Stacks the kernel's stack.")],
        Options =
        [
            .. EbpfOptionDescriptions.OfProbe,
            new(nameof(PacketLossOptions.NormalReasons), "list of reasons", string.Join(", ", PacketLossOptions.DefaultNormalReasons), "Reasons with which a packet ends that is not lost; neither counted nor told. Setting it replaces the list."),
            new(nameof(PacketLossOptions.Stacks), "boolean", "false", "Whether events carry the kernel's stack (up to 32 functions)."),
        ],
        Notes =
        [
            "What the kernel calls consumed (it went where it should) does not pass here. NOT_SPECIFIED is a place in the kernel that gives no reason: mostly a drop, sometimes a packet that was done with.",
            "Before 5.17 there are no reasons, so packets that are not lost cannot be told from those that are.",
            "A packet to a group or to all that nobody here listens for (NOT_SPECIFIED, IP_INNOROUTES, UNHANDLED_PROTO) is neither counted nor told.",
            "A packet that leaves a pod and is dropped on the host is counted in the host's namespace: where it was, not whose it was.",
            "A raw socket gets a copy: the kernel drops the echo reply that ping has read through one for want of a socket of its own (NO_SOCKET in icmp).",
            "Of a datagram whose fragments do not all come in time, only the first dropped fragment has a namespace: the others wait in the kernel without their device. They are in the row of the node, and not seen where only some namespaces are looked at.",
            "What a network card drops never reaches the kernel: see netdev.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<PacketLossRecord> Metrics => PacketLossRecord.Metrics;

    private protected override IReadOnlyList<Hook> Hooks { get; } =
    [
        new("drop",
            new HookVariant("tp_btf", ["drop_with_receiver"], static k => k.Tracepoint("kfree_skb", 4)),
            new HookVariant("tp_btf", ["drop_with_reason"], static k => k.Tracepoint("kfree_skb", 3, 3)),
            new HookVariant("tp_btf", ["drop"], static k => k.Tracepoint("kfree_skb", 2, 2))),
    ];

    private protected override (string Map, uint Entries)[] Sizes => [("counts", (uint)Programs.Options.MaxNamespaces * PlacesPerNamespace)];

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<PacketLossProbe> StartNewAsync(EbpfOptions? options = null, PacketLossOptions? packetloss = null, CancellationToken cancellationToken = default) =>
        EbpfPrograms.StartAsync(options, programs =>
        {
            var probe = new PacketLossProbe(programs);
            if (packetloss is not null) probe.Configure(packetloss);
            return probe;
        }, cancellationToken);

    private protected override void Loaded(BpfObject loaded)
    {
        Dictionary<long, string>? names = Programs.Features.Btf?.Enumerators("skb_drop_reason");
        _reasons = KernelNames.Of(KernelNames.Of(names, "SKB_DROP_REASON_"), "SKB_");
        _counts = new PacketLossCounts(loaded.Map("counts"), Programs.Alive, IsWanted, ReasonOf, address => _symbols.Find(address));
        _settings = loaded.Data<PacketLossSettings>(".data.packetloss");
    }

    private protected override void Apply(Span<ulong> thresholdNs)
    {
        _settings->Stacks = Options.Stacks ? 1u : 0;
        Write(ref _settings->Normal, Options.NormalReasons.Count > 0 ? Options.NormalReasons : PacketLossOptions.DefaultNormalReasons);
        Write(ref _settings->Stray, PacketLossOptions.StrayReasons);
    }

    private void Write(ref PacketLossSettings.ReasonBits bits, IEnumerable<string> reasons)
    {
        Span<ulong> words = stackalloc ulong[ReasonBits / 64];
        words.Clear();
        foreach (string reason in reasons)
        {
            foreach ((long number, string name) in _reasons)
                if (number is >= 0 and < ReasonBits && name.Equals(reason, StringComparison.OrdinalIgnoreCase)) words[(int)number / 64] |= 1ul << ((int)number % 64);
        }
        words.CopyTo(bits);
    }

    private protected override void Unloading()
    {
        _counts?.Dispose();
        _counts = null;
        _settings = null;
        _symbols = new KernelSymbols(); // a stopped probe keeps none
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<PacketLossRecord> batch)
    {
        NoteProblems(batch);
        _counts!.Read(Programs.Namespaces.Current, batch);
        if (_symbols.Problem is { } problem) batch.Skip(SkipReason.Denied, problem);
    }

    private protected override PacketLossEvent? Understand(ReadOnlySpan<byte> record)
    {
        if (!MemoryMarshal.TryRead(record, out RawPacketLoss raw)) return null;
        ReadOnlySpan<ulong> stack = MemoryMarshal.Cast<byte, ulong>(record[Marshal.SizeOf<RawPacketLoss>()..]);
        if (raw.Frames > stack.Length) return null;
        DateTimeOffset time = TimeOf(raw.Head.Time);
        KernelSymbol place = _symbols.Find(raw.Location);
        var functions = new string[raw.Frames];
        for (int i = 0; i < functions.Length; i++) functions[i] = _symbols.Find(stack[i]).ToString();
        return new PacketLossEvent
        {
            Probe = About.Name,
            Timestamp = time,
            Origin = Programs.OriginOf(in raw.Head, time),
            Reason = ReasonOf(raw.Reason),
            Location = place.Name is null ? null : place.ToString(),
            Part = KernelParts.Of(place.Name),
            Device = raw.DeviceIndex == 0 ? null : RawEvent.Text(raw.Device),
            Length = raw.Length,
            EtherType = raw.EtherType,
            IsSent = raw.Sent != 0,
            Stack = functions,
        };
    }

    // Subsystems number theirs in the upper half; their names are in tables the kernel does not show.
    private string? ReasonOf(uint reason) => _reasons.Count == 0 ? null
        : _reasons.TryGetValue(reason, out string? name) ? name
        : string.Create(CultureInfo.InvariantCulture, $"SUBSYSTEM_{reason >> 16}_{reason & 0xffff}");
}

/// <summary>Brings the program's counters, by namespace, reason and address, together into rows by namespace, reason and part of the kernel.</summary>
internal sealed class PacketLossCounts : IDisposable
{
    private readonly CountsMap<PacketLossKey> _map;
    private readonly AliveNamespaces _alive;
    private readonly NamespaceFates _fates;
    private readonly Action<AliveNamespaces, PacketLossCounts> _look;
    private readonly Procfs.PerNamespace<OfNamespace> _namespaces;
    private readonly Func<uint, bool> _isWanted;
    private readonly Func<uint, string?> _reason;
    private readonly Func<ulong, KernelSymbol> _symbol;
    private readonly Dictionary<uint, OfNamespace> _byInode = [];
    private readonly Dictionary<ulong, string> _parts = [];
    private readonly HashSet<NamespaceKey> _ended = [];
    private readonly Lock _gate = new();
    private IReadOnlyList<NetworkNamespace>? _snapshot;
    private ulong _lost;
    private ulong _nowhere;
    private bool _closed;

    internal PacketLossCounts(nint map, AliveNamespaces alive, Func<uint, bool> isWanted, Func<uint, string?> reason, Func<ulong, KernelSymbol> symbol)
    {
        _map = new CountsMap<PacketLossKey>(map);
        _alive = alive;
        _fates = new NamespaceFates(alive);
        _look = static (_, counts) => counts.Look();
        _isWanted = isWanted;
        _reason = reason;
        _symbol = symbol;
        _namespaces = new Procfs.PerNamespace<OfNamespace>(ns => new OfNamespace(this, ns));
        alive.Acquire();
    }

    /// <summary>Adds a row for each namespace that is wanted, and one for each reason and part it has lost packets for.</summary>
    internal void Read(IReadOnlyList<NetworkNamespace> snapshot, SampleBatch<PacketLossRecord> batch)
    {
        ReadOnlySpan<OfNamespace> all = _namespaces.For(snapshot);
        if (!ReferenceEquals(snapshot, _snapshot))
        {
            _byInode.Clear();
            foreach (OfNamespace ns in all) _byInode[ns.Namespace.Inode] = ns;
            _snapshot = snapshot;
        }
        foreach (OfNamespace ns in all) ns.Begin();
        lock (_gate)
        {
            _map.Read(); // first: what is counted after the look at the kernel's list may be for a namespace that was not in it
            _alive.Read(this, _look);
        }
        foreach (OfNamespace ns in all)
            if (_isWanted(ns.Namespace.Inode)) ns.Write(batch);
        if (_lost + _nowhere is var unattributed && unattributed > 0) batch.Add(SampleSubject.Node).Total = unattributed;
    }

    private void Look()
    {
        foreach (OfNamespace ns in _byInode.Values) ns.IsGone = _alive.Has(ns.Namespace.Inode) == false;
        _nowhere = 0;
        for (int i = 0; i < _map.Count; i++)
        {
            PacketLossKey key = _map.Keys[i];
            ReadOnlySpan<ulong> counts = _map.Sums(i);
            if (key.NetworkNamespace.Inode == 0)
            {
                _nowhere += counts[0]; // and stays: what is counted between reading and deleting would be lost
                continue;
            }
            bool isSeen = _byInode.TryGetValue(key.NetworkNamespace.Inode, out OfNamespace? ns);
            switch (_fates.Of(key.NetworkNamespace, isSeen))
            {
                case NamespaceFate.Take:
                    ns!.Add(key.Reason, PartOf(key.Location), counts[0], counts[1]);
                    break;
                case NamespaceFate.Node:
                    _lost += counts[0];
                    Delete(key);
                    break;
                case NamespaceFate.Drop:
                    Delete(key);
                    break;
            }
        }
        ForgetEnded();
    }

    // Others of the same namespace follow in the same look.
    private void Delete(PacketLossKey key)
    {
        _map.Delete(key);
        _ended.Add(key.NetworkNamespace);
    }

    private void ForgetEnded()
    {
        foreach (NamespaceKey key in _ended) _fates.Forget(key);
        _ended.Clear();
    }

    public void Dispose()
    {
        lock (_gate) _closed = true;
        _namespaces.Dispose();
        _alive.Release();
    }

    private string PartOf(ulong location)
    {
        if (_parts.TryGetValue(location, out string? part)) return part;
        return _parts[location] = KernelParts.Of(_symbol(location).Name);
    }

    private void Forget(uint inode)
    {
        lock (_gate)
        {
            if (_closed) return;
            _map.Read();
            _alive.Read((this, inode), static (alive, of) =>
            {
                foreach (PacketLossKey key in of.Item1._map.Keys)
                    if (key.NetworkNamespace.Inode == of.inode && alive.Has(key.NetworkNamespace) != true) of.Item1.Delete(key);
                of.Item1.ForgetEnded();
            });
        }
    }

    private sealed class OfNamespace(PacketLossCounts owner, NetworkNamespace ns) : IDisposable
    {
        private readonly Dictionary<(uint Reason, string Part), Row> _rows = [];
        private ulong _total;

        internal NetworkNamespace Namespace => ns;

        internal bool IsGone { get; set; }

        internal void Begin()
        {
            _total = 0;
            foreach (Row row in _rows.Values) row.Packets = row.Bytes = 0;
        }

        internal void Add(uint reason, string part, ulong packets, ulong bytes)
        {
            if (!_rows.TryGetValue((reason, part), out Row? row))
            {
                SampleAttribute where = new(PacketLossProbe.PartAttribute, part);
                row = new Row(owner._reason(reason) is { } name ? new SampleSubject(ns, new SampleAttribute(PacketLossProbe.ReasonAttribute, name.ToLowerInvariant()), where) : new SampleSubject(ns, where));
                _rows.Add((reason, part), row);
            }
            row.Packets += packets;
            row.Bytes += bytes;
            _total += packets;
        }

        internal void Write(SampleBatch<PacketLossRecord> batch)
        {
            if (IsGone || (_total == 0 && owner._map.Count >= owner._map.Room)) return; // nothing is known
            batch.Add(ns.Subject).Total = _total;
            foreach (Row row in _rows.Values)
            {
                ref PacketLossRecord record = ref batch.Add(row.Subject);
                record.Packets = row.Packets;
                record.Bytes = row.Bytes;
            }
        }

        public void Dispose() => owner.Forget(ns.Inode);

        private sealed class Row(SampleSubject subject)
        {
            internal SampleSubject Subject => subject;

            internal ulong Packets { get; set; }

            internal ulong Bytes { get; set; }
        }
    }
}
