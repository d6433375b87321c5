using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.TcpSummary;

/// <summary>Sockets made in states and with queues of the test's choice, counted exactly and held against <c>ss</c>.</summary>
public sealed class TcpSummaryLiveTests
{
    // TS-3: every state, not 5 of 11. Of CLOSE the kernel lists none.
    [LiveTheory(Needs.NetNs | Needs.Ipv6, "ss", "nft")]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public async Task Thousands_of_connections_are_counted_by_state(string loopback)
    {
        IPAddress address = IPAddress.Parse(loopback);
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket listener = await sockets.ListenAsync(address, 8000);
        Socket mute = await sockets.ListenAsync(address, 8001);

        const int Established = 600, TimeWait = 40, HalfClosed = 70, Closed = 50, Unanswered = 200, Handshakes = 33;
        await sockets.ConnectAsync(listener, Established);
        foreach (var (client, server) in await sockets.ConnectAsync(listener, TimeWait)) sockets.CloseFirst(client, server);
        // Clients close, servers do not: once the client keeps its socket, once the kernel keeps what is left.
        foreach (var (client, _) in await sockets.ConnectAsync(listener, HalfClosed)) client.Shutdown(SocketShutdown.Send);
        foreach (var (client, _) in await sockets.ConnectAsync(listener, Closed)) sockets.Close(client);
        await Eventually.TrueAsync(async () => (await ns.SsAsync("-tan", "state", "fin-wait-2")).Length == HalfClosed + Closed, "the clients to hear of it");
        await sockets.DropAsync("tcp dport 8002");
        await sockets.BeginConnectAsync(new IPEndPoint(address, 8002), Unanswered);
        await sockets.DropAsync("tcp sport 8001"); // the second step of the handshake
        await sockets.BeginConnectAsync(mute.LocalEndPoint!, Handshakes);

        await using LiveSummary live = await LiveSummary.StartAsync(ns);
        (TcpSummaryRecord ours, SsSocket[] theirs) = await live.BesideSsAsync(ns);

        AssertEqual(theirs, ours);
        Assert.Equal(2 * Established, (int)ours.Established.Value);
        Assert.Equal(TimeWait, (int)ours.TimeWait.Value);
        Assert.Equal(HalfClosed + Closed, (int)ours.FinWait2.Value);
        Assert.Equal(HalfClosed + Closed, (int)ours.CloseWait.Value);
        Assert.Equal(Unanswered + Handshakes, (int)ours.SynSent.Value);
        Assert.Equal(Handshakes, (int)ours.NewSynReceived.Value);
        Assert.Equal(0, (int)ours.SynReceived.Value);
        Assert.Equal(2, (int)ours.Listen.Value);
        Assert.Equal(0, (int)(ours.FinWait1 + ours.LastAck + ours.Closing + ours.Close).Value);
    }

    [LiveFact(Needs.NetNs, "ss", "nft")]
    public async Task The_states_of_closing_are_counted()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket listener = await sockets.ListenAsync(IPAddress.Loopback, 8001);
        const int LastAck = 9, FinWait1 = 11, Closing = 5;
        var lastAck = await sockets.ConnectAsync(listener, LastAck);
        foreach (var (client, _) in lastAck) client.Shutdown(SocketShutdown.Send);
        await Eventually.TrueAsync(async () => (await ns.SsAsync("-tan", "state", "fin-wait-2")).Length == LastAck, "the clients to hear of it");
        var finWait1 = await sockets.ConnectAsync(listener, FinWait1);
        var closing = await sockets.ConnectAsync(listener, Closing);
        await sockets.DropAsync("tcp sport 8001"); // whatever servers say, also that they have heard
        foreach (var (_, server) in lastAck.Concat(finWait1).Concat(closing)) server.Shutdown(SocketShutdown.Send);
        foreach (var (client, _) in closing) client.Shutdown(SocketShutdown.Send); // this arrives: both have closed

        await using LiveSummary live = await LiveSummary.StartAsync(ns);
        (TcpSummaryRecord ours, SsSocket[] theirs) = await live.BesideSsAsync(ns);

        AssertEqual(theirs, ours);
        Assert.Equal(LastAck, (int)ours.LastAck.Value);
        Assert.Equal(LastAck, (int)ours.FinWait2.Value); // their other ends
        Assert.Equal(Closing, (int)ours.Closing.Value);
        Assert.Equal(FinWait1 + Closing, (int)ours.FinWait1.Value); // servers, and the clients of those in CLOSING
        Assert.Equal(FinWait1, (int)ours.Established.Value);        // the clients that have not heard
    }

    // TS-6: one stuck socket among thousands shows.
    [LiveFact(Needs.NetNs, "ss")]
    public async Task Unread_data_shows_as_total_as_largest_and_above_the_threshold()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket listener = await sockets.ListenAsync(IPAddress.Loopback, 8000);
        var pairs = await sockets.ConnectAsync(listener, 500);
        for (int i = 0; i < 10; i++) TcpSockets.SendUnread(pairs[i], 100 + i);
        TcpSockets.SendUnread(pairs[400], 20_000);

        await using LiveSummary live = await LiveSummary.StartAsync(new TcpSummaryOptions { QueueThreshold = 105 }, null, ns);
        await Eventually.EqualAsync(21_045, () => (int)live.Record(ns).ReceiveQueue.Value, "the receive queues");
        (TcpSummaryRecord ours, SsSocket[] theirs) = await live.BesideSsAsync(ns);

        AssertEqual(theirs, ours);
        Assert.Equal(20_000, (int)ours.LargestReceiveQueue.Value);
        Assert.Equal(5, (int)ours.ReceiveQueuesAbove.Value); // 106 to 109, and the large one
        Assert.Equal(0, (int)ours.SendQueue.Value);
        Assert.Equal(0, (int)ours.SendQueuesAbove.Value);
    }

    [LiveFact(Needs.NetNs, "ss")]
    public async Task What_a_process_cannot_get_rid_of_shows_in_its_send_queue()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket listener = await sockets.ListenAsync(IPAddress.Loopback, 8000);
        var (client, server) = (await sockets.ConnectAsync(listener, 1))[0];
        client.Blocking = false;
        long sent = 0;
        byte[] data = new byte[64 * 1024];
        while (client.Poll(200_000, SelectMode.SelectWrite)) sent += client.Send(data); // until nothing moves any more

        await using LiveSummary live = await LiveSummary.StartAsync(ns);
        (TcpSummaryRecord ours, SsSocket[] theirs) = await live.BesideSsAsync(ns);

        AssertEqual(theirs, ours);
        Assert.Equal(sent, (long)(ours.SendQueue + ours.ReceiveQueue).Value); // what one end holds back and the other does not read is all there is
        Assert.Equal(ours.SendQueue, ours.LargestSendQueue);
        Assert.Equal(1, (int)ours.SendQueuesAbove.Value);
        GC.KeepAlive(server);
    }

    // TS-4: the accept queues and their limits.
    [LiveFact(Needs.NetNs, "ss")]
    public async Task A_full_accept_queue_shows_beside_its_limit_and_its_listener_is_named_on_request()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket roomy = await sockets.ListenAsync(IPAddress.Loopback, 8000, backlog: 100);
        Socket full = await sockets.ListenAsync(IPAddress.Parse("127.0.0.9"), 8009, backlog: 8);
        await sockets.ConnectUnacceptedAsync(roomy, 20);
        await sockets.ConnectUnacceptedAsync(full, 9); // the kernel takes one more than the backlog

        await using LiveSummary live = await LiveSummary.StartAsync(ns);
        (TcpSummaryRecord ours, SsSocket[] theirs) = await live.BesideSsAsync(ns);
        AssertEqual(theirs, ours);
        Assert.Equal((29, 108), ((int)ours.AcceptQueue.Value, (int)ours.AcceptQueueLimit.Value));
        Assert.Equal((9, 8), ((int)ours.FullestAcceptQueue.Value, (int)ours.FullestAcceptQueueLimit.Value));
        Assert.Equal("127.0.0.9:8009", ours.FullestListener.ToString());
        Assert.Equal(58, (int)ours.Established.Value); // an unaccepted connection is established at both ends
        Assert.DoesNotContain(live.Rows(static _ => true), static r => !r.Subject.Attributes.IsEmpty);

        await using LiveSummary naming = await LiveSummary.StartAsync(new TcpSummaryOptions { NameListeners = true }, null, ns);
        Assert.False(naming.Record(ns).FullestAcceptQueue.HasValue); // it is in the row that names it
        SampleRow<TcpSummaryRecord> named = Assert.Single(naming.Rows(static r => !r.Subject.Attributes.IsEmpty));
        Assert.Equal([new("network.local.address", "127.0.0.9"), new("network.local.port", "8009")], named.Subject.Attributes.ToArray());
        Assert.Equal((9, 8), ((int)named.Value.FullestAcceptQueue.Value, (int)named.Value.FullestAcceptQueueLimit.Value));
    }

    // TS-2: without IPv6, IPv4 is counted as ever.
    [LiveFact(Needs.NetNs, "ss")]
    public async Task Without_IPv6_the_namespace_keeps_its_row()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.ExecuteAsync("sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1");
        using var sockets = new TcpSockets(ns);
        await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 25);

        await using LiveSummary live = await LiveSummary.StartAsync(ns);
        (TcpSummaryRecord ours, SsSocket[] theirs) = await live.BesideSsAsync(ns);

        AssertEqual(theirs, ours);
        Assert.Equal(50, (int)ours.Established.Value);
        Assert.False(live.Skips.Any);
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "ss")]
    public async Task Both_families_and_IPv4_in_IPv6_sockets_are_one_row()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 10);
        await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.IPv6Loopback, 8000), 20);
        Socket dual = await sockets.ListenDualAsync(8001);
        await sockets.ConnectMappedAsync(dual, 8001, 5);

        await using LiveSummary live = await LiveSummary.StartAsync(ns);
        (TcpSummaryRecord ours, SsSocket[] theirs) = await live.BesideSsAsync(ns);

        AssertEqual(theirs, ours);
        Assert.Equal(70, (int)ours.Established.Value);
        Assert.Equal(3, (int)ours.Listen.Value);
    }

    // TS-5: round-trip times, retransmits, limited times, congestion control.
    [LiveFact(Needs.NetNs, "ss", "nft")]
    public async Task Info_adds_round_trip_times_retransmits_and_congestion_control()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket listener = await sockets.ListenAsync(IPAddress.Loopback, 8000);
        var pairs = await sockets.ConnectAsync(listener, 50);
        foreach (var (client, _) in pairs.Take(20)) TcpSockets.SetCongestionControl(client, "reno");
        await sockets.DropAsync("tcp dport 8000");
        TcpSockets.SendUnread(pairs[0], 1000);
        await Eventually.TrueAsync(async () => await RetransmitsAsync(ns) >= 3, "retransmissions");
        // Acknowledged at last, so that no further ones come while we look.
        await sockets.PassAsync();
        await Eventually.TrueAsync(async () => (await SsSocket.AllAsync(ns)).All(static s => s.State == "LISTEN" || s.SendQueue == 0), "the data to be acknowledged");

        var clock = new Microsoft.Extensions.Time.Testing.FakeTimeProvider();
        await using LiveSummary live = await LiveSummary.StartAsync(new TcpSummaryOptions { Info = true }, clock, ns);
        TcpSummaryRecord ours = live.Record(ns);

        Assert.Equal(await RetransmitsAsync(ns), (long)ours.Retransmits.Value);
        Assert.Equal(100ul, ours.RoundTripTime.Count);
        double[] theirs = await RoundTripTimesAsync(ns);
        Assert.Equal(100, theirs.Length);
        Assert.InRange(ours.RoundTripTime.Sum, theirs.Sum() * 1000 - 100, theirs.Sum() * 1000 + 100); // ss rounds to microseconds
        for (int i = 0; i < Log2Histogram.BucketCount; i++)
            Assert.Equal(theirs.Count(t => Log2Histogram.BucketOf((ulong)Math.Round(t * 1000)) == i), (int)ours.RoundTripTime[i]);
        var congestion = live.Rows(static r => r.Value.CongestionControlled.HasValue).ToDictionary(
            static r => Assert.Single(r.Subject.Attributes.ToArray()).Value, static r => (int)r.Value.CongestionControlled.Value);
        Assert.Equal((await SsSocketInfoAsync(ns)).GroupBy(static w => w).ToDictionary(static g => g.Key, static g => g.Count()), congestion);
        Assert.Equal(20, congestion["reno"]);
        Assert.All(live.Rows(static r => !r.Subject.Attributes.IsEmpty), static r => Assert.True(r.Value.RoundTripTime.IsAbsent && !r.Value.Established.HasValue));

        // Each listing observes each connection once more.
        clock.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(200ul, live.Record(ns).RoundTripTime.Count);
    }

    [LiveFact(Needs.Netem, "ss", "tc")]
    public async Task Round_trips_over_a_slow_network_take_as_long_as_netem_makes_them()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await left.ExecuteAsync("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "40ms");
            await right.ExecuteAsync("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "30ms");
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 8000));
            var open = new List<Socket>();
            for (int i = 0; i < 5; i++)
            {
                Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
                Socket server = listener.Accept();
                for (int round = 0; round < 3; round++)
                {
                    client.Send([1]);
                    Assert.Equal(1, server.Receive(new byte[1]));
                    server.Send([1]);
                    Assert.Equal(1, client.Receive(new byte[1]));
                }
                open.AddRange([client, server]);
            }
            await using LiveSummary live = await LiveSummary.StartAsync(new TcpSummaryOptions { Info = true }, null, left);
            Log2Histogram ours = live.Record(left).RoundTripTime;
            double[] theirs = await RoundTripTimesAsync(left);
            Assert.Equal((5ul, 5), (ours.Count, theirs.Length));
            Assert.InRange(ours.Sum, theirs.Sum() * 1000 - 10, theirs.Sum() * 1000 + 10); // ss rounds to microseconds
            Assert.All(theirs, static milliseconds => Assert.InRange(milliseconds, 70, 140));
            Assert.Equal(5ul, ours[Log2Histogram.BucketOf(70_000)] + ours[Log2Histogram.BucketOf(140_000)]);
            foreach (Socket socket in open) socket.Dispose();
        }
    }

    [LiveFact(Needs.NetNs, "ss")]
    public async Task A_closed_window_shows_as_time_limited_by_the_receiver()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        var (client, _) = (await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 1))[0];
        client.Blocking = false;
        while (client.Poll(200_000, SelectMode.SelectWrite)) client.Send(new byte[64 * 1024]);

        await using LiveSummary live = await LiveSummary.StartAsync(new TcpSummaryOptions { Info = true }, null, ns);
        long before = await LimitedAsync();
        TcpSummaryRecord ours = live.Record(ns);
        long after = await LimitedAsync();

        Assert.True(before > 0);
        Assert.InRange((long)ours.ReceiverLimited.Value / 1000, before, after + 1);
        Assert.True(ours.CongestionLimited.HasValue && ours.SendBufferLimited.HasValue);

        // rwnd_limited:204ms(97.6%)
        async Task<long> LimitedAsync() => Numbers(await ns.SsAsync("-tinO"), "rwnd_limited:").Select(static t => long.Parse(t.Split("ms")[0], System.Globalization.CultureInfo.InvariantCulture)).Sum();
    }

    [LiveFact(Needs.NetNs)]
    public async Task Without_info_nothing_of_it_is_published()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 3);
        await using LiveSummary live = await LiveSummary.StartAsync(ns);
        TcpSummaryRecord ours = live.Record(ns);
        Assert.Equal(6, (int)ours.Established.Value);
        Assert.False(ours.Retransmits.HasValue || ours.ReceiverLimited.HasValue || ours.CongestionLimited.HasValue || ours.SendBufferLimited.HasValue);
        Assert.True(ours.RoundTripTime.IsAbsent);
        Assert.Equal(2, live.Rows(static _ => true).Count); // the namespace's row and the node's
    }

    [LiveFact(Needs.NetNs)]
    public async Task Without_the_right_to_enter_a_namespace_its_row_is_missing_with_a_reason()
    {
        await using TestNamespace empty = await TestNamespace.CreateAsync();
        await using TestNamespace busy = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(busy);
        await sockets.ListenAsync(IPAddress.Loopback, 8000);
        await using LiveSummary live = await LiveSummary.StartAsync(empty, busy);

        await Capabilities.RunWithoutAsync(() => live.Sample().Length, Capability.SysAdmin);

        Assert.Equal(1, live.Skips.Denied);
        Assert.Contains("CAP_SYS_ADMIN is missing", live.Skips.LastProblem, StringComparison.Ordinal);
        Assert.DoesNotContain(live.Rows(static _ => true), r => r.Namespace?.Inode == busy.Inode);
        Assert.Equal(0, (int)live.Last(empty).Established.Value); // where there is no socket, counters say so
        Assert.Equal(ProbeState.Running, live.Probe.Status.State);
    }

    [LiveFact(Needs.NetNs)]
    public async Task Without_a_container_it_starts_by_itself()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 7);
        await using TcpSummaryProbe probe = await TcpSummaryProbe.StartNewAsync(null, new TcpSummaryOptions { Budget = TimeSpan.FromSeconds(10), Info = true });
        SampleRow<TcpSummaryRecord>[] rows = [.. probe.Sample().Rows.ToArray().Where(r => r.Namespace?.Inode == ns.Inode && r.Subject.Attributes.IsEmpty)];
        Assert.Equal(14, (int)Assert.Single(rows).Value.Established.Value);
        Assert.Equal(14ul, rows[0].Value.RoundTripTime.Count);
        await probe.StopAsync();
        Assert.Throws<ProbeNotRunningException>(() => probe.Sample());
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_namespace_that_ends_is_no_error()
    {
        await using TestNamespace stays = await TestNamespace.CreateAsync();
        await using TestNamespace goes = await TestNamespace.CreateAsync();
        var sockets = new TcpSockets(goes);
        await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 3);
        await using LiveSummary live = await LiveSummary.StartAsync(stays, goes);
        Assert.Equal(6, (int)live.Record(goes).Established.Value);

        sockets.Dispose();
        await goes.DisposeAsync();
        live.Namespaces.Refresh();
        live.Sample();

        Assert.DoesNotContain(live.Rows(static _ => true), r => r.Namespace?.Inode == goes.Inode);
        Assert.Equal(0, (int)live.Last(stays).Established.Value);
        Assert.Equal(0, live.Skips.Denied + live.Skips.Malformed);
    }

    internal static void AssertEqual(SsSocket[] theirs, in TcpSummaryRecord ours)
    {
        foreach (var (state, count) in new (string, Reading)[]
        {
            ("ESTAB", ours.Established), ("SYN-SENT", ours.SynSent), ("SYN-RECV", ours.AllSynReceived), ("FIN-WAIT-1", ours.FinWait1),
            ("FIN-WAIT-2", ours.FinWait2), ("TIME-WAIT", ours.TimeWait), ("UNCONN", ours.Close), ("CLOSE-WAIT", ours.CloseWait),
            ("LAST-ACK", ours.LastAck), ("LISTEN", ours.Listen), ("CLOSING", ours.Closing),
        })
            Assert.True((ulong)theirs.Count(s => s.State == state) == count.Value, $"{state}: {count}; ss has {theirs.Count(s => s.State == state)}.");
        SsSocket[] connections = [.. theirs.Where(static s => s.State != "LISTEN")];
        SsSocket[] listeners = [.. theirs.Where(static s => s.State == "LISTEN")];
        Assert.Equal(Sum(connections, static s => s.ReceiveQueue), ours.ReceiveQueue.Value);
        Assert.Equal(Sum(connections, static s => s.SendQueue), ours.SendQueue.Value);
        Assert.Equal(connections.Max(static s => s.ReceiveQueue), ours.LargestReceiveQueue.Value);
        Assert.Equal(connections.Max(static s => s.SendQueue), ours.LargestSendQueue.Value);
        Assert.Equal(Sum(listeners, static s => s.ReceiveQueue), ours.AcceptQueue.Value);
        Assert.Equal(Sum(listeners, static s => s.SendQueue), ours.AcceptQueueLimit.Value);
    }

    private static ulong Sum(SsSocket[] sockets, Func<SsSocket, ulong> queue) => sockets.Aggregate(0ul, (sum, s) => sum + queue(s));

    // retrans:0/3 is now and in all.
    private static async Task<long> RetransmitsAsync(TestNamespace ns) =>
        Numbers(await ns.SsAsync("-tinO"), "retrans:").Select(static t => long.Parse(t.Split('/')[1], System.Globalization.CultureInfo.InvariantCulture)).Sum();

    // rtt:0.05/0.025 is milliseconds, and their deviation.
    private static async Task<double[]> RoundTripTimesAsync(TestNamespace ns) =>
        [.. Numbers(await ns.SsAsync("-tinO"), "rtt:").Select(static t => double.Parse(t.Split('/')[0], System.Globalization.CultureInfo.InvariantCulture))];

    private static async Task<IEnumerable<string>> SsSocketInfoAsync(TestNamespace ns) =>
        (await ns.SsAsync("-tinO")).Select(static l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries)).Select(static w => w.First(static x => x is "cubic" or "reno" or "bbr" or "dctcp"));

    private static IEnumerable<string> Numbers(string[] lines, string key) =>
        lines.SelectMany(static l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries)).Where(w => w.StartsWith(key, StringComparison.Ordinal)).Select(w => w[key.Length..]);
}
