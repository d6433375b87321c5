using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>IP counters of one network namespace and IP version (net/ipv4/proc.c, snmp4_ipstats_list and snmp4_ipextstats_list; net/ipv6/proc.c, snmp6_ipstats_list).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IpRecord
{
    /// <summary>1 when the namespace forwards packets, 2 when it does not. Unit: none. Kernel: /proc/net/snmp, Ip: Forwarding.</summary>
    public Reading Forwarding;

    /// <summary>Time to live of packets that ask for none of their own. Unit: hops. Kernel: /proc/net/snmp, Ip: DefaultTTL.</summary>
    public Reading DefaultTtl;

    /// <summary>Packets received, bad ones included. Unit: packets. Kernel: /proc/net/snmp, Ip: InReceives; /proc/net/snmp6, Ip6InReceives.</summary>
    public Reading InReceives;

    /// <summary>Packets dropped for a bad header. Unit: packets. Kernel: /proc/net/snmp, Ip: InHdrErrors; /proc/net/snmp6, Ip6InHdrErrors.</summary>
    public Reading InHeaderErrors;

    /// <summary>Packets dropped for a destination that is not ours. Unit: packets. Kernel: /proc/net/snmp, Ip: InAddrErrors; /proc/net/snmp6, Ip6InAddrErrors.</summary>
    public Reading InAddressErrors;

    /// <summary>Packets forwarded. Unit: packets. Kernel: /proc/net/snmp, Ip: ForwDatagrams; /proc/net/snmp6, Ip6OutForwDatagrams.</summary>
    public Reading ForwardedPackets;

    /// <summary>Packets dropped for a protocol nobody handles. Unit: packets. Kernel: /proc/net/snmp, Ip: InUnknownProtos; /proc/net/snmp6, Ip6InUnknownProtos.</summary>
    public Reading InUnknownProtocols;

    /// <summary>Good packets dropped on receive, for lack of memory for instance. Unit: packets. Kernel: /proc/net/snmp, Ip: InDiscards; /proc/net/snmp6, Ip6InDiscards.</summary>
    public Reading InDiscards;

    /// <summary>Packets handed to the protocol above. Unit: packets. Kernel: /proc/net/snmp, Ip: InDelivers; /proc/net/snmp6, Ip6InDelivers.</summary>
    public Reading InDelivers;

    /// <summary>Packets the protocols above asked to be sent. Unit: packets. Kernel: /proc/net/snmp, Ip: OutRequests; /proc/net/snmp6, Ip6OutRequests.</summary>
    public Reading OutRequests;

    /// <summary>Good packets dropped on send. Unit: packets. Kernel: /proc/net/snmp, Ip: OutDiscards; /proc/net/snmp6, Ip6OutDiscards.</summary>
    public Reading OutDiscards;

    /// <summary>Packets dropped because no route led to their destination. Unit: packets. Kernel: /proc/net/snmp, Ip: OutNoRoutes; /proc/net/snmp6, Ip6OutNoRoutes.</summary>
    public Reading OutNoRoutes;

    /// <summary>Reassemblies given up after the time limit. Unit: packets. Kernel: /proc/net/snmp, Ip: ReasmTimeout; /proc/net/snmp6, Ip6ReasmTimeout.</summary>
    public Reading ReassemblyTimeouts;

    /// <summary>Fragments received that needed reassembly. Unit: fragments. Kernel: /proc/net/snmp, Ip: ReasmReqds; /proc/net/snmp6, Ip6ReasmReqds.</summary>
    public Reading ReassemblyRequests;

    /// <summary>Packets reassembled. Unit: packets. Kernel: /proc/net/snmp, Ip: ReasmOKs; /proc/net/snmp6, Ip6ReasmOKs.</summary>
    public Reading ReassemblySuccesses;

    /// <summary>Reassemblies that failed. Unit: packets. Kernel: /proc/net/snmp, Ip: ReasmFails; /proc/net/snmp6, Ip6ReasmFails.</summary>
    public Reading ReassemblyFailures;

    /// <summary>Packets fragmented. Unit: packets. Kernel: /proc/net/snmp, Ip: FragOKs; /proc/net/snmp6, Ip6FragOKs.</summary>
    public Reading FragmentationSuccesses;

    /// <summary>Packets that needed fragmentation but must not be fragmented. Unit: packets. Kernel: /proc/net/snmp, Ip: FragFails; /proc/net/snmp6, Ip6FragFails.</summary>
    public Reading FragmentationFailures;

    /// <summary>Fragments made. Unit: fragments. Kernel: /proc/net/snmp, Ip: FragCreates; /proc/net/snmp6, Ip6FragCreates.</summary>
    public Reading FragmentsCreated;

    /// <summary>Packets handed to a device, forwarded ones included. Unit: packets. Kernel: /proc/net/snmp, Ip: OutTransmits; /proc/net/snmp6, Ip6OutTransmits.</summary>
    public Reading OutTransmits;

    /// <summary>Packets received for which no route was found. Unit: packets. Kernel: /proc/net/netstat, IpExt: InNoRoutes; /proc/net/snmp6, Ip6InNoRoutes.</summary>
    public Reading InNoRoutes;

    /// <summary>Packets dropped because they were shorter than they said. Unit: packets. Kernel: /proc/net/netstat, IpExt: InTruncatedPkts; /proc/net/snmp6, Ip6InTruncatedPkts.</summary>
    public Reading InTruncatedPackets;

    /// <summary>Multicast packets received. Unit: packets. Kernel: /proc/net/netstat, IpExt: InMcastPkts; /proc/net/snmp6, Ip6InMcastPkts.</summary>
    public Reading InMulticastPackets;

    /// <summary>Multicast packets sent. Unit: packets. Kernel: /proc/net/netstat, IpExt: OutMcastPkts; /proc/net/snmp6, Ip6OutMcastPkts.</summary>
    public Reading OutMulticastPackets;

    /// <summary>Broadcast packets received. Unit: packets. Kernel: /proc/net/netstat, IpExt: InBcastPkts.</summary>
    public Reading InBroadcastPackets;

    /// <summary>Broadcast packets sent. Unit: packets. Kernel: /proc/net/netstat, IpExt: OutBcastPkts.</summary>
    public Reading OutBroadcastPackets;

    /// <summary>Bytes received, headers included. Unit: bytes. Kernel: /proc/net/netstat, IpExt: InOctets; /proc/net/snmp6, Ip6InOctets.</summary>
    public Reading InBytes;

    /// <summary>Bytes sent, headers included. Unit: bytes. Kernel: /proc/net/netstat, IpExt: OutOctets; /proc/net/snmp6, Ip6OutOctets.</summary>
    public Reading OutBytes;

    /// <summary>Bytes of multicast packets received. Unit: bytes. Kernel: /proc/net/netstat, IpExt: InMcastOctets; /proc/net/snmp6, Ip6InMcastOctets.</summary>
    public Reading InMulticastBytes;

    /// <summary>Bytes of multicast packets sent. Unit: bytes. Kernel: /proc/net/netstat, IpExt: OutMcastOctets; /proc/net/snmp6, Ip6OutMcastOctets.</summary>
    public Reading OutMulticastBytes;

    /// <summary>Bytes of broadcast packets received. Unit: bytes. Kernel: /proc/net/netstat, IpExt: InBcastOctets; /proc/net/snmp6, Ip6InBcastOctets.</summary>
    public Reading InBroadcastBytes;

    /// <summary>Bytes of broadcast packets sent. Unit: bytes. Kernel: /proc/net/netstat, IpExt: OutBcastOctets; /proc/net/snmp6, Ip6OutBcastOctets.</summary>
    public Reading OutBroadcastBytes;

    /// <summary>Packets dropped for a wrong header checksum. Unit: packets. Kernel: /proc/net/netstat, IpExt: InCsumErrors.</summary>
    public Reading InChecksumErrors;

    /// <summary>Packets received that are not ECN capable. Unit: packets. Kernel: /proc/net/netstat, IpExt: InNoECTPkts; /proc/net/snmp6, Ip6InNoECTPkts.</summary>
    public Reading InNoEctPackets;

    /// <summary>Packets received marked ECT(1). Unit: packets. Kernel: /proc/net/netstat, IpExt: InECT1Pkts; /proc/net/snmp6, Ip6InECT1Pkts.</summary>
    public Reading InEct1Packets;

    /// <summary>Packets received marked ECT(0). Unit: packets. Kernel: /proc/net/netstat, IpExt: InECT0Pkts; /proc/net/snmp6, Ip6InECT0Pkts.</summary>
    public Reading InEct0Packets;

    /// <summary>Packets received marked by a router as having met congestion. Unit: packets. Kernel: /proc/net/netstat, IpExt: InCEPkts; /proc/net/snmp6, Ip6InCEPkts.</summary>
    public Reading InCongestionExperiencedPackets;

    /// <summary>Fragments that overlapped others. Unit: fragments. Kernel: /proc/net/netstat, IpExt: ReasmOverlaps.</summary>
    public Reading ReassemblyOverlaps;

    /// <summary>IPv6 packets that were too large to be forwarded. IPv6 only. Unit: packets. Kernel: /proc/net/snmp6, Ip6InTooBigErrors.</summary>
    public Reading InTooBigErrors;

    /// <summary>Whether the numbers are about IPv4 or IPv6.</summary>
    public IpVersion Version;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<IpRecord> Metrics { get; } = new(static (in IpRecord r) => r.Version == IpVersion.IPv4)
    {
        { "kubeskoop.ip.forwarding", MetricKind.Gauge, "1", "1 when the namespace forwards packets, 2 when it does not.", static (in IpRecord r) => r.Forwarding, "kubeskoop_ip_forwarding" },
        { "kubeskoop.ip.default_ttl", MetricKind.Gauge, "{hop}", "Time to live of packets that ask for none of their own.", static (in IpRecord r) => r.DefaultTtl, "kubeskoop_ip_defaultttl" },
        { "kubeskoop.ip.in_receives", MetricKind.Counter, "{packet}", "Packets received, bad ones included.", static (in IpRecord r) => r.InReceives, "kubeskoop_ip_inreceives" },
        { "kubeskoop.ip.in_header_errors", MetricKind.Counter, "{packet}", "Packets dropped for a bad header.", static (in IpRecord r) => r.InHeaderErrors, "kubeskoop_ip_inhdrerrors" },
        { "kubeskoop.ip.in_address_errors", MetricKind.Counter, "{packet}", "Packets dropped for a destination that is not ours.", static (in IpRecord r) => r.InAddressErrors, "kubeskoop_ip_inaddrerrors" },
        { "kubeskoop.ip.forwarded_packets", MetricKind.Counter, "{packet}", "Packets forwarded.", static (in IpRecord r) => r.ForwardedPackets, "kubeskoop_ip_forwdatagrams" },
        { "kubeskoop.ip.in_unknown_protocols", MetricKind.Counter, "{packet}", "Packets dropped for a protocol nobody handles.", static (in IpRecord r) => r.InUnknownProtocols, "kubeskoop_ip_inunknownprotos" },
        { "kubeskoop.ip.in_discards", MetricKind.Counter, "{packet}", "Good packets dropped on receive, for lack of memory for instance.", static (in IpRecord r) => r.InDiscards, "kubeskoop_ip_indiscards" },
        { "kubeskoop.ip.in_delivers", MetricKind.Counter, "{packet}", "Packets handed to the protocol above.", static (in IpRecord r) => r.InDelivers, "kubeskoop_ip_indelivers" },
        { "kubeskoop.ip.out_requests", MetricKind.Counter, "{packet}", "Packets the protocols above asked to be sent.", static (in IpRecord r) => r.OutRequests, "kubeskoop_ip_outrequests" },
        { "kubeskoop.ip.out_discards", MetricKind.Counter, "{packet}", "Good packets dropped on send.", static (in IpRecord r) => r.OutDiscards, "kubeskoop_ip_outdiscards" },
        { "kubeskoop.ip.out_no_routes", MetricKind.Counter, "{packet}", "Packets dropped because no route led to their destination.", static (in IpRecord r) => r.OutNoRoutes, "kubeskoop_ip_outnoroutes" },
        { "kubeskoop.ip.reassembly_timeouts", MetricKind.Counter, "{packet}", "Reassemblies given up after the time limit.", static (in IpRecord r) => r.ReassemblyTimeouts, "kubeskoop_ip_reasmtimeout" },
        { "kubeskoop.ip.reassembly_requests", MetricKind.Counter, "{fragment}", "Fragments received that needed reassembly.", static (in IpRecord r) => r.ReassemblyRequests, "kubeskoop_ip_reasmreqds" },
        { "kubeskoop.ip.reassembly_successes", MetricKind.Counter, "{packet}", "Packets reassembled.", static (in IpRecord r) => r.ReassemblySuccesses, "kubeskoop_ip_reasmoks" },
        { "kubeskoop.ip.reassembly_failures", MetricKind.Counter, "{packet}", "Reassemblies that failed.", static (in IpRecord r) => r.ReassemblyFailures, "kubeskoop_ip_reasmfails" },
        { "kubeskoop.ip.fragmentation_successes", MetricKind.Counter, "{packet}", "Packets fragmented.", static (in IpRecord r) => r.FragmentationSuccesses, "kubeskoop_ip_fragoks" },
        { "kubeskoop.ip.fragmentation_failures", MetricKind.Counter, "{packet}", "Packets that needed fragmentation but must not be fragmented.", static (in IpRecord r) => r.FragmentationFailures, "kubeskoop_ip_fragfails" },
        { "kubeskoop.ip.fragments_created", MetricKind.Counter, "{fragment}", "Fragments made.", static (in IpRecord r) => r.FragmentsCreated, "kubeskoop_ip_fragcreates" },
        { "kubeskoop.ip.out_transmits", MetricKind.Counter, "{packet}", "Packets handed to a device, forwarded ones included.", static (in IpRecord r) => r.OutTransmits },
        { "kubeskoop.ip.in_no_routes", MetricKind.Counter, "{packet}", "Packets received for which no route was found.", static (in IpRecord r) => r.InNoRoutes },
        { "kubeskoop.ip.in_truncated_packets", MetricKind.Counter, "{packet}", "Packets dropped because they were shorter than they said.", static (in IpRecord r) => r.InTruncatedPackets },
        { "kubeskoop.ip.in_multicast_packets", MetricKind.Counter, "{packet}", "Multicast packets received.", static (in IpRecord r) => r.InMulticastPackets },
        { "kubeskoop.ip.out_multicast_packets", MetricKind.Counter, "{packet}", "Multicast packets sent.", static (in IpRecord r) => r.OutMulticastPackets },
        { "kubeskoop.ip.in_broadcast_packets", MetricKind.Counter, "{packet}", "Broadcast packets received.", static (in IpRecord r) => r.InBroadcastPackets },
        { "kubeskoop.ip.out_broadcast_packets", MetricKind.Counter, "{packet}", "Broadcast packets sent.", static (in IpRecord r) => r.OutBroadcastPackets },
        { "kubeskoop.ip.in_bytes", MetricKind.Counter, "By", "Bytes received, headers included.", static (in IpRecord r) => r.InBytes },
        { "kubeskoop.ip.out_bytes", MetricKind.Counter, "By", "Bytes sent, headers included.", static (in IpRecord r) => r.OutBytes },
        { "kubeskoop.ip.in_multicast_bytes", MetricKind.Counter, "By", "Bytes of multicast packets received.", static (in IpRecord r) => r.InMulticastBytes },
        { "kubeskoop.ip.out_multicast_bytes", MetricKind.Counter, "By", "Bytes of multicast packets sent.", static (in IpRecord r) => r.OutMulticastBytes },
        { "kubeskoop.ip.in_broadcast_bytes", MetricKind.Counter, "By", "Bytes of broadcast packets received.", static (in IpRecord r) => r.InBroadcastBytes },
        { "kubeskoop.ip.out_broadcast_bytes", MetricKind.Counter, "By", "Bytes of broadcast packets sent.", static (in IpRecord r) => r.OutBroadcastBytes },
        { "kubeskoop.ip.in_checksum_errors", MetricKind.Counter, "{packet}", "Packets dropped for a wrong header checksum.", static (in IpRecord r) => r.InChecksumErrors },
        { "kubeskoop.ip.in_no_ect_packets", MetricKind.Counter, "{packet}", "Packets received that are not ECN capable.", static (in IpRecord r) => r.InNoEctPackets },
        { "kubeskoop.ip.in_ect1_packets", MetricKind.Counter, "{packet}", "Packets received marked ECT(1).", static (in IpRecord r) => r.InEct1Packets },
        { "kubeskoop.ip.in_ect0_packets", MetricKind.Counter, "{packet}", "Packets received marked ECT(0).", static (in IpRecord r) => r.InEct0Packets },
        { "kubeskoop.ip.in_congestion_experienced_packets", MetricKind.Counter, "{packet}", "Packets received marked by a router as having met congestion.", static (in IpRecord r) => r.InCongestionExperiencedPackets },
        { "kubeskoop.ip.reassembly_overlaps", MetricKind.Counter, "{fragment}", "Fragments that overlapped others.", static (in IpRecord r) => r.ReassemblyOverlaps },
        { "kubeskoop.ip.in_too_big_errors", MetricKind.Counter, "{packet}", "IPv6 packets that were too large to be forwarded. IPv6 only.", static (in IpRecord r) => r.InTooBigErrors },
    };

    /// <summary>The first fields: the columns of the section <c>Ip:</c>.</summary>
    internal static ColumnSet Columns { get; } = new("Ip:",
    [
        "Forwarding", "DefaultTTL", "InReceives", "InHdrErrors", "InAddrErrors", "ForwDatagrams", "InUnknownProtos",
        "InDiscards", "InDelivers", "OutRequests", "OutDiscards", "OutNoRoutes", "ReasmTimeout", "ReasmReqds",
        "ReasmOKs", "ReasmFails", "FragOKs", "FragFails", "FragCreates", "OutTransmits",
    ]);

    /// <summary>The fields after those: the columns of the section <c>IpExt:</c>.</summary>
    internal static ColumnSet ExtendedColumns { get; } = new("IpExt:",
    [
        "InNoRoutes", "InTruncatedPkts", "InMcastPkts", "OutMcastPkts", "InBcastPkts", "OutBcastPkts", "InOctets",
        "OutOctets", "InMcastOctets", "OutMcastOctets", "InBcastOctets", "OutBcastOctets", "InCsumErrors",
        "InNoECTPkts", "InECT1Pkts", "InECT0Pkts", "InCEPkts", "ReasmOverlaps",
    ]);

    /// <summary>Field by field, the lines <c>Ip6...</c>; empty where IPv6 has no such number.</summary>
    internal static ColumnSet Columns6 { get; } = new("Ip6",
    [
        "", "", "InReceives", "InHdrErrors", "InAddrErrors", "OutForwDatagrams", "InUnknownProtos", "InDiscards",
        "InDelivers", "OutRequests", "OutDiscards", "OutNoRoutes", "ReasmTimeout", "ReasmReqds", "ReasmOKs",
        "ReasmFails", "FragOKs", "FragFails", "FragCreates", "OutTransmits", "InNoRoutes", "InTruncatedPkts",
        "InMcastPkts", "OutMcastPkts", "", "", "InOctets", "OutOctets", "InMcastOctets", "OutMcastOctets",
        "InBcastOctets", "OutBcastOctets", "", "InNoECTPkts", "InECT1Pkts", "InECT0Pkts", "InCEPkts", "",
        "InTooBigErrors",
    ]);
}
