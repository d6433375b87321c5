namespace KubeSkoop.Probes.Procfs;

/// <summary>ICMP messages per network namespace and IP version, from <c>/proc/net/snmp</c> and <c>snmp6</c>.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class IcmpProbe(ProcNet net, TimeProvider? clock = null) : NetTableProbe<IcmpRecord>(About, clock, net.Snmp, net.Snmp6)
{
    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "icmp",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "ICMP and ICMPv6 messages received and sent, by kind; and those not sent because of rate limits.",
        Finds =
        [
            "Destinations that are unreachable.",
            "Routing loops (time exceeded).",
            "Path MTU trouble (packet too big, fragmentation needed).",
            "Neighbour discovery storms.",
        ],
        KernelSources =
        [
            "/proc/<pid>/net/snmp, section Icmp:",
            "/proc/<pid>/net/snmp6, lines Icmp6...",
            NetTable.KernelSource,
        ],
        Requirements = ["CAP_SYS_PTRACE to see the namespaces of other users' processes."],
        Attributes = [new(AttributeNames.NetworkType, "ipv4 or ipv6")],
        Metrics = IcmpRecord.Metrics.Describe(),
        Notes =
        [
            "A metric whose message one IP version lacks has no row for that version.",
            "Upstream has no such probe.",
            NetTable.SourceNote,
        ],
    };

    /// <inheritdoc />
    public override MetricTable<IcmpRecord> Metrics => IcmpRecord.Metrics;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<IcmpProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new IcmpProbe(net), cancellationToken);

    private protected override void ReadTables(SampleBatch<IcmpRecord> batch)
    {
        Read(batch, net.Snmp, IcmpRecord.Columns, IpVersion.IPv4);
        Read(batch, net.Snmp6, IcmpRecord.Columns6, IpVersion.IPv6);
    }

    private static void Read(SampleBatch<IcmpRecord> batch, NetTable table, ColumnSet columns, IpVersion version)
    {
        int offset = table.Layout.OffsetOf(columns);
        lock (table.Gate)
        {
            foreach (NetTableRow row in table.Rows)
            {
                if (!table.TryRead(row, batch, out ReadOnlySpan<Reading> slots)) continue;
                ref IcmpRecord record = ref batch.Add(row.Subject);
                RecordColumns.Fill(ref record, slots, offset, columns);
                record.Version = version;
            }
        }
    }
}
