using System.Net;
using System.Net.Sockets;
using KubeSkoop.Probes.Procfs;
using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Netlink;

/// <summary>TCP connections by state, their queues, and accept queues, per network namespace.</summary>
/// <remarks>
/// <para>
/// Makes a stopped probe that shares its sources with the other probes. Listing the connections of one namespace makes the kernel
/// walk the table of the whole machine: with 100,000 sockets anywhere, 11 ms for an empty namespace. So connections are listed
/// only where counters, which cost microseconds, say it is worth it:
/// </para>
/// <list type="bullet">
/// <item>
/// <c>sockstat</c> and <c>sockstat6</c> count every socket that is in the kernel's tables: listeners, and connections in every state
/// but TIME_WAIT, also SYN_SENT, and orphans (closed by their process, not yet by TCP). Listeners are listed apart, from their own small
/// table. Where the numbers are equal there is no connection, all states are known to be zero, and nothing is listed.
/// </item>
/// <item>
/// TIME_WAIT is counted by <c>sockstat</c> and never listed. The same counter has what is left of connections in FIN_WAIT2 whose
/// process has closed them; where it is not zero and something has happened, a listing tells the two apart.
/// </item>
/// <item>
/// Handshakes that wait for their last step (NEW_SYN_RECV) are in no counter. In a namespace with connections each listing shows them. In one
/// without, they show after a second, when the answer to their SYN is repeated and <c>RetransSegs</c> moves.
/// </item>
/// <item>
/// Where there are connections, they are listed when a counter of <c>snmp</c> or <c>sockstat</c> has moved, or after
/// <see cref="TcpSummaryOptions.MaxAge"/>: a process that reads or writes changes a queue and no counter, when no segment follows. Where there are only
/// listeners and no device of the namespace has seen a packet, <c>snmp</c> is not read either.
/// </item>
/// </list>
/// <para>
/// <see cref="TcpSummaryOptions.Budget"/> bounds the time of all listings of a sample. The namespace whose numbers are oldest comes first, and is
/// listed whatever the budget, so each gets its turn. <see cref="TcpSummaryRecord.Age"/> tells how old each namespace's numbers are.
/// </para>
/// <para>
/// None of this is needed where a source sees all sockets of the machine at once (BPF, with the package KubeSkoop.Probes.Ebpf): then all numbers are as of the sample.
/// </para>
/// </remarks>
public sealed class TcpSummaryProbe : MetricProbe<TcpSummaryRecord>, IConfigurableProbe<TcpSummaryOptions>
{
    internal const string CongestionControlAttribute = "tcp.congestion_control";
    internal const string AddressAttribute = "network.local.address";
    internal const string ListingSource = "sock_diag, procfs counters";
    internal const string PortAttribute = "network.local.port";

    // About 20 microseconds each. A thousand that are found at once grow old at once.
    private const int MostLooksByAge = 32;

    private readonly NetlinkTable _table;
    private readonly NetlinkSettings _settings;
    private readonly ProcNet _net;
    private readonly PerNamespace<TcpNamespace> _namespaces;
    private readonly ReadBuffer _buffer = new();
    private readonly byte[] _listenersRequest = SocketDiagnostics.Request(SocketDiagnostics.Listeners, info: false);
    private readonly int _inUse, _timeWait, _inUse6, _currentEstablished, _activeOpens, _passiveOpens, _inSegments, _outSegments, _retransmitted;
    private readonly Lock _gate = new();
    private byte[] _connectionsRequest = [];
    private TcpTally _tally;
    private ListenerTally _listenerTally;
    private long[] _turns = [];
    private int[] _due = [];
    private ulong _listings;
    private long _listingTime;
    private int _acquired;
    private readonly ITcpSocketSource[] _sources;
    private ITcpSocketSource? _source;

    /// <summary>Makes a stopped probe on shared sources.</summary>
    public TcpSummaryProbe(NetlinkSockets sockets, ProcNet net, IOptions<TcpSummaryOptions>? options = null, TimeProvider? clock = null)
        : this(sockets, net, options, clock, [])
    {
    }

    /// <summary>As the public constructor, with faster sources of what listings without Info tell.</summary>
    internal TcpSummaryProbe(NetlinkSockets sockets, ProcNet net, IOptions<TcpSummaryOptions>? options, TimeProvider? clock, IEnumerable<ITcpSocketSource> sources)
        : base(About, clock)
    {
        _sources = [.. sources];
        ArgumentNullException.ThrowIfNull(sockets);
        ArgumentNullException.ThrowIfNull(net);
        _table = sockets.SocketDiagnostics;
        _settings = sockets.Settings;
        _net = net;
        _namespaces = new PerNamespace<TcpNamespace>(ns => new TcpNamespace(ns, new NetFile(net.Namespaces, ns, "dev")));
        Options = options?.Value ?? new TcpSummaryOptions();
        _inUse = Slot(net.Sockstat, SockRecord.Columns, "TCP: inuse");
        _timeWait = Slot(net.Sockstat, SockRecord.Columns, "TCP: tw");
        _inUse6 = Slot(net.Sockstat6, SockRecord.Columns6, "TCP6: inuse");
        _currentEstablished = Slot(net.Snmp, TcpRecord.Columns, "CurrEstab");
        _activeOpens = Slot(net.Snmp, TcpRecord.Columns, "ActiveOpens");
        _passiveOpens = Slot(net.Snmp, TcpRecord.Columns, "PassiveOpens");
        _inSegments = Slot(net.Snmp, TcpRecord.Columns, "InSegs");
        _outSegments = Slot(net.Snmp, TcpRecord.Columns, "OutSegs");
        _retransmitted = Slot(net.Snmp, TcpRecord.Columns, "RetransSegs");
    }

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "tcpsummary",
        Source = ProbeSource.Netlink,
        Overhead = OverheadClass.Medium,
        Purpose = "TCP connections by state, data in their queues, and accept queues of listeners.",
        Finds =
        [
            "A process that hangs: its receive queues grow.",
            "A slow or dead other side: send queues grow.",
            "A server that accepts too slowly: its accept queue fills, and connections fail.",
            "Connections that leak: CLOSE_WAIT grows.",
            "Connections that are not answered: SYN_SENT; handshakes that are not completed: NEW_SYN_RECV.",
        ],
        KernelSources =
        [
            "NETLINK_SOCK_DIAG, TCPDIAG_GETSOCK: struct inet_diag_msg; with Info also INET_DIAG_INFO and INET_DIAG_CONG",
            "/proc/<pid>/net/sockstat, sockstat6, dev and snmp, to tell where listing connections is worth it",
            "with the eBPF package instead: the kernel's tables of TCP sockets (struct inet_hashinfo), walked by a BPF program",
        ],
        Requirements =
        [
            "CAP_SYS_PTRACE to see the namespaces of other users' processes.",
            "CAP_SYS_ADMIN to enter other namespaces once, to open a socket there; without it only the own namespace has a row, and those without any TCP socket.",
            "The kernel's tcp_diag (CONFIG_INET_TCP_DIAG, or module tcp_diag).",
        ],
        Attributes =
        [
            new(CongestionControlAttribute, "The congestion control's name; only with Info, on kubeskoop.tcpsummary.congestion_controlled."),
            new(AddressAttribute, "The address of the listener closest to its limit; only with NameListeners, on its accept queue and limit."),
            new(PortAttribute, "That listener's port."),
        ],
        Metrics = TcpSummaryRecord.Metrics.Describe(),
        Options =
        [
            new(nameof(TcpSummaryOptions.Budget), "duration", "00:00:00.050", "How long one sample may list connections, all namespaces together. The rest follows in the next samples, oldest first."),
            new(nameof(TcpSummaryOptions.MaxAge), "duration", "00:00:30", "A namespace's connections are listed again at this age even when no counter has moved."),
            new(nameof(TcpSummaryOptions.QueueThreshold), "bytes", "65536", "Connections with more than this in a queue are counted apart."),
            new(nameof(TcpSummaryOptions.Info), "boolean", "false", "Whether round-trip times, retransmits, limited times and congestion control are asked for; listing then takes about twice as long."),
            new(nameof(TcpSummaryOptions.NameListeners), "boolean", "false", "Whether the listener with the fullest accept queue is named by address and port."),
        ],
        Notes =
        [
            "Connections are listed only where counters say that there are any and that something happened; kubeskoop.tcpsummary.age tells how old the numbers are.",
            "A row without a namespace tells how the probe gets on: listings, their time, and namespaces that wait for their turn.",
            "With the package KubeSkoop.Probes.Ebpf all sockets of the machine are seen in one pass, and no number has an age. It needs Linux 5.19 or later with BTF, CAP_BPF and CAP_PERFMON; with Info, sock_diag is asked all the same. The probe's status says which source it has, and why not the other.",
            "When namespaces have tables of their own (sysctl net.ipv4.tcp_child_ehash_entries), sock_diag is asked.",
            "By sock_diag, handshakes in a namespace without any connection show once the answer to their SYN has been repeated, after a second.",
            "A FIN or SYN counts as one byte of a queue, as in ss. Bound sockets that neither listen nor connect are in no state and are left out.",
            "retransmits, cwnd_limited, rwnd_limited and sndbuf_limited are sums over the connections there are now; they shrink when connections end.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<TcpSummaryRecord> Metrics => TcpSummaryRecord.Metrics;

    /// <inheritdoc />
    public TcpSummaryOptions Options { get; private set; }

    /// <inheritdoc />
    public Type OptionsType => typeof(TcpSummaryOptions);

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<TcpSummaryProbe> StartNewAsync(ProcfsOptions? options = null, TcpSummaryOptions? tcpSummary = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, net =>
        {
            var probe = new TcpSummaryProbe(new NetlinkSockets(net.Namespaces), net);
            if (tcpSummary is not null) probe.Configure(tcpSummary);
            return probe;
        }, cancellationToken);

    /// <inheritdoc />
    public void Configure(ProbeOptions options)
    {
        if (options is not TcpSummaryOptions summary) throw new ArgumentException($"The probe 'tcpsummary' takes {nameof(TcpSummaryOptions)}.", nameof(options));
        string[] mistakes = [.. summary.Validate()];
        if (mistakes.Length > 0) throw new ArgumentException(string.Join(" ", mistakes), nameof(options));
        if (Status.State is ProbeState.Running or ProbeState.Starting) throw new InvalidOperationException("Stop the probe 'tcpsummary' before changing its settings.");
        Options = summary;
    }

    /// <summary>
    /// The sockets with the fullest queues, as of now, with the processes that hold them. For people who look for the culprit: it lists the connections of
    /// every namespace that has any, whatever the budget, and looks into processes, so it may take a second on a large machine.
    /// </summary>
    /// <param name="count">Most connections, and most listeners, that are wanted.</param>
    /// <param name="only">Only the sockets of this namespace.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="count"/> is not between 1 and 10,000.</exception>
    /// <exception cref="ProbeNotRunningException">The probe is not running.</exception>
    public TcpTop Top(int count, NetworkNamespace? only = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, 10_000);
        this.Sample(); // the counters as of now: they tell where there is anything to list
        var connections = new TopSockets(count, listeners: false);
        var listeners = new TopSockets(count, listeners: true);
        lock (_gate)
        {
            if (_acquired == 4) Rank(connections, listeners, only);
        }
        Dictionary<uint, (int ProcessId, string Command)> owners = SocketOwners.Find(_net.Namespaces, connections.Kept.Concat(listeners.Kept));
        return new TcpTop([.. connections.Kept.Select(Describe)], [.. listeners.Kept.Select(Describe)]);

        TcpSocketInfo Describe((NetworkNamespace Namespace, InetDiagnosticMessage Socket) found)
        {
            InetDiagnosticMessage socket = found.Socket;
            bool owned = owners.TryGetValue(socket.Inode, out (int ProcessId, string Command) owner);
            return new TcpSocketInfo(found.Namespace, (TcpState)socket.State, socket.Local, socket.Remote, socket.ReceiveQueue, socket.SendQueue,
                socket.Inode, socket.UserId, owned ? owner.ProcessId : null, owned ? owner.Command : null);
        }
    }

    private void Rank(TopSockets connections, TopSockets listeners, NetworkNamespace? only)
    {
        byte[] connectionsRequest = SocketDiagnostics.Request(SocketDiagnostics.Connections, info: false);
        IReadOnlyList<NetworkNamespace> snapshot = _net.Namespaces.Current;
        ReadOnlySpan<TcpNamespace> namespaces = _namespaces.For(snapshot);
        lock (_table.Gate)
        {
            ReadOnlySpan<NamespaceSocket> sockets = _table.Of(snapshot);
            for (int i = 0; i < namespaces.Length; i++)
            {
                TcpNamespace ns = namespaces[i];
                if (!ns.IsKnown || ns.Now.InUse == 0 || (only is not null && only != ns.Namespace)) continue;
                if (sockets[i].TryOpen(out _) is not { } socket) continue;
                var visitor = new TopVisitor(listeners);
                if (socket.Dump(_table.Buffer, _listenersRequest, ref visitor).IsComplete) listeners.End(ns.Namespace);
                visitor = new TopVisitor(connections);
                if (ns.HasConnections && socket.Dump(_table.Buffer, connectionsRequest, ref visitor).IsComplete) connections.End(ns.Namespace);
            }
        }
    }

    /// <inheritdoc />
    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        ThrowIfAbsent();
        _connectionsRequest = SocketDiagnostics.Request(SocketDiagnostics.Connections, Options.Info);
        _net.Sockstat.Acquire();
        _acquired = 1;
        _net.Sockstat6.Acquire();
        _acquired = 2;
        _net.Snmp.Acquire();
        _acquired = 3;
        _table.Acquire();
        _acquired = 4;
        string? refusal = Options.Info && _sources.Length > 0 ? $"{_sources[0].Name}: {nameof(Options.Info)} is asked for, which only sock_diag has" : null;
        for (int i = 0; i < _sources.Length && !Options.Info; i++)
        {
            string? why = _sources[i].TryStart();
            if (why is null && Compare(_sources[i]) is { } difference)
            {
                _sources[i].Stop();
                why = difference;
            }
            if (why is null)
            {
                _source = _sources[i];
                return ValueTask.FromResult<string?>(_source.Name);
            }
            refusal ??= $"{_sources[i].Name}: {why}";
        }
        return ValueTask.FromResult<string?>(refusal is null ? ListingSource : $"{ListingSource} ({refusal})");
    }

    /// <summary>Holds a source against listings of the own namespace before and after, so that none is used that sees other sockets. What agrees once agrees: connections come and go meanwhile.</summary>
    private string? Compare(ITcpSocketSource source)
    {
        const int Attempts = 5;
        using NetlinkSocket? socket = NetlinkSocket.TryOpen(NetlinkProtocol.SocketDiagnostics, _settings, out Errno error);
        if (socket is null) return NetlinkError.Describe(error);
        using SafeFileHandle proc = Libc.Open(Libc.AtCurrentDirectory, "/proc\0"u8, Libc.OpenDirectory, out _);
        uint inode = ProcNamespaceSource.ReadNamespaceLink(proc, "thread-self/ns/net\0"u8, out error);
        byte[] request = SocketDiagnostics.Request(SocketDiagnostics.Connections, info: false);
        var buffer = new NetlinkBuffer();
        // Something to be seen, so that seeing nothing does not agree.
        using var own = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        own.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        own.Listen(1);
        uint agreed = 0;
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            TcpSums before = List(), ours = source.TryCollect(uint.MaxValue) ? source.Get(inode) : default, after = List();
            for (int state = 0; state < 16; state++)
            {
                uint first = before.Connections.States[state], last = after.Connections.States[state], mine = ours.Connections.States[state];
                if (Math.Min(first, last) <= mine && mine <= Math.Max(first, last)) agreed |= 1u << state;
            }
            if (ours.Listeners.Count > 0 && ours.Listeners.Count == before.Listeners.Count && ours.Listeners.Limit == before.Listeners.Limit) agreed |= 1u << 16;
            if (agreed == (1u << 17) - 1) return null;
        }
        return "it sees other sockets than sock_diag does in the own namespace";

        TcpSums List()
        {
            var sums = new TcpSums();
            var listeners = new ListenerVisitor(ref sums.Listeners);
            _ = socket.Dump(buffer, _listenersRequest, ref listeners);
            var connections = new ConnectionVisitor(ref sums.Connections, uint.MaxValue, info: false);
            _ = socket.Dump(buffer, request, ref connections);
            return sums;
        }
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        lock (_gate)
        {
            _source?.Stop();
            _source = null;
            if (_acquired > 3) _table.Release();
            if (_acquired > 2) _net.Snmp.Release();
            if (_acquired > 1) _net.Sockstat6.Release();
            if (_acquired > 0) _net.Sockstat.Release();
            _acquired = 0;
            _namespaces.Dispose();
        }
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<TcpSummaryRecord> batch)
    {
        _net.Namespaces.NoteProblem(batch);
        lock (_gate)
        {
            IReadOnlyList<NetworkNamespace> snapshot = _net.Namespaces.Current;
            ReadOnlySpan<TcpNamespace> namespaces = _namespaces.For(snapshot);
            int postponed = 0;
            if (!TryCollect(namespaces, batch, out long now))
            {
                Count(snapshot, namespaces, batch);
                lock (_table.Gate)
                {
                    ReadOnlySpan<NamespaceSocket> sockets = _table.Of(snapshot);
                    now = Clock.GetTimestamp();
                    int due = Look(namespaces, sockets, now, batch);
                    postponed = List(namespaces, sockets, due, now, batch);
                }
            }
            foreach (TcpNamespace ns in namespaces)
                if (ns.IsKnown) Publish(ns, now, batch);
            ref TcpSummaryRecord node = ref AddPart(batch, SampleSubject.Node);
            node.Postponed = (ulong)postponed;
            node.Listings = _listings;
            node.ListingTime = (ulong)(_listingTime / (Clock.TimestampFrequency / 1e6));
        }
    }

    /// <summary>Takes the sums of all namespaces from the source, if there is one and it has seen everything.</summary>
    private bool TryCollect(ReadOnlySpan<TcpNamespace> namespaces, SampleBatch<TcpSummaryRecord> batch, out long now)
    {
        now = Clock.GetTimestamp();
        if (_source?.TryCollect((uint)Options.QueueThreshold) != true) return false;
        foreach (TcpNamespace ns in namespaces)
        {
            if (ns.TryTake(_source.Get(ns.Namespace.Inode), now)) continue;
            ns.IsKnown = false;
            batch.Skip(SkipReason.Vanished);
        }
        return true;
    }

    /// <summary>Reads the counters of every namespace.</summary>
    private void Count(IReadOnlyList<NetworkNamespace> snapshot, ReadOnlySpan<TcpNamespace> namespaces, SampleBatch<TcpSummaryRecord> batch)
    {
        NetTable sockstat = _net.Sockstat, sockstat6 = _net.Sockstat6, snmp = _net.Snmp;
        lock (sockstat.Gate)
            lock (sockstat6.Gate)
                lock (snmp.Gate)
                {
                    ReadOnlySpan<NetTableRow> rows = sockstat.RowsOf(snapshot);
                    ReadOnlySpan<NetTableRow> rows6 = sockstat6.RowsOf(snapshot);
                    ReadOnlySpan<NetTableRow> snmpRows = snmp.RowsOf(snapshot);
                    for (int i = 0; i < namespaces.Length; i++)
                    {
                        TcpNamespace ns = namespaces[i];
                        ns.IsKnown = false;
                        if (!sockstat.TryRead(rows[i], batch, out ReadOnlySpan<Reading> slots)) continue;
                        ulong inUse = slots[_inUse].GetValueOrDefault(), timeWait = slots[_timeWait].GetValueOrDefault();
                        // Without IPv6 there is no such file, and no such socket.
                        if (sockstat6.TryRead(rows6[i], batch, out slots)) inUse += slots[_inUse6].GetValueOrDefault();
                        if (!ns.MayHaveMoved(inUse, timeWait, _buffer))
                        {
                            ns.Count(inUse, timeWait);
                            continue;
                        }
                        if (!snmp.TryRead(snmpRows[i], batch, out slots))
                        {
                            ns.ForgetDevices();
                            continue;
                        }
                        ns.Count(new TcpCounters(inUse, timeWait, slots[_currentEstablished].GetValueOrDefault(),
                            slots[_activeOpens].GetValueOrDefault(), slots[_passiveOpens].GetValueOrDefault(),
                            slots[_inSegments].GetValueOrDefault(), slots[_outSegments].GetValueOrDefault(), slots[_retransmitted].GetValueOrDefault()));
                    }
                }
    }

    /// <summary>Lists listeners where their queues or their number may have changed, and finds whose connections are due to be listed.</summary>
    /// <returns>How many are due; who and when is in the first elements of <see cref="_due"/> and <see cref="_turns"/>.</returns>
    private int Look(ReadOnlySpan<TcpNamespace> namespaces, ReadOnlySpan<NamespaceSocket> sockets, long now, SampleBatch<TcpSummaryRecord> batch)
    {
        long maxAge = Ticks(Options.MaxAge);
        if (_due.Length < namespaces.Length)
        {
            _due = new int[Math.Max(namespaces.Length, 2 * _due.Length)];
            _turns = new long[_due.Length];
        }
        int due = 0, ageing = MostLooksByAge;
        for (int i = 0; i < namespaces.Length; i++)
        {
            TcpNamespace ns = namespaces[i];
            if (!ns.IsKnown) continue;
            if (ns.NeedsLook(now, maxAge, ref ageing))
            {
                var visitor = new ListenerVisitor(ref _listenerTally);
                if (!TryDump(ns, sockets[i], _listenersRequest, ref visitor, batch)) continue;
                ns.Looked(in _listenerTally, now);
            }
            ListingNeed need = ns.Need(now, maxAge);
            if (need == ListingNeed.None) continue;
            _due[due] = i;
            // The oldest first. Remainders are a matter of detail, and wait until all that is newer than them by the greatest age has been listed.
            _turns[due++] = need == ListingNeed.Remainders ? (ns.IsListed ? ns.ListedAt : now) + maxAge
                : ns.IsListed ? ns.ListedAt : long.MinValue;
        }
        _turns.AsSpan(0, due).Sort(_due.AsSpan(0, due));
        return due;
    }

    /// <summary>Lists the connections of those whose turn it is, as long as the budget lasts.</summary>
    /// <returns>How many have to wait.</returns>
    private int List(ReadOnlySpan<TcpNamespace> namespaces, ReadOnlySpan<NamespaceSocket> sockets, int due, long began, SampleBatch<TcpSummaryRecord> batch)
    {
        long budget = Ticks(Options.Budget);
        uint threshold = (uint)Options.QueueThreshold;
        int postponed = 0;
        long at = Clock.GetTimestamp();
        long end = at + budget;
        for (int turn = 0; turn < due; turn++)
        {
            TcpNamespace ns = namespaces[_due[turn]];
            // The first is listed in any case, or one that takes longer than the budget never would be.
            if (turn > 0 && (at >= end || at + ns.LastCost > end))
            {
                postponed++;
                continue;
            }
            var visitor = new ConnectionVisitor(ref _tally, threshold, Options.Info);
            bool ok = TryDump(ns, sockets[_due[turn]], _connectionsRequest, ref visitor, batch);
            long after = Clock.GetTimestamp();
            _listings++;
            _listingTime += after - at;
            if (ok) ns.Listed(in _tally, at, after - at);
            at = after;
        }
        return postponed;
    }

    private bool TryDump<TVisitor>(TcpNamespace ns, NamespaceSocket slot, byte[] request, ref TVisitor visitor, SampleBatch<TcpSummaryRecord> batch)
        where TVisitor : struct, INetlinkVisitor, allows ref struct
    {
        if (slot.TryOpen(out SkipReason reason) is not { } socket)
        {
            ns.IsKnown = false;
            batch.Skip(reason, slot.Problem);
            return false;
        }
        NetlinkResult result = socket.Dump(_table.Buffer, request, ref visitor);
        if (result.IsComplete) return true;
        ns.IsKnown = false;
        slot.Note(batch, result);
        return false;
    }

    private void Publish(TcpNamespace ns, long now, SampleBatch<TcpSummaryRecord> batch)
    {
        ref TcpSummaryRecord record = ref batch.Add(ns.Namespace.Subject);
        ref readonly ListenerTally listeners = ref ns.Listeners;
        record.Listen = listeners.Count;
        record.AcceptQueue = listeners.Waiting;
        record.AcceptQueueLimit = listeners.Limit;
        bool named = Options.NameListeners && listeners.Count > 0;
        if (!named && listeners.Count > 0)
        {
            record.FullestAcceptQueue = listeners.FullestWaiting;
            record.FullestAcceptQueueLimit = listeners.FullestLimit;
        }
        if (listeners.Count > 0) record.FullestListener = listeners.Fullest;
        record.RoundTripTime = Log2Histogram.Absent;
        if (ns.IsListed) record.Age = Clock.GetElapsedTime(ns.ListedAt, now) is { Ticks: > 0 } age ? age : TimeSpan.Zero;
        if (ns.IsListed || !ns.HasConnections) Fill(ref record, ns);
        if (named)
        {
            ref TcpSummaryRecord fullest = ref AddPart(batch, ns.ListenerSubject());
            fullest.FullestAcceptQueue = listeners.FullestWaiting;
            fullest.FullestAcceptQueueLimit = listeners.FullestLimit;
            fullest.FullestListener = listeners.Fullest;
        }
        if (!Options.Info) return;
        foreach (ref readonly CongestionCount count in (ReadOnlySpan<CongestionCount>)ns.Tally.Congestion)
        {
            if (count.Connections == 0) break;
            AddPart(batch, ns.CongestionSubject(count.Name)).CongestionControlled = count.Connections;
        }
    }

    private void Fill(ref TcpSummaryRecord record, TcpNamespace ns)
    {
        ref readonly TcpTally tally = ref ns.Tally;
        record.Established = tally.States[(int)TcpState.Established];
        record.SynSent = tally.States[(int)TcpState.SynSent];
        record.SynReceived = tally.States[(int)TcpState.SynReceived];
        record.NewSynReceived = tally.NewSynReceived;
        record.FinWait1 = tally.States[(int)TcpState.FinWait1];
        record.FinWait2 = tally.States[(int)TcpState.FinWait2];
        record.TimeWait = ns.TimeWait;
        record.Close = tally.States[(int)TcpState.Close];
        record.CloseWait = tally.States[(int)TcpState.CloseWait];
        record.LastAck = tally.States[(int)TcpState.LastAck];
        record.Closing = tally.States[(int)TcpState.Closing];
        record.ReceiveQueue = tally.ReceiveQueue;
        record.SendQueue = tally.SendQueue;
        record.LargestReceiveQueue = tally.LargestReceiveQueue;
        record.LargestSendQueue = tally.LargestSendQueue;
        record.ReceiveQueuesAbove = tally.ReceiveQueuesAbove;
        record.SendQueuesAbove = tally.SendQueuesAbove;
        if (!Options.Info) return;
        record.Retransmits = tally.Retransmits;
        record.CongestionLimited = tally.CongestionLimited;
        record.ReceiverLimited = tally.ReceiverLimited;
        record.SendBufferLimited = tally.SendBufferLimited;
        record.RoundTripTime = ns.RoundTripTime;
    }

    // A row that is not about the namespace as a whole has no round-trip times.
    private static ref TcpSummaryRecord AddPart(SampleBatch<TcpSummaryRecord> batch, SampleSubject subject)
    {
        ref TcpSummaryRecord record = ref batch.Add(subject);
        record.RoundTripTime = Log2Histogram.Absent;
        return ref record;
    }

    // Asked in the own namespace, which needs no capability.
    private void ThrowIfAbsent()
    {
        using NetlinkSocket? socket = NetlinkSocket.TryOpen(NetlinkProtocol.SocketDiagnostics, _settings, out Errno error);
        if (socket is null) throw Absent(NetlinkError.Describe(error));
        var listeners = new ListenerTally();
        var visitor = new ListenerVisitor(ref listeners);
        NetlinkResult result = socket.Dump(new NetlinkBuffer(), _listenersRequest, ref visitor);
        if (!result.IsComplete) throw Absent(result.Describe());
    }

    private static ProbeUnavailableException Absent(string why) => new("tcpsummary", "cannot list TCP sockets through sock_diag", why,
        "Load the kernel module tcp_diag (modprobe tcp_diag), or disable this probe.");

    private long Ticks(TimeSpan time) => (long)(time.TotalSeconds * Clock.TimestampFrequency);

    private static int Slot(NetTable table, ColumnSet columns, string column) =>
        columns.Columns.IndexOf(column) is var index and >= 0 ? table.Layout.OffsetOf(columns) + index
            : throw new ArgumentException($"The section {columns.Section} has no column {column}.", nameof(column));
}
