using KubeSkoop.Probes;
using KubeSkoop.Probes.Kubernetes;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds the names of pods.</summary>
public static class KubernetesServiceCollectionExtensions
{
    /// <summary>
    /// Names the pods behind network namespaces and cgroups, by the container runtime of this node. Works without one, too:
    /// then pods are known by their uid. An <see cref="IPodResolver"/> that the host has brought itself stays.
    /// </summary>
    public static IProbesBuilder AddKubernetes(this IProbesBuilder builder, Action<KubernetesOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.AddProcNet();
        bool isFirst = !builder.Services.Any(static s => s.ServiceType == typeof(PodDirectory));
        if (isFirst) builder.AddProbeOptions<KubernetesOptions>(KubernetesOptions.SectionName, static (section, options) => section.Bind(options));
        if (configure is not null) builder.Services.Configure(configure);
        if (!isFirst) return builder;
        builder.Services.AddSingleton<PodDirectory>();
        builder.Services.AddSingleton<IHostedService>(static provider => provider.GetRequiredService<PodDirectory>());
        ServiceDescriptor[] none = [.. builder.Services.Where(static s => s.ServiceType == typeof(IPodResolver) && s.ImplementationInstance is NoPodResolver)];
        foreach (ServiceDescriptor descriptor in none) builder.Services.Remove(descriptor);
        builder.Services.TryAddSingleton<IPodResolver>(static provider => provider.GetRequiredService<PodDirectory>());
        return builder;
    }
}
