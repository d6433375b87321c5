namespace KubeSkoop.Probes.Kubernetes;

/// <summary>Whether a runtime's event stream is listened to.</summary>
public enum RuntimeEvents
{
    /// <summary>Where the runtime sends its events to everybody who listens: containerd from 2.0 on. Else it is asked every <see cref="KubernetesOptions.PollInterval"/>.</summary>
    Auto,

    /// <summary>Wherever there is one. With containerd 1.7 and CRI-O this takes events away from a kubelet that listens too (feature gate EventedPLEG).</summary>
    Always,

    /// <summary>Never.</summary>
    Never,
}

/// <summary>What is asked of the Kubernetes API, where there is one: with <see cref="KubernetesOptions.Kubeconfig"/>, or by the service account of the pod the process runs in.</summary>
public enum ApiScope
{
    /// <summary>All pods, nodes and services: every address of the cluster has a name.</summary>
    Cluster,

    /// <summary>This node's pods, and all nodes and services: less to follow, for large clusters. Pods of other nodes have no names.</summary>
    Node,

    /// <summary>Nothing.</summary>
    None,
}

/// <summary>How pods are found.</summary>
public sealed class KubernetesOptions : ProbeOptions
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":Kubernetes";

    /// <summary>What to write for <see cref="RuntimeEndpoint"/> when no runtime shall be asked.</summary>
    public const string NoRuntime = "none";

    private const string Scheme = "unix://";
    private const int LongestSocketPath = 107; // sun_path, include/uapi/linux/un.h

    /// <summary>Where runtimes listen: containerd, k3s, k0s, MicroK8s, CRI-O, cri-dockerd. The first that answers is taken.</summary>
    public static IReadOnlyList<string> KnownEndpoints { get; } =
    [
        "/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/k0s/containerd.sock", "/var/snap/microk8s/common/run/containerd.sock",
        "/run/crio/crio.sock", "/run/cri-dockerd.sock",
    ];

    /// <summary>The runtime's socket, as a path or as <c>unix:///path</c>; <c>none</c> to ask no runtime. Default: the first of <see cref="KnownEndpoints"/> that answers.</summary>
    public string? RuntimeEndpoint { get; set; }

    /// <summary>Whether to listen to the runtime's events. Default: where that takes them from nobody.</summary>
    public RuntimeEvents RuntimeEvents { get; set; } = RuntimeEvents.Auto;

    /// <summary>How often a runtime without events is asked what there is. Default: 1 s.</summary>
    public TimeSpan PollInterval { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>How often a runtime with events is asked all the same. Default: 10 s.</summary>
    public TimeSpan ResyncInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How long the runtime may take to answer. Default: 10 s.</summary>
    public TimeSpan CallTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a pod that has ended is known, for events that come late. Default: 60 s.</summary>
    public TimeSpan RememberEnded { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>Most pods known at a time, ended ones too; further ones are left out and reported. Default: 2,000.</summary>
    public int MaxPods { get; set; } = 2000;

    /// <summary>
    /// Labels of pods that become attributes of their rows: the label's key, which becomes <c>k8s.pod.label.KEY</c>, or <c>name=key</c> for another name, which nothing else
    /// on a row may have. Default: none.
    /// </summary>
    public IList<string> PodLabels { get; } = [];

    /// <summary>Whether rows carry the pod's uid beside its name. Default: no.</summary>
    public bool PodUid { get; set; }

    /// <summary>Whether rows carry what has made the pod: <c>k8s.deployment.name</c>, <c>k8s.statefulset.name</c>, and so on. Only the Kubernetes API knows it. Default: no.</summary>
    public bool PodOwner { get; set; }

    /// <summary>What to ask of the Kubernetes API, where there is one. Default: everything.</summary>
    public ApiScope ApiScope { get; set; } = ApiScope.Cluster;

    /// <summary>The file that says where the Kubernetes API is, and who asks. Default: none; in a pod its service account says it.</summary>
    public string? Kubeconfig { get; set; }

    /// <summary>Most addresses of the cluster known at a time, those of pods that have ended a short while ago too; and most pods, nodes and services each. Further ones are left out and reported. Default: 100,000.</summary>
    public int MaxAddresses { get; set; } = 100_000;

    /// <summary>How long a watch is asked to last.</summary>
    internal TimeSpan ApiWatchLength { get; set; } = TimeSpan.FromMinutes(4);

    /// <summary>How long a server that should have ended a watch is waited for.</summary>
    internal TimeSpan ApiPatience { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Where the cgroup filesystem is mounted; a container with the host's in another place names it here. Default: <c>/sys/fs/cgroup</c>.</summary>
    public string CgroupRoot { get; set; } = "/sys/fs/cgroup";

    /// <summary>The sockets to try, in order.</summary>
    internal IReadOnlyList<string> Endpoints =>
        RuntimeEndpoint is not { Length: > 0 } given ? KnownEndpoints : given == NoRuntime ? [] : [given.StartsWith(Scheme, StringComparison.Ordinal) ? given[Scheme.Length..] : given];

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        if (RuntimeEndpoint is { Length: > 0 } and not NoRuntime && Endpoints[0] is var path && (!Path.IsPathRooted(path) || System.Text.Encoding.UTF8.GetByteCount(path) > LongestSocketPath))
            yield return $"{SectionName}:{nameof(RuntimeEndpoint)} is '{RuntimeEndpoint}'; it must be the absolute path of a unix socket, of at most {LongestSocketPath} bytes, or {NoRuntime}.";
        if (!Enum.IsDefined(RuntimeEvents)) yield return $"{SectionName}:{nameof(RuntimeEvents)} is {RuntimeEvents}; it must be {string.Join(", ", Enum.GetNames<RuntimeEvents>())}.";
        foreach (var (name, value, least) in new[]
        {
            (nameof(PollInterval), PollInterval, TimeSpan.FromMilliseconds(100)), (nameof(ResyncInterval), ResyncInterval, TimeSpan.FromSeconds(1)),
            (nameof(CallTimeout), CallTimeout, TimeSpan.FromMilliseconds(100)), (nameof(RememberEnded), RememberEnded, TimeSpan.Zero),
        })
        {
            if (value < least || value > TimeSpan.FromHours(1))
                yield return $"{SectionName}:{name} is {value}; it must lie between {least:c} and 01:00:00 (hours:minutes:seconds; a bare number means days).";
        }
        if (MaxPods < 1) yield return $"{SectionName}:{nameof(MaxPods)} is {MaxPods}; it must be 1 or more.";
        if (MaxAddresses < 1) yield return $"{SectionName}:{nameof(MaxAddresses)} is {MaxAddresses}; it must be 1 or more.";
        if (!Enum.IsDefined(ApiScope)) yield return $"{SectionName}:{nameof(ApiScope)} is {ApiScope}; it must be {string.Join(", ", Enum.GetNames<ApiScope>())}.";
        if (Kubeconfig is { Length: > 0 } && !Path.IsPathRooted(Kubeconfig)) yield return $"{SectionName}:{nameof(Kubeconfig)} is '{Kubeconfig}'; it must be the absolute path of a file.";
        if (!Path.IsPathRooted(CgroupRoot)) yield return $"{SectionName}:{nameof(CgroupRoot)} is '{CgroupRoot}'; it must be an absolute path such as /sys/fs/cgroup.";
        foreach (string mistake in PodNaming.Check(PodLabels)) yield return $"{SectionName}:{nameof(PodLabels)} holds {mistake}";
    }
}
