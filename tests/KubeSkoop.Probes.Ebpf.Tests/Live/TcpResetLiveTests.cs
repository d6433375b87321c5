using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>tcpreset: resets of each kind by real sockets, beside the kernel's own count of resets sent.</summary>
public sealed class TcpResetLiveTests
{
    [LiveTheory(Needs.NetNs | Needs.Bpf, "nstat")]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public async Task A_closed_port_is_a_reset_without_a_socket(string loopback)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
        using var heard = new Heard<TcpResetEvent>(probe, ns);
        var to = new IPEndPoint(IPAddress.Parse(loopback), 4711);

        await ns.RefusedConnectionsAsync(3, to);

        IReadOnlyList<TcpResetEvent> events = await heard.ExactlyAsync(6);
        TcpResetEvent[] sent = [.. events.Where(static e => e.Kind == TcpResetKind.NoSocket)], received = [.. events.Where(static e => e.Kind == TcpResetKind.Received)];
        Assert.Equal((3, 3), (sent.Length, received.Length));
        Assert.All(sent, e => Assert.Equal((to, Reason("NO_SOCKET"), TcpState.None), (Of(e.Flow!.Value.Source), e.Reason, e.State)));
        Assert.All(received, e => Assert.Equal((to, null, TcpState.SynSent), (Of(e.Flow!.Value.Destination), e.Reason, e.State)));
        // Both are the same connection, seen from its two ends.
        Assert.Equal(sent.Select(static e => e.Flow!.Value.Destination.Port).Order(), received.Select(static e => e.Flow!.Value.Source.Port).Order());
        Assert.All(events, e => Assert.Equal((ns.Inode, ns.Name, "tcpreset", (byte)6, (int?)null), (e.Namespace!.Inode, e.Namespace.Name, e.Probe, e.Flow!.Value.Protocol, e.ProcessId)));
        Assert.All(events, static e => Assert.InRange(TimeProvider.System.GetUtcNow() - e.Timestamp, TimeSpan.Zero, TimeSpan.FromSeconds(30)));
        TcpResetRecord record = bench.Record(probe, ns);
        Assert.Equal((3ul, 0ul, 0ul, 3ul), (record.SentWithoutSocket.Value, record.SentOnSocket.Value, record.SentActively.Value, record.Received.Value));
        Assert.Equal(3ul, (await ns.NstatAsync())["TcpOutRsts"]);
    }

    [LiveTheory(Needs.NetNs | Needs.Bpf, "nstat")]
    [InlineData("127.0.0.1", false)]
    [InlineData("::1", false)]
    [InlineData("127.0.0.1", true)]
    [InlineData("::1", true)]
    public async Task Unread_data_and_linger_zero_are_active_resets_of_a_process(string loopback, bool linger)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
        using var heard = new Heard<TcpResetEvent>(probe, ns);
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Parse(loopback), 0));
        var to = (IPEndPoint)listener.LocalEndPoint!;
        using Socket client = await ns.ConnectTcpAsync(to);
        Socket server = listener.Accept();
        if (linger)
        {
            server.LingerState = new LingerOption(true, 0);
        }
        else
        {
            client.Send(new byte[10]);
            await Eventually.EqualAsync(10, () => server.Available, "the bytes to arrive");
        }

        server.Dispose();

        IReadOnlyList<TcpResetEvent> events = await heard.ExactlyAsync(2);
        TcpResetEvent sent = events.Single(static e => e.Kind == TcpResetKind.Active), received = events.Single(static e => e.Kind == TcpResetKind.Received);
        Assert.Equal((to, (IPEndPoint)client.LocalEndPoint!, Environment.ProcessId), (Of(sent.Flow!.Value.Source), Of(sent.Flow.Value.Destination), sent.ProcessId));
        Assert.False(string.IsNullOrEmpty(sent.Command));
        Assert.Equal(Reason(linger ? "TCP_STATE" : "TCP_ABORT_ON_CLOSE"), sent.Reason);
        Assert.Equal((TcpState.Established, to), (received.State, Of(received.Flow!.Value.Destination)));
        TcpResetRecord record = bench.Record(probe, ns);
        Assert.Equal((0ul, 0ul, 1ul, 1ul), (record.SentWithoutSocket.Value, record.SentOnSocket.Value, record.SentActively.Value, record.Received.Value));
        Assert.Equal(1ul, (await ns.NstatAsync())["TcpOutRsts"]);
    }

    [LiveTheory(Needs.NetNs | Needs.Bpf, "nstat")]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public async Task A_segment_for_a_connection_that_was_closed_is_a_reset_on_its_socket(string loopback)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
        using var heard = new Heard<TcpResetEvent>(probe, ns);
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Parse(loopback), 0));
        Socket client = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
        var from = (IPEndPoint)client.LocalEndPoint!;
        using Socket server = listener.Accept();

        client.Dispose(); // closed in order; nobody is there to take what comes now
        Assert.Equal(0, server.Receive(new byte[1]));
        server.Send(new byte[1]);

        IReadOnlyList<TcpResetEvent> events = await heard.ExactlyAsync(2);
        TcpResetEvent sent = events.Single(static e => e.Kind == TcpResetKind.OnSocket), received = events.Single(static e => e.Kind == TcpResetKind.Received);
        // The socket is in TIME_WAIT by then, or the kernel closes it over this very segment.
        Assert.Contains(sent.State, (TcpState[])[TcpState.Close, TcpState.TimeWait]);
        Assert.Equal(from, Of(sent.Flow!.Value.Source));
        Assert.Equal((TcpState.CloseWait, from), (received.State, Of(received.Flow!.Value.Destination)));
        TcpResetRecord record = bench.Record(probe, ns);
        Assert.Equal((0ul, 1ul, 0ul, 1ul), (record.SentWithoutSocket.Value, record.SentOnSocket.Value, record.SentActively.Value, record.Received.Value));
        Assert.Equal(1ul, (await ns.NstatAsync())["TcpOutRsts"]);
    }

    [LiveTheory(Needs.NetNs | Needs.Bpf, "nft", "nstat")]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task A_peer_that_has_lost_its_state_resets_what_is_open_on_one_side_only(string address)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
            using Socket listener = await right.ListenAsync(new IPEndPoint(IPAddress.Parse(address), 0));
            var to = (IPEndPoint)listener.LocalEndPoint!;
            using Socket client = await left.ConnectTcpAsync(to);
            Socket server = listener.Accept();
            await DropAsync(right, "output");
            server.LingerState = new LingerOption(true, 0);
            server.Dispose(); // without a word that arrives
            listener.Dispose();
            await right.ExecuteAsync("nft", "delete", "table", "inet", "kst");
            using var sent = new Heard<TcpResetEvent>(probe, e => e.NetworkNamespaceInode == right.Inode && e.Kind != TcpResetKind.Active);
            using var received = new Heard<TcpResetEvent>(probe, left);
            client.Send(new byte[1]);

            TcpResetEvent there = Assert.Single(await sent.ExactlyAsync(1)), here = Assert.Single(await received.ExactlyAsync(1));
            Assert.Equal((TcpResetKind.NoSocket, to, (IPEndPoint)client.LocalEndPoint!, Reason("NO_SOCKET")), (there.Kind, Of(there.Flow!.Value.Source), Of(there.Flow.Value.Destination), there.Reason));
            Assert.Equal((TcpResetKind.Received, TcpState.Established, to), (here.Kind, here.State, Of(here.Flow!.Value.Destination)));
            Assert.Equal((1ul, 1ul), (bench.Record(probe, right).SentWithoutSocket.Value, bench.Record(probe, left).Received.Value));
        }
    }

    // The kernel counts such a reset where it comes, and shows it to nobody.
    [LiveTheory(Needs.NetNs | Needs.Bpf, "nft", "nstat")]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task A_reset_that_ends_a_handshake_is_told_by_the_side_that_sends_it(string address)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
            using var sent = new Heard<TcpResetEvent>(probe, left);
            using var received = new Heard<TcpResetEvent>(probe, right);
            var to = new IPEndPoint(IPAddress.Parse(address), 4711);
            using Socket listener = await right.ListenAsync(to);
            await DropAsync(left, "input");
            await left.RunAsync(() =>
            {
                using var socket = new Socket(to.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { Blocking = false };
                Assert.Throws<SocketException>(() => socket.Connect(to)); // and gone, before there is an answer
            });
            await left.ExecuteAsync("nft", "delete", "table", "inet", "kst"); // the answer comes once more after a second

            TcpResetEvent e = Assert.Single(await sent.ExactlyAsync(1));
            Assert.Equal((TcpResetKind.NoSocket, to), (e.Kind, Of(e.Flow!.Value.Destination)));
            await Eventually.TrueAsync(async () => await right.NstatAsync("TcpExtEmbryonicRsts") == 1, "the kernel to count it");
            await received.ExactlyAsync(0);
            Assert.Equal((1ul, 0ul), (bench.Record(probe, left).SentWithoutSocket.Value, bench.Record(probe, right).Received.Value));
        }
    }

    private static async Task DropAsync(TestNamespace ns, string hook)
    {
        await ns.ExecuteAsync("nft", "add", "table", "inet", "kst");
        await ns.ExecuteAsync("nft", "add", "chain", "inet", "kst", "c", $"{{ type filter hook {hook} priority 0; }}");
        await ns.ExecuteAsync("nft", "add", "rule", "inet", "kst", "c", "meta", "l4proto", "tcp", "drop");
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_dual_stack_socket_shows_IPv4()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
        using var heard = new Heard<TcpResetEvent>(probe, ns);
        using Socket listener = await ns.RunAsync(static () =>
        {
            var socket = new Socket(AddressFamily.InterNetworkV6, SocketType.Stream, ProtocolType.Tcp) { DualMode = true };
            socket.Bind(new IPEndPoint(IPAddress.IPv6Any, 0));
            socket.Listen();
            return socket;
        });
        int port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        using Socket client = await ns.ConnectTcpAsync(new IPEndPoint(IPAddress.Loopback, port));
        Socket server = listener.Accept();
        server.LingerState = new LingerOption(true, 0);
        server.Dispose();

        TcpResetEvent sent = (await heard.ExactlyAsync(2)).Single(static e => e.Kind == TcpResetKind.Active);
        Assert.Equal($"TCP 127.0.0.1:{port} -> {client.LocalEndPoint}", sent.Flow.ToString());
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Orderly_traffic_resets_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
        using var heard = new Heard<TcpResetEvent>(probe, ns);
        await ns.TcpConnectionsAsync(50);
        TcpResetRecord record = bench.Record(probe, ns);
        Assert.Equal((0ul, 0ul, 0ul, 0ul), (record.SentWithoutSocket.Value, record.SentOnSocket.Value, record.SentActively.Value, record.Received.Value));
        await heard.ExactlyAsync(0);
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Events_over_the_limit_are_counted_as_suppressed_and_what_they_are_about_is_counted_all_the_same()
    {
        const int Connections = 500;
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        // One event a second, and three at once, on each CPU.
        long began = System.Diagnostics.Stopwatch.GetTimestamp();
        TcpResetProbe probe = await bench.StartAsync(p => new TcpResetProbe(p, Microsoft.Extensions.Options.Options.Create(
            new TcpResetOptions { EventsPerSecond = 1, EventBurst = 3, NetworkNamespaces = { ns.Inode } })));
        using var heard = new Heard<TcpResetEvent>(probe, ns);
        await ns.RefusedConnectionsAsync(Connections, new IPEndPoint(IPAddress.Loopback, 4711));

        TcpResetRecord record = bench.Record(probe, ns);
        Assert.Equal(((ulong)Connections, (ulong)Connections), (record.SentWithoutSocket.Value, record.Received.Value));
        long suppressed = probe.ReadKernelStatistics().EventsSuppressed;
        await Eventually.TrueAsync(() => heard.Take().Count + suppressed == 2 * Connections, "every event to have come or be counted as suppressed");
        Assert.InRange(heard.Take().Count, 3, Environment.ProcessorCount * (3 + 1 + (int)System.Diagnostics.Stopwatch.GetElapsedTime(began).TotalSeconds));
        Assert.Equal(0, probe.ReadKernelStatistics().EventsLost);
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Namespaces_that_are_not_asked_for_are_left_out()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using TestNamespace other = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        TcpResetProbe probe = await bench.StartAsync(p => new TcpResetProbe(p, Microsoft.Extensions.Options.Options.Create(new TcpResetOptions { NetworkNamespaces = { other.Inode } })));
        await ns.RefusedConnectionsAsync(2, new IPEndPoint(IPAddress.Loopback, 4711));
        await other.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        Assert.Equal(1ul, bench.Record(probe, other).SentWithoutSocket.Value);
        Assert.False(HasRow(ns)); // two resets were sent there: 0 would say that there was none
        probe.Configure(new TcpResetOptions { NetworkNamespaces = { ns.Inode } });
        await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        await other.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        Assert.Equal(1ul, bench.Record(probe, ns).SentWithoutSocket.Value);
        Assert.False(HasRow(other)); // nor does a number that stands still say what happens now

        bool HasRow(TestNamespace of) => probe.Sample().Rows.ToArray().Any(r => r.Namespace?.Inode == of.Inode);
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task All_namespaces_to_look_at_can_be_exchanged_for_as_many_others_at_once()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
        foreach (uint first in (uint[])[1, 10_001, 20_001])
        {
            var options = new TcpResetOptions();
            for (uint inode = first; inode < first + 4095; inode++) options.NetworkNamespaces.Add(inode);
            options.NetworkNamespaces.Add(ns.Inode); // and one that stays
            probe.Configure(options);
            Assert.Same(options, probe.Options);
        }
        await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        Assert.Equal(1ul, bench.Record(probe, ns).SentWithoutSocket.Value);
    }

    private static IPEndPoint Of(Endpoint end) => new(end.Address, end.Port);

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task An_event_has_the_wall_clocks_time_also_after_that_was_set()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        var clock = new Wall();
        TcpResetProbe probe = await bench.StartAsync(p => new TcpResetProbe(p, null, clock));
        using var heard = new Heard<TcpResetEvent>(probe, ns);
        await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        DateTimeOffset before = (await heard.ExactlyAsync(2))[^1].Timestamp;
        Assert.InRange(clock.GetUtcNow() - before, TimeSpan.Zero, TimeSpan.FromSeconds(10));
        clock.Ahead = TimeSpan.FromDays(-400); // somebody sets it
        await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        DateTimeOffset after = (await heard.ExactlyAsync(4))[^1].Timestamp;
        Assert.InRange(clock.GetUtcNow() - after, TimeSpan.Zero, TimeSpan.FromSeconds(10));
        Assert.InRange(before - after, TimeSpan.FromDays(399), TimeSpan.FromDays(400));
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_pause_between_the_clocks_is_not_in_an_events_time()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        var clock = new Wall();
        TcpResetProbe probe = await bench.StartAsync(p => new TcpResetProbe(p, null, clock));
        using var heard = new Heard<TcpResetEvent>(probe, ns);
        clock.Pauses = 2;
        await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        DateTimeOffset done = clock.GetUtcNow() + TimeSpan.FromMilliseconds(5);
        Assert.All(await heard.ExactlyAsync(2), e => Assert.True(e.Timestamp <= done, $"{e.Timestamp:O} is after {done:O}"));
        Assert.Equal(0, clock.Pauses);
    }

    private sealed class Wall : TimeProvider
    {
        private int _pauses;

        internal TimeSpan Ahead { get; set; }

        internal int Pauses
        {
            get => Volatile.Read(ref _pauses);
            set => Volatile.Write(ref _pauses, value);
        }

        public override DateTimeOffset GetUtcNow()
        {
            // Only on the thread that reads the rings.
            if (Thread.CurrentThread.Name == "kubeskoop-rings" && Pauses > 0)
            {
                Pauses--;
                Thread.Sleep(500);
            }
            return base.GetUtcNow() + Ahead;
        }
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task A_namespace_with_the_number_of_one_that_has_ended_begins_with_nothing()
    {
        await using var bench = new EbpfBench();
        TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
        foreach (bool isSeen in (bool[])[true, false])
        {
            // Somebody else may get the number; then once more.
            for (int attempt = 1; ; attempt++)
            {
                uint before;
                await using (TestNamespace first = await TestNamespace.CreateAsync())
                {
                    before = first.Inode;
                    await first.RefusedConnectionsAsync(3, new IPEndPoint(IPAddress.Loopback, 4711));
                    if (isSeen) Assert.Equal(3ul, bench.Record(probe, first).SentWithoutSocket.Value);
                }
                await using TestNamespace? second = await WithNumberAsync(before);
                if (second is null)
                {
                    Assert.True(attempt < 5, "The number was not given out again.");
                    continue;
                }
                Assert.Equal(0ul, bench.Record(probe, second).SentWithoutSocket.Value);
                await second.RefusedConnectionsAsync(2, new IPEndPoint(IPAddress.Loopback, 4711));
                Assert.Equal(2ul, bench.Record(probe, second).SentWithoutSocket.Value);
                break;
            }
        }
    }

    // The kernel gives the lowest number that is free. A namespace ends in the background, so this one's may come to be free a little later; lower ones are kept meanwhile.
    private static async Task<TestNamespace?> WithNumberAsync(uint inode)
    {
        var others = new List<TestNamespace>();
        try
        {
            while (others.Count < 50)
            {
                TestNamespace ns = await TestNamespace.CreateAsync();
                if (ns.Inode == inode) return ns;
                others.Add(ns);
                await Task.Delay(100);
            }
        }
        finally
        {
            foreach (TestNamespace other in others) await other.DisposeAsync();
        }
        return null;
    }

    // Kernels before 6.10 give none.
    private static string? Reason(string name) => Machine.Knows("SK_RST_REASON_" + name) ? name : null;
}
