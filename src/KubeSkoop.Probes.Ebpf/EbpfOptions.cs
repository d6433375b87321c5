namespace KubeSkoop.Probes.Ebpf;

/// <summary>What all BPF probes share.</summary>
public sealed class EbpfOptions : ProbeOptions
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":Ebpf";

    /// <summary>
    /// A libbpf 1.0 or later to use instead of the packaged one: an absolute path, or a name such as <c>libbpf.so.1</c> that the system's loader finds.
    /// Then no other is tried. Default: the packaged one, else the system's. A process loads libbpf once and keeps it.
    /// </summary>
    public string? LibraryPath { get; set; }

    /// <summary>
    /// A file with the BTF of this kernel, for kernels that publish none. It says where fields lie, so it serves probes whose hooks need no more: virtcmdlatency (kprobe) and flow
    /// (cgroup), and what tcp, udp, ip, icmp, tcpext and tcpsummary read through programs. Hooks by <c>tp_btf</c> and <c>fentry</c>, which the others have, need the kernel's own.
    /// </summary>
    public string? BtfPath { get; set; }

    /// <summary>The only kind of hook to use (<c>tp_btf</c>, <c>fentry</c>, <c>kprobe</c>); for trying out. Default: the best there is.</summary>
    public string? Hook { get; set; }

    /// <summary>
    /// Whether the kernel measures how long the programs run: for a tenth of a second every five seconds, which stands for all of them. (To measure every run costs some 50 ns
    /// each, of all BPF programs of the machine.) Default: yes.
    /// </summary>
    public bool MeasureOverhead { get; set; } = true;

    /// <summary>Network namespaces a probe keeps counters for. What comes beyond is counted as uncounted. Default: 1024.</summary>
    public int MaxNamespaces { get; set; } = 1024;

    /// <summary>
    /// Room for events of one probe that wait to be read, in bytes; a power of two, and at least a page. An event takes some 100 to 400 bytes, and each CPU may send ten times
    /// <see cref="EbpfEventOptions.EventBurst"/> at once; what finds no room is counted as lost. Default: 1 MiB.
    /// </summary>
    public int RingBytes { get; set; } = 1024 * 1024;

    /// <summary>
    /// Whether the probes tcp, udp, ip, icmp and tcpext take their counters from the kernel in one pass for all namespaces, instead of reading files of each.
    /// Takes 5 KB of memory for each of <see cref="MaxNamespaces"/>; further namespaces are read from their files. Default: yes.
    /// </summary>
    public bool ReadCounters { get; set; } = true;

    /// <summary>
    /// Whether the probe tcpsummary looks at the sockets of all namespaces in one pass over the kernel's tables, instead of having them listed namespace by namespace.
    /// When more than <see cref="MaxNamespaces"/> namespaces have TCP sockets, they are listed. Default: yes.
    /// </summary>
    public bool ReadSockets { get; set; } = true;

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        if (LibraryPath is { } path && (path.Trim().Length == 0 || (path.Contains('/', StringComparison.Ordinal) && !Path.IsPathRooted(path))))
            yield return $"{SectionName}:{nameof(LibraryPath)} is '{path}'; it must be an absolute path such as /usr/lib/libbpf.so.1, or a library's name such as libbpf.so.1.";
        if (BtfPath is { } btf && !File.Exists(btf)) yield return $"{SectionName}:{nameof(BtfPath)} is {btf}; there is no such file.";
        if (Hook is { } hook && hook is not ("tp_btf" or "fentry" or "kprobe")) yield return $"{SectionName}:{nameof(Hook)} is {hook}; it must be tp_btf, fentry or kprobe.";
        if (MaxNamespaces is < 16 or > 65536) yield return $"{SectionName}:{nameof(MaxNamespaces)} is {MaxNamespaces}; it must lie between 16 and 65536.";
        if (RingBytes < Environment.SystemPageSize || (RingBytes & (RingBytes - 1)) != 0 || RingBytes > 1 << 30)
            yield return $"{SectionName}:{nameof(RingBytes)} is {RingBytes}; it must be a power of two between {Environment.SystemPageSize} and {1 << 30}.";
    }
}

/// <summary>Settings of a BPF probe that sends events. They lie in memory its programs read, so they can be changed while it runs.</summary>
public abstract class EbpfEventOptions : ProbeOptions
{
    /// <summary>Settings kept in a section.</summary>
    private protected EbpfEventOptions(string section) => Section = section;

    /// <summary>
    /// Events per second that the kernel may send of one network namespace on one CPU, on average; what is beyond is counted as suppressed. It takes nothing from other
    /// namespaces, unless ten of them send as much or two share a bucket (there are 1,024). All together may send ten times as many. Events of no namespace (all of biolatency's
    /// and net_softirq's, some of packetloss' and virtcmdlatency's) are limited like those of one. 0: no limit. Default: 100.
    /// </summary>
    public int EventsPerSecond { get; set; } = 100;

    /// <summary>Events of one namespace that a CPU may send at once; of all together ten times as many. Default: 200.</summary>
    public int EventBurst { get; set; } = 200;

    /// <summary>Where they are kept, for messages.</summary>
    private protected string Section { get; }

    /// <summary>A message when a threshold is none.</summary>
    private protected IEnumerable<string> CheckThreshold(string name, TimeSpan value)
    {
        if (value < TimeSpan.Zero || value > TimeSpan.FromHours(1)) yield return $"{Section}:{name} is {value}; it must lie between 00:00:00 and 01:00:00.";
    }

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        if (EventsPerSecond is < 0 or > 10_000_000) yield return $"{Section}:{nameof(EventsPerSecond)} is {EventsPerSecond}; it must lie between 0 and 10000000.";
        if (EventBurst is < 1 or > 1_000_000) yield return $"{Section}:{nameof(EventBurst)} is {EventBurst}; it must lie between 1 and 1000000.";
    }
}

/// <summary>Settings of a BPF probe whose numbers and events are about network namespaces.</summary>
public abstract class EbpfProbeOptions : EbpfEventOptions
{
    /// <summary>Settings kept in a section.</summary>
    private protected EbpfProbeOptions(string section)
        : base(section)
    {
    }

    /// <summary>
    /// Inodes of the only network namespaces to look at; the others cost next to nothing then, and have no rows. Empty: all. Default: all.
    /// </summary>
    public IList<uint> NetworkNamespaces { get; } = [];

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        foreach (string mistake in base.Validate()) yield return mistake;
        if (NetworkNamespaces.Count > 4096) yield return $"{Section}:{nameof(NetworkNamespaces)} has {NetworkNamespaces.Count} entries; it must have at most 4096.";
    }
}
