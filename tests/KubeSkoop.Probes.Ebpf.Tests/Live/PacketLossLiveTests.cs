using System.Net;
using System.Net.Sockets;
using KubeSkoop.Probes.Ebpf.Tests.Bpf;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>packetloss: packets dropped on purpose, as many as were sent, each with its reason, its place and its namespace.</summary>
public sealed class PacketLossLiveTests
{
    [LiveTheory(Needs.NetNs | Needs.DropReasons, "nft")]
    [InlineData("10.99.0.2", false)]
    [InlineData("fd99::2", false)]
    [InlineData("10.99.0.2", true)]
    public async Task What_a_rule_drops_is_told_where_it_was(string address, bool stacks)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            PacketLossProbe probe = await bench.StartAsync(p => new PacketLossProbe(p, Options.Create(new PacketLossOptions { Stacks = stacks })));
            using var heard = new Heard<PacketLossEvent>(probe, right);
            await right.ExecuteAsync("nft", "add", "table", "inet", "kst");
            await right.ExecuteAsync("nft", "add", "chain", "inet", "kst", "in", "{ type filter hook input priority 0; }");
            await right.ExecuteAsync("nft", "add", "rule", "inet", "kst", "in", "udp", "dport", "4711", "counter", "drop");
            var to = new IPEndPoint(IPAddress.Parse(address), 4711);

            await left.SendUdpAsync(25, to, size: 100);

            // Beside these IPv6 may drop reports of its own.
            await Eventually.TrueAsync(() => heard.Take().Count(static e => e.Reason == "NETFILTER_DROP") >= 25, "25 events");
            PacketLossEvent[] events = [.. heard.Take().Where(static e => e.Reason == "NETFILTER_DROP")];
            Assert.Equal(25, events.Length);
            Assert.All(events, e => Assert.Equal(("NETFILTER_DROP", "netfilter", "eth0", to, (byte)17, false, 100u + 8 + (address.Contains(':', StringComparison.Ordinal) ? 40u : 20)),
                (e.Reason, e.Part, e.Device, new IPEndPoint(e.Flow!.Value.Source.Address, e.Flow.Value.Source.Port), e.Flow.Value.Protocol, e.IsSent, e.Length)));
            Assert.All(events, static e => Assert.Matches(@"^nf\w*\+0x[0-9a-f]+", e.Location));
            if (stacks) Assert.All(events, static e => Assert.Contains(e.Stack, static f => f.Contains("netif_receive_skb", StringComparison.Ordinal)));
            else Assert.All(events, static e => Assert.Empty(e.Stack));
            Dictionary<string, ulong> rows = Rows(bench, probe, right);
            Assert.Equal(25ul, rows["netfilter_drop netfilter"]);
            Assert.Contains("packets 25", await right.ExecuteAsync("nft", "list", "table", "inet", "kst"), StringComparison.Ordinal);
            Assert.Equal(rows.Where(static r => r.Key != "total").Aggregate(0ul, static (sum, r) => sum + r.Value), rows["total"]);
            Assert.DoesNotContain("netfilter_drop netfilter", Rows(bench, probe, left).Keys);
        }
    }

    [LiveTheory(Needs.NetNs | Needs.DropReasons, "nft")]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_segment_of_a_connection_that_a_rule_drops_was_received_or_sent_as_the_rule_says(bool sent)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            PacketLossProbe probe = await bench.StartAsync(static p => new PacketLossProbe(p));
            using var heard = new Heard<PacketLossEvent>(probe, right);
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = listener.Accept();
            await right.ExecuteAsync("nft", "add", "table", "inet", "kst");
            await right.ExecuteAsync("nft", "add", "chain", "inet", "kst", "c", $"{{ type filter hook {(sent ? "output" : "input")} priority 0; }}");
            await right.ExecuteAsync("nft", "add", "rule", "inet", "kst", "c", "meta", "l4proto", "tcp", "drop");
            (sent ? server : client).Send(new byte[100]);

            await Eventually.TrueAsync(() => heard.Take().Any(static e => e.Reason == "NETFILTER_DROP"), "the drop to be told");
            PacketLossEvent e = heard.Take().First(static e => e.Reason == "NETFILTER_DROP");
            Assert.Equal((sent, server.LocalEndPoint, server.RemoteEndPoint), (e.IsSent, new IPEndPoint(e.Flow!.Value.Source.Address, e.Flow.Value.Source.Port), new IPEndPoint(e.Flow.Value.Destination.Address, e.Flow.Value.Destination.Port)));
            Assert.Contains(sent ? $"outgoing packet dropped TCP {server.LocalEndPoint} -> {server.RemoteEndPoint}" : $"incoming packet dropped TCP {server.RemoteEndPoint} -> {server.LocalEndPoint}", e.Message, StringComparison.Ordinal);
        }
    }

    [LiveTheory(Needs.NetNs | Needs.DropReasons, "nstat")]
    [InlineData("127.0.0.1", "UdpNoPorts")]
    [InlineData("::1", "Udp6NoPorts")]
    public async Task A_datagram_to_a_closed_port_is_lost_for_want_of_a_socket(string loopback, string witness)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        PacketLossProbe probe = await bench.StartAsync(static p => new PacketLossProbe(p));
        using var heard = new Heard<PacketLossEvent>(probe, ns);
        var to = new IPEndPoint(IPAddress.Parse(loopback), 4711);
        await ns.SendUdpAsync(7, to);

        await Eventually.TrueAsync(() => heard.Take().Count(static e => e.Reason == "NO_SOCKET") == 7, "seven events");
        Assert.All(heard.Take().Where(static e => e.Reason == "NO_SOCKET"), e => Assert.Equal((to, "udp", "lo"), (new IPEndPoint(e.Flow!.Value.Source.Address, e.Flow.Value.Source.Port), e.Part, e.Device)));
        Assert.Equal((7ul, await ns.NstatAsync(witness)), (Rows(bench, probe, ns)["no_socket udp"], 7ul));
    }

    [LiveTheory(Needs.NetNs | Needs.DropReasons, "nstat")]
    [InlineData("10.50.0.1", "IpInHdrErrors", "ip_inhdr ip")]
    [InlineData("fd50::1", "Ip6InHdrErrors", "ip_inhdr ip")]
    public async Task A_packet_whose_time_to_live_is_over_is_lost_where_it_was_to_be_forwarded(string beyond, string witness, string row)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            bool ipv4 = !beyond.Contains(':', StringComparison.Ordinal);
            await left.IpAsync("route", "add", beyond, "via", (ipv4 ? TestNamespace.RightIPv4 : TestNamespace.RightIPv6).ToString());
            await right.IpAsync("route", "add", beyond, "via", (ipv4 ? TestNamespace.LeftIPv4 : TestNamespace.LeftIPv6).ToString());
            await right.ExecuteAsync("sysctl", "-qw", ipv4 ? "net.ipv4.ip_forward=1" : "net.ipv6.conf.all.forwarding=1");
            await using var bench = new EbpfBench();
            PacketLossProbe probe = await bench.StartAsync(static p => new PacketLossProbe(p));
            using var heard = new Heard<PacketLossEvent>(probe, right);
            ulong before = await right.NstatAsync(witness);

            await left.SendUdpAsync(12, new IPEndPoint(IPAddress.Parse(beyond), 4711), hops: 1);

            await Eventually.TrueAsync(() => heard.Take().Count(static e => e.Flow?.Destination.Port == 4711 || e.Flow?.Source.Port == 4711) == 12, "an event each");
            Assert.Equal(12ul, Rows(bench, probe, right)[row]);
            Assert.Equal(12ul, await right.NstatAsync(witness) - before);
            Assert.DoesNotContain(row, Rows(bench, probe, left).Keys);
        }
    }

    [LiveTheory(Needs.NetNs | Needs.DropReasons, "nstat")]
    [InlineData("127.0.0.1", "UdpRcvbufErrors")]
    [InlineData("::1", "Udp6RcvbufErrors")]
    public async Task A_full_receive_buffer_is_told_with_the_socket_that_does_not_read(string loopback, string counter)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        PacketLossProbe probe = await bench.StartAsync(static p => new PacketLossProbe(p, Options.Create(new PacketLossOptions { EventsPerSecond = 0 })));
        using var heard = new Heard<PacketLossEvent>(probe, ns);
        using Socket deaf = await ns.BindUdpAsync(new IPEndPoint(IPAddress.Parse(loopback), 0));
        deaf.ReceiveBufferSize = 8192;
        await ns.SendUdpAsync(200, (IPEndPoint)deaf.LocalEndPoint!, size: 1000);

        ulong witness = await ns.NstatAsync(counter);
        Assert.InRange(witness, 100ul, 199ul);
        Dictionary<string, ulong> rows = Rows(bench, probe, ns);
        Assert.Equal(witness, rows["socket_rcvbuff udp"]);
        IReadOnlyList<PacketLossEvent> events = await heard.ExactlyAsync((int)witness);
        Assert.All(events, e => Assert.Equal((deaf.LocalEndPoint, "SOCKET_RCVBUFF"), (new IPEndPoint(e.Flow!.Value.Source.Address, e.Flow.Value.Source.Port), e.Reason)));
    }

    [LiveFact(Needs.NetNs | Needs.DropReasons)]
    public async Task A_namespace_that_loses_thousands_silences_no_other()
    {
        const int Few = 40, Many = 50, Burst = 2000, Flood = Burst + (Few * Many);
        await using TestNamespace quiet = await TestNamespace.CreateAsync();
        await using TestNamespace one = await TestNamespace.CreateAsync(), other = await TestNamespace.CreateAsync();
        TestNamespace flooded = LimitTests.ShareOf(one.Inode) == LimitTests.ShareOf(quiet.Inode) ? other : one; // one in 1024 has the same
        await using var bench = new EbpfBench();
        PacketLossProbe probe = await bench.StartAsync(p => new PacketLossProbe(p, Options.Create(new PacketLossOptions { NetworkNamespaces = { quiet.Inode, flooded.Inode } })));
        using var heard = new Heard<PacketLossEvent>(probe, quiet);
        using var beside = new Heard<PacketLossEvent>(probe, flooded);
        var to = new IPEndPoint(IPAddress.Loopback, 4711);
        await flooded.SendUdpAsync(Burst, to); // with 200 at once, and then 100 a second, on each CPU
        for (int i = 0; i < Few; i++)
        {
            await quiet.SendUdpAsync(1, to);
            await flooded.SendUdpAsync(Many, to);
        }

        Assert.All(await heard.ExactlyAsync(Few), static e => Assert.Equal("NO_SOCKET", e.Reason));
        Assert.Equal(((ulong)Few, (ulong)Flood), (Rows(bench, probe, quiet)["no_socket udp"], Rows(bench, probe, flooded)["no_socket udp"]));
        await Eventually.EqualAsync(Flood, () => beside.Take().Count + (int)probe.ReadKernelStatistics().EventsSuppressed, "events of the flood, come or suppressed,");
        Assert.InRange(beside.Take().Count, 200, 3000);
        Assert.Equal(0, probe.ReadKernelStatistics().EventsLost);
    }

    [LiveFact(Needs.NetNs | Needs.DropReasons)]
    public async Task Orderly_traffic_and_closed_sockets_lose_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        PacketLossProbe probe = await bench.StartAsync(static p => new PacketLossProbe(p));
        using var heard = new Heard<PacketLossEvent>(probe, ns);
        await ns.TcpConnectionsAsync(50, bytes: 5000);
        await ns.TcpConnectionsAsync(20, IPAddress.IPv6Loopback, bytes: 5000);
        using (Socket unread = await ns.BindUdpAsync(new IPEndPoint(IPAddress.Loopback, 0))) await ns.SendUdpAsync(3, (IPEndPoint)unread.LocalEndPoint!);
        await Task.Delay(100); // a moment for what should not come
        Assert.Equal(("", 0ul), (string.Join("; ", heard.Take().Select(static e => e.Message)), Rows(bench, probe, ns)["total"]));
        await heard.ExactlyAsync(0);
    }

    [LiveTheory(Needs.NetNs | Needs.DropReasons, "nstat")]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public async Task Probes_of_a_closed_window_are_no_loss(string loopback)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        PacketLossProbe probe = await bench.StartAsync(static p => new PacketLossProbe(p));
        using var heard = new Heard<PacketLossEvent>(probe, ns);
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Parse(loopback), 0));
        using Socket client = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
        using Socket deaf = listener.Accept();
        client.Blocking = false;
        client.NoDelay = true;
        byte[] text = new byte[4096]; // of larger packets Linux 6.18.15 throws away the one that does not fit any more, and closes no window
        SocketError error = SocketError.Success;
        while (error == SocketError.Success) client.Send(text, 0, text.Length, SocketFlags.None, out error);
        string counters = string.Empty;
        await Eventually.TrueAsync(async () =>
        {
            IReadOnlyDictionary<string, ulong> all = await ns.NstatAsync();
            counters = string.Join(' ', all.Where(static c => c.Key.StartsWith("Tcp", StringComparison.Ordinal) && c.Value > 0).Select(static c => $"{c.Key}={c.Value}"));
            return all["TcpExtTCPWinProbe"] >= 2;
        }, () => $"the window to be asked for twice; {counters}");
        await Task.Delay(100); // a moment for what should not come
        Assert.DoesNotContain(heard.Take(), static e => e.Reason!.StartsWith("TCP_OLD", StringComparison.Ordinal));
        Assert.DoesNotContain(Rows(bench, probe, ns).Keys, static k => k.StartsWith("tcp_old", StringComparison.Ordinal));
    }

    [LiveFact(Needs.NetNs | Needs.DropReasons)]
    public async Task Reasons_called_normal_are_neither_counted_nor_told()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        PacketLossProbe probe = await bench.StartAsync(static p => new PacketLossProbe(p, Options.Create(new PacketLossOptions { NormalReasons = { "no_socket" } })));
        using var heard = new Heard<PacketLossEvent>(probe, ns);
        await ns.SendUdpAsync(5, new IPEndPoint(IPAddress.Loopback, 4711));
        Assert.DoesNotContain("no_socket udp", Rows(bench, probe, ns).Keys);
        Assert.DoesNotContain(heard.Take(), static e => e.Reason == "NO_SOCKET");
    }

    private static Dictionary<string, ulong> Rows(EbpfBench bench, PacketLossProbe probe, TestNamespace ns)
    {
        _ = bench.Of(ns);
        return probe.Sample().Rows.ToArray().Where(r => r.Namespace?.Inode == ns.Inode).ToDictionary(
            static r => r.Subject.Attributes.IsEmpty ? "total" : string.Join(' ', r.Subject.Attributes.ToArray().Select(static a => a.Value)),
            static r => r.Subject.Attributes.IsEmpty ? r.Value.Total.Value : r.Value.Packets.Value);
    }
}
