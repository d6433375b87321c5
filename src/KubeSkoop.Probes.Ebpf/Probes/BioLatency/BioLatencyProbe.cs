using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>How long requests to disks wait for the driver, and how long they take there.</summary>
/// <remarks>Makes a stopped probe that shares its reading thread with the other probes of the package.</remarks>
public sealed unsafe class BioLatencyProbe(EbpfPrograms programs, IOptions<BioLatencyOptions>? options = null, TimeProvider? clock = null)
    : EbpfProbe<BioLatencyRecord, BioLatencyEvent, BioLatencyOptions>(About, programs, options?.Value, clock)
{
    internal const string DiskAttribute = "system.device";
    internal const string OperationAttribute = "disk.io.operation";
    private const string FlushSequence = "__RQF_FLUSH_SEQ"; // include/linux/blk-mq.h, 6.12 and later, as the next
    private const string IoStatistics = "__RQF_IO_STAT";

    private DiskCounts? _counts;
    private BioLatencySettings* _settings;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "biolatency",
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.Medium,
        Purpose = "How long requests to disks take, by disk and operation: waiting for the driver, and with the device.",
        Finds =
        [
            "Slow disks behind what looks like a slow network: a server that waits for its disk answers late.",
            "Who waits: the process, and the cgroup the data are from.",
            "Whether the disk is slow, or its queue is long.",
        ],
        KernelSources =
        [
            "tracepoints block:block_io_start (6.5; before, block:block_rq_insert and struct request.start_time_ns), block:block_rq_issue, block:block_rq_complete",
        ],
        Requirements =
        [
            "CAP_BPF and CAP_PERFMON (before 5.8: CAP_SYS_ADMIN).",
            "A kernel with BTF, 5.8 or later.",
        ],
        Attributes = [new(DiskAttribute, "the disk's name"), new(OperationAttribute, "read, write, flush, discard or other")],
        Metrics = BioLatencyRecord.Metrics.Describe(),
        Events = [new(nameof(BioLatencyEvent), "A request took longer than the threshold: disk, operation, sector, bytes, queue and device time, cgroup of the data, the process that waits, error.")],
        Options =
        [
            .. EbpfOptionDescriptions.OfEvents,
            new(nameof(BioLatencyOptions.Threshold), "time", "00:00:00.0100000", "A request that takes at least this long is told as an event."),
        ],
        Notes =
        [
            "Disks belong to the machine, not to a network namespace: rows are about the node, and whoever uses a disk is seen, pod or not. A disk has rows from its first request on, and none once it is gone.",
            "A disk has requests when its driver takes them from the kernel's queue. Those built on others without one (device mapper, md, zram) are not seen; the disks below them are.",
            "Time before there is a request is not seen: a limit of a cgroup (io.max, blkio.throttle), writeback throttling, all tags of the queue in use.",
            "An empty flush of the cache (fsync) is a write without bytes, as in the kernel's own count, and the flush that the disk then gets is a flush. Zeroes written without data are 'other', which the kernel counts among writes.",
            "The cgroup of asynchronous writes is that of who made the data only where memory and io controller are of version 2; else it is the root's. The kernel's own flushes have none.",
            "Requests that the driver had when the probe was started count without queue and device time; without any where the disk keeps no statistics (queue/iostats). Those that waited for it then have no process.",
            "A request that its driver gives back waits in the queue again; device time counts from the last time the driver got it.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<BioLatencyRecord> Metrics => BioLatencyRecord.Metrics;

    private protected override IReadOnlyList<Hook> Hooks { get; } =
    [
        new("start",
            new HookVariant("tp_btf", ["start"], Start),
            new HookVariant("tp_btf", ["insert"], static k => k.Tracepoint("block_rq_insert", 1, 1)),
            new HookVariant("tp_btf", ["insert_with_queue"], static k => k.Tracepoint("block_rq_insert", 2, 2))),
        new("issue",
            new HookVariant("tp_btf", ["issue"], static k => k.Tracepoint("block_rq_issue", 1, 1)),
            new HookVariant("tp_btf", ["issue_with_queue"], static k => k.Tracepoint("block_rq_issue", 2, 2))),
        new("complete", new HookVariant("tp_btf", ["complete"], static k => k.Tracepoint("block_rq_complete", 3))),
    ];

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<BioLatencyProbe> StartNewAsync(EbpfOptions? options = null, BioLatencyOptions? biolatency = null, CancellationToken cancellationToken = default) =>
        EbpfPrograms.StartAsync(options, programs =>
        {
            var probe = new BioLatencyProbe(programs);
            if (biolatency is not null) probe.Configure(biolatency);
            return probe;
        }, cancellationToken);

    private protected override void Loaded(BpfObject loaded)
    {
        _counts = new DiskCounts(loaded.Map("disks"), Clock);
        _settings = loaded.Data<BioLatencySettings>(".data.biolatency");
        _settings->FlushSequence = Flag(FlushSequence);
        _settings->Statistics = Flag(IoStatistics);
        _settings->StartsTold = Start(Programs.Features) is null ? 1u : 0;
    }

    private static string? Start(KernelFeatures kernel) => kernel.Tracepoint("block_io_start", 1);

    private uint Flag(string name) => Programs.Features.Btf?.EnumerationWith(name)?[name] is { } bit and >= 0 and < 32 ? 1u << (int)bit : 0;

    private protected override void Unloading()
    {
        _counts = null;
        _settings = null;
    }

    private protected override void Apply(Span<ulong> thresholdNs) => thresholdNs[0] = Nanoseconds(Options.Threshold);

    /// <inheritdoc />
    protected override void Read(SampleBatch<BioLatencyRecord> batch)
    {
        NoteProblems(batch);
        _counts!.Read(batch);
    }

    private protected override BioLatencyEvent? Understand(ReadOnlySpan<byte> record)
    {
        if (!MemoryMarshal.TryRead(record, out RawBioLatency raw) || raw.Operation > (byte)BioLatencyOperation.Other) return null;
        DateTimeOffset time = TimeOf(raw.Head.Time);
        RawEvent head = raw.Head;
        if (raw.OwnHierarchy != 0) head.Cgroup = 0; // in the hierarchy that pods are known by, the number is another's
        return new BioLatencyEvent
        {
            Probe = About.Name,
            Timestamp = time,
            Origin = Programs.OriginOf(in head, time),
            CgroupId = raw.Head.Cgroup == 0 ? null : raw.Head.Cgroup,
            Disk = RawEvent.Text(raw.Disk),
            Operation = (BioLatencyOperation)raw.Operation,
            Latency = RawEvent.Duration(raw.TotalNs),
            Queue = raw.Issued == 0 ? null : RawEvent.Duration(raw.QueueNs),
            Sector = raw.Sector,
            Bytes = raw.Bytes,
            Error = BioLatencyEvent.ErrorOf(raw.Status),
        };
    }
}
