namespace KubeSkoop.Probes;

/// <summary>Something that happened in the kernel, and to whom. Derive a sealed record per kind of event.</summary>
public abstract record ProbeEvent
{
    /// <summary>The name of the probe that saw it.</summary>
    public required string Probe { get; init; }

    /// <summary>When it happened.</summary>
    public required DateTimeOffset Timestamp { get; init; }

    /// <summary>The network namespace it happened in, if known.</summary>
    public NetworkNamespace? Namespace { get; init; }

    /// <summary>The pod it happened to, if known.</summary>
    public PodIdentity? Pod { get; init; }

    /// <summary>The node's name.</summary>
    public string? Node { get; init; }

    /// <summary>Where drops of this event are counted.</summary>
    internal ProbeStatistics? Statistics { get; set; }
}
