namespace KubeSkoop.Probes.Ebpf;

/// <summary>TCP segments of one network namespace that were sent again since the probe was started.</summary>
public struct TcpRetransRecord
{
    /// <summary>SYNs. Unit: segments. Kernel: tcp_retransmit_skb in SYN_SENT.</summary>
    public Reading Syn;

    /// <summary>SYN-ACKs. Unit: segments. Kernel: tcp_retransmit_synack.</summary>
    public Reading SynAck;

    /// <summary>Segments the receiver's acknowledgements say are lost. Unit: segments. Kernel: tcp_retransmit_skb in TCP_CA_Recovery.</summary>
    public Reading Fast;

    /// <summary>Segments whose acknowledgement did not come in time. Unit: segments. Kernel: tcp_retransmit_skb in TCP_CA_Loss after a timeout.</summary>
    public Reading Timeout;

    /// <summary>Tail loss probes. Unit: segments. Kernel: tcp_retransmit_skb before any loss.</summary>
    public Reading TailLossProbe;

    /// <summary>Segments that were too large for the path. Unit: segments. Kernel: tcp_retransmit_skb in TCP_CA_Loss without a timeout.</summary>
    public Reading PathMtu;

    /// <summary>Segments of any kind that could not be handed down (the earlier one still waits in a queue, or memory is short); they are in none of the others. Unit: segments. Kernel: tcp_retransmit_skb with an error, 6.16 and later.</summary>
    public Reading Failed;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<TcpRetransRecord> Metrics { get; } = MakeMetrics();

    private static MetricTable<TcpRetransRecord> MakeMetrics()
    {
        // Upstream has a series for each connection; here they are a namespace's.
        MetricTable<TcpRetransRecord> table = Own();
        table.AddUpstream("kubeskoop_tcpretrans_total", "Segments sent again.", static (in TcpRetransRecord r) => r.Syn + r.SynAck + r.Fast + r.Timeout + r.TailLossProbe + r.PathMtu);
        return table;
    }

    private static MetricTable<TcpRetransRecord> Own() => new(upstreamKind: MetricKind.Counter)
    {
        { "kubeskoop.tcpretrans.syn", MetricKind.Counter, "{segment}", "SYNs sent again.", static (in TcpRetransRecord r) => r.Syn },
        { "kubeskoop.tcpretrans.syn_ack", MetricKind.Counter, "{segment}", "SYN-ACKs sent again.", static (in TcpRetransRecord r) => r.SynAck },
        { "kubeskoop.tcpretrans.fast", MetricKind.Counter, "{segment}", "Segments sent again because the receiver's acknowledgements say they are lost.", static (in TcpRetransRecord r) => r.Fast },
        { "kubeskoop.tcpretrans.timeout", MetricKind.Counter, "{segment}", "Segments sent again because no acknowledgement came in time.", static (in TcpRetransRecord r) => r.Timeout },
        { "kubeskoop.tcpretrans.tail_loss_probe", MetricKind.Counter, "{segment}", "Segments sent again to make the receiver say what has arrived.", static (in TcpRetransRecord r) => r.TailLossProbe },
        { "kubeskoop.tcpretrans.path_mtu", MetricKind.Counter, "{segment}", "Segments sent again, smaller, because they were too large for the path.", static (in TcpRetransRecord r) => r.PathMtu },
        { "kubeskoop.tcpretrans.failed", MetricKind.Counter, "{segment}", "Segments that were to be sent again and could not be handed down; mostly because the earlier one still waits in a queue of this machine.", static (in TcpRetransRecord r) => r.Failed },
    };
}

/// <summary>Settings of the probe <c>tcpretrans</c>.</summary>
public sealed class TcpRetransOptions() : EbpfProbeOptions(SectionName)
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":tcpretrans";
}
