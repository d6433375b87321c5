using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>kernellatency without stages, as on kernels that let nobody hook functions: every packet is counted once, on its way and in its namespace.</summary>
public sealed class KernelLatencyLiveTests
{
    private static readonly KernelLatencyOptions Everything = new() { Coarse = true, Sampling = 1, Threshold = TimeSpan.Zero, EventsPerSecond = 0 };

    [BpfTheory(Needs.NetNs | Needs.Bpf)]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task Segments_are_counted_where_they_are_sent_and_where_they_are_received(string address)
    {
        const int Messages = 100;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(Everything)));
            Assert.Contains("without stages: coarse", probe.Status.Source, StringComparison.Ordinal);
            using Socket listener = await right.ListenAsync(new IPEndPoint(IPAddress.Parse(address), 0));
            var to = (IPEndPoint)listener.LocalEndPoint!;
            using Socket client = await left.ConnectTcpAsync(to);
            client.NoDelay = true;
            using Socket server = listener.Accept();
            Assert.Equal(0ul, bench.Record(probe, right).Receive.Count); // of a handshake
            ulong sentBefore = bench.Record(probe, left).Transmit.Count, segmentsBefore = await SegmentsAsync(left);
            using var received = new Heard<KernelLatencyEvent>(probe, right);
            using var sent = new Heard<KernelLatencyEvent>(probe, left);

            // Nobody reads, so that nobody holds the socket. While acknowledgements are late, several messages become one segment.
            for (int i = 0; i < Messages; i++) client.Send(new byte[10]);
            await Eventually.TrueAsync(() => server.Available == Messages * 10, "all to arrive");
            ulong segments = 0, counted = 0, transmitted = 0;
            await Eventually.TrueAsync(async () =>
            {
                segments = await SegmentsAsync(left) - segmentsBefore;
                counted = bench.Record(probe, right).Receive.Count;
                transmitted = bench.Record(probe, left).Transmit.Count - sentBefore;
                return segments == counted && segments == transmitted && segments > 10;
            }, () => $"nstat ({segments}), the receiver ({counted}) and the sender ({transmitted}) to agree");

            var from = (IPEndPoint)client.LocalEndPoint!;
            uint headers = to.AddressFamily == AddressFamily.InterNetwork ? 20 + 32u : 40 + 32;
            KernelLatencyEvent[] ins = [], outs = [];
            await Eventually.TrueAsync(() =>
            {
                ins = [.. received.Take().Where(static e => e.Path == KernelLatencyPath.Receive)]; // beside acknowledgements sent
                outs = [.. sent.Take().Where(static e => e.Path == KernelLatencyPath.Transmit)];
                return ins.Length >= (int)segments && outs.Length >= (int)segments;
            }, "an event of each");
            foreach ((KernelLatencyEvent[] events, Endpoint local, Endpoint remote) in ((KernelLatencyEvent[], Endpoint, Endpoint)[])[(ins, Of(to), Of(from)), (outs, Of(from), Of(to))])
            {
                Assert.Equal((int)segments, events.Length);
                Assert.Equal(((uint)segments * headers) + (Messages * 10), (uint)events.Sum(static e => e.Bytes));
                Assert.All(events, e => Assert.Equal((local, remote, "TCP", (KernelLatencyStages?)null), (e.Flow!.Value.Source, e.Flow.Value.Destination, e.Flow.Value.ProtocolName, e.Stages)));
            }
            Assert.All(outs, static e => Assert.Equal("eth0", e.Device));
            KernelLatencyRecord record = bench.Record(probe, right);
            // Times are kept in nanoseconds, events have ticks of 100 of them.
            Assert.InRange(record.Receive.Sum, Sum(received.Take()) - 1, Sum(received.Take()) + (Messages / 10) + 1);
        }
    }

    [BpfTheory(Needs.NetNs | Needs.Bpf)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Segments_that_leave_through_a_bridge_are_counted_once(bool v6)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            // The device becomes a port, and the bridge gets its address.
            await left.IpAsync("address", "flush", "dev", "eth0");
            await left.IpAsync("link", "add", "br0", "address", "02:00:00:00:00:01", "type", "bridge");
            await left.IpAsync("link", "set", "br0", "addrgenmode", "none");
            await left.IpAsync("link", "set", "eth0", "master", "br0");
            await left.IpAsync("link", "set", "br0", "up");
            foreach ((string own, string peer) in ((string, string)[])[("10.99.0.1/24", "10.99.0.2"), ("fd99::1/64", "fd99::2")])
            {
                await left.IpAsync([.. (string[])["address", "add", own, "dev", "br0"], .. own.Contains(':', StringComparison.Ordinal) ? (string[])["nodad"] : []]);
                await left.IpAsync("neighbour", "replace", peer, "lladdr", "02:00:00:00:00:02", "dev", "br0", "nud", "permanent");
            }
            await using var bench = new EbpfBench();
            KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(Everything)));
            using Socket listener = await right.ListenAsync(new IPEndPoint(v6 ? TestNamespace.RightIPv6 : TestNamespace.RightIPv4, 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = listener.Accept();
            ulong countedBefore = bench.Record(probe, left).Transmit.Count, before = await SegmentsAsync(left);
            DateTimeOffset began = TimeProvider.System.GetUtcNow();
            using var heard = new Heard<KernelLatencyEvent>(probe, e => e.NetworkNamespaceInode == left.Inode && e.Path == KernelLatencyPath.Transmit && e.Timestamp >= began);
            byte[] buffer = new byte[10];
            for (int i = 0; i < 50; i++)
            {
                client.Send(buffer);
                Assert.Equal(10, server.Receive(buffer));
                server.Send(buffer);
                Assert.Equal(10, client.Receive(buffer));
            }
            // The last is acknowledged late.
            ulong segments = 0, counted = 0;
            List<KernelLatencyEvent> told = [];
            await Eventually.TrueAsync(async () =>
            {
                segments = await SegmentsAsync(left) - before;
                counted = bench.Record(probe, left).Transmit.Count - countedBefore;
                told = heard.Take();
                return segments >= 50 && counted == segments && told.Count == (int)segments;
            }, () => $"{segments} segments to be counted and told, not {counted} and {told.Count}");
            Assert.All(told, static e => Assert.Equal("br0", e.Device));
        }
    }

    [BpfTheory(Needs.NetNs | Needs.DataReady)]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task Datagrams_are_counted_where_they_are_received(string address)
    {
        const int Datagrams = 100;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(Everything)));
            using var heard = new Heard<KernelLatencyEvent>(probe, right);
            using Socket receiver = await right.BindUdpAsync(new IPEndPoint(IPAddress.Parse(address), 4711));
            await left.SendUdpAsync(Datagrams, (IPEndPoint)receiver.LocalEndPoint!, 50);
            await Eventually.EqualAsync((ulong)Datagrams, () => bench.Record(probe, right).Receive.Count, "the datagrams received");
            foreach (KernelLatencyEvent e in await heard.ExactlyAsync(Datagrams))
            {
                Assert.Equal((KernelLatencyPath.Receive, "UDP", (KernelLatencyStages?)null), (e.Path, e.Flow!.Value.ProtocolName, e.Stages));
                Assert.Equal((IPAddress.Parse(address), 4711), (e.Flow.Value.Source.Address, e.Flow.Value.Source.Port));
                Assert.Equal((uint)(50 + 8 + (receiver.AddressFamily == AddressFamily.InterNetwork ? 20 : 40)), e.Bytes);
            }
            // Datagrams look up their route before there is a packet, and have no stamp.
            Assert.Equal((0ul, 0ul), (bench.Record(probe, left).Receive.Count, bench.Record(probe, left).Transmit.Count));

            // To nobody: they end, and nothing is left of them for those that get their memory.
            await left.SendUdpAsync(20, new IPEndPoint(receiver.AddressFamily == AddressFamily.InterNetwork ? TestNamespace.RightIPv4 : TestNamespace.RightIPv6, 4712), 50);
            await Task.Delay(100);
            DateTimeOffset began = TimeProvider.System.GetUtcNow();
            await left.SendUdpAsync(Datagrams, (IPEndPoint)receiver.LocalEndPoint!, 50);
            await Eventually.EqualAsync(2ul * Datagrams, () => bench.Record(probe, right).Receive.Count, "the datagrams received");
            Assert.All((await heard.ExactlyAsync(2 * Datagrams)).Skip(Datagrams), e => Assert.True(e.Timestamp - e.Latency > began - TimeSpan.FromMilliseconds(50), e.Message));
        }
    }

    // Ten datagrams sent as one packet, which the socket cuts again: they have the memory of packets that have ended, some of them unseen.
    [BpfTheory(Needs.NetNs | Needs.DataReady)]
    [InlineData("10.99.0.2")]
    [InlineData("fd99::2")]
    public async Task Datagrams_cut_from_a_large_packet_take_no_time_of_what_had_their_memory(string address)
    {
        const int Packets = 100, Each = 10;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(Everything)));
            using var heard = new Heard<KernelLatencyEvent>(probe, e => e.NetworkNamespaceInode == right.Inode && e.Flow?.ProtocolName == "UDP");
            using Socket receiver = await right.BindUdpAsync(new IPEndPoint(IPAddress.Parse(address), 4711));
            await left.TcpConnectionsAsync(30, bytes: 1000);
            await right.TcpConnectionsAsync(30, bytes: 1000);
            await left.SendUdpAsync(30, new IPEndPoint(IPAddress.Parse(address), 4712), 1000); // to nobody
            ulong before = bench.Record(probe, right).Receive.Count;
            int received = await left.SendCutUdpAsync(receiver, Packets, Each, 1000);
            Assert.Equal(Packets * Each, received);
            await left.SendUdpAsync(20, (IPEndPoint)receiver.LocalEndPoint!, 1000);
            await Eventually.EqualAsync(before + 20, () => bench.Record(probe, right).Receive.Count, "only the datagrams that came as they are");
            // What was put together of fragments is not as it came, either, and counts.
            await left.SendUdpAsync(20, (IPEndPoint)receiver.LocalEndPoint!, 4000);
            await Eventually.EqualAsync(before + 40, () => bench.Record(probe, right).Receive.Count, "the datagrams of fragments");
            uint headers = receiver.AddressFamily == AddressFamily.InterNetwork ? 28u : 48u;
            Assert.Equal([.. Enumerable.Repeat(1000 + headers, 20), .. Enumerable.Repeat(4000 + headers, 20)], (await heard.ExactlyAsync(40)).Select(static e => e.Bytes));
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Only_totals_are_there_before_the_first_packet_and_nothing_is_told_that_is_fast()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(new KernelLatencyOptions { Coarse = true, Sampling = 1, Threshold = TimeSpan.FromHours(1) })));
            using var heard = new Heard<KernelLatencyEvent>(probe, static _ => true);
            KernelLatencyRecord record = bench.Record(probe, right);
            Assert.Equal((0ul, 0ul, 0ul, 0ul), (record.ReceiveOver10Ms.Value, record.ReceiveOver100Ms.Value, record.TransmitOver10Ms.Value, record.TransmitOver100Ms.Value));
            Assert.False(record.ForwardOver10Ms.HasValue || record.ForwardOver100Ms.HasValue);
            Assert.False(record.Receive.IsAbsent || record.Transmit.IsAbsent);
            Assert.All(
                (Log2Histogram[])
                [
                    record.Forward, record.ReceiveDevice, record.ReceivePrerouting, record.ReceiveRouting, record.ReceiveLocalIn, record.ReceiveSocket, record.TransmitLocalOut, record.TransmitRouting,
                    record.TransmitPostrouting, record.TransmitDevice, record.ForwardReceive, record.ForwardPrerouting, record.ForwardRouting, record.ForwardForward, record.ForwardPostrouting, record.ForwardDevice,
                ],
                static h => Assert.True(h.IsAbsent));
            await left.TcpConnectionsAsync(10, bytes: 1000);
            Assert.True(bench.Record(probe, left).Transmit.Count >= 10 * 6);
            await heard.ExactlyAsync(0);

            // Of a namespace that is none of those wanted, nothing.
            var only = new KernelLatencyOptions { Coarse = true, Sampling = 1, Threshold = TimeSpan.FromHours(1) };
            only.NetworkNamespaces.Add(right.Inode);
            Assert.True(probe.CanConfigureWhileRunning(only));
            ulong before = bench.Record(probe, left).Transmit.Count;
            probe.Configure(only);
            await left.TcpConnectionsAsync(10, bytes: 1000);
            await right.TcpConnectionsAsync(10, bytes: 1000);
            Assert.True(bench.Record(probe, right).Transmit.Count >= 10 * 6);
            Assert.DoesNotContain(probe.Sample().Rows.ToArray(), r => r.Namespace?.Inode == left.Inode);
            probe.Configure(new KernelLatencyOptions { Coarse = true, Sampling = 1, Threshold = TimeSpan.FromHours(1) });
            Assert.Equal(before, bench.Record(probe, left).Transmit.Count);

            Assert.False(probe.CanConfigureWhileRunning(new KernelLatencyOptions()));
            Assert.Throws<InvalidOperationException>(() => probe.Configure(new KernelLatencyOptions()));
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_fast_packet_of_the_sample_stands_for_others_and_every_one_is_told()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        KernelLatencyProbe probe = await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(new KernelLatencyOptions { Coarse = true, Threshold = TimeSpan.Zero, EventsPerSecond = 0 })));
        using var heard = new Heard<KernelLatencyEvent>(probe, ns);
        ulong before = await SegmentsAsync(ns);
        await ns.TcpConnectionsAsync(400, bytes: 100);
        ulong sent = await SegmentsAsync(ns) - before;
        // Answers to SYN and in TIME_WAIT have no socket of their own, and no stamp.
        await Eventually.TrueAsync(() => (ulong)heard.Take().Count(static e => e.Path == KernelLatencyPath.Transmit) >= sent * 2 / 3, "each to be told");
        KernelLatencyRecord record = default;
        TimeSpan[] told = [];
        ulong slow = 0;
        // What is counted is told a moment later.
        await Eventually.TrueAsync(() =>
        {
            record = bench.Record(probe, ns);
            told = [.. heard.Take().Where(static e => e.Path == KernelLatencyPath.Transmit).Select(static e => e.Latency)];
            slow = 0;
            for (int bucket = Log2Histogram.BucketOf(1024) + 1; bucket < Log2Histogram.BucketCount; bucket++) slow += record.Transmit[bucket];
            return Task.FromResult((ulong)told.Count(static t => t > TimeSpan.FromMicroseconds(1024)) == slow);
        }, () => $"the slow to be told ({told.Count(static t => t > TimeSpan.FromMicroseconds(1024))}) as often as counted ({slow}); {probe.ReadKernelStatistics()}");
        // Drawn at random: of some 2,000, ten standard deviations are half.
        Assert.InRange(record.Transmit.Count, (ulong)told.Length / 2, (ulong)told.Length * 3 / 2);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(131072)]
    public void A_sample_that_is_none_is_refused(int sampling) =>
        Assert.Contains(nameof(KernelLatencyOptions.Sampling), Assert.Single(new KernelLatencyOptions { Sampling = sampling }.Validate()), StringComparison.Ordinal);

    private static Endpoint Of(IPEndPoint end) => new(end.Address.GetAddressBytes(), (ushort)end.Port);

    private static ulong Sum(IEnumerable<KernelLatencyEvent> events) => (ulong)events.Where(static e => e.Path == KernelLatencyPath.Receive).Sum(static e => e.Latency.Ticks) / TimeSpan.TicksPerMicrosecond;

    private static async Task<ulong> SegmentsAsync(TestNamespace ns) => await ns.NstatAsync("TcpOutSegs");
}
