namespace KubeSkoop.Probes.Ebpf;

/// <summary>How long data has waited in the sockets of one network namespace since the probe was started.</summary>
public struct SocketLatencyRecord
{
    /// <summary>Reads later than 1 ms after the data was ready, TCP and UDP; those over 100 ms are among them. Unit: reads.</summary>
    public Reading ReadOver1Ms;

    /// <summary>Reads later than 100 ms after the data was ready, TCP and UDP. Unit: reads.</summary>
    public Reading ReadOver100Ms;

    /// <summary>TCP writes that waited over 1 ms before they were sent; those over 100 ms are among them. Unit: writes.</summary>
    public Reading WriteOver1Ms;

    /// <summary>TCP writes that waited over 100 ms before they were sent. Unit: writes.</summary>
    public Reading WriteOver100Ms;

    /// <summary>Of the writes over 1 ms: those that waited for room in the receiver's buffer. Unit: writes. Kernel: tcp_sock.chrono_type is TCP_CHRONO_RWND_LIMITED.</summary>
    public Reading WriteForPeerWindow;

    /// <summary>Of the writes over 1 ms: those with as many segments in flight as the congestion window allows. Unit: writes. Kernel: tcp_packets_in_flight, tcp_sock.snd_cwnd.</summary>
    public Reading WriteForCongestionWindow;

    /// <summary>Of the writes over 1 ms: those held back on this side: Nagle's algorithm, a cork, pacing, a full queue. Unit: writes.</summary>
    public Reading WriteForLocal;

    /// <summary>TCP: from the moment the oldest unread byte was ready until it was read. Unit: microseconds. Kernel: sk_data_ready, sock_recv_length.</summary>
    public Log2Histogram TcpRead;

    /// <summary>UDP: from the moment the oldest unread datagram was ready until it was read. Unit: microseconds. Kernel: sk_data_ready, sock_recv_length.</summary>
    public Log2Histogram UdpRead;

    /// <summary>TCP: of writes that were not all sent when their call returned: from then until the last byte was sent. Unit: microseconds. Kernel: sock_send_length, net_dev_queue.</summary>
    public Log2Histogram TcpWrite;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<SocketLatencyRecord> Metrics { get; } = MakeMetrics();

    private static MetricTable<SocketLatencyRecord> MakeMetrics()
    {
        var table = new MetricTable<SocketLatencyRecord>
        {
            { "kubeskoop.socketlatency.read_over_1ms", MetricKind.Counter, "{read}", "Reads later than 1 ms after the data was ready, including those over 100 ms.", static (in SocketLatencyRecord r) => r.ReadOver1Ms, "kubeskoop_socketlatency_read1ms" },
            { "kubeskoop.socketlatency.read_over_100ms", MetricKind.Counter, "{read}", "Reads later than 100 ms after the data was ready.", static (in SocketLatencyRecord r) => r.ReadOver100Ms, "kubeskoop_socketlatency_read100ms" },
            { "kubeskoop.socketlatency.write_over_1ms", MetricKind.Counter, "{write}", "TCP writes that waited over 1 ms before they were sent, including those over 100 ms.", static (in SocketLatencyRecord r) => r.WriteOver1Ms, "kubeskoop_socketlatency_write1ms" },
            { "kubeskoop.socketlatency.write_over_100ms", MetricKind.Counter, "{write}", "TCP writes that waited over 100 ms before they were sent.", static (in SocketLatencyRecord r) => r.WriteOver100Ms, "kubeskoop_socketlatency_write100ms" },
            { "kubeskoop.socketlatency.write_for_peer_window", MetricKind.Counter, "{write}", "TCP writes that waited over 1 ms, for room in the receiver's buffer.", static (in SocketLatencyRecord r) => r.WriteForPeerWindow },
            { "kubeskoop.socketlatency.write_for_congestion_window", MetricKind.Counter, "{write}", "TCP writes that waited over 1 ms, for the congestion window.", static (in SocketLatencyRecord r) => r.WriteForCongestionWindow },
            { "kubeskoop.socketlatency.write_for_local", MetricKind.Counter, "{write}", "TCP writes that waited over 1 ms, held back on this side: Nagle's algorithm, a cork, pacing, a full queue.", static (in SocketLatencyRecord r) => r.WriteForLocal },
        };
        table.AddHistogram("kubeskoop.socketlatency.tcp_read", "s", 1e-6, "TCP: how long the oldest unread byte had been ready when it was read.", static (in SocketLatencyRecord r) => ref r.TcpRead);
        table.AddHistogram("kubeskoop.socketlatency.udp_read", "s", 1e-6, "UDP: how long the oldest unread datagram had been ready when it was read.", static (in SocketLatencyRecord r) => ref r.UdpRead);
        table.AddHistogram("kubeskoop.socketlatency.tcp_write", "s", 1e-6, "TCP: how long what was not sent when the call that wrote it returned still waited.", static (in SocketLatencyRecord r) => ref r.TcpWrite);
        return table;
    }
}

/// <summary>Settings of the probe <c>socketlatency</c>.</summary>
public sealed class SocketLatencyOptions() : EbpfProbeOptions(SectionName)
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":socketlatency";

    /// <summary>A read at least this late is told as an event. Default: 100 ms.</summary>
    public TimeSpan ReadThreshold { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>A write that waited at least this long is told as an event. Default: 100 ms.</summary>
    public TimeSpan WriteThreshold { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>Of the TCP reads within one tick of the kernel's clock, one in this many is timed and stands for the others. A power of two; 1: all. With a <see cref="ReadThreshold"/> below 10 ms all are. Default: 8.</summary>
    public int Sampling { get; set; } = 8;

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        foreach (string problem in base.Validate()) yield return problem;
        foreach (string problem in CheckThreshold(nameof(ReadThreshold), ReadThreshold)) yield return problem;
        foreach (string problem in CheckThreshold(nameof(WriteThreshold), WriteThreshold)) yield return problem;
        if (Sampling is < 1 or > 65536 || !int.IsPow2(Sampling)) yield return $"{SectionName}:{nameof(Sampling)} is {Sampling}; it must be a power of two between 1 and 65536.";
    }
}
