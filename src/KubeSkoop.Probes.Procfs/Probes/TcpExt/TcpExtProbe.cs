namespace KubeSkoop.Probes.Procfs;

/// <summary>Every <c>TcpExt</c> counter of the running kernel per network namespace, from <c>/proc/net/netstat</c>.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class TcpExtProbe(ProcNet net, TimeProvider? clock = null) : NetTableProbe<TcpExtRecord>(About, clock, net.Netstat)
{
    private readonly NetTable _netstat = net.Netstat;
    private readonly int _offset = net.Netstat.Layout.OffsetOf(TcpExtRecord.Columns);
    private MetricTable<TcpExtRecord> _metrics = TcpExtRecord.Metrics;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "tcpext",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "Extended TCP counters: queue overflows, retransmissions by kind, aborts, timeouts, memory pressure.",
        Finds =
        [
            "Listeners whose accept queue overflows.",
            "Why segments are retransmitted: fast, timeout, tail loss, spurious.",
            "Why connections are aborted.",
            "Applications that read too slowly (zero windows).",
            "TCP memory pressure.",
        ],
        KernelSources =
        [
            "/proc/<pid>/net/netstat, section TcpExt:",
            NetTable.KernelSource,
        ],
        Requirements = ["CAP_SYS_PTRACE to see the namespaces of other users' processes."],
        Metrics = TcpExtRecord.Metrics.Describe(),
        Notes =
        [
            "Columns of the running kernel that are not listed here are published too, as kubeskoop.tcpext.<the kernel's name>.",
            "A column the running kernel lacks has no series: absent is not zero.",
            NetTable.SourceNote,
        ],
    };

    /// <summary>The documented metrics, and behind them the running kernel's other columns under the kernel's own names.</summary>
    public override MetricTable<TcpExtRecord> Metrics => _metrics;

    /// <summary>The names of <see cref="TcpExtRecord.Other"/>, in order, as far as the running kernel has shown them.</summary>
    public IReadOnlyList<string> OtherColumns => _netstat.Layout.OthersOf(TcpExtRecord.Columns);

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<TcpExtProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new TcpExtProbe(net), cancellationToken);

    private protected override void ReadTables(SampleBatch<TcpExtRecord> batch)
    {
        lock (_netstat.Gate)
        {
            foreach (NetTableRow row in _netstat.Rows)
            {
                if (!_netstat.TryRead(row, batch, out ReadOnlySpan<Reading> slots)) continue;
                RecordColumns.Fill(ref batch.Add(row.Namespace.Subject), slots, _offset, TcpExtRecord.Columns);
            }
            if (TcpExtRecord.Metrics.Count + OtherColumns.Count != _metrics.Count) NameOtherColumns();
        }
    }

    private void NameOtherColumns() => _metrics = TcpExtRecord.Metrics.With(OtherColumns.Select(static (column, index) =>
    {
        MetricAccessor<TcpExtRecord> read = (in TcpExtRecord r) => r.Other(index);
        return (MetricNames.OfKernelColumn("kubeskoop.tcpext.", column), MetricKind.Counter, "{event}", $"TcpExt: {column} of the running kernel.", read);
    }));
}
