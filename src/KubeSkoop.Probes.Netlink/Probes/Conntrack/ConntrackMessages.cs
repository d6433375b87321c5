using System.Runtime.CompilerServices;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Netlink;

/// <summary>Messages and attributes of ctnetlink, include/uapi/linux/netfilter/nfnetlink_conntrack.h.</summary>
internal static class ConntrackMessages
{
    // The type is the subsystem (NFNL_SUBSYS_CTNETLINK 1, NFNL_SUBSYS_CTNETLINK_EXP 2) and the message.
    internal const ushort New = 1 << 8;
    internal const ushort Get = New | 1;
    internal const ushort Delete = New | 2;
    internal const ushort GetStatsCpu = New | 4;
    internal const ushort GetStats = New | 5;
    internal const ushort ExpectationNew = 2 << 8;
    internal const ushort ExpectationDelete = ExpectationNew | 2;

    // Multicast groups.
    internal const int GroupNew = 1;
    internal const int GroupUpdate = 2;
    internal const int GroupDestroy = 3;
    internal const int GroupExpectationNew = 4;
    internal const int GroupExpectationUpdate = 5;
    internal const int GroupExpectationDestroy = 6;

    // enum ctattr_type
    internal const ushort TupleOriginal = 1;
    internal const ushort TupleReply = 2;
    internal const ushort Status = 3;
    internal const ushort ProtocolInfo = 4;
    internal const ushort Timeout = 7;
    internal const ushort Mark = 8;
    internal const ushort CountersOriginal = 9;
    internal const ushort CountersReply = 10;
    internal const ushort Id = 12;
    internal const ushort TupleMaster = 14;
    internal const ushort Zone = 18;
    internal const ushort Timestamp = 20;
    internal const ushort Filter = 25;

    // enum ctattr_tuple, ctattr_ip, ctattr_l4proto
    internal const ushort TupleIp = 1;
    internal const ushort TupleProtocol = 2;
    internal const ushort SourceV4 = 1;
    internal const ushort DestinationV4 = 2;
    internal const ushort SourceV6 = 3;
    internal const ushort DestinationV6 = 4;
    internal const ushort ProtocolNumber = 1;
    internal const ushort SourcePort = 2;
    internal const ushort DestinationPort = 3;
    internal const ushort IcmpId = 4;
    internal const ushort IcmpType = 5;
    internal const ushort Icmp6Id = 7;
    internal const ushort Icmp6Type = 8;

    // enum ctattr_protoinfo, ctattr_protoinfo_tcp
    internal const ushort ProtocolInfoTcp = 1;
    internal const ushort TcpState = 1;

    // enum ctattr_counters, ctattr_tstamp
    internal const ushort CounterPackets = 1;
    internal const ushort CounterBytes = 2;
    internal const ushort TimestampStart = 1;
    internal const ushort TimestampStop = 2;

    // enum ctattr_stats_global
    internal const ushort GlobalEntries = 1;
    internal const ushort GlobalMaximum = 2;

    // enum ctattr_expect
    internal const ushort ExpectationMaster = 1;
    internal const ushort ExpectationTuple = 2;
    internal const ushort ExpectationTimeout = 4;
    internal const ushort ExpectationHelper = 6;

    // enum ctattr_filter, and the flag of the protocol number in it (CTA_FILTER_F_CTA_PROTO_NUM).
    internal const ushort FilterOriginalFlags = 1;
    internal const ushort FilterReplyFlags = 2;
    internal const uint FilterProtocolNumber = 1 << 3;

    internal const byte FamilyAny = 0;
    internal const byte FamilyIPv4 = 2;
    internal const byte FamilyIPv6 = 10;

    /// <summary>A request without attributes.</summary>
    internal static byte[] Request(ushort type, byte family = FamilyAny) => Write(new byte[64], type, family).Finish().ToArray();

    /// <summary>Begins a request.</summary>
    internal static NetlinkWriter Write(Span<byte> buffer, ushort type, byte family, NetlinkFlags flags = NetlinkFlags.None)
    {
        var writer = new NetlinkWriter(buffer, type, flags);
        writer.Header((uint)family); // struct nfgenmsg: family, version 0, resource 0
        return writer;
    }
}

/// <summary>One direction of a tracked flow.</summary>
internal ref struct ConntrackTuple
{
    private ReadOnlySpan<byte> _source;
    private ReadOnlySpan<byte> _destination;
    private ushort _sourcePort;
    private ushort _destinationPort;
    private bool _hasProtocol;

    internal byte Protocol { get; private set; }

    internal ushort? IcmpIdentifier { get; private set; }

    internal byte? IcmpType { get; private set; }

    /// <summary>Reads CTA_TUPLE_*; a tuple without addresses or protocol is a fault of the attributes.</summary>
    internal static ConntrackTuple Read(scoped ref NetlinkAttributes attributes)
    {
        var tuple = new ConntrackTuple();
        NetlinkAttributes parts = attributes.Nested();
        while (parts.MoveNext())
        {
            if (parts.Type == ConntrackMessages.TupleIp) tuple.ReadAddresses(ref parts);
            else if (parts.Type == ConntrackMessages.TupleProtocol) tuple.ReadProtocol(ref parts);
        }
        attributes.Join(parts);
        if (tuple._source.IsEmpty || tuple._source.Length != tuple._destination.Length || !tuple._hasProtocol) attributes.Fail(NetlinkFault.Short);
        return tuple;
    }

    internal readonly FlowTuple ToFlow() => new(new Endpoint(_source, _sourcePort), new Endpoint(_destination, _destinationPort), Protocol);

    private void ReadAddresses(scoped ref NetlinkAttributes parts)
    {
        NetlinkAttributes addresses = parts.Nested();
        while (addresses.MoveNext())
        {
            switch (addresses.Type)
            {
                case ConntrackMessages.SourceV4: _source = Address(ref addresses, 4); break;
                case ConntrackMessages.DestinationV4: _destination = Address(ref addresses, 4); break;
                case ConntrackMessages.SourceV6: _source = Address(ref addresses, 16); break;
                case ConntrackMessages.DestinationV6: _destination = Address(ref addresses, 16); break;
            }
        }
        parts.Join(addresses);
    }

    private void ReadProtocol(scoped ref NetlinkAttributes parts)
    {
        NetlinkAttributes protocol = parts.Nested();
        while (protocol.MoveNext())
        {
            switch (protocol.Type)
            {
                case ConntrackMessages.ProtocolNumber:
                    Protocol = protocol.UInt8();
                    _hasProtocol = true;
                    break;
                case ConntrackMessages.SourcePort: _sourcePort = protocol.BigEndian16(); break;
                case ConntrackMessages.DestinationPort: _destinationPort = protocol.BigEndian16(); break;
                case ConntrackMessages.IcmpId or ConntrackMessages.Icmp6Id: IcmpIdentifier = protocol.BigEndian16(); break;
                case ConntrackMessages.IcmpType or ConntrackMessages.Icmp6Type: IcmpType = protocol.UInt8(); break;
            }
        }
        parts.Join(protocol);
    }

    private static ReadOnlySpan<byte> Address(scoped ref NetlinkAttributes attributes, int length)
    {
        if (attributes.Value.Length == length) return attributes.Value;
        attributes.Fail(NetlinkFault.Short);
        return default;
    }
}

/// <summary>Makes event records out of ctnetlink's notices.</summary>
internal static class ConntrackParser
{
    /// <summary>The event a notice is about; <see langword="null"/> with a fault when it cannot be understood, without one when it is of no interest.</summary>
    internal static ConntrackEvent? Read(in NetlinkMessage message, NetworkNamespace? ns, DateTimeOffset now, string? node, out NetlinkFault fault)
    {
        fault = NetlinkFault.None;
        ConntrackChange change;
        switch (message.Type)
        {
            case ConntrackMessages.New or ConntrackMessages.ExpectationNew:
                // NLM_F_CREATE | NLM_F_EXCL mark what is new; without them it has changed.
                change = ((ushort)message.Flags & 0x600) != 0 ? ConntrackChange.New : ConntrackChange.Update;
                break;
            case ConntrackMessages.Delete or ConntrackMessages.ExpectationDelete:
                change = ConntrackChange.Destroy;
                break;
            default:
                return null;
        }
        if (!message.TryRead(out uint _, out NetlinkAttributes attributes))
        {
            fault = NetlinkFault.Short;
            return null;
        }
        ConntrackEvent? e = message.Type is ConntrackMessages.New or ConntrackMessages.Delete
            ? Flow(ref attributes, change, ns, now, node)
            : Expectation(ref attributes, change, ns, now, node);
        fault = attributes.Fault;
        if (e is null && fault == NetlinkFault.None) fault = NetlinkFault.Short; // its tuple is missing
        return fault == NetlinkFault.None ? e : null;
    }

    private static ConntrackFlowEvent? Flow(ref NetlinkAttributes attributes, ConntrackChange change, NetworkNamespace? ns, DateTimeOffset now, string? node)
    {
        var original = default(ConntrackTuple);
        bool known = false;
        FlowTuple? reply = null;
        FlowTuple? master = null;
        var status = ConntrackStatus.None;
        ConntrackTcpState? state = null;
        TimeSpan? timeout = null;
        ConntrackTraffic? sent = null;
        ConntrackTraffic? received = null;
        DateTimeOffset? began = null;
        DateTimeOffset? ended = null;
        uint? mark = null;
        uint? id = null;
        ushort zone = 0;
        while (attributes.MoveNext())
        {
            switch (attributes.Type)
            {
                case ConntrackMessages.TupleOriginal:
                    original = ConntrackTuple.Read(ref attributes);
                    known = attributes.Fault == NetlinkFault.None;
                    break;
                case ConntrackMessages.TupleReply: reply = Tuple(ref attributes); break;
                case ConntrackMessages.TupleMaster: master = Tuple(ref attributes); break;
                case ConntrackMessages.Status: status = (ConntrackStatus)attributes.BigEndian32(); break;
                case ConntrackMessages.ProtocolInfo: state = TcpState(ref attributes); break;
                case ConntrackMessages.Timeout: timeout = TimeSpan.FromSeconds(attributes.BigEndian32()); break;
                case ConntrackMessages.CountersOriginal: sent = Traffic(ref attributes); break;
                case ConntrackMessages.CountersReply: received = Traffic(ref attributes); break;
                case ConntrackMessages.Timestamp: (began, ended) = Times(ref attributes); break;
                case ConntrackMessages.Mark: mark = attributes.BigEndian32(); break;
                case ConntrackMessages.Id: id = attributes.BigEndian32(); break;
                case ConntrackMessages.Zone: zone = attributes.BigEndian16(); break;
            }
        }
        if (!known) return null;
        return new ConntrackFlowEvent
        {
            Probe = ConntrackProbe.About.Name,
            Timestamp = now,
            Namespace = ns,
            Pod = ns?.Pod,
            Node = node,
            Change = change,
            Original = original.ToFlow(),
            Reply = reply,
            Master = master,
            Status = status,
            TcpState = state,
            IcmpIdentifier = original.IcmpIdentifier,
            IcmpType = original.IcmpType,
            Timeout = timeout,
            OriginalTraffic = sent,
            ReplyTraffic = received,
            Began = began,
            Ended = ended,
            Mark = mark,
            Id = id,
            Zone = zone,
        };
    }

    private static ConntrackExpectationEvent? Expectation(ref NetlinkAttributes attributes, ConntrackChange change, NetworkNamespace? ns, DateTimeOffset now, string? node)
    {
        FlowTuple? expected = null;
        FlowTuple? master = null;
        string? helper = null;
        TimeSpan? timeout = null;
        while (attributes.MoveNext())
        {
            switch (attributes.Type)
            {
                case ConntrackMessages.ExpectationTuple: expected = Tuple(ref attributes); break;
                case ConntrackMessages.ExpectationMaster: master = Tuple(ref attributes); break;
                case ConntrackMessages.ExpectationTimeout: timeout = TimeSpan.FromSeconds(attributes.BigEndian32()); break;
                case ConntrackMessages.ExpectationHelper: helper = KernelText.Decode(attributes.Text()); break;
            }
        }
        if (expected is not { } flow) return null;
        return new ConntrackExpectationEvent
        {
            Probe = ConntrackProbe.About.Name,
            Timestamp = now,
            Namespace = ns,
            Pod = ns?.Pod,
            Node = node,
            Change = change,
            Expected = flow,
            Master = master,
            Helper = helper,
            Timeout = timeout,
        };
    }

    private static FlowTuple? Tuple(ref NetlinkAttributes attributes)
    {
        ConntrackTuple tuple = ConntrackTuple.Read(ref attributes);
        return attributes.Fault == NetlinkFault.None ? tuple.ToFlow() : null;
    }

    /// <summary>The TCP state in CTA_PROTOINFO; none of other protocols, and of an entry that is going.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ConntrackTcpState? TcpState(ref NetlinkAttributes attributes)
    {
        ConntrackTcpState? state = null;
        NetlinkAttributes protocols = attributes.Nested();
        while (protocols.MoveNext())
        {
            if (protocols.Type != ConntrackMessages.ProtocolInfoTcp) continue;
            NetlinkAttributes tcp = protocols.Nested();
            while (tcp.MoveNext())
            {
                if (tcp.Type != ConntrackMessages.TcpState) continue;
                state = (ConntrackTcpState)tcp.UInt8();
            }
            protocols.Join(tcp);
        }
        attributes.Join(protocols);
        return state;
    }

    private static ConntrackTraffic Traffic(ref NetlinkAttributes attributes)
    {
        ulong packets = 0;
        ulong bytes = 0;
        NetlinkAttributes counters = attributes.Nested();
        while (counters.MoveNext())
        {
            if (counters.Type == ConntrackMessages.CounterPackets) packets = counters.BigEndian64();
            else if (counters.Type == ConntrackMessages.CounterBytes) bytes = counters.BigEndian64();
        }
        attributes.Join(counters);
        return new ConntrackTraffic(packets, bytes);
    }

    private static (DateTimeOffset? Began, DateTimeOffset? Ended) Times(ref NetlinkAttributes attributes)
    {
        DateTimeOffset? began = null;
        DateTimeOffset? ended = null;
        NetlinkAttributes times = attributes.Nested();
        while (times.MoveNext())
        {
            if (times.Type == ConntrackMessages.TimestampStart) began = Time(times.BigEndian64());
            else if (times.Type == ConntrackMessages.TimestampStop) ended = Time(times.BigEndian64());
        }
        attributes.Join(times);
        return (began, ended);
    }

    // Nanoseconds since 1970; the largest are beyond the calendar.
    private static DateTimeOffset? Time(ulong nanoseconds)
    {
        ulong ticks = nanoseconds / 100;
        return ticks == 0 || ticks > (ulong)(DateTimeOffset.MaxValue - DateTimeOffset.UnixEpoch).Ticks ? null : DateTimeOffset.UnixEpoch.AddTicks((long)ticks);
    }
}
