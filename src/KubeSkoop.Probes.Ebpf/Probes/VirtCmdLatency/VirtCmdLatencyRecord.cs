namespace KubeSkoop.Probes.Ebpf;

/// <summary>Commands to virtio network devices since the probe was started.</summary>
public struct VirtCmdLatencyRecord
{
    /// <summary>Commands that were carried out, or refused. Unit: commands. Kernel: virtnet_send_command.</summary>
    public Reading Commands;

    /// <summary>Those the device refused. Unit: commands. Kernel: what virtnet_send_command returns.</summary>
    public Reading Failed;

    /// <summary>Those that took 10 ms or more; those of 100 ms or more are among them. Unit: commands.</summary>
    public Reading Over10Ms;

    /// <summary>Those that took 100 ms or more. Unit: commands.</summary>
    public Reading Over100Ms;

    /// <summary>From the call of virtnet_send_command to its return. Unit: microseconds.</summary>
    public Log2Histogram Duration;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<VirtCmdLatencyRecord> Metrics { get; } = MakeMetrics();

    private static MetricTable<VirtCmdLatencyRecord> MakeMetrics()
    {
        var table = new MetricTable<VirtCmdLatencyRecord>
        {
            { "kubeskoop.virtcmdlatency.commands", MetricKind.Counter, "{command}", "Commands to virtio network devices.", static (in VirtCmdLatencyRecord r) => r.Commands },
            { "kubeskoop.virtcmdlatency.failed", MetricKind.Counter, "{command}", "Commands that the device refused.", static (in VirtCmdLatencyRecord r) => r.Failed },
            { "kubeskoop.virtcmdlatency.over_10ms", MetricKind.Counter, "{command}", "Commands that took 10 ms or more, including those of 100 ms or more.", static (in VirtCmdLatencyRecord r) => r.Over10Ms, "kubeskoop_virtcmdlatency_latency" },
            { "kubeskoop.virtcmdlatency.over_100ms", MetricKind.Counter, "{command}", "Commands that took 100 ms or more.", static (in VirtCmdLatencyRecord r) => r.Over100Ms, "kubeskoop_virtcmdlatency_latency100ms" },
        };
        table.AddHistogram("kubeskoop.virtcmdlatency.duration", "s", 1e-6, "How long the host took to carry commands out.", static (in VirtCmdLatencyRecord r) => ref r.Duration);
        return table;
    }
}

/// <summary>Settings of the probe <c>virtcmdlatency</c>.</summary>
public sealed class VirtCmdLatencyOptions() : EbpfEventOptions(SectionName)
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":virtcmdlatency";

    /// <summary>A command that takes at least this long is told as an event; one that fails always is. Default: 10 ms.</summary>
    public TimeSpan Threshold { get; set; } = TimeSpan.FromMilliseconds(10);

    /// <inheritdoc />
    public override IEnumerable<string> Validate() => [.. base.Validate(), .. CheckThreshold(nameof(Threshold), Threshold)];
}
