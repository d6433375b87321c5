using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Netlink;

/// <summary>
/// Connection tracking per network namespace: counters, entries and their limit from ctnetlink; on request flows by protocol and state,
/// and flows as events.
/// </summary>
/// <remarks>Makes a stopped probe that shares its sockets with the other probes of the package.</remarks>
public sealed class ConntrackProbe(NetlinkSockets sockets, IOptions<ConntrackOptions>? options = null, IOptions<ProbesOptions>? sdk = null, TimeProvider? clock = null, IPodResolver? pods = null)
    : MetricEventProbe<ConntrackRecord, ConntrackEvent>(About, clock), IConfigurableProbe<ConntrackOptions>
{
    private static readonly TimeSpan DumpTimeLimit = TimeSpan.FromSeconds(30);

    private readonly NetlinkTable _table = sockets.Netfilter;
    private PerNamespace<ConntrackNamespace>? _kept;
    private readonly byte[] _statisticsRequest = ConntrackMessages.Request(ConntrackMessages.GetStatsCpu);
    private readonly byte[] _globalRequest = ConntrackMessages.Request(ConntrackMessages.GetStats);
    private readonly List<(ConntrackNamespace State, Reading Entries)> _candidates = [];
    private readonly string? _node = sdk?.Value.ResolvedNodeName;
    private ConntrackListener? _listener;
    private ConntrackCounter? _counter;
    private CancellationTokenSource? _stop;
    private Task[] _loops = [];
    private long _malformedNotices;
    private long _malformedReported;
    private volatile Exception? _fault;
    private bool _acquired;
    private bool _starting;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "conntrack",
        Source = ProbeSource.Netlink,
        Overhead = OverheadClass.Low,
        Purpose = "Connection tracking: drops, failed insertions, entries and their limit; on request flows by state, and every flow as an event.",
        Finds =
        [
            "Packets dropped because the connection table is full.",
            "Entries that cannot be inserted: packets that race (DNS over UDP), clashing translations.",
            "A table that fills up, and with which flows.",
        ],
        KernelSources =
        [
            "ctnetlink: IPCTNL_MSG_CT_GET_STATS_CPU, IPCTNL_MSG_CT_GET_STATS",
            "IPCTNL_MSG_CT_GET dumps when entries are counted",
            "multicast groups of ctnetlink when events are on",
        ],
        Requirements =
        [
            "CAP_NET_ADMIN to ask the kernel.",
            "CAP_SYS_ADMIN to enter other network namespaces, CAP_SYS_PTRACE to see those of other users' processes.",
            "nf_conntrack and nf_conntrack_netlink in the kernel.",
        ],
        Attributes =
        [
            new(AttributeNames.Transport, "of flows: tcp, udp, icmp, icmpv6, sctp, dccp, gre, udplite or other"),
            new(AttributeNames.State, "of TCP flows: none, syn_sent, syn_recv, established, fin_wait, close_wait, last_ack, time_wait, close or syn_sent2"),
        ],
        Metrics = ConntrackRecord.Metrics.Describe(),
        Events =
        [
            new(nameof(ConntrackFlowEvent), "A tracked flow is new, has changed, or is gone: both directions, state, status; with accounting its traffic. With Events: New, Update, Destroy."),
            new(nameof(ConntrackExpectationEvent), "A helper expects a flow, or no longer. With Events: Expectation."),
            new(nameof(ConntrackTableFullEvent), "Packets were dropped or entries thrown out because the table is full. Derived from the counters, once per CheckInterval."),
            new(nameof(ConntrackInsertFailedEvent), "Entries could not be inserted, and their packets were dropped. Derived from the counters, once per CheckInterval."),
        ],
        Options =
        [
            new(nameof(ConntrackOptions.Events), "None, All, or some of New, Update, Destroy, Expectation", "None", "Which notices of the kernel become events. Each connection makes several."),
            new(nameof(ConntrackOptions.EventBufferBytes), "number", "4194304", "Room, in bytes, for notices of one namespace that wait to be read."),
            new(nameof(ConntrackOptions.CheckInterval), "time", "00:00:10", "How often counters are looked at for full tables and failed insertions; zero for never."),
            new(nameof(ConntrackOptions.Entries), "boolean", "false", "Whether entries are counted by protocol, state and flags. Each count dumps the table: about 2 microseconds per entry, and every dump walks the hash table of the whole machine, about 50 ms with 250,000 entries elsewhere."),
            new(nameof(ConntrackOptions.EntriesInterval), "time", "00:01:00", "How often entries are counted."),
            new(nameof(ConntrackOptions.EntriesTimeBudget), "time", "00:00:02", "The longest one round of counting may take; namespaces left over go first in the next. kubeskoop.conntrack.flows_age tells how old numbers are."),
            new(nameof(ConntrackOptions.EntriesProtocol), "number", "", "Counts entries of this IP protocol only; the kernel leaves out the others (5.8 and later)."),
        ],
        Notes =
        [
            "The counters are the namespace's own; upstream reads the host's alone. A pod has entries only if rules in its own namespace ask for tracking (a mesh sidecar).",
            "The kernel's counters have 32 bits per CPU and wrap; the published ones go on over a wrap.",
            "The limit holds for each namespace, and is one number for the machine.",
            "Since 5.19 the kernel makes notices only of flows that began while somebody listened (nf_conntrack_events=2): flows older than the probe end without an event.",
            "A notice the kernel cannot deliver is lost and counted (kubeskoop.conntrack.lost_events). Counters and entries are not affected.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<ConntrackRecord> Metrics => ConntrackRecord.Metrics;

    /// <inheritdoc />
    public ConntrackOptions Options { get; private set; } = options?.Value ?? new ConntrackOptions();

    /// <inheritdoc />
    public Type OptionsType => typeof(ConntrackOptions);

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<ConntrackProbe> StartNewAsync(ProcfsOptions? options = null, ConntrackOptions? conntrack = null, CancellationToken cancellationToken = default) =>
        NetlinkSockets.StartAsync(options, sockets =>
        {
            var probe = new ConntrackProbe(sockets);
            if (conntrack is not null) probe.Configure(conntrack);
            return probe;
        }, cancellationToken);

    /// <inheritdoc />
    public void Configure(ProbeOptions options)
    {
        if (options is not ConntrackOptions conntrack) throw new ArgumentException($"The probe 'conntrack' takes {nameof(ConntrackOptions)}.", nameof(options));
        string[] mistakes = [.. conntrack.Validate()];
        if (mistakes.Length > 0) throw new ArgumentException(string.Join(" ", mistakes), nameof(options));
        if (Status.State is ProbeState.Running or ProbeState.Starting) throw new InvalidOperationException("Stop the probe 'conntrack' before changing its settings.");
        Options = conntrack;
    }

    /// <inheritdoc />
    protected override async ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        _fault = null;
        _malformedNotices = 0;
        _malformedReported = 0;
        _table.Acquire();
        _acquired = true;
        TryOut();
        TakeHistory();
        if (Options.Events != ConntrackNotices.None) _listener = new ConntrackListener(sockets.Namespaces, sockets.Settings, Options, OnNotice, Account);
        var loops = new List<Task>();
        _stop = new CancellationTokenSource();
        if (Options.CheckInterval > TimeSpan.Zero) loops.Add(LoopAsync(Options.CheckInterval, Check, _stop.Token));
        if (Options.Entries)
        {
            _counter = new ConntrackCounter(sockets.Namespaces, sockets.Settings with { TimeLimit = DumpTimeLimit }, Options, Clock);
            // Once before anybody samples: a single sample shall have them, too.
            await Task.Run(() => Account(CountFlows), cancellationToken).ConfigureAwait(false);
            loops.Add(LoopAsync(Options.EntriesInterval, CountFlows, _stop.Token));
        }
        _loops = [.. loops];
        return "ctnetlink";
    }

    /// <inheritdoc />
    protected override async ValueTask OnStopAsync()
    {
        if (_stop is { } stop) await stop.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(_loops).ConfigureAwait(false);
        _loops = [];
        _stop?.Dispose();
        _stop = null;
        _listener?.Dispose();
        _listener = null;
        _counter?.Dispose();
        _counter = null;
        lock (_table.Gate) Namespaces.Dispose();
        if (_acquired) _table.Release();
        _acquired = false;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<ConntrackRecord> batch)
    {
        if (_fault is { } fault) throw new InvalidOperationException($"The probe's work in the background failed: {fault.Message}", fault);
        sockets.Namespaces.NoteProblem(batch);
        lock (_table.Gate)
        {
            ReadOnlySpan<NamespaceSocket> slots = _table.Current;
            ReadOnlySpan<ConntrackNamespace> states = Namespaces.For(_table.Snapshot);
            for (int i = 0; i < slots.Length; i++) Read(batch, slots[i], states[i]);
        }
        long malformed = Volatile.Read(ref _malformedNotices) + (_listener?.Malformed ?? 0);
        for (; _malformedReported < malformed; _malformedReported++) batch.Skip(SkipReason.Malformed, "a notice of ctnetlink could not be understood");
    }

    private void Read(SampleBatch<ConntrackRecord> batch, NamespaceSocket slot, ConntrackNamespace state)
    {
        if (slot.TryOpen(out SkipReason reason) is not { } socket)
        {
            batch.Skip(reason, slot.Problem);
            return;
        }
        NetlinkResult result = Ask(socket, state, out Reading entries, out Reading maximum);
        if (!result.IsComplete)
        {
            slot.Note(batch, result);
            return;
        }
        ref ConntrackRecord record = ref batch.Add(slot.Namespace.Subject);
        state.Write(ref record);
        record.Entries = entries;
        record.Maximum = maximum;
        if (_listener is { } listener)
        {
            record.LostEvents = listener.LostIn(slot.Namespace, out string? deaf);
            if (deaf is not null) batch.Skip(SkipReason.Denied, deaf);
        }
        if (state.FlowsProblem is { } problem) batch.Skip(SkipReason.Denied, problem);
        if (state.Flows is not { } flows) return;
        record.FlowsAge = (ulong)Clock.GetElapsedTime(state.FlowsCounted).TotalMilliseconds;
        flows.Write(batch);
    }

    /// <summary>Asks a namespace for its counters and entries.</summary>
    private NetlinkResult Ask(NetlinkSocket socket, ConntrackNamespace state, out Reading entries, out Reading maximum)
    {
        entries = default;
        maximum = default;
        var statistics = new ConntrackStatisticsVisitor();
        NetlinkResult result = socket.Dump(_table.Buffer, _statisticsRequest, ref statistics);
        if (!result.IsComplete) return result;
        state.Fold(statistics.Sums);
        var global = new ConntrackGlobalVisitor();
        result = socket.Request(_table.Buffer, _globalRequest, ref global);
        entries = global.Entries;
        maximum = global.Maximum;
        return result;
    }

    // A machine where not one namespace answers lacks something; one that does not among many is a row that is skipped.
    private void TryOut()
    {
        lock (_table.Gate)
        {
            string? why = null;
            NetlinkException? cause = null;
            foreach (NamespaceSocket slot in _table.Current)
            {
                if (slot.TryOpen(out SkipReason reason) is not { } socket)
                {
                    if (reason != SkipReason.Vanished) why ??= slot.Problem;
                    continue;
                }
                var global = new ConntrackGlobalVisitor();
                NetlinkResult result = socket.Request(_table.Buffer, _globalRequest, ref global);
                if (result.IsComplete) return;
                if (result.Outcome == NetlinkOutcome.Closed || why is not null) continue;
                why = slot.Describe(result);
                cause = result.ToException("IPCTNL_MSG_CT_GET_STATS");
            }
            if (why is null) return; // no namespace, or all have just ended
            throw new ProbeUnavailableException(About.Name, "connection tracking cannot be asked", why,
                "Give the process CAP_NET_ADMIN (and CAP_SYS_ADMIN to enter the namespaces of pods), and see that the modules nf_conntrack and nf_conntrack_netlink are there; or disable this probe.", cause);
        }
    }

    private void OnNotice(NetworkNamespace ns, in NetlinkMessage message)
    {
        if (!HasSubscribers) return;
        ConntrackEvent? e = ConntrackParser.Read(message, ns, Clock.GetUtcNow(), _node, out NetlinkFault fault);
        if (e is ConntrackFlowEvent flow) flow.Pods = pods;
        if (e is not null) Publish(e);
        else if (fault != NetlinkFault.None) Interlocked.Increment(ref _malformedNotices);
    }

    private PerNamespace<ConntrackNamespace> Namespaces => _kept ??= new PerNamespace<ConntrackNamespace>(ns => new ConntrackNamespace(ns, hasHistory: _starting));

    // What the counters of the namespaces there are say now happened before the probe was there; those born later have no history.
    private void TakeHistory()
    {
        lock (_table.Gate)
        {
            _starting = true;
            ReadOnlySpan<NamespaceSocket> slots = _table.Current;
            ReadOnlySpan<ConntrackNamespace> states = Namespaces.For(_table.Snapshot);
            _starting = false;
            for (int i = 0; i < slots.Length; i++)
                if (slots[i].TryOpen(out _) is { } socket) Ask(socket, states[i], out _, out _);
        }
    }

    /// <summary>Looks for what is wrong since the last look, and tells.</summary>
    private void Check()
    {
        lock (_table.Gate)
        {
            ReadOnlySpan<NamespaceSocket> slots = _table.Current;
            ReadOnlySpan<ConntrackNamespace> states = Namespaces.For(_table.Snapshot);
            for (int i = 0; i < slots.Length; i++)
            {
                if (slots[i].TryOpen(out _) is not { } socket || !Ask(socket, states[i], out Reading entries, out Reading maximum).IsComplete) continue;
                if (states[i].TryTakeTrouble(out ConntrackNamespace.Trouble trouble)) Tell(states[i].Namespace, trouble, entries, maximum);
            }
        }
    }

    private void Tell(NetworkNamespace ns, ConntrackNamespace.Trouble trouble, Reading entries, Reading maximum)
    {
        DateTimeOffset now = Clock.GetUtcNow();
        if (trouble.IsTableFull)
        {
            Publish(new ConntrackTableFullEvent
            {
                Probe = About.Name,
                Timestamp = now,
                Namespace = ns,
                Pod = ns.Pod,
                Node = _node,
                Dropped = trouble.Refused,
                DroppedEarly = trouble.DroppedEarly,
                Entries = entries,
                Maximum = maximum,
            });
        }
        if (trouble.InsertFailed > 0)
        {
            Publish(new ConntrackInsertFailedEvent
            {
                Probe = About.Name,
                Timestamp = now,
                Namespace = ns,
                Pod = ns.Pod,
                Node = _node,
                InsertFailed = trouble.InsertFailed,
                ChainsTooLong = trouble.ChainsTooLong,
            });
        }
    }

    private void CountFlows()
    {
        IReadOnlyList<NetworkNamespace> snapshot;
        lock (_table.Gate)
        {
            ReadOnlySpan<NamespaceSocket> slots = _table.Current;
            snapshot = _table.Snapshot;
            ReadOnlySpan<ConntrackNamespace> states = Namespaces.For(snapshot);
            _candidates.Clear();
            for (int i = 0; i < slots.Length; i++)
            {
                var global = new ConntrackGlobalVisitor();
                if (slots[i].TryOpen(out _) is { } socket) socket.Request(_table.Buffer, _globalRequest, ref global);
                _candidates.Add((states[i], global.Entries));
            }
        }
        _counter!.Count(snapshot, _candidates, _table.Gate);
    }

    private async Task LoopAsync(TimeSpan period, Action work, CancellationToken stop)
    {
        try
        {
            using var timer = new PeriodicTimer(period, Clock);
            while (await timer.WaitForNextTickAsync(stop).ConfigureAwait(false)) Account(work);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
        }
#pragma warning disable CA1031 // The next sample throws it, so that the probe fails with it and is started again.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _fault = e;
        }
    }
}
