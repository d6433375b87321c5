namespace KubeSkoop.Probes;

/// <summary>What an address belongs to.</summary>
public enum PeerKind
{
    /// <summary>A pod with an address of its own.</summary>
    Pod,

    /// <summary>A node, and with it every pod in its network namespace.</summary>
    Node,

    /// <summary>A service's own address, that no process has: what is behind it is not told by the packet.</summary>
    Service,

    /// <summary>None of the cluster's.</summary>
    Outside,
}

/// <summary>Whose an address is: one end of a flow.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Name">The name of the pod, node or service; empty for what is outside.</param>
/// <param name="Namespace">The Kubernetes namespace of the pod or service; empty for others.</param>
/// <param name="Node">The node of the pod, or the node itself, if known.</param>
public sealed record PeerIdentity(PeerKind Kind, string Name = "", string Namespace = "", string? Node = null)
{
    /// <summary>Everything that is none of the cluster's.</summary>
    public static PeerIdentity Outside { get; } = new(PeerKind.Outside);

    /// <summary>The kind's name in attributes and fields: <c>pod</c>, <c>node</c>, <c>service</c>, <c>outside</c>.</summary>
    public string KindName => Kind switch
    {
        PeerKind.Pod => "pod",
        PeerKind.Node => "node",
        PeerKind.Service => "service",
        _ => "outside",
    };

    /// <summary>A pod as an end of a flow; <see langword="null"/> while its name is not known.</summary>
    /// <param name="pod">The pod.</param>
    /// <param name="node">Its node, if known.</param>
    public static PeerIdentity? Of(PodIdentity? pod, string? node) => pod is { IsNamed: true } ? new PeerIdentity(PeerKind.Pod, pod.Name, pod.Namespace, node) : null;

    /// <summary><c>pod default/web-0</c>, <c>node worker-1</c>, <c>outside</c>.</summary>
    public override string ToString() => Kind == PeerKind.Outside ? KindName : Namespace.Length > 0 ? $"{KindName} {Namespace}/{Name}" : $"{KindName} {Name}";
}
