using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>tcpretrans: segments that rules of the other side drop, each kind told, and all of them as many as the kernel counts.</summary>
public sealed class TcpRetransLiveTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20); // timeouts double

    [BpfTheory(Needs.NetNs | Needs.Bpf, "nft", "nstat")]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task A_SYN_without_an_answer_is_told(string address)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            TcpRetransProbe probe = await bench.StartAsync(static p => new TcpRetransProbe(p));
            using var heard = new Heard<TcpRetransEvent>(probe, left);
            await DropAsync(right, "tcp dport 4711");
            var to = new IPEndPoint(IPAddress.Parse(address), 4711);
            using Socket socket = await BeginAsync(left, to);

            await Eventually.TrueAsync(() => heard.Take().Count >= 2, "two SYNs to be sent again", Patience);
            (TcpRetransRecord record, IReadOnlyDictionary<string, ulong> kernel) = await SettledAsync(bench, probe, left);
            Assert.Equal((0ul, 0ul, 0ul, 0ul, 0ul), (record.SynAck.Value, record.Fast.Value, record.Timeout.Value, record.TailLossProbe.Value, record.Failed.Value));
            Assert.Equal(kernel["TcpExtTCPSynRetrans"], record.Syn.Value + (kernel["TcpRetransSegs"] - Sum(record)));
            Assert.All(heard.Take(), e => Assert.Equal((TcpRetransKind.Syn, TcpState.SynSent, to, 0u, 1u, (int?)null),
                (e.Kind, e.State, new IPEndPoint(e.Flow!.Value.Destination.Address, e.Flow.Value.Destination.Port), e.Bytes, e.Segments, e.Error)));
            Endpoint from = Assert.Single(heard.Take().Select(static e => e.Flow!.Value.Source).Distinct());
            Assert.Equal(from.IsIPv4 ? TestNamespace.LeftIPv4 : TestNamespace.LeftIPv6, from.Address);
        }
    }

    // Timers run in softirqs, whoever they interrupt; there are kernels that keep from BPF those that interrupt process 1.
    [LiveFact(Needs.NetNs | Needs.Bpf, "nft", "nstat")]
    public async Task Of_thousands_of_timers_none_is_missing_but_those_the_kernel_keeps()
    {
        const int Connections = 1000;
        BlindSpot spot = BlindSpot.Begin();
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        var sockets = new List<Socket>();
        await using (left)
        await using (right)
        {
            try
            {
                await using var bench = new EbpfBench();
                TcpRetransProbe probe = await bench.StartAsync(static p => new TcpRetransProbe(p));
                await DropAsync(right, "tcp dport 4717");
                for (int i = 0; i < Connections; i++) sockets.Add(await BeginAsync(left, new IPEndPoint(TestNamespace.RightIPv4, 4717)));
                await Eventually.TrueAsync(() => bench.Record(probe, left).Syn.Value >= 3 * Connections, "most to be sent again three times", Patience);
                foreach (Socket socket in sockets) socket.Dispose();

                IReadOnlyDictionary<string, ulong> kernel = await left.NstatAsync();
                TcpRetransRecord record = bench.Record(probe, left);
                ulong kept = (ulong)(await spot.HitsAsync()).Count(static line => line.Contains("tcp_retransmit_skb: ", StringComparison.Ordinal) && line.Contains(" dport=4717 ", StringComparison.Ordinal)
                    && (line.EndsWith(" err=0", StringComparison.Ordinal) || !line.Contains(" err=", StringComparison.Ordinal)));
                Assert.Equal((Sum(record), kernel["TcpRetransSegs"]), (record.Syn.Value, kernel["TcpExtTCPSynRetrans"]));
                Assert.InRange(kernel["TcpRetransSegs"] - kernel["TcpExtTCPRetransFail"] - record.Syn.Value - kept, 0ul, (ulong)probe.ReadKernelStatistics().Missed);
            }
            finally
            {
                foreach (Socket socket in sockets) socket.Dispose();
            }
        }
    }

    [BpfTheory(Needs.NetNs | Needs.Bpf, "nft", "nstat")]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task A_SYN_ACK_without_an_answer_is_told_where_it_is_sent(string address)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            TcpRetransProbe probe = await bench.StartAsync(static p => new TcpRetransProbe(p));
            using var heard = new Heard<TcpRetransEvent>(probe, right);
            using Socket listener = await right.ListenAsync(new IPEndPoint(IPAddress.Parse(address), 4711));
            await DropAsync(left, "tcp sport 4711");
            using Socket socket = await BeginAsync(left, (IPEndPoint)listener.LocalEndPoint!);

            await Eventually.TrueAsync(() => heard.Take().Count >= 2, "two SYN-ACKs to be sent again", Patience);
            (TcpRetransRecord record, IReadOnlyDictionary<string, ulong> kernel) = await SettledAsync(bench, probe, right);
            Assert.Equal((0ul, 0ul, 0ul, 0ul), (record.Syn.Value, record.Fast.Value, record.Timeout.Value, record.TailLossProbe.Value));
            Assert.Equal(kernel["TcpExtTCPSynRetrans"], record.SynAck.Value + (kernel["TcpRetransSegs"] - Sum(record))); // SYN-ACKs, too
            Assert.All(heard.Take(), e => Assert.Equal((TcpRetransKind.SynAck, TcpState.SynReceived, (IPEndPoint)listener.LocalEndPoint!),
                (e.Kind, e.State, new IPEndPoint(e.Flow!.Value.Source.Address, e.Flow.Value.Source.Port))));
            Endpoint to = Assert.Single(heard.Take().Select(static e => e.Flow!.Value.Destination).Distinct());
            Assert.Equal(to.IsIPv4 ? TestNamespace.LeftIPv4 : TestNamespace.LeftIPv6, to.Address);
        }
    }

    [BpfTheory(Needs.NetNs | Needs.Bpf, "nft", "nstat")]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task Silence_is_a_tail_loss_probe_and_then_a_timeout(string address)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            TcpRetransProbe probe = await bench.StartAsync(static p => new TcpRetransProbe(p));
            using var heard = new Heard<TcpRetransEvent>(probe, left);
            using Socket listener = await right.ListenAsync(new IPEndPoint(IPAddress.Parse(address), 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = listener.Accept();
            // A round trip is known, and so when to expect an answer.
            client.Send([1]);
            Assert.Equal(1, server.Receive(new byte[1]));
            await DropAsync(right, "tcp dport " + ((IPEndPoint)listener.LocalEndPoint!).Port.ToString(System.Globalization.CultureInfo.InvariantCulture));
            client.Send(new byte[100]);

            await Eventually.TrueAsync(() => heard.Take().Count(static e => e.Kind == TcpRetransKind.Timeout) >= 2, "two timeouts", Patience);
            (TcpRetransRecord record, IReadOnlyDictionary<string, ulong> kernel) = await SettledAsync(bench, probe, left);
            Assert.Equal((0ul, 0ul, 0ul, 0ul), (record.Syn.Value, record.SynAck.Value, record.Fast.Value, record.PathMtu.Value));
            Assert.Equal((1ul, kernel["TcpExtTCPLossProbes"]), (record.TailLossProbe.Value, record.TailLossProbe.Value));
            Assert.All(heard.Take(), static e => Assert.Equal((100u, 1u, TcpState.Established), (e.Bytes, e.Segments, e.State)));
            Assert.Equal((TcpRetransKind.TailLossProbe, TcpCongestionState.Loss), (heard.Take()[0].Kind, heard.Take()[^1].Congestion));
            Assert.Single(heard.Take().Select(static e => e.Sequence).Distinct()); // always the same segment
        }
    }

    [BpfTheory(Needs.NetNs | Needs.Bpf, "nft", "nstat")]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task One_segment_lost_in_a_stream_is_fast_and_as_many_segments_as_the_kernel_counts(string address)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            TcpRetransProbe probe = await bench.StartAsync(static p => new TcpRetransProbe(p, Microsoft.Extensions.Options.Options.Create(new TcpRetransOptions { EventsPerSecond = 0 })));
            using var heard = new Heard<TcpRetransEvent>(probe, left);
            using Socket listener = await right.ListenAsync(new IPEndPoint(IPAddress.Parse(address), 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = listener.Accept();
            await DropAsync(right, "meta length > 1000 numgen inc mod 20 == 7");
            Task receive = Task.Run(() =>
            {
                byte[] buffer = new byte[65536];
                for (int left = 8 * 1024 * 1024; left > 0; left -= server.Receive(buffer))
                {
                }
            });
            byte[] chunk = new byte[16 * 1024];
            for (int sent = 0; sent < 8 * 1024 * 1024; sent += chunk.Length) client.Send(chunk);
            await receive.WaitAsync(Patience);

            (TcpRetransRecord record, IReadOnlyDictionary<string, ulong> kernel) = await SettledAsync(bench, probe, left);
            Assert.Equal((true, 0ul), (record.Fast.Value > 0, record.PathMtu.Value));
            ulong all = record.Fast.Value + record.Timeout.Value + record.TailLossProbe.Value;
            Assert.Equal(kernel["TcpRetransSegs"], all);
            Assert.Contains(heard.Take(), static e => e is { Kind: TcpRetransKind.Fast, Congestion: TcpCongestionState.Recovery });
            await Eventually.EqualAsync(all, () => (ulong)heard.Take().Where(static e => e.Error is null).Sum(static e => e.Segments), "an event for each of them");
            Assert.Equal(record.Failed.Value, (ulong)heard.Take().Where(static e => e.Error is not null).Sum(static e => e.Segments));
        }
    }

    // Behind the router is a link with a smaller MTU than the sender's, who learns of it from the router's word (ICMP).
    [BpfTheory(Needs.NetNs | Needs.Bpf, "nstat")]
    [InlineData("10.50.0.2", "10.50.0.1", "24", "net.ipv4.ip_forward=1")]
    [InlineData("fd50::2", "fd50::1", "64", "net.ipv6.conf.all.forwarding=1")]
    public async Task What_is_too_large_for_the_path_is_no_timeout(string address, string router, string prefix, string forwarding)
    {
        bool ipv4 = prefix == "24";
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        await using (TestNamespace beyond = await TestNamespace.CreateAsync())
        {
            await right.IpAsync("link", "add", "eth1", "mtu", "1280", "type", "veth", "peer", "name", "eth0", "netns", beyond.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture));
            await right.IpAsync("link", "set", "eth1", "up");
            await beyond.IpAsync("link", "set", "eth0", "up");
            await right.IpAsync("address", "add", router + "/" + prefix, "dev", "eth1", "nodad");
            await beyond.IpAsync("address", "add", address + "/" + prefix, "dev", "eth0", "nodad");
            await right.ExecuteAsync("sysctl", "-qw", forwarding);
            await beyond.IpAsync("route", "add", (ipv4 ? TestNamespace.LeftIPv4 : TestNamespace.LeftIPv6).ToString(), "via", router);
            await left.IpAsync("route", "add", address, "via", (ipv4 ? TestNamespace.RightIPv4 : TestNamespace.RightIPv6).ToString());
            // Before that the first segments would be lost.
            await Eventually.TrueAsync(async () => (await right.IpAsync("-o", "link", "show", "eth1") + await beyond.IpAsync("-o", "link", "show", "eth0")).Split("state UP", StringSplitOptions.None).Length == 3, "both ends to be up");
            await left.PingAsync(1, IPAddress.Parse(address));
            await using var bench = new EbpfBench();
            TcpRetransProbe probe = await bench.StartAsync(static p => new TcpRetransProbe(p));
            using var heard = new Heard<TcpRetransEvent>(probe, left);
            using Socket listener = await beyond.ListenAsync(new IPEndPoint(IPAddress.Parse(address), 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = listener.Accept();
            client.Send(new byte[20_000]);
            byte[] buffer = new byte[65536];
            for (int rest = 20_000; rest > 0;) rest -= server.Receive(buffer);

            (TcpRetransRecord record, IReadOnlyDictionary<string, ulong> kernel) = await SettledAsync(bench, probe, left);
            Assert.Equal((0ul, 0ul, 0ul, 0ul, 0ul), (record.Syn.Value, record.SynAck.Value, record.Fast.Value, record.Timeout.Value, record.TailLossProbe.Value));
            Assert.Equal((true, 0ul), (record.PathMtu.Value > 0, kernel["TcpExtTCPTimeouts"]));
            Assert.Equal(kernel["TcpRetransSegs"], record.PathMtu.Value);
            await Eventually.EqualAsync(record.PathMtu.Value, () => (ulong)heard.Take().Where(static e => e.Error is null).Sum(static e => e.Segments), "an event for each of them");
            Assert.All(heard.Take(), static e => Assert.Equal((TcpRetransKind.PathMtu, TcpCongestionState.Loss), (e.Kind, e.Congestion)));
            Assert.StartsWith("path MTU retransmission TCP", heard.Take()[0].Message, StringComparison.Ordinal);
        }
    }

    [BpfTheory(Needs.Netem | Needs.Bpf, "tc", "nstat")]
    [InlineData("loss 10%")]
    [InlineData("delay 10ms reorder 25% 50%")]
    public async Task On_a_bad_network_all_kinds_together_are_what_the_kernel_counts(string network)
    {
        const int Bytes = 512 * 1024;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            TcpRetransProbe probe = await bench.StartAsync(static p => new TcpRetransProbe(p, Microsoft.Extensions.Options.Options.Create(new TcpRetransOptions { EventsPerSecond = 0 })));
            using var heard = new Heard<TcpRetransEvent>(probe, left);
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = listener.Accept();
            await left.ExecuteAsync("tc", ["qdisc", "add", "dev", "eth0", "root", "netem", .. network.Split(' ')]);
            client.SendTimeout = 0;
            Task send = Task.Run(() =>
            {
                for (int sent = 0; sent < Bytes; sent += 4096) client.Send(new byte[4096]);
            });
            byte[] buffer = new byte[65536];
            for (int rest = Bytes; rest > 0; rest -= server.Receive(buffer))
            {
            }
            await send.WaitAsync(TimeSpan.FromSeconds(60));

            (TcpRetransRecord record, IReadOnlyDictionary<string, ulong> kernel) = await SettledAsync(bench, probe, left);
            ulong all = record.Fast.Value + record.Timeout.Value + record.TailLossProbe.Value;
            Assert.Equal(kernel["TcpRetransSegs"], all);
            Assert.Equal((0ul, 0ul, 0ul), (record.Syn.Value, record.SynAck.Value, record.PathMtu.Value));
            if (network.StartsWith("loss", StringComparison.Ordinal)) Assert.True(record.Fast.Value > 0);
            await Eventually.EqualAsync(all, () => (ulong)heard.Take().Where(static e => e.Error is null).Sum(static e => e.Segments), "an event for each of them");
            Assert.All(heard.Take(), e => Assert.Equal((IPEndPoint)listener.LocalEndPoint!, new IPEndPoint(e.Flow!.Value.Destination.Address, e.Flow.Value.Destination.Port)));
        }
    }

    [BpfFact(Needs.NetNs | Needs.Bpf)]
    public async Task Where_nothing_is_lost_nothing_is_told()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        TcpRetransProbe probe = await bench.StartAsync(static p => new TcpRetransProbe(p));
        using var heard = new Heard<TcpRetransEvent>(probe, ns);
        await ns.TcpConnectionsAsync(100, bytes: 10_000);
        TcpRetransRecord record = bench.Record(probe, ns);
        Assert.Equal((0ul, 0ul, 0ul, 0ul, 0ul, 0ul), (record.Syn.Value, record.SynAck.Value, record.Fast.Value, record.Timeout.Value, record.TailLossProbe.Value, record.Failed.Value));
        await heard.ExactlyAsync(0);
    }

    // All kinds together are what the kernel counts; between two looks at both, nothing may have been sent.
    // Both at one moment: nothing was sent again between.
    private static async Task<(TcpRetransRecord Record, IReadOnlyDictionary<string, ulong> Kernel)> SettledAsync(EbpfBench bench, TcpRetransProbe probe, TestNamespace ns)
    {
        TcpRetransRecord record = default;
        IReadOnlyDictionary<string, ulong> after = new Dictionary<string, ulong>();
        await Eventually.TrueAsync(async () =>
        {
            IReadOnlyDictionary<string, ulong> before = await ns.NstatAsync();
            record = bench.Record(probe, ns);
            after = await ns.NstatAsync();
            // Other tests retransmit, too: a program that interrupts itself is left out once, and that is counted.
            ulong sum = Sum(record), all = after["TcpRetransSegs"];
            return before["TcpRetransSegs"] == all && sum <= all && all - sum <= (ulong)probe.ReadKernelStatistics().Missed;
        }, () => $"the probe and nstat to agree: the probe says {Sum(record)}, and {record.Failed.Value} failed, {probe.ReadKernelStatistics().Missed} of its runs missed; nstat says {after["TcpRetransSegs"]}, of which {after["TcpExtTCPRetransFail"]} failed", Patience);
        return (record, after);
    }

    private static ulong Sum(in TcpRetransRecord record) => record.Syn.Value + record.SynAck.Value + record.Fast.Value + record.Timeout.Value + record.TailLossProbe.Value + record.PathMtu.Value;

    private static async Task DropAsync(TestNamespace ns, string what)
    {
        await ns.ExecuteAsync("nft", "add", "table", "inet", "kst");
        await ns.ExecuteAsync("nft", "add", "chain", "inet", "kst", "in", "{ type filter hook input priority 0; }");
        await ns.ExecuteAsync("nft", "add", "rule", "inet", "kst", "in", what, "drop");
    }

    private static Task<Socket> BeginAsync(TestNamespace ns, IPEndPoint to) => ns.RunAsync(() =>
    {
        var socket = new Socket(to.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { Blocking = false };
        try
        {
            socket.Connect(to);
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.InProgress)
        {
        }
        return socket;
    });
}
