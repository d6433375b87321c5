namespace KubeSkoop.Probes.Netlink;

/// <summary>Settings of the probe <c>tcpsummary</c>.</summary>
public sealed class TcpSummaryOptions : ProbeOptions
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":tcpsummary";

    /// <summary>
    /// How long one sample may list connections, all namespaces together. What does not fit follows in the next samples,
    /// oldest first; one namespace is listed in any case. Default: 50 ms.
    /// </summary>
    public TimeSpan Budget { get; set; } = TimeSpan.FromMilliseconds(50);

    /// <summary>A namespace's connections are listed again at this age even when no counter has moved. Default: 30 s.</summary>
    public TimeSpan MaxAge { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Connections with more than this in a queue are counted apart. Unit: bytes. Default: 65,536.</summary>
    public long QueueThreshold { get; set; } = 65_536;

    /// <summary>
    /// Whether round-trip times, retransmits, limited times and congestion control are asked for; listing then takes about
    /// twice as long. Default: no.
    /// </summary>
    public bool Info { get; set; }

    /// <summary>Whether the listener with the fullest accept queue is named by address and port, in a row of its own. Default: no.</summary>
    public bool NameListeners { get; set; }

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        if (Budget <= TimeSpan.Zero || Budget > TimeSpan.FromSeconds(10)) yield return $"{SectionName}:{nameof(Budget)} is {Budget}; it must be longer than zero and at most 10 s.";
        if (MaxAge < TimeSpan.FromSeconds(1) || MaxAge > TimeSpan.FromDays(1)) yield return $"{SectionName}:{nameof(MaxAge)} is {MaxAge}; it must be between 1 s and a day.";
        if (QueueThreshold is < 0 or > uint.MaxValue) yield return $"{SectionName}:{nameof(QueueThreshold)} is {QueueThreshold}; it must be between 0 and {uint.MaxValue} bytes.";
    }
}
