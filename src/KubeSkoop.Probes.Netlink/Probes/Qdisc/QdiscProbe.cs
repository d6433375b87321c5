using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Netlink;

/// <summary>Queueing disciplines per network namespace and device, from rtnetlink: traffic, drops, backlog, and what the kinds count themselves.</summary>
/// <remarks>Makes a stopped probe that shares its sockets with the other probes of the package.</remarks>
public sealed class QdiscProbe(NetlinkSockets sockets, TimeProvider? clock = null) : MetricProbe<QdiscRecord>(About, clock)
{
    internal const string KindAttribute = "qdisc.kind";
    internal const string HandleAttribute = "qdisc.handle";
    internal const string ParentAttribute = "qdisc.parent";
    internal const string ClassAttribute = "qdisc.class";

    private static readonly string TooMany = $"a namespace has more than {QdiscEntries.Limit} qdiscs and classes: the others are left out, and its totals with them";

    private readonly NetlinkTable _table = sockets.Route;
    private readonly PerNamespace<QdiscNamespace> _namespaces = new(ns => new QdiscNamespace(ns, clock ?? TimeProvider.System));
    private readonly QdiscEntries _entries = new();
    private readonly byte[] _qdiscRequest = QdiscMessages.QdiscRequest();
    private readonly byte[] _classRequest = QdiscMessages.ClassRequest();
    private bool _acquired;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "qdisc",
        Source = ProbeSource.Netlink,
        Overhead = OverheadClass.Low,
        Purpose = "Queueing disciplines of every device: traffic, drops, rate limits met, queue and backlog.",
        Finds =
        [
            "Packets dropped because a queue overruns or a rate limit is met: loss and jitter below IP.",
            "A queue that stays full: latency.",
            "Pods throttled by a bandwidth limit (tbf, htb).",
        ],
        KernelSources = ["rtnetlink: RTM_GETQDISC; RTM_GETTCLASS for the classes of htb; RTM_GETLINK when a device is new or has changed"],
        Requirements = ["CAP_SYS_ADMIN to enter other network namespaces, CAP_SYS_PTRACE to see those of other users' processes. The host's own needs neither."],
        Attributes =
        [
            new(AttributeNames.Interface, "the device's name; bytes that are not printable UTF-8 as \\xNN"),
            new(KindAttribute, "the kind of qdisc, such as fq, htb, noqueue"),
            new(HandleAttribute, "its number, as tc shows it (1:); of a class that of its qdisc"),
            new(ParentAttribute, "what it hangs on: root, a class (1:10, :1), ffff:fff1 for ingress and clsact"),
            new(ClassAttribute, "the class (1:10) of a row about one; rows about qdiscs do not have it"),
        ],
        Metrics = QdiscRecord.Metrics.Describe(),
        Notes =
        [
            "A qdisc with classes counts what its children count: sum over root qdiscs only. kubeskoop.qdisc.root_* have done so, one row a namespace, without the attributes above.",
            "The totals of a namespace keep what devices and qdiscs that are gone had counted, and never go down; upstream's names carry them. Upstream sums roots and children, of devices named eth* only.",
            "noqueue (the loopback and virtual devices without a queue) counts nothing: its numbers are 0.",
            "A tbf and an mq have no counters beside the common ones; an mq shows the sum of its children.",
            "Qdiscs the kernel makes for itself inside others (under tbf or an htb class) are left out, as tc leaves them out.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<QdiscRecord> Metrics => QdiscRecord.Metrics;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<QdiscProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        NetlinkSockets.StartAsync(options, static sockets => new QdiscProbe(sockets), cancellationToken);

    /// <inheritdoc />
    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        _table.Acquire();
        _acquired = true;
        return ValueTask.FromResult<string?>("rtnetlink");
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        lock (_table.Gate) _namespaces.Dispose();
        if (_acquired) _table.Release();
        _acquired = false;
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<QdiscRecord> batch)
    {
        sockets.Namespaces.NoteProblem(batch);
        lock (_table.Gate)
        {
            ReadOnlySpan<NamespaceSocket> slots = _table.Current;
            ReadOnlySpan<QdiscNamespace> namespaces = _namespaces.For(_table.Snapshot);
            for (int i = 0; i < slots.Length; i++)
            {
                if (slots[i].TryOpen(out SkipReason reason) is not { } socket)
                {
                    batch.Skip(reason, slots[i].Problem);
                    continue;
                }
                NetlinkResult result = Ask(socket, namespaces[i].Links);
                if (result.IsComplete) Add(batch, namespaces[i], slots[i], result.Outcome == NetlinkOutcome.Ok);
                else slots[i].Note(batch, result);
            }
        }
    }

    /// <summary>Asks for qdiscs, then for the classes of each htb, then, if need be, for the devices: so a device that has gone has no name, not another's.</summary>
    private NetlinkResult Ask(NetlinkSocket socket, NamespaceLinks links)
    {
        _entries.Clear();
        var qdiscs = new QdiscVisitor(_entries);
        NetlinkResult result = socket.Dump(_table.Buffer, _qdiscRequest, ref qdiscs);
        bool consistent = result.Outcome == NetlinkOutcome.Ok;
        int count = _entries.Count;
        for (int i = 0; i < count && result.IsComplete; i++)
        {
            QdiscKey key = _entries.All[i].Key;
            if (key.Kind != QdiscMessages.Htb) continue;
            QdiscMessages.AimAt(_classRequest, key);
            var classes = new QdiscVisitor(_entries);
            result = socket.Dump(_table.Buffer, _classRequest, ref classes);
            consistent &= result.Outcome == NetlinkOutcome.Ok;
        }
        if (result.IsComplete && (links.IsOutdated(socket) || !AllKnown(links))) result = links.Read(socket, _table.Buffer);
        return result.IsComplete && !consistent ? new NetlinkResult(NetlinkOutcome.Inconsistent) : result;
    }

    private bool AllKnown(NamespaceLinks links)
    {
        foreach (ref readonly QdiscEntry entry in _entries.All)
            if (links.Find(entry.Key.Device) is null) return false;
        return true;
    }

    private void Add(SampleBatch<QdiscRecord> batch, QdiscNamespace ns, NamespaceSocket slot, bool isConsistent)
    {
        ulong queueLength = 0, backlog = 0;
        ns.Begin();
        foreach (ref readonly QdiscEntry entry in _entries.All)
        {
            if (ns.Meet(in entry) is not { } qdisc)
            {
                if (ns.Links.Find(entry.Key.Device) is null) batch.Skip(SkipReason.Vanished);
                continue;
            }
            ref QdiscRecord record = ref batch.Add(qdisc.Subject!);
            record = entry.Record;
            qdisc.Write(ref record);
            if (!entry.Key.IsRoot) continue;
            queueLength += record.QueueLength.GetValueOrDefault();
            backlog += record.Backlog.GetValueOrDefault();
        }
        ns.End(isConsistent, _entries.IsFull);
        if (_entries.IsFull) batch.Skip(SkipReason.Malformed, TooMany);
        ns.WriteTotals(ref batch.Add(slot.Namespace.Subject), queueLength, backlog);
    }
}
