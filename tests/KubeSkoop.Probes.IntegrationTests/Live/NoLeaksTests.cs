using System.Diagnostics.Metrics;
using System.Globalization;
using KubeSkoop.Probes.Netlink;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace KubeSkoop.Probes.IntegrationTests.Live;

/// <summary>
/// 300 namespaces come and go under a running host that collects all procfs and netlink probes both ways; afterwards nothing of
/// them is left. Each is joined by a veth pair to a namespace that stays: the kernel removes that end only when the
/// other's namespace is really destroyed, so a device that stays behind is a namespace that somebody pins.
/// </summary>
[Collection(nameof(NoLeaksTests))]
[CollectionDefinition(nameof(NoLeaksTests), DisableParallelization = true)]
public sealed class NoLeaksTests
{
    private const int Waves = 6;
    private const int PerWave = 50;

    [LiveFact(Needs.NetNs)]
    public async Task Three_hundred_namespaces_come_and_go_and_leave_nothing()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Services.AddKubeSkoopProbes(o => o.MeterSampleReuse = TimeSpan.Zero)
            .AddProcfs(static o => o.RefreshInterval = TimeSpan.FromMilliseconds(200))
            .AddNetlink();
        builder.Services.Configure<ConntrackOptions>(static o =>
        {
            o.Events = ConntrackNotices.All;
            o.Entries = true;
            o.EntriesInterval = TimeSpan.FromMilliseconds(200);
            o.CheckInterval = TimeSpan.FromMilliseconds(200);
        });
        using IHost host = builder.Build();
        await host.StartAsync();
        var manager = host.Services.GetRequiredService<IProbeManager>();
        var source = host.Services.GetRequiredService<INetworkNamespaceSource>();
        IProbe[] probes = [.. manager.Probes.Where(static p => p.Descriptor.Source is ProbeSource.Procfs or ProbeSource.Netlink)];
        foreach (IProbe probe in probes)
        {
            try
            {
                await manager.StartAsync(probe.Descriptor.Name);
            }
            catch (ProbeUnavailableException)
            {
                // ipvs, where the kernel has none.
            }
        }
        probes = [.. probes.Where(static p => p.Status.State == ProbeState.Running)];
        Assert.Contains("tcp", probes.Select(static p => p.Descriptor.Name));
        Assert.Contains("conntrack", probes.Select(static p => p.Descriptor.Name));
        Assert.Contains("tcpsummary", probes.Select(static p => p.Descriptor.Name));
        using MeterListener listener = Listen(host.Services.GetRequiredService<IMeterFactory>());

        int serial = 0; // the kernel may still be removing the last wave's devices
        await using TestNamespace hub = await TestNamespace.CreateAsync();
        // Whatever is made once and kept for good has been made after a first small wave.
        await WaveAsync(hub, 5, Collect);
        await SettleAsync(source, hub);
        Collect();
        Counts before = Count(manager, source);
        string[] targets = Targets();

        int most = 0;
        for (int wave = 0; wave < Waves; wave++)
            most = Math.Max(most, await WaveAsync(hub, PerWave, Collect));
        Assert.True(most >= PerWave, $"The probes saw only {most} namespaces at a time.");

        await SettleAsync(source, hub);
        Counts after = default;
        await Eventually.TrueAsync(
            () =>
            {
                Collect();
                after = Count(manager, source);
                return Same();
            },
            "everything to be released; see below").ContinueWith(static _ => { }, TaskScheduler.Default);
        string[] left = [.. Targets().Except(targets)];
        Assert.True(Same(), $"{before}\n{after}\nnew descriptors:\n{string.Join('\n', left)}");
        Assert.All(probes, static p => Assert.Equal(ProbeState.Running, p.Status.State));
        Assert.All(probes, static p => Assert.Equal(0, p.Statistics.Errors));
        Assert.Equal(0, probes.Sum(static p => p.Statistics.Malformed));

        // A stopped host holds nothing at all.
        await host.StopAsync();
        Assert.Equal(0, NamespaceFiles());

        // A socket of a namespace that stays may be opened for the first time after the first count: no leak of 300 others.
        bool Same() => after with { Descriptors = before.Descriptors } == before && after.Descriptors <= before.Descriptors + before.Namespaces;

        void Collect()
        {
            source.Refresh();
            manager.Collect(new NullVisitor());
            listener.RecordObservableInstruments();
        }

        async Task<int> WaveAsync(TestNamespace joined, int count, Action collect)
        {
            TestNamespace[] born = await Task.WhenAll(Enumerable.Range(0, count).Select(_ => TestNamespace.CreateUnboundAsync()));
            try
            {
                string links = string.Join('\n', born.Select(ns => string.Create(
                    CultureInfo.InvariantCulture, $"link add name v{serial++} type veth peer name eth0 netns {ns.ProcessId}")));
                string batch = Path.GetTempFileName();
                await File.WriteAllTextAsync(batch, links + "\n");
                await joined.IpAsync("-batch", batch);
                File.Delete(batch);
                collect();
                collect();
                int seen = born.Count(ns => source.Current.Any(n => n.Inode == ns.Inode));
                // Half of them end while a collection is under way.
                Task ends = Task.WhenAll(born.Take(count / 2).Select(static ns => ns.DisposeAsync().AsTask()));
                while (!ends.IsCompleted) collect();
                await ends;
                return seen;
            }
            finally
            {
                await Task.WhenAll(born.Select(static ns => ns.DisposeAsync().AsTask()));
            }
        }
    }

    // Destroyed for good: the kernel has taken the other ends of the veth pairs away.
    private static async Task SettleAsync(INetworkNamespaceSource source, TestNamespace hub)
    {
        string left = string.Empty;
        try
        {
            await Eventually.TrueAsync(
                async () =>
                {
                    source.Refresh();
                    left = await hub.IpAsync("-o", "link", "show", "type", "veth");
                    return left.Length == 0;
                },
                "the destroyed namespaces' devices to vanish",
                TimeSpan.FromSeconds(30));
        }
        catch (TimeoutException)
        {
            Assert.Fail($"Namespaces are still pinned; the other ends of their devices are there:\n{left}");
        }
    }

    private static Counts Count(IProbeManager manager, INetworkNamespaceSource source) => new(
        Descriptors(),
        NamespaceFiles(),
        // The runtime's own (pool, background collector, compiler) come and go as they like.
        string.Join(' ', Directory.EnumerateDirectories("/proc/self/task").Select(CommandOf).Where(static c => !c.StartsWith(".NET ", StringComparison.Ordinal)).Order(StringComparer.Ordinal)),
        manager.Probes.Sum(static p => p.Statistics.Series),
        manager.Probes.Sum(static p => p.Statistics.Rows),
        source.Current.Count);

    private static string CommandOf(string task)
    {
        try
        {
            return File.ReadAllText(task + "/comm").TrimEnd();
        }
        catch (IOException)
        {
            return ".NET gone";
        }
    }

    // Processes that live outside this test come and go, and fd and io keep descriptors of each: those are not leaks.
    private static int Descriptors() => Directory.EnumerateFileSystemEntries("/proc/self/fd").Count(static fd =>
    {
        try
        {
            string[] parts = new FileInfo(fd).LinkTarget?.Split('/') ?? [];
            return parts is not ["", "proc", var process, ..] || !int.TryParse(process, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
                || id == Environment.ProcessId || !Directory.Exists($"/proc/{process}") || parts.Contains("net");
        }
        catch (IOException)
        {
            return false;
        }
    });

    private static string[] Targets() => [.. Directory.EnumerateFileSystemEntries("/proc/self/fd").Select(static fd =>
    {
        try
        {
            return $"{fd} {new FileInfo(fd).LinkTarget}";
        }
        catch (IOException)
        {
            return fd;
        }
    })];

    // Descriptors that pin a namespace, or are there to watch one.
    private static int NamespaceFiles() => Directory.EnumerateFileSystemEntries("/proc/self/fd").Count(static fd =>
    {
        try
        {
            string? target = new FileInfo(fd).LinkTarget;
            return target is not null && (target.StartsWith("net:[", StringComparison.Ordinal) || target.Contains("pidfd", StringComparison.Ordinal)
                || (target.StartsWith("/proc/", StringComparison.Ordinal) && target.Contains("/net/", StringComparison.Ordinal)));
        }
        catch (IOException)
        {
            return false;
        }
    });

    private static MeterListener Listen(IMeterFactory factory)
    {
        var listener = new MeterListener
        {
            InstrumentPublished = (instrument, l) =>
            {
                if (ReferenceEquals(instrument.Meter.Scope, factory)) l.EnableMeasurementEvents(instrument);
            },
        };
        listener.SetMeasurementEventCallback<long>(static (_, _, _, _) => { });
        listener.SetMeasurementEventCallback<double>(static (_, _, _, _) => { });
        listener.Start();
        return listener;
    }

    private readonly record struct Counts(int Descriptors, int NamespaceFiles, string Threads, long Series, long Rows, int Namespaces);

    private sealed class NullVisitor : ISampleVisitor
    {
        public void Visit<TRecord>(ProbeDescriptor probe, MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
            where TRecord : struct
        {
        }
    }
}
