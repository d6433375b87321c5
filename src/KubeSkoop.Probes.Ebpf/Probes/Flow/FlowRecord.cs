namespace KubeSkoop.Probes.Ebpf;

/// <summary>
/// Either what went between two addresses in one direction, as one network namespace saw it; or, in a row of the namespace alone, how many such rows it has and what those had counted that have ended.
/// </summary>
public struct FlowRecord
{
    /// <summary>Packets, as many as there are or were on the wire: a large packet that is cut up later, or was put together, counts as its segments. Unit: packets. Kernel: __sk_buff.gso_segs.</summary>
    public Reading Packets;

    /// <summary>Their length from the IP header on, that of each segment included. Unit: bytes. Kernel: __sk_buff.len.</summary>
    public Reading Bytes;

    /// <summary>Rows this namespace has now. Unit: rows.</summary>
    public Reading Rows;

    /// <summary>Rows that have ended: their addresses had nothing to say to each other for <see cref="FlowOptions.IdleTimeout"/>. Unit: rows.</summary>
    public Reading EndedRows;

    /// <summary>What rows had counted that have ended. Unit: packets.</summary>
    public Reading EndedPackets;

    /// <summary>What rows had counted that have ended. Unit: bytes.</summary>
    public Reading EndedBytes;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<FlowRecord> Metrics { get; } = new(upstreamKind: MetricKind.Counter)
    {
        { "kubeskoop.flow.packets", MetricKind.Counter, "{packet}", "Packets from one address to another that sockets of this namespace have sent or received.", static (in FlowRecord r) => r.Packets, "kubeskoop_flow_packets" },
        { "kubeskoop.flow.bytes", MetricKind.Counter, "By", "Bytes of those packets, IP header included.", static (in FlowRecord r) => r.Bytes, "kubeskoop_flow_bytes" },
        { "kubeskoop.flow.rows", MetricKind.Gauge, "{row}", "Pairs of addresses (and directions) that have a row.", static (in FlowRecord r) => r.Rows },
        { "kubeskoop.flow.ended_rows", MetricKind.Counter, "{row}", "Rows that ended because nothing was sent between their addresses for long.", static (in FlowRecord r) => r.EndedRows },
        { "kubeskoop.flow.ended_packets", MetricKind.Counter, "{packet}", "Packets that rows had counted which have ended.", static (in FlowRecord r) => r.EndedPackets },
        { "kubeskoop.flow.ended_bytes", MetricKind.Counter, "By", "Bytes that rows had counted which have ended.", static (in FlowRecord r) => r.EndedBytes },
    };
}

/// <summary>Settings of the probe <c>flow</c>.</summary>
public sealed class FlowOptions : ProbeOptions
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":flow";

    /// <summary>Whether rows differ by ports. Every connection of a client then has rows of its own. Default: no.</summary>
    public bool Ports { get; set; }

    /// <summary>Rows of all namespaces together. What finds no room is counted in its namespace's row 'other'. Takes some 250 bytes each in the kernel. Takes effect at a start. Default: 16384.</summary>
    public int MaxRows { get; set; } = 16384;

    /// <summary>How long nothing is sent until a row ends and makes room; looked at when numbers are asked for. Default: 10 minutes.</summary>
    public TimeSpan IdleTimeout { get; set; } = TimeSpan.FromMinutes(10);

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        if (MaxRows is < 16 or > 1_000_000) yield return $"{SectionName}:{nameof(MaxRows)} is {MaxRows}; it must lie between 16 and 1000000.";
        if (IdleTimeout < TimeSpan.FromSeconds(1) || IdleTimeout > TimeSpan.FromDays(1)) yield return $"{SectionName}:{nameof(IdleTimeout)} is {IdleTimeout}; it must lie between 00:00:01 and 1.00:00:00.";
    }
}
