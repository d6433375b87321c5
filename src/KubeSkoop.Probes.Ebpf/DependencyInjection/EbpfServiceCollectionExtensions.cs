using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Ebpf.Sources;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds the BPF probes.</summary>
public static class EbpfServiceCollectionExtensions
{
    /// <summary>Adds the probes that run programs in the kernel. They find network namespaces the way the procfs probes do.</summary>
    public static IProbesBuilder AddEbpf(this IProbesBuilder builder, Action<EbpfOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.AddProcNet();
        builder.AddProbeOptions<EbpfOptions>(EbpfOptions.SectionName, static (section, options) => section.Bind(options));
        if (configure is not null) builder.Services.Configure(configure);
        builder.Services.TryAddSingleton<EbpfPrograms>();
        builder.Services.TryAddEnumerable(ServiceDescriptor.Singleton<INetTableSource, MibSource>());
        builder.Services.TryAddEnumerable(ServiceDescriptor.Singleton<ITcpSocketSource, TcpSocketSource>());
        builder.AddProbeOptions<TcpResetOptions>(TcpResetOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<TcpRetransOptions>(TcpRetransOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<PacketLossOptions>(PacketLossOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<SocketLatencyOptions>(SocketLatencyOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<NetifTxLatencyOptions>(NetifTxLatencyOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<KernelLatencyOptions>(KernelLatencyOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<NetSoftirqOptions>(NetSoftirqOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<BioLatencyOptions>(BioLatencyOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<VirtCmdLatencyOptions>(VirtCmdLatencyOptions.SectionName, static (section, options) => section.Bind(options));
        builder.AddProbeOptions<FlowOptions>(FlowOptions.SectionName, static (section, options) => section.Bind(options));
        return builder
            .AddProbe<TcpResetProbe>()
            .AddProbe<TcpRetransProbe>()
            .AddProbe<PacketLossProbe>()
            .AddProbe<SocketLatencyProbe>()
            .AddProbe<NetifTxLatencyProbe>()
            .AddProbe<KernelLatencyProbe>()
            .AddProbe<NetSoftirqProbe>()
            .AddProbe<BioLatencyProbe>()
            .AddProbe<VirtCmdLatencyProbe>()
            .AddProbe<FlowProbe>();
    }
}
