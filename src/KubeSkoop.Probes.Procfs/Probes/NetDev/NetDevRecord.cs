using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Traffic of one network device (net/core/net-procfs.c, dev_seq_printf_stats).</summary>
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
