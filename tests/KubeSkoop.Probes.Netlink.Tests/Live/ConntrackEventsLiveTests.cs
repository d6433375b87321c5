using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.RegularExpressions;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>Events of real flows.</summary>
public sealed partial class ConntrackEventsLiveTests
{
    [LiveTheory(Needs.NetNs | Needs.Ipv6, "conntrack", "nft")]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public async Task A_connections_life_is_told_from_its_first_packet_to_its_traffic(string loopback)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await ns.ExecuteAsync("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1", "net.netfilter.nf_conntrack_timestamp=1");
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Events = ConntrackNotices.All }, ns);
        using EventSubscription<ConntrackEvent> events = bench.Probe.Subscribe();
        DateTimeOffset began = TimeProvider.System.GetUtcNow();

        await ns.TcpConnectionsAsync(1, IPAddress.Parse(loopback), bytes: 1000);
        string line = Assert.Single(await ns.ConntrackListAsync());
        await ns.ConntrackAsync(loopback.Contains(':', StringComparison.Ordinal) ? "-F -f ipv6" : "-F -f ipv4");
        var told = new List<ConntrackFlowEvent>();
        do told.Add(Assert.IsType<ConntrackFlowEvent>(await NextAsync(events)));
        while (told[^1].Change != ConntrackChange.Destroy);

        Assert.Equal(ConntrackChange.New, told[0].Change);
        Assert.All(told[1..^1], static e => Assert.Equal(ConntrackChange.Update, e.Change));
        Assert.Equal(
            [ConntrackTcpState.SynSent, ConntrackTcpState.SynReceived, ConntrackTcpState.Established, ConntrackTcpState.FinWait, ConntrackTcpState.LastAck, ConntrackTcpState.TimeWait],
            told[..^1].Select(static e => e.TcpState!.Value).Where(static s => s != ConntrackTcpState.CloseWait).Distinct());
        Assert.Equal(ConntrackStatus.Confirmed, told[0].Status & (ConntrackStatus.Confirmed | ConntrackStatus.SeenReply | ConntrackStatus.Assured));
        Assert.True(told[^2].Status.HasFlag(ConntrackStatus.SeenReply | ConntrackStatus.Assured));

        // Each names the same flow, both ways.
        FlowTuple flow = told[0].Original;
        Assert.Equal((loopback, loopback, (byte)6), (flow.Source.Address.ToString(), flow.Destination.Address.ToString(), flow.Protocol));
        Assert.Contains($"sport={flow.Source.Port} dport={flow.Destination.Port} ", line, StringComparison.Ordinal);
        Assert.All(told, e =>
        {
            Assert.Equal(flow, e.Original);
            Assert.Equal(new FlowTuple(flow.Destination, flow.Source, 6), e.Reply);
            Assert.Equal("conntrack", e.Probe);
            Assert.Equal(bench.Clock.GetUtcNow(), e.Timestamp);
            Assert.Same(bench.Source.Current[0], e.Namespace);
            Assert.Equal(told[0].Id, e.Id);
            Assert.Equal(0, e.Zone);
            Assert.Null(e.Master);
        });

        // The end carries the traffic, as conntrack -L had it.
        ConntrackFlowEvent end = told[^1];
        ulong[] counts = [.. Counts().Matches(line).Select(static m => ulong.Parse(m.Groups[1].ValueSpan, CultureInfo.InvariantCulture))];
        Assert.Equal(new ConntrackTraffic(counts[0], counts[1]), end.OriginalTraffic);
        Assert.Equal(new ConntrackTraffic(counts[2], counts[3]), end.ReplyTraffic);
        Assert.InRange(end.OriginalTraffic!.Value.Bytes, 1000ul, 3000ul);
        Assert.InRange(end.Began!.Value, began.AddSeconds(-5), end.Ended!.Value);
        Assert.InRange(end.Ended.Value, end.Began.Value, TimeProvider.System.GetUtcNow().AddSeconds(5));
        Assert.Equal(0ul, bench.Record(ns).LostEvents.Value);
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task A_translated_flow_shows_both_its_addresses()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await ns.NftAsync(
            """
            table ip translate {
              chain out { type nat hook output priority -100; ip daddr 127.0.0.9 udp dport 53 dnat to 127.0.0.1:5353; }
            }
            """);
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Events = ConntrackNotices.New }, ns);
        using EventSubscription<ConntrackEvent> events = bench.Probe.Subscribe();
        using Socket server = await ns.BindUdpAsync(new IPEndPoint(IPAddress.Loopback, 5353));

        await ns.SendUdpAsync(1, new IPEndPoint(IPAddress.Parse("127.0.0.9"), 53));

        var e = Assert.IsType<ConntrackFlowEvent>(await NextAsync(events));
        Assert.Equal((ConntrackChange.New, "UDP", "127.0.0.9:53"), (e.Change, e.Original.ProtocolName, e.Original.Destination.ToString()));
        Assert.Equal("127.0.0.1:5353", e.Reply!.Value.Source.ToString());
        Assert.Equal(e.Original.Source, e.Reply.Value.Destination);
        Assert.True(e.Status.HasFlag(ConntrackStatus.DestinationNat));
        Assert.False(e.Status.HasFlag(ConntrackStatus.SourceNat));
        Assert.Null(e.TcpState);
        Assert.Null(e.OriginalTraffic);
    }

    [LiveTheory(Needs.NetNs | Needs.Ipv6, "conntrack", "nft")]
    [InlineData("127.0.0.1", 1, 8)]
    [InlineData("::1", 58, 128)]
    public async Task An_echo_is_told_by_its_identifier(string loopback, byte protocol, byte type)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Events = ConntrackNotices.New }, ns);
        using EventSubscription<ConntrackEvent> events = bench.Probe.Subscribe();

        await ns.PingAsync(1, IPAddress.Parse(loopback));

        var e = Assert.IsType<ConntrackFlowEvent>(await NextAsync(events));
        Assert.Equal((protocol, type, loopback), (e.Original.Protocol, e.IcmpType, e.Original.Destination.Address.ToString()));
        Assert.Contains($"id={e.IcmpIdentifier} ", Assert.Single(await ns.ConntrackListAsync()), StringComparison.Ordinal);
        Assert.Equal(0, e.Original.Source.Port);
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task A_flow_that_a_helper_expects_is_told()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0));
        var server = (IPEndPoint)listener.LocalEndPoint!;
        await ns.NftAsync(string.Create(CultureInfo.InvariantCulture, $$"""
            table ip helped {
              ct helper f { type "ftp" protocol tcp; l3proto ip; }
              chain out { type filter hook output priority 10; tcp dport {{server.Port}} ct helper set "f"; }
            }
            """));
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Events = ConntrackNotices.Expectation }, ns);
        using EventSubscription<ConntrackEvent> events = bench.Probe.Subscribe();

        using Socket client = await ns.ConnectTcpAsync(server);
        using Socket accepted = await listener.AcceptAsync();
        client.Send("USER test\r\n"u8); // the helper waits for the end of a first line
        accepted.Receive(new byte[64]);
        client.Send("PORT 127,0,0,1,10,20\r\n"u8); // where the client waits for the data connection: port 10 * 256 + 20
        accepted.Receive(new byte[64]);

        var e = Assert.IsType<ConntrackExpectationEvent>(await NextAsync(events));
        Assert.Equal((ConntrackChange.New, "ftp", "127.0.0.1:2580"), (e.Change, e.Helper, e.Expected.Destination.ToString()));
        Assert.Equal(server.Port, e.Master!.Value.Destination.Port);
        Assert.Equal(((IPEndPoint)client.LocalEndPoint!).Port, e.Master.Value.Source.Port);
        Assert.InRange(e.Timeout!.Value.TotalSeconds, 1, 3600);
        await ns.ConntrackAsync("-F expect");
        var gone = Assert.IsType<ConntrackExpectationEvent>(await NextAsync(events));
        Assert.Equal((ConntrackChange.Destroy, e.Expected), (gone.Change, gone.Expected));
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task Only_what_is_wanted_is_told()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Events = ConntrackNotices.Destroy }, ns);
        using EventSubscription<ConntrackEvent> events = bench.Probe.Subscribe();

        await ns.TcpConnectionsAsync(2);
        await ns.ConntrackAsync("-F");

        for (int i = 0; i < 2; i++)
        {
            var e = Assert.IsType<ConntrackFlowEvent>(await NextAsync(events));
            Assert.Equal(ConntrackChange.Destroy, e.Change);
        }
        Assert.False(events.Reader.TryRead(out _));
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task Namespaces_born_later_are_followed_and_dead_ones_let_go()
    {
        await using TestNamespace first = await TestNamespace.CreateAsync();
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Events = ConntrackNotices.New }, first);
        using EventSubscription<ConntrackEvent> events = bench.Probe.Subscribe();

        await using (TestNamespace later = await TestNamespace.CreateAsync())
        {
            await later.ConnectAsync(first);
            await later.TrackAsync();
            bench.Namespaces.Add(later);
            NetworkNamespace known = bench.Source.Add(later.Inode, later.Name);
            await Eventually.TrueAsync(() => bench.Record(later).LostEvents.HasValue, "the new namespace to be listened to");
            await later.TcpConnectionsAsync(1);
            var e = Assert.IsType<ConntrackFlowEvent>(await NextAsync(events));
            Assert.Same(known, e.Namespace);
            bench.Source.Remove(known);
        }

        // The kernel takes away this end of the pair when the other's namespace is really destroyed, so pinned by nobody.
        await Eventually.TrueAsync(
            async () => !(await first.IpAsync("-o", "link", "show")).Contains("eth0", StringComparison.Ordinal), "the dead namespace to be destroyed");
        await first.TrackAsync();
        await first.TcpConnectionsAsync(1); // those that stay are heard on
        Assert.Equal(first.Inode, (await NextAsync(events)).Namespace!.Inode);
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task A_stopped_probe_holds_nothing_and_hears_again_when_started()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Events = ConntrackNotices.New, Entries = true }, ns);
        using EventSubscription<ConntrackEvent> events = bench.Probe.Subscribe();
        Assert.InRange(bench.Source.Leases, 1, 2); // the counter's sockets have one of their own

        await bench.Probe.StopAsync();
        Assert.Equal(0, bench.Source.Leases);
        await ns.SendUdpAsync(1, new IPEndPoint(IPAddress.Loopback, 9));
        await bench.Probe.StartAsync();
        await ns.SendUdpAsync(1, new IPEndPoint(IPAddress.Loopback, 10));

        var e = Assert.IsType<ConntrackFlowEvent>(await NextAsync(events));
        Assert.Equal(10, e.Original.Destination.Port); // what happened in between was not heard
        await Eventually.TrueAsync(() => bench.Record(ns).FlowsAge.HasValue, "the flows to be counted again");
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task What_is_lost_is_counted_to_the_message()
    {
        const int flows = 3000;
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        var source = new FakeNamespaceSource { Opener = NetlinkTableTests.Opener(ns) };
        NetworkNamespace known = source.Add(ns.Inode);
        var settings = new NetlinkSettings();
        using var go = new ManualResetEventSlim();
        int heard = 0;
        using var listener = new ConntrackListener(source, settings, new ConntrackOptions { Events = ConntrackNotices.New, EventBufferBytes = 64 * 1024 }, (NetworkNamespace about, in NetlinkMessage message) =>
        {
            go.Wait(TimeSpan.FromSeconds(30));
            if (ConntrackParser.Read(message, null, DateTimeOffset.UnixEpoch, null, out NetlinkFault _) is ConntrackFlowEvent { Change: ConntrackChange.New }) Interlocked.Increment(ref heard);
        });

        await ns.RunAsync(() => ConntrackFiller.Fill(flows, ConntrackStatus.Confirmed));
        ulong lost = listener.LostIn(known, out string? problem).Value;
        Assert.Null(problem);
        Assert.InRange(lost, 1ul, (ulong)flows);
        go.Set();

        await Eventually.EqualAsync(flows - (int)lost, () => Volatile.Read(ref heard), "notices heard");
        Assert.Equal(lost, listener.LostIn(known, out _).Value);
        Assert.Equal(1, settings.Counts.Overruns);
        Assert.Equal(0, listener.Malformed);

        // It hears on.
        await ns.RunAsync(() => ConntrackFiller.Fill(10, ConntrackStatus.Confirmed, first: flows + 1));
        await Eventually.EqualAsync(flows - (int)lost + 10, () => Volatile.Read(ref heard), "notices heard");
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task Events_refused_by_the_kernel_are_reported_beside_the_counters()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        var source = new FakeNamespaceSource { Opener = NetlinkTableTests.Opener(ns) };
        NetworkNamespace known = source.Add(ns.Inode, "left");

        string? problem = await Capabilities.RunWithoutAsync(() =>
        {
            using var listener = new ConntrackListener(source, new NetlinkSettings(), new ConntrackOptions { Events = ConntrackNotices.New }, static (NetworkNamespace _, in NetlinkMessage _) => { });
            Assert.False(listener.LostIn(known, out string? why).HasValue);
            return why;
        }, Capability.NetAdmin);

        Assert.Equal($"netlink Netfilter socket of left (net:[{ns.Inode}]): EPERM, CAP_NET_ADMIN is missing", problem);
    }

    private static async Task<ConntrackEvent> NextAsync(EventSubscription<ConntrackEvent> events)
    {
        using var limit = new CancellationTokenSource(Eventually.DefaultTimeout);
        return await events.Reader.ReadAsync(limit.Token);
    }

    [GeneratedRegex("(?:packets|bytes)=([0-9]+)")]
    private static partial Regex Counts();
}
