namespace KubeSkoop.Probes.Procfs;

/// <summary>Every Multipath TCP counter of the running kernel per network namespace, from <c>/proc/net/netstat</c>.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class MptcpProbe(ProcNet net, TimeProvider? clock = null) : NetTableProbe<MptcpRecord>(About, clock, net.Mptcp)
{
    private readonly NetTable _table = net.Mptcp;
    private readonly int _offset = net.Mptcp.Layout.OffsetOf(MptcpRecord.Columns);
    private MetricTable<MptcpRecord> _metrics = MptcpRecord.Metrics;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "mptcp",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "Multipath TCP counters, all that the running kernel has.",
        Finds =
        [
            "Multipath connections that fall back to plain TCP, and why.",
            "Subflows that are refused or fail.",
        ],
        KernelSources = ["/proc/<pid>/net/netstat, section MPTcpExt:"],
        Requirements = ["CAP_SYS_PTRACE to see the namespaces of other users' processes.", "A kernel with MPTCP; without it there are no rows."],
        Metrics = MptcpRecord.Metrics.Describe(),
        Notes =
        [
            "The metrics are kubeskoop.mptcp.<the kernel's name>, one for each column of the running kernel.",
            "Upstream has no such probe.",
        ],
    };

    /// <summary>The running kernel's columns under the kernel's own names.</summary>
    public override MetricTable<MptcpRecord> Metrics => _metrics;

    /// <summary>The names of the record's columns, in order, as far as the running kernel has shown them.</summary>
    public IReadOnlyList<string> Columns => _table.Layout.OthersOf(MptcpRecord.Columns);

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<MptcpProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new MptcpProbe(net), cancellationToken);

    private protected override void ReadTables(SampleBatch<MptcpRecord> batch)
    {
        lock (_table.Gate)
        {
            foreach (NetTableRow row in _table.Rows)
            {
                if (!_table.TryRead(row, batch, out ReadOnlySpan<Reading> slots)) continue;
                if (Columns.Count == 0) continue; // a kernel without MPTCP
                RecordColumns.Fill(ref batch.Add(row.Namespace.Subject), slots, _offset, MptcpRecord.Columns);
            }
            if (Columns.Count != _metrics.Count) NameColumns();
        }
    }

    private void NameColumns() => _metrics = MptcpRecord.Metrics.With(Columns.Select(static (column, index) =>
    {
        MetricAccessor<MptcpRecord> read = (in MptcpRecord r) => r[index];
        // The one column that goes up and down; net/mptcp/mib.h says so.
        MetricKind kind = column == "MPCurrEstab" ? MetricKind.Gauge : MetricKind.Counter;
        return (MetricNames.OfKernelColumn("kubeskoop.mptcp.", column), kind, "{event}", $"MPTcpExt: {column} of the running kernel.", read);
    }));
}
