namespace KubeSkoop.Probes.Kubernetes.Tests.Live;

/// <summary>One after the other: each sees all pods of the machine.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class LiveGroup
{
    internal const string Name = "live";
}
