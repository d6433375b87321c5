using System.Runtime.InteropServices;
using System.Text.Json;
using CsCheck;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Netlink.Tests;

/// <summary>RTM_GETSTATS and RTM_GETLINK: captured from other kernels, and made by hand.</summary>
public sealed class NetDevStatisticsTests
{
    public static TheoryData<string> Captures => [.. Fixture.Named("netlink/link-stats.bin")];

    [Theory]
    [MemberData(nameof(Captures))]
    public void Captured_dumps_say_what_ip_said(string path)
    {
        using JsonDocument json = JsonDocument.Parse(Fixture.Text(path.Replace("link-stats.bin", "link.json", StringComparison.Ordinal)));
        var rows = new List<NetDevStatistics>();
        var visitor = new NetDevStatisticsVisitor(rows);
        foreach (byte[] message in Messages(Fixture.Bytes(path))) Assert.True(Visit(visitor, message));
        using NamespaceLinks links = Links(Fixture.Bytes(path.Replace("link-stats.bin", "link.bin", StringComparison.Ordinal)));

        Assert.Equal(json.RootElement.GetArrayLength(), rows.Count);
        Assert.Equal(rows.Count, links.All.Count);
        foreach (JsonElement ip in json.RootElement.EnumerateArray())
        {
            int index = ip.GetProperty("ifindex").GetInt32();
            Link link = links.Find(index)!;
            NetDevRecord record = default;
            rows.Single(r => r.Index == index).Write(ref record);
            Assert.Equal(ip.GetProperty("ifname").GetString(), link.Name);
            Assert.Equal(ip.GetProperty("mtu").GetUInt64(), link.Facts.Mtu.Value);
            Assert.Equal(ip.GetProperty("txqlen").GetUInt64(), link.Facts.TransmitQueueLength.Value);
            Assert.Equal(ip.GetProperty("operstate").GetString() == "UP" ? 6ul : 0ul, link.Facts.OperationalState.Value);
            Assert.Equal(link.Name == "lo", link.Facts.IsLoopback);
            JsonElement received = ip.GetProperty("stats64").GetProperty("rx"), sent = ip.GetProperty("stats64").GetProperty("tx");
            Assert.Equal(sent.GetProperty("carrier_changes").GetUInt64(), link.Facts.CarrierChanges.Value);
            Assert.Equal(received.GetProperty("bytes").GetUInt64(), record.ReceivedBytes.Value);
            Assert.Equal(received.GetProperty("packets").GetUInt64(), record.ReceivedPackets.Value);
            Assert.Equal(sent.GetProperty("bytes").GetUInt64(), record.SentBytes.Value);
            Assert.Equal(sent.GetProperty("packets").GetUInt64(), record.SentPackets.Value);
            Assert.Equal(0ul, record.ReceivedForNobody.Value);
            // 5.19 and later; nothing is said below.
            Assert.Equal(!path.StartsWith("5.10", StringComparison.Ordinal), record.ReceivedForOtherHosts.HasValue);
            if (record.ReceivedForOtherHosts.HasValue) Assert.Equal(link.Name == "right" ? 145ul : 0ul, record.ReceivedForOtherHosts.Value);
        }
    }

    [Theory]
    [InlineData(23)]
    [InlineData(24)]
    [InlineData(25)]
    [InlineData(30)]
    public void Every_number_goes_where_proc_has_it(int length)
    {
        // Powers of two: every sum tells what is in it.
        ulong[] numbers = [.. Enumerable.Range(0, length).Select(static i => 1ul << i)];
        var writer = new NetlinkWriter(new byte[512], 92);
        writer.Header(new StatsHeader { Index = 5 });
        writer.Attribute(1, MemoryMarshal.AsBytes<ulong>(numbers));
        Assert.True(NetDevStatistics.TryRead(Message(writer.Finish()), out NetDevStatistics statistics));
        NetDevRecord record = default;
        statistics.Write(ref record);
        Assert.Equal(5, statistics.Index);
        int[][] expected =
        [
            [2], [0], [4], [6, 15], [14], [10, 11, 12, 13], [21], [8], // received: bytes packets errs drop fifo frame compressed multicast
            [3], [1], [5], [7], [18], [9], [16, 17, 19, 20], [22],     // sent: bytes packets errs drop fifo colls carrier compressed
        ];
        Reading[] columns = MemoryMarshal.CreateSpan(ref record.ReceivedBytes, NetDevRecord.Columns.Length).ToArray();
        for (int i = 0; i < columns.Length; i++) Assert.Equal((i, (ulong)expected[i].Sum(static p => 1L << p)), (i, columns[i].Value));
        Assert.Equal(length > 23 ? 1ul << 23 : null, record.ReceivedForNobody.ToNullable());
        Assert.Equal(length > 24 ? 1ul << 24 : null, record.ReceivedForOtherHosts.ToNullable());
    }

    [Fact]
    public void Any_bytes_give_statistics_or_none() => Gen.Select(Gen.Byte.Array[0, 300], Gen.UShort[91, 93]).Sample(static (bytes, type) =>
    {
        _ = NetDevStatistics.TryRead(Message(FakeNetlink.Message(type, NetlinkFlags.None, 1, 1, bytes)), out _);
    });

    [Theory]
    [InlineData(0)]
    [InlineData(16)]
    public void A_device_without_a_name_that_can_be_is_refused(int length)
    {
        var writer = new NetlinkWriter(new byte[128], 16);
        writer.Header(default(UInt128));
        writer.Attribute(3, Enumerable.Repeat((byte)'a', length).ToArray());
        byte[] message = writer.Finish().ToArray();
        using var fake = new FakeNetlink(q => [Stamped(message, q), q.Done()]);
        using var links = new NamespaceLinks(new NetworkNamespace(1, false, new NamespaceFacts(null, 1, null, null)), new FakeTimeProvider());
        Assert.Equal(NetlinkOutcome.Malformed, links.Read(fake.Client, new NetlinkBuffer()).Outcome);
        Assert.True(links.IsOutdated(fake.Client));
    }

    [Fact]
    public void Devices_are_asked_for_when_something_was_told_and_once_a_minute()
    {
        byte[][] messages = [.. Messages(Fixture.Bytes("6.12-qdisc/netlink/link.bin"))];
        using var fake = new FakeNetlink(q => [.. messages.Select(m => Stamped(m, q)), q.Done()]);
        var clock = new FakeTimeProvider();
        var buffer = new NetlinkBuffer();
        using var links = new NamespaceLinks(new NetworkNamespace(1, false, new NamespaceFacts(null, 1, null, null)), clock);
        Assert.True(links.IsOutdated(fake.Client));
        Assert.True(links.Read(fake.Client, buffer).IsComplete);
        Link left = links.Find(3)!;
        Assert.Equal("left", left.Name);
        Assert.False(links.IsOutdated(fake.Client));

        clock.Advance(TimeSpan.FromSeconds(59));
        Assert.False(links.IsOutdated(fake.Client));
        clock.Advance(TimeSpan.FromSeconds(1));
        Assert.True(links.IsOutdated(fake.Client));
        Assert.True(links.Read(fake.Client, buffer).IsComplete);
        Assert.Same(left, links.Find(3));
        using var other = new FakeNetlink(static q => [q.Done()]);
        Assert.True(links.IsOutdated(other.Client)); // a socket that was opened anew may have missed notices
        Assert.True(links.Read(other.Client, buffer).IsComplete);
        Assert.Null(links.Find(3));
    }

    private static NamespaceLinks Links(byte[] capture)
    {
        using var fake = new FakeNetlink(q => [.. Messages(capture).Select(m => Stamped(m, q)), q.Done()]);
        var links = new NamespaceLinks(new NetworkNamespace(1, false, new NamespaceFacts(null, 1, null, null)), new FakeTimeProvider());
        Assert.Equal(NetlinkOutcome.Ok, links.Read(fake.Client, new NetlinkBuffer()).Outcome);
        return links;
    }

    /// <summary>The messages of a capture, without its end.</summary>
    private static List<byte[]> Messages(byte[] capture)
    {
        var messages = new List<byte[]>();
        var message = new NetlinkMessages(capture);
        while (message.MoveNext())
            if (message.Current.Type != NetlinkMessageType.Done) messages.Add(FakeNetlink.Message(message.Current.Type, message.Current.Flags, 0, 0, message.Current.Payload));
        Assert.Equal(NetlinkFault.None, message.Fault);
        return messages;
    }

    private static byte[] Stamped(byte[] message, FakeNetlink.Question question) =>
        FakeNetlink.Message(Message(message).Type, NetlinkFlags.Multipart, question.Header.Sequence, question.Header.Port, Message(message).Payload);

    private static NetlinkMessage Message(ReadOnlySpan<byte> bytes)
    {
        var messages = new NetlinkMessages(bytes);
        Assert.True(messages.MoveNext());
        return messages.Current;
    }

    private static bool Visit(NetDevStatisticsVisitor visitor, byte[] message) => visitor.Visit(Message(message));

    /// <summary>struct if_stats_msg.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 12)]
    private struct StatsHeader
    {
        [FieldOffset(4)] internal int Index;
    }
}
