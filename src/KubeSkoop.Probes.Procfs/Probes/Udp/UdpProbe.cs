namespace KubeSkoop.Probes.Procfs;

/// <summary>UDP datagrams and errors per network namespace and IP version, from <c>/proc/net/snmp</c> and <c>snmp6</c>.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class UdpProbe(ProcNet net, TimeProvider? clock = null) : NetTableProbe<UdpRecord>(About, clock, net.Snmp, net.Snmp6)
{
    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "udp",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "UDP datagrams sent, received, lost in full buffers or sent to closed ports.",
        Finds =
        [
            "DNS lookups lost in a full receive buffer.",
            "Datagrams for a port nobody listens on.",
            "UDP memory used up.",
        ],
        KernelSources =
        [
            "/proc/<pid>/net/snmp, section Udp:",
            "/proc/<pid>/net/snmp6, lines Udp6...",
            NetTable.KernelSource,
        ],
        Requirements = ["CAP_SYS_PTRACE to see the namespaces of other users' processes."],
        Attributes = [new(AttributeNames.NetworkType, "ipv4 or ipv6")],
        Metrics = UdpRecord.Metrics.Describe(),
        Notes =
        [
            "Upstream's names carry the IPv4 rows, as upstream does.",
            NetTable.SourceNote,
        ],
    };

    /// <inheritdoc />
    public override MetricTable<UdpRecord> Metrics => UdpRecord.Metrics;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<UdpProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new UdpProbe(net), cancellationToken);

    private protected override void ReadTables(SampleBatch<UdpRecord> batch)
    {
        Read(batch, net.Snmp, UdpRecord.Columns, IpVersion.IPv4);
        Read(batch, net.Snmp6, UdpRecord.Columns6, IpVersion.IPv6);
    }

    private static void Read(SampleBatch<UdpRecord> batch, NetTable table, ColumnSet columns, IpVersion version)
    {
        int offset = table.Layout.OffsetOf(columns);
        lock (table.Gate)
        {
            foreach (NetTableRow row in table.Rows)
            {
                if (!table.TryRead(row, batch, out ReadOnlySpan<Reading> slots)) continue;
                ref UdpRecord record = ref batch.Add(row.Subject);
                RecordColumns.Fill(ref record, slots, offset, columns);
                record.Version = version;
            }
        }
    }
}
