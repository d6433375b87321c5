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

    /// <summary>The pod it happened to, if known. Events of a pod's first moments may know more when they are asked later.</summary>
    public virtual PodIdentity? Pod { get; init; }

    /// <summary>The node's name.</summary>
    public string? Node { get; init; }

    /// <summary>What happened, in one word: the name of the record without <c>Event</c>.</summary>
    public string Type => GetType().Name is var name && name.EndsWith("Event", StringComparison.Ordinal) ? name[..^"Event".Length] : name;

    /// <summary>What happened, in one line for people. May hold what processes chose: clean it before it goes to a terminal.</summary>
    public virtual string Message => Type;

    /// <summary>Tells everything the event says beyond probe, time, namespace, pod and node: for JSON, logs and other formats.</summary>
    /// <param name="writer">Is called once for each field that has a value.</param>
    public virtual void WriteFields(IEventFieldWriter writer)
    {
    }

    /// <summary>Where drops of this event are counted.</summary>
    internal ProbeStatistics? Statistics
    {
        get => _origin.Statistics;
        set => _origin = new Origin(value);
    }

    private Origin _origin;

    /// <summary>Equal to any other: two events that say the same are the same, sent or not.</summary>
    private readonly struct Origin(ProbeStatistics? statistics) : IEquatable<Origin>
    {
        internal ProbeStatistics? Statistics => statistics;

        public bool Equals(Origin other) => true;

        public override bool Equals(object? obj) => obj is Origin;

        public override int GetHashCode() => 0;
    }
}
