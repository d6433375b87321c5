namespace KubeSkoop.Probes.Ebpf;

/// <summary>One softirq of the network on one CPU since the probe was started.</summary>
public struct NetSoftirqRecord
{
    /// <summary>Times it ran. Unit: events. Kernel: softirq_entry; also in /proc/softirqs.</summary>
    public Reading Runs;

    /// <summary>Delays over 10 ms; those over 100 ms are among them. Unit: events.</summary>
    public Reading DelayedOver10Ms;

    /// <summary>Delays over 100 ms. Unit: events.</summary>
    public Reading DelayedOver100Ms;

    /// <summary>Runs over 10 ms; those over 100 ms are among them. Unit: events.</summary>
    public Reading RanOver10Ms;

    /// <summary>Runs over 100 ms. Unit: events.</summary>
    public Reading RanOver100Ms;

    /// <summary>From the first raise to the entry; those within two ticks from a sample that stands for all. Unit: microseconds. Kernel: softirq_raise, softirq_entry.</summary>
    public Log2Histogram Delay;

    /// <summary>From the entry to the exit; those within two ticks from a sample that stands for all. Unit: microseconds. Kernel: softirq_entry, softirq_exit.</summary>
    public Log2Histogram Run;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<NetSoftirqRecord> Metrics { get; } = MakeMetrics();

    private static MetricTable<NetSoftirqRecord> MakeMetrics()
    {
        var table = new MetricTable<NetSoftirqRecord>(upstreamKind: MetricKind.Counter)
        {
            { "kubeskoop.net_softirq.runs", MetricKind.Counter, "{event}", "Softirqs that ran.", static (in NetSoftirqRecord r) => r.Runs },
            { "kubeskoop.net_softirq.delayed_over_10ms", MetricKind.Counter, "{event}", "Softirqs entered more than 10 ms after they were raised, including those over 100 ms.", static (in NetSoftirqRecord r) => r.DelayedOver10Ms, "kubeskoop_softirq_schedslow" },
            { "kubeskoop.net_softirq.delayed_over_100ms", MetricKind.Counter, "{event}", "Softirqs entered more than 100 ms after they were raised.", static (in NetSoftirqRecord r) => r.DelayedOver100Ms, "kubeskoop_softirq_schedslow100ms" },
            { "kubeskoop.net_softirq.ran_over_10ms", MetricKind.Counter, "{event}", "Softirqs that ran for more than 10 ms, including those over 100 ms.", static (in NetSoftirqRecord r) => r.RanOver10Ms, "kubeskoop_softirq_excuteslow" },
            { "kubeskoop.net_softirq.ran_over_100ms", MetricKind.Counter, "{event}", "Softirqs that ran for more than 100 ms.", static (in NetSoftirqRecord r) => r.RanOver100Ms, "kubeskoop_softirq_excuteslow100ms" },
        };
        table.AddHistogram("kubeskoop.net_softirq.delay", "s", 1e-6, "How long softirqs waited from raise to entry.", static (in NetSoftirqRecord r) => ref r.Delay);
        table.AddHistogram("kubeskoop.net_softirq.run", "s", 1e-6, "How long softirqs ran from entry to exit.", static (in NetSoftirqRecord r) => ref r.Run);
        return table;
    }
}

/// <summary>Settings of the probe <c>net_softirq</c>.</summary>
public sealed class NetSoftirqOptions() : EbpfEventOptions(SectionName)
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":net_softirq";

    /// <summary>The softirqs to look at: <c>net_rx</c>, <c>net_tx</c>. Empty: both. Takes effect at a start. Default: both.</summary>
    public IList<string> Vectors { get; } = [];

    /// <summary>A softirq that waits at least this long is told as an event. Default: 10 ms.</summary>
    public TimeSpan DelayThreshold { get; set; } = TimeSpan.FromMilliseconds(10);

    /// <summary>A softirq that runs at least this long is told as an event. Default: 10 ms.</summary>
    public TimeSpan RunThreshold { get; set; } = TimeSpan.FromMilliseconds(10);

    /// <summary>
    /// Of the softirqs that wait, or run, within two ticks of the kernel's clock, one in this many is timed and stands for the others in the histograms; a power of two. 1: all, at some 100 ns
    /// more for each. Longer ones are always timed, and where two ticks are longer than a threshold or 10 ms all are. Default: 8.
    /// </summary>
    public int Sampling { get; set; } = 8;

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        foreach (string mistake in base.Validate()) yield return mistake;
        foreach (string mistake in CheckThreshold(nameof(DelayThreshold), DelayThreshold)) yield return mistake;
        foreach (string mistake in CheckThreshold(nameof(RunThreshold), RunThreshold)) yield return mistake;
        if (Sampling is < 1 or > 65536 || !int.IsPow2(Sampling)) yield return $"{SectionName}:{nameof(Sampling)} is {Sampling}; it must be a power of two between 1 and 65536.";
        foreach (string name in Vectors)
            if (Parse(name) is null) yield return $"{SectionName}:{nameof(Vectors)} has '{name}'; it must be net_rx or net_tx.";
    }

    /// <summary>Whether a softirq is to be looked at.</summary>
    internal bool Includes(NetSoftirqVector vector) => Vectors.Count == 0 || Vectors.Any(name => Parse(name) == vector);

    private static NetSoftirqVector? Parse(string name) => name.Trim().ToUpperInvariant() switch
    {
        "NET_RX" => NetSoftirqVector.NetRx,
        "NET_TX" => NetSoftirqVector.NetTx,
        _ => null,
    };
}
