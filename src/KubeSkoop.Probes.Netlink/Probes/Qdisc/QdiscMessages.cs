using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Netlink;

/// <summary>What tells a qdisc or class from the others of its namespace.</summary>
/// <param name="Device">The device's index.</param>
/// <param name="Handle">Its own number, major and minor; of a qdisc the minor is 0.</param>
/// <param name="Parent">What it hangs on.</param>
/// <param name="Kind">Its kind's name, NUL-padded.</param>
/// <param name="IsClass">Whether it is a class.</param>
internal readonly record struct QdiscKey(int Device, uint Handle, uint Parent, UInt128 Kind, bool IsClass)
{
    internal const uint RootParent = 0xFFFF_FFFF; // include/uapi/linux/pkt_sched.h, TC_H_ROOT

    /// <summary>Whether everything the device sends passes through it: not a child, not a class, not the ingress hook.</summary>
    internal bool IsRoot => Parent == RootParent && !IsClass;
}

/// <summary>A qdisc or class as the kernel has just described it.</summary>
internal struct QdiscEntry
{
    internal QdiscKey Key;
    internal QdiscRecord Record;
}

/// <summary>RTM_GETQDISC and RTM_GETTCLASS: struct tcmsg with the attributes of enum TCA_*, include/uapi/linux/rtnetlink.h.</summary>
internal static class QdiscMessages
{
    internal const ushort NewQdisc = 36;
    internal const ushort NewClass = 40;
    private const ushort GetQdisc = 38;
    private const ushort GetClass = 42;

    private const ushort Kind = 1;            // enum TCA_*
    private const ushort Options = 2;
    private const ushort Stats = 3;
    private const ushort XStats = 4;
    private const ushort Stats2 = 7;
    private const ushort StatsBasic = 1;      // enum TCA_STATS_*, include/uapi/linux/gen_stats.h
    private const ushort StatsQueue = 3;
    private const ushort StatsApp = 4;
    private const ushort StatsPackets64 = 8;
    private const int LongestKind = 15;       // IFNAMSIZ - 1

    internal static UInt128 Htb { get; } = Link.KeyOf("htb"u8);

    private static UInt128 Tbf { get; } = Link.KeyOf("tbf"u8);

    private static UInt128 Fq { get; } = Link.KeyOf("fq"u8);

    private static UInt128 FqCodel { get; } = Link.KeyOf("fq_codel"u8);

    /// <summary>Asks for the qdiscs of all devices.</summary>
    internal static byte[] QdiscRequest()
    {
        var request = new NetlinkWriter(new byte[64], GetQdisc);
        request.Header(new TrafficMessage());
        return request.Finish().ToArray();
    }

    /// <summary>Asks for the classes of one qdisc, named by <see cref="AimAt"/>.</summary>
    internal static byte[] ClassRequest()
    {
        var request = new NetlinkWriter(new byte[64], GetClass);
        request.Header(new TrafficMessage());
        return request.Finish().ToArray();
    }

    internal static void AimAt(Span<byte> classRequest, in QdiscKey qdisc)
    {
        var header = new TrafficMessage { Device = qdisc.Device, Parent = qdisc.Handle };
        MemoryMarshal.Write(classRequest[NetlinkHeader.Size..], in header);
    }

    /// <summary>Reads one message; false when it is not what it should be. Statistics of a kind that are shorter than expected are absent.</summary>
    internal static bool TryRead(in NetlinkMessage message, out QdiscEntry entry)
    {
        entry = default;
        if (message.Type is not (NewQdisc or NewClass) || !message.TryRead(out TrafficMessage header, out NetlinkAttributes attribute)) return false;
        ReadOnlySpan<byte> kind = default, options = default, legacy = default, extra = default;
        NetlinkAttributes statistics = default;
        bool hasStatistics = false;
        while (attribute.MoveNext())
        {
            switch (attribute.Type)
            {
                case Kind: kind = attribute.Text(); break;
                case Options: options = attribute.Value; break;
                case Stats: legacy = attribute.Value; break;
                case XStats: extra = attribute.Value; break;
                case Stats2:
                    statistics = attribute.Nested();
                    hasStatistics = true;
                    break;
            }
        }
        if (kind.Length > LongestKind) return false;
        ref QdiscRecord record = ref entry.Record;
        // The old struct stands in the message as well, and its 32-bit packets must not win: whatever the order, the nested ones do.
        if (hasStatistics) ReadStatistics(ref record, ref statistics, ref extra);
        else if (!legacy.IsEmpty) ReadLegacy(ref record, legacy);
        attribute.Join(statistics);
        entry.Key = new QdiscKey(header.Device, header.Handle, header.Parent, Link.KeyOf(kind), message.Type == NewClass);
        if (entry.Key.Kind == Htb) ReadHtb(ref record, options, extra, entry.Key.IsClass);
        else if (entry.Key.Kind == Tbf) ReadTbf(ref record, options);
        else if (entry.Key.Kind == Fq) ReadFq(ref record, extra);
        else if (entry.Key.Kind == FqCodel) ReadFqCodel(ref record, extra);
        return attribute.Fault == NetlinkFault.None;
    }

    private static void ReadStatistics(ref QdiscRecord record, ref NetlinkAttributes attribute, ref ReadOnlySpan<byte> extra)
    {
        ulong? packets = null;
        while (attribute.MoveNext())
        {
            switch (attribute.Type)
            {
                case StatsBasic:
                    BasicStatistics basic = attribute.Read<BasicStatistics>();
                    record.Bytes = basic.Bytes;
                    record.Packets = basic.Packets;
                    break;
                case StatsPackets64: // only when the packets do not fit 32 bits
                    packets = attribute.UInt64();
                    break;
                case StatsQueue:
                    QueueStatistics queue = attribute.Read<QueueStatistics>();
                    record.QueueLength = queue.Length;
                    record.Backlog = queue.Backlog;
                    record.Drops = queue.Drops;
                    record.Requeues = queue.Requeues;
                    record.Overlimits = queue.Overlimits;
                    break;
                case StatsApp:
                    extra = attribute.Value;
                    break;
            }
        }
        if (packets is { } all) record.Packets = all;
    }

    // struct tc_stats, for kernels that send nothing else: bytes, packets, drops, overlimits, bps, pps, qlen, backlog.
    private static void ReadLegacy(ref QdiscRecord record, ReadOnlySpan<byte> text)
    {
        record.Bytes = At64(text, 0);
        record.Packets = At32(text, 8);
        record.Drops = At32(text, 12);
        record.Overlimits = At32(text, 16);
        record.QueueLength = At32(text, 28);
        record.Backlog = At32(text, 32);
    }

    private static void ReadHtb(ref QdiscRecord record, ReadOnlySpan<byte> options, ReadOnlySpan<byte> extra, bool isClass)
    {
        var option = new NetlinkAttributes(options);
        Reading rate64 = default, ceiling64 = default;
        while (option.MoveNext())
        {
            switch (option.Type)
            {
                case 1 when isClass: // TCA_HTB_PARMS: two struct tc_ratespec first
                    record.Rate = At32(option.Value, 8);
                    record.Ceiling = At32(option.Value, 20);
                    break;
                case 2 when !isClass: // TCA_HTB_INIT: struct tc_htb_glob
                    record.HtbDirectPackets = At32(option.Value, 16);
                    break;
                case 6: rate64 = At64(option.Value, 0); break;
                case 7: ceiling64 = At64(option.Value, 0); break;
            }
        }
        if (rate64.HasValue) record.Rate = rate64;
        if (ceiling64.HasValue) record.Ceiling = ceiling64;
        if (!isClass) return;
        record.HtbLends = At32(extra, 0); // struct tc_htb_xstats
        record.HtbBorrows = At32(extra, 4);
        record.HtbTokens = Ticks(extra, 12);
        record.HtbCeilingTokens = Ticks(extra, 16);
    }

    private static void ReadTbf(ref QdiscRecord record, ReadOnlySpan<byte> options)
    {
        var option = new NetlinkAttributes(options);
        Reading rate64 = default;
        while (option.MoveNext())
        {
            if (option.Type == 1) record.Rate = At32(option.Value, 8);       // TCA_TBF_PARMS: struct tc_ratespec first
            else if (option.Type == 4) rate64 = At64(option.Value, 0);       // TCA_TBF_RATE64
        }
        if (rate64.HasValue) record.Rate = rate64;
    }

    // struct tc_fq_qd_stats: it has grown at its end, and its names changed.
    private static void ReadFq(ref QdiscRecord record, ReadOnlySpan<byte> extra)
    {
        record.FqFlowsCollected = At64(extra, 0);
        record.FqThrottled = At64(extra, 24);
        record.FqFlowLimitDrops = At64(extra, 32);
        record.FqPacketsTooLong = At64(extra, 40);
        record.FqAllocationErrors = At64(extra, 48);
        record.FqFlows = At32(extra, 64);
        record.FqInactiveFlows = At32(extra, 68);
        record.FqThrottledFlows = At32(extra, 72);
        record.FqCongestionMarks = At64(extra, 80);
        record.FqHorizonDrops = At64(extra, 88);
        record.FqHorizonCaps = At64(extra, 96);
        record.FqFastPathPackets = At64(extra, 104);
    }

    // struct tc_fq_codel_xstats: a type, then tc_fq_codel_qd_stats, which has grown at its end.
    private static void ReadFqCodel(ref QdiscRecord record, ReadOnlySpan<byte> extra)
    {
        if (At32(extra, 0) != new Reading(0)) return; // TCA_FQ_CODEL_XSTATS_QDISC
        record.FqCodelLargestPacket = At32(extra, 4);
        record.FqCodelOverlimitDrops = At32(extra, 8);
        record.FqCodelEcnMarks = At32(extra, 12);
        record.FqCodelNewFlows = At32(extra, 16);
        record.FqCodelNewFlowsQueued = At32(extra, 20);
        record.FqCodelOldFlowsQueued = At32(extra, 24);
        record.FqCodelCongestionMarks = At32(extra, 28);
        record.FqCodelMemory = At32(extra, 32);
        record.FqCodelOvermemoryDrops = At32(extra, 36);
    }

    private static Reading At32(ReadOnlySpan<byte> text, int offset) =>
        text.Length >= offset + sizeof(uint) ? new Reading(MemoryMarshal.Read<uint>(text[offset..])) : default;

    private static Reading At64(ReadOnlySpan<byte> text, int offset) =>
        text.Length >= offset + sizeof(ulong) ? new Reading(MemoryMarshal.Read<ulong>(text[offset..])) : default;

    // PSCHED_TICKS2NS: a tick is 64 ns.
    private static double? Ticks(ReadOnlySpan<byte> text, int offset) =>
        text.Length >= offset + sizeof(int) ? MemoryMarshal.Read<int>(text[offset..]) * 64e-9 : null;

    /// <summary>struct tcmsg.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 20)]
    private struct TrafficMessage
    {
        [FieldOffset(4)] internal int Device;
        [FieldOffset(8)] internal uint Handle;
        [FieldOffset(12)] internal uint Parent;
    }

    /// <summary>struct gnet_stats_basic, without what pads it.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 12, Pack = 4)]
    private struct BasicStatistics
    {
        [FieldOffset(0)] internal ulong Bytes;
        [FieldOffset(8)] internal uint Packets;
    }

    /// <summary>struct gnet_stats_queue.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct QueueStatistics
    {
        internal uint Length;
        internal uint Backlog;
        internal uint Drops;
        internal uint Requeues;
        internal uint Overlimits;
    }
}

/// <summary>Collects qdiscs and classes behind those that are there already.</summary>
internal readonly struct QdiscVisitor(QdiscEntries entries) : INetlinkVisitor
{
    private readonly int _start = entries.Count;

    public void Begin() => entries.Cut(_start);

    public bool Visit(in NetlinkMessage message) => QdiscMessages.TryRead(message, out entries.Add());
}
