using KubeSkoop.Probes;
using KubeSkoop.Probes.Procfs;
using KubeSkoop.Probes.Procfs.Probes.Fd;
using KubeSkoop.Probes.Procfs.Probes.Icmp;
using KubeSkoop.Probes.Procfs.Probes.Io;
using KubeSkoop.Probes.Procfs.Probes.Ip;
using KubeSkoop.Probes.Procfs.Probes.Ipvs;
using KubeSkoop.Probes.Procfs.Probes.Mptcp;
using KubeSkoop.Probes.Procfs.Probes.NetDev;
using KubeSkoop.Probes.Procfs.Probes.Sock;
using KubeSkoop.Probes.Procfs.Probes.Softnet;
using KubeSkoop.Probes.Procfs.Probes.Tcp;
using KubeSkoop.Probes.Procfs.Probes.TcpExt;
using KubeSkoop.Probes.Procfs.Probes.Udp;
using KubeSkoop.Probes.Procfs.Sources;
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
