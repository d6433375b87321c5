namespace KubeSkoop.Probes.Procfs;

/// <summary>TCP connections and segments per network namespace, from <c>/proc/net/snmp</c>.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class TcpProbe(ProcNet net, TimeProvider? clock = null) : NetTableProbe<TcpRecord>(About, clock, net.Snmp)
{
    private readonly NetTable _snmp = net.Snmp;
    private readonly int _offset = net.Snmp.Layout.OffsetOf(TcpRecord.Columns);

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "tcp",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "TCP connections opened, accepted, failed and reset; segments sent, received and retransmitted.",
        Finds =
        [
            "Connections that fail or are reset.",
            "Latency caused by retransmission.",
            "Load that is spread unevenly.",
        ],
        KernelSources =
        [
            "/proc/<pid>/net/snmp, section Tcp: (IPv4 and IPv6 together)",
            NetTable.KernelSource,
        ],
        Requirements = ["CAP_SYS_PTRACE to see the namespaces of other users' processes."],
        Metrics = TcpRecord.Metrics.Describe(),
        Notes = [NetTable.SourceNote],
    };

    /// <inheritdoc />
    public override MetricTable<TcpRecord> Metrics => TcpRecord.Metrics;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<TcpProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new TcpProbe(net), cancellationToken);

    private protected override void ReadTables(SampleBatch<TcpRecord> batch)
    {
        lock (_snmp.Gate)
        {
            foreach (NetTableRow row in _snmp.Rows)
            {
                if (!_snmp.TryRead(row, batch, out ReadOnlySpan<Reading> slots)) continue;
                RecordColumns.Fill(ref batch.Add(row.Namespace.Subject), slots, _offset, TcpRecord.Columns);
            }
        }
    }
}
