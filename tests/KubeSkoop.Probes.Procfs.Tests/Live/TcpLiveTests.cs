using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>tcp: known connections give exact numbers, and every column is what <c>nstat</c> says.</summary>
public sealed class TcpLiveTests
{
    [LiveFact(Needs.NetNs, "nstat")]
    public async Task Connections_are_counted_exactly()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("tcp");
        TcpRecord before = probes.Record<TcpRecord>("tcp", ns);
        Assert.Equal(0ul, before.ActiveOpens.Value);
        await ns.TcpConnectionsAsync(5);
        await ns.RefusedConnectionsAsync(3, new IPEndPoint(IPAddress.Loopback, 9));
        if (Machine.Lacks(Needs.Ipv6) is null) await ns.TcpConnectionsAsync(2, IPAddress.IPv6Loopback);
        ulong six = Machine.Lacks(Needs.Ipv6) is null ? 2ul : 0;

        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0));
        using Socket held = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
        using Socket accepted = await listener.AcceptAsync();

        (TcpRecord[] ours, var nstat) = await probes.BesideNstatAsync<TcpRecord>("tcp", ns);
        TcpRecord tcp = Assert.Single(ours);
        Assert.Equal(5 + 3 + six + 1, tcp.ActiveOpens.Value); // IPv4 and IPv6 in one row
        Assert.Equal(5 + six + 1, tcp.PassiveOpens.Value);
        Assert.Equal(3ul, tcp.FailedConnectionAttempts.Value);
        Assert.Equal(3ul, tcp.OutResets.Value);
        Assert.Equal(2ul, tcp.CurrentEstablished.Value); // both ends are here
        Assert.Equal(2, (await ns.SsAsync("-tn", "state", "established")).Length);
        Assert.InRange(LiveProbes.AssertEqual(tcp, TcpRecord.Columns, 0, nstat), 9, TcpRecord.Columns.SlotCount);
    }

    [LiveTheory(Needs.NetNs | Needs.Ipv6, "nstat")]
    [InlineData("10.99.0.1", "10.99.0.2")]
    [InlineData("fd99::1", "fd99::2")]
    public async Task Segments_into_a_black_hole_are_retransmitted_by_their_sender(string from, string to)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("tcp");
            using Socket listener = await right.ListenAsync(new IPEndPoint(IPAddress.Parse(to), 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = await listener.AcceptAsync();
            Assert.Equal(0ul, probes.Record<TcpRecord>("tcp", left).RetransmittedSegments.Value);

            await right.IpAsync("route", "add", "blackhole", from); // its acknowledgements go nowhere
            client.Send([1]);
            await Eventually.TrueAsync(() => probes.Record<TcpRecord>("tcp", left).RetransmittedSegments.Value >= 3, "three retransmissions");

            (TcpRecord[] tcp, var nstat) = await probes.BesideNstatAsync<TcpRecord>("tcp", left);
            Assert.Equal(nstat["TcpRetransSegs"], tcp[0].RetransmittedSegments.Value);
            LiveProbes.AssertEqual(tcp[0], TcpRecord.Columns, 0, nstat);
            Assert.Equal(0ul, probes.Record<TcpRecord>("tcp", right).RetransmittedSegments.Value); // whose trouble it is
        }
    }

    [LiveFact(Needs.NetNs, "nstat")]
    public async Task Resets_count_where_they_are_sent_and_where_they_arrive()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("tcp");
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 0));
            for (int i = 0; i < 3; i++)
            {
                Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
                using Socket server = await listener.AcceptAsync();
                client.LingerState = new LingerOption(true, 0);
                client.Dispose(); // RST instead of FIN
                SocketException reset = Assert.Throws<SocketException>(() => server.Receive(new byte[1]));
                Assert.Equal(SocketError.ConnectionReset, reset.SocketErrorCode);
            }

            (TcpRecord[] sender, var nstat) = await probes.BesideNstatAsync<TcpRecord>("tcp", left);
            Assert.Equal((3ul, 3ul), (sender[0].OutResets.Value, sender[0].EstablishedResets.Value));
            LiveProbes.AssertEqual(sender[0], TcpRecord.Columns, 0, nstat);
            (TcpRecord[] taker, nstat) = await probes.BesideNstatAsync<TcpRecord>("tcp", right);
            Assert.Equal((0ul, 3ul), (taker[0].OutResets.Value, taker[0].EstablishedResets.Value));
            LiveProbes.AssertEqual(taker[0], TcpRecord.Columns, 0, nstat);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "nstat")]
    public async Task Segments_with_a_wrong_checksum_are_errors()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("tcp");
            byte[] segment = new byte[20];
            (segment[1], segment[3], segment[12], segment[13]) = (9, 9, 5 << 4, 2); // port 9 to port 9, 20 bytes of header, SYN
            await left.SendFramesAsync("eth0",
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 6, segment),
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 6, segment),
                Frames.Packet(TestNamespace.LeftIPv6, TestNamespace.RightIPv6, 6, segment));
            await Eventually.EqualAsync(3ul, () => probes.Record<TcpRecord>("tcp", right).InSegments.Value, "the segments");

            (TcpRecord[] ours, var nstat) = await probes.BesideNstatAsync<TcpRecord>("tcp", right);
            Assert.Equal((3ul, 3ul, 0ul), (ours[0].InErrors.Value, ours[0].InChecksumErrors.Value, ours[0].OutResets.Value));
            LiveProbes.AssertEqual(ours[0], TcpRecord.Columns, 0, nstat);
        }
    }
}
