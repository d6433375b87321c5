namespace KubeSkoop.Probes.Ebpf;

/// <summary>How long the packets of one network namespace took in the kernel's IP layer since the probe was started, and in which part of it.</summary>
/// <remarks>
/// A chain of netfilter counts the packets for which this namespace has rules or other users of that chain; without any there is no such stage. Where the kernel lets nobody
/// hook functions the stages, and everything about forwarded packets, are absent.
/// </remarks>
public struct KernelLatencyRecord
{
    /// <summary>Received packets that took 10 ms or longer; those of 100 ms are among them. Unit: packets.</summary>
    public Reading ReceiveOver10Ms;

    /// <summary>Received packets that took 100 ms or longer. Unit: packets.</summary>
    public Reading ReceiveOver100Ms;

    /// <summary>Sent packets that took 10 ms or longer; those of 100 ms are among them. Unit: packets.</summary>
    public Reading TransmitOver10Ms;

    /// <summary>Sent packets that took 100 ms or longer. Unit: packets.</summary>
    public Reading TransmitOver100Ms;

    /// <summary>Forwarded packets that took 10 ms or longer; those of 100 ms are among them. Unit: packets.</summary>
    public Reading ForwardOver10Ms;

    /// <summary>Forwarded packets that took 100 ms or longer. Unit: packets.</summary>
    public Reading ForwardOver100Ms;

    /// <summary>From the device to the socket. Unit: microseconds. Kernel: netif_receive_skb, sk_filter_trim_cap; without functions tcp_probe, sk_data_ready.</summary>
    public Log2Histogram Receive;

    /// <summary>Received: from the device to IP. Unit: microseconds. Kernel: netif_receive_skb, ip_rcv, ip_list_rcv, ipv6_rcv, ipv6_list_rcv.</summary>
    public Log2Histogram ReceiveDevice;

    /// <summary>Received: in netfilter's prerouting. Unit: microseconds. Kernel: nf_hook_slow.</summary>
    public Log2Histogram ReceivePrerouting;

    /// <summary>Received: header checks and the look-up of the route. Unit: microseconds. Kernel: until ip_local_deliver, ip6_input.</summary>
    public Log2Histogram ReceiveRouting;

    /// <summary>Received: in netfilter's input. Unit: microseconds. Kernel: nf_hook_slow.</summary>
    public Log2Histogram ReceiveLocalIn;

    /// <summary>Received: reassembly, and the look-up of the socket. Unit: microseconds. Kernel: until sk_filter_trim_cap.</summary>
    public Log2Histogram ReceiveSocket;

    /// <summary>From the socket to the device. Unit: microseconds. Kernel: __ip_queue_xmit, inet6_csk_xmit, net_dev_queue; without functions TCP's own stamp.</summary>
    public Log2Histogram Transmit;

    /// <summary>Sent: the look-up of the route, of TCP's packets. Unit: microseconds. Kernel: __ip_queue_xmit, inet6_csk_xmit, until ip_output, ip6_output.</summary>
    public Log2Histogram TransmitRouting;

    /// <summary>Sent: in netfilter's output. Unit: microseconds. Kernel: nf_hook_slow.</summary>
    public Log2Histogram TransmitLocalOut;

    /// <summary>Sent: in netfilter's postrouting. Unit: microseconds. Kernel: nf_hook_slow.</summary>
    public Log2Histogram TransmitPostrouting;

    /// <summary>Sent: neighbour, and on to the device. Unit: microseconds. Kernel: ip_output, ip6_output, net_dev_queue.</summary>
    public Log2Histogram TransmitDevice;

    /// <summary>From device to device. Unit: microseconds. Kernel: netif_receive_skb, net_dev_queue.</summary>
    public Log2Histogram Forward;

    /// <summary>Forwarded: from the device to IP. Unit: microseconds.</summary>
    public Log2Histogram ForwardReceive;

    /// <summary>Forwarded: in netfilter's prerouting. Unit: microseconds.</summary>
    public Log2Histogram ForwardPrerouting;

    /// <summary>Forwarded: header checks and the look-up of the route. Unit: microseconds. Kernel: until ip_forward, ip6_forward.</summary>
    public Log2Histogram ForwardRouting;

    /// <summary>Forwarded: in netfilter's forward, and what is around it. Unit: microseconds. Kernel: ip_forward, ip6_forward, until ip_output, ip6_output.</summary>
    public Log2Histogram ForwardForward;

    /// <summary>Forwarded: in netfilter's postrouting. Unit: microseconds.</summary>
    public Log2Histogram ForwardPostrouting;

    /// <summary>Forwarded: neighbour, and on to the device. Unit: microseconds.</summary>
    public Log2Histogram ForwardDevice;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<KernelLatencyRecord> Metrics { get; } = MakeMetrics();

    private static MetricTable<KernelLatencyRecord> MakeMetrics()
    {
        var table = new MetricTable<KernelLatencyRecord>
        {
            { "kubeskoop.kernellatency.receive_over_10ms", MetricKind.Counter, "{packet}", "Packets that took 10 ms or longer from the device to the socket, including those of 100 ms.", static (in KernelLatencyRecord r) => r.ReceiveOver10Ms, "kubeskoop_kernellatency_rxslow" },
            { "kubeskoop.kernellatency.receive_over_100ms", MetricKind.Counter, "{packet}", "Packets that took 100 ms or longer from the device to the socket.", static (in KernelLatencyRecord r) => r.ReceiveOver100Ms, "kubeskoop_kernellatency_rxslow100ms" },
            { "kubeskoop.kernellatency.transmit_over_10ms", MetricKind.Counter, "{packet}", "Packets that took 10 ms or longer from the socket to the device, including those of 100 ms.", static (in KernelLatencyRecord r) => r.TransmitOver10Ms, "kubeskoop_kernellatency_txslow" },
            { "kubeskoop.kernellatency.transmit_over_100ms", MetricKind.Counter, "{packet}", "Packets that took 100 ms or longer from the socket to the device.", static (in KernelLatencyRecord r) => r.TransmitOver100Ms, "kubeskoop_kernellatency_txslow100ms" },
            { "kubeskoop.kernellatency.forward_over_10ms", MetricKind.Counter, "{packet}", "Packets that took 10 ms or longer from device to device, including those of 100 ms.", static (in KernelLatencyRecord r) => r.ForwardOver10Ms },
            { "kubeskoop.kernellatency.forward_over_100ms", MetricKind.Counter, "{packet}", "Packets that took 100 ms or longer from device to device.", static (in KernelLatencyRecord r) => r.ForwardOver100Ms },
        };
        table.AddHistogram("kubeskoop.kernellatency.receive", "s", 1e-6, "How long packets took from the device to the socket.", static (in KernelLatencyRecord r) => ref r.Receive);
        table.AddHistogram("kubeskoop.kernellatency.receive_device", "s", 1e-6, "Received packets: from the device to IP.", static (in KernelLatencyRecord r) => ref r.ReceiveDevice);
        table.AddHistogram("kubeskoop.kernellatency.receive_prerouting", "s", 1e-6, "Received packets: in netfilter's prerouting.", static (in KernelLatencyRecord r) => ref r.ReceivePrerouting);
        table.AddHistogram("kubeskoop.kernellatency.receive_routing", "s", 1e-6, "Received packets: header checks and the look-up of the route.", static (in KernelLatencyRecord r) => ref r.ReceiveRouting);
        table.AddHistogram("kubeskoop.kernellatency.receive_local_in", "s", 1e-6, "Received packets: in netfilter's input.", static (in KernelLatencyRecord r) => ref r.ReceiveLocalIn);
        table.AddHistogram("kubeskoop.kernellatency.receive_socket", "s", 1e-6, "Received packets: reassembly, and the look-up of the socket.", static (in KernelLatencyRecord r) => ref r.ReceiveSocket);
        table.AddHistogram("kubeskoop.kernellatency.transmit", "s", 1e-6, "How long packets took from the socket to the device.", static (in KernelLatencyRecord r) => ref r.Transmit);
        table.AddHistogram("kubeskoop.kernellatency.transmit_routing", "s", 1e-6, "Sent packets of TCP: the look-up of the route.", static (in KernelLatencyRecord r) => ref r.TransmitRouting);
        table.AddHistogram("kubeskoop.kernellatency.transmit_local_out", "s", 1e-6, "Sent packets: in netfilter's output.", static (in KernelLatencyRecord r) => ref r.TransmitLocalOut);
        table.AddHistogram("kubeskoop.kernellatency.transmit_postrouting", "s", 1e-6, "Sent packets: in netfilter's postrouting.", static (in KernelLatencyRecord r) => ref r.TransmitPostrouting);
        table.AddHistogram("kubeskoop.kernellatency.transmit_device", "s", 1e-6, "Sent packets: neighbour, and on to the device.", static (in KernelLatencyRecord r) => ref r.TransmitDevice);
        table.AddHistogram("kubeskoop.kernellatency.forward", "s", 1e-6, "How long forwarded packets took from device to device.", static (in KernelLatencyRecord r) => ref r.Forward);
        table.AddHistogram("kubeskoop.kernellatency.forward_receive", "s", 1e-6, "Forwarded packets: from the device to IP.", static (in KernelLatencyRecord r) => ref r.ForwardReceive);
        table.AddHistogram("kubeskoop.kernellatency.forward_prerouting", "s", 1e-6, "Forwarded packets: in netfilter's prerouting.", static (in KernelLatencyRecord r) => ref r.ForwardPrerouting);
        table.AddHistogram("kubeskoop.kernellatency.forward_routing", "s", 1e-6, "Forwarded packets: header checks and the look-up of the route.", static (in KernelLatencyRecord r) => ref r.ForwardRouting);
        table.AddHistogram("kubeskoop.kernellatency.forward_forward", "s", 1e-6, "Forwarded packets: in netfilter's forward, and what is around it.", static (in KernelLatencyRecord r) => ref r.ForwardForward);
        table.AddHistogram("kubeskoop.kernellatency.forward_postrouting", "s", 1e-6, "Forwarded packets: in netfilter's postrouting.", static (in KernelLatencyRecord r) => ref r.ForwardPostrouting);
        table.AddHistogram("kubeskoop.kernellatency.forward_device", "s", 1e-6, "Forwarded packets: neighbour, and on to the device.", static (in KernelLatencyRecord r) => ref r.ForwardDevice);
        return table;
    }
}

/// <summary>Settings of the probe <c>kernellatency</c>.</summary>
public sealed class KernelLatencyOptions() : EbpfProbeOptions(SectionName)
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":kernellatency";

    /// <summary>A packet that takes at least this long is told as an event. Default: 10 ms.</summary>
    public TimeSpan Threshold { get; set; } = TimeSpan.FromMilliseconds(10);

    /// <summary>Of the packets that take less than 1 ms, one in this many is counted, chosen at random, and stands for the others; a power of two. 1: all. Default: 8.</summary>
    public int Sampling { get; set; } = 8;

    /// <summary>Whether to do without the stages, as on kernels that let nobody hook functions: six programs instead of twenty. Takes effect at a start. Default: no.</summary>
    public bool Coarse { get; set; }

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        foreach (string mistake in base.Validate()) yield return mistake;
        foreach (string mistake in CheckThreshold(nameof(Threshold), Threshold)) yield return mistake;
        if (Sampling is < 1 or > 65536 || !int.IsPow2(Sampling)) yield return $"{SectionName}:{nameof(Sampling)} is {Sampling}; it must be a power of two between 1 and 65536.";
    }
}
