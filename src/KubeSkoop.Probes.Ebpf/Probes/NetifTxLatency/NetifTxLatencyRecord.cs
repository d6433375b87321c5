namespace KubeSkoop.Probes.Ebpf;

/// <summary>How long packets took to leave through the devices of one network namespace since the probe was started.</summary>
public struct NetifTxLatencyRecord
{
    /// <summary>Packets over 1 ms in a qdisc; those over 100 ms are among them. Unit: packets.</summary>
    public Reading QueueOver1Ms;

    /// <summary>Packets over 100 ms in a qdisc. Unit: packets.</summary>
    public Reading QueueOver100Ms;

    /// <summary>Calls of a driver over 1 ms, of those that are timed (<see cref="NetifTxLatencyOptions.DriverSampling"/>); those over 100 ms are among them. Unit: packets.</summary>
    public Reading DriverOver1Ms;

    /// <summary>Calls of a driver over 100 ms, of those that are timed. Unit: packets.</summary>
    public Reading DriverOver100Ms;

    /// <summary>Packets their driver was done with only after 1 ms; those over 100 ms are among them. Unit: packets. Absent unless completions are asked for.</summary>
    public Reading CompletionOver1Ms;

    /// <summary>Packets their driver was done with only after 100 ms. Unit: packets. Absent unless completions are asked for.</summary>
    public Reading CompletionOver100Ms;

    /// <summary>From entering a qdisc until leaving it. Unit: microseconds. Kernel: qdisc_enqueue, qdisc_dequeue.</summary>
    public Log2Histogram Queue;

    /// <summary>The call that hands a packet to the driver, one in <see cref="NetifTxLatencyOptions.DriverSampling"/>. Unit: microseconds. Kernel: net_dev_start_xmit, net_dev_xmit.</summary>
    public Log2Histogram Driver;

    /// <summary>From that call until the driver is done with the packet. Unit: microseconds. Kernel: net_dev_start_xmit, consume_skb. Absent unless completions are asked for.</summary>
    public Log2Histogram Completion;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<NetifTxLatencyRecord> Metrics { get; } = MakeMetrics();

    private static MetricTable<NetifTxLatencyRecord> MakeMetrics()
    {
        var table = new MetricTable<NetifTxLatencyRecord>
        {
            { "kubeskoop.netiftxlatency.queue_over_1ms", MetricKind.Counter, "{packet}", "Packets over 1 ms in a qdisc, including those over 100 ms.", static (in NetifTxLatencyRecord r) => r.QueueOver1Ms },
            { "kubeskoop.netiftxlatency.queue_over_100ms", MetricKind.Counter, "{packet}", "Packets over 100 ms in a qdisc.", static (in NetifTxLatencyRecord r) => r.QueueOver100Ms, "kubeskoop_netiftxlat_qdiscslow100ms" },
            { "kubeskoop.netiftxlatency.driver_over_1ms", MetricKind.Counter, "{packet}", "Calls of a driver over 1 ms, of those that are timed, including those over 100 ms.", static (in NetifTxLatencyRecord r) => r.DriverOver1Ms },
            { "kubeskoop.netiftxlatency.driver_over_100ms", MetricKind.Counter, "{packet}", "Calls of a driver over 100 ms, of those that are timed.", static (in NetifTxLatencyRecord r) => r.DriverOver100Ms, "kubeskoop_netiftxlat_netdevslow100ms" },
            { "kubeskoop.netiftxlatency.completion_over_1ms", MetricKind.Counter, "{packet}", "Packets their driver was done with only after 1 ms, including those over 100 ms.", static (in NetifTxLatencyRecord r) => r.CompletionOver1Ms },
            { "kubeskoop.netiftxlatency.completion_over_100ms", MetricKind.Counter, "{packet}", "Packets their driver was done with only after 100 ms.", static (in NetifTxLatencyRecord r) => r.CompletionOver100Ms },
        };
        table.AddHistogram("kubeskoop.netiftxlatency.queue", "s", 1e-6, "How long packets were in a qdisc.", static (in NetifTxLatencyRecord r) => ref r.Queue);
        table.AddHistogram("kubeskoop.netiftxlatency.driver", "s", 1e-6, "How long the call took that handed a packet to the driver, of those that are timed.", static (in NetifTxLatencyRecord r) => ref r.Driver);
        table.AddHistogram("kubeskoop.netiftxlatency.completion", "s", 1e-6, "How long after that call the driver was done with the packet.", static (in NetifTxLatencyRecord r) => ref r.Completion);
        return table;
    }
}

/// <summary>Settings of the probe <c>netiftxlatency</c>.</summary>
public sealed class NetifTxLatencyOptions() : EbpfProbeOptions(SectionName)
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":netiftxlatency";

    /// <summary>A packet at least this long in a qdisc is told as an event. Default: 100 ms.</summary>
    public TimeSpan QueueThreshold { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>A driver's call of at least this length is told as an event. Default: 100 ms.</summary>
    public TimeSpan DriverThreshold { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>A packet at least this long with its driver is told as an event. Default: 100 ms.</summary>
    public TimeSpan CompletionThreshold { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>Of the calls into drivers, one in this many is timed; a power of two. 1: all, at some 100 ns a packet. Default: 8.</summary>
    public int DriverSampling { get; set; } = 8;

    /// <summary>Whether to watch how long drivers keep packets. It costs a program at the end of every packet of the machine. Takes effect at a start. Default: no.</summary>
    public bool Completions { get; set; }

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        string[] mistakes =
        [
            .. base.Validate(), .. CheckThreshold(nameof(QueueThreshold), QueueThreshold), .. CheckThreshold(nameof(DriverThreshold), DriverThreshold),
            .. CheckThreshold(nameof(CompletionThreshold), CompletionThreshold),
        ];
        foreach (string mistake in mistakes) yield return mistake;
        if (DriverSampling is < 1 or > 65536 || !int.IsPow2(DriverSampling)) yield return $"{SectionName}:{nameof(DriverSampling)} is {DriverSampling}; it must be a power of two between 1 and 65536.";
    }
}
