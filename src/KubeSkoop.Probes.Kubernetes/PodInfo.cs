using System.Net;

namespace KubeSkoop.Probes.Kubernetes;

/// <summary>Who has told of a pod.</summary>
public enum PodSource
{
    /// <summary>The container runtime.</summary>
    Runtime,

    /// <summary>A cgroup's path, and nobody else: the uid is all that is known.</summary>
    Cgroup,

    /// <summary>The Kubernetes API, and no runtime: its network namespace is known by its processes only.</summary>
    Api,
}

/// <summary>What has made a pod, and makes another in its place: its controller.</summary>
/// <param name="Kind">As the API names it: <c>Deployment</c>, <c>StatefulSet</c>, <c>DaemonSet</c>, <c>Job</c>, ...</param>
/// <param name="Name">Its name.</param>
public sealed record PodOwner(string Kind, string Name);

/// <summary>A container of a pod, as the runtime tells it.</summary>
/// <param name="Id">Its id: 64 hexadecimal digits, with containerd and CRI-O.</param>
/// <param name="Name">Its name in the pod.</param>
/// <param name="IsRunning">Whether it runs.</param>
public sealed record PodContainer(string Id, string Name, bool IsRunning);

/// <summary>What is known about a pod of this node. Does not change; a later answer holds another.</summary>
public sealed record PodInfo
{
    /// <summary>Its names, and the attributes of its rows.</summary>
    public required PodIdentity Identity { get; init; }

    /// <summary>Who told of it.</summary>
    public required PodSource Source { get; init; }

    /// <summary>The runtime's id of its sandbox; a pod whose sandbox was made anew has another.</summary>
    public string? SandboxId { get; init; }

    /// <summary>When its sandbox was made, by the runtime's clock.</summary>
    public DateTimeOffset? Created { get; init; }

    /// <summary>When it was found to have ended; <see langword="null"/> while it lives.</summary>
    public DateTimeOffset? Ended { get; init; }

    /// <summary>Whether it shares the host's network namespace. Then only its cgroup tells what is its.</summary>
    public bool IsHostNetwork { get; init; }

    /// <summary>The inode number of its network namespace; <see langword="null"/> for host-network pods, and while it is not known.</summary>
    public uint? NamespaceInode { get; init; }

    /// <summary>Its sandbox's process, in the host's numbers.</summary>
    public int? ProcessId { get; init; }

    /// <summary>Its own cgroup, below which its containers' are.</summary>
    public string? CgroupPath { get; init; }

    /// <summary>All its addresses, the first one first. None for host-network pods.</summary>
    public IReadOnlyList<IPAddress> Addresses { get; init; } = [];

    /// <summary>Its containers, without the sandbox.</summary>
    public IReadOnlyList<PodContainer> Containers { get; init; } = [];

    /// <summary>Its labels. Chosen by whoever made the pod: hostile.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = System.Collections.Frozen.FrozenDictionary<string, string>.Empty;

    /// <summary>What has made it; <see langword="null"/> where nothing has, and where the Kubernetes API has not told of it.</summary>
    public PodOwner? Owner { get; init; }

    /// <summary>Whether the Kubernetes API tells of it.</summary>
    public bool IsInApi { get; init; }

    /// <summary>Where its network namespace is bound, in the runtime's mount namespace.</summary>
    internal string? NamespacePath { get; init; }

    /// <summary>Its cgroups' numbers in the hierarchy of version 2.</summary>
    internal IReadOnlyList<ulong> CgroupIds { get; init; } = [];

    /// <summary>Name or uid, for people.</summary>
    public override string ToString() => Identity.ToString();
}

/// <summary>A pod and its processes.</summary>
/// <param name="Pod">The pod.</param>
/// <param name="ProcessIds">The processes in its cgroups, in the order of their numbers.</param>
public readonly record struct PodProcesses(PodInfo Pod, IReadOnlyList<int> ProcessIds);

/// <summary>Where the knowledge about pods comes from, and how fresh it is.</summary>
public sealed record PodDirectoryStatus
{
    /// <summary>The runtime's socket; <see langword="null"/> while none has answered.</summary>
    public string? Endpoint { get; init; }

    /// <summary>The runtime's name and version.</summary>
    public string? Runtime { get; init; }

    /// <summary>Whether its events are listened to; else it is asked periodically.</summary>
    public bool UsesEvents { get; init; }

    /// <summary>When the runtime has last told all its pods.</summary>
    public DateTimeOffset? LastAnswer { get; init; }

    /// <summary>Since when what is known may have changed without our knowing, because the runtime does not answer; <see langword="null"/> while it does.</summary>
    public DateTimeOffset? StaleSince { get; init; }

    /// <summary>What keeps pods from being known, for people; <see langword="null"/> when nothing does.</summary>
    public string? Problem { get; init; }

    /// <summary>What the Kubernetes API tells, and how fresh that is; <see langword="null"/> where it is not asked.</summary>
    public ClusterStatus? Cluster { get; init; }

    /// <summary>Whether the first answer, or the first failure to get one, is in.</summary>
    internal bool HasLooked { get; init; }
}

/// <summary>What is known of the cluster by its API, and how fresh it is.</summary>
public sealed record ClusterStatus
{
    /// <summary>The server's address; <see langword="null"/> while it is not known.</summary>
    public string? Server { get; init; }

    /// <summary>When the server has last said something.</summary>
    public DateTimeOffset? LastAnswer { get; init; }

    /// <summary>Since when something may have changed without our knowing, because the server does not tell; <see langword="null"/> while it does.</summary>
    public DateTimeOffset? StaleSince { get; init; }

    /// <summary>What keeps something from being known, for people; <see langword="null"/> when nothing does.</summary>
    public string? Problem { get; init; }

    /// <summary>Pods known.</summary>
    public int Pods { get; init; }

    /// <summary>Nodes known.</summary>
    public int Nodes { get; init; }

    /// <summary>Services known.</summary>
    public int Services { get; init; }

    /// <summary>Addresses known, those of a short while ago too.</summary>
    public int Addresses { get; init; }

    /// <summary>Pods, nodes and services for which there is no room (<see cref="KubernetesOptions.MaxAddresses"/>).</summary>
    public int LeftOut { get; init; }

    /// <summary>How often everything of a kind was listed: three times, if nothing was ever missed.</summary>
    public int Lists { get; init; }
}
