using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.TestKit;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.LiveRunner;

/// <summary>
/// Starts every probe and samples it once, tells how it came to see what it needs or why it cannot, and whether it must: a test for each that must run.
/// Lines: "@&lt;TAB&gt;probe&lt;TAB&gt;way&lt;TAB&gt;name&lt;TAB&gt;state&lt;TAB&gt;source&lt;TAB&gt;reason&lt;TAB&gt;known", the last if it need not run, or not whole, for that reason; "less" if it runs, but not as it should.
/// </summary>
internal static class ProbeMatrix
{
    /// <summary>All probes on a kernel of that name.</summary>
    /// <returns>How many should run and do not.</returns>
    internal static async Task<int> TellAsync(string kernel)
    {
        int failed = 0;
        foreach (string? hook in (string?[])[null, "tp_btf", "fentry", "kprobe"])
        {
            var services = new ServiceCollection();
            services.AddLogging();
            services.AddKubeSkoopProbes().AddProcfs().AddNetlink().AddEbpf();
            if (hook is not null) services.Configure<EbpfOptions>(o => o.Hook = hook);
            await using ServiceProvider provider = services.BuildServiceProvider();
            var manager = provider.GetRequiredService<IProbeManager>();
            foreach (IProbe probe in manager.Probes)
            {
                if (hook is not null && probe.Descriptor.Source != ProbeSource.Ebpf) continue;
                if (!Tell(kernel, hook ?? KnownGaps.Best, probe.Descriptor.Name, await TryAsync(manager, probe))) failed++;
            }
        }
        return failed;
    }

    private static async Task<ProbeStatus> TryAsync(IProbeManager manager, IProbe probe)
    {
        try
        {
            await using ProbeLease lease = await manager.StartAsync(probe.Descriptor.Name);
            if (probe is IMetricProbe metrics) metrics.Collect(new RecordingVisitor());
            return probe.Status;
        }
        catch (ProbeUnavailableException e)
        {
            return probe.Status with { State = ProbeState.Unavailable, Reason = e.Message };
        }
#pragma warning disable CA1031 // Whatever it is, it is told, and the others are tried.
        catch (Exception e)
#pragma warning restore CA1031
        {
            return probe.Status with { State = ProbeState.Failed, Reason = $"{e.GetType().Name}: {e.Message}" };
        }
    }

    private static bool Tell(string kernel, string way, string probe, ProbeStatus status)
    {
        bool runs = status.State == ProbeState.Running;
        string source = Listener.OneLine(status.Source ?? string.Empty);
        bool less = runs && way == KnownGaps.Best && KnownGaps.IsLess(source);
        string reason = less ? source : Listener.OneLine(status.Reason ?? string.Empty);
        bool known = KnownGaps.Has(kernel, way, probe, status.State, reason);
        Console.Out.WriteLine($"@\tprobe\t{way}\t{probe}\t{status.State}\t{source}\t{reason}\t{(known ? "known" : less ? "less" : string.Empty)}");
        if (!runs && (known || (way != KnownGaps.Best && reason.Contains("it has no way by ", StringComparison.Ordinal)))) return true; // the last: nothing was asked for
        bool good = runs && (known || !less);
        string name = way == KnownGaps.Best ? $"The probe {probe} runs" : $"The probe {probe} runs by {way}";
        Console.Out.WriteLine($"@\ttest\t{(good ? "passed" : "failed")}\t0\t{name}\t{(good ? string.Empty : $"{status.State}: {reason}")}");
        return good;
    }
}
