namespace KubeSkoop.Probes.Ebpf;

/// <summary>Requests of one kind to one disk since the probe was started.</summary>
public struct BioLatencyRecord
{
    /// <summary>Requests that were completed. Unit: requests. Kernel: block_rq_complete.</summary>
    public Reading Operations;

    /// <summary>Their bytes. Unit: bytes. Kernel: block_rq_complete.</summary>
    public Reading Bytes;

    /// <summary>Those of them that failed. Unit: requests. Kernel: block_rq_complete with an error.</summary>
    public Reading Errors;

    /// <summary>From start to completion. Unit: microseconds. Kernel: block_io_start (before 6.5: request.start_time_ns), block_rq_complete.</summary>
    public Log2Histogram Total;

    /// <summary>Until the driver got them. Unit: microseconds. Kernel: block_io_start, block_rq_issue.</summary>
    public Log2Histogram Queue;

    /// <summary>From then until their completion. Unit: microseconds. Kernel: block_rq_issue, block_rq_complete.</summary>
    public Log2Histogram Device;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<BioLatencyRecord> Metrics { get; } = MakeMetrics();

    private static MetricTable<BioLatencyRecord> MakeMetrics()
    {
        var table = new MetricTable<BioLatencyRecord>
        {
            { "kubeskoop.biolatency.operations", MetricKind.Counter, "{operation}", "Requests to disks that were completed.", static (in BioLatencyRecord r) => r.Operations },
            { "kubeskoop.biolatency.bytes", MetricKind.Counter, "By", "Bytes of requests to disks that were completed.", static (in BioLatencyRecord r) => r.Bytes },
            { "kubeskoop.biolatency.errors", MetricKind.Counter, "{operation}", "Requests to disks that failed.", static (in BioLatencyRecord r) => r.Errors },
        };
        table.AddHistogram("kubeskoop.biolatency.total", "s", 1e-6, "How long requests to disks took from start to completion.", static (in BioLatencyRecord r) => ref r.Total);
        table.AddHistogram("kubeskoop.biolatency.queue", "s", 1e-6, "How long requests waited until the disk's driver got them.", static (in BioLatencyRecord r) => ref r.Queue);
        table.AddHistogram("kubeskoop.biolatency.device", "s", 1e-6, "How long requests took from when the driver got them to completion.", static (in BioLatencyRecord r) => ref r.Device);
        return table;
    }
}

/// <summary>Settings of the probe <c>biolatency</c>.</summary>
public sealed class BioLatencyOptions() : EbpfEventOptions(SectionName)
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":biolatency";

    /// <summary>A request that takes at least this long from start to completion is told as an event. Default: 10 ms.</summary>
    public TimeSpan Threshold { get; set; } = TimeSpan.FromMilliseconds(10);

    /// <inheritdoc />
    public override IEnumerable<string> Validate() => [.. base.Validate(), .. CheckThreshold(nameof(Threshold), Threshold)];
}
