using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Netlink;

/// <summary>RTM_NEWSTATS with IFLA_STATS_LINK_64, of one device.</summary>
internal readonly struct NetDevStatistics
{
    private const ushort GetStats = 94; // include/uapi/linux/rtnetlink.h
    private const ushort NewStats = 92;
    private const ushort Link64 = 1;    // include/uapi/linux/if_link.h, IFLA_STATS_LINK_64
    private const int OldestLength = 23 * sizeof(ulong); // until tx_compressed; what follows came later

    private readonly LinkStatistics _numbers;
    private readonly Reading _noHandler;
    private readonly Reading _otherHost;

    private NetDevStatistics(int index, ReadOnlySpan<byte> numbers)
    {
        Index = index;
        MemoryMarshal.Cast<byte, ulong>(numbers[..OldestLength]).CopyTo(_numbers);
        _noHandler = At(numbers, 23);
        _otherHost = At(numbers, 24);
    }

    /// <summary>The device's index.</summary>
    internal int Index { get; }

    /// <summary>Asks for the 64-bit statistics of all devices.</summary>
    internal static byte[] Request()
    {
        var request = new NetlinkWriter(new byte[64], GetStats);
        request.Header(new StatsMessage { Filter = 1u << (Link64 - 1) });
        return request.Finish().ToArray();
    }

    /// <summary>Reads a message; false when it is not what it should be.</summary>
    internal static bool TryRead(in NetlinkMessage message, out NetDevStatistics statistics)
    {
        statistics = default;
        if (message.Type != NewStats || !message.TryRead(out StatsMessage header, out NetlinkAttributes attribute)) return false;
        bool found = false;
        while (attribute.MoveNext())
        {
            if (attribute.Type != Link64 || attribute.Value.Length < OldestLength) continue;
            statistics = new NetDevStatistics(header.Index, attribute.Value);
            found = true;
        }
        return found && attribute.Fault == NetlinkFault.None;
    }

    // What /proc/net/dev makes of these numbers: net/core/net-procfs.c, dev_seq_printf_stats.
    internal void Write(ref NetDevRecord record)
    {
        record.ReceivedBytes = _numbers[2];
        record.ReceivedPackets = _numbers[0];
        record.ReceiveErrors = _numbers[4];
        record.ReceiveDrops = _numbers[6] + _numbers[15];                                        // rx_dropped, rx_missed_errors
        record.ReceiveFifoErrors = _numbers[14];
        record.ReceiveFrameErrors = _numbers[10] + _numbers[11] + _numbers[12] + _numbers[13];   // length, over, crc, frame
        record.ReceivedCompressed = _numbers[21];
        record.ReceivedMulticast = _numbers[8];
        record.SentBytes = _numbers[3];
        record.SentPackets = _numbers[1];
        record.SendErrors = _numbers[5];
        record.SendDrops = _numbers[7];
        record.SendFifoErrors = _numbers[18];
        record.Collisions = _numbers[9];
        record.CarrierErrors = _numbers[17] + _numbers[16] + _numbers[20] + _numbers[19];        // carrier, aborted, window, heartbeat
        record.SentCompressed = _numbers[22];
        record.ReceivedForNobody = _noHandler;
        record.ReceivedForOtherHosts = _otherHost;
    }

    private static Reading At(ReadOnlySpan<byte> numbers, int place) =>
        numbers.Length >= (place + 1) * sizeof(ulong) ? new Reading(MemoryMarshal.Read<ulong>(numbers[(place * sizeof(ulong))..])) : default;

    /// <summary>struct rtnl_link_stats64, in its order.</summary>
    [System.Runtime.CompilerServices.InlineArray(OldestLength / sizeof(ulong))]
    private struct LinkStatistics
    {
        private ulong _receivedPackets;
    }

    /// <summary>struct if_stats_msg.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 12)]
    private struct StatsMessage
    {
        [FieldOffset(4)] internal int Index;
        [FieldOffset(8)] internal uint Filter;
    }
}

/// <summary>Collects the statistics of all devices.</summary>
internal readonly struct NetDevStatisticsVisitor(List<NetDevStatistics> rows) : INetlinkVisitor
{
    public void Begin() => rows.Clear();

    public bool Visit(in NetlinkMessage message)
    {
        if (!NetDevStatistics.TryRead(message, out NetDevStatistics statistics)) return false;
        rows.Add(statistics);
        return true;
    }
}
