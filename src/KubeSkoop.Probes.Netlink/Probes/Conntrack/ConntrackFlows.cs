using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Netlink;

/// <summary>Flows of one protocol, and of TCP one state.</summary>
internal struct ConntrackFlowCount
{
    internal ulong Flows;
    internal ulong Unreplied;
    internal ulong Assured;
    internal ulong SourceNat;
    internal ulong DestinationNat;
    internal ulong Offloaded;
}

/// <summary>A namespace's flows by protocol and TCP state. A row that was there once stays, so that a gauge goes to 0 instead of away.</summary>
internal sealed class ConntrackFlows(NetworkNamespace ns)
{
    private static readonly string[] TcpStates =
        ["none", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close", "syn_sent2"];

    private static readonly (byte Number, string Name)[] Protocols =
        [(17, "udp"), (1, "icmp"), (58, "icmpv6"), (132, "sctp"), (33, "dccp"), (47, "gre"), (136, "udplite")];

    private static readonly int OtherProtocols = TcpStates.Length + Protocols.Length;

    private readonly SampleSubject?[] _subjects = new SampleSubject?[Rows];
    private readonly ConntrackFlowCount[] _counts = new ConntrackFlowCount[Rows];

    /// <summary>Rows there may be: TCP states, other protocols, and the rest.</summary>
    internal static int Rows => OtherProtocols + 1;

    /// <summary>The row a flow is counted in.</summary>
    internal static int RowOf(byte protocol, ConntrackTcpState tcpState)
    {
        if (protocol == 6) return (int)tcpState < TcpStates.Length ? (int)tcpState : 0;
        if (protocol == 17) return TcpStates.Length;
        for (int i = 0; i < Protocols.Length; i++)
            if (Protocols[i].Number == protocol) return TcpStates.Length + i;
        return OtherProtocols;
    }

    /// <summary>Takes over what was counted.</summary>
    internal void Take(ReadOnlySpan<ConntrackFlowCount> counts)
    {
        counts.CopyTo(_counts);
        for (int row = 0; row < Rows; row++)
            if (counts[row].Flows > 0) _subjects[row] ??= SubjectOf(row);
    }

    /// <summary>Adds the rows.</summary>
    internal void Write(SampleBatch<ConntrackRecord> batch)
    {
        for (int row = 0; row < Rows; row++)
        {
            if (_subjects[row] is not { } subject) continue;
            ref ConntrackRecord record = ref batch.Add(subject);
            ref ConntrackFlowCount count = ref _counts[row];
            record.Flows = count.Flows;
            record.FlowsUnreplied = count.Unreplied;
            record.FlowsAssured = count.Assured;
            record.FlowsSourceNat = count.SourceNat;
            record.FlowsDestinationNat = count.DestinationNat;
            record.FlowsOffloaded = count.Offloaded;
        }
    }

    private SampleSubject SubjectOf(int row) => row < TcpStates.Length
        ? new SampleSubject(ns, new SampleAttribute(AttributeNames.Transport, "tcp"), new SampleAttribute(AttributeNames.State, TcpStates[row]))
        : new SampleSubject(ns, new SampleAttribute(AttributeNames.Transport, row == OtherProtocols ? "other" : Protocols[row - TcpStates.Length].Name));
}

/// <summary>Counts a dump of entries. Looks at no more of each than it must.</summary>
internal readonly ref struct ConntrackFlowVisitor(Span<ConntrackFlowCount> counts, int protocol = -1) : INetlinkVisitor
{
    private readonly Span<ConntrackFlowCount> _counts = counts;

    public void Begin() => _counts.Clear();

    public bool Visit(in NetlinkMessage message)
    {
        if (message.Type != ConntrackMessages.New || !message.TryRead(out uint _, out NetlinkAttributes attributes)) return false;
        int number = -1;
        ConntrackStatus? status = null;
        ConntrackTcpState? state = null;
        while (attributes.MoveNext())
        {
            if (attributes.Type == ConntrackMessages.TupleOriginal) number = ProtocolOf(ref attributes);
            else if (attributes.Type == ConntrackMessages.Status) status = (ConntrackStatus)attributes.BigEndian32();
            else if (attributes.Type == ConntrackMessages.ProtocolInfo) state = ConntrackParser.TcpState(ref attributes);
            else continue;
            if (number >= 0 && status is not null && (number != Tcp || state is not null)) break; // the rest is of no interest
        }
        if (attributes.Fault != NetlinkFault.None || number < 0) return false;
        if (protocol >= 0 && number != protocol) return true; // a kernel that does not filter
        ref ConntrackFlowCount count = ref _counts[ConntrackFlows.RowOf((byte)number, state.GetValueOrDefault())];
        count.Flows++;
        if ((status.GetValueOrDefault() & ConntrackStatus.SeenReply) == 0) count.Unreplied++;
        if ((status & ConntrackStatus.Assured) != 0) count.Assured++;
        if ((status & ConntrackStatus.SourceNat) != 0) count.SourceNat++;
        if ((status & ConntrackStatus.DestinationNat) != 0) count.DestinationNat++;
        if ((status & (ConntrackStatus.Offload | ConntrackStatus.HardwareOffload)) != 0) count.Offloaded++;
        return true;
    }

    private const int Tcp = 6;

    private static int ProtocolOf(ref NetlinkAttributes attributes)
    {
        int number = -1;
        NetlinkAttributes tuple = attributes.Nested();
        while (number < 0 && tuple.MoveNext())
        {
            if (tuple.Type != ConntrackMessages.TupleProtocol) continue;
            NetlinkAttributes parts = tuple.Nested();
            while (number < 0 && parts.MoveNext())
                if (parts.Type == ConntrackMessages.ProtocolNumber) number = parts.UInt8();
            tuple.Join(parts);
        }
        attributes.Join(tuple);
        return number;
    }
}

/// <summary>
/// Counts the flows of all namespaces, one round at a time, over sockets of its own: a dump takes long, and samples do not wait for it.
/// </summary>
internal sealed class ConntrackCounter : IDisposable
{
    private readonly NetlinkTable _sockets;
    private readonly ConntrackFlowCount[] _counts = new ConntrackFlowCount[ConntrackFlows.Rows];
    private readonly ConntrackFlowCount[] _part = new ConntrackFlowCount[ConntrackFlows.Rows];
    private readonly byte[][] _requests;
    private readonly int _protocol;
    private readonly TimeSpan _budget;
    private readonly TimeProvider _clock;
    private uint _first;

    internal ConntrackCounter(INetworkNamespaceSource namespaces, NetlinkSettings settings, ConntrackOptions options, TimeProvider clock)
    {
        _sockets = new NetlinkTable(namespaces, NetlinkProtocol.Netfilter, settings);
        _sockets.Acquire();
        _protocol = options.EntriesProtocol ?? -1;
        _budget = options.EntriesTimeBudget;
        _clock = clock;
        // The kernel filters by protocol within one family only.
        _requests = _protocol < 0
            ? [ConntrackMessages.Request(ConntrackMessages.Get)]
            : [Filtered(ConntrackMessages.FamilyIPv4, (byte)_protocol), Filtered(ConntrackMessages.FamilyIPv6, (byte)_protocol)];
    }

    public void Dispose() => _sockets.Dispose();

    /// <summary>One round.</summary>
    /// <param name="snapshot">The namespaces.</param>
    /// <param name="candidates">The same, and how many entries each has, if known.</param>
    /// <param name="gate">Held while a namespace's counts are handed over.</param>
    internal void Count(IReadOnlyList<NetworkNamespace> snapshot, List<(ConntrackNamespace State, Reading Entries)> candidates, Lock gate)
    {
        lock (_sockets.Gate)
        {
            ReadOnlySpan<NamespaceSocket> slots = _sockets.Of(snapshot);
            long began = _clock.GetTimestamp();
            int first = 0;
            for (int i = 0; i < candidates.Count; i++)
                if (candidates[i].State.Namespace.Inode == _first) first = i;
            bool dumped = false;
            for (int n = 0; n < candidates.Count; n++)
            {
                int i = (first + n) % candidates.Count;
                (ConntrackNamespace state, Reading entries) = candidates[i];
                if (!entries.HasValue) continue;
                _counts.AsSpan().Clear();
                string? problem = null;
                // A dump of an empty namespace walks the whole machine's table as well.
                if (entries.Value > 0)
                {
                    if (dumped && _clock.GetElapsedTime(began) > _budget)
                    {
                        _first = state.Namespace.Inode;
                        return;
                    }
                    dumped = true;
                    if (!TryDump(slots[i], out problem) && problem is null) continue; // it has ended
                }
                lock (gate)
                {
                    state.FlowsProblem = problem;
                    if (problem is not null) continue;
                    state.Flows ??= new ConntrackFlows(state.Namespace);
                    state.Flows.Take(_counts);
                    state.FlowsCounted = _clock.GetTimestamp();
                }
            }
            _first = 0;
        }
    }

    private bool TryDump(NamespaceSocket slot, out string? problem)
    {
        problem = null;
        foreach (byte[] request in _requests)
        {
            if (slot.TryOpen(out _) is not { } socket)
            {
                problem = slot.Problem;
                return false;
            }
            var visitor = new ConntrackFlowVisitor(_part, _protocol);
            NetlinkResult result = socket.Dump(_sockets.Buffer, request, ref visitor);
            if (!result.IsComplete)
            {
                if (result.Outcome != NetlinkOutcome.Closed) problem = slot.Describe(result);
                return false;
            }
            Span<ulong> sums = MemoryMarshal.Cast<ConntrackFlowCount, ulong>(_counts.AsSpan());
            ReadOnlySpan<ulong> part = MemoryMarshal.Cast<ConntrackFlowCount, ulong>(_part);
            for (int i = 0; i < sums.Length; i++) sums[i] += part[i];
        }
        return true;
    }

    private static byte[] Filtered(byte family, byte protocol)
    {
        NetlinkWriter writer = ConntrackMessages.Write(new byte[128], ConntrackMessages.Get, family);
        int tuple = writer.BeginNested(ConntrackMessages.TupleOriginal);
        int parts = writer.BeginNested(ConntrackMessages.TupleProtocol);
        writer.Attribute(ConntrackMessages.ProtocolNumber, protocol);
        writer.EndNested(parts);
        writer.EndNested(tuple);
        int filter = writer.BeginNested(ConntrackMessages.Filter);
        writer.Attribute(ConntrackMessages.FilterOriginalFlags, ConntrackMessages.FilterProtocolNumber);
        writer.Attribute(ConntrackMessages.FilterReplyFlags, 0u);
        writer.EndNested(filter);
        return writer.Finish().ToArray();
    }
}
