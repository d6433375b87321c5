namespace KubeSkoop.Probes;

/// <summary>Names the pod behind a network namespace or a cgroup. Answers from memory: called while sampling.</summary>
public interface IPodResolver
{
    /// <summary>The pod that owns a network namespace; <see langword="null"/> if none, or not known yet.</summary>
    PodIdentity? Resolve(NetworkNamespace networkNamespace);

    /// <summary>The pod a cgroup belongs to; <see langword="null"/> if none, or not known yet.</summary>
    /// <param name="cgroupPath">The path within the hierarchy, as in <c>/proc/&lt;pid&gt;/cgroup</c>.</param>
    PodIdentity? ResolveCgroup(string cgroupPath);

    /// <summary>The pod a cgroup belongs to, also for a while after its end; <see langword="null"/> if none, or not known.</summary>
    /// <param name="cgroupId">The number of the cgroup in the hierarchy of version 2: the inode of its directory.</param>
    PodIdentity? ResolveCgroup(ulong cgroupId) => null;

    /// <summary>The pod whose network namespace had this number at a moment, for what happened in a namespace that has ended meanwhile.</summary>
    /// <param name="inode">The inode number of the namespace.</param>
    /// <param name="at">When. The kernel gives the number of an ended namespace to the next one.</param>
    PodIdentity? ResolveNamespace(uint inode, DateTimeOffset at) => null;

    /// <summary>The name of the container a cgroup belongs to; <see langword="null"/> if none, or not known.</summary>
    /// <param name="cgroupId">The number of the cgroup in the hierarchy of version 2: the inode of its directory.</param>
    string? ResolveContainer(ulong cgroupId) => null;

    /// <summary>The name of the container a cgroup belongs to; <see langword="null"/> if none, or not known.</summary>
    /// <param name="cgroupPath">The path within the hierarchy, as in <c>/proc/&lt;pid&gt;/cgroup</c>.</param>
    string? ResolveContainer(string cgroupPath) => null;

    /// <summary>
    /// Whose an address was at a moment; <see langword="null"/> if that is not known. Also for a while after its owner's end. Allocates nothing.
    /// </summary>
    /// <param name="endpoint">The address; the port does not matter.</param>
    /// <param name="at">When. A cluster gives the address of an ended pod to another one.</param>
    PeerIdentity? ResolveAddress(in Endpoint endpoint, DateTimeOffset at) => null;

    /// <summary>Told when answers may be others than before, from any thread.</summary>
    event Action? Changed
    {
        add { }
        remove { }
    }

    /// <summary>Told with the inode number of a pod's network namespace when that becomes known, from any thread: who has not found the namespace yet may look for it now.</summary>
    event Action<uint>? NamespaceTold
    {
        add { }
        remove { }
    }
}

/// <summary>Knows no pod: what is used without Kubernetes.</summary>
public sealed class NoPodResolver : IPodResolver
{
    /// <summary>The one instance.</summary>
    public static NoPodResolver Instance { get; } = new();

    private NoPodResolver()
    {
    }

    /// <inheritdoc />
    public PodIdentity? Resolve(NetworkNamespace networkNamespace) => null;

    /// <inheritdoc />
    public PodIdentity? ResolveCgroup(string cgroupPath) => null;
}
