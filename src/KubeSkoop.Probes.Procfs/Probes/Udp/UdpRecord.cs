using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>UDP counters of one network namespace and IP version (net/ipv4/proc.c, snmp4_udp_list; net/ipv6/proc.c, snmp6_udp6_list).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct UdpRecord
{
    /// <summary>Datagrams delivered to sockets. Unit: datagrams. Kernel: /proc/net/snmp, Udp: InDatagrams; /proc/net/snmp6, Udp6InDatagrams.</summary>
    public Reading InDatagrams;

    /// <summary>Datagrams for a port nobody listens on. Unit: datagrams. Kernel: /proc/net/snmp, Udp: NoPorts; /proc/net/snmp6, Udp6NoPorts.</summary>
    public Reading NoPorts;

    /// <summary>Datagrams that could not be delivered for any other reason. Unit: datagrams. Kernel: /proc/net/snmp, Udp: InErrors; /proc/net/snmp6, Udp6InErrors.</summary>
    public Reading InErrors;

    /// <summary>Datagrams sent. Unit: datagrams. Kernel: /proc/net/snmp, Udp: OutDatagrams; /proc/net/snmp6, Udp6OutDatagrams.</summary>
    public Reading OutDatagrams;

    /// <summary>Datagrams dropped because the socket's receive buffer was full. Unit: datagrams. Kernel: /proc/net/snmp, Udp: RcvbufErrors; /proc/net/snmp6, Udp6RcvbufErrors.</summary>
    public Reading ReceiveBufferErrors;

    /// <summary>Datagrams not sent because the socket's send buffer was full. Unit: datagrams. Kernel: /proc/net/snmp, Udp: SndbufErrors; /proc/net/snmp6, Udp6SndbufErrors.</summary>
    public Reading SendBufferErrors;

    /// <summary>Datagrams received with a wrong checksum. Unit: datagrams. Kernel: /proc/net/snmp, Udp: InCsumErrors; /proc/net/snmp6, Udp6InCsumErrors.</summary>
    public Reading InChecksumErrors;

    /// <summary>Multicast datagrams no socket wanted. Unit: datagrams. Kernel: /proc/net/snmp, Udp: IgnoredMulti; /proc/net/snmp6, Udp6IgnoredMulti.</summary>
    public Reading IgnoredMulticast;

    /// <summary>Datagrams dropped because UDP had used up its memory (udp_mem). Unit: datagrams. Kernel: /proc/net/snmp, Udp: MemErrors; /proc/net/snmp6, Udp6MemErrors.</summary>
    public Reading MemoryErrors;

    /// <summary>Whether the numbers are about IPv4 or IPv6.</summary>
    public IpVersion Version;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<UdpRecord> Metrics { get; } = new(static (in UdpRecord r) => r.Version == IpVersion.IPv4)
    {
        { "kubeskoop.udp.in_datagrams", MetricKind.Counter, "{datagram}", "Datagrams delivered to sockets.", static (in UdpRecord r) => r.InDatagrams, "kubeskoop_udp_indatagrams" },
        { "kubeskoop.udp.no_ports", MetricKind.Counter, "{datagram}", "Datagrams for a port nobody listens on.", static (in UdpRecord r) => r.NoPorts, "kubeskoop_udp_noports" },
        { "kubeskoop.udp.in_errors", MetricKind.Counter, "{datagram}", "Datagrams that could not be delivered for any other reason.", static (in UdpRecord r) => r.InErrors, "kubeskoop_udp_inerrors" },
        { "kubeskoop.udp.out_datagrams", MetricKind.Counter, "{datagram}", "Datagrams sent.", static (in UdpRecord r) => r.OutDatagrams, "kubeskoop_udp_outdatagrams" },
        { "kubeskoop.udp.receive_buffer_errors", MetricKind.Counter, "{datagram}", "Datagrams dropped because the socket's receive buffer was full.", static (in UdpRecord r) => r.ReceiveBufferErrors, "kubeskoop_udp_rcvbuferrors" },
        { "kubeskoop.udp.send_buffer_errors", MetricKind.Counter, "{datagram}", "Datagrams not sent because the socket's send buffer was full.", static (in UdpRecord r) => r.SendBufferErrors, "kubeskoop_udp_sndbuferrors" },
        { "kubeskoop.udp.in_checksum_errors", MetricKind.Counter, "{datagram}", "Datagrams received with a wrong checksum.", static (in UdpRecord r) => r.InChecksumErrors, "kubeskoop_udp_incsumerrors" },
        { "kubeskoop.udp.ignored_multicast", MetricKind.Counter, "{datagram}", "Multicast datagrams no socket wanted.", static (in UdpRecord r) => r.IgnoredMulticast, "kubeskoop_udp_ignoredmulti" },
        { "kubeskoop.udp.memory_errors", MetricKind.Counter, "{datagram}", "Datagrams dropped because UDP had used up its memory (udp_mem).", static (in UdpRecord r) => r.MemoryErrors },
    };

    /// <summary>Field by field, the columns of the section <c>Udp:</c>.</summary>
    internal static ColumnSet Columns { get; } = new("Udp:",
    [
        "InDatagrams", "NoPorts", "InErrors", "OutDatagrams", "RcvbufErrors", "SndbufErrors", "InCsumErrors",
        "IgnoredMulti", "MemErrors",
    ]);

    /// <summary>Field by field, the lines <c>Udp6...</c>.</summary>
    internal static ColumnSet Columns6 { get; } = new("Udp6",
    [
        "InDatagrams", "NoPorts", "InErrors", "OutDatagrams", "RcvbufErrors", "SndbufErrors", "InCsumErrors",
        "IgnoredMulti", "MemErrors",
    ]);
}
