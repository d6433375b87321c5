using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>ICMP counters of one network namespace and IP version (net/ipv4/proc.c, icmp_put; net/ipv6/proc.c, snmp6_icmp6_list).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct IcmpRecord
{
    /// <summary>Messages received, bad ones included. Unit: messages. Kernel: /proc/net/snmp, Icmp: InMsgs; /proc/net/snmp6, Icmp6InMsgs.</summary>
    public Reading InMessages;

    /// <summary>Messages received with an error of ICMP itself. Unit: messages. Kernel: /proc/net/snmp, Icmp: InErrors; /proc/net/snmp6, Icmp6InErrors.</summary>
    public Reading InErrors;

    /// <summary>Messages received with a wrong checksum. Unit: messages. Kernel: /proc/net/snmp, Icmp: InCsumErrors; /proc/net/snmp6, Icmp6InCsumErrors.</summary>
    public Reading InChecksumErrors;

    /// <summary>Destination unreachable received. Unit: messages. Kernel: /proc/net/snmp, Icmp: InDestUnreachs; /proc/net/snmp6, Icmp6InDestUnreachs.</summary>
    public Reading InDestinationUnreachable;

    /// <summary>Time exceeded received. Unit: messages. Kernel: /proc/net/snmp, Icmp: InTimeExcds; /proc/net/snmp6, Icmp6InTimeExcds.</summary>
    public Reading InTimeExceeded;

    /// <summary>Parameter problem received. Unit: messages. Kernel: /proc/net/snmp, Icmp: InParmProbs; /proc/net/snmp6, Icmp6InParmProblems.</summary>
    public Reading InParameterProblems;

    /// <summary>Source quench received. IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: InSrcQuenchs.</summary>
    public Reading InSourceQuenches;

    /// <summary>Redirect received. Unit: messages. Kernel: /proc/net/snmp, Icmp: InRedirects; /proc/net/snmp6, Icmp6InRedirects.</summary>
    public Reading InRedirects;

    /// <summary>Echo request (ping) received. Unit: messages. Kernel: /proc/net/snmp, Icmp: InEchos; /proc/net/snmp6, Icmp6InEchos.</summary>
    public Reading InEchoRequests;

    /// <summary>Echo reply received. Unit: messages. Kernel: /proc/net/snmp, Icmp: InEchoReps; /proc/net/snmp6, Icmp6InEchoReplies.</summary>
    public Reading InEchoReplies;

    /// <summary>Timestamp request received. IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: InTimestamps.</summary>
    public Reading InTimestampRequests;

    /// <summary>Timestamp reply received. IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: InTimestampReps.</summary>
    public Reading InTimestampReplies;

    /// <summary>Address mask request received. IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: InAddrMasks.</summary>
    public Reading InAddressMaskRequests;

    /// <summary>Address mask reply received. IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: InAddrMaskReps.</summary>
    public Reading InAddressMaskReplies;

    /// <summary>Messages sent. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutMsgs; /proc/net/snmp6, Icmp6OutMsgs.</summary>
    public Reading OutMessages;

    /// <summary>Messages not sent because of a problem of ICMP itself. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutErrors; /proc/net/snmp6, Icmp6OutErrors.</summary>
    public Reading OutErrors;

    /// <summary>Messages not sent because of the machine-wide limit (icmp_msgs_per_sec). IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutRateLimitGlobal.</summary>
    public Reading OutRateLimitedGlobally;

    /// <summary>Messages not sent because of the limit per destination (icmp_ratelimit). Unit: messages. Kernel: /proc/net/snmp, Icmp: OutRateLimitHost; /proc/net/snmp6, Icmp6OutRateLimitHost.</summary>
    public Reading OutRateLimitedPerHost;

    /// <summary>Destination unreachable sent. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutDestUnreachs; /proc/net/snmp6, Icmp6OutDestUnreachs.</summary>
    public Reading OutDestinationUnreachable;

    /// <summary>Time exceeded sent. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutTimeExcds; /proc/net/snmp6, Icmp6OutTimeExcds.</summary>
    public Reading OutTimeExceeded;

    /// <summary>Parameter problem sent. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutParmProbs; /proc/net/snmp6, Icmp6OutParmProblems.</summary>
    public Reading OutParameterProblems;

    /// <summary>Source quench sent. IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutSrcQuenchs.</summary>
    public Reading OutSourceQuenches;

    /// <summary>Redirect sent. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutRedirects; /proc/net/snmp6, Icmp6OutRedirects.</summary>
    public Reading OutRedirects;

    /// <summary>Echo request (ping) sent. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutEchos; /proc/net/snmp6, Icmp6OutEchos.</summary>
    public Reading OutEchoRequests;

    /// <summary>Echo reply sent. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutEchoReps; /proc/net/snmp6, Icmp6OutEchoReplies.</summary>
    public Reading OutEchoReplies;

    /// <summary>Timestamp request sent. IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutTimestamps.</summary>
    public Reading OutTimestampRequests;

    /// <summary>Timestamp reply sent. IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutTimestampReps.</summary>
    public Reading OutTimestampReplies;

    /// <summary>Address mask request sent. IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutAddrMasks.</summary>
    public Reading OutAddressMaskRequests;

    /// <summary>Address mask reply sent. IPv4 only. Unit: messages. Kernel: /proc/net/snmp, Icmp: OutAddrMaskReps.</summary>
    public Reading OutAddressMaskReplies;

    /// <summary>Packet too big received: path MTU discovery at work. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6InPktTooBigs.</summary>
    public Reading InPacketTooBig;

    /// <summary>Packet too big sent. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6OutPktTooBigs.</summary>
    public Reading OutPacketTooBig;

    /// <summary>Multicast listener query received. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6InGroupMembQueries.</summary>
    public Reading InGroupMembershipQueries;

    /// <summary>Multicast listener report received. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6InGroupMembResponses.</summary>
    public Reading InGroupMembershipResponses;

    /// <summary>Multicast listener done received. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6InGroupMembReductions.</summary>
    public Reading InGroupMembershipReductions;

    /// <summary>Router solicitation received. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6InRouterSolicits.</summary>
    public Reading InRouterSolicitations;

    /// <summary>Router advertisement received. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6InRouterAdvertisements.</summary>
    public Reading InRouterAdvertisements;

    /// <summary>Neighbour solicitation received. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6InNeighborSolicits.</summary>
    public Reading InNeighborSolicitations;

    /// <summary>Neighbour advertisement received. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6InNeighborAdvertisements.</summary>
    public Reading InNeighborAdvertisements;

    /// <summary>MLDv2 report received. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6InMLDv2Reports.</summary>
    public Reading InMldV2Reports;

    /// <summary>Multicast listener query sent. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6OutGroupMembQueries.</summary>
    public Reading OutGroupMembershipQueries;

    /// <summary>Multicast listener report sent. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6OutGroupMembResponses.</summary>
    public Reading OutGroupMembershipResponses;

    /// <summary>Multicast listener done sent. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6OutGroupMembReductions.</summary>
    public Reading OutGroupMembershipReductions;

    /// <summary>Router solicitation sent. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6OutRouterSolicits.</summary>
    public Reading OutRouterSolicitations;

    /// <summary>Router advertisement sent. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6OutRouterAdvertisements.</summary>
    public Reading OutRouterAdvertisements;

    /// <summary>Neighbour solicitation sent. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6OutNeighborSolicits.</summary>
    public Reading OutNeighborSolicitations;

    /// <summary>Neighbour advertisement sent. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6OutNeighborAdvertisements.</summary>
    public Reading OutNeighborAdvertisements;

    /// <summary>MLDv2 report sent. IPv6 only. Unit: messages. Kernel: /proc/net/snmp6, Icmp6OutMLDv2Reports.</summary>
    public Reading OutMldV2Reports;

    /// <summary>Whether the numbers are about IPv4 or IPv6.</summary>
    public IpVersion Version;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<IcmpRecord> Metrics { get; } = new()
    {
        { "kubeskoop.icmp.in_messages", MetricKind.Counter, "{message}", "Messages received, bad ones included.", static (in IcmpRecord r) => r.InMessages },
        { "kubeskoop.icmp.in_errors", MetricKind.Counter, "{message}", "Messages received with an error of ICMP itself.", static (in IcmpRecord r) => r.InErrors },
        { "kubeskoop.icmp.in_checksum_errors", MetricKind.Counter, "{message}", "Messages received with a wrong checksum.", static (in IcmpRecord r) => r.InChecksumErrors },
        { "kubeskoop.icmp.in_destination_unreachable", MetricKind.Counter, "{message}", "Destination unreachable received.", static (in IcmpRecord r) => r.InDestinationUnreachable },
        { "kubeskoop.icmp.in_time_exceeded", MetricKind.Counter, "{message}", "Time exceeded received.", static (in IcmpRecord r) => r.InTimeExceeded },
        { "kubeskoop.icmp.in_parameter_problems", MetricKind.Counter, "{message}", "Parameter problem received.", static (in IcmpRecord r) => r.InParameterProblems },
        { "kubeskoop.icmp.in_source_quenches", MetricKind.Counter, "{message}", "Source quench received. IPv4 only.", static (in IcmpRecord r) => r.InSourceQuenches },
        { "kubeskoop.icmp.in_redirects", MetricKind.Counter, "{message}", "Redirect received.", static (in IcmpRecord r) => r.InRedirects },
        { "kubeskoop.icmp.in_echo_requests", MetricKind.Counter, "{message}", "Echo request (ping) received.", static (in IcmpRecord r) => r.InEchoRequests },
        { "kubeskoop.icmp.in_echo_replies", MetricKind.Counter, "{message}", "Echo reply received.", static (in IcmpRecord r) => r.InEchoReplies },
        { "kubeskoop.icmp.in_timestamp_requests", MetricKind.Counter, "{message}", "Timestamp request received. IPv4 only.", static (in IcmpRecord r) => r.InTimestampRequests },
        { "kubeskoop.icmp.in_timestamp_replies", MetricKind.Counter, "{message}", "Timestamp reply received. IPv4 only.", static (in IcmpRecord r) => r.InTimestampReplies },
        { "kubeskoop.icmp.in_address_mask_requests", MetricKind.Counter, "{message}", "Address mask request received. IPv4 only.", static (in IcmpRecord r) => r.InAddressMaskRequests },
        { "kubeskoop.icmp.in_address_mask_replies", MetricKind.Counter, "{message}", "Address mask reply received. IPv4 only.", static (in IcmpRecord r) => r.InAddressMaskReplies },
        { "kubeskoop.icmp.out_messages", MetricKind.Counter, "{message}", "Messages sent.", static (in IcmpRecord r) => r.OutMessages },
        { "kubeskoop.icmp.out_errors", MetricKind.Counter, "{message}", "Messages not sent because of a problem of ICMP itself.", static (in IcmpRecord r) => r.OutErrors },
        { "kubeskoop.icmp.out_rate_limited_globally", MetricKind.Counter, "{message}", "Messages not sent because of the machine-wide limit (icmp_msgs_per_sec). IPv4 only.", static (in IcmpRecord r) => r.OutRateLimitedGlobally },
        { "kubeskoop.icmp.out_rate_limited_per_host", MetricKind.Counter, "{message}", "Messages not sent because of the limit per destination (icmp_ratelimit).", static (in IcmpRecord r) => r.OutRateLimitedPerHost },
        { "kubeskoop.icmp.out_destination_unreachable", MetricKind.Counter, "{message}", "Destination unreachable sent.", static (in IcmpRecord r) => r.OutDestinationUnreachable },
        { "kubeskoop.icmp.out_time_exceeded", MetricKind.Counter, "{message}", "Time exceeded sent.", static (in IcmpRecord r) => r.OutTimeExceeded },
        { "kubeskoop.icmp.out_parameter_problems", MetricKind.Counter, "{message}", "Parameter problem sent.", static (in IcmpRecord r) => r.OutParameterProblems },
        { "kubeskoop.icmp.out_source_quenches", MetricKind.Counter, "{message}", "Source quench sent. IPv4 only.", static (in IcmpRecord r) => r.OutSourceQuenches },
        { "kubeskoop.icmp.out_redirects", MetricKind.Counter, "{message}", "Redirect sent.", static (in IcmpRecord r) => r.OutRedirects },
        { "kubeskoop.icmp.out_echo_requests", MetricKind.Counter, "{message}", "Echo request (ping) sent.", static (in IcmpRecord r) => r.OutEchoRequests },
        { "kubeskoop.icmp.out_echo_replies", MetricKind.Counter, "{message}", "Echo reply sent.", static (in IcmpRecord r) => r.OutEchoReplies },
        { "kubeskoop.icmp.out_timestamp_requests", MetricKind.Counter, "{message}", "Timestamp request sent. IPv4 only.", static (in IcmpRecord r) => r.OutTimestampRequests },
        { "kubeskoop.icmp.out_timestamp_replies", MetricKind.Counter, "{message}", "Timestamp reply sent. IPv4 only.", static (in IcmpRecord r) => r.OutTimestampReplies },
        { "kubeskoop.icmp.out_address_mask_requests", MetricKind.Counter, "{message}", "Address mask request sent. IPv4 only.", static (in IcmpRecord r) => r.OutAddressMaskRequests },
        { "kubeskoop.icmp.out_address_mask_replies", MetricKind.Counter, "{message}", "Address mask reply sent. IPv4 only.", static (in IcmpRecord r) => r.OutAddressMaskReplies },
        { "kubeskoop.icmp.in_packet_too_big", MetricKind.Counter, "{message}", "Packet too big received: path MTU discovery at work. IPv6 only.", static (in IcmpRecord r) => r.InPacketTooBig },
        { "kubeskoop.icmp.out_packet_too_big", MetricKind.Counter, "{message}", "Packet too big sent. IPv6 only.", static (in IcmpRecord r) => r.OutPacketTooBig },
        { "kubeskoop.icmp.in_group_membership_queries", MetricKind.Counter, "{message}", "Multicast listener query received. IPv6 only.", static (in IcmpRecord r) => r.InGroupMembershipQueries },
        { "kubeskoop.icmp.in_group_membership_responses", MetricKind.Counter, "{message}", "Multicast listener report received. IPv6 only.", static (in IcmpRecord r) => r.InGroupMembershipResponses },
        { "kubeskoop.icmp.in_group_membership_reductions", MetricKind.Counter, "{message}", "Multicast listener done received. IPv6 only.", static (in IcmpRecord r) => r.InGroupMembershipReductions },
        { "kubeskoop.icmp.in_router_solicitations", MetricKind.Counter, "{message}", "Router solicitation received. IPv6 only.", static (in IcmpRecord r) => r.InRouterSolicitations },
        { "kubeskoop.icmp.in_router_advertisements", MetricKind.Counter, "{message}", "Router advertisement received. IPv6 only.", static (in IcmpRecord r) => r.InRouterAdvertisements },
        { "kubeskoop.icmp.in_neighbor_solicitations", MetricKind.Counter, "{message}", "Neighbour solicitation received. IPv6 only.", static (in IcmpRecord r) => r.InNeighborSolicitations },
        { "kubeskoop.icmp.in_neighbor_advertisements", MetricKind.Counter, "{message}", "Neighbour advertisement received. IPv6 only.", static (in IcmpRecord r) => r.InNeighborAdvertisements },
        { "kubeskoop.icmp.in_mld_v2_reports", MetricKind.Counter, "{message}", "MLDv2 report received. IPv6 only.", static (in IcmpRecord r) => r.InMldV2Reports },
        { "kubeskoop.icmp.out_group_membership_queries", MetricKind.Counter, "{message}", "Multicast listener query sent. IPv6 only.", static (in IcmpRecord r) => r.OutGroupMembershipQueries },
        { "kubeskoop.icmp.out_group_membership_responses", MetricKind.Counter, "{message}", "Multicast listener report sent. IPv6 only.", static (in IcmpRecord r) => r.OutGroupMembershipResponses },
        { "kubeskoop.icmp.out_group_membership_reductions", MetricKind.Counter, "{message}", "Multicast listener done sent. IPv6 only.", static (in IcmpRecord r) => r.OutGroupMembershipReductions },
        { "kubeskoop.icmp.out_router_solicitations", MetricKind.Counter, "{message}", "Router solicitation sent. IPv6 only.", static (in IcmpRecord r) => r.OutRouterSolicitations },
        { "kubeskoop.icmp.out_router_advertisements", MetricKind.Counter, "{message}", "Router advertisement sent. IPv6 only.", static (in IcmpRecord r) => r.OutRouterAdvertisements },
        { "kubeskoop.icmp.out_neighbor_solicitations", MetricKind.Counter, "{message}", "Neighbour solicitation sent. IPv6 only.", static (in IcmpRecord r) => r.OutNeighborSolicitations },
        { "kubeskoop.icmp.out_neighbor_advertisements", MetricKind.Counter, "{message}", "Neighbour advertisement sent. IPv6 only.", static (in IcmpRecord r) => r.OutNeighborAdvertisements },
        { "kubeskoop.icmp.out_mld_v2_reports", MetricKind.Counter, "{message}", "MLDv2 report sent. IPv6 only.", static (in IcmpRecord r) => r.OutMldV2Reports },
    };

    /// <summary>Field by field, the columns of the section <c>Icmp:</c>; empty where IPv4 has no such message.</summary>
    internal static ColumnSet Columns { get; } = new("Icmp:",
    [
        "InMsgs", "InErrors", "InCsumErrors", "InDestUnreachs", "InTimeExcds", "InParmProbs", "InSrcQuenchs",
        "InRedirects", "InEchos", "InEchoReps", "InTimestamps", "InTimestampReps", "InAddrMasks", "InAddrMaskReps",
        "OutMsgs", "OutErrors", "OutRateLimitGlobal", "OutRateLimitHost", "OutDestUnreachs", "OutTimeExcds",
        "OutParmProbs", "OutSrcQuenchs", "OutRedirects", "OutEchos", "OutEchoReps", "OutTimestamps",
        "OutTimestampReps", "OutAddrMasks", "OutAddrMaskReps", "", "", "", "", "", "", "", "", "", "", "", "", "",
        "", "", "", "", "",
    ]);

    /// <summary>Field by field, the lines <c>Icmp6...</c>; empty where IPv6 has no such message.</summary>
    internal static ColumnSet Columns6 { get; } = new("Icmp6",
    [
        "InMsgs", "InErrors", "InCsumErrors", "InDestUnreachs", "InTimeExcds", "InParmProblems", "", "InRedirects",
        "InEchos", "InEchoReplies", "", "", "", "", "OutMsgs", "OutErrors", "", "OutRateLimitHost",
        "OutDestUnreachs", "OutTimeExcds", "OutParmProblems", "", "OutRedirects", "OutEchos", "OutEchoReplies", "",
        "", "", "", "InPktTooBigs", "OutPktTooBigs", "InGroupMembQueries", "InGroupMembResponses",
        "InGroupMembReductions", "InRouterSolicits", "InRouterAdvertisements", "InNeighborSolicits",
        "InNeighborAdvertisements", "InMLDv2Reports", "OutGroupMembQueries", "OutGroupMembResponses",
        "OutGroupMembReductions", "OutRouterSolicits", "OutRouterAdvertisements", "OutNeighborSolicits",
        "OutNeighborAdvertisements", "OutMLDv2Reports",
    ]);
}
