using System.Runtime.InteropServices;
using System.Text;
using CsCheck;

namespace KubeSkoop.Probes.Netlink.Tests;

/// <summary>Messages of RTM_GETQDISC and RTM_GETTCLASS, made by hand: every number is another one.</summary>
public sealed class QdiscMessagesTests
{
    private const ushort Kind = 1, Options = 2, Stats = 3, XStats = 4, Stats2 = 7, Pad = 9;
    private const ushort Basic = 1, Queue = 3, App = 4, Packets64 = 8;

    private static readonly byte[] BasicBytes = [.. U64(5_000_000_001), .. U32(12), .. U32(0)]; // with its padding
    private static readonly byte[] QueueBytes = [.. U32(21), .. U32(22), .. U32(23), .. U32(24), .. U32(25)];
    private static readonly byte[] LegacyBytes = [.. U64(101), .. U32(102), .. U32(103), .. U32(104), .. U32(105), .. U32(106), .. U32(107), .. U32(108), .. U32(0)];

    [Fact]
    public void The_common_numbers_go_to_their_fields()
    {
        QdiscEntry entry = Read(36, "pfifo", [(Stats2, Nest((Basic, BasicBytes), (Queue, QueueBytes)))]);
        Assert.Equal(new QdiscKey(7, 0x8001_0000, QdiscKey.RootParent, Link.KeyOf("pfifo"u8), false), entry.Key);
        Assert.True(entry.Key.IsRoot);
        AssertOnly(entry.Record, new QdiscRecord { Bytes = 5_000_000_001, Packets = 12, QueueLength = 21, Backlog = 22, Drops = 23, Requeues = 24, Overlimits = 25 });
    }

    // Upstream never found the nested statistics, and lived on the old struct that happens to come later.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Nested_statistics_win_over_the_old_struct_whatever_the_order(bool legacyFirst)
    {
        (ushort, byte[]) nested = (Stats2, Nest((Basic, BasicBytes), (Queue, QueueBytes)));
        QdiscRecord record = Read(36, "pfifo", legacyFirst ? [(Stats, LegacyBytes), nested] : [nested, (Stats, LegacyBytes)]).Record;
        Assert.Equal((12ul, 24ul, 5_000_000_001ul), (record.Packets.Value, record.Requeues.Value, record.Bytes.Value));
    }

    [Fact]
    public void The_old_struct_serves_where_there_is_nothing_else()
    {
        QdiscRecord record = Read(36, "pfifo", [(Stats, LegacyBytes)]).Record;
        AssertOnly(record, new QdiscRecord { Bytes = 101, Packets = 102, Drops = 103, Overlimits = 104, QueueLength = 107, Backlog = 108 });
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Packets_beyond_32_bits_come_from_their_own_attribute(bool before)
    {
        (ushort, byte[]) packets = (Packets64, U64(0x1_0000_000c));
        QdiscRecord record = Read(36, "mq", [(Stats2, before ? Nest(packets, (Basic, BasicBytes)) : Nest((Basic, BasicBytes), (Pad, []), packets))]).Record;
        Assert.Equal(0x1_0000_000cul, record.Packets.Value);
    }

    [Fact]
    public void A_message_without_statistics_has_none_rather_than_zeros() => AssertOnly(Read(36, "noqueue", []).Record, default);

    [Fact]
    public void Unknown_attributes_change_nothing()
    {
        QdiscRecord record = Read(36, "pfifo", [(200, U32(9)), (Stats2, Nest((77, U64(3)), (Basic, BasicBytes), (Queue, [.. QueueBytes, .. U32(99)]))), (201, [])]).Record;
        Assert.Equal((12ul, 25ul), (record.Packets.Value, record.Overlimits.Value));
    }

    [Fact]
    public void An_htb_class_has_rates_loans_and_tokens()
    {
        byte[] parameters = [.. U64(0), .. U32(1111), .. U64(0), .. U32(2222), .. U32(1), .. U32(2), .. U32(3), .. U32(4), .. U32(5)];
        byte[] own = [.. U32(31), .. U32(32), .. U32(33), .. U32(unchecked((uint)-1_000_000)), .. U32(500_000)];
        QdiscEntry entry = Read(40, "htb", [(Options, Nest((1, parameters))), (Stats2, Nest((Basic, BasicBytes), (App, own)))], handle: 0x0001_0010, parent: 0x0001_0001);
        Assert.Equal(new QdiscKey(7, 0x0001_0010, 0x0001_0001, Link.KeyOf("htb"u8), true), entry.Key);
        AssertOnly(entry.Record, new QdiscRecord
        {
            Bytes = 5_000_000_001,
            Packets = 12,
            Rate = 1111,
            Ceiling = 2222,
            HtbLends = 31,
            HtbBorrows = 32,
            HtbTokens = -0.064,
            HtbCeilingTokens = 0.032,
        });

        // 34 Gbit/s and more do not fit the old field, which is then full.
        byte[] full = [.. parameters];
        U32(uint.MaxValue).CopyTo(full, 8);
        U32(uint.MaxValue).CopyTo(full, 20);
        QdiscRecord fast = Read(40, "htb", [(Options, Nest((6, U64(5_000_000_000)), (7, U64(6_000_000_000)), (1, full)))]).Record;
        Assert.Equal((5_000_000_000ul, 6_000_000_000ul), (fast.Rate.Value, fast.Ceiling.Value));
    }

    [Fact]
    public void An_htb_tells_what_went_out_unshaped()
    {
        QdiscEntry entry = Read(36, "htb", [(Options, Nest((2, [.. U32(3), .. U32(10), .. U32(0x10), .. U32(0), .. U32(41)])))]);
        AssertOnly(entry.Record, new QdiscRecord { HtbDirectPackets = 41 });
    }

    [Fact]
    public void A_class_at_the_root_of_an_htb_is_no_root_qdisc() =>
        Assert.False(Read(40, "htb", [], handle: 0x0001_0001, parent: QdiscKey.RootParent).Key.IsRoot);

    [Fact]
    public void A_tbf_has_its_rate()
    {
        byte[] parameters = [.. U64(0), .. U32(1111), .. new byte[24]];
        AssertOnly(Read(36, "tbf", [(Options, Nest((1, parameters)))]).Record, new QdiscRecord { Rate = 1111 });
        AssertOnly(Read(36, "tbf", [(Options, Nest((4, U64(5_000_000_000)), (1, parameters)))]).Record, new QdiscRecord { Rate = 5_000_000_000 });
    }

    // struct tc_fq_qd_stats as 4.20 and before, 5.0, 5.8, and 6.7 and later have it. Made by hand: this kernel has no fq.
    [Theory]
    [InlineData(80)]
    [InlineData(88)]
    [InlineData(104)]
    [InlineData(112)]
    [InlineData(152)]
    [InlineData(84)]
    [InlineData(0)]
    public void An_fq_says_what_its_kernel_counts(int length)
    {
        byte[] all = [.. U64(51), .. U64(52), .. U64(53), .. U64(54), .. U64(55), .. U64(56), .. U64(57), .. U64(58), .. U32(59), .. U32(60), .. U32(61), .. U32(62),
            .. U64(63), .. U64(64), .. U64(65), .. U64(66), .. U64(67), .. U64(68), .. U64(69), .. U32(70), .. U32(71), .. U32(72), .. U32(0)];
        QdiscRecord expected = length == 0 ? default : new QdiscRecord
        {
            FqFlowsCollected = 51,
            FqThrottled = 54,
            FqFlowLimitDrops = 55,
            FqPacketsTooLong = 56,
            FqAllocationErrors = 57,
            FqFlows = 59,
            FqInactiveFlows = 60,
            FqThrottledFlows = 61,
            FqCongestionMarks = length >= 88 ? 63 : default(Reading),
            FqHorizonDrops = length >= 104 ? 64 : default(Reading),
            FqHorizonCaps = length >= 104 ? 65 : default(Reading),
            FqFastPathPackets = length >= 112 ? 66 : default(Reading),
        };
        AssertOnly(Read(36, "fq", [(Stats2, Nest((App, all[..length])))]).Record, expected);
        AssertOnly(Read(36, "fq", [(XStats, all[..length])]).Record, expected);
        Assert.Equal(152, all.Length);
    }

    // struct tc_fq_codel_xstats: 3.5 to 4.1, 4.2, 4.7 and later. Made by hand: this kernel has no fq_codel.
    [Theory]
    [InlineData(28)]
    [InlineData(32)]
    [InlineData(40)]
    [InlineData(60)]
    public void An_fq_codel_says_what_its_kernel_counts(int length)
    {
        byte[] all = [.. U32(0), .. U32(81), .. U32(82), .. U32(83), .. U32(84), .. U32(85), .. U32(86), .. U32(87), .. U32(88), .. U32(89), .. new byte[20]];
        QdiscRecord expected = new()
        {
            FqCodelLargestPacket = 81,
            FqCodelOverlimitDrops = 82,
            FqCodelEcnMarks = 83,
            FqCodelNewFlows = 84,
            FqCodelNewFlowsQueued = 85,
            FqCodelOldFlowsQueued = 86,
            FqCodelCongestionMarks = length >= 32 ? 87 : default(Reading),
            FqCodelMemory = length >= 36 ? 88 : default(Reading),
            FqCodelOvermemoryDrops = length >= 40 ? 89 : default(Reading),
        };
        AssertOnly(Read(36, "fq_codel", [(Stats2, Nest((App, all[..length])))]).Record, expected);
        byte[] ofClass = [.. U32(1), .. all[4..length]];
        AssertOnly(Read(36, "fq_codel", [(Stats2, Nest((App, ofClass)))]).Record, default);
    }

    [Fact]
    public void Statistics_of_another_kind_are_left_alone() => AssertOnly(Read(36, "netem", [(Options, new byte[24]), (XStats, new byte[152])]).Record, default);

    [Theory]
    [InlineData(36, "a kind that is too long")]
    [InlineData(16, "pfifo")] // RTM_NEWLINK
    public void What_is_no_qdisc_is_refused(ushort type, string kind) => Assert.False(TryRead(Message(type, kind, [], 1, 2), out _));

    [Fact]
    public void Statistics_that_are_too_short_are_refused()
    {
        Assert.False(TryRead(Message(36, "pfifo", [(Stats2, Nest((Basic, BasicBytes[..11])))], 1, 2), out _));
        Assert.False(TryRead(Message(36, "pfifo", [(Stats2, Nest((Queue, QueueBytes[..19])))], 1, 2), out _));
        Assert.False(TryRead(Message(36, "pfifo", [(Stats2, Nest((Packets64, U32(1))))], 1, 2), out _));
    }

    [Fact]
    public void Any_bytes_give_an_entry_or_none() => Gen.Select(Gen.Byte.Array[0, 300], Gen.UShort[35, 41]).Sample((bytes, type) =>
    {
        _ = TryRead(Framed(type, bytes), out _);
    });

    [Fact]
    public void Cut_anywhere_nothing_that_comes_out_is_wrong()
    {
        byte[] whole = Message(40, "htb", [(Options, Nest((6, U64(77)))), (Stats2, Nest((Basic, BasicBytes), (Queue, QueueBytes), (App, new byte[20])))], 1, 2);
        Assert.True(TryRead(whole, out QdiscEntry all));
        for (int cut = 16; cut < whole.Length; cut++)
        {
            if (!TryRead(Framed(40, whole[16..cut]), out QdiscEntry entry)) continue;
            foreach (Metric<QdiscRecord> metric in QdiscRecord.Metrics)
            {
                MetricValue value = metric.Read!(in entry.Record);
                Assert.True(value.Kind == MetricValueKind.Absent || value == metric.Read(in all.Record), metric.Name);
            }
        }
    }

    [Fact]
    public void Requests_are_what_the_kernel_checks_strictly()
    {
        Assert.Equal([36, 0, 0, 0, 38, 0, .. new byte[30]], QdiscMessages.QdiscRequest());
        byte[] request = QdiscMessages.ClassRequest();
        QdiscMessages.AimAt(request, new QdiscKey(5, 0x0001_0000, QdiscKey.RootParent, default, false));
        Assert.Equal([36, 0, 0, 0, 42, 0, .. new byte[10], 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], request);
    }

    [Fact]
    public void Every_metric_reads_a_field_of_its_own()
    {
        var names = new HashSet<string>();
        foreach (System.Reflection.FieldInfo field in typeof(QdiscRecord).GetFields(System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.Instance))
        {
            object boxed = default(QdiscRecord);
            field.SetValue(boxed, field.FieldType == typeof(Reading) ? new Reading(7) : 7.0);
            var record = (QdiscRecord)boxed;
            names.Add(Assert.Single(QdiscRecord.Metrics, m => m.Read!(in record).Kind != MetricValueKind.Absent).Name);
        }
        Assert.Equal(QdiscRecord.Metrics.Count, names.Count);
    }

    [Fact]
    public void Upstreams_names_carry_the_totals_of_root_qdiscs()
    {
        var record = new QdiscRecord { RootBytes = 1, RootPackets = 2, RootDrops = 3, RootOverlimits = 4, RootQueueLength = 5, RootBacklog = 6 };
        Assert.Equal(
            ["backlog 6", "bytes 1", "drops 3", "overlimits 4", "packets 2", "qlen 5"],
            QdiscRecord.Metrics.Upstream.Select(m => $"{m.UpstreamName!["kubeskoop_qdisc_".Length..]} {m.ReadUpstream!(in record)}").Order(StringComparer.Ordinal));
    }

    internal static QdiscEntry Read(ushort type, string kind, (ushort, byte[])[] attributes, uint handle = 0x8001_0000, uint parent = QdiscKey.RootParent)
    {
        Assert.True(TryRead(Message(type, kind, attributes, handle, parent), out QdiscEntry entry));
        return entry;
    }

    private static bool TryRead(byte[] message, out QdiscEntry entry)
    {
        var messages = new NetlinkMessages(message);
        Assert.True(messages.MoveNext());
        return QdiscMessages.TryRead(messages.Current, out entry);
    }

    private static byte[] Message(ushort type, string kind, (ushort Type, byte[] Value)[] attributes, uint handle, uint parent)
    {
        var writer = new NetlinkWriter(new byte[4096], type);
        writer.Header(new Traffic { Device = 7, Handle = handle, Parent = parent });
        writer.Attribute(Kind, Encoding.ASCII.GetBytes(kind + "\0"));
        foreach ((ushort attribute, byte[] value) in attributes) writer.Attribute(attribute, value);
        return writer.Finish().ToArray();
    }

    private static byte[] Framed(ushort type, byte[] payload) => FakeNetlink.Message(type, NetlinkFlags.Multipart, 1, 1, payload);

    private static byte[] Nest(params (ushort Type, byte[] Value)[] attributes)
    {
        var writer = new NetlinkWriter(new byte[4096], 1);
        foreach ((ushort type, byte[] value) in attributes) writer.Attribute(type, value);
        return writer.Finish()[NetlinkHeader.Size..].ToArray();
    }

    private static byte[] U32(uint value) => BitConverter.GetBytes(value);

    private static byte[] U64(ulong value) => BitConverter.GetBytes(value);

    private static void AssertOnly(in QdiscRecord record, in QdiscRecord expected)
    {
        foreach (Metric<QdiscRecord> metric in QdiscRecord.Metrics) Assert.Equal((metric.Name, metric.Read!(in expected)), (metric.Name, metric.Read(in record)));
    }

    /// <summary>struct tcmsg.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 20)]
    private struct Traffic
    {
        [FieldOffset(4)] internal int Device;
        [FieldOffset(8)] internal uint Handle;
        [FieldOffset(12)] internal uint Parent;
    }
}
