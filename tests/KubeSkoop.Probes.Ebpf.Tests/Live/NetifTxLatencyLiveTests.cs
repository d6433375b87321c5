using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>netiftxlatency: packets held by a shaper of known rate and by a tap device nobody reads, counted beside tc and ip.</summary>
public sealed class NetifTxLatencyLiveTests
{
    private const int Payload = 1000;

    [BpfTheory(Needs.NetNs | Needs.Bpf, "tc")]
    [InlineData("10.99.0.2", 42)]
    [InlineData("fd99::2", 62)]
    public async Task Packets_behind_a_shaper_wait_as_long_as_its_rate_says(string address, int headers)
    {
        const int Packets = 30;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            NetifTxLatencyProbe probe = await bench.StartAsync(static p => new NetifTxLatencyProbe(p, Options.Create(new NetifTxLatencyOptions { QueueThreshold = TimeSpan.Zero, EventsPerSecond = 0 })));
            using var heard = new Heard<NetifTxLatencyEvent>(probe, left);
            await left.ExecuteAsync("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "1mbit", "burst", "1600", "limit", "100000");
            using Socket receiver = await right.BindUdpAsync(new IPEndPoint(IPAddress.Parse(address), 4711));
            using Socket sender = await left.BindUdpAsync(new IPEndPoint(receiver.AddressFamily == AddressFamily.InterNetwork ? TestNamespace.LeftIPv4 : TestNamespace.LeftIPv6, 0));

            Task<long[]> receiving = Task.Run(() =>
            {
                var arrived = new long[Packets];
                for (int i = 0; i < Packets; i++)
                {
                    Assert.Equal(Payload, receiver.Receive(new byte[2000]));
                    arrived[i] = Stopwatch.GetTimestamp();
                }
                return arrived;
            });
            var sent = new (long Before, long After)[Packets];
            for (int i = 0; i < Packets; i++)
            {
                sent[i].Before = Stopwatch.GetTimestamp();
                sender.SendTo(new byte[Payload], receiver.LocalEndPoint!);
                sent[i].After = Stopwatch.GetTimestamp();
            }
            long[] arrived = await receiving.WaitAsync(TimeSpan.FromSeconds(30));

            // The kernel may have something of its own to send (multicast memberships).
            static bool IsOurs(NetifTxLatencyEvent e) => e.Flow?.Destination.Port == 4711;
            await Eventually.TrueAsync(() => Task.FromResult(heard.Take().Count(IsOurs) == Packets),
                () => $"{Packets} packets to be told: {string.Join("; ", heard.Take().Select(static e => e.Message))}; {bench.Record(probe, left).Queue.Count} counted; {probe.ReadKernelStatistics()}", TimeSpan.FromSeconds(3));
            NetifTxLatencyEvent[] events = [.. heard.Take().Where(IsOurs).OrderBy(static e => e.Timestamp)];
            for (int i = 0; i < Packets; i++)
            {
                // Not before the tokens are there for all before it and itself, and not after it has arrived.
                TimeSpan earliest = TimeSpan.FromMicroseconds((((i + 1) * (Payload + headers)) - 1600) * 8) - Stopwatch.GetElapsedTime(sent[0].Before, sent[i].After);
                Assert.InRange(events[i].Latency, earliest < TimeSpan.Zero ? TimeSpan.Zero : earliest, Stopwatch.GetElapsedTime(sent[i].Before, arrived[i]));
                Assert.Equal((NetifTxLatencyKind.Queue, "eth0", "tbf", (uint)(Payload + headers)), (events[i].Kind, events[i].Device, events[i].Qdisc, events[i].Bytes));
                if (i > Packets / 2) Assert.InRange(events[i].Backlog, (uint)(Packets - 1 - i), (uint)(Packets - 1 - i + 3)); // all were sent by then
                Assert.Equal(((IPEndPoint)receiver.LocalEndPoint!).Address, new IPEndPoint(events[i].Flow!.Value.Destination.Address, events[i].Flow!.Value.Destination.Port).Address);
            }
            Assert.True(events[^1].Latency > TimeSpan.FromMilliseconds(150));
            NetifTxLatencyRecord record = default;
            ulong passed = 0;
            await Eventually.TrueAsync(async () =>
            {
                record = bench.Record(probe, left);
                passed = await SentThroughQdiscAsync(left);
                return record.Queue.Count == passed && (ulong)heard.Take().Count == passed;
            }, () => $"the probe ({record.Queue.Count}), its events ({heard.Take().Count}) and tc ({passed}) to agree", TimeSpan.FromSeconds(3));
            List<NetifTxLatencyEvent> all = heard.Take();
            Assert.Equal((ulong)all.Count(static e => e.Latency >= TimeSpan.FromMilliseconds(1)), record.QueueOver1Ms.Value);
            Assert.Equal((ulong)all.Count(static e => e.Latency >= TimeSpan.FromMilliseconds(100)), record.QueueOver100Ms.Value);
            Assert.Equal(0ul, bench.Record(probe, right).Queue.Count);
        }
    }

    // One in four overtakes the others, which wait for 60 ms: the two kinds are told apart, and none is in between.
    // netem takes its time before the tracepoint tells that it has the packet: a pause between the two (0.2 ms, seen in emulation) is not in the latency.
    [LiveFact(Needs.Netem | Needs.Bpf, "tc", "sysctl")]
    public Task Packets_that_netem_delays_wait_as_long_as_it_says_and_those_that_overtake_do_not() => Eventually.ExactlyOnceInFiveAsync(async () =>
    {
        const int Packets = 40;
        TimeSpan delay = TimeSpan.FromMilliseconds(60);
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            NetifTxLatencyProbe probe = await bench.StartAsync(static p => new NetifTxLatencyProbe(p, Options.Create(new NetifTxLatencyOptions { QueueThreshold = TimeSpan.Zero, EventsPerSecond = 0 })));
            using var heard = new Heard<NetifTxLatencyEvent>(probe, left);
            await left.ExecuteAsync("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"); // it reports its groups some seconds after a device is up
            await left.ExecuteAsync("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "60ms", "reorder", "25%", "gap", "4");
            using Socket receiver = await right.BindUdpAsync(new IPEndPoint(TestNamespace.RightIPv4, 4711));
            using Socket sender = await left.BindUdpAsync(new IPEndPoint(TestNamespace.LeftIPv4, 0));
            long began = Stopwatch.GetTimestamp();
            for (int i = 0; i < Packets; i++) sender.SendTo(BitConverter.GetBytes(i), receiver.LocalEndPoint!);
            var order = new List<int>();
            byte[] packet = new byte[4];
            while (order.Count < Packets)
            {
                Assert.Equal(4, receiver.Receive(packet));
                order.Add(BitConverter.ToInt32(packet));
            }
            TimeSpan all = Stopwatch.GetElapsedTime(began);
            // Those that came before one that was sent earlier.
            int overtook = order.Where((number, place) => order.Skip(place + 1).Any(later => later < number)).Count();
            Assert.InRange(overtook, 1, Packets - 1);
            NetifTxLatencyRecord record = default;
            await Eventually.TrueAsync(async () =>
            {
                record = bench.Record(probe, left);
                return record.Queue.Count == await SentThroughQdiscAsync(left);
            }, "the probe and tc to agree", TimeSpan.FromSeconds(3));
            int half = Log2Histogram.BucketOf((ulong)(delay / 2).TotalMicroseconds);
            ulong waited = Enumerable.Range(half + 1, Log2Histogram.BucketCount - half - 1).Aggregate(0ul, (sum, i) => sum + record.Queue[i]);
            Assert.Equal(((ulong)Packets, (ulong)(Packets - overtook)), (record.Queue.Count, waited));
            // Several that leave at once are told by their first.
            await Eventually.TrueAsync(() => heard.Take().Exists(e => e.Latency >= delay), "one that waited to be told");
            Assert.All(heard.Take(), e =>
            {
                Assert.Equal(("netem", "eth0"), (e.Qdisc, e.Device));
                Assert.True((e.Latency >= delay && e.Latency <= all) || e.Latency < delay / 2, e.Message);
            });
        }
    });

    [BpfFact(Needs.NetNs | Needs.Bpf, "tc")]
    public async Task Every_segment_of_large_TCP_packets_that_the_shaper_cuts_is_measured()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            NetifTxLatencyProbe probe = await bench.StartAsync(static p => new NetifTxLatencyProbe(p));
            await left.ExecuteAsync("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "5mbit", "burst", "1600", "limit", "1000000");
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = listener.Accept();
            client.Send(new byte[200_000]);
            byte[] buffer = new byte[65536];
            for (int rest = 200_000; rest > 0;) rest -= server.Receive(buffer);

            NetifTxLatencyRecord record = default;
            ulong sent = 0;
            await Eventually.TrueAsync(async () =>
            {
                record = bench.Record(probe, left);
                sent = await SentThroughQdiscAsync(left); // acknowledgements may still be on their way
                return record.Queue.Count == sent;
            }, () => $"the probe ({record.Queue.Count}) and tc ({sent}) to agree; {probe.ReadKernelStatistics()}", TimeSpan.FromSeconds(3));
            Assert.True(record.Queue.Count > 200_000 / 1448);
            // 200 kB at 5 Mbit/s take 320 ms. The first window of ten segments takes 23 ms; half of that is the least there can be on average, and later windows are larger.
            Assert.InRange(record.Queue.Sum / record.Queue.Count, 10_000ul, 320_000ul);
        }
    }

    // Their large packets are put in, and end there; the datagrams that leave have the memory of those of before.
    [BpfTheory(Needs.NetNs | Needs.Bpf, "tc")]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task Datagrams_that_the_shaper_cuts_take_no_time_of_what_had_their_memory(string address)
    {
        const int Packets = 100, Each = 10;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await left.ExecuteAsync("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "100mbit", "burst", "2000", "limit", "3000000");
            await using var bench = new EbpfBench();
            NetifTxLatencyProbe probe = await bench.StartAsync(static p => new NetifTxLatencyProbe(p, Options.Create(new NetifTxLatencyOptions { QueueThreshold = TimeSpan.Zero, EventsPerSecond = 0 })));
            using var heard = new Heard<NetifTxLatencyEvent>(probe, e => e.NetworkNamespaceInode == left.Inode && e.Flow?.ProtocolName == "UDP");
            using Socket receiver = await right.BindUdpAsync(new IPEndPoint(IPAddress.Parse(address), 4711));
            ulong first = await SentThroughQdiscAsync(left), before = bench.Record(probe, left).Queue.Count;
            int received = await left.SendCutUdpAsync(receiver, Packets, Each, 1000);
            Assert.Equal(Packets * Each, received);
            await left.SendUdpAsync(20, (IPEndPoint)receiver.LocalEndPoint!, 900);
            ulong sent = 0;
            await Eventually.TrueAsync(async () => (sent = await SentThroughQdiscAsync(left) - first) >= (Packets * Each) + 20, () => $"all to be sent ({sent})");
            await Task.Delay(100);
            // Those put in as they leave, and maybe what IPv6 has to say. Several that leave at once are told by their first.
            Assert.InRange(bench.Record(probe, left).Queue.Count - before, 20ul, 30ul);
            List<NetifTxLatencyEvent> told = heard.Take();
            Assert.NotEmpty(told);
            Assert.All(told, e => Assert.True(e.Bytes < 1000, e.Message));
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf, "tc")]
    public async Task Packets_that_ended_in_the_queue_leave_no_delay_behind()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            NetifTxLatencyProbe probe = await bench.StartAsync(static p => new NetifTxLatencyProbe(p));
            using var heard = new Heard<NetifTxLatencyEvent>(probe, left);
            await left.ExecuteAsync("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "8kbit", "burst", "1600", "limit", "100000");
            await left.SendUdpAsync(50, new IPEndPoint(TestNamespace.RightIPv4, 4711), Payload);
            await Task.Delay(150);
            await left.ExecuteAsync("tc", "qdisc", "delete", "dev", "eth0", "root"); // and what it holds
            await left.ExecuteAsync("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "1gbit", "burst", "1mb", "limit", "2mb");
            NetifTxLatencyRecord before = bench.Record(probe, left); // one had its tokens at once, and maybe the kernel had something small of its own to send
            await left.SendUdpAsync(500, new IPEndPoint(TestNamespace.RightIPv4, 4711), Payload); // memory of those is used again
            NetifTxLatencyRecord record = bench.Record(probe, left);
            Assert.InRange(before.Queue.Count, 1ul, 20ul);
            Assert.InRange(record.Queue.Count, before.Queue.Count + 500, before.Queue.Count + 510);
            Assert.Equal(before.QueueOver100Ms.Value, record.QueueOver100Ms.Value);
            await heard.ExactlyAsync((int)before.QueueOver100Ms.Value);
        }
    }

    // One CPU puts a packet in, the other takes it out before the first has told of it. Its address is another packet's after the pause.
    [LiveTheory(Needs.NetNs | Needs.Bpf | Needs.TwoCpus | Needs.Native, "tc")]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task A_queue_without_a_lock_takes_no_packet_for_one_of_before_a_pause(string address)
    {
        TimeSpan burst = TimeSpan.FromMilliseconds(150), pause = TimeSpan.FromMilliseconds(250);
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await left.ExecuteAsync("tc", "qdisc", "replace", "dev", "eth0", "root", "pfifo_fast");
            await using var bench = new EbpfBench();
            NetifTxLatencyProbe probe = await bench.StartAsync(p => new NetifTxLatencyProbe(p, Options.Create(new NetifTxLatencyOptions { QueueThreshold = pause * 0.9, EventsPerSecond = 0 })));
            using var heard = new Heard<NetifTxLatencyEvent>(probe, left);
            using Socket receiver = await right.BindUdpAsync(new IPEndPoint(IPAddress.Parse(address), 4712));
            using var both = new Barrier(2);
            Task Flood() => left.RunAsync(() =>
            {
                using var socket = new Socket(receiver.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
                socket.Connect(receiver.LocalEndPoint!);
                byte[] packet = new byte[100];
                for (int i = 0; i < 4; i++)
                {
                    Assert.True(both.SignalAndWait(TimeSpan.FromSeconds(30)));
                    for (long began = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(began) < burst;) socket.Send(packet);
                    Assert.True(both.SignalAndWait(TimeSpan.FromSeconds(30)));
                    Thread.Sleep(pause);
                }
            });
            await Task.WhenAll(Flood(), Flood());
            // On a busy machine they may not have met.
            await Eventually.TrueAsync(async () =>
            {
                await Task.WhenAll(Flood(), Flood());
                return bench.Record(probe, left).Queue.Count > 0;
            }, "a packet to be put into the queue", TimeSpan.FromSeconds(30));
            await Task.Delay(50);
            Assert.Empty(heard.Take().Select(static e => e.Message));
        }
    }

    // Since 6.16 a veth device whose peer receives in a thread of its own (NAPI) pushes back when 256 packets wait for that, which here are slow to be received.
    // The queue holds segments, or packets that are cut only on their way out of it: then segments are what comes again.
    [BpfTheory(Needs.VethPushback | Needs.Bpf | Needs.Native, "tc", "nft")]
    [InlineData("10.99.0.2", false)]
    [InlineData("fd99::2", false)]
    [InlineData("10.99.0.2", true)]
    [InlineData("fd99::2", true)]
    public async Task A_packet_that_the_device_pushed_back_is_counted_once(string address, bool isCut)
    {
        const uint SetTso = 0x1f, SetGro = 0x2c; // ETHTOOL_STSO, ETHTOOL_SGRO
        const int Connections = 100, Bytes = 30_000;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await left.SetDeviceFeatureAsync("eth0", SetTso, false);
            if (!isCut) await left.IpAsync("link", "set", "eth0", "gso_max_segs", "1");
            await right.SetDeviceFeatureAsync("eth0", SetGro, true);
            await Command.OutputAsync("ip", "netns", "exec", right.Name!, "sh", "-c", "echo 1 > /sys/class/net/eth0/threaded");
            await left.ExecuteAsync("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "10gbit", "burst", "10mb", "limit", "100mb");
            await left.ExecuteAsync("nft", "add table netdev kst; add chain netdev kst out { type filter hook egress device eth0 priority 0; }; add rule netdev kst out counter");
            await using var bench = new EbpfBench();
            NetifTxLatencyProbe probe = await bench.StartAsync(static p => new NetifTxLatencyProbe(p));
            ulong before = 0, first = 0;
            await Eventually.TrueAsync(async () =>
            {
                first = await SentAsync();
                before = bench.Record(probe, left).Queue.Count;
                return first == await SentAsync();
            }, "nothing to be sent between two looks");
            using Socket listener = await right.ListenAsync(new IPEndPoint(IPAddress.Parse(address), 0));
            var sockets = new List<(Socket Client, Socket Server)>();
            try
            {
                for (int i = 0; i < Connections; i++) sockets.Add((await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!), listener.Accept()));
                await right.ExecuteAsync("nft", SlowInput(14)); // what they know of the time it takes is short, so they send much at once
                foreach ((Socket client, Socket _) in sockets) Assert.Equal(Bytes, client.Send(new byte[Bytes]));
                byte[] buffer = new byte[65536];
                foreach ((Socket _, Socket server) in sockets)
                    for (int rest = Bytes; rest > 0;) rest -= server.Receive(buffer);
            }
            finally
            {
                foreach ((Socket client, Socket server) in sockets)
                {
                    client.Dispose();
                    server.Dispose();
                }
            }
            ulong counted = 0, sent = 0;
            await Eventually.TrueAsync(async () =>
            {
                sent = await SentAsync() - first;
                counted = bench.Record(probe, left).Queue.Count - before;
                return counted == sent && sent == await SentAsync() - first;
            }, () => $"the probe ({counted}) and {(isCut ? "nft" : "tc")} ({sent}) to agree", TimeSpan.FromSeconds(3));
            using JsonDocument tc = JsonDocument.Parse(await left.ExecuteAsync("tc", "-s", "-j", "qdisc", "show", "dev", "eth0"));
            Assert.True(tc.RootElement[0].GetProperty("requeues").GetUInt64() > 0);
            Assert.Equal(isCut, tc.RootElement[0].GetProperty("packets").GetUInt64() > first + sent + 100);
        }

        // tc counts what a packet will be cut into, nft what it is.
        async Task<ulong> SentAsync()
        {
            if (!isCut) return await SentThroughQdiscAsync(left);
            using JsonDocument nft = JsonDocument.Parse(await left.ExecuteAsync("nft", "-j", "list", "chain", "netdev", "kst", "out"));
            return nft.RootElement.GetProperty("nftables").EnumerateArray().Single(static e => e.TryGetProperty("rule", out _))
                .GetProperty("rule").GetProperty("expr")[0].GetProperty("counter").GetProperty("packets").GetUInt64();
        }

        // Two jumps to a chain that jumps to the next twice.
        static string SlowInput(int depth)
        {
            string rules = $"add table inet kst; add chain inet kst c{depth}; add rule inet kst c{depth} counter";
            for (int i = depth - 1; i >= 0; i--) rules += $"; add chain inet kst c{i}; add rule inet kst c{i} jump c{i + 1}; add rule inet kst c{i} jump c{i + 1}";
            return rules + "; add chain inet kst in { type filter hook input priority 0; }; add rule inet kst in jump c0";
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Without_a_queue_there_is_no_time_in_it_and_every_call_of_a_driver_is_counted()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            NetifTxLatencyProbe probe = await bench.StartAsync(static p => new NetifTxLatencyProbe(p, Options.Create(new NetifTxLatencyOptions { DriverSampling = 1 })));
            using var heard = new Heard<NetifTxLatencyEvent>(probe, left);
            (ulong counted, ulong before) = await AgreeingAsync(bench, probe, left, null);
            await left.SendUdpAsync(200, new IPEndPoint(TestNamespace.RightIPv4, 4711));
            await left.SendUdpAsync(100, new IPEndPoint(IPAddress.IPv6Loopback, 4711));
            await left.TcpConnectionsAsync(50, bytes: 1000);

            (ulong after, ulong sent) = await AgreeingAsync(bench, probe, left, before - counted);
            Assert.True(sent - before >= 300 + (50 * 6) && after - counted == sent - before);
            probe.Configure(new NetifTxLatencyOptions { DriverSampling = 16 });
            await left.SendUdpAsync(3200, new IPEndPoint(TestNamespace.RightIPv4, 4711));
            Assert.InRange(bench.Record(probe, left).Driver.Count - after, 100ul, 400ul); // one in 16 of all the machine's
            NetifTxLatencyRecord record = bench.Record(probe, left);
            Assert.Equal((0ul, 0ul, 0ul), (record.Queue.Count, record.QueueOver1Ms.Value, record.DriverOver100Ms.Value));
            Assert.True(record.Completion.IsAbsent);
            Assert.False(record.CompletionOver1Ms.HasValue);
            await heard.ExactlyAsync(0);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf | Needs.Tap)]
    public async Task A_packet_is_complete_when_its_driver_is_done_with_it()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        NetifTxLatencyProbe probe = await bench.StartAsync(static p => new NetifTxLatencyProbe(p, Options.Create(new NetifTxLatencyOptions { Completions = true })));
        using var heard = new Heard<NetifTxLatencyEvent>(probe, ns);
        await using var tap = new FileStream(await ns.OpenTapAsync("tap0"), FileAccess.Read, bufferSize: 0);
        await ns.IpAsync("link", "set", "tap0", "addrgenmode", "none");
        await ns.IpAsync("link", "set", "tap0", "up");
        await ns.IpAsync("address", "add", "10.98.0.1/24", "dev", "tap0");
        await ns.IpAsync("neighbour", "replace", "10.98.0.2", "lladdr", "02:00:00:00:00:02", "dev", "tap0", "nud", "permanent");
        using Socket sender = await ns.BindUdpAsync(new IPEndPoint(IPAddress.Parse("10.98.0.1"), 0));

        long earliest = Stopwatch.GetTimestamp();
        sender.SendTo(new byte[Payload], new IPEndPoint(IPAddress.Parse("10.98.0.2"), 4711));
        long latest = Stopwatch.GetTimestamp();
        await Task.Delay(150);
        long before = Stopwatch.GetTimestamp();
        byte[] frame = new byte[2000];
        int length = tap.Read(frame);
        long after = Stopwatch.GetTimestamp();
        Assert.Equal(Payload + 42, length);

        NetifTxLatencyEvent e = Assert.Single(await heard.ExactlyAsync(1));
        Assert.InRange(e.Latency, Stopwatch.GetElapsedTime(latest, before), Stopwatch.GetElapsedTime(earliest, after));
        Assert.Equal((NetifTxLatencyKind.Completion, "tap0", (string?)null), (e.Kind, e.Device, e.Qdisc));
        Assert.Equal(4711, e.Flow!.Value.Destination.Port);
        NetifTxLatencyRecord record = bench.Record(probe, ns);
        Assert.Equal((1ul, 1ul, 1ul), (record.Completion.Count, record.CompletionOver1Ms.Value, record.CompletionOver100Ms.Value));
        Assert.Equal(Environment.OSVersion.Version < new Version(5, 14) ? 1ul : 0ul, record.Queue.Count); // since then an empty queue is passed by

        // What loopback and veth deliver is received, not completed.
        await ns.SendUdpAsync(20, new IPEndPoint(IPAddress.Loopback, 4711));
        Assert.Equal(1ul, bench.Record(probe, ns).Completion.Count);
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Other_programs_are_taken_at_a_start_and_thresholds_at_once()
    {
        await using var bench = new EbpfBench();
        NetifTxLatencyProbe probe = await bench.StartAsync(static p => new NetifTxLatencyProbe(p));
        Assert.True(probe.CanConfigureWhileRunning(new NetifTxLatencyOptions { QueueThreshold = TimeSpan.FromMilliseconds(1) }));
        probe.Configure(new NetifTxLatencyOptions { QueueThreshold = TimeSpan.FromMilliseconds(1) });
        var with = new NetifTxLatencyOptions { Completions = true };
        Assert.False(probe.CanConfigureWhileRunning(with));
        Assert.Throws<InvalidOperationException>(() => probe.Configure(with));
        Assert.False(probe.Options.Completions);
        await probe.StopAsync();
        probe.Configure(with);
        await probe.StartAsync();
        Assert.False(probe.Sample().Rows[0].Value.Completion.IsAbsent);
    }

    private static async Task<ulong> SentThroughQdiscAsync(TestNamespace ns)
    {
        using JsonDocument tc = JsonDocument.Parse(await ns.ExecuteAsync("tc", "-s", "-j", "qdisc", "show", "dev", "eth0"));
        return tc.RootElement[0].GetProperty("packets").GetUInt64();
    }

    // What the probe and the devices have counted, at a moment when nothing was sent in between; what they are to differ by when it is known.
    private static async Task<(ulong Counted, ulong Sent)> AgreeingAsync(EbpfBench bench, NetifTxLatencyProbe probe, TestNamespace ns, ulong? difference)
    {
        ulong counted = 0, sent = 0;
        await Eventually.TrueAsync(async () =>
        {
            sent = await TransmittedAsync(ns);
            counted = bench.Record(probe, ns).Driver.Count;
            return sent == await TransmittedAsync(ns) && (difference is null || sent - counted == difference);
        }, () => $"the probe ({counted}) and ip ({sent}) to agree");
        return (counted, sent);
    }

    private static async Task<ulong> TransmittedAsync(TestNamespace ns)
    {
        ulong packets = 0;
        foreach ((string _, IReadOnlyDictionary<string, ulong> statistics) in await ns.IpLinkStatsAsync()) packets += statistics["tx.packets"];
        return packets;
    }
}
