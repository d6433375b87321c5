namespace KubeSkoop.Probes.Netlink;

/// <summary>
/// The TCP sockets of one network namespace, IPv4 and IPv6 together. States and queues are those of sock_diag
/// (net/ipv4/inet_diag.c, net/ipv4/tcp_diag.c). A number that is not known yet, because the budget has not reached the namespace, is absent.
/// </summary>
/// <remarks>
/// Further rows carry one part only: the node's (how the probe gets on), one for each congestion control of a namespace, and one that names a
/// listener.
/// </remarks>
public struct TcpSummaryRecord
{
    /// <summary>Connections in ESTABLISHED, those that wait to be accepted included. Unit: sockets. Kernel: idiag_state 1.</summary>
    public Reading Established;

    /// <summary>Connections in SYN_SENT. Unit: sockets. Kernel: idiag_state 2.</summary>
    public Reading SynSent;

    /// <summary>Connections in SYN_RECV that are sockets already (Fast Open, simultaneous open). Unit: sockets. Kernel: idiag_state 3.</summary>
    public Reading SynReceived;

    /// <summary>
    /// Handshakes a listener has answered and whose last step is missing: NEW_SYN_RECV, which sock_diag, <c>ss</c> and /proc call SYN_RECV
    /// too. Unit: sockets. Kernel: idiag_state 3 of a struct request_sock.
    /// </summary>
    public Reading NewSynReceived;

    /// <summary>Connections in FIN_WAIT1. Unit: sockets. Kernel: idiag_state 4.</summary>
    public Reading FinWait1;

    /// <summary>Connections in FIN_WAIT2. Unit: sockets. Kernel: idiag_state 5.</summary>
    public Reading FinWait2;

    /// <summary>Connections in TIME_WAIT. Unit: sockets. Kernel: /proc/net/sockstat, TCP: tw, without those in FIN_WAIT2.</summary>
    public Reading TimeWait;

    /// <summary>Sockets in CLOSE that the kernel still lists. Unit: sockets. Kernel: idiag_state 7.</summary>
    public Reading Close;

    /// <summary>Connections in CLOSE_WAIT: the other side has closed, this one's process has not. Unit: sockets. Kernel: idiag_state 8.</summary>
    public Reading CloseWait;

    /// <summary>Connections in LAST_ACK. Unit: sockets. Kernel: idiag_state 9.</summary>
    public Reading LastAck;

    /// <summary>Listening sockets. Unit: sockets. Kernel: idiag_state 10.</summary>
    public Reading Listen;

    /// <summary>Connections in CLOSING. Unit: sockets. Kernel: idiag_state 11.</summary>
    public Reading Closing;

    /// <summary>Data received and not yet read by processes, all connections. A FIN counts as one byte. Unit: bytes. Kernel: idiag_rqueue, listeners left out.</summary>
    public Reading ReceiveQueue;

    /// <summary>Data written by processes and not yet acknowledged, all connections. A SYN or FIN counts as one byte. Unit: bytes. Kernel: idiag_wqueue, listeners left out.</summary>
    public Reading SendQueue;

    /// <summary>The largest receive queue of one connection. Unit: bytes. Kernel: idiag_rqueue.</summary>
    public Reading LargestReceiveQueue;

    /// <summary>The largest send queue of one connection. Unit: bytes. Kernel: idiag_wqueue.</summary>
    public Reading LargestSendQueue;

    /// <summary>Connections whose receive queue is above <see cref="TcpSummaryOptions.QueueThreshold"/>. Unit: sockets.</summary>
    public Reading ReceiveQueuesAbove;

    /// <summary>Connections whose send queue is above <see cref="TcpSummaryOptions.QueueThreshold"/>. Unit: sockets.</summary>
    public Reading SendQueuesAbove;

    /// <summary>Connections that wait to be accepted, all listeners. Unit: connections. Kernel: idiag_rqueue of listeners.</summary>
    public Reading AcceptQueue;

    /// <summary>Room for connections that wait to be accepted, all listeners. Unit: connections. Kernel: idiag_wqueue of listeners (listen(2)'s backlog, at most net.core.somaxconn).</summary>
    public Reading AcceptQueueLimit;

    /// <summary>Connections that wait to be accepted by the listener that is closest to its limit. Unit: connections. Kernel: idiag_rqueue.</summary>
    public Reading FullestAcceptQueue;

    /// <summary>That listener's limit; the kernel refuses connections once one more waits. Unit: connections. Kernel: idiag_wqueue.</summary>
    public Reading FullestAcceptQueueLimit;

    /// <summary>That listener's address and port; <see langword="null"/> without a listener. Published only where <see cref="TcpSummaryOptions.NameListeners"/> asks for it.</summary>
    public Endpoint? FullestListener;

    /// <summary>
    /// How old the numbers are that only a listing of connections tells; zero when the counters prove them, <see langword="null"/>
    /// while there are none. The counts of listeners and of TIME_WAIT are never older than the sample before.
    /// </summary>
    public TimeSpan? Age;

    /// <summary>Segments sent more than once by the connections there are now. Unit: segments. Kernel: tcp_info.tcpi_total_retrans.</summary>
    public Reading Retransmits;

    /// <summary>
    /// Time those connections were busy sending and held up neither by the receiver's window nor by their send buffer, so by
    /// congestion control and the network. Unit: microseconds. Kernel: tcp_info.tcpi_busy_time less tcpi_rwnd_limited and tcpi_sndbuf_limited.
    /// </summary>
    public Reading CongestionLimited;

    /// <summary>Time those connections were held up by the receiver's window. Unit: microseconds. Kernel: tcp_info.tcpi_rwnd_limited.</summary>
    public Reading ReceiverLimited;

    /// <summary>Time those connections were held up by their send buffer. Unit: microseconds. Kernel: tcp_info.tcpi_sndbuf_limited.</summary>
    public Reading SendBufferLimited;

    /// <summary>
    /// Smoothed round-trip times, one observation for each connection each time connections are listed. Unit: microseconds. Kernel:
    /// tcp_info.tcpi_rtt.
    /// </summary>
    public Log2Histogram RoundTripTime;

    /// <summary>Of rows with the attribute <c>tcp.congestion_control</c>: connections that use it. Unit: sockets. Kernel: INET_DIAG_CONG.</summary>
    public Reading CongestionControlled;

    /// <summary>Of the node's row: namespaces whose connections are due to be listed and wait for a later sample. Unit: namespaces.</summary>
    public Reading Postponed;

    /// <summary>Of the node's row: times that a namespace's connections were listed. Unit: listings.</summary>
    public Reading Listings;

    /// <summary>Of the node's row: time that took. Unit: microseconds.</summary>
    public Reading ListingTime;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<TcpSummaryRecord> Metrics { get; } = Table();

    /// <summary>SYN_RECV as <c>ss</c> and /proc/net/tcp show it: sockets and handshakes together. Unit: sockets.</summary>
    public readonly Reading AllSynReceived => SynReceived + NewSynReceived;

    private static MetricTable<TcpSummaryRecord> Table()
    {
        var table = new MetricTable<TcpSummaryRecord>(static (in TcpSummaryRecord r) => r.Established.HasValue)
        {
            { "kubeskoop.tcpsummary.established", MetricKind.Gauge, "{socket}", "Connections in ESTABLISHED, those that wait to be accepted included.", static (in TcpSummaryRecord r) => r.Established, "kubeskoop_tcpsummary_tcpestablishedconn" },
            { "kubeskoop.tcpsummary.syn_sent", MetricKind.Gauge, "{socket}", "Connections in SYN_SENT.", static (in TcpSummaryRecord r) => r.SynSent, "kubeskoop_tcpsummary_tcpsynsentconn" },
            { "kubeskoop.tcpsummary.syn_recv", MetricKind.Gauge, "{socket}", "Connections in SYN_RECV that are sockets already (Fast Open, simultaneous open).", static (in TcpSummaryRecord r) => r.SynReceived, "kubeskoop_tcpsummary_tcpsynrecvconn", static (in TcpSummaryRecord r) => r.AllSynReceived },
            { "kubeskoop.tcpsummary.new_syn_recv", MetricKind.Gauge, "{socket}", "Handshakes answered whose last step is missing; ss shows them as SYN-RECV too.", static (in TcpSummaryRecord r) => r.NewSynReceived },
            { "kubeskoop.tcpsummary.fin_wait1", MetricKind.Gauge, "{socket}", "Connections in FIN_WAIT1.", static (in TcpSummaryRecord r) => r.FinWait1 },
            { "kubeskoop.tcpsummary.fin_wait2", MetricKind.Gauge, "{socket}", "Connections in FIN_WAIT2.", static (in TcpSummaryRecord r) => r.FinWait2 },
            { "kubeskoop.tcpsummary.time_wait", MetricKind.Gauge, "{socket}", "Connections in TIME_WAIT.", static (in TcpSummaryRecord r) => r.TimeWait, "kubeskoop_tcpsummary_tcptimewaitconn" },
            { "kubeskoop.tcpsummary.close", MetricKind.Gauge, "{socket}", "Sockets in CLOSE that the kernel still lists.", static (in TcpSummaryRecord r) => r.Close },
            { "kubeskoop.tcpsummary.close_wait", MetricKind.Gauge, "{socket}", "Connections in CLOSE_WAIT: closed by the other side, not by this one's process.", static (in TcpSummaryRecord r) => r.CloseWait, "kubeskoop_tcpsummary_tcpclosewaitconn" },
            { "kubeskoop.tcpsummary.last_ack", MetricKind.Gauge, "{socket}", "Connections in LAST_ACK.", static (in TcpSummaryRecord r) => r.LastAck },
            { "kubeskoop.tcpsummary.listen", MetricKind.Gauge, "{socket}", "Listening sockets.", static (in TcpSummaryRecord r) => r.Listen },
            { "kubeskoop.tcpsummary.closing", MetricKind.Gauge, "{socket}", "Connections in CLOSING.", static (in TcpSummaryRecord r) => r.Closing },
            { "kubeskoop.tcpsummary.receive_queue", MetricKind.Gauge, "By", "Data received and not yet read by processes.", static (in TcpSummaryRecord r) => r.ReceiveQueue, "kubeskoop_tcpsummary_tcprxqueue" },
            { "kubeskoop.tcpsummary.send_queue", MetricKind.Gauge, "By", "Data written by processes and not yet acknowledged.", static (in TcpSummaryRecord r) => r.SendQueue, "kubeskoop_tcpsummary_tcptxqueue" },
            { "kubeskoop.tcpsummary.largest_receive_queue", MetricKind.Gauge, "By", "The largest receive queue of one connection.", static (in TcpSummaryRecord r) => r.LargestReceiveQueue },
            { "kubeskoop.tcpsummary.largest_send_queue", MetricKind.Gauge, "By", "The largest send queue of one connection.", static (in TcpSummaryRecord r) => r.LargestSendQueue },
            { "kubeskoop.tcpsummary.receive_queues_above", MetricKind.Gauge, "{socket}", "Connections whose receive queue is above the threshold.", static (in TcpSummaryRecord r) => r.ReceiveQueuesAbove },
            { "kubeskoop.tcpsummary.send_queues_above", MetricKind.Gauge, "{socket}", "Connections whose send queue is above the threshold.", static (in TcpSummaryRecord r) => r.SendQueuesAbove },
            { "kubeskoop.tcpsummary.accept_queue", MetricKind.Gauge, "{connection}", "Connections that wait to be accepted, all listeners.", static (in TcpSummaryRecord r) => r.AcceptQueue },
            { "kubeskoop.tcpsummary.accept_queue_limit", MetricKind.Gauge, "{connection}", "Room for connections that wait to be accepted, all listeners.", static (in TcpSummaryRecord r) => r.AcceptQueueLimit },
            { "kubeskoop.tcpsummary.fullest_accept_queue", MetricKind.Gauge, "{connection}", "Connections that wait to be accepted by the listener closest to its limit.", static (in TcpSummaryRecord r) => r.FullestAcceptQueue },
            { "kubeskoop.tcpsummary.fullest_accept_queue_limit", MetricKind.Gauge, "{connection}", "The limit of the listener closest to it.", static (in TcpSummaryRecord r) => r.FullestAcceptQueueLimit },
            { "kubeskoop.tcpsummary.age", MetricKind.Gauge, "s", "How old the numbers are that only a listing of connections tells.", static (in TcpSummaryRecord r) => r.Age?.TotalSeconds },
            { "kubeskoop.tcpsummary.retransmits", MetricKind.Gauge, "{segment}", "Segments sent more than once by the connections there are now.", static (in TcpSummaryRecord r) => r.Retransmits },
            { "kubeskoop.tcpsummary.cwnd_limited", MetricKind.Gauge, "s", "Time the connections there are now were held up by congestion control and the network.", static (in TcpSummaryRecord r) => Seconds(r.CongestionLimited) },
            { "kubeskoop.tcpsummary.rwnd_limited", MetricKind.Gauge, "s", "Time the connections there are now were held up by the receiver's window.", static (in TcpSummaryRecord r) => Seconds(r.ReceiverLimited) },
            { "kubeskoop.tcpsummary.sndbuf_limited", MetricKind.Gauge, "s", "Time the connections there are now were held up by their send buffer.", static (in TcpSummaryRecord r) => Seconds(r.SendBufferLimited) },
            { "kubeskoop.tcpsummary.congestion_controlled", MetricKind.Gauge, "{socket}", "Connections by congestion control.", static (in TcpSummaryRecord r) => r.CongestionControlled },
            { "kubeskoop.tcpsummary.postponed", MetricKind.Gauge, "{namespace}", "Namespaces whose connections are due to be listed and wait for a later sample.", static (in TcpSummaryRecord r) => r.Postponed },
            { "kubeskoop.tcpsummary.listings", MetricKind.Counter, "{listing}", "Times that a namespace's connections were listed.", static (in TcpSummaryRecord r) => r.Listings },
            { "kubeskoop.tcpsummary.listing_time", MetricKind.Counter, "s", "Time it took to list connections.", static (in TcpSummaryRecord r) => Seconds(r.ListingTime) },
        };
        table.AddHistogram("kubeskoop.tcpsummary.round_trip_time", "s", 1e-6, "Smoothed round-trip times, one observation for each connection each time connections are listed.", static (in TcpSummaryRecord r) => ref r.RoundTripTime);
        return table;
    }

    private static double? Seconds(Reading microseconds) => microseconds.HasValue ? microseconds.Value / 1e6 : null;
}
