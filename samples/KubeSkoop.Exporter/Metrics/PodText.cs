namespace KubeSkoop.Exporter.Metrics;

/// <summary>A pod in tables and JSON. One of which only the uid is known has no name; its uid is among its attributes.</summary>
internal static class PodText
{
    /// <summary>The Kubernetes namespace; without a named pod the network namespace's name stands in.</summary>
    internal static string? Namespace(PodIdentity? pod, NetworkNamespace? ns) => pod is { IsNamed: true } ? pod.Namespace : ns?.DisplayName;

    /// <summary>The pod's name, if known.</summary>
    internal static string? Name(PodIdentity? pod) => pod is { IsNamed: true } ? pod.Name : null;

    /// <summary>The pod's name, else its uid, for people.</summary>
    internal static string NameOrUid(PodIdentity? pod) => pod is null ? "-" : pod.IsNamed ? pod.Name : pod.ToString();
}
