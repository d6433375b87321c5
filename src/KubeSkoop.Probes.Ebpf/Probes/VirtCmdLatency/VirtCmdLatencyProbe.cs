using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>How long the host of this virtual machine takes to carry out commands to its network devices.</summary>
/// <remarks>Makes a stopped probe that shares its reading thread with the other probes of the package.</remarks>
public sealed class VirtCmdLatencyProbe(EbpfPrograms programs, IOptions<VirtCmdLatencyOptions>? options = null, TimeProvider? clock = null)
    : EbpfProbe<VirtCmdLatencyRecord, VirtCmdLatencyEvent, VirtCmdLatencyOptions>(About, programs, options?.Value, clock)
{
    private const string Module = "virtio_net";
    private const int Words = HistogramWords.Length + 3; // struct virtcmdlatency_counts, bpf/virtcmdlatency.h

    private int _commands;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "virtcmdlatency",
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.Low,
        Purpose = "How long the host takes to carry out commands to a virtual machine's network devices.",
        Finds =
        [
            "A host with too much to do: the driver waits for its answer, and whoever wants anything of the device waits for the driver.",
            "Who gives commands: a program that toggles promiscuous mode, or addresses and VLANs that change all the time.",
            "Commands that the device refuses.",
        ],
        KernelSources =
        [
            "function virtnet_send_command_reply (6.11 and later; before, virtnet_send_command) of the driver virtio_net, by kprobe and kretprobe",
        ],
        Requirements =
        [
            "CAP_BPF and CAP_PERFMON (before 5.8: CAP_SYS_ADMIN).",
            "A kernel with BTF, 5.8 or later, that has kprobes and lets programs use them.",
            "The driver virtio_net, loaded.",
        ],
        Metrics = VirtCmdLatencyRecord.Metrics.Describe(),
        Events = [new(nameof(VirtCmdLatencyEvent), "A command took longer than the threshold, or failed: device, class and code, time, the process that waited.")],
        Options =
        [
            .. EbpfOptionDescriptions.OfEvents,
            new(nameof(VirtCmdLatencyOptions.Threshold), "time", "00:00:00.0100000", "A command that takes at least this long is told as an event; one that fails always is."),
        ],
        Notes =
        [
            "Devices belong to the machine: the one row is the node's. The event names the device and the network namespace it is in.",
            "A command is one call of the driver's function; to set the receive mode takes two or three. A device without the feature for a command is not asked.",
            "Commands that were under way when the probe was started are not counted.",
            "The packets themselves take other queues: a slow command says that the host is slow, not that packets are.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<VirtCmdLatencyRecord> Metrics => VirtCmdLatencyRecord.Metrics;

    // No tracepoint is near, and the types of a module's functions are unknown before 5.11. A command is rare and slow enough for a kprobe.
    private protected override IReadOnlyList<Hook> Hooks { get; } =
    [
        new("command",
            new HookVariant("kprobe", ["enter_reply", "leave_reply"], static k => k.KprobeInModule("virtnet_send_command_reply", Module)),
            new HookVariant("kprobe", ["enter", "leave"], static k => k.KprobeInModule("virtnet_send_command", Module))),
    ];

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<VirtCmdLatencyProbe> StartNewAsync(EbpfOptions? options = null, VirtCmdLatencyOptions? virtcmdlatency = null, CancellationToken cancellationToken = default) =>
        EbpfPrograms.StartAsync(options, programs =>
        {
            var probe = new VirtCmdLatencyProbe(programs);
            if (virtcmdlatency is not null) probe.Configure(virtcmdlatency);
            return probe;
        }, cancellationToken);

    private protected override void Loaded(BpfObject loaded)
    {
        nint commands = loaded.Map("commands");
        if (Libbpf.MapValueSize(commands) != Words * sizeof(ulong)) throw new InvalidOperationException("The map commands has other values than this reader.");
        _commands = Libbpf.MapDescriptor(commands);
    }

    private protected override void Apply(Span<ulong> thresholdNs) => thresholdNs[0] = Nanoseconds(Options.Threshold);

    /// <inheritdoc />
    protected override void Read(SampleBatch<VirtCmdLatencyRecord> batch)
    {
        NoteProblems(batch);
        Span<ulong> counts = stackalloc ulong[Words];
        PerCpuElement.Read(_commands, counts);
        ref VirtCmdLatencyRecord record = ref batch.Add(SampleSubject.Node);
        HistogramWords.Read(counts, 0, out record.Duration);
        record.Commands = record.Duration.Count;
        record.Failed = counts[HistogramWords.Length];
        record.Over10Ms = counts[HistogramWords.Length + 1];
        record.Over100Ms = counts[HistogramWords.Length + 2];
    }

    private protected override VirtCmdLatencyEvent? Understand(ReadOnlySpan<byte> record)
    {
        if (!MemoryMarshal.TryRead(record, out RawVirtCmdLatency raw)) return null;
        DateTimeOffset time = TimeOf(raw.Head.Time);
        return new VirtCmdLatencyEvent
        {
            Probe = About.Name,
            Timestamp = time,
            Origin = Programs.OriginOf(in raw.Head, time),
            Latency = RawEvent.Duration(raw.LatencyNs),
            Device = raw.DeviceIndex == 0 ? null : RawEvent.Text(raw.Device),
            DeviceIndex = raw.DeviceIndex,
            Class = VirtCmdLatencyEvent.NameOf(raw.Class),
            Code = raw.Code,
            Failed = raw.Failed != 0,
        };
    }
}
