namespace KubeSkoop.Probes.Ebpf;

/// <summary>Which part of the kernel a function belongs to, by the habits of its names: a handful of values, fit for an attribute.</summary>
internal static class KernelParts
{
    internal const string Unknown = "unknown";
    private const string Other = "other";

    private static readonly (string Prefix, string Part)[] Prefixes =
    [
        ("nf_", "netfilter"), ("nft_", "netfilter"), ("ipt_", "netfilter"), ("ip6t_", "netfilter"), ("ipv4_conntrack", "netfilter"), ("ipv6_conntrack", "netfilter"), ("xt_", "netfilter"),
        ("tcp_", "tcp"), ("__tcp_", "tcp"), ("udp_", "udp"), ("udp6_", "udp"), ("udpv6_", "udp"), ("__udp", "udp"), ("icmp", "icmp"), ("ping_", "icmp"),
        ("tcf_", "traffic control"), ("qdisc_", "qdisc"), ("__qdisc_", "qdisc"), ("pfifo_", "qdisc"), ("tbf_", "qdisc"), ("htb_", "qdisc"), ("fq_", "qdisc"), ("codel_", "qdisc"), ("netem_", "qdisc"), ("noop_enqueue", "qdisc"), ("sch_", "qdisc"),
        ("neigh_", "neighbour"), ("__neigh_", "neighbour"), ("arp_", "neighbour"), ("ndisc_", "neighbour"),
        ("br_", "bridge"), ("__br_", "bridge"), ("veth_", "device"), ("tun_", "device"), ("vxlan_", "device"), ("netif_", "device"), ("__netif_", "device"), ("dev_", "device"), ("__dev_", "device"),
        ("validate_xmit", "device"), ("sch_direct_xmit", "device"), ("virtnet_", "device"), ("loopback_", "device"), ("napi_", "device"), ("enqueue_to_backlog", "device"), ("__dev_queue_xmit", "device"),
        ("ip_", "ip"), ("__ip_", "ip"), ("ip6_", "ip"), ("ipv6_", "ip"), ("ip4_", "ip"), ("inet_", "ip"), ("inet6_", "ip"), ("fib_", "ip"), ("rt_", "ip"), ("raw_", "ip"), ("rawv6_", "ip"), ("igmp", "ip"), ("mld_", "ip"),
        ("xfrm", "xfrm"), ("sock_", "socket"), ("__sock_", "socket"), ("sk_", "socket"), ("__sk_", "socket"), ("packet_", "socket"), ("tpacket_", "socket"), ("skb_", "socket"), ("__skb_", "socket"),
        ("bpf_", "bpf"), ("xdp_", "bpf"), ("sctp_", "sctp"), ("mptcp_", "tcp"), ("unix_", "socket"),
    ];

    internal static string Of(string? function)
    {
        if (function is null) return Unknown;
        string part = Other;
        int longest = 0;
        foreach ((string prefix, string name) in Prefixes)
        {
            if (prefix.Length <= longest || !function.StartsWith(prefix, StringComparison.Ordinal)) continue;
            longest = prefix.Length;
            part = name;
        }
        return part;
    }
}
