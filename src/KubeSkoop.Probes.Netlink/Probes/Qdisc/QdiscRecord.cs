namespace KubeSkoop.Probes.Netlink;

/// <summary>
/// A queueing discipline (qdisc) of a device, or a class of an htb, or, in the fields that begin with <c>Root</c>, all devices of a namespace.
/// What the kind does not count is absent.
/// </summary>
public struct QdiscRecord
{
    /// <summary>Bytes passed on. Unit: bytes. Kernel: gnet_stats_basic.bytes.</summary>
    public Reading Bytes;

    /// <summary>Packets passed on. Unit: packets. Kernel: TCA_STATS_PKT64, or gnet_stats_basic.packets while they fit 32 bits.</summary>
    public Reading Packets;

    /// <summary>Packets dropped. Unit: packets. Kernel: gnet_stats_queue.drops, 32 bits; goes on over a wrap.</summary>
    public Reading Drops;

    /// <summary>Times a packet had to wait for, or was refused because of, a rate limit. Unit: packets. Kernel: gnet_stats_queue.overlimits, 32 bits; goes on over a wrap.</summary>
    public Reading Overlimits;

    /// <summary>Packets put back because the device did not take them. Unit: packets. Kernel: gnet_stats_queue.requeues, 32 bits; goes on over a wrap.</summary>
    public Reading Requeues;

    /// <summary>Packets queued now. Unit: packets. Kernel: gnet_stats_queue.qlen.</summary>
    public Reading QueueLength;

    /// <summary>Bytes queued now. Unit: bytes. Kernel: gnet_stats_queue.backlog.</summary>
    public Reading Backlog;

    /// <summary>The rate a tbf lets through, or an htb class is assured of. Unit: bytes per second. Kernel: TCA_TBF_RATE64 or TCA_TBF_PARMS; TCA_HTB_RATE64 or TCA_HTB_PARMS.</summary>
    public Reading Rate;

    /// <summary>The rate an htb class may borrow up to. Unit: bytes per second. Kernel: TCA_HTB_CEIL64 or TCA_HTB_PARMS.</summary>
    public Reading Ceiling;

    /// <summary>Packets no class of an htb was found for: they went out unshaped. Unit: packets. Kernel: tc_htb_glob.direct_pkts.</summary>
    public Reading HtbDirectPackets;

    /// <summary>Packets an htb class sent within its own rate. Unit: packets. Kernel: tc_htb_xstats.lends.</summary>
    public Reading HtbLends;

    /// <summary>Packets an htb class sent on its parent's rate. Unit: packets. Kernel: tc_htb_xstats.borrows.</summary>
    public Reading HtbBorrows;

    /// <summary>How long an htb class may go on sending at once before its rate limits it; negative when it has sent ahead. Unit: seconds. Kernel: tc_htb_xstats.tokens, 64 ns each.</summary>
    public double? HtbTokens;

    /// <summary>The same for its ceiling. Unit: seconds. Kernel: tc_htb_xstats.ctokens, 64 ns each.</summary>
    public double? HtbCeilingTokens;

    /// <summary>Flows an fq knows. Unit: flows. Kernel: tc_fq_qd_stats.flows.</summary>
    public Reading FqFlows;

    /// <summary>Flows of an fq that have nothing queued. Unit: flows. Kernel: tc_fq_qd_stats.inactive_flows.</summary>
    public Reading FqInactiveFlows;

    /// <summary>Flows of an fq that wait for their pace. Unit: flows. Kernel: tc_fq_qd_stats.throttled_flows.</summary>
    public Reading FqThrottledFlows;

    /// <summary>Times a flow of an fq had to wait for its pace. Unit: times. Kernel: tc_fq_qd_stats.throttled.</summary>
    public Reading FqThrottled;

    /// <summary>Packets an fq dropped because their flow had too many queued. Unit: packets. Kernel: tc_fq_qd_stats.flows_plimit.</summary>
    public Reading FqFlowLimitDrops;

    /// <summary>Idle flows an fq has forgotten. Unit: flows. Kernel: tc_fq_qd_stats.gc_flows.</summary>
    public Reading FqFlowsCollected;

    /// <summary>Packets of an fq that exceed a second at their flow's pace. Unit: packets. Kernel: tc_fq_qd_stats.pkts_too_long.</summary>
    public Reading FqPacketsTooLong;

    /// <summary>Flows an fq had no memory for. Unit: flows. Kernel: tc_fq_qd_stats.allocation_errors.</summary>
    public Reading FqAllocationErrors;

    /// <summary>Packets an fq marked as having met congestion, for waiting too long. Unit: packets. Kernel: tc_fq_qd_stats.ce_mark, 5.0.</summary>
    public Reading FqCongestionMarks;

    /// <summary>Packets an fq dropped because they are to be sent too far in the future. Unit: packets. Kernel: tc_fq_qd_stats.horizon_drops, 5.8.</summary>
    public Reading FqHorizonDrops;

    /// <summary>Packets an fq sends earlier than asked, because that is too far in the future. Unit: packets. Kernel: tc_fq_qd_stats.horizon_caps, 5.8.</summary>
    public Reading FqHorizonCaps;

    /// <summary>Packets an fq passed on without looking up their flow. Unit: packets. Kernel: tc_fq_qd_stats.fastpath_packets, 6.7.</summary>
    public Reading FqFastPathPackets;

    /// <summary>The largest packet an fq_codel has seen. Unit: bytes. Kernel: tc_fq_codel_qd_stats.maxpacket.</summary>
    public Reading FqCodelLargestPacket;

    /// <summary>Packets an fq_codel dropped because too many were queued. Unit: packets. Kernel: tc_fq_codel_qd_stats.drop_overlimit.</summary>
    public Reading FqCodelOverlimitDrops;

    /// <summary>Packets an fq_codel dropped because those queued take too much memory. Unit: packets. Kernel: tc_fq_codel_qd_stats.drop_overmemory, 4.7.</summary>
    public Reading FqCodelOvermemoryDrops;

    /// <summary>Packets an fq_codel marked (ECN) instead of dropping them. Unit: packets. Kernel: tc_fq_codel_qd_stats.ecn_mark.</summary>
    public Reading FqCodelEcnMarks;

    /// <summary>Packets an fq_codel marked for having waited longer than ce_threshold. Unit: packets. Kernel: tc_fq_codel_qd_stats.ce_mark, 4.2.</summary>
    public Reading FqCodelCongestionMarks;

    /// <summary>Times a packet began a flow of an fq_codel. Unit: flows. Kernel: tc_fq_codel_qd_stats.new_flow_count.</summary>
    public Reading FqCodelNewFlows;

    /// <summary>New flows of an fq_codel that have packets queued. Unit: flows. Kernel: tc_fq_codel_qd_stats.new_flows_len.</summary>
    public Reading FqCodelNewFlowsQueued;

    /// <summary>Older flows of an fq_codel that have packets queued. Unit: flows. Kernel: tc_fq_codel_qd_stats.old_flows_len.</summary>
    public Reading FqCodelOldFlowsQueued;

    /// <summary>Memory of the packets an fq_codel has queued. Unit: bytes. Kernel: tc_fq_codel_qd_stats.memory_usage, 4.7.</summary>
    public Reading FqCodelMemory;

    /// <summary>Bytes passed on by the root qdiscs of all devices of the namespace. Unit: bytes. Of the row about the namespace.</summary>
    public Reading RootBytes;

    /// <summary>Packets passed on by the root qdiscs of all devices of the namespace. Unit: packets. Of the row about the namespace.</summary>
    public Reading RootPackets;

    /// <summary>Packets dropped by the root qdiscs of all devices of the namespace. Unit: packets. Of the row about the namespace.</summary>
    public Reading RootDrops;

    /// <summary>Times a packet met a rate limit in the root qdiscs of all devices of the namespace. Unit: packets. Of the row about the namespace.</summary>
    public Reading RootOverlimits;

    /// <summary>Packets put back into the root qdiscs of all devices of the namespace. Unit: packets. Of the row about the namespace.</summary>
    public Reading RootRequeues;

    /// <summary>Packets queued now in the root qdiscs of all devices of the namespace. Unit: packets. Of the row about the namespace.</summary>
    public Reading RootQueueLength;

    /// <summary>Bytes queued now in the root qdiscs of all devices of the namespace. Unit: bytes. Of the row about the namespace.</summary>
    public Reading RootBacklog;

    /// <summary>Names, kinds and units of the metrics, and how to read them. Upstream's names carry the namespace's totals: one row a namespace.</summary>
    public static MetricTable<QdiscRecord> Metrics { get; } = new()
    {
        { "kubeskoop.qdisc.bytes", MetricKind.Counter, "By", "Bytes passed on.", static (in QdiscRecord r) => r.Bytes },
        { "kubeskoop.qdisc.packets", MetricKind.Counter, "{packet}", "Packets passed on.", static (in QdiscRecord r) => r.Packets },
        { "kubeskoop.qdisc.drops", MetricKind.Counter, "{packet}", "Packets dropped.", static (in QdiscRecord r) => r.Drops },
        { "kubeskoop.qdisc.overlimits", MetricKind.Counter, "{packet}", "Times a packet had to wait for, or was refused because of, a rate limit.", static (in QdiscRecord r) => r.Overlimits },
        { "kubeskoop.qdisc.requeues", MetricKind.Counter, "{packet}", "Packets put back because the device did not take them.", static (in QdiscRecord r) => r.Requeues },
        { "kubeskoop.qdisc.queue_length", MetricKind.Gauge, "{packet}", "Packets queued now.", static (in QdiscRecord r) => r.QueueLength },
        { "kubeskoop.qdisc.backlog", MetricKind.Gauge, "By", "Bytes queued now.", static (in QdiscRecord r) => r.Backlog },
        { "kubeskoop.qdisc.rate", MetricKind.Gauge, "By/s", "The rate a tbf lets through, or an htb class is assured of.", static (in QdiscRecord r) => r.Rate },
        { "kubeskoop.qdisc.ceiling", MetricKind.Gauge, "By/s", "The rate an htb class may borrow up to.", static (in QdiscRecord r) => r.Ceiling },
        { "kubeskoop.qdisc.htb_direct_packets", MetricKind.Counter, "{packet}", "Packets no class of an htb was found for: they went out unshaped.", static (in QdiscRecord r) => r.HtbDirectPackets },
        { "kubeskoop.qdisc.htb_lends", MetricKind.Counter, "{packet}", "Packets an htb class sent within its own rate.", static (in QdiscRecord r) => r.HtbLends },
        { "kubeskoop.qdisc.htb_borrows", MetricKind.Counter, "{packet}", "Packets an htb class sent on its parent's rate.", static (in QdiscRecord r) => r.HtbBorrows },
        { "kubeskoop.qdisc.htb_tokens", MetricKind.Gauge, "s", "How long an htb class may go on sending at once before its rate limits it; negative when it has sent ahead.", static (in QdiscRecord r) => r.HtbTokens },
        { "kubeskoop.qdisc.htb_ceiling_tokens", MetricKind.Gauge, "s", "The same for the ceiling of an htb class.", static (in QdiscRecord r) => r.HtbCeilingTokens },
        { "kubeskoop.qdisc.fq_flows", MetricKind.Gauge, "{flow}", "Flows an fq knows.", static (in QdiscRecord r) => r.FqFlows },
        { "kubeskoop.qdisc.fq_inactive_flows", MetricKind.Gauge, "{flow}", "Flows of an fq that have nothing queued.", static (in QdiscRecord r) => r.FqInactiveFlows },
        { "kubeskoop.qdisc.fq_throttled_flows", MetricKind.Gauge, "{flow}", "Flows of an fq that wait for their pace.", static (in QdiscRecord r) => r.FqThrottledFlows },
        { "kubeskoop.qdisc.fq_throttled", MetricKind.Counter, "{event}", "Times a flow of an fq had to wait for its pace.", static (in QdiscRecord r) => r.FqThrottled },
        { "kubeskoop.qdisc.fq_flow_limit_drops", MetricKind.Counter, "{packet}", "Packets an fq dropped because their flow had too many queued.", static (in QdiscRecord r) => r.FqFlowLimitDrops },
        { "kubeskoop.qdisc.fq_flows_collected", MetricKind.Counter, "{flow}", "Idle flows an fq has forgotten.", static (in QdiscRecord r) => r.FqFlowsCollected },
        { "kubeskoop.qdisc.fq_packets_too_long", MetricKind.Counter, "{packet}", "Packets of an fq that exceed a second at their flow's pace.", static (in QdiscRecord r) => r.FqPacketsTooLong },
        { "kubeskoop.qdisc.fq_allocation_errors", MetricKind.Counter, "{flow}", "Flows an fq had no memory for.", static (in QdiscRecord r) => r.FqAllocationErrors },
        { "kubeskoop.qdisc.fq_congestion_marks", MetricKind.Counter, "{packet}", "Packets an fq marked as having met congestion, for waiting too long.", static (in QdiscRecord r) => r.FqCongestionMarks },
        { "kubeskoop.qdisc.fq_horizon_drops", MetricKind.Counter, "{packet}", "Packets an fq dropped because they are to be sent too far in the future.", static (in QdiscRecord r) => r.FqHorizonDrops },
        { "kubeskoop.qdisc.fq_horizon_caps", MetricKind.Counter, "{packet}", "Packets an fq sends earlier than asked, because that is too far in the future.", static (in QdiscRecord r) => r.FqHorizonCaps },
        { "kubeskoop.qdisc.fq_fast_path_packets", MetricKind.Counter, "{packet}", "Packets an fq passed on without looking up their flow.", static (in QdiscRecord r) => r.FqFastPathPackets },
        { "kubeskoop.qdisc.fq_codel_largest_packet", MetricKind.Gauge, "By", "The largest packet an fq_codel has seen.", static (in QdiscRecord r) => r.FqCodelLargestPacket },
        { "kubeskoop.qdisc.fq_codel_overlimit_drops", MetricKind.Counter, "{packet}", "Packets an fq_codel dropped because too many were queued.", static (in QdiscRecord r) => r.FqCodelOverlimitDrops },
        { "kubeskoop.qdisc.fq_codel_overmemory_drops", MetricKind.Counter, "{packet}", "Packets an fq_codel dropped because those queued take too much memory.", static (in QdiscRecord r) => r.FqCodelOvermemoryDrops },
        { "kubeskoop.qdisc.fq_codel_ecn_marks", MetricKind.Counter, "{packet}", "Packets an fq_codel marked (ECN) instead of dropping them.", static (in QdiscRecord r) => r.FqCodelEcnMarks },
        { "kubeskoop.qdisc.fq_codel_congestion_marks", MetricKind.Counter, "{packet}", "Packets an fq_codel marked for having waited longer than ce_threshold.", static (in QdiscRecord r) => r.FqCodelCongestionMarks },
        { "kubeskoop.qdisc.fq_codel_new_flows", MetricKind.Counter, "{flow}", "Times a packet began a flow of an fq_codel.", static (in QdiscRecord r) => r.FqCodelNewFlows },
        { "kubeskoop.qdisc.fq_codel_new_flows_queued", MetricKind.Gauge, "{flow}", "New flows of an fq_codel that have packets queued.", static (in QdiscRecord r) => r.FqCodelNewFlowsQueued },
        { "kubeskoop.qdisc.fq_codel_old_flows_queued", MetricKind.Gauge, "{flow}", "Older flows of an fq_codel that have packets queued.", static (in QdiscRecord r) => r.FqCodelOldFlowsQueued },
        { "kubeskoop.qdisc.fq_codel_memory", MetricKind.Gauge, "By", "Memory of the packets an fq_codel has queued.", static (in QdiscRecord r) => r.FqCodelMemory },
        { "kubeskoop.qdisc.root_bytes", MetricKind.Counter, "By", "Bytes passed on by the root qdiscs of all devices of the namespace.", static (in QdiscRecord r) => r.RootBytes, "kubeskoop_qdisc_bytes" },
        { "kubeskoop.qdisc.root_packets", MetricKind.Counter, "{packet}", "Packets passed on by the root qdiscs of all devices of the namespace.", static (in QdiscRecord r) => r.RootPackets, "kubeskoop_qdisc_packets" },
        { "kubeskoop.qdisc.root_drops", MetricKind.Counter, "{packet}", "Packets dropped by the root qdiscs of all devices of the namespace.", static (in QdiscRecord r) => r.RootDrops, "kubeskoop_qdisc_drops" },
        { "kubeskoop.qdisc.root_overlimits", MetricKind.Counter, "{packet}", "Times a packet met a rate limit in the root qdiscs of all devices of the namespace.", static (in QdiscRecord r) => r.RootOverlimits, "kubeskoop_qdisc_overlimits" },
        { "kubeskoop.qdisc.root_requeues", MetricKind.Counter, "{packet}", "Packets put back into the root qdiscs of all devices of the namespace.", static (in QdiscRecord r) => r.RootRequeues },
        { "kubeskoop.qdisc.root_queue_length", MetricKind.Gauge, "{packet}", "Packets queued now in the root qdiscs of all devices of the namespace.", static (in QdiscRecord r) => r.RootQueueLength, "kubeskoop_qdisc_qlen" },
        { "kubeskoop.qdisc.root_backlog", MetricKind.Gauge, "By", "Bytes queued now in the root qdiscs of all devices of the namespace.", static (in QdiscRecord r) => r.RootBacklog, "kubeskoop_qdisc_backlog" },
    };
}
