using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>How long packets take to leave: in a device's qdisc, in its driver's call, and with the driver.</summary>
/// <remarks>Makes a stopped probe that shares its reading thread with the other probes of the package.</remarks>
public sealed unsafe class NetifTxLatencyProbe(EbpfPrograms programs, IOptions<NetifTxLatencyOptions>? options = null, TimeProvider? clock = null)
    : EbpfCountsProbe<NetifTxLatencyRecord, NetifTxLatencyEvent, NetifTxLatencyOptions>(About, programs, options?.Value, clock)
{
    private const int Kinds = 3; // NETIFTXLATENCY_KINDS, bpf/netiftxlatency.h

    private NetifTxLatencySettings* _settings;

    private static readonly Hook[] Always =
    [
        new("enqueue",
            new HookVariant("tp_btf", ["enqueue", "enter_lockless"], static k => k.Tracepoint("qdisc_enqueue", 3) ?? k.Tracepoint("net_dev_queue", 1)),
            new HookVariant("tp_btf", ["enter"], static k => k.Tracepoint("net_dev_queue", 1))),
        new("dequeue", new HookVariant("tp_btf", ["dequeue"], static k => k.Tracepoint("qdisc_dequeue", 4))),
        new("call", new HookVariant("tp_btf", ["call_driver"], static k => k.Tracepoint("net_dev_start_xmit", 2))),
        new("return", new HookVariant("tp_btf", ["driver_returns"], static k => k.Tracepoint("net_dev_xmit", 4))),
    ];

    private static readonly Hook[] ForCompletions =
    [
        new("hand", new HookVariant("tp_btf", ["hand"], static k => k.Tracepoint("net_dev_start_xmit", 2))),
        new("complete", new HookVariant("tp_btf", ["complete"], static k => k.Tracepoint("consume_skb", 1))),
        new("drop", new HookVariant("tp_btf", ["drop"], static k => k.Tracepoint("kfree_skb", 2))),
    ];

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "netiftxlatency",
        Aliases = ["netiftxlat"],
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.High,
        Purpose = "How long packets take to leave: in a device's qdisc, in the call into its driver, and until the driver is done with them.",
        Finds =
        [
            "Queues that stand: shaping (tbf, htb), a link slower than its traffic, a device that has stopped.",
            "Drivers that take long to accept a packet, or to send it.",
        ],
        KernelSources =
        [
            "tracepoints qdisc:qdisc_enqueue (5.15; before, and for qdiscs without a lock, net:net_dev_queue), qdisc:qdisc_dequeue",
            "tracepoints net:net_dev_start_xmit, net:net_dev_xmit",
            "with Completions: tracepoints skb:consume_skb, skb:kfree_skb",
        ],
        Requirements =
        [
            "CAP_BPF and CAP_PERFMON (before 5.8: CAP_SYS_ADMIN).",
            "A kernel with BTF, 5.8 or later.",
        ],
        Metrics = NetifTxLatencyRecord.Metrics.Describe(),
        Events = [new(nameof(NetifTxLatencyEvent), "A packet took longer than the threshold: where (queue, driver, completion), device, qdisc and packets behind it, flow in socket view, length.")],
        Options =
        [
            .. EbpfOptionDescriptions.OfProbe,
            new(nameof(NetifTxLatencyOptions.QueueThreshold), "time", "00:00:00.1", "A packet at least this long in a qdisc is told as an event."),
            new(nameof(NetifTxLatencyOptions.DriverThreshold), "time", "00:00:00.1", "A driver's call of at least this length is told as an event."),
            new(nameof(NetifTxLatencyOptions.CompletionThreshold), "time", "00:00:00.1", "A packet at least this long with its driver is told as an event."),
            new(nameof(NetifTxLatencyOptions.DriverSampling), "power of two", "8", "Of the calls into drivers, one in this many is timed. 1: all, at some 100 ns a packet."),
            new(nameof(NetifTxLatencyOptions.Completions), "boolean", "false", "Whether to watch how long drivers keep packets: a program at the end of every packet of the machine."),
        ],
        Notes =
        [
            "Only what is put into a qdisc is in its numbers: a device without one (veth, loopback) has none, and an empty pfifo_fast or fq_codel is passed by.",
            "Segments into which a qdisc cuts a large packet of this machine's TCP are as old as TCP's stamp on it; those of forwarded ones are not measured.",
            "A packet that TCP paces counts from the time it may leave.",
            "Times of TCP's packets are taken from its own stamp when that is less than 50 us old, and may be too long by as much; but not in a qdisc without a lock (pfifo_fast).",
            "A packet that the device did not take goes back to the qdisc and leaves it again: that is not counted a second time.",
            "When several packets leave a qdisc at once, the first is told; up to 64 are counted.",
            "Of the calls into drivers one in eight is timed, unless DriverSampling says otherwise: their histogram and counters are of those.",
            "The driver's call is CPU time of this machine; a virtual device is its other side's receive path. A device in a device (a tunnel) hides the outer call.",
            "Completion is when the packet's memory is given back, which drivers may do late, and in batches. A packet that a veth pair passes on has none.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<NetifTxLatencyRecord> Metrics => NetifTxLatencyRecord.Metrics;

    private protected override IReadOnlyList<Hook> Hooks => Options.Completions ? [.. Always, .. ForCompletions] : Always;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<NetifTxLatencyProbe> StartNewAsync(EbpfOptions? options = null, NetifTxLatencyOptions? netiftxlatency = null, CancellationToken cancellationToken = default) =>
        EbpfPrograms.StartAsync(options, programs =>
        {
            var probe = new NetifTxLatencyProbe(programs);
            if (netiftxlatency is not null) probe.Configure(netiftxlatency);
            return probe;
        }, cancellationToken);

    private protected override void Loaded(BpfObject loaded)
    {
        base.Loaded(loaded);
        _settings = loaded.Data<NetifTxLatencySettings>(".data.netiftxlatency");
    }

    private protected override void Unloading()
    {
        base.Unloading();
        _settings = null;
    }

    private protected override bool NeedsRestart(NetifTxLatencyOptions next) => next.Completions != Options.Completions;

    private protected override void Apply(Span<ulong> thresholdNs)
    {
        _settings->DriverMask = (uint)Options.DriverSampling - 1;
        thresholdNs[(int)NetifTxLatencyKind.Queue] = Nanoseconds(Options.QueueThreshold);
        thresholdNs[(int)NetifTxLatencyKind.Driver] = Nanoseconds(Options.DriverThreshold);
        thresholdNs[(int)NetifTxLatencyKind.Completion] = Nanoseconds(Options.CompletionThreshold);
    }

    // struct netiftxlatency_counts, bpf/netiftxlatency.h
    private protected override void Write(ref NetifTxLatencyRecord record, ReadOnlySpan<ulong> counts)
    {
        HistogramWords.Read(counts, (int)NetifTxLatencyKind.Queue * HistogramWords.Length, out record.Queue);
        HistogramWords.Read(counts, (int)NetifTxLatencyKind.Driver * HistogramWords.Length, out record.Driver);
        ReadOnlySpan<ulong> over1Ms = counts.Slice(Kinds * HistogramWords.Length, Kinds), over100Ms = counts.Slice(Kinds * (HistogramWords.Length + 1), Kinds);
        record.QueueOver1Ms = over1Ms[(int)NetifTxLatencyKind.Queue];
        record.QueueOver100Ms = over100Ms[(int)NetifTxLatencyKind.Queue];
        record.DriverOver1Ms = over1Ms[(int)NetifTxLatencyKind.Driver];
        record.DriverOver100Ms = over100Ms[(int)NetifTxLatencyKind.Driver];
        record.Completion = Log2Histogram.Absent;
        if (!Options.Completions) return;
        HistogramWords.Read(counts, (int)NetifTxLatencyKind.Completion * HistogramWords.Length, out record.Completion);
        record.CompletionOver1Ms = over1Ms[(int)NetifTxLatencyKind.Completion];
        record.CompletionOver100Ms = over100Ms[(int)NetifTxLatencyKind.Completion];
    }

    private protected override NetifTxLatencyEvent? Understand(ReadOnlySpan<byte> record)
    {
        if (!MemoryMarshal.TryRead(record, out RawNetifTxLatency raw) || raw.Kind >= Kinds) return null;
        DateTimeOffset time = TimeOf(raw.Head.Time);
        var kind = (NetifTxLatencyKind)raw.Kind;
        return new NetifTxLatencyEvent
        {
            Probe = About.Name,
            Timestamp = time,
            Origin = Programs.OriginOf(in raw.Head, time),
            Kind = kind,
            Latency = RawEvent.Duration(raw.LatencyNs),
            Device = RawEvent.Text(raw.Device),
            DeviceIndex = raw.DeviceIndex,
            Qdisc = kind == NetifTxLatencyKind.Queue ? RawEvent.Text(raw.Qdisc) : null,
            Backlog = raw.Backlog,
            Bytes = raw.Bytes,
        };
    }
}
