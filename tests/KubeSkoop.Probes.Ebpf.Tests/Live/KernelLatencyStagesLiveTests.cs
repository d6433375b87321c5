using System.Globalization;
using System.Net;
using System.Net.Sockets;
using KubeSkoop.Probes.Ebpf.Interop;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>
/// kernellatency with its stages: packets to, from and through a namespace with many rules in one chain of netfilter. Machines that let programs hook functions may be emulated,
/// so stages are compared with one another.
/// </summary>
public sealed class KernelLatencyStagesLiveTests
{
    private const int Rules = 20_000;
    private const int Packets = 15;
    private const ushort Port = 4711;

    private static readonly KernelLatencyOptions Everything = new() { Sampling = 1, Threshold = TimeSpan.Zero, EventsPerSecond = 0 };

    // Of each path, what it goes through and the stage that belongs to it.
    private static readonly (KernelLatencyPath Path, string Chain, Func<KernelLatencyStages, TimeSpan?> Stage, Func<KernelLatencyRecord, Log2Histogram> Histogram)[] Chains =
    [
        (KernelLatencyPath.Receive, "prerouting", static s => s.Prerouting, static r => r.ReceivePrerouting),
        (KernelLatencyPath.Receive, "input", static s => s.LocalIn, static r => r.ReceiveLocalIn),
        (KernelLatencyPath.Transmit, "output", static s => s.LocalOut, static r => r.TransmitLocalOut),
        (KernelLatencyPath.Transmit, "postrouting", static s => s.Postrouting, static r => r.TransmitPostrouting),
        (KernelLatencyPath.Forward, "prerouting", static s => s.Prerouting, static r => r.ForwardPrerouting),
        (KernelLatencyPath.Forward, "forward", static s => s.Forward, static r => r.ForwardForward),
        (KernelLatencyPath.Forward, "postrouting", static s => s.Postrouting, static r => r.ForwardPostrouting),
    ];

    [LiveTheory(Needs.NetNs | Needs.Functions, "nft", "sysctl")]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Many_rules_show_in_the_stage_of_their_chain_and_in_no_other(bool v6)
    {
        await using Line line = await Line.CreateAsync();
        await using var bench = new EbpfBench();
        KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(Everything)));
        Assert.DoesNotContain("without", probe.Status.Source, StringComparison.Ordinal);
        string rules = Path.GetTempFileName();
        try
        {
            await File.WriteAllLinesAsync(rules, ["table inet many {", "chain rules {", .. Enumerable.Range(1, Rules).Select(static i => string.Create(CultureInfo.InvariantCulture, $"meta mark {i}")), "}", "}"]);
            await line.Middle.ExecuteAsync("nft", "-f", rules);
        }
        finally
        {
            File.Delete(rules);
        }

        Dictionary<KernelLatencyPath, KernelLatencyEvent[]> without = await SendAsync(line, bench, probe, v6);
        Assert.All(without[KernelLatencyPath.Receive], static e => Assert.Equal(["receive", "routing", "socket"], Names(e)));
        Assert.All(without[KernelLatencyPath.Transmit], static e => Assert.Equal(["device"], Names(e)));
        Assert.All(without[KernelLatencyPath.Forward], static e => Assert.Equal(["receive", "routing", "forward", "device"], Names(e)));

        foreach (string chain in Chains.Select(static c => c.Chain).Distinct())
        {
            await line.Middle.ExecuteAsync("nft", $"add chain inet many hooked {{ type filter hook {chain} priority 0 ; }} ; add rule inet many hooked jump rules");
            KernelLatencyRecord before = bench.Record(probe, line.Middle);
            Dictionary<KernelLatencyPath, KernelLatencyEvent[]> with = await SendAsync(line, bench, probe, v6);
            KernelLatencyRecord after = bench.Record(probe, line.Middle);
            await line.Middle.ExecuteAsync("nft", "flush chain inet many hooked ; delete chain inet many hooked");

            // What the machine does meanwhile makes some packets slower, wherever they are then, and none faster: the fastest is compared.
            TimeSpan slow = Chains.Where(c => c.Chain == chain).Min(c => with[c.Path].Min(e => c.Stage(e.Stages!)!.Value));
            foreach (KernelLatencyPath path in Enum.GetValues<KernelLatencyPath>())
            {
                TimeSpan total = with[path].Min(static e => e.Latency), usual = without[path].Min(static e => e.Latency);
                var through = Chains.Where(c => c.Path == path && c.Chain == chain).ToArray();
                string seen = $"{chain}, {path}: {total.TotalMicroseconds} us instead of {usual.TotalMicroseconds}; {string.Join("; ", with[path].Select(static e => e.Message))}";
                if (through.Length == 0)
                {
                    Assert.True(total < slow / 4, seen);
                    continue;
                }
                TimeSpan stage = with[path].Min(e => through[0].Stage(e.Stages!)!.Value);
                Assert.True(stage > usual * 3, seen);
                Assert.True(with[path].Min(e => e.Latency - through[0].Stage(e.Stages!)!.Value) < stage / 4, seen);
                Assert.Equal((ulong)Packets, through[0].Histogram(after).Count - through[0].Histogram(before).Count);
                double mean = (through[0].Histogram(after).Sum - through[0].Histogram(before).Sum) / (double)Packets;
                Assert.True(mean >= stage.TotalMicroseconds - 1, seen);
            }
        }
    }

    // Some to the one in the middle, from it, and through it. All are seen once, with the right addresses.
    private static async Task<Dictionary<KernelLatencyPath, KernelLatencyEvent[]>> SendAsync(Line line, EbpfBench bench, KernelLatencyProbe probe, bool v6)
    {
        var result = new Dictionary<KernelLatencyPath, KernelLatencyEvent[]>();
        IPAddress left = Line.Address(1, 2, v6), near = Line.Address(1, 1, v6), far = Line.Address(2, 1, v6), right = Line.Address(2, 2, v6);
        using Socket inTheMiddle = await line.Middle.BindUdpAsync(new IPEndPoint(near, Port));
        using Socket atTheEnd = await line.Right.BindUdpAsync(new IPEndPoint(right, Port));
        foreach ((KernelLatencyPath path, TestNamespace sender, IPAddress from, IPAddress to) in ((KernelLatencyPath, TestNamespace, IPAddress, IPAddress)[])
            [(KernelLatencyPath.Receive, line.Left, left, near), (KernelLatencyPath.Transmit, line.Middle, far, right), (KernelLatencyPath.Forward, line.Left, left, right)])
        {
            using var heard = new Heard<KernelLatencyEvent>(probe, e => e.NetworkNamespaceInode == line.Middle.Inode && e.Flow is { ProtocolName: "UDP" });
            KernelLatencyRecord before = bench.Record(probe, line.Middle);
            await sender.SendUdpAsync(Packets, new IPEndPoint(to, Port), 100);
            KernelLatencyEvent[] events = [.. await heard.ExactlyAsync(Packets)];
            KernelLatencyRecord after = bench.Record(probe, line.Middle);
            ulong counted = (after.Receive.Count, after.Transmit.Count, after.Forward.Count) switch
            {
                var (r, t, f) => path switch { KernelLatencyPath.Receive => r - before.Receive.Count, KernelLatencyPath.Transmit => t - before.Transmit.Count, _ => f - before.Forward.Count },
            };
            Assert.Equal((ulong)Packets, counted);
            foreach (KernelLatencyEvent e in events)
            {
                Assert.Equal((path, 100u + 8 + (v6 ? 40u : 20)), (e.Path, e.Bytes));
                (Endpoint mine, Endpoint other) = path == KernelLatencyPath.Receive ? (e.Flow!.Value.Source, e.Flow.Value.Destination) : (e.Flow!.Value.Destination, e.Flow.Value.Source);
                Assert.Equal((to, Port, from), (mine.Address, mine.Port, other.Address));
                Assert.Equal(path == KernelLatencyPath.Receive ? "eth0" : "eth1", e.Device);
                Assert.InRange(e.Stages!.Entered().Sum(static s => s.Time.Ticks), e.Latency.Ticks - 10, e.Latency.Ticks + 10); // each is rounded
            }
            result[path] = events;
        }
        return result;
    }

    [LiveTheory(Needs.NetNs | Needs.Functions, "sysctl")]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Every_segment_is_counted_as_often_as_TCP_counts_it(bool v6)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(Everything)));
            // IPv6 reports its groups some seconds after a device is up, through IP as all else. Others do not hear them.
            var unseen = new Dictionary<TestNamespace, ulong>();
            foreach (TestNamespace ns in (TestNamespace[])[left, right])
            {
                await Eventually.TrueAsync(async () =>
                {
                    ulong reports = await ns.NstatAsync("Icmp6OutMsgs");
                    unseen[ns] = reports - bench.Record(probe, ns).Transmit.Count;
                    return reports == await ns.NstatAsync("Icmp6OutMsgs");
                }, "no report between two looks");
            }
            IPAddress to = v6 ? TestNamespace.RightIPv6 : TestNamespace.RightIPv4;
            using Socket listener = await right.ListenAsync(new IPEndPoint(to, Port));
            using Socket client = await left.ConnectTcpAsync(new IPEndPoint(to, Port));
            using Socket server = listener.Accept();
            using var heard = new Heard<KernelLatencyEvent>(probe, e => e.NetworkNamespaceInode == left.Inode && e.Flow is { ProtocolName: "TCP" });
            byte[] buffer = new byte[100_000];
            for (int i = 0; i < 20; i++)
            {
                client.Send(new byte[100]);
                Assert.Equal(100, server.Receive(buffer));
                server.Send(new byte[50_000]);
                for (int got = 0; got < 50_000;) got += client.Receive(buffer);
            }
            KernelLatencyRecord record = default;
            var reported = new Dictionary<TestNamespace, ulong>();
            string counts = "";
            foreach (TestNamespace ns in (TestNamespace[])[left, right])
            {
                await Eventually.TrueAsync(async () =>
                {
                    // What TCP counts are segments of the wire, and some go together as one packet: from the left none does.
                    IReadOnlyDictionary<string, ulong> tcp = await ns.NstatAsync();
                    record = bench.Record(probe, ns);
                    ulong other = reported[ns] = tcp["Icmp6OutMsgs"] - unseen[ns], sent = record.Transmit.Count - other;
                    counts = $"{record.Receive.Count} received, {sent} sent and {other} group reports, {tcp["TcpInSegs"]} and {tcp["TcpOutSegs"]} by TCP";
                    return ns == left ? sent == tcp["TcpOutSegs"] && record.Receive.Count <= tcp["TcpInSegs"] : record.Receive.Count == tcp["TcpInSegs"] && sent <= tcp["TcpOutSegs"];
                }, () => $"as many as TCP's: {counts}");
                Assert.Equal(record.Receive.Count, record.ReceiveDevice.Count);
                Assert.Equal(record.Receive.Count, record.ReceiveRouting.Count);
                Assert.Equal(record.Receive.Count, record.ReceiveSocket.Count);
                Assert.Equal(record.Transmit.Count, record.TransmitDevice.Count);
                Assert.Equal(record.Transmit.Count - reported[ns] - (ns == left ? 0u : 1), record.TransmitRouting.Count); // the answer to the first segment finds its route before
                Assert.Equal(0ul, record.Forward.Count);
            }
            Assert.Equal(bench.Record(probe, left).Receive.Count, record.Transmit.Count - reported[right]);
            Assert.All(heard.Take(), e => Assert.Equal((client.LocalEndPoint!.ToString(), client.RemoteEndPoint!.ToString()), (Text(e.Flow!.Value.Source), Text(e.Flow.Value.Destination))));
        }
    }

    [LiveFact(Needs.NetNs | Needs.Functions, "nft", "sysctl")]
    public async Task What_is_dropped_leaves_nothing_behind_and_what_waits_for_a_neighbour_is_slow_there()
    {
        await using Line line = await Line.CreateAsync();
        await using var bench = new EbpfBench();
        KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(Everything)));
        using var heard = new Heard<KernelLatencyEvent>(probe, e => e.NetworkNamespaceInode == line.Middle.Inode && e.Flow is { ProtocolName: "UDP" });
        using Socket atTheEnd = await line.Right.BindUdpAsync(new IPEndPoint(Line.Address(2, 2, false), Port));
        var to = new IPEndPoint(Line.Address(2, 2, false), Port);
        foreach (string hook in (string[])["prerouting", "forward", "postrouting", "output"])
        {
            await line.Middle.ExecuteAsync("nft", $"add table inet t ; add chain inet t c {{ type filter hook {hook} priority 0 ; }} ; add rule inet t c udp dport {Port} drop");
            await (hook == "output" ? DroppedAsync() : line.Left.SendUdpAsync(50, to));
            await Task.Delay(100);
            await heard.ExactlyAsync(0);
            await line.Middle.ExecuteAsync("nft", "delete table inet t");
        }
        await line.Left.SendUdpAsync(50, to, hops: 1);
        await heard.ExactlyAsync(0);
        await Task.Delay(100);
        DateTimeOffset began = TimeProvider.System.GetUtcNow();
        await line.Left.SendUdpAsync(100, to);
        await line.Middle.SendUdpAsync(100, to);
        IReadOnlyList<KernelLatencyEvent> passed = await heard.ExactlyAsync(200);
        Assert.Equal((100, 100), (passed.Count(static e => e.Path == KernelLatencyPath.Forward), passed.Count(static e => e.Path == KernelLatencyPath.Transmit)));
        Assert.All(passed, e => Assert.True(e.Timestamp - e.Latency > began - TimeSpan.FromMilliseconds(50), e.Message)); // none of those that were dropped

        // Nobody answers; another process, on whichever CPU, says who it is.
        await line.Right.IpAsync("link", "set", "eth0", "arp", "off");
        await line.Middle.IpAsync("neighbour", "delete", "10.97.2.2", "dev", "eth1");
        await line.Left.SendUdpAsync(1, to);
        await line.Middle.SendUdpAsync(1, to);
        await Task.Delay(200);
        await heard.ExactlyAsync(200);
        await line.Middle.IpAsync("neighbour", "replace", "10.97.2.2", "lladdr", "02:00:00:00:02:02", "dev", "eth1", "nud", "permanent");
        IReadOnlyList<KernelLatencyEvent> waited = [.. (await heard.ExactlyAsync(202)).Skip(200)];
        Assert.Equal([KernelLatencyPath.Transmit, KernelLatencyPath.Forward], waited.Select(static e => e.Path).Order());
        foreach (KernelLatencyEvent e in waited)
        {
            Assert.InRange(e.Latency, TimeSpan.FromMilliseconds(200), TimeSpan.FromSeconds(30));
            Assert.True(e.Stages!.Device > e.Latency * 0.8, e.Message);
        }
        KernelLatencyRecord record = bench.Record(probe, line.Middle);
        Assert.True(record.ForwardOver100Ms.Value >= 1 && record.TransmitOver100Ms.Value >= 1);

        async Task DroppedAsync()
        {
            using Socket socket = await line.Middle.BindUdpAsync(new IPEndPoint(IPAddress.Any, 0));
            for (int i = 0; i < 50; i++)
            {
                SocketException refused = Assert.Throws<SocketException>(() => socket.SendTo(new byte[8], to));
                Assert.Equal(SocketError.AccessDenied, refused.SocketErrorCode);
            }
        }
    }

    [LiveTheory(Needs.NetNs | Needs.Functions)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_IP_itself_takes_is_not_counted_as_what_gets_its_memory(bool v6)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(Everything)));
            using var heard = new Heard<KernelLatencyEvent>(probe, e => e.NetworkNamespaceInode == right.Inode && e.Path == KernelLatencyPath.Receive);
            ulong sent = bench.Record(probe, right).Transmit.Count;
            await right.RunAsync(() =>
            {
                string path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
                using var local = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
                local.Bind(new UnixDomainSocketEndPoint(path));
                byte[] message = new byte[200];
                for (int i = 0; i < 50; i++)
                {
                    left.PingAsync(1, v6 ? TestNamespace.RightIPv6 : TestNamespace.RightIPv4).GetAwaiter().GetResult();
                    Thread.Sleep(5);
                    for (int j = 0; j < 4; j++)
                    {
                        local.SendTo(message, new UnixDomainSocketEndPoint(path));
                        Assert.Equal(message.Length, local.Receive(message));
                    }
                }
                File.Delete(path);
            });
            KernelLatencyRecord record = bench.Record(probe, right);
            Assert.True(record.Transmit.Count - sent >= 50, "the answers were followed");
            Assert.Equal((0ul, 0ul), (record.Receive.Count, record.ReceiveOver10Ms.Value));
            await heard.ExactlyAsync(0);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Functions, "sysctl")]
    public async Task Packets_whose_places_are_taken_are_counted_as_such()
    {
        const int Places = 16_384; // bpf/kernellatency.bpf.c
        const int Fragments = 20_000;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            // First fragments whose second never comes wait half a minute.
            await right.ExecuteAsync("sysctl", "-qw", "net.ipv4.ipfrag_high_thresh=100000000");
            await using var bench = new EbpfBench();
            KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(Everything)));
            long before = probe.ReadKernelStatistics().Uncounted;
            await left.SendFramesAsync("eth0", [.. Enumerable.Range(0, Fragments).Select(static i =>
                TestKit.Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, TestKit.Frames.Udp(Port, 24, 0), fragment: 0x2000, identification: (ushort)i))]);
            await Eventually.TrueAsync(async () => await right.NstatAsync("IpReasmReqds") == Fragments, "the fragments");
            Assert.InRange(probe.ReadKernelStatistics().Uncounted - before, Fragments - Places, Fragments);
            Assert.Equal(0ul, bench.Record(probe, right).Receive.Count);
        }
    }

    [LiveTheory(Needs.NetNs | Needs.Functions | Needs.Tap)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Packets_that_IP_is_given_as_lists_are_counted_one_by_one(bool v6)
    {
        const int Frames = 500;
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var tap = new FileStream(await ns.OpenTapAsync("eth0", napi: true), FileAccess.Write, bufferSize: 0);
        await ns.IpAsync("link", "set", "eth0", "addrgenmode", "none");
        await ns.IpAsync("link", "set", "eth0", "address", "02:00:00:00:00:02"); // which the frames are for
        await ns.IpAsync("link", "set", "eth0", "up");
        await ns.IpAsync("address", "add", "10.99.0.2/24", "dev", "eth0");
        await ns.IpAsync("address", "add", "fd99::2/64", "dev", "eth0", "nodad");
        // A thread of its own takes what has come meanwhile (5.12): several packets at once.
        bool several = (await ns.ExecuteAsync("unshare", "--mount", "sh", "-c", "mount -t sysfs sysfs /sys && (echo 1 >/sys/class/net/eth0/threaded) 2>/dev/null && echo yes || echo no")).Trim() == "yes";
        Assert.True(several || !Machine.Knows("dev_set_threaded"), "the device has no thread");
        using Socket receiver = await ns.BindUdpAsync(new IPEndPoint(v6 ? TestNamespace.RightIPv6 : TestNamespace.RightIPv4, Port));
        receiver.ReceiveBufferSize = 4 << 20;
        await using var bench = new EbpfBench();
        KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(Everything)));
        using var heard = new Heard<KernelLatencyEvent>(probe, e => e.NetworkNamespaceInode == ns.Inode && e.Path == KernelLatencyPath.Receive);
        using var measured = new SafeFileHandle(Libbpf.EnableStats(Libbpf.StatsRunTime), ownsHandle: true);

        byte[] frame = TestKit.Frames.Packet(v6 ? TestNamespace.LeftIPv6 : TestNamespace.LeftIPv4, ((IPEndPoint)receiver.LocalEndPoint!).Address, 17, TestKit.Frames.Udp(Port, 20, 0));
        if (v6) frame = WithChecksum(frame);
        for (int i = 0; i < Frames; i++) tap.Write(frame);

        await Eventually.TrueAsync(() => Task.FromResult(bench.Record(probe, ns).Receive.Count == Frames),
            () => $"{Frames} datagrams; received are {bench.Record(probe, ns).Receive.Count}, uncounted {probe.ReadKernelStatistics().Uncounted}");
        KernelLatencyRecord record = bench.Record(probe, ns);
        Assert.Equal(((ulong)Frames, (ulong)Frames, (ulong)Frames), (record.ReceiveDevice.Count, record.ReceiveRouting.Count, record.ReceiveSocket.Count));
        IReadOnlyList<KernelLatencyEvent> events = await heard.ExactlyAsync(Frames);
        Assert.All(events, e => Assert.Equal((Port, "eth0", 28u + (v6 ? 40u : 20)), (e.Flow!.Value.Source.Port, e.Device, e.Bytes)));
        string list = v6 ? "_ipv6_list_rcv" : "_ip_list_rcv";
        ulong lists = ((IHasPrograms)probe).CostOfEach().Single(p => p.Program.EndsWith(list, StringComparison.Ordinal)).Runs;
        Assert.True(lists > 0 && (!several || lists < Frames), $"{lists} lists for {Frames} packets");
    }

    // IPv6 takes no datagram without one: the sum of the pseudo header, and of the datagram.
    private static byte[] WithChecksum(byte[] frame)
    {
        Span<byte> datagram = frame.AsSpan(TestKit.Frames.HeaderOffset + 40);
        byte[] summed = new byte[40 + datagram.Length];
        frame.AsSpan(TestKit.Frames.HeaderOffset + 8, 32).CopyTo(summed);
        (summed[35], summed[39]) = ((byte)datagram.Length, 17);
        datagram.CopyTo(summed.AsSpan(40));
        uint sum = 0;
        for (int i = 0; i < summed.Length; i += 2) sum += (uint)(summed[i] << 8 | summed[i + 1]);
        while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
        (datagram[6], datagram[7]) = ((byte)(~sum >> 8), (byte)~sum);
        return frame;
    }

    // AppArmor has something in the last chain of every namespace.
    private static IEnumerable<string> Names(KernelLatencyEvent e) => e.Stages!.Entered().Select(static s => s.Name).Where(static n => n != "postrouting");

    private static string Text(Endpoint end) => new IPEndPoint(end.Address, end.Port).ToString();

    /// <summary>Three namespaces in a line; the one in the middle is a router, with eth0 to the left and eth1 to the right.</summary>
    private sealed class Line(TestNamespace left, TestNamespace middle, TestNamespace right) : IAsyncDisposable
    {
        internal TestNamespace Left => left;

        internal TestNamespace Middle => middle;

        internal TestNamespace Right => right;

        internal static IPAddress Address(int net, int host, bool v6) => IPAddress.Parse(v6 ? $"fd97:{net}::{host}" : $"10.97.{net}.{host}");

        internal static async Task<Line> CreateAsync()
        {
            var line = new Line(await TestNamespace.CreateAsync(), await TestNamespace.CreateAsync(), await TestNamespace.CreateAsync());
            await line.JoinAsync(line.Left, "eth0", 1);
            await line.JoinAsync(line.Right, "eth1", 2);
            await line.Middle.ExecuteAsync("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
            return line;
        }

        // Neighbours are permanent and address detection is off, so that the only packets are the test's own.
        private async Task JoinAsync(TestNamespace end, string device, int net)
        {
            await end.IpAsync("link", "add", "eth0", "address", $"02:00:00:00:0{net}:02", "type", "veth", "peer", "name", device, "address", $"02:00:00:00:0{net}:01", "netns", middle.ProcessId.ToString(CultureInfo.InvariantCulture));
            foreach ((TestNamespace ns, string name, int own, int peer) in ((TestNamespace, string, int, int)[])[(end, "eth0", 2, 1), (middle, device, 1, 2)])
            {
                await ns.IpAsync("link", "set", name, "addrgenmode", "none");
                await ns.IpAsync("link", "set", name, "up");
                foreach (bool v6 in (bool[])[false, true])
                {
                    await ns.IpAsync([.. (string[])["address", "add", $"{Address(net, own, v6)}/{(v6 ? 64 : 24)}", "dev", name], .. v6 ? (string[])["nodad"] : []]);
                    await ns.IpAsync("neighbour", "replace", Address(net, peer, v6).ToString(), "lladdr", $"02:00:00:00:0{net}:0{peer}", "dev", name, "nud", "permanent");
                    if (ns == end) await ns.IpAsync("route", "add", "default", "via", Address(net, peer, v6).ToString());
                }
            }
        }

        public async ValueTask DisposeAsync()
        {
            await left.DisposeAsync();
            await middle.DisposeAsync();
            await right.DisposeAsync();
        }
    }
}
