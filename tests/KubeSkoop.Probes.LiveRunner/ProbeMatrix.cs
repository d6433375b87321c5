using KubeSkoop.Probes.Ebpf;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.LiveRunner;

/// <summary>Starts every probe once and tells how it came to see what it needs, or why it cannot.</summary>
internal static class ProbeMatrix
{
    internal static async Task TellAsync()
    {
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
                try
                {
                    await using ProbeLease lease = await manager.StartAsync(probe.Descriptor.Name);
                    Tell(hook, probe);
                }
                catch (ProbeUnavailableException)
                {
                    Tell(hook, probe);
                }
            }
        }
    }

    private static void Tell(string? hook, IProbe probe)
    {
        ProbeStatus status = probe.Status;
        Console.Out.WriteLine($"@\tprobe\t{hook ?? "best"}\t{probe.Descriptor.Name}\t{status.State}\t{status.Source}\t{status.Reason?.ReplaceLineEndings(" ").Replace('\t', ' ')}");
    }
}
