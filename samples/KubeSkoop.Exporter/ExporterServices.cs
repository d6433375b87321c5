using KubeSkoop.Exporter.Configuration;
using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Kubernetes;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace KubeSkoop.Exporter;

/// <summary>The probes and their settings, the same for the server and the commands.</summary>
internal static class ExporterServices
{
    /// <summary>Sections below <c>KubeSkoop:Probes</c> that belong to a package rather than to a probe.</summary>
    internal static readonly Dictionary<string, string[]> PackageSections = new(StringComparer.OrdinalIgnoreCase)
    {
        ["Procfs"] = ConfigurationCheck.KeysOf<ProcfsOptions>(),
        ["Ebpf"] = ConfigurationCheck.KeysOf<EbpfOptions>(),
        ["Kubernetes"] = ConfigurationCheck.KeysOf<KubernetesOptions>(),
    };

    /// <summary>The probes of the packages this exporter is built with.</summary>
    internal static void AllProbes(IProbesBuilder probes) => probes.AddProcfs().AddNetlink().AddEbpf().AddKubernetes();

    /// <summary>The probes for a command that runs once, without meters: nobody listens, and a probe that fails shall fail where the command sees it.</summary>
    internal static ServiceProvider BuildForCommand(Cli.CliHost host, IConfiguration configuration)
    {
        IServiceCollection services = new ServiceCollection().AddExporterProbes(configuration, host.Probes);
        services.RemoveAll<System.Diagnostics.Metrics.IMeterFactory>();
        ServiceProvider provider = services.BuildServiceProvider();
        foreach (string problem in ConfigurationCheck.UnknownKeys(configuration, provider.GetRequiredService<IProbeManager>().Probes.Select(static p => p.Descriptor), PackageSections))
            host.Errors.WriteLine(Metrics.SafeText.Clean($"Configuration: {problem}"));
        return provider;
    }

    /// <summary>Learns the names of pods, for a command that starts no host.</summary>
    internal static Task NamePodsAsync(this ServiceProvider services, CancellationToken cancellationToken) =>
        services.GetService<PodDirectory>()?.StartAsync(cancellationToken) ?? Task.CompletedTask;

    /// <summary>Adds the manager, its settings from <paramref name="configuration"/>, and the probes.</summary>
    /// <param name="services">Where to.</param>
    /// <param name="configuration">All settings.</param>
    /// <param name="addProbes">Adds the probes: <see cref="AllProbes"/>; tests bring their own.</param>
    internal static IServiceCollection AddExporterProbes(this IServiceCollection services, IConfiguration configuration, Action<IProbesBuilder> addProbes)
    {
        services.AddSingleton(configuration);
        IProbesBuilder probes = services.AddKubeSkoopProbes(options =>
        {
            configuration.GetSection(ProbesOptions.SectionName).Bind(options);
            options.Enabled.Clear();
            options.Enable(ConfigurationLoader.EnabledProbes(configuration));
        });
        addProbes(probes);
        return services;
    }
}
