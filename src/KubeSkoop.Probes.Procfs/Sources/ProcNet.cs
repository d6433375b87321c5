using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Procfs;

/// <summary>What the procfs probes share: the namespaces, and the tables that several probes take columns from.</summary>
public sealed class ProcNet : IDisposable
{
    private static readonly SampleAttribute IPv4 = new(AttributeNames.NetworkType, "ipv4");
    private static readonly SampleAttribute IPv6 = new(AttributeNames.NetworkType, "ipv6");

    /// <summary>Makes the shared sources; nothing is opened before a probe starts.</summary>
    public ProcNet(ProcNamespaceSource namespaces, IOptions<ProcfsOptions>? options = null)
        : this(namespaces, options, [])
    {
    }

    /// <summary>As the public constructor, with faster sources of what is in the tables of counters.</summary>
    internal ProcNet(ProcNamespaceSource namespaces, IOptions<ProcfsOptions>? options, IEnumerable<INetTableSource> sources)
    {
        ArgumentNullException.ThrowIfNull(namespaces);
        Namespaces = namespaces;
        Options = options?.Value ?? new ProcfsOptions();
        var counters = new NetTableGroup(namespaces, sources);
        Snmp = new NetTable(namespaces, "snmp", new SnmpLayout(TcpRecord.Columns, UdpRecord.Columns, IpRecord.Columns, IcmpRecord.Columns), IPv4, counters);
        Netstat = new NetTable(namespaces, "netstat", new SnmpLayout(TcpExtRecord.Columns, IpRecord.ExtendedColumns), null, counters);
        Snmp6 = new NetTable(namespaces, "snmp6", new Snmp6Layout(UdpRecord.Columns6, IpRecord.Columns6, IcmpRecord.Columns6), IPv6, counters);
        Mptcp = new NetTable(namespaces, "netstat", new SnmpLayout(MptcpRecord.Columns));
        Sockstat = new NetTable(namespaces, "sockstat", new SockstatLayout(SockRecord.Columns, SockRecord.NodeColumns));
        Sockstat6 = new NetTable(namespaces, "sockstat6", new SockstatLayout(SockRecord.Columns6));
        Processes = new ProcProcesses(namespaces, Options.ContainerRows);
        IpvsStats = new NetTable(namespaces, "ip_vs_stats", new IpvsLayout(IpvsRecord.Columns));
    }

    /// <summary>The namespaces of this machine.</summary>
    public ProcNamespaceSource Namespaces { get; }

    internal ProcfsOptions Options { get; }

    /// <summary><c>/proc/net/snmp</c>: IPv4, ICMP, TCP and UDP counters.</summary>
    internal NetTable Snmp { get; }

    /// <summary><c>/proc/net/netstat</c>: extended TCP and IP counters.</summary>
    internal NetTable Netstat { get; }

    /// <summary>The same file for its MPTCP counters, which only few want and no faster source has.</summary>
    internal NetTable Mptcp { get; }

    /// <summary><c>/proc/net/snmp6</c>: IPv6, ICMPv6 and UDP over IPv6 counters.</summary>
    internal NetTable Snmp6 { get; }

    /// <summary><c>/proc/net/sockstat</c>: sockets in use and their memory.</summary>
    internal NetTable Sockstat { get; }

    /// <summary><c>/proc/net/sockstat6</c>: IPv6 sockets in use.</summary>
    internal NetTable Sockstat6 { get; }

    /// <summary><c>/proc/net/ip_vs_stats</c>: IPVS totals and rates.</summary>
    internal NetTable IpvsStats { get; }

    /// <summary>The processes and whose they are.</summary>
    internal ProcProcesses Processes { get; }

    /// <summary>Starts a probe with sources of its own; they end with the probe's last lease on them.</summary>
    internal static async Task<TProbe> StartAsync<TProbe>(ProcfsOptions? options, Func<ProcNet, TProbe> make, CancellationToken cancellationToken)
        where TProbe : Probe
    {
        options ??= new ProcfsOptions();
        string[] mistakes = [.. options.Validate()];
        if (mistakes.Length > 0) throw new ArgumentException(string.Join(" ", mistakes), nameof(options));
        IOptions<ProcfsOptions> wrapped = Microsoft.Extensions.Options.Options.Create(options);
        TProbe probe = make(new ProcNet(new ProcNamespaceSource(wrapped), wrapped));
        await probe.StartAsync(cancellationToken).ConfigureAwait(false);
        return probe;
    }

    /// <summary>Closes everything.</summary>
    public void Dispose()
    {
        Snmp.Dispose();
        Netstat.Dispose();
        Snmp6.Dispose();
        Mptcp.Dispose();
        Sockstat.Dispose();
        Sockstat6.Dispose();
        IpvsStats.Dispose();
        Processes.Dispose();
        Namespaces.Dispose();
    }
}
