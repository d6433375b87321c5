using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Loading;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>
/// Makes rows of what the programs count. The counters are read where they lie. A row that ends is first taken out of the programs' sight; what it has counted is taken, and its place given back, only
/// when none of them can still be adding to it. So nothing is lost, and nothing counts for two.
/// </summary>
internal sealed unsafe class FlowTable : IDisposable
{
    private const string Other = "other";
    private const string Unknown = "unknown";
    private const int Directions = 2; // FLOW_DIRECTIONS, bpf/flow.h
    private const int Transmit = 1;
    private static readonly TimeSpan LongestRun = TimeSpan.FromSeconds(1); // of a program, by far

    private readonly EbpfPrograms _programs;
    private readonly TimeProvider _clock;
    private readonly NamespaceFates _fates;
    private readonly CountsMap<FlowOtherKey> _others;
    private readonly Dictionary<NamespaceKey, Owner> _owners = [];
    private readonly List<Owner> _gone = []; // namespaces that have ended, while rows of theirs are being closed
    private readonly Dictionary<NetworkNamespace, Owner> _bound = [];
    private readonly Dictionary<uint, NetworkNamespace> _byInode = [];
    private readonly Action<AliveNamespaces, FlowTable> _judge;
    private readonly SampleSubject[] _nodeSubjects = [OtherSubject(null, 0), OtherSubject(null, 1)];
    private readonly Amount[] _node = new Amount[Directions];
    private readonly RawFlowRow* _rows;
    private readonly Place[] _places;
    private readonly int _flows;
    private readonly int _free;
    private readonly int _otherMap;
    private readonly bool _namesOwners;
    private IReadOnlyList<NetworkNamespace>? _snapshot;
    private Amount _ended;
    private ulong _endedRows;

    internal FlowTable(BpfObject loaded, EbpfPrograms programs, TimeProvider clock)
    {
        _programs = programs;
        _namesOwners = programs.Pods is not NoPodResolver;
        _clock = clock;
        _fates = new NamespaceFates(programs.Alive);
        _judge = static (_, table) => table.Judge();
        _rows = loaded.Elements<RawFlowRow>("rows", out int count);
        _places = new Place[count];
        _others = new CountsMap<FlowOtherKey>(loaded.Map("others"));
        _otherMap = Libbpf.MapDescriptor(loaded.Map("others"));
        _flows = Libbpf.MapDescriptor(loaded.Map("flows"));
        _free = Libbpf.MapDescriptor(loaded.Map("places"));
        for (uint place = 0; place < count; place++) GiveBack(place);
        programs.Alive.Acquire();
    }

    private enum PlaceState : byte
    {
        Free,
        Open,
        Closing,
    }

    public void Dispose() => _programs.Alive.Release();

    /// <summary>Adds a row for each pair of addresses, and one for each namespace that has any.</summary>
    internal void Read(SampleBatch<FlowRecord> batch, TimeSpan idleTimeout)
    {
        Follow();
        long now = _clock.GetTimestamp();
        DateTimeOffset time = _clock.GetUtcNow();
        foreach (Owner owner in _owners.Values) owner.HasOther = false;
        // First: what is counted after the look at the kernel's list may be for a namespace that was not in it.
        ReadOthers();
        for (int i = 0; i < _places.Length; i++)
            if (_places[i].State == PlaceState.Free && Volatile.Read(ref _rows[i].Used) != 0) Open(i, now);
        _programs.Alive.Read(this, _judge);
        for (int i = 0; i < _places.Length; i++)
            if (_places[i].State != PlaceState.Free) Visit(batch, i, now, time, idleTimeout);
        foreach (Owner owner in _owners.Values)
            if (owner.Fate == NamespaceFate.Take) Add(batch, owner);
        for (int i = _gone.Count - 1; i >= 0; i--)
        {
            if (_gone[i].Places > 0) continue;
            _endedRows += _gone[i].EndedRows;
            _ended += _gone[i].Ended;
            _gone.RemoveAt(i);
        }
        for (int direction = 0; direction < Directions; direction++)
            if (_node[direction].Packets > 0) Add(batch, _nodeSubjects[direction], _node[direction]);
        if (_endedRows > 0 || _ended.Packets > 0) AddTotals(ref batch.Add(SampleSubject.Node), 0, _endedRows, _ended);
    }

    private static void Add(SampleBatch<FlowRecord> batch, SampleSubject subject, Amount amount)
    {
        ref FlowRecord record = ref batch.Add(subject);
        record.Packets = amount.Packets;
        record.Bytes = amount.Bytes;
    }

    private static void Add(SampleBatch<FlowRecord> batch, Owner owner)
    {
        AddTotals(ref batch.Add(owner.Namespace!.Subject), owner.Open, owner.EndedRows, owner.Ended);
        if (!owner.HasOther) return;
        for (int direction = 0; direction < Directions; direction++)
            if (owner.Others[direction].Packets > 0) Add(batch, owner.OtherSubjects[direction] ??= OtherSubject(owner.Namespace, direction), owner.Others[direction]);
    }

    private static void AddTotals(ref FlowRecord record, int rows, ulong endedRows, Amount ended)
    {
        record.Rows = (ulong)rows;
        record.EndedRows = endedRows;
        record.EndedPackets = ended.Packets;
        record.EndedBytes = ended.Bytes;
    }

    private void Follow()
    {
        IReadOnlyList<NetworkNamespace> snapshot = _programs.Namespaces.Current;
        if (ReferenceEquals(snapshot, _snapshot)) return;
        _byInode.Clear();
        for (int i = 0; i < snapshot.Count; i++) _byInode[snapshot[i].Inode] = snapshot[i];
        _snapshot = snapshot;
    }

    private void ReadOthers()
    {
        _others.Read();
        for (int i = 0; i < _others.Count; i++)
        {
            FlowOtherKey key = _others.Keys[i];
            if (key.Direction >= Directions) continue;
            ReadOnlySpan<ulong> counts = _others.Sums(i); // struct flow_counts, bpf/flow.h
            Owner owner = OwnerOf(key.Namespace);
            owner.HasOther = true;
            owner.Others[key.Direction] = new Amount(counts[0], counts[1]);
        }
    }

    // Believed when the programs would find it by its key, too: a mark that is seen says nothing yet about what was written before it.
    private void Open(int i, long now)
    {
        RawFlowKey key = _rows[i].Key;
        uint place;
        if (Libbpf.Lookup(_flows, &key, &place) != 0 || place != i || key.Direction >= Directions) return;
        Owner owner = OwnerOf(key.Namespace);
        owner.Places++;
        owner.Open++;
        _places[i] = new Place { State = PlaceState.Open, Owner = owner, Key = key, Since = now, Remote = key.Flow.ToTuple()?.Destination ?? default };
    }

    private void Visit(SampleBatch<FlowRecord> batch, int i, long now, DateTimeOffset time, TimeSpan idleTimeout)
    {
        ref Place place = ref _places[i];
        Owner owner = place.Owner!;
        var amount = new Amount(Volatile.Read(ref _rows[i].Packets), Volatile.Read(ref _rows[i].Bytes));
        if (place.State == PlaceState.Closing)
        {
            if (_clock.GetElapsedTime(place.Since, now) >= LongestRun) Take(i, amount);
            return;
        }
        if (amount.Packets != place.Packets)
        {
            place.Packets = amount.Packets;
            place.Since = now;
        }
        else if (owner.Fate is NamespaceFate.Take or NamespaceFate.Wait && _clock.GetElapsedTime(place.Since, now) >= idleTimeout)
        {
            Close(ref place, now);
            return;
        }
        switch (owner.Fate)
        {
            case NamespaceFate.Take:
                if (TryName(ref place, owner.Namespace!, time)) Add(batch, place.Subject!, amount);
                else Close(ref place, now);
                break;
            case NamespaceFate.Drop or NamespaceFate.Node:
                Close(ref place, now);
                break;
        }
    }

    private void Close(ref Place place, long now)
    {
        RawFlowKey key = place.Key;
        _ = Libbpf.Delete(_flows, &key);
        place.State = PlaceState.Closing;
        place.Since = now;
        place.Subject = null;
        place.Owner!.Open--;
    }

    private void Take(int i, Amount amount)
    {
        Owner owner = _places[i].Owner!;
        if (owner.Fate == NamespaceFate.Node)
        {
            _node[_places[i].Key.Direction] += amount; // nobody has seen it yet
        }
        else if (owner.Fate == NamespaceFate.Drop)
        {
            _endedRows++;
            _ended += amount;
        }
        else
        {
            owner.EndedRows++;
            owner.Ended += amount;
        }
        owner.Places--;
        _places[i] = default;
        _rows[i].Packets = 0;
        _rows[i].Bytes = 0;
        Volatile.Write(ref _rows[i].Used, 0);
        GiveBack((uint)i);
    }

    // A queue has no keys.
    private void GiveBack(uint place)
    {
        int error = Libbpf.Update(_free, null, &place, 0);
        if (error < 0) throw new IOException($"A place for a flow cannot be given to the kernel: {Errors.Name(-error)}");
    }

    private Owner OwnerOf(NamespaceKey key)
    {
        if (_owners.TryGetValue(key, out Owner? owner)) return owner;
        owner = new Owner(key);
        _owners.Add(key, owner);
        return owner;
    }

    private void Judge()
    {
        foreach (Owner owner in _owners.Values) // to remove one is allowed meanwhile
        {
            _byInode.TryGetValue(owner.Key.Inode, out NetworkNamespace? ns);
            owner.Fate = _fates.Of(owner.Key, ns is not null);
            if (owner.Fate == NamespaceFate.Take) Bind(owner, ns!);
            if (owner.Namespace is { } bound && (owner.Fate == NamespaceFate.Node || bound.Ended.IsCancellationRequested)) owner.Fate = NamespaceFate.Drop; // it was seen
            if (owner.Fate is NamespaceFate.Drop or NamespaceFate.Node) End(owner);
        }
    }

    // Where the kernel does not tell which namespaces there are, a number may have been given out again: then the younger has it.
    private void Bind(Owner owner, NetworkNamespace ns)
    {
        if (ReferenceEquals(owner.Namespace, ns)) return;
        if (owner.Namespace is not null)
        {
            owner.Fate = NamespaceFate.Drop;
            return;
        }
        if (_bound.TryGetValue(ns, out Owner? other))
        {
            if (other.Key.Cookie > owner.Key.Cookie)
            {
                owner.Fate = NamespaceFate.Node;
                return;
            }
            other.Fate = NamespaceFate.Drop;
            End(other);
        }
        owner.Namespace = ns;
        _bound[ns] = owner;
    }

    // What is counted by its key from now on is another's. Its rows are closed in this sample.
    private void End(Owner owner)
    {
        _owners.Remove(owner.Key);
        _gone.Add(owner);
        _fates.Forget(owner.Key);
        if (owner.Namespace is { } ns && _bound.TryGetValue(ns, out Owner? bound) && ReferenceEquals(bound, owner)) _bound.Remove(ns);
        if (!owner.HasOther) return;
        for (uint direction = 0; direction < Directions; direction++)
        {
            var key = new FlowOtherKey { Namespace = owner.Key, Direction = direction };
            if (Libbpf.Delete(_otherMap, &key) != 0) continue;
            if (owner.Fate == NamespaceFate.Node) _node[direction] += owner.Others[direction];
            else _ended += owner.Others[direction]; // as it was shown until now
        }
    }

    /// <summary>
    /// Sees to it that the row names both ends as they are known now. Not, if the other end's address is somebody else's now:
    /// what was counted until then is not his.
    /// </summary>
    private bool TryName(ref Place place, NetworkNamespace ns, DateTimeOffset time)
    {
        if (!_namesOwners)
        {
            place.Subject ??= SubjectOf(ns, in place.Key, null);
            return true;
        }
        PeerIdentity? remote = place.Remote.IsLoopback ? null : _programs.Pods.ResolveAddress(in place.Remote, time);
        if (remote is not null && !ReferenceEquals(remote, place.RemoteOwner) && remote != place.RemoteOwner)
        {
            bool wasKnown = place.RemoteOwner is { Kind: not PeerKind.Outside };
            if (wasKnown && remote.Kind != PeerKind.Outside) return false;
            if (!wasKnown) (place.RemoteOwner, place.Subject) = (remote, null); // else it has ended: the last name stays
        }
        if (place.Subject is not null && place.Version == ns.Version) return true;
        place.Version = ns.Version;
        place.Subject = SubjectOf(ns, in place.Key, place.RemoteOwner);
        return true;
    }

    private SampleSubject SubjectOf(NetworkNamespace ns, in RawFlowKey key, PeerIdentity? remoteOwner)
    {
        FlowTuple? tuple = key.Flow.ToTuple();
        bool sent = key.Direction == Transmit;
        Endpoint local = tuple?.Source ?? default, remote = tuple?.Destination ?? default;
        Endpoint source = sent ? local : remote, destination = sent ? remote : local;
        var attributes = new List<SampleAttribute>
        {
            new(FlowProbe.SourceAttribute, source.Address.ToString(), "src"),
            new(FlowProbe.DestinationAttribute, destination.Address.ToString(), "dst"),
            new(AttributeNames.Transport, TransportOf(key.Flow.Protocol), "protocol"),
            DirectionOf(sent),
        };
        if (source.Port != 0 || destination.Port != 0)
        {
            attributes.Add(new SampleAttribute(FlowProbe.SourcePortAttribute, source.Port.ToString(CultureInfo.InvariantCulture), "sport"));
            attributes.Add(new SampleAttribute(FlowProbe.DestinationPortAttribute, destination.Port.ToString(CultureInfo.InvariantCulture), "dport"));
        }
        if (_namesOwners)
        {
            // Only sockets count: what the host's have is the node's.
            PeerIdentity? localOwner = PeerIdentity.Of(ns.Pod, _programs.Node)
                ?? (ns.IsHost && _programs.Node is { } node ? new PeerIdentity(PeerKind.Node, node, Node: node) : _programs.Pods.ResolveAddress(in local, _clock.GetUtcNow()));
            if (remote.IsLoopback) remoteOwner = localOwner;
            AddOwner(attributes, AttributeNames.Source, "src", sent ? localOwner : remoteOwner);
            AddOwner(attributes, AttributeNames.Destination, "dst", sent ? remoteOwner : localOwner);
        }
        return new SampleSubject(ns, [.. attributes]);
    }

    private static void AddOwner(List<SampleAttribute> attributes, string prefix, string upstream, PeerIdentity? owner)
    {
        attributes.Add(new SampleAttribute($"{prefix}.type", owner?.KindName ?? Unknown, $"{upstream}_type"));
        if (owner is null || owner.Kind == PeerKind.Outside) return;
        attributes.Add(new SampleAttribute($"{prefix}.name", owner.Name, owner.Kind == PeerKind.Pod ? $"{upstream}_pod" : null));
        if (owner.Namespace.Length > 0) attributes.Add(new SampleAttribute($"{prefix}.namespace", owner.Namespace, $"{upstream}_namespace"));
        if (owner.Node is { } node) attributes.Add(new SampleAttribute($"{prefix}.node.name", node, $"{upstream}_node"));
    }

    private static SampleSubject OtherSubject(NetworkNamespace? ns, int direction) =>
        new(ns, new SampleAttribute(FlowProbe.SourceAttribute, Other, "src"), new SampleAttribute(FlowProbe.DestinationAttribute, Other, "dst"),
            new SampleAttribute(AttributeNames.Transport, Other, "protocol"), DirectionOf(direction == Transmit));

    private static SampleAttribute DirectionOf(bool sent) => new(FlowProbe.DirectionAttribute, sent ? "transmit" : "receive");

    // include/uapi/linux/in.h
    private static string TransportOf(byte protocol) => protocol switch
    {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        58 => "icmpv6",
        132 => "sctp",
        136 => "udplite",
        _ => protocol.ToString(CultureInfo.InvariantCulture),
    };

    private readonly record struct Amount(ulong Packets, ulong Bytes)
    {
        public static Amount operator +(Amount a, Amount b) => new(a.Packets + b.Packets, a.Bytes + b.Bytes);
    }

    private struct Place
    {
        internal PlaceState State;
        internal Owner? Owner;
        internal RawFlowKey Key;
        internal Endpoint Remote;
        internal PeerIdentity? RemoteOwner;
        internal SampleSubject? Subject;
        internal int Version; // of the namespace, when the subject was made
        internal ulong Packets;
        internal long Since; // it last counted, or was closed
    }

    /// <summary>A network namespace for which there are rows.</summary>
    private sealed class Owner(NamespaceKey key)
    {
        internal NamespaceKey Key { get; } = key;

        internal NamespaceFate Fate { get; set; }

        internal NetworkNamespace? Namespace { get; set; }

        internal int Places { get; set; }

        internal int Open { get; set; }

        internal ulong EndedRows { get; set; }

        internal Amount Ended { get; set; }

        internal bool HasOther { get; set; }

        internal Amount[] Others { get; } = new Amount[Directions];

        internal SampleSubject?[] OtherSubjects { get; } = new SampleSubject?[Directions];
    }
}

/// <summary>struct flow_key, bpf/flow.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawFlowKey
{
    internal NamespaceKey Namespace;
    internal RawFlow Flow;
    internal uint Direction;
    private uint _pad;
}

/// <summary>struct flow_row, bpf/flow.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawFlowRow
{
    internal RawFlowKey Key;
    internal ulong Packets;
    internal ulong Bytes;
    internal uint Used;
    private uint _pad;
}

/// <summary>struct flow_other_key, bpf/flow.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FlowOtherKey
{
    internal NamespaceKey Namespace;
    internal uint Direction;
    private uint _pad;
}

/// <summary>struct flow_settings, bpf/flow.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FlowSettings
{
    internal uint Ports;
    private uint _pad;
}
