using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Sockets in use per network namespace, and TCP and UDP memory of the node with their limits.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class SockProbe(ProcNet net, TimeProvider? clock = null) : NetTableProbe<SockRecord>(About, clock, net.Sockstat, net.Sockstat6)
{
    private const int FirstField6 = 8;
    private const int TimeWaitLimitField = 14;
    private const int FirstNodeField = 15;
    private const int TcpMemoryLimitField = 19;
    private const int TcpOrphanLimitField = 22;
    private const int UdpMemoryLimitField = 23;

    // Opening one takes a thread that enters the namespace: a thousand at once would hold up the first sample by a second.
    private const int MostOpensPerSample = 32;

    private readonly PerNamespace<Sysctl> _timeWaitLimits = new(ns => new Sysctl(new NetFile(net.Namespaces, ns, "net/ipv4/tcp_max_tw_buckets", sysctl: true), 1));
    private readonly ReadBuffer _buffer = new();
    private NodeLimits? _nodeLimits;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "sock",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "Sockets in use by kind, connections in TIME_WAIT, fragments that wait; TCP and UDP memory of the node beside its limits.",
        Finds =
        [
            "Sockets that leak.",
            "Ports used up by connections in TIME_WAIT.",
            "TCP memory close to its limit, before connections fail.",
            "Orphaned connections close to their limit.",
        ],
        KernelSources =
        [
            "/proc/<pid>/net/sockstat",
            "/proc/<pid>/net/sockstat6",
            "sysctl net.ipv4.tcp_max_tw_buckets of each namespace",
            "sysctl net.ipv4.tcp_mem, udp_mem, tcp_max_orphans of the node",
        ],
        Requirements =
        [
            "CAP_SYS_PTRACE to see the namespaces of other users' processes.",
            "CAP_SYS_ADMIN to read the limits of other namespaces; without it they are absent.",
        ],
        Metrics = SockRecord.Metrics.Describe(),
        Notes =
        [
            "TCP orphans, allocated sockets and memory, and UDP memory, are counted by the kernel for the whole node; they are in one row without a namespace.",
            "Upstream's names: in use and TIME_WAIT per pod, the node's numbers once; memory in pages, as upstream does.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<SockRecord> Metrics => SockRecord.Metrics;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<SockProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new SockProbe(net), cancellationToken);

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        _timeWaitLimits.Dispose();
        _nodeLimits?.Dispose();
        _nodeLimits = null;
        return base.OnStopAsync();
    }

    private protected override void ReadTables(SampleBatch<SockRecord> batch)
    {
        NetTable sockstat = net.Sockstat, sockstat6 = net.Sockstat6;
        int offset = sockstat.Layout.OffsetOf(SockRecord.Columns);
        int nodeOffset = sockstat.Layout.OffsetOf(SockRecord.NodeColumns);
        lock (sockstat.Gate)
            lock (sockstat6.Gate)
            {
                IReadOnlyList<NetworkNamespace> namespaces = net.Namespaces.Current;
                ReadOnlySpan<NetTableRow> rows = sockstat.RowsOf(namespaces);
                ReadOnlySpan<NetTableRow> rows6 = sockstat6.RowsOf(namespaces);
                ReadOnlySpan<Sysctl> limits = _timeWaitLimits.For(namespaces);
                int opens = MostOpensPerSample;
                bool nodeDone = false;
                for (int i = 0; i < rows.Length; i++)
                {
                    if (!sockstat.TryRead(rows[i], batch, out ReadOnlySpan<Reading> slots)) continue;
                    if (!nodeDone)
                    {
                        nodeDone = true;
                        ref SockRecord node = ref batch.Add(SampleSubject.Node);
                        RecordColumns.Fill(ref node, slots, nodeOffset, SockRecord.NodeColumns, FirstNodeField);
                        if (namespaces[0].IsHost) ReadNodeLimits(namespaces[0], ref node);
                    }
                    ref SockRecord record = ref batch.Add(rows[i].Subject);
                    RecordColumns.Fill(ref record, slots, offset, SockRecord.Columns);
                    RecordColumns.Put(ref record, limits[i].Read(_buffer, ref opens), TimeWaitLimitField);
                    if (sockstat6.TryRead(rows6[i], batch, out slots))
                        RecordColumns.Fill(ref record, slots, 0, SockRecord.Columns6, FirstField6);
                }
            }
    }

    // The node's limits are seen in the host's network namespace only, which lives as long as the machine.
    private void ReadNodeLimits(NetworkNamespace host, ref SockRecord node)
    {
        _nodeLimits ??= new NodeLimits(net.Namespaces, host);
        int opens = 3;
        RecordColumns.Put(ref node, _nodeLimits.TcpMemory.Read(_buffer, ref opens), TcpMemoryLimitField);
        RecordColumns.Put(ref node, _nodeLimits.TcpOrphans.Read(_buffer, ref opens), TcpOrphanLimitField);
        RecordColumns.Put(ref node, _nodeLimits.UdpMemory.Read(_buffer, ref opens), UdpMemoryLimitField);
    }

    /// <summary>The numbers of a sysctl in one namespace. They change by an administrator's hand, so they are read now and then.</summary>
    private sealed class Sysctl(NetFile file, int count) : IDisposable
    {
        private const int SamplesBetweenReads = 16;

        private readonly Reading[] _numbers = new Reading[count];
        private int _samplesUntilRead;
        private bool _opened;

        internal ReadOnlySpan<Reading> Read(ReadBuffer buffer, ref int opens)
        {
            if (!_opened)
            {
                if (opens == 0) return _numbers;
                opens--;
                _opened = true;
            }
            if (_samplesUntilRead > 0)
            {
                _samplesUntilRead--;
                return _numbers;
            }
            _samplesUntilRead = SamplesBetweenReads - 1;
            _numbers.AsSpan().Clear(); // absent where it cannot be read: a limit is worth no complaint at every sample
            if (file.Read(buffer, singleRecord: true, out ReadOnlySpan<byte> text) != NetFileOutcome.Ok) return _numbers;
            if (!SysctlParser.TryParse(text, _numbers)) _numbers.AsSpan().Clear();
            return _numbers;
        }

        public void Dispose() => file.Dispose();
    }

    private sealed class NodeLimits(ProcNamespaceSource source, NetworkNamespace host) : IDisposable
    {
        internal Sysctl TcpMemory { get; } = new(new NetFile(source, host, "net/ipv4/tcp_mem", sysctl: true), 3);

        internal Sysctl TcpOrphans { get; } = new(new NetFile(source, host, "net/ipv4/tcp_max_orphans", sysctl: true), 1);

        internal Sysctl UdpMemory { get; } = new(new NetFile(source, host, "net/ipv4/udp_mem", sysctl: true), 3);

        public void Dispose()
        {
            TcpMemory.Dispose();
            TcpOrphans.Dispose();
            UdpMemory.Dispose();
        }
    }
}

/// <summary>Unsigned numbers of a sysctl file, divided by tabs (kernel/sysctl.c, proc_doulongvec_minmax and proc_dointvec).</summary>
internal static class SysctlParser
{
    internal static bool TryParse(ReadOnlySpan<byte> text, Span<Reading> numbers)
    {
        var line = new LineCursor(text);
        if (!line.MoveNext()) return false;
        var field = new FieldCursor(line.Current);
        foreach (ref Reading number in numbers) number = new Reading(field.UInt64());
        return field.Fault == FaultKind.None && field.AtEnd;
    }
}
