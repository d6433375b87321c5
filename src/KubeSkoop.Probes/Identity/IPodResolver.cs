namespace KubeSkoop.Probes;

/// <summary>Names the pod behind a network namespace or a cgroup. Answers from memory: called while sampling.</summary>
public interface IPodResolver
{
    /// <summary>The pod that owns a network namespace; <see langword="null"/> if none, or not known yet.</summary>
    PodIdentity? Resolve(NetworkNamespace networkNamespace);

    /// <summary>The pod a cgroup belongs to; <see langword="null"/> if none, or not known yet.</summary>
    /// <param name="cgroupPath">The path within the hierarchy, as in <c>/proc/&lt;pid&gt;/cgroup</c>.</param>
    PodIdentity? ResolveCgroup(string cgroupPath);
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
