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
