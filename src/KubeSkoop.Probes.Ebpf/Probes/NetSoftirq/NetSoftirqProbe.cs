using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>How long the softirqs of the network wait, and how long they run, on each CPU.</summary>
/// <remarks>Makes a stopped probe that shares its reading thread with the other probes of the package.</remarks>
public sealed unsafe class NetSoftirqProbe(EbpfPrograms programs, IOptions<NetSoftirqOptions>? options = null, TimeProvider? clock = null)
    : EbpfProbe<NetSoftirqRecord, NetSoftirqEvent, NetSoftirqOptions>(About, programs, options?.Value, clock)
{
    internal const string VectorAttribute = "softirq.vector";
    private const int Kinds = 2; // NET_SOFTIRQ_KINDS, bpf/net_softirq.h
    private static readonly NetSoftirqVector[] Vectors = [NetSoftirqVector.NetTx, NetSoftirqVector.NetRx]; // by their place in the map

    private static readonly TimeSpan LeastCounted = TimeSpan.FromMilliseconds(10); // as over_10ms

    private readonly List<(NetSoftirqVector Vector, int Cpu, SampleSubject Subject)> _rows = [];
    private CpuCounts? _counts;
    private NetSoftirqSettings* _settings;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "net_softirq",
        Aliases = ["softirq"],
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.Medium,
        Purpose = "How long the softirqs of the network wait and run on each CPU, and who had the CPU instead.",
        Finds =
        [
            "Packets that wait for the CPU: code that keeps softirqs switched off, other softirqs, ksoftirqd without its turn.",
            "Softirqs that run for long: too many packets for one CPU, slow rules or programs on their way.",
            "Load of the network that is not spread over the CPUs.",
        ],
        KernelSources = ["tracepoints irq:softirq_raise, irq:softirq_entry, irq:softirq_exit"],
        Requirements =
        [
            "CAP_BPF and CAP_PERFMON (before 5.8: CAP_SYS_ADMIN).",
            "A kernel with BTF, 5.8 or later.",
        ],
        Attributes = [new(AttributeNames.Cpu, "the CPU's number"), new(VectorAttribute, "net_rx or net_tx")],
        Metrics = NetSoftirqRecord.Metrics.Describe(),
        Events = [new(nameof(NetSoftirqEvent), "A softirq waited, or ran, longer than the threshold: which, on which CPU, who had it instead, and whether it ran in ksoftirqd.")],
        Options =
        [
            .. EbpfOptionDescriptions.OfEvents,
            new(nameof(NetSoftirqOptions.Vectors), "list of names", "net_rx, net_tx", "The softirqs to look at. Setting it replaces the list."),
            new(nameof(NetSoftirqOptions.DelayThreshold), "time", "00:00:00.0100000", "A softirq that waits at least this long is told as an event."),
            new(nameof(NetSoftirqOptions.RunThreshold), "time", "00:00:00.0100000", "A softirq that runs at least this long is told as an event."),
            new(nameof(NetSoftirqOptions.Sampling), "power of two", "8", "Of the softirqs within two ticks of the kernel's clock, one in this many is timed and stands for the others. 1: all. With a threshold below two ticks all are."),
        ],
        Notes =
        [
            "Runs are counted exactly, and whatever takes two ticks of the kernel's clock (1 to 4 ms each; where a tick is 10 ms everything is timed) or longer is timed. Of the rest one in eight is, unless Sampling says otherwise, and stands for eight in the histograms.",
            "What is timed because it took two ticks, and is not of the sample, began when the clock was last read on its CPU in that tick: it may be told too long by up to a tick, and by far less on a busy CPU. With Sampling 1 it is exact.",
            "A softirq is of a CPU, not of a network namespace: it works for all of them. So the rows are about the node.",
            "A delay begins at the first raise. When another one comes after the kernel has taken up what was raised and before it gets to this softirq, the next run has no delay of its own: delays are at most as many as runs.",
            "Interrupts that come while a softirq runs are part of its time. So is, on a virtual machine, the time in which the host runs something else.",
            "Packets that never come to a softirq of the network are not seen: threaded NAPI, busy polling, and drivers that hold their interrupts back.",
            "On a real-time kernel softirqs can be preempted; what runs then is part of their time.",
            "Who had the CPU at the raise need not have kept it until the entry; what ran between is not watched.",
        ],
    };

    // What is shorter than two ticks need not be seen to change them: a sample would miss what is to be told, or counted one by one.
    private bool ShortThreshold => new[] { Options.DelayThreshold, Options.RunThreshold, LeastCounted }.Min() < 2 * KernelCalls.Tick;

    /// <inheritdoc />
    public override MetricTable<NetSoftirqRecord> Metrics => NetSoftirqRecord.Metrics;

    private protected override IReadOnlyList<Hook> Hooks { get; } =
    [
        new("raise", new HookVariant("tp_btf", ["raise"], static k => k.Tracepoint("softirq_raise", 1))),
        new("entry", new HookVariant("tp_btf", ["enter"], static k => k.Tracepoint("softirq_entry", 1))),
        new("exit", new HookVariant("tp_btf", ["leave"], static k => k.Tracepoint("softirq_exit", 1))),
    ];

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<NetSoftirqProbe> StartNewAsync(EbpfOptions? options = null, NetSoftirqOptions? netSoftirq = null, CancellationToken cancellationToken = default) =>
        EbpfPrograms.StartAsync(options, programs =>
        {
            var probe = new NetSoftirqProbe(programs);
            if (netSoftirq is not null) probe.Configure(netSoftirq);
            return probe;
        }, cancellationToken);

    // The time of a raise must not outlive the interest in its vector.
    private protected override bool NeedsRestart(NetSoftirqOptions next) => Array.Exists(Vectors, v => next.Includes(v) != Options.Includes(v));

    private protected override void Loaded(BpfObject loaded)
    {
        _counts = new CpuCounts(loaded.Map("vectors"));
        _settings = loaded.Data<NetSoftirqSettings>(".data.net_softirq");
        _rows.Clear();
        foreach (NetSoftirqVector vector in Vectors)
        {
            if (!Options.Includes(vector)) continue;
            string name = NetSoftirqEvent.Name(vector);
            foreach (int cpu in _counts.Cpus)
                _rows.Add((vector, cpu, new SampleSubject(null,
                    new SampleAttribute(AttributeNames.Cpu, cpu.ToString(CultureInfo.InvariantCulture)), new SampleAttribute(VectorAttribute, name, "softirq_type"))));
        }
    }

    private protected override void Unloading()
    {
        _counts = null;
        _settings = null;
    }

    private protected override void Apply(Span<ulong> thresholdNs)
    {
        thresholdNs[(int)NetSoftirqKind.Delayed] = Nanoseconds(Options.DelayThreshold);
        thresholdNs[(int)NetSoftirqKind.RanLong] = Nanoseconds(Options.RunThreshold);
        uint vectors = 0;
        foreach (NetSoftirqVector vector in Vectors)
            if (Options.Includes(vector)) vectors |= 1u << (int)vector;
        _settings->Sampling = (uint)(ShortThreshold ? 1 : Options.Sampling);
        _settings->Vectors = vectors;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<NetSoftirqRecord> batch)
    {
        NoteProblems(batch);
        _counts!.Read();
        foreach ((NetSoftirqVector vector, int cpu, SampleSubject subject) in _rows)
        {
            // struct net_softirq_counts, bpf/net_softirq.h
            ReadOnlySpan<ulong> counts = _counts.Of((uint)(vector - NetSoftirqVector.NetTx), cpu);
            if (!_counts.Online.Contains(cpu) && !counts.ContainsAnyExcept(0ul)) continue; // room for a CPU that may be plugged in
            ref NetSoftirqRecord record = ref batch.Add(subject);
            HistogramWords.Read(counts, (int)NetSoftirqKind.Delayed * HistogramWords.Length, out record.Delay);
            HistogramWords.Read(counts, (int)NetSoftirqKind.RanLong * HistogramWords.Length, out record.Run);
            ReadOnlySpan<ulong> over10Ms = counts.Slice(Kinds * HistogramWords.Length, Kinds), over100Ms = counts.Slice(Kinds * (HistogramWords.Length + 1), Kinds);
            record.DelayedOver10Ms = over10Ms[(int)NetSoftirqKind.Delayed];
            record.DelayedOver100Ms = over100Ms[(int)NetSoftirqKind.Delayed];
            record.RanOver10Ms = over10Ms[(int)NetSoftirqKind.RanLong];
            record.RanOver100Ms = over100Ms[(int)NetSoftirqKind.RanLong];
            record.Runs = counts[Kinds * (HistogramWords.Length + 2)];
        }
    }

    private protected override NetSoftirqEvent? Understand(ReadOnlySpan<byte> record)
    {
        if (!MemoryMarshal.TryRead(record, out RawNetSoftirq raw) || raw.Kind >= Kinds || (NetSoftirqVector)raw.Vector is not (NetSoftirqVector.NetRx or NetSoftirqVector.NetTx)) return null;
        DateTimeOffset time = TimeOf(raw.Head.Time);
        return new NetSoftirqEvent
        {
            Probe = About.Name,
            Timestamp = time,
            Origin = Programs.OriginOf(in raw.Head, time),
            Kind = (NetSoftirqKind)raw.Kind,
            Vector = (NetSoftirqVector)raw.Vector,
            Cpu = (int)raw.Cpu,
            Latency = RawEvent.Duration(raw.LatencyNs),
            InKsoftirqd = raw.InKsoftirqd != 0,
        };
    }
}

/// <summary>struct net_softirq_settings, bpf/net_softirq.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct NetSoftirqSettings
{
    internal uint Vectors;
    internal uint Sampling;
}
