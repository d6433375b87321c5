namespace KubeSkoop.Probes;

/// <summary>Which pod something belongs to.</summary>
/// <param name="Namespace">The Kubernetes namespace.</param>
/// <param name="Name">The pod's name.</param>
/// <param name="Uid">The pod's uid, if known.</param>
public sealed record PodIdentity(string Namespace, string Name, string? Uid = null)
{
    /// <summary><c>namespace/name</c>.</summary>
    public override string ToString() => $"{Namespace}/{Name}";
}
