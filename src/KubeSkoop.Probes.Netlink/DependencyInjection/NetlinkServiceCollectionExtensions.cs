using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds the netlink probes.</summary>
public static class NetlinkServiceCollectionExtensions
{
    /// <summary>Adds the probes that ask the kernel through netlink, and rtnetlink as the source of the probe netdev. They find network namespaces the way the procfs probes do.</summary>
    public static IProbesBuilder AddNetlink(this IProbesBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.AddProcNet();
        builder.Services.TryAddSingleton<NetlinkSockets>();
        builder.Services.TryAddEnumerable(ServiceDescriptor.Singleton<ISampleSource<NetDevRecord>, NetDevNetlinkSource>());
        builder.AddProbeOptions<TcpSummaryOptions>(TcpSummaryOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<IpvsServicesOptions>(IpvsServicesOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<ConntrackOptions>(ConntrackOptions.SectionName, static (section, options) => section.Bind(options));
        // What AddProbe would make itself, but for the sources, which are no business of a public constructor.
        builder.Services.TryAddSingleton(static provider => new TcpSummaryProbe(provider.GetRequiredService<NetlinkSockets>(), provider.GetRequiredService<ProcNet>(),
            provider.GetService<IOptions<TcpSummaryOptions>>(), provider.GetService<TimeProvider>(), provider.GetServices<ITcpSocketSource>()));
        return builder
            .AddProbe<TcpSummaryProbe>()
            .AddProbe<ConntrackProbe>()
            .AddProbe<QdiscProbe>()
            .AddProbe<IpvsServicesProbe>();
    }
}
