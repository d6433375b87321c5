using KubeSkoop.Probes.Netlink;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds the netlink probes.</summary>
public static class NetlinkServiceCollectionExtensions
{
    /// <summary>Adds the probes that ask the kernel through netlink. They find network namespaces the way the procfs probes do.</summary>
    public static IProbesBuilder AddNetlink(this IProbesBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.AddProcNet();
        builder.Services.TryAddSingleton<NetlinkSockets>();
        builder.AddProbeOptions<TcpSummaryOptions>(TcpSummaryOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<ConntrackOptions>(ConntrackOptions.SectionName, static (section, options) => section.Bind(options));
        return builder
            .AddProbe<TcpSummaryProbe>()
            .AddProbe<ConntrackProbe>();
    }
}
