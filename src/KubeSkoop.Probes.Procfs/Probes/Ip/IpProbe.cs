namespace KubeSkoop.Probes.Procfs;

/// <summary>IP packets, bytes, errors and fragments per network namespace and IP version.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class IpProbe(ProcNet net, TimeProvider? clock = null) : NetTableProbe<IpRecord>(About, clock, net.Snmp, net.Netstat, net.Snmp6)
{
    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "ip",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "IP packets and bytes received, sent, forwarded and dropped; fragments; ECN marks.",
        Finds =
        [
            "Packets lost because no route leads to their destination.",
            "Failed reassembly and fragmentation.",
            "Congestion marked by routers (ECN).",
        ],
        KernelSources =
        [
            "/proc/<pid>/net/snmp, section Ip:",
            "/proc/<pid>/net/netstat, section IpExt:",
            "/proc/<pid>/net/snmp6, lines Ip6...",
            NetTable.KernelSource,
        ],
        Requirements = ["CAP_SYS_PTRACE to see the namespaces of other users' processes."],
        Attributes = [new(AttributeNames.NetworkType, "ipv4 or ipv6")],
        Metrics = IpRecord.Metrics.Describe(),
        Notes =
        [
            "Upstream's names carry the IPv4 rows, as upstream does.",
            NetTable.SourceNote,
        ],
    };

    /// <inheritdoc />
    public override MetricTable<IpRecord> Metrics => IpRecord.Metrics;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<IpProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new IpProbe(net), cancellationToken);

    private protected override void ReadTables(SampleBatch<IpRecord> batch)
    {
        ReadIPv4(batch);
        ReadIPv6(batch);
    }

    private void ReadIPv4(SampleBatch<IpRecord> batch)
    {
        NetTable snmp = net.Snmp, netstat = net.Netstat;
        int offset = snmp.Layout.OffsetOf(IpRecord.Columns);
        int extendedOffset = netstat.Layout.OffsetOf(IpRecord.ExtendedColumns);
        lock (snmp.Gate)
            lock (netstat.Gate)
            {
                IReadOnlyList<NetworkNamespace> namespaces = net.Namespaces.Current;
                ReadOnlySpan<NetTableRow> rows = snmp.RowsOf(namespaces);
                ReadOnlySpan<NetTableRow> extended = netstat.RowsOf(namespaces);
                for (int i = 0; i < rows.Length; i++)
                {
                    if (!snmp.TryRead(rows[i], batch, out ReadOnlySpan<Reading> slots)) continue;
                    ref IpRecord record = ref batch.Add(rows[i].Subject);
                    RecordColumns.Fill(ref record, slots, offset, IpRecord.Columns);
                    record.Version = IpVersion.IPv4;
                    if (netstat.TryRead(extended[i], batch, out slots))
                        RecordColumns.Fill(ref record, slots, extendedOffset, IpRecord.ExtendedColumns, IpRecord.Columns.SlotCount);
                }
            }
    }

    private void ReadIPv6(SampleBatch<IpRecord> batch)
    {
        NetTable snmp6 = net.Snmp6;
        int offset = snmp6.Layout.OffsetOf(IpRecord.Columns6);
        lock (snmp6.Gate)
        {
            foreach (NetTableRow row in snmp6.Rows)
            {
                if (!snmp6.TryRead(row, batch, out ReadOnlySpan<Reading> slots)) continue;
                ref IpRecord record = ref batch.Add(row.Subject);
                RecordColumns.Fill(ref record, slots, offset, IpRecord.Columns6);
                record.Version = IpVersion.IPv6;
            }
        }
    }
}
