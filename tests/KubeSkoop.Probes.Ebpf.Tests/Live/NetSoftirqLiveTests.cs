using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Tests.Interop;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>net_softirq beside <c>/proc/softirqs</c>, on a CPU with softirqs switched off for a known time, and on packets that take a known time each.</summary>
[Collection("alone")]
public sealed class NetSoftirqLiveTests
{
    private static readonly IPEndPoint Right = new(TestNamespace.RightIPv4, 4711);

    [LiveTheory(Needs.NetNs | Needs.Bpf)]
    [InlineData(1)]
    [InlineData(8)]
    public async Task Runs_are_as_many_as_the_kernel_counts(int sampling)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            NetSoftirqProbe probe = await bench.StartAsync(p => new NetSoftirqProbe(p, Options.Create(new NetSoftirqOptions { Sampling = sampling })));
            var before = new Dictionary<(string, int), (ulong, NetSoftirqRecord)>();
            var after = new Dictionary<(string, int), (ulong, NetSoftirqRecord)>();
            await LookAsync(probe, before);
            await left.SendUdpAsync(2000, Right);
            await left.TcpConnectionsAsync(50, bytes: 1000);
            await LookAsync(probe, after);

            ulong received = 0;
            foreach (((string vector, int cpu) key, (ulong kernel, NetSoftirqRecord record)) in after)
            {
                (ulong kernelBefore, NetSoftirqRecord recordBefore) = before[key];
                ulong runs = record.Runs.Value - recordBefore.Runs.Value, timed = record.Run.Count - recordBefore.Run.Count, delays = record.Delay.Count - recordBefore.Delay.Count;
                Assert.Equal((key, kernel - kernelBefore), (key, runs));
                if (sampling == 1)
                {
                    Assert.Equal(runs, timed);
                    Assert.InRange(delays, runs * 9 / 10, runs);
                }
                else
                {
                    // One in eight, at random, stands for eight; those that see two ticks change stand for themselves. Six standard deviations.
                    double off = (6 * Math.Sqrt(7.0 * runs)) + 8;
                    Assert.InRange(timed, runs - off, runs + off);
                    Assert.InRange(delays, runs - (runs / 10.0) - off, runs + off);
                }
                if (key.vector == "net_rx") received += runs;
            }
            Assert.InRange(received, 2000ul + (50 * 4), ulong.MaxValue); // each is received at once, in the context that sends it
            Assert.Equal(Environment.ProcessorCount * 2, after.Count);
        }
    }

    [LiveTheory(Needs.NetNs | Needs.BpfWalk | Needs.TwoCpus | Needs.Native)]
    [InlineData(1)]
    [InlineData(8)]
    public async Task A_softirq_waits_for_who_has_switched_softirqs_off(int sampling)
    {
        const int HoldMs = 60;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await ReceiveOnSecondCpuAsync(right);
            await using var bench = new EbpfBench();
            NetSoftirqProbe probe = await bench.StartAsync(p => new NetSoftirqProbe(p, Options.Create(new NetSoftirqOptions { Sampling = sampling })));
            using var heard = new Heard<NetSoftirqEvent>(probe, static e => e is { Kind: NetSoftirqKind.Delayed, Vector: NetSoftirqVector.NetRx, Cpu: 1 } && e.Latency > TimeSpan.FromMilliseconds(HoldMs / 2));
            using var spin = new TestObject("spin");
            spin.Write(".data.spin", 0, (HoldMs * 1_000_000ul, 0ul));
            using Socket sender = await left.BindUdpAsync(new IPEndPoint(TestNamespace.LeftIPv4, 0));
            NetSoftirqRecord before = Row(probe, "net_rx", 1);

            // A busy machine may run either thread too late; then the two did not meet, and there is nothing to measure.
            (long Before, long After) held = default, sent = default;
            for (int attempt = 0; attempt == 0 || Stopwatch.GetElapsedTime(held.Before, sent.After) > TimeSpan.FromMilliseconds(HoldMs / 4); attempt++)
            {
                Assert.True(attempt < 20, "The threads do not come to run in time.");
                using var begun = new ManualResetEventSlim();
                Task<(long, long)> holding = OnCpu.RunAsync(1, "ks-holder", () =>
                {
                    long start = Stopwatch.GetTimestamp();
                    begun.Set();
                    spin.RunOnPacket("hold", new byte[64]);
                    return (start, Stopwatch.GetTimestamp());
                });
                sent = await OnCpu.RunAsync(0, "ks-sender", () =>
                {
                    Assert.True(begun.Wait(TimeSpan.FromSeconds(10)));
                    Thread.Sleep(3);
                    long start = Stopwatch.GetTimestamp();
                    sender.SendTo(new byte[8], Right);
                    return (start, Stopwatch.GetTimestamp());
                });
                held = await holding;
            }

            NetSoftirqEvent e = (await WaitAsync(heard, 1))[^1];
            // Raised when it was sent (or by somebody else before), entered when the hold was over.
            TimeSpan least = TimeSpan.FromMilliseconds(HoldMs - 1) - Stopwatch.GetElapsedTime(held.Before, sent.After);
            Assert.InRange(e.Latency, least, Stopwatch.GetElapsedTime(held.Before, held.After) + (sampling == 1 ? TimeSpan.Zero : KernelCalls.Tick));
            Assert.Equal((Environment.ProcessId, "ks-holder", false), (e.ProcessId, e.Command, e.InKsoftirqd));
            Assert.Equal((0u, null), (e.NetworkNamespaceInode, e.Flow));
            Assert.Contains($"for CPU 1 while ks-holder ({Environment.ProcessId}) had it", e.Message, StringComparison.Ordinal);
            NetSoftirqRecord after = Row(probe, "net_rx", 1);
            int bucket = Log2Histogram.BucketOf((ulong)(e.Latency.Ticks / TimeSpan.TicksPerMicrosecond));
            Assert.True(after.Delay[bucket] > before.Delay[bucket]);
            Assert.True(after.DelayedOver10Ms.Value > before.DelayedOver10Ms.Value);
        }
    }

    [LiveTheory(Needs.NetNs | Needs.BpfWalk, "ip")]
    [InlineData(1)]
    [InlineData(8)]
    public async Task A_packet_that_takes_long_makes_a_long_run_in_place_of_its_sender(int sampling)
    {
        const int SlowMs = 30;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var slow = await SlowReceiver.AttachAsync(right, SlowMs * 1000);
            await using var bench = new EbpfBench();
            NetSoftirqProbe probe = await bench.StartAsync(p => new NetSoftirqProbe(p, Options.Create(new NetSoftirqOptions { Sampling = sampling })));
            using var heard = new Heard<NetSoftirqEvent>(probe, static e => e is { Kind: NetSoftirqKind.RanLong, Vector: NetSoftirqVector.NetRx } && e.Latency > TimeSpan.FromMilliseconds(SlowMs * 9 / 10));
            using Socket sender = await left.BindUdpAsync(new IPEndPoint(TestNamespace.LeftIPv4, 0));
            using Socket receiver = await right.BindUdpAsync(Right);
            (long Before, long After) sent = await OnCpu.RunAsync(0, "ks-sender", () =>
            {
                long start = Stopwatch.GetTimestamp();
                sender.SendTo(new byte[8], Right);
                return (start, Stopwatch.GetTimestamp());
            });
            Assert.Equal(8, receiver.Receive(new byte[100]));
            // The first packet looks for its neighbour, whose question and answer take as long each.
            await Eventually.TrueAsync(() => heard.Take().Exists(static e => e.Command == "ks-sender"), "the run in place of the sender");
            NetSoftirqEvent ours = heard.Take().First(static e => e.Command == "ks-sender");
            Assert.Equal(Environment.ProcessId, ours.ProcessId);
            Assert.InRange(ours.Latency, TimeSpan.FromMilliseconds(SlowMs), Stopwatch.GetElapsedTime(sent.Before, sent.After) + (sampling == 1 ? TimeSpan.Zero : KernelCalls.Tick));
            Assert.Equal((0, "ks-sender", false), (ours.Cpu, ours.Command, ours.InKsoftirqd));
            Assert.Contains("on CPU 0 in place of ks-sender", ours.Message, StringComparison.Ordinal);
            Assert.True(Row(probe, "net_rx", 0).RanOver10Ms.Value >= 1);
        }
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk | Needs.TwoCpus, "ip")]
    public async Task What_is_too_much_for_one_run_is_left_to_ksoftirqd()
    {
        const int Packets = 100;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await ReceiveOnSecondCpuAsync(right);
            using Socket sender = await left.BindUdpAsync(new IPEndPoint(TestNamespace.LeftIPv4, 0));
            using Socket receiver = await right.BindUdpAsync(Right);
            sender.SendTo(new byte[8], Right); // the neighbour is known from here on
            Assert.Equal(8, receiver.Receive(new byte[100]));
            await using var slow = await SlowReceiver.AttachAsync(right, 500);
            await using var bench = new EbpfBench();
            NetSoftirqProbe probe = await bench.StartAsync(static p => new NetSoftirqProbe(p, Options.Create(new NetSoftirqOptions { DelayThreshold = TimeSpan.FromMinutes(1), RunThreshold = TimeSpan.FromMilliseconds(1) })));
            using var heard = new Heard<NetSoftirqEvent>(probe, static e => e is { Kind: NetSoftirqKind.RanLong, Vector: NetSoftirqVector.NetRx, Cpu: 1 });
            // Where something else wants the CPU, an interrupt may come first and take up what was left.
            int bursts = 0;
            while (!heard.Take().Exists(static e => e.InKsoftirqd))
            {
                Assert.True(bursts++ < 40, "ksoftirqd never runs.");
                await OnCpu.RunAsync(0, "ks-sender", () =>
                {
                    for (int i = 0; i < Packets; i++) sender.SendTo(new byte[8], Right);
                    return 0;
                });
                for (int i = 0; i < Packets; i++) Assert.Equal(8, receiver.Receive(new byte[100]));
                await Task.Delay(20);
            }
            // Every packet takes half a millisecond, and a run takes up to 64 (net.core.dev_weight).
            await Eventually.TrueAsync(() => heard.Take().Sum(static e => e.Latency.TotalMilliseconds) >= bursts * Packets / 2 * 0.9, "runs as long as all packets");
            Assert.All(heard.Take().Where(static e => e.InKsoftirqd), static e =>
            {
                Assert.Equal((null, null), (e.ProcessId, e.Command));
                Assert.EndsWith("on CPU 1, in ksoftirqd", e.Message, StringComparison.Ordinal);
            });
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Under_healthy_load_nothing_is_told()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            NetSoftirqProbe probe = await bench.StartAsync(static p => new NetSoftirqProbe(p));
            using var heard = new Heard<NetSoftirqEvent>(probe, static _ => true);
            // The machine may run something else for 10 ms, and then it is right to say so: most times it does not.
            for (int i = 0; ; i++)
            {
                ulong slow = Slow(probe);
                int told = heard.Take().Count;
                await left.SendUdpAsync(5000, Right);
                await left.TcpConnectionsAsync(100, bytes: 1000);
                ulong more = Slow(probe) - slow;
                await Eventually.TrueAsync(() => heard.Take().Count - told >= (int)more, "as many events as there were slow ones");
                if (more == 0 && heard.Take().Count == told) break;
                Assert.True(i < 10, $"{more} softirqs were slow");
            }
        }

        static ulong Slow(NetSoftirqProbe probe)
        {
            ulong sum = 0;
            foreach (SampleRow<NetSoftirqRecord> row in probe.Sample().Rows) sum += row.Value.DelayedOver10Ms.Value + row.Value.RanOver10Ms.Value;
            return sum;
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Only_what_is_asked_for_is_looked_at()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        var options = new NetSoftirqOptions { Vectors = { "NET_TX " } };
        NetSoftirqProbe probe = await bench.StartAsync(p => new NetSoftirqProbe(p, Options.Create(options)));
        await ns.SendUdpAsync(10, new IPEndPoint(IPAddress.Loopback, 4711));
        Assert.All(probe.Sample().Rows.ToArray(), static r => Assert.Equal("net_tx", r.Subject.Attributes[1].Value));
        Assert.True(probe.CanConfigureWhileRunning(new NetSoftirqOptions { Vectors = { "net_tx" }, RunThreshold = TimeSpan.Zero }));
        Assert.False(probe.CanConfigureWhileRunning(new NetSoftirqOptions()));
        await probe.StopAsync();
        probe.Configure(new NetSoftirqOptions());
        await probe.StartAsync();
        await ns.SendUdpAsync(10, new IPEndPoint(IPAddress.Loopback, 4711));
        ulong received = 0;
        foreach (SampleRow<NetSoftirqRecord> row in probe.Sample().Rows)
            if (row.Subject.Attributes[1].Value == "net_rx") received += row.Value.Runs.Value;
        Assert.True(received >= 10);
    }

    [Fact]
    public void A_misspelt_vector_is_refused_in_words()
    {
        Assert.Empty(new NetSoftirqOptions { Vectors = { "net_rx", "NET_TX" } }.Validate());
        Assert.Equal(["KubeSkoop:Probes:net_softirq:Vectors has 'net_xr'; it must be net_rx or net_tx."], new NetSoftirqOptions { Vectors = { "net_xr", "net_tx" } }.Validate().Select(static m => m.Replace(ProbesOptions.SectionName, "KubeSkoop:Probes", StringComparison.Ordinal)));
        Assert.Single(new NetSoftirqOptions { DelayThreshold = TimeSpan.FromDays(1) }.Validate());
        Assert.Single(new NetSoftirqOptions { Sampling = 7 }.Validate());
    }

    [Fact]
    public void Upstreams_metrics_are_there_by_its_names_and_label()
    {
        Assert.Equal(
            ["kubeskoop_softirq_schedslow", "kubeskoop_softirq_schedslow100ms", "kubeskoop_softirq_excuteslow", "kubeskoop_softirq_excuteslow100ms"],
            NetSoftirqRecord.Metrics.Upstream.Select(static m => m.UpstreamName!));
        Assert.Equal(MetricKind.Counter, NetSoftirqRecord.Metrics.UpstreamKind);
    }

    private static NetSoftirqRecord Row(NetSoftirqProbe probe, string vector, int cpu) =>
        Assert.Single(probe.Sample().Rows.ToArray(), r => r.Subject.Attributes[0].Value == cpu.ToString(CultureInfo.InvariantCulture) && r.Subject.Attributes[1] == new SampleAttribute("softirq.vector", vector, "softirq_type")).Value;

    // A sample between two equal readings of the kernel's own counters, for each of them; other traffic of the machine makes most of them move.
    private static Task LookAsync(NetSoftirqProbe probe, Dictionary<(string Vector, int Cpu), (ulong Kernel, NetSoftirqRecord Record)> seen) => Eventually.TrueAsync(() =>
    {
        Dictionary<(string, int), ulong> first = KernelCounts();
        SampleRow<NetSoftirqRecord>[] rows = probe.Sample().Rows.ToArray();
        foreach ((var key, ulong count) in KernelCounts())
        {
            if (seen.ContainsKey(key) || first[key] != count) continue;
            SampleRow<NetSoftirqRecord> row = rows.Single(r => (r.Subject.Attributes[1].Value, int.Parse(r.Subject.Attributes[0].Value, CultureInfo.InvariantCulture)) == key);
            seen.Add(key, (count, row.Value));
        }
        return seen.Count == first.Count;
    }, "a quiet moment on each CPU");

    // The first line names the CPUs that are online.
    private static Dictionary<(string, int), ulong> KernelCounts()
    {
        string[][] lines = [.. File.ReadLines("/proc/softirqs").Select(static l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries))];
        return lines.Skip(1).Where(static l => l[0] is "NET_RX:" or "NET_TX:").SelectMany(l => lines[0].Select((cpu, i) =>
            (Key: (l[0].TrimEnd(':').ToLowerInvariant(), int.Parse(cpu.AsSpan(3), CultureInfo.InvariantCulture)), Count: ulong.Parse(l[i + 1], CultureInfo.InvariantCulture)))).ToDictionary(static p => p.Key, static p => p.Count);
    }

    private static async Task ReceiveOnSecondCpuAsync(TestNamespace ns)
    {
        // sysfs shows the devices of the namespace it was mounted in, so it has to be mounted there.
        await Command.OutputAsync("ip", "netns", "exec", ns.Name!, "sh", "-c", "echo 2 > /sys/class/net/eth0/queues/rx-0/rps_cpus");
    }

    private static async Task<List<NetSoftirqEvent>> WaitAsync(Heard<NetSoftirqEvent> heard, int count)
    {
        await Eventually.TrueAsync(() => heard.Take().Count >= count, $"{count} events to come");
        return heard.Take();
    }

    /// <summary>A program that takes time for each packet that a namespace receives.</summary>
    private sealed class SlowReceiver(TestNamespace ns, string file) : IAsyncDisposable
    {
        internal static async Task<SlowReceiver> AttachAsync(TestNamespace ns, int microseconds)
        {
            byte[] image = TestObject.Image("spin");
            // The program's default, which nothing else in the object looks like.
            int at = image.AsSpan().IndexOf([.. new byte[8], .. BitConverter.GetBytes(1_000_000ul)]);
            Assert.True(at > 0);
            BitConverter.TryWriteBytes(image.AsSpan(at + 8), (ulong)microseconds * 1000);
            var slow = new SlowReceiver(ns, Path.GetTempFileName());
            await File.WriteAllBytesAsync(slow._file, image);
            await ns.IpAsync("link", "set", "dev", "eth0", "xdpgeneric", "obj", slow._file, "sec", "xdp");
            return slow;
        }

        private readonly string _file = file;

        public async ValueTask DisposeAsync()
        {
            await ns.IpAsync("link", "set", "dev", "eth0", "xdpgeneric", "off");
            File.Delete(_file);
        }
    }
}
