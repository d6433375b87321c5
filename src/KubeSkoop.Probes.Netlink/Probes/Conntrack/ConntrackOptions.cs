namespace KubeSkoop.Probes.Netlink;

/// <summary>Which notices of the kernel become events.</summary>
[Flags]
public enum ConntrackNotices
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>New entries.</summary>
    New = 1,

    /// <summary>Entries that change.</summary>
    Update = 2,

    /// <summary>Entries that are gone; with accounting they carry the flow's traffic.</summary>
    Destroy = 4,

    /// <summary>Flows that helpers expect.</summary>
    Expectation = 8,

    /// <summary>All of them.</summary>
    All = New | Update | Destroy | Expectation,
}

/// <summary>Settings of the probe <c>conntrack</c>.</summary>
public sealed class ConntrackOptions : ProbeOptions
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":conntrack";

    /// <summary>Which notices of the kernel become events. Each connection makes several, so: for a while, when there is trouble. Default: none.</summary>
    public ConntrackNotices Events { get; set; } = ConntrackNotices.None;

    /// <summary>Room for notices of one namespace that wait to be read. Unit: bytes. Default: 4 MiB.</summary>
    public int EventBufferBytes { get; set; } = 4 * 1024 * 1024;

    /// <summary>How often the counters are looked at for full tables and failed insertions, which become events. Zero: never. Default: 10 s.</summary>
    public TimeSpan CheckInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Whether entries are counted by protocol, state and flags. Default: no.</summary>
    public bool Entries { get; set; }

    /// <summary>How often they are counted. Default: 60 s.</summary>
    public TimeSpan EntriesInterval { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// The longest one round of counting may take; namespaces that are left go first in the next. One namespace is always counted.
    /// Default: 2 s.
    /// </summary>
    public TimeSpan EntriesTimeBudget { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Counts entries of one IP protocol only, by its number (6 for TCP), and lets the kernel leave out the others (5.8 and later). Default: all.</summary>
    public int? EntriesProtocol { get; set; }

    private static readonly TimeSpan Longest = TimeSpan.FromDays(1);

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        if ((Events & ~ConntrackNotices.All) != 0) yield return $"{SectionName}:{nameof(Events)} is {(int)Events}; it must be made of {nameof(ConntrackNotices.New)}, {nameof(ConntrackNotices.Update)}, {nameof(ConntrackNotices.Destroy)} and {nameof(ConntrackNotices.Expectation)}.";
        if (EventBufferBytes < 4096) yield return $"{SectionName}:{nameof(EventBufferBytes)} is {EventBufferBytes}; it must be 4096 or more.";
        if (CheckInterval != TimeSpan.Zero && (CheckInterval < TimeSpan.FromMilliseconds(100) || CheckInterval > Longest)) yield return $"{SectionName}:{nameof(CheckInterval)} is {CheckInterval}; it must lie between 100 ms and a day, such as 00:00:10, or be zero.";
        if (EntriesInterval < TimeSpan.FromMilliseconds(100) || EntriesInterval > Longest) yield return $"{SectionName}:{nameof(EntriesInterval)} is {EntriesInterval}; it must lie between 100 ms and a day, such as 00:01:00.";
        if (EntriesTimeBudget <= TimeSpan.Zero || EntriesTimeBudget > Longest) yield return $"{SectionName}:{nameof(EntriesTimeBudget)} is {EntriesTimeBudget}; it must be longer than zero and at most a day.";
        if (EntriesProtocol is < 0 or > 255) yield return $"{SectionName}:{nameof(EntriesProtocol)} is {EntriesProtocol}; it must be a protocol number, 0 to 255.";
    }
}
