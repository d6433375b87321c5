namespace KubeSkoop.Probes.Procfs;

/// <summary>IPVS connections, packets and bytes per network namespace, from <c>/proc/net/ip_vs_stats</c>.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class IpvsProbe(ProcNet net, TimeProvider? clock = null) : NetTableProbe<IpvsRecord>(About, clock, net.IpvsStats)
{
    private readonly NetTable _stats = net.IpvsStats;
    private readonly string _proc = net.Options.HostProc;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "ipvs",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "IPVS connections, packets and bytes, in total and lately, also of pods that run their own IPVS.",
        Finds =
        [
            "Whether a jitter of a Service coincides with its load.",
            "Traffic that goes in but does not come back.",
        ],
        KernelSources = ["/proc/<pid>/net/ip_vs_stats"],
        Requirements = ["The kernel module ip_vs.", "CAP_SYS_PTRACE to see the namespaces of other users' processes."],
        Metrics = IpvsRecord.Metrics.Describe(),
        Notes =
        [
            "Totals of a namespace; by service and real server: ipvs_services.",
            "The kernel adds them up every two seconds (net.ipv4.vs.run_estimation).",
            "Without the module the probe is unavailable, and is started again later. A namespace without the file has no row.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<IpvsRecord> Metrics => IpvsRecord.Metrics;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<IpvsProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new IpvsProbe(net), cancellationToken);

    /// <inheritdoc />
    protected override async ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        string? source = await base.OnStartAsync(cancellationToken).ConfigureAwait(false);
        lock (_stats.Gate)
        {
            foreach (NetTableRow row in _stats.Rows)
                if (_stats.Look(row) is not (NetFileOutcome.Absent or NetFileOutcome.Vanished)) return source;
        }
        throw IpvsAbsence.Explain(About.Name, "no network namespace has /proc/net/ip_vs_stats", _proc);
    }

    private protected override void ReadTables(SampleBatch<IpvsRecord> batch)
    {
        lock (_stats.Gate)
        {
            foreach (NetTableRow row in _stats.Rows)
            {
                if (!_stats.TryRead(row, batch, out ReadOnlySpan<Reading> slots)) continue;
                RecordColumns.Fill(ref batch.Add(row.Subject), slots, 0, IpvsRecord.Columns);
            }
        }
    }
}
