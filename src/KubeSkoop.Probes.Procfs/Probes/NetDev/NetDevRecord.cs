using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// Traffic and state of one network device. The first sixteen numbers are those of <c>/proc/net/dev</c> (net/core/net-procfs.c,
/// dev_seq_printf_stats), whatever the source.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct NetDevRecord
{
    /// <summary>Bytes received. Unit: bytes. Kernel: /proc/net/dev, Receive bytes.</summary>
    public Reading ReceivedBytes;

    /// <summary>Packets received. Unit: packets. Kernel: /proc/net/dev, Receive packets.</summary>
    public Reading ReceivedPackets;

    /// <summary>Bad packets received. Unit: packets. Kernel: /proc/net/dev, Receive errs.</summary>
    public Reading ReceiveErrors;

    /// <summary>Packets received and dropped, by the driver for lack of a buffer or by the stack for a protocol nobody handles. Unit: packets. Kernel: /proc/net/dev, Receive drop.</summary>
    public Reading ReceiveDrops;

    /// <summary>Packets lost because the device's receive FIFO overran. Unit: packets. Kernel: /proc/net/dev, Receive fifo.</summary>
    public Reading ReceiveFifoErrors;

    /// <summary>Packets received with a wrong length, frame or checksum. Unit: packets. Kernel: /proc/net/dev, Receive frame.</summary>
    public Reading ReceiveFrameErrors;

    /// <summary>Compressed packets received (SLIP, PPP). Unit: packets. Kernel: /proc/net/dev, Receive compressed.</summary>
    public Reading ReceivedCompressed;

    /// <summary>Multicast packets received. Unit: packets. Kernel: /proc/net/dev, Receive multicast.</summary>
    public Reading ReceivedMulticast;

    /// <summary>Bytes sent. Unit: bytes. Kernel: /proc/net/dev, Transmit bytes.</summary>
    public Reading SentBytes;

    /// <summary>Packets sent. Unit: packets. Kernel: /proc/net/dev, Transmit packets.</summary>
    public Reading SentPackets;

    /// <summary>Packets that could not be sent. Unit: packets. Kernel: /proc/net/dev, Transmit errs.</summary>
    public Reading SendErrors;

    /// <summary>Packets dropped before they were sent. Unit: packets. Kernel: /proc/net/dev, Transmit drop.</summary>
    public Reading SendDrops;

    /// <summary>Packets lost because the device's send FIFO underran. Unit: packets. Kernel: /proc/net/dev, Transmit fifo.</summary>
    public Reading SendFifoErrors;

    /// <summary>Collisions while sending. Unit: collisions. Kernel: /proc/net/dev, Transmit colls.</summary>
    public Reading Collisions;

    /// <summary>Packets not sent because of the carrier, aborts, the window or the heartbeat. Unit: packets. Kernel: /proc/net/dev, Transmit carrier.</summary>
    public Reading CarrierErrors;

    /// <summary>Compressed packets sent (SLIP, PPP). Unit: packets. Kernel: /proc/net/dev, Transmit compressed.</summary>
    public Reading SentCompressed;

    /// <summary>Packets received on a device that takes none, such as the resting slave of a bond; not among <see cref="ReceiveDrops"/>. Unit: packets. Kernel: rtnl_link_stats64.rx_nohandler. Only with rtnetlink.</summary>
    public Reading ReceivedForNobody;

    /// <summary>Packets received for another host's link-layer address and dropped by IP. Unit: packets. Kernel: rtnl_link_stats64.rx_otherhost_dropped, 5.19. Only with rtnetlink.</summary>
    public Reading ReceivedForOtherHosts;

    /// <summary>RFC 2863: 0 unknown, 1 not present, 2 down, 3 lower layer down, 4 testing, 5 dormant, 6 up. Kernel: IFLA_OPERSTATE. Only with rtnetlink.</summary>
    public Reading OperationalState;

    /// <summary>How often the carrier came or went. Unit: changes. Kernel: IFLA_CARRIER_CHANGES. Only with rtnetlink.</summary>
    public Reading CarrierChanges;

    /// <summary>The largest packet. Unit: bytes. Kernel: IFLA_MTU. Only with rtnetlink.</summary>
    public Reading Mtu;

    /// <summary>How many packets the device's queue may hold; what a queueing discipline makes of it is its own affair. Unit: packets. Kernel: IFLA_TXQLEN. Only with rtnetlink.</summary>
    public Reading TransmitQueueLength;

    /// <summary>The speed the driver reports; absent when it knows none. Unit: bits per second. Kernel: ETHTOOL_GSET. Only with rtnetlink.</summary>
    public Reading Speed;

    /// <summary>Whether the device is the loopback device; its traffic never leaves the namespace.</summary>
    public bool IsLoopback;

    /// <summary>Names, kinds and units of the metrics, and how to read them. Upstream sums all devices but the loopback device.</summary>
    public static MetricTable<NetDevRecord> Metrics { get; } = new(static (in NetDevRecord r) => !r.IsLoopback)
    {
        { "kubeskoop.netdev.received_bytes", MetricKind.Counter, "By", "Bytes received.", static (in NetDevRecord r) => r.ReceivedBytes, "kubeskoop_netdev_rxbytes" },
        { "kubeskoop.netdev.received_packets", MetricKind.Counter, "{packet}", "Packets received.", static (in NetDevRecord r) => r.ReceivedPackets, "kubeskoop_netdev_rxpackets" },
        { "kubeskoop.netdev.receive_errors", MetricKind.Counter, "{packet}", "Bad packets received.", static (in NetDevRecord r) => r.ReceiveErrors, "kubeskoop_netdev_rxerrors" },
        { "kubeskoop.netdev.receive_drops", MetricKind.Counter, "{packet}", "Packets received and dropped, by the driver for lack of a buffer or by the stack for a protocol nobody handles.", static (in NetDevRecord r) => r.ReceiveDrops, "kubeskoop_netdev_rxdropped" },
        { "kubeskoop.netdev.receive_fifo_errors", MetricKind.Counter, "{packet}", "Packets lost because the device's receive FIFO overran.", static (in NetDevRecord r) => r.ReceiveFifoErrors },
        { "kubeskoop.netdev.receive_frame_errors", MetricKind.Counter, "{packet}", "Packets received with a wrong length, frame or checksum.", static (in NetDevRecord r) => r.ReceiveFrameErrors },
        { "kubeskoop.netdev.received_compressed", MetricKind.Counter, "{packet}", "Compressed packets received (SLIP, PPP).", static (in NetDevRecord r) => r.ReceivedCompressed },
        { "kubeskoop.netdev.received_multicast", MetricKind.Counter, "{packet}", "Multicast packets received.", static (in NetDevRecord r) => r.ReceivedMulticast },
        { "kubeskoop.netdev.sent_bytes", MetricKind.Counter, "By", "Bytes sent.", static (in NetDevRecord r) => r.SentBytes, "kubeskoop_netdev_txbytes" },
        { "kubeskoop.netdev.sent_packets", MetricKind.Counter, "{packet}", "Packets sent.", static (in NetDevRecord r) => r.SentPackets, "kubeskoop_netdev_txpackets" },
        { "kubeskoop.netdev.send_errors", MetricKind.Counter, "{packet}", "Packets that could not be sent.", static (in NetDevRecord r) => r.SendErrors, "kubeskoop_netdev_txerrors" },
        { "kubeskoop.netdev.send_drops", MetricKind.Counter, "{packet}", "Packets dropped before they were sent.", static (in NetDevRecord r) => r.SendDrops, "kubeskoop_netdev_txdropped" },
        { "kubeskoop.netdev.send_fifo_errors", MetricKind.Counter, "{packet}", "Packets lost because the device's send FIFO underran.", static (in NetDevRecord r) => r.SendFifoErrors },
        { "kubeskoop.netdev.collisions", MetricKind.Counter, "{collision}", "Collisions while sending.", static (in NetDevRecord r) => r.Collisions },
        { "kubeskoop.netdev.carrier_errors", MetricKind.Counter, "{packet}", "Packets not sent because of the carrier, aborts, the window or the heartbeat.", static (in NetDevRecord r) => r.CarrierErrors },
        { "kubeskoop.netdev.sent_compressed", MetricKind.Counter, "{packet}", "Compressed packets sent (SLIP, PPP).", static (in NetDevRecord r) => r.SentCompressed },
        { "kubeskoop.netdev.received_for_nobody", MetricKind.Counter, "{packet}", "Packets received on a device that takes none, such as the resting slave of a bond.", static (in NetDevRecord r) => r.ReceivedForNobody },
        { "kubeskoop.netdev.received_for_other_hosts", MetricKind.Counter, "{packet}", "Packets received for another host's link-layer address and dropped by IP.", static (in NetDevRecord r) => r.ReceivedForOtherHosts },
        { "kubeskoop.netdev.operational_state", MetricKind.Gauge, "1", "RFC 2863: 0 unknown, 1 not present, 2 down, 3 lower layer down, 4 testing, 5 dormant, 6 up.", static (in NetDevRecord r) => r.OperationalState },
        { "kubeskoop.netdev.carrier_changes", MetricKind.Counter, "{change}", "How often the carrier came or went.", static (in NetDevRecord r) => r.CarrierChanges },
        { "kubeskoop.netdev.mtu", MetricKind.Gauge, "By", "The largest packet.", static (in NetDevRecord r) => r.Mtu },
        { "kubeskoop.netdev.transmit_queue_length", MetricKind.Gauge, "{packet}", "How many packets the device's queue may hold.", static (in NetDevRecord r) => r.TransmitQueueLength },
        { "kubeskoop.netdev.speed", MetricKind.Gauge, "bit/s", "The speed the driver reports.", static (in NetDevRecord r) => r.Speed },
    };

    /// <summary>Field by field, the columns of the file: first the half <c>Receive</c>, then <c>Transmit</c>.</summary>
    internal static string[] Columns { get; } =
    [
        "bytes", "packets", "errs", "drop", "fifo", "frame", "compressed", "multicast",
        "bytes", "packets", "errs", "drop", "fifo", "colls", "carrier", "compressed",
    ];

    /// <summary>How many of <see cref="Columns"/> are of the first half.</summary>
    internal const int ReceiveColumns = 8;
}
