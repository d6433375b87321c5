using System.Net;
using System.Net.Sockets;
using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Ebpf.Sources;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.TcpSummary;

/// <summary>All sockets in one pass by BPF, beside sock_diag and <c>ss</c>.</summary>
public sealed class TcpSocketSourceLiveTests
{
    [LiveTheory(Needs.NetNs | Needs.BpfWalk | Needs.Ipv6, "ss", "nft")]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public async Task Every_state_and_queue_is_what_sock_diag_says(string loopback)
    {
        IPAddress address = IPAddress.Parse(loopback);
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket listener = await sockets.ListenAsync(address, 8000);
        Socket mute = await sockets.ListenAsync(address, 8001);
        Socket full = await sockets.ListenAsync(address, 8003, backlog: 8);
        await sockets.ListenDualAsync(8004);
        const int Established = 600, TimeWait = 40, HalfClosed = 70, Closed = 50, Unanswered = 200, Handshakes = 33, LastAck = 9, FinWait1 = 11, Closing = 5;
        var pairs = await sockets.ConnectAsync(listener, Established);
        for (int i = 0; i < 10; i++) TcpSockets.SendUnread(pairs[i], 100 + i);
        TcpSockets.SendUnread(pairs[400], 20_000);
        await sockets.ConnectUnacceptedAsync(full, 9);
        foreach (var (client, server) in await sockets.ConnectAsync(listener, TimeWait)) sockets.CloseFirst(client, server);
        foreach (var (client, _) in await sockets.ConnectAsync(listener, HalfClosed)) client.Shutdown(SocketShutdown.Send);
        foreach (var (client, _) in await sockets.ConnectAsync(listener, Closed)) sockets.Close(client);
        var lastAck = await sockets.ConnectAsync(mute, LastAck);
        foreach (var (client, _) in lastAck) client.Shutdown(SocketShutdown.Send);
        await Eventually.TrueAsync(async () => (await ns.SsAsync("-tan", "state", "fin-wait-2")).Length == HalfClosed + Closed + LastAck, "the clients to hear of it");
        var finWait1 = await sockets.ConnectAsync(mute, FinWait1);
        var closing = await sockets.ConnectAsync(mute, Closing);
        await sockets.DropAsync("tcp dport 8002");
        await sockets.BeginConnectAsync(new IPEndPoint(address, 8002), Unanswered);
        await sockets.DropAsync("tcp sport 8001");
        await sockets.BeginConnectAsync(mute.LocalEndPoint!, Handshakes);
        foreach (var (_, server) in lastAck.Concat(finWait1).Concat(closing)) server.Shutdown(SocketShutdown.Send);
        foreach (var (client, _) in closing) client.Shutdown(SocketShutdown.Send);

        var options = new TcpSummaryOptions { QueueThreshold = 105, NameListeners = true, MaxAge = TimeSpan.FromSeconds(1) };
        await using LiveSummary kernel = await LiveSummary.StartAsync(options, null, Bpf(), ns);
        await using LiveSummary listing = await LiveSummary.StartAsync(options, null, ns);
        Assert.Equal("bpf", kernel.Probe.Status.Source);
        Assert.Equal("sock_diag, procfs counters", listing.Probe.Status.Source);
        TcpSummaryRecord ours = default, theirs = default;
        SsSocket[] ss = [];
        await Eventually.TrueAsync(async () =>
        {
            theirs = listing.Record(ns);
            (ours, ss) = await kernel.BesideSsAsync(ns);
            return LiveSummary.Values(ours).SequenceEqual(LiveSummary.Values(theirs)); // sock_diag may have numbers of a moment ago
        }, "both to agree");

        TcpSummaryLiveTests.AssertEqual(ss, ours);
        Assert.Equal(TimeSpan.Zero, ours.Age);
        Assert.Equal(0ul, kernel.LastNode().Listings.Value);
        Assert.Equal(2 * Established + 18 + FinWait1, (int)ours.Established.Value);
        Assert.Equal(TimeWait, (int)ours.TimeWait.Value);
        Assert.Equal(HalfClosed + Closed + LastAck, (int)ours.FinWait2.Value);
        Assert.Equal(HalfClosed + Closed, (int)ours.CloseWait.Value);
        Assert.Equal(Unanswered + Handshakes, (int)ours.SynSent.Value);
        Assert.Equal(Handshakes, (int)ours.NewSynReceived.Value);
        Assert.Equal((LastAck, FinWait1 + Closing, Closing, 4), ((int)ours.LastAck.Value, (int)ours.FinWait1.Value, (int)ours.Closing.Value, (int)ours.Listen.Value));
        Assert.Equal((5, 20_000), ((int)ours.ReceiveQueuesAbove.Value, (int)ours.LargestReceiveQueue.Value));
        foreach (LiveSummary live in (LiveSummary[])[kernel, listing])
        {
            SampleRow<TcpSummaryRecord> named = Assert.Single(live.Rows(static r => !r.Subject.Attributes.IsEmpty));
            Assert.Equal([new("network.local.address", loopback), new("network.local.port", "8003")], named.Subject.Attributes.ToArray());
            Assert.Equal((9, 8), ((int)named.Value.FullestAcceptQueue.Value, (int)named.Value.FullestAcceptQueueLimit.Value));
        }
        Assert.Equal(listing.Probe.Top(3).Connections.Select(static c => c.ReceiveQueue), kernel.Probe.Top(3).Connections.Select(static c => c.ReceiveQueue));
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk, "nft")]
    public async Task Namespaces_without_connections_are_zero_and_a_handshake_shows_at_once()
    {
        await using TestNamespace empty = await TestNamespace.CreateAsync(), idle = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(idle);
        Socket mute = await sockets.ListenAsync(IPAddress.Loopback, 8001);
        await using LiveSummary kernel = await LiveSummary.StartAsync(null, null, Bpf(), empty, idle);
        Assert.Equal((0, 0, 0), Of(kernel.Record(empty)));
        Assert.Equal((1, 0, 0), Of(kernel.Record(idle)));
        await sockets.DropAsync("tcp sport 8001");
        await sockets.BeginConnectAsync(mute.LocalEndPoint!, 3);
        Assert.Equal((1, 3, 3), Of(kernel.Record(idle)));
        Assert.Equal((0, 0, 0), Of(kernel.Last(empty)));
        Assert.Equal(TimeSpan.Zero, kernel.Last(empty).Age);
        sockets.CloseAll();
        await Eventually.TrueAsync(() => Of(kernel.Record(idle)) is (0, 0, _), "the sockets to go");

        static (int Listen, int SynSent, int NewSynReceived) Of(TcpSummaryRecord record) =>
            ((int)record.Listen.Value, (int)record.SynSent.Value, (int)record.NewSynReceived.Value);
    }

    // A sysctl makes the children of a namespace get tables of their own (6.1); then every namespace is asked by sock_diag.
    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task Where_a_namespace_has_a_table_of_its_own_sock_diag_is_asked()
    {
        bool tables = File.Exists("/proc/sys/net/ipv4/tcp_child_ehash_entries"); // without, the child shares the one there is
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        if (tables) await ns.ExecuteAsync("sysctl", "-q", "-w", "net.ipv4.tcp_child_ehash_entries=128");
        using var sockets = new TcpSockets(ns);
        await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 5);
        await using LiveSummary kernel = await LiveSummary.StartAsync(null, null, Bpf(), ns);
        Assert.Equal("bpf", kernel.Probe.Status.Source);
        Assert.Equal(10, (int)kernel.Record(ns).Established.Value);
        ulong before = kernel.LastNode().Listings.Value;
        using (System.Diagnostics.Process child = ns.Start("unshare", "--net", "cat"))
        {
            await Eventually.TrueAsync(() => File.Exists($"/proc/{child.Id}/comm") && File.ReadAllText($"/proc/{child.Id}/comm").Trim() == "cat", "the child's namespace");
            await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8001), 1);
            Assert.Equal(12, (int)kernel.Record(ns).Established.Value);
            Assert.Equal(before + (tables ? 1ul : 0), kernel.LastNode().Listings.Value);
            child.Kill();
            await child.WaitForExitAsync();
        }
        await Eventually.TrueAsync(() =>
        {
            ulong listings = kernel.LastNode().Listings.Value;
            using Socket ignored = ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0)).GetAwaiter().GetResult();
            return (int)kernel.Record(ns).Listen.Value == 3 && kernel.LastNode().Listings.Value == listings && kernel.Last(ns).Age == TimeSpan.Zero;
        }, "the source to be used again");
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task When_there_are_more_namespaces_than_room_they_are_listed()
    {
        var made = new List<(TestNamespace Namespace, TcpSockets Sockets)>();
        try
        {
            for (int i = 0; i < 20; i++)
            {
                TestNamespace ns = await TestNamespace.CreateUnboundAsync();
                var sockets = new TcpSockets(ns);
                made.Add((ns, sockets));
                await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 1 + i);
            }
            await using LiveSummary kernel = await LiveSummary.StartAsync(new TcpSummaryOptions { Budget = TimeSpan.FromSeconds(5) }, null, Bpf(new EbpfOptions { MaxNamespaces = 16 }), [.. made.Select(static m => m.Namespace)]);
            for (int i = 0; i < made.Count; i++) Assert.Equal(2 * (1 + i), (int)kernel.Record(made[i].Namespace).Established.Value);
            Assert.True(kernel.LastNode().Listings.Value >= 20);
        }
        finally
        {
            foreach (var (ns, sockets) in made)
            {
                sockets.Dispose();
                await ns.DisposeAsync();
            }
        }
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task It_refuses_in_words_and_sock_diag_stays()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveSummary off = await LiveSummary.StartAsync(null, null, Bpf(new EbpfOptions { ReadSockets = false }), ns);
        Assert.Equal("sock_diag, procfs counters (bpf: switched off by KubeSkoop:Probes:Ebpf:ReadSockets)", off.Probe.Status.Source);
        await using LiveSummary info = await LiveSummary.StartAsync(new TcpSummaryOptions { Info = true }, null, Bpf(), ns);
        Assert.Equal("sock_diag, procfs counters (bpf: Info is asked for, which only sock_diag has)", info.Probe.Status.Source);
        var blind = new Blind();
        using Socket seen = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        seen.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        seen.Listen(77); // so that there is something to see
        await using LiveSummary wrong = await LiveSummary.StartAsync(null, null, _ => blind, ns);
        Assert.Equal("sock_diag, procfs counters (blind: it sees other sockets than sock_diag does in the own namespace)", wrong.Probe.Status.Source);
        Assert.True(blind.Stopped);
        Assert.Equal(0, (int)wrong.Record(ns).Established.Value);
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task A_sample_allocates_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        await sockets.ConnectAsync(await sockets.ListenAsync(IPAddress.Loopback, 8000), 20);
        await using LiveSummary kernel = await LiveSummary.StartAsync(null, null, Bpf(), ns);
        Assert.Equal("bpf", kernel.Probe.Status.Source);
        for (int i = 0; i < 100; i++) kernel.Sample();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 20; i++) kernel.Sample();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(40, (int)kernel.Last(ns).Established.Value);
    }

    private static Func<Procfs.ProcNamespaceSource, ITcpSocketSource> Bpf(EbpfOptions? options = null) =>
        namespaces => new TcpSocketSource(new EbpfPrograms(namespaces, Options.Create(options ?? new EbpfOptions())));

    private sealed class Blind : ITcpSocketSource
    {
        internal bool Stopped { get; private set; }

        public string Name => "blind";

        public string? TryStart() => null;

        public void Stop() => Stopped = true;

        public bool TryCollect(uint queueThreshold) => true;

        public TcpSums Get(uint inode) => default;
    }
}
