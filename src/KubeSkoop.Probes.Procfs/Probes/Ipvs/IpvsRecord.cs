using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>IPVS totals and rates of one network namespace (net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_stats_show).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IpvsRecord
{
    /// <summary>Connections scheduled. Unit: connections. Kernel: /proc/net/ip_vs_stats, Total Conns.</summary>
    public Reading Connections;

    /// <summary>Packets from clients. Unit: packets. Kernel: /proc/net/ip_vs_stats, Incoming Packets.</summary>
    public Reading IncomingPackets;

    /// <summary>Packets to clients that came back through IPVS (masquerading). Unit: packets. Kernel: /proc/net/ip_vs_stats, Outgoing Packets.</summary>
    public Reading OutgoingPackets;

    /// <summary>Bytes from clients. Unit: bytes. Kernel: /proc/net/ip_vs_stats, Incoming Bytes.</summary>
    public Reading IncomingBytes;

    /// <summary>Bytes to clients that came back through IPVS (masquerading). Unit: bytes. Kernel: /proc/net/ip_vs_stats, Outgoing Bytes.</summary>
    public Reading OutgoingBytes;

    /// <summary>Connections scheduled lately, as the kernel's estimator has it. Unit: connections per second. Kernel: /proc/net/ip_vs_stats, Conns/s.</summary>
    public Reading ConnectionRate;

    /// <summary>Packets from clients lately. Unit: packets per second. Kernel: /proc/net/ip_vs_stats, Pkts/s, incoming.</summary>
    public Reading IncomingPacketRate;

    /// <summary>Packets to clients lately. Unit: packets per second. Kernel: /proc/net/ip_vs_stats, Pkts/s, outgoing.</summary>
    public Reading OutgoingPacketRate;

    /// <summary>Bytes from clients lately. Unit: bytes per second. Kernel: /proc/net/ip_vs_stats, Bytes/s, incoming.</summary>
    public Reading IncomingByteRate;

    /// <summary>Bytes to clients lately. Unit: bytes per second. Kernel: /proc/net/ip_vs_stats, Bytes/s, outgoing.</summary>
    public Reading OutgoingByteRate;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<IpvsRecord> Metrics { get; } = new()
    {
        { "kubeskoop.ipvs.connections", MetricKind.Counter, "{connection}", "Connections scheduled.", static (in IpvsRecord r) => r.Connections, "kubeskoop_ipvs_connections" },
        { "kubeskoop.ipvs.incoming_packets", MetricKind.Counter, "{packet}", "Packets from clients.", static (in IpvsRecord r) => r.IncomingPackets, "kubeskoop_ipvs_incomingpackets" },
        { "kubeskoop.ipvs.outgoing_packets", MetricKind.Counter, "{packet}", "Packets to clients that came back through IPVS.", static (in IpvsRecord r) => r.OutgoingPackets, "kubeskoop_ipvs_outgoingpackets" },
        { "kubeskoop.ipvs.incoming_bytes", MetricKind.Counter, "By", "Bytes from clients.", static (in IpvsRecord r) => r.IncomingBytes, "kubeskoop_ipvs_incomingbytes" },
        { "kubeskoop.ipvs.outgoing_bytes", MetricKind.Counter, "By", "Bytes to clients that came back through IPVS.", static (in IpvsRecord r) => r.OutgoingBytes, "kubeskoop_ipvs_outgoingbytes" },
        { "kubeskoop.ipvs.connection_rate", MetricKind.Gauge, "{connection}/s", "Connections scheduled lately, as the kernel's estimator has it.", static (in IpvsRecord r) => r.ConnectionRate },
        { "kubeskoop.ipvs.incoming_packet_rate", MetricKind.Gauge, "{packet}/s", "Packets from clients lately.", static (in IpvsRecord r) => r.IncomingPacketRate },
        { "kubeskoop.ipvs.outgoing_packet_rate", MetricKind.Gauge, "{packet}/s", "Packets to clients lately.", static (in IpvsRecord r) => r.OutgoingPacketRate },
        { "kubeskoop.ipvs.incoming_byte_rate", MetricKind.Gauge, "By/s", "Bytes from clients lately.", static (in IpvsRecord r) => r.IncomingByteRate },
        { "kubeskoop.ipvs.outgoing_byte_rate", MetricKind.Gauge, "By/s", "Bytes to clients lately.", static (in IpvsRecord r) => r.OutgoingByteRate },
    };

    /// <summary>Field by field, the words above each column of the totals, and of the rates.</summary>
    internal static ColumnSet Columns { get; } = new("ip_vs_stats",
    [
        "Total Conns", "Incoming Packets", "Outgoing Packets", "Incoming Bytes", "Outgoing Bytes",
        "Total Conns/s", "Incoming Pkts/s", "Outgoing Pkts/s", "Incoming Bytes/s", "Outgoing Bytes/s",
    ]);
}
