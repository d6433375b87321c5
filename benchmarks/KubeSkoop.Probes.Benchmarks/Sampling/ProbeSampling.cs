using BenchmarkDotNet.Attributes;
using KubeSkoop.Probes.Lifecycle;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.Benchmarks.Sampling;

/// <summary>
/// Claim: a sample allocates nothing. One collection of each probe over the namespaces of this machine, as a host does it;
/// the time is mostly the kernel's.
/// </summary>
public class ProbeSampling
{
    private readonly Counter _counter = new();
    private ServiceProvider _services = null!;
    private ProbeManager _manager = null!;
    private ProbeLease? _lease;

    /// <summary>The probe.</summary>
    [ParamsSource(nameof(Probes))]
    public string Probe { get; set; } = "";

    /// <summary>Every probe of the procfs package that can run here.</summary>
    public static IEnumerable<string> Probes => FindProbesAsync().GetAwaiter().GetResult();

    /// <summary>Starts the probe, and lets it open its files.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _services = Build();
        _manager = _services.GetRequiredService<ProbeManager>();
        _lease = _manager.StartAsync(Probe).GetAwaiter().GetResult();
        for (int i = 0; i < 100; i++) Collect();
        if (!_manager.Collect(Probe, _counter)) throw new InvalidOperationException($"The probe {Probe} yields nothing.");
    }

    /// <summary>Closes the files.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        _lease?.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _services.DisposeAsync().AsTask().GetAwaiter().GetResult();
    }

    /// <summary>One collection.</summary>
    [Benchmark]
    public bool Collect() => _manager.Collect(Probe, _counter);

    private static async Task<List<string>> FindProbesAsync()
    {
        var names = new List<string>();
        await using ServiceProvider services = Build();
        foreach (IProbe probe in services.GetServices<IProbe>())
        {
            try
            {
                await probe.StartAsync();
                names.Add(probe.Descriptor.Name);
            }
            catch (ProbeUnavailableException)
            {
                // No IPVS here.
            }
        }
        return names;
    }

    private static ServiceProvider Build()
    {
        var services = new ServiceCollection();
        services.AddKubeSkoopProbes().AddProcfs();
        return services.BuildServiceProvider();
    }

    private sealed class Counter : ISampleVisitor
    {
        private long _rows;

        public void Visit<TRecord>(ProbeDescriptor probe, MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
            where TRecord : struct => _rows += rows.Length;
    }
}
