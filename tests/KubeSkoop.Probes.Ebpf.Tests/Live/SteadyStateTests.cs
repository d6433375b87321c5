using System.Net;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>A sample like the one before allocates nothing, and nor does asking what the programs cost.</summary>
public sealed class SteadyStateTests
{
    [LiveTheory(Needs.NetNs | Needs.Bpf)]
    [InlineData("tcpreset")]
    [InlineData("tcpretrans")]
    [InlineData("packetloss")]
    [InlineData("netiftxlatency")]
    [InlineData("kernellatency")]
    [InlineData("flow")]
    public async Task Sampling_allocates_nothing(string name)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using TestNamespace other = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        switch (name)
        {
            case "tcpreset":
                await MeasureAsync<TcpResetRecord>(await bench.StartAsync(static p => new TcpResetProbe(p)), static r => r.SentWithoutSocket.Value);
                break;
            case "tcpretrans":
                await MeasureAsync<TcpRetransRecord>(await bench.StartAsync(static p => new TcpRetransProbe(p)), static r => r.Failed.Value);
                break;
            case "socketlatency":
                await MeasureAsync<SocketLatencyRecord>(await bench.StartAsync(static p => new SocketLatencyProbe(p)), static r => r.TcpRead.Count + r.TcpWrite.Count + 3);
                break;
            case "netiftxlatency":
                await MeasureAsync<NetifTxLatencyRecord>(await bench.StartAsync(static p => new NetifTxLatencyProbe(p, Microsoft.Extensions.Options.Options.Create(new NetifTxLatencyOptions { DriverSampling = 1 }))), static r => r.Driver.Count);
                break;
            case "kernellatency":
                await MeasureAsync<KernelLatencyRecord>(await bench.StartAsync(static p => new KernelLatencyProbe(p, Microsoft.Extensions.Options.Options.Create(new KernelLatencyOptions { Sampling = 1 }))), static r => r.Transmit.Count);
                break;
            case "flow":
                await MeasureAsync<FlowRecord>(await bench.StartAsync(static p => new FlowProbe(p)), static r => r.Packets.GetValueOrDefault());
                break;
            default:
                await MeasureAsync<PacketLossRecord>(await bench.StartAsync(static p => new PacketLossProbe(p)), static r => r.Total.GetValueOrDefault());
                break;
        }

        async Task MeasureAsync<TRecord>(IMetricProbe<TRecord> probe, Func<TRecord, ulong> counted)
            where TRecord : struct
        {
            await ns.RefusedConnectionsAsync(3, new IPEndPoint(IPAddress.Loopback, 4711));
            await other.SendUdpAsync(3, new IPEndPoint(IPAddress.Loopback, 4711));
            SampleRow<TRecord>[] rows = Measure(probe);
            Assert.Contains(rows, r => r.Namespace?.Inode == ns.Inode);
            if (name != "tcpretrans") Assert.Contains(rows, r => (r.Namespace?.Inode == ns.Inode || r.Namespace?.Inode == other.Inode) && counted(r.Value) >= 3);
        }
    }

    [LiveFact(Needs.NetNs | Needs.SocketStorage)]
    public Task Sampling_sockets_allocates_nothing() => Sampling_allocates_nothing("socketlatency");

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Sampling_CPUs_allocates_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        NetSoftirqProbe probe = await bench.StartAsync(static p => new NetSoftirqProbe(p));
        await ns.SendUdpAsync(3, new IPEndPoint(IPAddress.Loopback, 4711));
        Assert.Contains(Measure(probe), static r => r.Value.Runs.Value >= 3);
    }

    [LiveFact(Needs.Bpf | Needs.Loop, "losetup", "dd")]
    public async Task Sampling_disks_allocates_nothing()
    {
        await using LoopDevice disk = await LoopDevice.CreateAsync(1 << 20);
        await using var bench = new EbpfBench();
        BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p));
        await Command.OutputAsync("dd", $"if={disk.Path}", "of=/dev/null", "bs=4096", "count=3", "iflag=direct");
        Assert.Contains(Measure(probe), static r => r.Value.Total.Count >= 3);
    }

    private static SampleRow<TRecord>[] Measure<TRecord>(IMetricProbe<TRecord> probe)
        where TRecord : struct
    {
        var batch = new SampleBatch<TRecord>();
        var programs = (IKernelProgramProbe)probe;
        for (int i = 0; i < 200; i++) One();
        // Namespaces of other tests come and go, and each that does is an object: most samples see none of them.
        long least = long.MaxValue;
        for (int i = 0; i < 50 && least > 0; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int sample = 0; sample < 20; sample++) One();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }
        Assert.Equal(0, least);
        return batch.Rows.ToArray();

        void One()
        {
            probe.Sample(batch);
            programs.ReadKernelStatistics();
        }
    }
}
