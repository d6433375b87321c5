using KubeSkoop.Probes;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds the procfs probes.</summary>
public static class ProcfsServiceCollectionExtensions
{
    /// <summary>Adds the probes that read <c>/proc</c>, and the network namespace discovery they and other packages use.</summary>
    public static IProbesBuilder AddProcfs(this IProbesBuilder builder, Action<ProcfsOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.AddProbeOptions(ProcfsOptions.SectionName, static (section, options) => section.Bind(options), configure);
        builder.AddProbeOptions<FdOptions>(FdOptions.SectionName, static (section, options) => section.Bind(options));
        builder.Services.TryAddSingleton<ProcNamespaceSource>();
        builder.Services.TryAddSingleton<INetworkNamespaceSource>(static provider => provider.GetRequiredService<ProcNamespaceSource>());
        builder.Services.TryAddSingleton<ProcNet>();
        return builder
            .AddProbe<SockProbe>()
            .AddProbe<TcpProbe>()
            .AddProbe<UdpProbe>()
            .AddProbe<IpProbe>()
            .AddProbe<IcmpProbe>()
            .AddProbe<TcpExtProbe>()
            .AddProbe<MptcpProbe>()
            .AddProbe<NetDevProbe>()
            .AddProbe<SoftnetProbe>()
            .AddProbe<IpvsProbe>()
            .AddProbe<FdProbe>()
            .AddProbe<IoProbe>();
    }
}
