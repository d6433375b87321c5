using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>A sample allocates nothing once files are open and rows are made, on real namespaces.</summary>
public sealed class SteadyStateTests
{
    [LiveTheory(Needs.NetNs)]
    [InlineData("sock")]
    [InlineData("tcp")]
    [InlineData("udp")]
    [InlineData("ip")]
    [InlineData("icmp")]
    [InlineData("tcpext")]
    [InlineData("netdev")]
    [InlineData("softnet")]
    public Task Collecting_allocates_nothing(string probe) => NothingIsAllocatedAsync(probe);

    [LiveFact(Needs.NetNs | Needs.Mptcp)]
    public Task Collecting_of_Multipath_TCP_allocates_nothing() => NothingIsAllocatedAsync("mptcp");

    private static async Task NothingIsAllocatedAsync(string probe)
    {
        await using TestNamespace one = await TestNamespace.CreateAsync();
        await using TestNamespace two = await TestNamespace.CreateUnboundAsync();
        var services = new ServiceCollection();
        services.AddKubeSkoopProbes().AddProcfs(static o => o.RefreshInterval = TimeSpan.FromHours(1));
        await using ServiceProvider provider = services.BuildServiceProvider();
        var manager = provider.GetRequiredService<IProbeManager>();
        await using ProbeLease lease = await manager.StartAsync(probe);
        var counter = new Counter();
        AssertQuiet(() => manager.Collect(probe, counter));
        Assert.True(counter.Rows > 0);
    }

    // Namespaces of other tests come and go meanwhile, and each that is new is remembered; so the least of several samples counts.
    private static void AssertQuiet(Action collect)
    {
        for (int i = 0; i < 100; i++) collect();
        long least = long.MaxValue;
        for (int i = 0; i < 50 && least > 0; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            collect();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }
        Assert.Equal(0, least);
    }

    // No module here to have it live, so on a tree of files.
    [Fact]
    public async Task Collecting_IPVS_allocates_nothing()
    {
        using var proc = new FakeProc();
        foreach (int pid in (int[])[1, 20]) proc.AddProcess(pid, (uint)pid + 100).Write(FakeProc.Of(pid, "net/ip_vs_stats"), Fixture.Bytes(Fixture.Named("proc/net/ip_vs_stats")[0]));
        var options = new ProcfsOptions { HostProc = proc.Root, RefreshInterval = TimeSpan.FromHours(1) };
        options.NamespaceDirectories.Clear();
        await using IpvsProbe probe = await IpvsProbe.StartNewAsync(options);
        var batch = new SampleBatch<IpvsRecord>();
        Check.Quiet(() => probe.Sample(batch));
        Assert.Equal(2, batch.Count);
    }

    // Other processes of the machine come and go, and each that is new is remembered; so the least of several samples counts.
    [LiveTheory(Needs.NetNs)]
    [InlineData("fd")]
    [InlineData("io")]
    public async Task Collecting_processes_allocates_nothing_unless_one_is_new(string probe)
    {
        var services = new ServiceCollection();
        services.AddKubeSkoopProbes().AddProcfs(static o => o.RefreshInterval = TimeSpan.FromHours(1));
        await using ServiceProvider provider = services.BuildServiceProvider();
        var manager = provider.GetRequiredService<IProbeManager>();
        await using ProbeLease lease = await manager.StartAsync(probe);
        var counter = new Counter();
        for (int i = 0; i < 100; i++) manager.Collect(probe, counter);
        long least = long.MaxValue;
        for (int i = 0; i < 50 && least > 0; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            manager.Collect(probe, counter);
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }
        Assert.Equal(0, least);
        Assert.True(counter.Rows > 0);
    }

    private sealed class Counter : ISampleVisitor
    {
        internal long Rows { get; private set; }

        public void Visit<TRecord>(ProbeDescriptor probe, MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
            where TRecord : struct => Rows += rows.Length;
    }
}
