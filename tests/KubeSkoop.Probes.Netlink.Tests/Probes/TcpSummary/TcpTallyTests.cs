using System.Runtime.InteropServices;
using System.Text;
using CsCheck;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.TcpSummary;

/// <summary>Summing up messages made by hand: every field to its place, and no message that harms.</summary>
public sealed class TcpTallyTests
{
    [Theory]
    [InlineData("tcp-connections.bin", false)]
    [InlineData("tcp-connections-info.bin", true)]
    public void Messages_of_a_kernel_are_summed_up(string file, bool info)
    {
        var tally = new TcpTally();
        var visitor = new ConnectionVisitor(ref tally, 250, info);
        Visit(file, ref visitor);
        // What tests/Fixtures/capture.sh makes: 4 connections and 3 that nobody accepts, two half closed, 5 handshakes.
        Assert.Equal([14, 5, 0, 0, 2, 0, 0, 2, 0, 0, 0], Enumerable.Range(1, 11).Select(s => (int)tally.States[s]));
        Assert.Equal((5u, 1u), (tally.NewSynReceived, tally.ClosedFinWait2));
        Assert.Equal((600ul + 2, 5ul), (tally.ReceiveQueue, tally.SendQueue)); // a FIN each in CLOSE_WAIT; a SYN each
        Assert.Equal((300u, 1u, 1u), (tally.LargestReceiveQueue, tally.LargestSendQueue, tally.ReceiveQueuesAbove));
        Assert.Equal(info ? 17ul : 0, tally.RoundTripTime.Count); // of each socket but those in SYN_SENT
        Assert.Equal(info ? [1, 21] : [], CongestionOf(ref tally).Order());
    }

    [Fact]
    public void Listeners_of_a_kernel_are_summed_up()
    {
        var tally = new ListenerTally();
        var visitor = new ListenerVisitor(ref tally);
        Visit("tcp-listeners.bin", ref visitor);
        Assert.Equal((3u, 3ul, 116ul), (tally.Count, tally.Waiting, tally.Limit));
        Assert.Equal((3u, 7u, "[::1]:8001"), (tally.FullestWaiting, tally.FullestLimit, tally.Fullest.ToString()));
    }

    [Fact]
    public void Every_field_goes_to_its_place()
    {
        var tally = new TcpTally();
        var visitor = new ConnectionVisitor(ref tally, 100, info: true);
        visitor.Begin();
        for (byte state = 1; state <= 11; state++)
            for (int i = 0; i < state; i++) Assert.True(visitor.Visit(Message(state, 10, 20, Attribute(SocketDiagnostics.Shutdown, [0]))));
        Assert.True(visitor.Visit(Message(1, 101, 100, Attribute(SocketDiagnostics.Information, Info(rtt: 900, retransmits: 3, busy: 100, receiver: 30, sendBuffer: 20)))));
        Assert.True(visitor.Visit(Message(1, 7, 5000, Attribute(SocketDiagnostics.Information, [.. Info(rtt: 0, retransmits: 4, busy: 5, receiver: 3, sendBuffer: 4), .. new byte[40]]))));
        Assert.True(visitor.Visit(Message(3, 0, 0)));                                               // a handshake
        Assert.True(visitor.Visit(Message(5, 0, 0)));                                               // what is left of a closed socket
        Assert.Equal([3, 2, 3, 4, 6, 6, 7, 8, 9, 10, 11], Enumerable.Range(1, 11).Select(s => (int)tally.States[s]));
        Assert.Equal((1u, 1u), (tally.NewSynReceived, tally.ClosedFinWait2));
        Assert.Equal((66ul * 10 + 108, 66ul * 20 + 5100), (tally.ReceiveQueue, tally.SendQueue));
        Assert.Equal((101u, 5000u, 1u, 1u), (tally.LargestReceiveQueue, tally.LargestSendQueue, tally.ReceiveQueuesAbove, tally.SendQueuesAbove));
        Assert.Equal((7ul, 33ul, 24ul, 50ul), (tally.Retransmits, tally.ReceiverLimited, tally.SendBufferLimited, tally.CongestionLimited)); // never negative
        Assert.Equal((1ul, 900ul), (tally.RoundTripTime.Count, tally.RoundTripTime.Sum)); // 0 has not been measured
    }

    [Fact]
    public void More_congestion_controls_than_can_be_told_apart_lose_no_connection()
    {
        var tally = new TcpTally();
        var visitor = new ConnectionVisitor(ref tally, 0, info: true);
        visitor.Begin();
        for (int i = 0; i < 30; i++) Assert.True(visitor.Visit(Message(1, 0, 0, Attribute(SocketDiagnostics.CongestionControl, Encoding.ASCII.GetBytes($"control_number_{i / 3}xxxxxxxx\0")))));
        Assert.Equal([3, 3, 3, 3, 3, 3, 3, 9], CongestionOf(ref tally));
    }

    [Fact]
    public void The_listener_closest_to_its_limit_is_the_fullest()
    {
        var tally = new ListenerTally();
        var visitor = new ListenerVisitor(ref tally);
        visitor.Begin();
        foreach (var (waiting, limit) in new[] { (0u, 128u), (50u, 4096u), (9u, 10u), (0u, 0u), (500u, 1000u) }) Assert.True(visitor.Visit(Message(10, waiting, limit)));
        Assert.Equal((5u, 559ul, 5234ul, 9u, 10u), (tally.Count, tally.Waiting, tally.Limit, tally.FullestWaiting, tally.FullestLimit));
        Assert.True(visitor.Visit(Message(10, 1, 0))); // full: one may wait although the limit is 0
        Assert.Equal((1u, 0u), (tally.FullestWaiting, tally.FullestLimit));
        Assert.True(ListenerVisitor.IsFuller(uint.MaxValue, uint.MaxValue - 1, uint.MaxValue - 1, uint.MaxValue));
    }

    [Fact]
    public void Any_message_is_summed_up_or_refused() => Gen.Select(Gen.UShort[0, 40], Gen.Byte.Array[0, 400]).Sample(static (type, payload) =>
    {
        foreach (ushort t in (ushort[])[type, SocketDiagnostics.GetTcpSockets])
        {
            var tally = new TcpTally();
            var listeners = new ListenerTally();
            bool longEnough = t == SocketDiagnostics.GetTcpSockets && payload.Length >= 72;
            NetlinkMessage message = Make(t, payload);
            bool simple = new ConnectionVisitor(ref tally, 0, info: false).Visit(in message);
            if (simple && !longEnough) return false;
            if (new ConnectionVisitor(ref tally, 0, info: true).Visit(in message) && !longEnough) return false;
            if (new ListenerVisitor(ref listeners).Visit(in message) != longEnough) return false;
            if (new TopVisitor(new TopSockets(3, listeners: false)).Visit(in message) != longEnough) return false;
        }
        return true;
    });

    [Fact]
    public void A_tcp_info_that_is_too_short_is_refused_and_one_that_is_longer_is_not()
    {
        var tally = new TcpTally();
        var visitor = new ConnectionVisitor(ref tally, 0, info: true);
        Assert.False(visitor.Visit(Message(1, 0, 0, Attribute(SocketDiagnostics.Information, new byte[191]))));
        Assert.True(visitor.Visit(Message(1, 0, 0, Attribute(SocketDiagnostics.Information, new byte[300]))));
    }

    [Fact]
    public void The_top_are_the_same_whatever_the_order_and_however_often_a_listing_begins_anew() =>
        Gen.Select(Gen.UInt[0, 50].Array[0, 60], Gen.UInt[0, 50].Array[0, 60], Gen.Int[1, 10]).Sample(static (first, second, count) =>
        {
            var here = new NetworkNamespace(1, false, new NamespaceFacts(null, null, null, null));
            var there = new NetworkNamespace(2, false, new NamespaceFacts(null, null, null, null));
            var top = new TopSockets(count, listeners: false);
            top.Begin();
            foreach (uint size in second) top.Show(new InetDiagnosticMessage { SendQueue = size }); // interrupted
            top.Begin();
            foreach (uint size in first) top.Show(new InetDiagnosticMessage { SendQueue = size });
            top.End(here);
            top.Begin();
            foreach (uint size in second) top.Show(new InetDiagnosticMessage { ReceiveQueue = size, SendQueue = size / 2 });
            top.End(there);
            uint[] expected = [.. first.Concat(second).Where(static s => s > 0).OrderDescending().Take(count)];
            return expected.SequenceEqual(top.Kept.Select(static k => Math.Max(k.Socket.ReceiveQueue, k.Socket.SendQueue)));
        });

    // TS-2: no IPv6 in the kernel, so no sockstat6.
    [Fact]
    public async Task Without_sockstat6_counters_still_prove_that_there_is_nothing()
    {
        using var proc = new FakeProc();
        proc.AddProcess(71, 4026532001);
        proc.Write("71/net/sockstat", "sockets: used 3\nTCP: inuse 0 orphan 0 tw 0 alloc 1 mem 0\n");
        proc.Write("71/net/snmp", Fixture.Bytes("6.18-idle/proc/net/snmp"));
        var procfs = new ProcfsOptions { HostProc = proc.Root };
        procfs.NamespaceDirectories.Clear();
        IOptions<ProcfsOptions> options = Options.Create(procfs);
        using var source = new ProcNamespaceSource(options);
        using var net = new ProcNet(source, options);
        using var sockets = new NetlinkSockets(source);
        await using var probe = new TcpSummaryProbe(sockets, net);
        await probe.StartAsync();
        SampleBatch<TcpSummaryRecord> batch = probe.Sample();
        Assert.False(batch.Skips.Any);
        TcpSummaryRecord record = batch.Rows[0].Value;
        Assert.Equal((0ul, 0ul, 0ul, 0ul), (record.Established.Value, record.Listen.Value, record.TimeWait.Value, record.ReceiveQueue.Value));
        Assert.Equal(TimeSpan.Zero, record.Age);
    }

    [Fact]
    public void Every_field_has_a_metric_that_reads_it()
    {
        var read = new HashSet<string>();
        foreach (System.Reflection.FieldInfo field in typeof(TcpSummaryRecord).GetFields(System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.Instance))
        {
            if (field.FieldType != typeof(Reading)) continue;
            object boxed = default(TcpSummaryRecord);
            field.SetValue(boxed, new Reading(7));
            var record = (TcpSummaryRecord)boxed;
            string[] showing = [.. TcpSummaryRecord.Metrics.Where(m => m.Read?.Invoke(in record).Kind is not (null or MetricValueKind.Absent)).Select(static m => m.Name)];
            Assert.True(showing.Length == 1, $"{field.Name} is read by [{string.Join(", ", showing)}].");
            Assert.True(read.Add(showing[0]), $"{showing[0]} reads two fields.");
        }
        Assert.Equal(["kubeskoop.tcpsummary.age", "kubeskoop.tcpsummary.round_trip_time"], TcpSummaryRecord.Metrics.Select(static m => m.Name).Except(read));
    }

    [Fact]
    public void Upstreams_names_are_all_there_and_only_for_namespaces()
    {
        Assert.Equal(
            ["tcpestablishedconn", "tcpsynsentconn", "tcpsynrecvconn", "tcptimewaitconn", "tcpclosewaitconn", "tcprxqueue", "tcptxqueue"],
            TcpSummaryRecord.Metrics.Upstream.Select(static m => m.UpstreamName!["kubeskoop_tcpsummary_".Length..]));
        Assert.True(TcpSummaryRecord.Metrics.UpstreamRows!(new TcpSummaryRecord { Established = 0 }));
        Assert.False(TcpSummaryRecord.Metrics.UpstreamRows!(new TcpSummaryRecord { CongestionControlled = 3 }));
        Assert.Equal(9ul, TcpSummaryRecord.Metrics.Upstream[2].ReadUpstream!(new TcpSummaryRecord { SynReceived = 4, NewSynReceived = 5 }).UInt64); // as /proc counts
    }

    [Fact]
    public async Task Settings_are_checked_and_do_not_change_under_a_running_probe()
    {
        using var source = new ProcNamespaceSource();
        using var net = new ProcNet(source);
        using var sockets = new NetlinkSockets(source);
        await using var probe = new TcpSummaryProbe(sockets, net);
        var wrong = new TcpSummaryOptions { Budget = TimeSpan.FromMinutes(1), MaxAge = TimeSpan.Zero, QueueThreshold = -5 };
        string message = Assert.Throws<ArgumentException>(() => probe.Configure(wrong)).Message;
        foreach (string key in (string[])["Budget", "MaxAge", "QueueThreshold"]) Assert.Contains($"KubeSkoop:Probes:tcpsummary:{key} is ", message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => probe.Configure(new FdOptions()));
        probe.Configure(new TcpSummaryOptions { Info = true });
        await probe.StartAsync();
        Assert.Throws<InvalidOperationException>(() => probe.Configure(new TcpSummaryOptions()));
        Assert.Equal(typeof(TcpSummaryOptions).GetProperties().Select(static p => p.Name).Order(), TcpSummaryProbe.About.Options.Select(static o => o.Name).Order());
    }

    private static int[] CongestionOf(ref TcpTally tally) =>
        [.. MemoryMarshal.CreateReadOnlySpan(ref tally.Congestion[0], TcpTally.CongestionCounts.Most).ToArray().Select(static c => (int)c.Connections).Where(static c => c > 0)];

    // The last message says that the dump is over.
    private static void Visit<TVisitor>(string file, ref TVisitor visitor)
        where TVisitor : struct, INetlinkVisitor, allows ref struct
    {
        visitor.Begin();
        var messages = new NetlinkMessages(Fixture.Bytes("6.18-tcpsummary/netlink/" + file));
        while (messages.MoveNext())
            if (messages.Current.Type != NetlinkMessageType.Done) Assert.True(visitor.Visit(messages.Current));
        Assert.Equal(NetlinkFault.None, messages.Fault);
    }

    private static byte[] Info(uint rtt, uint retransmits, ulong busy, ulong receiver, ulong sendBuffer)
    {
        byte[] info = [.. Enumerable.Repeat((byte)0xee, 192)];
        MemoryMarshal.Write(info.AsSpan(68), rtt);
        MemoryMarshal.Write(info.AsSpan(100), retransmits);
        MemoryMarshal.Write(info.AsSpan(168), busy);
        MemoryMarshal.Write(info.AsSpan(176), receiver);
        MemoryMarshal.Write(info.AsSpan(184), sendBuffer);
        return info;
    }

    private static byte[] Attribute(ushort type, byte[] value)
    {
        byte[] bytes = new byte[4 + ((value.Length + 3) & ~3)];
        MemoryMarshal.Write(bytes, (ushort)(4 + value.Length));
        MemoryMarshal.Write(bytes.AsSpan(2), type);
        value.CopyTo(bytes.AsSpan(4));
        return bytes;
    }

    private static NetlinkMessage Message(byte state, uint receive, uint send, params byte[][] attributes)
    {
        byte[] payload = [.. new byte[72], .. attributes.SelectMany(static a => a)];
        payload[0] = 2;
        payload[1] = state;
        MemoryMarshal.Write(payload.AsSpan(56), receive);
        MemoryMarshal.Write(payload.AsSpan(60), send);
        return Make(SocketDiagnostics.GetTcpSockets, payload);
    }

    private static NetlinkMessage Make(ushort type, ReadOnlySpan<byte> payload)
    {
        var messages = new NetlinkMessages(FakeNetlink.Message(type, NetlinkFlags.Multipart, 1, 2, payload));
        Assert.True(messages.MoveNext());
        return messages.Current;
    }
}
