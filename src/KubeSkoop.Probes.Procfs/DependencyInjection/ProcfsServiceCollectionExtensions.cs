using KubeSkoop.Probes;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds the procfs probes.</summary>
public static class ProcfsServiceCollectionExtensions
{
    /// <summary>Adds the probes that read <c>/proc</c>, and the network namespace discovery they and other packages use.</summary>
    public static IProbesBuilder AddProcfs(this IProbesBuilder builder, Action<ProcfsOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.AddProcNet();
        if (configure is not null) builder.Services.Configure(configure);
        builder.AddProbeOptions<FdOptions>(FdOptions.SectionName, static (section, options) => section.Bind(options));
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

    /// <summary>Adds the network namespace discovery and its settings, once, whichever packages ask for it.</summary>
    internal static void AddProcNet(this IProbesBuilder builder)
    {
        if (builder.Services.Any(static s => s.ServiceType == typeof(ProcNet))) return;
        builder.AddProbeOptions<ProcfsOptions>(ProcfsOptions.SectionName, static (section, options) => section.Bind(options));
        builder.Services.AddSingleton(static provider => new ProcNet(
            provider.GetRequiredService<ProcNamespaceSource>(), provider.GetService<IOptions<ProcfsOptions>>(), provider.GetServices<INetTableSource>()));
        builder.Services.TryAddSingleton<ProcNamespaceSource>();
        builder.Services.TryAddSingleton<INetworkNamespaceSource>(static provider => provider.GetRequiredService<ProcNamespaceSource>());
    }
}
