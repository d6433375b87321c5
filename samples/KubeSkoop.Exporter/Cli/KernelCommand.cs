using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Kernel;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Exporter.Cli;

/// <summary><c>kernel</c>: what the running kernel can do for BPF probes, and which way each probe would take.</summary>
internal static class KernelCommand
{
    internal static async Task<int> RunAsync(CliHost host, IConfiguration configuration, CancellationToken cancellationToken)
    {
        await using ServiceProvider services = ExporterServices.BuildForCommand(host, configuration);
        EbpfOptions options = services.GetRequiredService<IOptions<EbpfOptions>>().Value;
        KernelFeatures kernel = KernelFeatures.Of(options);
        var features = new TextTable("Feature", "Here", "Note");
        features.Add("release", kernel.Release, "-");
        features.Add("lockdown", kernel.Lockdown ?? "not told", "-");
        Add(features, "capabilities", kernel.MissingCapabilities.Length == 0 ? null : $"{kernel.MissingCapabilities} missing");
        Add(features, "type information (BTF)", kernel.BtfProblem);
        Add(features, "BTF tracepoints (tp_btf)", kernel.TracepointRefusal);
        Add(features, "function hooks (fentry)", kernel.FunctionRefusal);
        Add(features, "function hooks (kprobe)", kernel.KprobeRefusal);
        try
        {
            LoadedLibbpf library = LibbpfResolver.Load(options.LibraryPath);
            features.Add("libbpf", library.Version.ToString(), library.Path);
        }
        catch (ProbeUnavailableException e)
        {
            Add(features, "libbpf", e.Why);
        }
        features.Write(host);
        host.Output.WriteLine();

        // By starting each: what a kernel does is known when it has done it.
        var manager = services.GetRequiredService<IProbeManager>();
        var probes = new TextTable("Probe", "Runs", "Way, or why not");
        foreach (IProbe probe in manager.Probes.Where(static p => p.Descriptor.Source == ProbeSource.Ebpf))
        {
            try
            {
                await using ProbeLease lease = await manager.StartAsync(probe.Descriptor.Name, null, cancellationToken);
                probes.Add(probe.Descriptor.Name, "yes", probe.Status.Source ?? "-");
            }
            catch (ProbeUnavailableException e)
            {
                probes.Add(probe.Descriptor.Name, "no", $"{e.What}: {e.Why}");
            }
        }
        probes.Write(host);
        return ExitCodes.Ok;
    }

    private static void Add(TextTable table, string feature, string? refusal) => table.Add(feature, refusal is null ? "yes" : "no", refusal ?? "-");
}
