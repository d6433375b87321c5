using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Extended TCP counters of one network namespace (net/ipv4/proc.c, snmp4_net_list): the documented ones as fields, all others of the running kernel under its own names.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct TcpExtRecord
{
    /// <summary>SYN cookies sent because the queue of half-open connections was full. Unit: cookies. Kernel: /proc/net/netstat, TcpExt: SyncookiesSent.</summary>
    public Reading SynCookiesSent;

    /// <summary>SYN cookies that came back and were valid. Unit: cookies. Kernel: /proc/net/netstat, TcpExt: SyncookiesRecv.</summary>
    public Reading SynCookiesReceived;

    /// <summary>SYN cookies that came back and were not valid. Unit: cookies. Kernel: /proc/net/netstat, TcpExt: SyncookiesFailed.</summary>
    public Reading SynCookiesFailed;

    /// <summary>RST received for a connection in SYN_RECV. Unit: resets. Kernel: /proc/net/netstat, TcpExt: EmbryonicRsts.</summary>
    public Reading EmbryonicResets;

    /// <summary>Times a socket over its receive buffer had its queues collapsed. Unit: events. Kernel: /proc/net/netstat, TcpExt: PruneCalled.</summary>
    public Reading PruneCalled;

    /// <summary>Segments dropped from a receive queue to save memory. Unit: segments. Kernel: /proc/net/netstat, TcpExt: RcvPruned.</summary>
    public Reading ReceivePruned;

    /// <summary>Segments dropped from an out-of-order queue to save memory. Unit: segments. Kernel: /proc/net/netstat, TcpExt: OfoPruned.</summary>
    public Reading OutOfOrderPruned;

    /// <summary>Sockets that ended TIME_WAIT by the timer. Unit: sockets. Kernel: /proc/net/netstat, TcpExt: TW.</summary>
    public Reading TimeWaitEnded;

    /// <summary>TIME_WAIT sockets reused for a new connection. Unit: sockets. Kernel: /proc/net/netstat, TcpExt: TWRecycled.</summary>
    public Reading TimeWaitRecycled;

    /// <summary>TIME_WAIT sockets ended early. Unit: sockets. Kernel: /proc/net/netstat, TcpExt: TWKilled.</summary>
    public Reading TimeWaitKilled;

    /// <summary>SYN-ACKs refused by the timestamp check in SYN_SENT. Unit: segments. Kernel: /proc/net/netstat, TcpExt: PAWSActive.</summary>
    public Reading PawsActiveRejected;

    /// <summary>Segments refused by the timestamp check of an established connection. Unit: segments. Kernel: /proc/net/netstat, TcpExt: PAWSEstab.</summary>
    public Reading PawsEstablishedRejected;

    /// <summary>Acknowledgements sent by the delay timer. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: DelayedACKs.</summary>
    public Reading DelayedAcks;

    /// <summary>Delayed acknowledgements put off because the application held the socket. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: DelayedACKLocked.</summary>
    public Reading DelayedAcksLocked;

    /// <summary>Retransmissions received, probably because our acknowledgement was delayed too long or lost. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: DelayedACKLost.</summary>
    public Reading DelayedAcksLost;

    /// <summary>Connections lost because a listener's accept queue was full. Unit: connections. Kernel: /proc/net/netstat, TcpExt: ListenOverflows.</summary>
    public Reading ListenOverflows;

    /// <summary>Packets dropped at a listener for any reason, overflows included. Unit: packets. Kernel: /proc/net/netstat, TcpExt: ListenDrops.</summary>
    public Reading ListenDrops;

    /// <summary>Retransmissions that were lost again. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPLostRetransmit.</summary>
    public Reading LostRetransmits;

    /// <summary>Segments retransmitted in fast recovery. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPFastRetrans.</summary>
    public Reading FastRetransmits;

    /// <summary>Segments retransmitted after a timeout, in slow start. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPSlowStartRetrans.</summary>
    public Reading SlowStartRetransmits;

    /// <summary>Expiries of the retransmission timer. Unit: timeouts. Kernel: /proc/net/netstat, TcpExt: TCPTimeouts.</summary>
    public Reading Timeouts;

    /// <summary>Tail loss probes sent. Unit: probes. Kernel: /proc/net/netstat, TcpExt: TCPLossProbes.</summary>
    public Reading LossProbes;

    /// <summary>Losses repaired by a tail loss probe. Unit: probes. Kernel: /proc/net/netstat, TcpExt: TCPLossProbeRecovery.</summary>
    public Reading LossProbeRecoveries;

    /// <summary>DSACKs sent for data that had been acknowledged before. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPDSACKOldSent.</summary>
    public Reading DsackOldSent;

    /// <summary>DSACKs sent for duplicated out-of-order data. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPDSACKOfoSent.</summary>
    public Reading DsackOutOfOrderSent;

    /// <summary>DSACKs received: we retransmitted without need. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPDSACKRecv.</summary>
    public Reading DsackReceived;

    /// <summary>DSACKs received for out-of-order data. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPDSACKOfoRecv.</summary>
    public Reading DsackOutOfOrderReceived;

    /// <summary>Connections aborted with RST because of a zero linger time, or of data that came after close. Unit: connections. Kernel: /proc/net/netstat, TcpExt: TCPAbortOnData.</summary>
    public Reading AbortsOnData;

    /// <summary>Connections aborted with RST because they were closed with unread data. Unit: connections. Kernel: /proc/net/netstat, TcpExt: TCPAbortOnClose.</summary>
    public Reading AbortsOnClose;

    /// <summary>Connections aborted for lack of memory, or because of too many orphans. Unit: connections. Kernel: /proc/net/netstat, TcpExt: TCPAbortOnMemory.</summary>
    public Reading AbortsOnMemory;

    /// <summary>Connections given up after the limits of retransmission, keepalive or window probes. Unit: connections. Kernel: /proc/net/netstat, TcpExt: TCPAbortOnTimeout.</summary>
    public Reading AbortsOnTimeout;

    /// <summary>Connections aborted in FIN_WAIT2 by a negative TCP_LINGER2. Unit: connections. Kernel: /proc/net/netstat, TcpExt: TCPAbortOnLinger.</summary>
    public Reading AbortsOnLinger;

    /// <summary>RSTs that could not be sent. Unit: resets. Kernel: /proc/net/netstat, TcpExt: TCPAbortFailed.</summary>
    public Reading AbortsFailed;

    /// <summary>Times TCP entered memory pressure. Unit: events. Kernel: /proc/net/netstat, TcpExt: TCPMemoryPressures.</summary>
    public Reading MemoryPressures;

    /// <summary>Time spent in memory pressure. Unit: milliseconds (published as seconds). Kernel: /proc/net/netstat, TcpExt: TCPMemoryPressuresChrono.</summary>
    public Reading MemoryPressureTime;

    /// <summary>Retransmission timeouts found to have been needless (F-RTO). Unit: timeouts. Kernel: /proc/net/netstat, TcpExt: TCPSpuriousRTOs.</summary>
    public Reading SpuriousRetransmissionTimeouts;

    /// <summary>Segments dropped because the socket's backlog was full. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPBacklogDrop.</summary>
    public Reading BacklogDrops;

    /// <summary>Packets dropped because they lived in the memory reserve and the socket may not use it. Unit: packets. Kernel: /proc/net/netstat, TcpExt: PFMemallocDrop.</summary>
    public Reading PfMemallocDrops;

    /// <summary>Packets dropped because their TTL was below the socket's minimum. Unit: packets. Kernel: /proc/net/netstat, TcpExt: TCPMinTTLDrop.</summary>
    public Reading MinTtlDrops;

    /// <summary>Bare acknowledgements dropped at a listener with TCP_DEFER_ACCEPT. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPDeferAcceptDrop.</summary>
    public Reading DeferAcceptDrops;

    /// <summary>Packets dropped by the reverse path filter (rp_filter). Unit: packets. Kernel: /proc/net/netstat, TcpExt: IPReversePathFilter.</summary>
    public Reading ReversePathFilterDrops;

    /// <summary>Sockets that could not enter TIME_WAIT because of tcp_max_tw_buckets. Unit: sockets. Kernel: /proc/net/netstat, TcpExt: TCPTimeWaitOverflow.</summary>
    public Reading TimeWaitOverflows;

    /// <summary>Times a full queue of half-open connections was answered with SYN cookies. Unit: connections. Kernel: /proc/net/netstat, TcpExt: TCPReqQFullDoCookies.</summary>
    public Reading RequestQueueFullCookies;

    /// <summary>SYNs dropped because the queue of half-open connections was full. Unit: connections. Kernel: /proc/net/netstat, TcpExt: TCPReqQFullDrop.</summary>
    public Reading RequestQueueFullDrops;

    /// <summary>Retransmissions that could not be handed down. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPRetransFail.</summary>
    public Reading RetransmitFailures;

    /// <summary>Segments merged with the one before in the receive queue. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPRcvCoalesce.</summary>
    public Reading ReceiveCoalesced;

    /// <summary>Segments that came out of order and were queued. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPOFOQueue.</summary>
    public Reading OutOfOrderQueued;

    /// <summary>Segments that came out of order and were dropped: the receive buffer was full. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPOFODrop.</summary>
    public Reading OutOfOrderDrops;

    /// <summary>Out-of-order segments that overlapped queued ones. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPOFOMerge.</summary>
    public Reading OutOfOrderMerged;

    /// <summary>Challenge acknowledgements sent. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPChallengeACK.</summary>
    public Reading ChallengeAcks;

    /// <summary>Challenge acknowledgements sent in answer to a SYN. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPSYNChallenge.</summary>
    public Reading SynChallenges;

    /// <summary>Times the advertised window went from zero to something. Unit: events. Kernel: /proc/net/netstat, TcpExt: TCPFromZeroWindowAdv.</summary>
    public Reading FromZeroWindow;

    /// <summary>Times the advertised window went to zero: the application reads too slowly. Unit: events. Kernel: /proc/net/netstat, TcpExt: TCPToZeroWindowAdv.</summary>
    public Reading ToZeroWindow;

    /// <summary>Times the window should have been zero but may not shrink. Unit: events. Kernel: /proc/net/netstat, TcpExt: TCPWantZeroWindowAdv.</summary>
    public Reading WantedZeroWindow;

    /// <summary>SYN and SYN-ACK segments retransmitted. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPSynRetrans.</summary>
    public Reading SynRetransmits;

    /// <summary>Segments with new data sent. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPOrigDataSent.</summary>
    public Reading OriginalDataSent;

    /// <summary>Duplicate acknowledgements suppressed by the rate limit, in SYN_RECV. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPACKSkippedSynRecv.</summary>
    public Reading AcksSkippedSynReceived;

    /// <summary>Duplicate acknowledgements suppressed by the rate limit, after a failed timestamp check. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPACKSkippedPAWS.</summary>
    public Reading AcksSkippedPaws;

    /// <summary>Duplicate acknowledgements suppressed by the rate limit, for a sequence number out of window. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPACKSkippedSeq.</summary>
    public Reading AcksSkippedSequence;

    /// <summary>Duplicate acknowledgements suppressed by the rate limit, in FIN_WAIT2. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPACKSkippedFinWait2.</summary>
    public Reading AcksSkippedFinWait2;

    /// <summary>Duplicate acknowledgements suppressed by the rate limit, in TIME_WAIT. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPACKSkippedTimeWait.</summary>
    public Reading AcksSkippedTimeWait;

    /// <summary>Challenge acknowledgements suppressed by the rate limit. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPACKSkippedChallenge.</summary>
    public Reading AcksSkippedChallenge;

    /// <summary>Zero-window probes sent. Unit: probes. Kernel: /proc/net/netstat, TcpExt: TCPWinProbe.</summary>
    public Reading WindowProbes;

    /// <summary>Keepalive probes sent. Unit: probes. Kernel: /proc/net/netstat, TcpExt: TCPKeepAlive.</summary>
    public Reading KeepAlives;

    /// <summary>Path MTU probes lost. Unit: probes. Kernel: /proc/net/netstat, TcpExt: TCPMTUPFail.</summary>
    public Reading MtuProbeFailures;

    /// <summary>Path MTU probes confirmed. Unit: probes. Kernel: /proc/net/netstat, TcpExt: TCPMTUPSuccess.</summary>
    public Reading MtuProbeSuccesses;

    /// <summary>Segments delivered to the other side, retransmissions included. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPDelivered.</summary>
    public Reading Delivered;

    /// <summary>Segments delivered with a congestion mark. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPDeliveredCE.</summary>
    public Reading DeliveredCongestionExperienced;

    /// <summary>Acknowledgements that were merged into one. Unit: acknowledgements. Kernel: /proc/net/netstat, TcpExt: TCPAckCompressed.</summary>
    public Reading AcksCompressed;

    /// <summary>Segments dropped because the receive window was zero. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPZeroWindowDrop.</summary>
    public Reading ZeroWindowDrops;

    /// <summary>Segments dropped because the limit of receive memory was reached. Unit: segments. Kernel: /proc/net/netstat, TcpExt: TCPRcvQDrop.</summary>
    public Reading ReceiveQueueDrops;

    /// <summary>Times a write queue was refused as too large. Unit: events. Kernel: /proc/net/netstat, TcpExt: TCPWqueueTooBig.</summary>
    public Reading WriteQueueTooBig;

#pragma warning disable CS0649 // filled as a span of readings
    private OtherReadings _others;
#pragma warning restore CS0649

    /// <summary>Columns beyond the fields above that are kept; Linux 6.18 has 63 of them.</summary>
    internal const int MostOthers = 160;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<TcpExtRecord> Metrics { get; } = new()
    {
        { "kubeskoop.tcpext.syn_cookies_sent", MetricKind.Counter, "{cookie}", "SYN cookies sent because the queue of half-open connections was full.", static (in TcpExtRecord r) => r.SynCookiesSent },
        { "kubeskoop.tcpext.syn_cookies_received", MetricKind.Counter, "{cookie}", "SYN cookies that came back and were valid.", static (in TcpExtRecord r) => r.SynCookiesReceived },
        { "kubeskoop.tcpext.syn_cookies_failed", MetricKind.Counter, "{cookie}", "SYN cookies that came back and were not valid.", static (in TcpExtRecord r) => r.SynCookiesFailed },
        { "kubeskoop.tcpext.embryonic_resets", MetricKind.Counter, "{reset}", "RST received for a connection in SYN_RECV.", static (in TcpExtRecord r) => r.EmbryonicResets, "kubeskoop_tcpext_embryonicrsts" },
        { "kubeskoop.tcpext.prune_called", MetricKind.Counter, "{event}", "Times a socket over its receive buffer had its queues collapsed.", static (in TcpExtRecord r) => r.PruneCalled },
        { "kubeskoop.tcpext.receive_pruned", MetricKind.Counter, "{segment}", "Segments dropped from a receive queue to save memory.", static (in TcpExtRecord r) => r.ReceivePruned },
        { "kubeskoop.tcpext.out_of_order_pruned", MetricKind.Counter, "{segment}", "Segments dropped from an out-of-order queue to save memory.", static (in TcpExtRecord r) => r.OutOfOrderPruned },
        { "kubeskoop.tcpext.time_wait_ended", MetricKind.Counter, "{socket}", "Sockets that ended TIME_WAIT by the timer.", static (in TcpExtRecord r) => r.TimeWaitEnded },
        { "kubeskoop.tcpext.time_wait_recycled", MetricKind.Counter, "{socket}", "TIME_WAIT sockets reused for a new connection.", static (in TcpExtRecord r) => r.TimeWaitRecycled },
        { "kubeskoop.tcpext.time_wait_killed", MetricKind.Counter, "{socket}", "TIME_WAIT sockets ended early.", static (in TcpExtRecord r) => r.TimeWaitKilled },
        { "kubeskoop.tcpext.paws_active_rejected", MetricKind.Counter, "{segment}", "SYN-ACKs refused by the timestamp check in SYN_SENT.", static (in TcpExtRecord r) => r.PawsActiveRejected, "kubeskoop_tcpext_pawsactive" },
        { "kubeskoop.tcpext.paws_established_rejected", MetricKind.Counter, "{segment}", "Segments refused by the timestamp check of an established connection.", static (in TcpExtRecord r) => r.PawsEstablishedRejected, "kubeskoop_tcpext_pawsestab" },
        { "kubeskoop.tcpext.delayed_acks", MetricKind.Counter, "{ack}", "Acknowledgements sent by the delay timer.", static (in TcpExtRecord r) => r.DelayedAcks },
        { "kubeskoop.tcpext.delayed_acks_locked", MetricKind.Counter, "{ack}", "Delayed acknowledgements put off because the application held the socket.", static (in TcpExtRecord r) => r.DelayedAcksLocked },
        { "kubeskoop.tcpext.delayed_acks_lost", MetricKind.Counter, "{ack}", "Retransmissions received, probably because our acknowledgement was delayed too long or lost.", static (in TcpExtRecord r) => r.DelayedAcksLost },
        { "kubeskoop.tcpext.listen_overflows", MetricKind.Counter, "{connection}", "Connections lost because a listener's accept queue was full.", static (in TcpExtRecord r) => r.ListenOverflows, "kubeskoop_tcpext_listenoverflows" },
        { "kubeskoop.tcpext.listen_drops", MetricKind.Counter, "{packet}", "Packets dropped at a listener for any reason, overflows included.", static (in TcpExtRecord r) => r.ListenDrops, "kubeskoop_tcpext_listendrops" },
        { "kubeskoop.tcpext.lost_retransmits", MetricKind.Counter, "{segment}", "Retransmissions that were lost again.", static (in TcpExtRecord r) => r.LostRetransmits },
        { "kubeskoop.tcpext.fast_retransmits", MetricKind.Counter, "{segment}", "Segments retransmitted in fast recovery.", static (in TcpExtRecord r) => r.FastRetransmits, "kubeskoop_tcpext_tcpfastretrans" },
        { "kubeskoop.tcpext.slow_start_retransmits", MetricKind.Counter, "{segment}", "Segments retransmitted after a timeout, in slow start.", static (in TcpExtRecord r) => r.SlowStartRetransmits },
        { "kubeskoop.tcpext.timeouts", MetricKind.Counter, "{timeout}", "Expiries of the retransmission timer.", static (in TcpExtRecord r) => r.Timeouts, "kubeskoop_tcpext_tcptimeouts" },
        { "kubeskoop.tcpext.loss_probes", MetricKind.Counter, "{probe}", "Tail loss probes sent.", static (in TcpExtRecord r) => r.LossProbes },
        { "kubeskoop.tcpext.loss_probe_recoveries", MetricKind.Counter, "{probe}", "Losses repaired by a tail loss probe.", static (in TcpExtRecord r) => r.LossProbeRecoveries },
        { "kubeskoop.tcpext.dsack_old_sent", MetricKind.Counter, "{ack}", "DSACKs sent for data that had been acknowledged before.", static (in TcpExtRecord r) => r.DsackOldSent },
        { "kubeskoop.tcpext.dsack_out_of_order_sent", MetricKind.Counter, "{ack}", "DSACKs sent for duplicated out-of-order data.", static (in TcpExtRecord r) => r.DsackOutOfOrderSent },
        { "kubeskoop.tcpext.dsack_received", MetricKind.Counter, "{ack}", "DSACKs received: we retransmitted without need.", static (in TcpExtRecord r) => r.DsackReceived },
        { "kubeskoop.tcpext.dsack_out_of_order_received", MetricKind.Counter, "{ack}", "DSACKs received for out-of-order data.", static (in TcpExtRecord r) => r.DsackOutOfOrderReceived },
        { "kubeskoop.tcpext.aborts_on_data", MetricKind.Counter, "{connection}", "Connections aborted with RST because of a zero linger time, or of data that came after close.", static (in TcpExtRecord r) => r.AbortsOnData, "kubeskoop_tcpext_tcpabortondata" },
        { "kubeskoop.tcpext.aborts_on_close", MetricKind.Counter, "{connection}", "Connections aborted with RST because they were closed with unread data.", static (in TcpExtRecord r) => r.AbortsOnClose, "kubeskoop_tcpext_tcpabortonclose" },
        { "kubeskoop.tcpext.aborts_on_memory", MetricKind.Counter, "{connection}", "Connections aborted for lack of memory, or because of too many orphans.", static (in TcpExtRecord r) => r.AbortsOnMemory, "kubeskoop_tcpext_tcpabortonmemory" },
        { "kubeskoop.tcpext.aborts_on_timeout", MetricKind.Counter, "{connection}", "Connections given up after the limits of retransmission, keepalive or window probes.", static (in TcpExtRecord r) => r.AbortsOnTimeout, "kubeskoop_tcpext_tcpabortontimeout" },
        { "kubeskoop.tcpext.aborts_on_linger", MetricKind.Counter, "{connection}", "Connections aborted in FIN_WAIT2 by a negative TCP_LINGER2.", static (in TcpExtRecord r) => r.AbortsOnLinger, "kubeskoop_tcpext_tcpabortonlinger" },
        { "kubeskoop.tcpext.aborts_failed", MetricKind.Counter, "{reset}", "RSTs that could not be sent.", static (in TcpExtRecord r) => r.AbortsFailed, "kubeskoop_tcpext_tcpabortfailed" },
        { "kubeskoop.tcpext.memory_pressures", MetricKind.Counter, "{event}", "Times TCP entered memory pressure.", static (in TcpExtRecord r) => r.MemoryPressures, "kubeskoop_tcpext_tcpmemorypressures" },
        { "kubeskoop.tcpext.memory_pressure_time", MetricKind.Counter, "s", "Time spent in memory pressure.", static (in TcpExtRecord r) => r.MemoryPressureTime.HasValue ? r.MemoryPressureTime.Value / 1000.0 : MetricValue.Absent, "kubeskoop_tcpext_tcpmemorypressureschrono", static (in TcpExtRecord r) => r.MemoryPressureTime },
        { "kubeskoop.tcpext.spurious_retransmission_timeouts", MetricKind.Counter, "{timeout}", "Retransmission timeouts found to have been needless (F-RTO).", static (in TcpExtRecord r) => r.SpuriousRetransmissionTimeouts },
        { "kubeskoop.tcpext.backlog_drops", MetricKind.Counter, "{segment}", "Segments dropped because the socket's backlog was full.", static (in TcpExtRecord r) => r.BacklogDrops, "kubeskoop_tcpext_tcpbacklogdrop" },
        { "kubeskoop.tcpext.pf_memalloc_drops", MetricKind.Counter, "{packet}", "Packets dropped because they lived in the memory reserve and the socket may not use it.", static (in TcpExtRecord r) => r.PfMemallocDrops, "kubeskoop_tcpext_pfmemallocdrop" },
        { "kubeskoop.tcpext.min_ttl_drops", MetricKind.Counter, "{packet}", "Packets dropped because their TTL was below the socket's minimum.", static (in TcpExtRecord r) => r.MinTtlDrops },
        { "kubeskoop.tcpext.defer_accept_drops", MetricKind.Counter, "{ack}", "Bare acknowledgements dropped at a listener with TCP_DEFER_ACCEPT.", static (in TcpExtRecord r) => r.DeferAcceptDrops },
        { "kubeskoop.tcpext.reverse_path_filter_drops", MetricKind.Counter, "{packet}", "Packets dropped by the reverse path filter (rp_filter).", static (in TcpExtRecord r) => r.ReversePathFilterDrops },
        { "kubeskoop.tcpext.time_wait_overflows", MetricKind.Counter, "{socket}", "Sockets that could not enter TIME_WAIT because of tcp_max_tw_buckets.", static (in TcpExtRecord r) => r.TimeWaitOverflows },
        { "kubeskoop.tcpext.request_queue_full_cookies", MetricKind.Counter, "{connection}", "Times a full queue of half-open connections was answered with SYN cookies.", static (in TcpExtRecord r) => r.RequestQueueFullCookies },
        { "kubeskoop.tcpext.request_queue_full_drops", MetricKind.Counter, "{connection}", "SYNs dropped because the queue of half-open connections was full.", static (in TcpExtRecord r) => r.RequestQueueFullDrops },
        { "kubeskoop.tcpext.retransmit_failures", MetricKind.Counter, "{segment}", "Retransmissions that could not be handed down.", static (in TcpExtRecord r) => r.RetransmitFailures, "kubeskoop_tcpext_tcpretransfail" },
        { "kubeskoop.tcpext.receive_coalesced", MetricKind.Counter, "{segment}", "Segments merged with the one before in the receive queue.", static (in TcpExtRecord r) => r.ReceiveCoalesced },
        { "kubeskoop.tcpext.out_of_order_queued", MetricKind.Counter, "{segment}", "Segments that came out of order and were queued.", static (in TcpExtRecord r) => r.OutOfOrderQueued },
        { "kubeskoop.tcpext.out_of_order_drops", MetricKind.Counter, "{segment}", "Segments that came out of order and were dropped: the receive buffer was full.", static (in TcpExtRecord r) => r.OutOfOrderDrops },
        { "kubeskoop.tcpext.out_of_order_merged", MetricKind.Counter, "{segment}", "Out-of-order segments that overlapped queued ones.", static (in TcpExtRecord r) => r.OutOfOrderMerged },
        { "kubeskoop.tcpext.challenge_acks", MetricKind.Counter, "{ack}", "Challenge acknowledgements sent.", static (in TcpExtRecord r) => r.ChallengeAcks },
        { "kubeskoop.tcpext.syn_challenges", MetricKind.Counter, "{ack}", "Challenge acknowledgements sent in answer to a SYN.", static (in TcpExtRecord r) => r.SynChallenges },
        { "kubeskoop.tcpext.from_zero_window", MetricKind.Counter, "{event}", "Times the advertised window went from zero to something.", static (in TcpExtRecord r) => r.FromZeroWindow },
        { "kubeskoop.tcpext.to_zero_window", MetricKind.Counter, "{event}", "Times the advertised window went to zero: the application reads too slowly.", static (in TcpExtRecord r) => r.ToZeroWindow },
        { "kubeskoop.tcpext.wanted_zero_window", MetricKind.Counter, "{event}", "Times the window should have been zero but may not shrink.", static (in TcpExtRecord r) => r.WantedZeroWindow },
        { "kubeskoop.tcpext.syn_retransmits", MetricKind.Counter, "{segment}", "SYN and SYN-ACK segments retransmitted.", static (in TcpExtRecord r) => r.SynRetransmits, "kubeskoop_tcpext_tcpsynretrans" },
        { "kubeskoop.tcpext.original_data_sent", MetricKind.Counter, "{segment}", "Segments with new data sent.", static (in TcpExtRecord r) => r.OriginalDataSent },
        { "kubeskoop.tcpext.acks_skipped_syn_received", MetricKind.Counter, "{ack}", "Duplicate acknowledgements suppressed by the rate limit, in SYN_RECV.", static (in TcpExtRecord r) => r.AcksSkippedSynReceived, "kubeskoop_tcpext_tcpackskippedsynrecv" },
        { "kubeskoop.tcpext.acks_skipped_paws", MetricKind.Counter, "{ack}", "Duplicate acknowledgements suppressed by the rate limit, after a failed timestamp check.", static (in TcpExtRecord r) => r.AcksSkippedPaws, "kubeskoop_tcpext_tcpackskippedpaws" },
        { "kubeskoop.tcpext.acks_skipped_sequence", MetricKind.Counter, "{ack}", "Duplicate acknowledgements suppressed by the rate limit, for a sequence number out of window.", static (in TcpExtRecord r) => r.AcksSkippedSequence, "kubeskoop_tcpext_tcpackskippedseq" },
        { "kubeskoop.tcpext.acks_skipped_fin_wait2", MetricKind.Counter, "{ack}", "Duplicate acknowledgements suppressed by the rate limit, in FIN_WAIT2.", static (in TcpExtRecord r) => r.AcksSkippedFinWait2, "kubeskoop_tcpext_tcpackskippedfinwait2" },
        { "kubeskoop.tcpext.acks_skipped_time_wait", MetricKind.Counter, "{ack}", "Duplicate acknowledgements suppressed by the rate limit, in TIME_WAIT.", static (in TcpExtRecord r) => r.AcksSkippedTimeWait, "kubeskoop_tcpext_tcpackskippedtimewait" },
        { "kubeskoop.tcpext.acks_skipped_challenge", MetricKind.Counter, "{ack}", "Challenge acknowledgements suppressed by the rate limit.", static (in TcpExtRecord r) => r.AcksSkippedChallenge, "kubeskoop_tcpext_tcpackskippedchallenge" },
        { "kubeskoop.tcpext.window_probes", MetricKind.Counter, "{probe}", "Zero-window probes sent.", static (in TcpExtRecord r) => r.WindowProbes, "kubeskoop_tcpext_tcpwinprobe" },
        { "kubeskoop.tcpext.keep_alives", MetricKind.Counter, "{probe}", "Keepalive probes sent.", static (in TcpExtRecord r) => r.KeepAlives, "kubeskoop_tcpext_tcpkeepalive" },
        { "kubeskoop.tcpext.mtu_probe_failures", MetricKind.Counter, "{probe}", "Path MTU probes lost.", static (in TcpExtRecord r) => r.MtuProbeFailures, "kubeskoop_tcpext_tcpmtupfail" },
        { "kubeskoop.tcpext.mtu_probe_successes", MetricKind.Counter, "{probe}", "Path MTU probes confirmed.", static (in TcpExtRecord r) => r.MtuProbeSuccesses, "kubeskoop_tcpext_tcpmtupsuccess" },
        { "kubeskoop.tcpext.delivered", MetricKind.Counter, "{segment}", "Segments delivered to the other side, retransmissions included.", static (in TcpExtRecord r) => r.Delivered },
        { "kubeskoop.tcpext.delivered_congestion_experienced", MetricKind.Counter, "{segment}", "Segments delivered with a congestion mark.", static (in TcpExtRecord r) => r.DeliveredCongestionExperienced },
        { "kubeskoop.tcpext.acks_compressed", MetricKind.Counter, "{ack}", "Acknowledgements that were merged into one.", static (in TcpExtRecord r) => r.AcksCompressed },
        { "kubeskoop.tcpext.zero_window_drops", MetricKind.Counter, "{segment}", "Segments dropped because the receive window was zero.", static (in TcpExtRecord r) => r.ZeroWindowDrops, "kubeskoop_tcpext_tcpzerowindowdrop" },
        { "kubeskoop.tcpext.receive_queue_drops", MetricKind.Counter, "{segment}", "Segments dropped because the limit of receive memory was reached.", static (in TcpExtRecord r) => r.ReceiveQueueDrops, "kubeskoop_tcpext_tcprcvqdrop" },
        { "kubeskoop.tcpext.write_queue_too_big", MetricKind.Counter, "{event}", "Times a write queue was refused as too large.", static (in TcpExtRecord r) => r.WriteQueueTooBig, "kubeskoop_tcpext_tcpwqueuetoobig" },
    };

    /// <summary>Field by field, the columns of the section <c>TcpExt:</c>; the kernel's other columns follow.</summary>
    internal static ColumnSet Columns { get; } = new("TcpExt:",
    [
        "SyncookiesSent", "SyncookiesRecv", "SyncookiesFailed", "EmbryonicRsts", "PruneCalled", "RcvPruned",
        "OfoPruned", "TW", "TWRecycled", "TWKilled", "PAWSActive", "PAWSEstab", "DelayedACKs", "DelayedACKLocked",
        "DelayedACKLost", "ListenOverflows", "ListenDrops", "TCPLostRetransmit", "TCPFastRetrans",
        "TCPSlowStartRetrans", "TCPTimeouts", "TCPLossProbes", "TCPLossProbeRecovery", "TCPDSACKOldSent",
        "TCPDSACKOfoSent", "TCPDSACKRecv", "TCPDSACKOfoRecv", "TCPAbortOnData", "TCPAbortOnClose",
        "TCPAbortOnMemory", "TCPAbortOnTimeout", "TCPAbortOnLinger", "TCPAbortFailed", "TCPMemoryPressures",
        "TCPMemoryPressuresChrono", "TCPSpuriousRTOs", "TCPBacklogDrop", "PFMemallocDrop", "TCPMinTTLDrop",
        "TCPDeferAcceptDrop", "IPReversePathFilter", "TCPTimeWaitOverflow", "TCPReqQFullDoCookies",
        "TCPReqQFullDrop", "TCPRetransFail", "TCPRcvCoalesce", "TCPOFOQueue", "TCPOFODrop", "TCPOFOMerge",
        "TCPChallengeACK", "TCPSYNChallenge", "TCPFromZeroWindowAdv", "TCPToZeroWindowAdv", "TCPWantZeroWindowAdv",
        "TCPSynRetrans", "TCPOrigDataSent", "TCPACKSkippedSynRecv", "TCPACKSkippedPAWS", "TCPACKSkippedSeq",
        "TCPACKSkippedFinWait2", "TCPACKSkippedTimeWait", "TCPACKSkippedChallenge", "TCPWinProbe", "TCPKeepAlive",
        "TCPMTUPFail", "TCPMTUPSuccess", "TCPDelivered", "TCPDeliveredCE", "TCPAckCompressed", "TCPZeroWindowDrop",
        "TCPRcvQDrop", "TCPWqueueTooBig",
    ], others: MostOthers);

    /// <summary>A column that has no field of its own; see <see cref="TcpExtProbe.OtherColumns"/> for their names.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There are not so many.</exception>
    public readonly Reading Other(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)MostOthers);
        return _others[index];
    }

    [System.Runtime.CompilerServices.InlineArray(MostOthers)]
    private struct OtherReadings
    {
        private Reading _first;
    }
}
