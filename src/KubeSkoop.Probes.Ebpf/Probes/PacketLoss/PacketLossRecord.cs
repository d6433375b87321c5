namespace KubeSkoop.Probes.Ebpf;

/// <summary>Packets dropped: of a namespace altogether, or in the rows with a reason and a place, for that reason there.</summary>
public struct PacketLossRecord
{
    /// <summary>All packets dropped in the namespace. Unit: packets. Kernel: kfree_skb, without what is normal.</summary>
    public Reading Total;

    /// <summary>Packets dropped for the row's reason in the row's part of the kernel. Unit: packets. Kernel: kfree_skb.</summary>
    public Reading Packets;

    /// <summary>Their bytes. Unit: bytes. Kernel: sk_buff.len.</summary>
    public Reading Bytes;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<PacketLossRecord> Metrics { get; } = new(static (in PacketLossRecord r) => r.Total.HasValue, MetricKind.Counter)
    {
        { "kubeskoop.packetloss.total", MetricKind.Counter, "{packet}", "Packets dropped in the namespace, whatever the reason.", static (in PacketLossRecord r) => r.Total, "kubeskoop_packetloss_total" },
        { "kubeskoop.packetloss.packets", MetricKind.Counter, "{packet}", "Packets dropped, by the kernel's reason and the part of it that dropped them.", static (in PacketLossRecord r) => r.Packets },
        { "kubeskoop.packetloss.bytes", MetricKind.Counter, "By", "Bytes of packets dropped, by the kernel's reason and the part of it that dropped them.", static (in PacketLossRecord r) => r.Bytes },
    };
}

/// <summary>Settings of the probe <c>packetloss</c>.</summary>
public sealed class PacketLossOptions() : EbpfProbeOptions(SectionName)
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":packetloss";

    /// <summary>
    /// Reasons, as the kernel names them without <c>SKB_DROP_REASON_</c>, with which a packet ends that is not lost: its socket was closed, it was for another host, its data had come before.
    /// They are neither counted nor told. Default: those. Setting it replaces them.
    /// </summary>
    public IList<string> NormalReasons { get; } = [];

    /// <summary>Whether events carry the kernel's stack. Default: no.</summary>
    public bool Stacks { get; set; }

    // With which a packet for a group, or for all, ends where nobody listens for it.
    internal static IReadOnlyList<string> StrayReasons { get; } = ["NOT_SPECIFIED", "IP_INNOROUTES", "UNHANDLED_PROTO"];

    internal static IReadOnlyList<string> DefaultNormalReasons { get; } =
    [
        "NOT_DROPPED_YET", "CONSUMED", "SOCKET_CLOSE", "SOCKET_FILTER", "QUEUE_PURGE", "UNIX_DISCONNECT", "UNIX_SKIP_OOB", "OTHERHOST", "PACKET_SOCK_ERROR",
        "TCP_OLD_DATA", "TCP_OLD_SEQUENCE", "TCP_OFOMERGE", "TCP_OLD_ACK", "TCP_TOO_OLD_ACK", "TCP_CLOSE", "TCP_RESET",
    ];
}
