namespace KubeSkoop.Probes;

/// <summary>Takes the fields of an event, whatever format it writes them in. Names are lower case with dots and underscores, as in OpenTelemetry.</summary>
public interface IEventFieldWriter
{
    /// <summary>A text. May hold what processes chose: escape it.</summary>
    void Write(string name, string value);

    /// <summary>A whole number.</summary>
    void Write(string name, long value);

    /// <summary>A whole number that may be larger than 2^63.</summary>
    void Write(string name, ulong value);

    /// <summary>A number; the name ends in its unit.</summary>
    void Write(string name, double value);
}

/// <summary>Shapes that many events have.</summary>
public static class EventFieldWriterExtensions
{
    /// <summary>A flow: <c>source.address</c>, <c>source.port</c>, <c>destination.address</c>, <c>destination.port</c>, <c>network.transport</c>, each after a prefix.</summary>
    public static void Write(this IEventFieldWriter writer, FlowTuple flow, string prefix = "")
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write($"{prefix}source.address", flow.Source.Address.ToString());
        writer.Write($"{prefix}source.port", (long)flow.Source.Port);
        writer.Write($"{prefix}destination.address", flow.Destination.Address.ToString());
        writer.Write($"{prefix}destination.port", (long)flow.Destination.Port);
        writer.Write($"{prefix}{AttributeNames.Transport}", flow.ProtocolName.ToLowerInvariant());
    }

    /// <summary>Whose one end of a flow is, where that is known: <c>PREFIX.type</c>, <c>PREFIX.name</c>, <c>PREFIX.namespace</c>, <c>PREFIX.node.name</c>.</summary>
    /// <param name="writer">What takes them.</param>
    /// <param name="owner">Whose it is.</param>
    /// <param name="prefix"><see cref="AttributeNames.Source"/> or <see cref="AttributeNames.Destination"/>.</param>
    public static void Write(this IEventFieldWriter writer, PeerIdentity? owner, string prefix)
    {
        ArgumentNullException.ThrowIfNull(writer);
        if (owner is null) return;
        writer.Write($"{prefix}.type", owner.KindName);
        if (owner.Name.Length > 0) writer.Write($"{prefix}.name", owner.Name);
        if (owner.Namespace.Length > 0) writer.Write($"{prefix}.namespace", owner.Namespace);
        writer.WriteIfAny($"{prefix}.node.name", owner.Node);
    }

    /// <summary>A text, where there is one.</summary>
    public static void WriteIfAny(this IEventFieldWriter writer, string name, string? value)
    {
        ArgumentNullException.ThrowIfNull(writer);
        if (value is not null) writer.Write(name, value);
    }

    /// <summary>A number, where there is one.</summary>
    public static void WriteIfAny(this IEventFieldWriter writer, string name, ulong? value)
    {
        ArgumentNullException.ThrowIfNull(writer);
        if (value is { } number) writer.Write(name, number);
    }
}
