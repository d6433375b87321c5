using System.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Where the procfs probes look.</summary>
public sealed class ProcfsOptions : ProbeOptions
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":Procfs";

    /// <summary>Where the host's procfs is mounted; a container with the host's in another place names it here. Default: <c>/proc</c>.</summary>
    public string HostProc { get; set; } = "/proc";

    /// <summary>Directories in which namespaces are bound to names. Default: <c>/run/netns</c>.</summary>
    public IList<string> NamespaceDirectories { get; } = ["/run/netns"];

    /// <summary>How often processes are looked through for new namespaces. Deaths are noticed at once. Default: 2 s.</summary>
    public TimeSpan RefreshInterval { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Most namespaces watched at a time; further ones are left out and reported. Default: 10,000.</summary>
    public int MaxNamespaces { get; set; } = 10_000;

    /// <summary>
    /// Whether <c>fd</c> and <c>io</c> have a row for each container of a pod (<c>k8s.container.name</c>), beside one for what is in none that is known. Default: one row for the
    /// pod. The containers are known from the runtime: see the package KubeSkoop.Probes.Kubernetes.
    /// </summary>
    public bool ContainerRows { get; set; }

    // Paths are built in 512 bytes: one of these, and a name of 255 bytes.
    private const int MostBytes = 200;

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        if (!Path.IsPathRooted(HostProc)) yield return $"{SectionName}:{nameof(HostProc)} is '{HostProc}'; it must be an absolute path such as /proc.";
        if (Encoding.UTF8.GetByteCount(HostProc) > MostBytes) yield return $"{SectionName}:{nameof(HostProc)} is too long; it must have {MostBytes} bytes or fewer.";
        if (RefreshInterval < TimeSpan.FromMilliseconds(50) || RefreshInterval > TimeSpan.FromHours(1))
            yield return $"{SectionName}:{nameof(RefreshInterval)} is {RefreshInterval}; it must lie between 00:00:00.050 and 01:00:00 (hours:minutes:seconds; a bare number means days).";
        if (MaxNamespaces < 1) yield return $"{SectionName}:{nameof(MaxNamespaces)} is {MaxNamespaces}; it must be 1 or more.";
        foreach (string directory in NamespaceDirectories)
            if (!Path.IsPathRooted(directory)) yield return $"{SectionName}:{nameof(NamespaceDirectories)} holds '{directory}'; it must be an absolute path.";
        foreach (string directory in NamespaceDirectories)
            if (Encoding.UTF8.GetByteCount(directory) > MostBytes) yield return $"{SectionName}:{nameof(NamespaceDirectories)} holds a path that is too long; it must have {MostBytes} bytes or fewer.";
    }
}
