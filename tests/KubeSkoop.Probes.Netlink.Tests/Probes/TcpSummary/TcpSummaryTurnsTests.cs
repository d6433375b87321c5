using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.TcpSummary;

/// <summary>Which namespaces are listed when, and how old their numbers are said to be. TS-1: not every socket at every sample.</summary>
public sealed class TcpSummaryTurnsTests
{
    [LiveFact(Needs.NetNs)]
    public async Task Namespaces_without_connections_are_never_listed()
    {
        await using TestNamespace empty = await TestNamespace.CreateAsync();
        await using TestNamespace listening = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(listening);
        await sockets.ListenAsync(IPAddress.Loopback, 8000);
        await sockets.ListenAsync(IPAddress.Loopback, 8001);
        var clock = new FakeTimeProvider();
        await using LiveSummary live = await LiveSummary.StartAsync(null, clock, empty, listening);
        long sent = 0;
        for (int i = 0; i < 5; i++)
        {
            live.Sample();
            clock.Advance(TimeSpan.FromSeconds(1));
            if (i == 0) sent = live.Settings.Counts.Requests; // the start, and one look for listeners
        }
        Assert.Equal(0, (int)live.LastNode().Listings.Value);
        Assert.Equal(sent, live.Settings.Counts.Requests);
        Assert.Equal(TimeSpan.Zero, live.Last(empty).Age);
        Assert.Equal(TimeSpan.Zero, live.Last(listening).Age);
        Assert.Equal((0, 2), ((int)live.Last(listening).Established.Value, (int)live.Last(listening).Listen.Value));
        Assert.Equal((0, 0), ((int)live.Last(empty).Established.Value, (int)live.Last(empty).Listen.Value));
    }

    [LiveFact(Needs.NetNs)]
    public async Task Idle_connections_are_listed_once_and_again_when_their_numbers_are_too_old()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket listener = await sockets.ListenAsync(IPAddress.Loopback, 8000);
        var pairs = await sockets.ConnectAsync(listener, 10);
        TcpSockets.SendUnread(pairs[0], 1000);
        var clock = new FakeTimeProvider();
        await using LiveSummary live = await LiveSummary.StartAsync(new TcpSummaryOptions { MaxAge = TimeSpan.FromSeconds(30) }, clock, ns);
        await Eventually.EqualAsync(1000, () => (int)live.Record(ns).ReceiveQueue.Value, "the receive queue");
        await QuietAsync(live, ns);
        ulong listings = live.LastNode().Listings.Value;

        // Reading a little moves no counter: no segment follows.
        pairs[0].Server.Receive(new byte[10]);
        clock.Advance(TimeSpan.FromSeconds(29));
        Assert.Equal(1000, (int)live.Record(ns).ReceiveQueue.Value);
        Assert.Equal(TimeSpan.FromSeconds(29), live.Last(ns).Age);
        Assert.Equal(listings, live.LastNode().Listings.Value);
        clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(990, (int)live.Record(ns).ReceiveQueue.Value);
        Assert.Equal(TimeSpan.Zero, live.Last(ns).Age);
        Assert.Equal(listings + 1, live.LastNode().Listings.Value);

        // One segment, which a device has seen, is enough to be looked at in the next sample.
        clock.Advance(TimeSpan.FromSeconds(1));
        TcpSockets.SendUnread(pairs[1], 5);
        await Eventually.EqualAsync(995, () => (int)live.Record(ns).ReceiveQueue.Value, "the receive queue");
    }

    [LiveFact(Needs.NetNs)]
    public async Task The_first_connections_of_a_namespace_that_was_empty_are_seen_at_once()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveSummary live = await LiveSummary.StartAsync(null, new FakeTimeProvider(), ns);
        live.Sample();
        live.Sample();
        using var sockets = new TcpSockets(ns);
        var pairs = await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 1);
        TcpSockets.SendUnread(pairs[0], 6000);
        await Eventually.EqualAsync(6000, () => pairs[0].Server.Available, "the bytes to arrive");

        TcpSummaryRecord record = live.Record(ns);
        Assert.Equal((1, 2, 6000, TimeSpan.Zero), ((int)record.Listen.Value, (int)record.Established.Value, (int)record.ReceiveQueue.Value, record.Age));
    }

    [LiveFact(Needs.NetNs, "nft", "ss")]
    public async Task Segments_that_a_rule_drops_before_any_device_sees_them_are_noticed()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        var pairs = await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 1);
        await using LiveSummary live = await LiveSummary.StartAsync(null, new FakeTimeProvider(), ns);
        await QuietAsync(live, ns);
        await ns.ExecuteAsync("nft", "add", "table", "inet", "kst");
        await ns.ExecuteAsync("nft", "add", "chain", "inet", "kst", "out", "{ type filter hook output priority 0; }");
        await ns.ExecuteAsync("nft", "add", "rule", "inet", "kst", "out", "tcp", "dport", "1-65535", "drop");
        pairs[0].Client.Send(new byte[50_000]);
        pairs[0].Client.Shutdown(SocketShutdown.Send);

        await Eventually.EqualAsync((1, 50_001), () => ((int)live.Record(ns).FinWait1.Value, (int)live.Last(ns).SendQueue.Value), "what was sent and what ends it to be waiting");
        Assert.Contains(await SsSocket.AllAsync(ns), static s => s is { State: "FIN-WAIT-1", SendQueue: 50_001 });
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_remainder_that_ends_by_a_reset_is_gone_at_once()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 8000));
        Socket client = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
        Socket server = listener.Accept();
        await using LiveSummary live = await LiveSummary.StartAsync(null, new FakeTimeProvider(), ns);
        client.Dispose();
        await Eventually.EqualAsync(1, () => (int)live.Record(ns).FinWait2.Value, "the closed side to wait for the other");
        server.LingerState = new LingerOption(true, 0);
        server.Dispose();

        await Eventually.EqualAsync((0, 0), () => ((int)live.Record(ns).FinWait2.Value, (int)live.Last(ns).TimeWait.Value), "nothing to be left");
    }

    [LiveFact(Needs.NetNs, "ss")]
    public async Task Connections_that_go_are_known_to_be_gone_without_a_listing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        var clock = new FakeTimeProvider();
        await using LiveSummary live = await LiveSummary.StartAsync(null, clock, ns);
        using (var sockets = new TcpSockets(ns))
        {
            await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 10);
            Assert.Equal(20, (int)live.Record(ns).Established.Value);
        }
        // A program that another test starts at this moment holds them, too, until it is one.
        await Eventually.TrueAsync(async () => (await SsSocket.AllAsync(ns)).Length == 0, "the sockets to be closed");
        ulong listings = live.LastNode().Listings.Value;
        clock.Advance(TimeSpan.FromSeconds(1));
        TcpSummaryRecord gone = live.Record(ns);
        Assert.Equal((0, 0, 0), ((int)gone.Established.Value, (int)gone.Listen.Value, (int)gone.TimeWait.Value));
        Assert.Equal(TimeSpan.Zero, gone.Age);
        Assert.Equal(listings, live.LastNode().Listings.Value);
    }

    [LiveFact(Needs.NetNs, "nft")]
    public async Task A_listener_that_comes_for_a_connection_hides_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket first = await sockets.ListenAsync(IPAddress.Loopback, 8000);
        await sockets.DropAsync("tcp dport 9999");
        await using LiveSummary live = await LiveSummary.StartAsync(null, new FakeTimeProvider(), ns);
        Assert.Equal((1, 0), Counts(live.Record(ns)));

        sockets.Close(first);
        await sockets.BeginConnectAsync(new IPEndPoint(IPAddress.Loopback, 9999), 1); // as many sockets in use as before
        Assert.Equal((0, 1), Counts(live.Record(ns)));

        static (int, int) Counts(TcpSummaryRecord r) => ((int)r.Listen.Value, (int)r.SynSent.Value);
    }

    [LiveFact(Needs.NetNs, "nft")]
    public async Task Handshakes_alone_show_once_their_answer_is_repeated()
    {
        var (left, right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            using var server = new TcpSockets(right);
            using var client = new TcpSockets(left);
            await server.ListenAsync(TestNamespace.RightIPv4, 8000);
            await client.DropAsync("tcp sport 8000");
            await using LiveSummary live = await LiveSummary.StartAsync(null, new FakeTimeProvider(), right);
            Assert.Equal(0, (int)live.Record(right).NewSynReceived.Value);
            await client.BeginConnectAsync(new IPEndPoint(TestNamespace.RightIPv4, 8000), 17);
            await Eventually.EqualAsync(17, () => (int)live.Record(right).NewSynReceived.Value, "the handshakes");
            TcpSummaryRecord record = live.Last(right);
            Assert.Equal((1, 0, 17), ((int)record.Listen.Value, (int)record.Established.Value, (int)record.AllSynReceived.Value));
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task Remainders_alone_are_told_apart_by_one_listing_and_then_only_counted()
    {
        var (left, right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            using var server = new TcpSockets(right);
            using var client = new TcpSockets(left);
            Socket listener = await server.ListenAsync(TestNamespace.RightIPv4, 8000);
            await client.ConnectToAsync(listener.LocalEndPoint!, 12);
            Socket[] accepted = server.Accept(listener, 12);
            client.CloseAll();                                  // all in FIN_WAIT2, their sockets gone
            foreach (Socket socket in accepted.Take(5)) server.Close(socket); // five in TIME_WAIT
            await Eventually.TrueAsync(async () => (await left.SsAsync("-tan", "state", "time-wait")).Length == 5, "TIME_WAIT");
            // The others' FIN is acknowledged some milliseconds later: who has closed as well needs no acknowledgement of its own.
            await Eventually.TrueAsync(async () => (await left.SsAsync("-tan", "state", "fin-wait-2")).Length == 7, "FIN_WAIT2");

            var clock = new FakeTimeProvider();
            await using LiveSummary live = await LiveSummary.StartAsync(null, clock, left);
            TcpSummaryRecord record = live.Record(left);
            Assert.Equal((5, 7, 0), ((int)record.TimeWait.Value, (int)record.FinWait2.Value, (int)record.Established.Value));
            Assert.Equal(1, (int)live.LastNode().Listings.Value);
            clock.Advance(TimeSpan.FromSeconds(10));
            record = live.Record(left);
            Assert.Equal((5, 7), ((int)record.TimeWait.Value, (int)record.FinWait2.Value));
            Assert.Equal(TimeSpan.FromSeconds(10), record.Age);
            Assert.Equal(1, (int)live.LastNode().Listings.Value);

            foreach (Socket socket in accepted.Skip(5)) server.Close(socket);
            await Eventually.EqualAsync((12, 0), () => live.Record(left) is var r ? ((int)r.TimeWait.Value, (int)r.FinWait2.Value) : default, "all in TIME_WAIT");
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task The_budget_bounds_a_sample_and_the_oldest_comes_first()
    {
        const int Count = 6;
        TestNamespace[] namespaces = await Task.WhenAll(Enumerable.Range(0, Count).Select(static _ => TestNamespace.CreateAsync()));
        TcpSockets[] sockets = [.. namespaces.Select(static ns => new TcpSockets(ns))];
        try
        {
            foreach (TcpSockets each in sockets) await each.ConnectAsync(await each.ListenAsync(IPAddress.Loopback, 8000), 1);
            // Every listing takes 20 ms on this clock: two fit, and the third would not.
            var clock = new SteppingClock { Step = TimeSpan.FromMilliseconds(20) };
            var options = new TcpSummaryOptions { Budget = TimeSpan.FromMilliseconds(50), MaxAge = TimeSpan.FromSeconds(1) };
            await using LiveSummary live = await LiveSummary.StartAsync(options, clock, namespaces);

            // Nothing is known of those whose first turn is still to come: absent, not zero.
            live.Sample();
            int first = namespaces.Count(ns => live.Last(ns).Established.HasValue);
            Assert.InRange(first, 1, Count - 1);
            Assert.Equal(Count - first, (int)live.LastNode().Postponed.Value);
            Assert.All(namespaces, ns => Assert.Equal(live.Last(ns).Established.HasValue, live.Last(ns).Age.HasValue));
            Assert.All(namespaces, ns => Assert.Equal(1, (int)live.Last(ns).Listen.Value)); // listeners need no turn
            for (int i = 0; i < Count; i++) live.Sample();
            Assert.All(namespaces, ns => Assert.Equal(2, (int)live.Last(ns).Established.Value));

            // From now on all are always due, and costs are known.
            var turns = new List<int[]>();
            for (int i = 0; i < 9; i++)
            {
                clock.Advance(TimeSpan.FromSeconds(2));
                ulong before = live.LastNode().Listings.Value;
                live.Sample();
                int listed = (int)(live.LastNode().Listings.Value - before);
                Assert.Equal(2, listed);
                Assert.Equal(Count - listed, (int)live.LastNode().Postponed.Value);
                turns.Add([.. Enumerable.Range(0, Count).Where(n => live.Last(namespaces[n]).Age < TimeSpan.FromSeconds(1))]);
            }
            Assert.All(turns, static t => Assert.Equal(2, t.Length));
            // Everybody once in three samples, in the same order again and again.
            for (int i = 0; i < turns.Count; i += 3) Assert.Equal(Enumerable.Range(0, Count), turns.Skip(i).Take(3).SelectMany(static t => t).Order());
            for (int i = 3; i < turns.Count; i++) Assert.Equal(turns[i - 3], turns[i]);
            Assert.All(namespaces, ns => Assert.InRange(live.Last(ns).Age!.Value, TimeSpan.Zero, TimeSpan.FromSeconds(5)));
        }
        finally
        {
            foreach (TcpSockets each in sockets) each.Dispose();
            foreach (TestNamespace ns in namespaces) await ns.DisposeAsync();
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_listing_longer_than_the_budget_takes_place_all_the_same()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 4);
        var clock = new SteppingClock { Step = TimeSpan.FromMilliseconds(500) };
        await using LiveSummary live = await LiveSummary.StartAsync(new TcpSummaryOptions { Budget = TimeSpan.FromMilliseconds(10), MaxAge = TimeSpan.FromSeconds(1) }, clock, ns);
        for (ulong i = 1; i <= 3; i++)
        {
            Assert.Equal(8, (int)live.Record(ns).Established.Value);
            Assert.Equal(i, live.LastNode().Listings.Value);
            Assert.Equal(i * 500_000, live.LastNode().ListingTime.Value);
            clock.Advance(TimeSpan.FromSeconds(2));
        }
    }

    [LiveTheory(Needs.NetNs)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Listing_allocates_nothing(bool info)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using TestNamespace empty = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 1000);
        var clock = new SteppingClock();
        var options = new TcpSummaryOptions { MaxAge = TimeSpan.FromSeconds(1), Info = info, NameListeners = true };
        await using LiveSummary live = await LiveSummary.StartAsync(options, clock, ns, empty);
        int passes = 0;
        Pass();
        ulong before = live.LastNode().Listings.Value - 1;
        Check.Quiet(Pass);
        Assert.Equal((ulong)passes, live.LastNode().Listings.Value - before); // each pass was a listing
        Assert.Equal(2000, (int)live.Last(ns).Established.Value);

        void Pass()
        {
            passes++;
            clock.Advance(TimeSpan.FromSeconds(2));
            live.Sample();
        }
    }

    // Nothing is under way any more: a sample lists nothing.
    private static Task QuietAsync(LiveSummary live, TestNamespace ns) => Eventually.TrueAsync(
        () =>
        {
            live.Record(ns);
            ulong before = live.LastNode().Listings.Value;
            live.Record(ns);
            return live.LastNode().Listings.Value == before;
        },
        "the namespace to be quiet");
}
