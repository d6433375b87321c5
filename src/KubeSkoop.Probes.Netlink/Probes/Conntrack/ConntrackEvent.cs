namespace KubeSkoop.Probes.Netlink;

/// <summary>Something that happened to connection tracking.</summary>
public abstract record ConntrackEvent : ProbeEvent;

/// <summary>What happened to an entry.</summary>
public enum ConntrackChange
{
    /// <summary>It is new.</summary>
    New,

    /// <summary>It has changed: its state, status, mark or helper.</summary>
    Update,

    /// <summary>It is gone.</summary>
    Destroy,
}

/// <summary>A tracked flow is new, has changed, or is gone.</summary>
public sealed record ConntrackFlowEvent : ConntrackEvent
{
    /// <summary>What happened to it.</summary>
    public required ConntrackChange Change { get; init; }

    /// <summary>The flow as its first packet had it. Ports are 0 where the protocol has none.</summary>
    public required FlowTuple Original { get; init; }

    /// <summary>The flow as replies have it: the reverse, unless addresses are translated. <see langword="null"/> if the kernel left it out.</summary>
    public FlowTuple? Reply { get; init; }

    /// <summary>The entry's status bits.</summary>
    public ConntrackStatus Status { get; init; }

    /// <summary>The TCP state, of a flow that is gone its last; <see langword="null"/> of other protocols, and where the kernel left it out.</summary>
    public ConntrackTcpState? TcpState { get; init; }

    /// <summary>The identifier of an ICMP or ICMPv6 exchange.</summary>
    public ushort? IcmpIdentifier { get; init; }

    /// <summary>The type of an ICMP or ICMPv6 exchange's first packet.</summary>
    public byte? IcmpType { get; init; }

    /// <summary>The flow this one belongs to (an FTP data connection's control connection).</summary>
    public FlowTuple? Master { get; init; }

    /// <summary>How long the entry lives on without a packet.</summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>Packets and bytes in the original direction; <see langword="null"/> without accounting (<c>net.netfilter.nf_conntrack_acct</c>).</summary>
    public ConntrackTraffic? OriginalTraffic { get; init; }

    /// <summary>Packets and bytes in the reply direction.</summary>
    public ConntrackTraffic? ReplyTraffic { get; init; }

    /// <summary>When the flow began; <see langword="null"/> without time stamps (<c>net.netfilter.nf_conntrack_timestamp</c>).</summary>
    public DateTimeOffset? Began { get; init; }

    /// <summary>When the flow ended.</summary>
    public DateTimeOffset? Ended { get; init; }

    /// <summary>The entry's mark (connmark).</summary>
    public uint? Mark { get; init; }

    /// <summary>The conntrack zone; 0 is the usual one.</summary>
    public ushort Zone { get; init; }

    /// <summary>The kernel's number of the entry.</summary>
    public uint? Id { get; init; }

    /// <summary>Whose the source of <see cref="Original"/> is; <see langword="null"/> if that is not known. Asked for whenever it is read, as the owners that follow.</summary>
    public PeerIdentity? SourceOwner => _owners.Of(Original.Source, Timestamp);

    /// <summary>Whose the destination of <see cref="Original"/> is: of a service, if the address is translated.</summary>
    public PeerIdentity? DestinationOwner => _owners.Of(Original.Destination, Timestamp);

    /// <summary>Who answers: of a flow to a service, the pod behind it.</summary>
    public PeerIdentity? ReplySourceOwner => Reply is { } reply ? _owners.Of(reply.Source, Timestamp) : null;

    /// <summary>Who knows whose an address is.</summary>
    internal IPodResolver? Pods
    {
        set => _owners = new Owners(value);
    }

    private Owners _owners;

    /// <inheritdoc />
    public override string Message =>
        $"flow {ConntrackWords.Of(Change)} {Original}{(TcpState is { } state ? $" {state}" : "")}{((Status & ConntrackStatus.SeenReply) == 0 ? ", unreplied" : "")}{(OriginalTraffic is { } there ? $", {there.Bytes} bytes there" : "")}{(ReplyTraffic is { } back ? $", {back.Bytes} back" : "")}";

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write("change", ConntrackWords.Of(Change));
        writer.Write(Original);
        writer.Write(SourceOwner, AttributeNames.Source);
        writer.Write(DestinationOwner, AttributeNames.Destination);
        if (Reply is { } reply)
        {
            writer.Write(reply, "reply.");
            writer.Write(ReplySourceOwner, $"reply.{AttributeNames.Source}");
        }
        if (Master is { } master) writer.Write(master, "master.");
        writer.Write("status", Status.ToString());
        if (TcpState is { } state) writer.Write("state", state.ToString());
        writer.WriteIfAny("icmp.id", IcmpIdentifier);
        writer.WriteIfAny("icmp.type", IcmpType);
        if (Timeout is { } timeout) writer.Write("timeout_seconds", timeout.TotalSeconds);
        writer.WriteIfAny("packets", OriginalTraffic?.Packets);
        writer.WriteIfAny("bytes", OriginalTraffic?.Bytes);
        writer.WriteIfAny("reply.packets", ReplyTraffic?.Packets);
        writer.WriteIfAny("reply.bytes", ReplyTraffic?.Bytes);
        if (Began is { } began && Ended is { } ended) writer.Write("duration_seconds", (ended - began).TotalSeconds);
        writer.WriteIfAny("mark", Mark);
        if (Zone != 0) writer.Write("zone", (long)Zone);
        writer.WriteIfAny("id", Id);
    }

    /// <summary>Equal to any other: whom to ask is no part of what an event says.</summary>
    private readonly struct Owners(IPodResolver? pods) : IEquatable<Owners>
    {
        internal PeerIdentity? Of(Endpoint end, DateTimeOffset at) => pods?.ResolveAddress(in end, at);

        public bool Equals(Owners other) => true;

        public override bool Equals(object? obj) => obj is Owners;

        public override int GetHashCode() => 0;
    }
}

/// <summary>A flow that a helper expects (FTP's data connection) is announced, or is expected no more.</summary>
public sealed record ConntrackExpectationEvent : ConntrackEvent
{
    /// <summary>What happened to it.</summary>
    public required ConntrackChange Change { get; init; }

    /// <summary>The flow that is expected. Fields the helper does not know are 0.</summary>
    public required FlowTuple Expected { get; init; }

    /// <summary>The flow that announced it.</summary>
    public FlowTuple? Master { get; init; }

    /// <summary>The helper's name, for example <c>ftp</c>.</summary>
    public string? Helper { get; init; }

    /// <summary>How long it is waited for.</summary>
    public TimeSpan? Timeout { get; init; }

    /// <inheritdoc />
    public override string Message => $"expectation {ConntrackWords.Of(Change)} {Expected}{(Helper is null ? "" : $", helper {Helper}")}";

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write("change", ConntrackWords.Of(Change));
        writer.Write(Expected);
        if (Master is { } master) writer.Write(master, "master.");
        writer.WriteIfAny("helper", Helper);
        if (Timeout is { } timeout) writer.Write("timeout_seconds", timeout.TotalSeconds);
    }
}

/// <summary>
/// The table was full: since the last look, new flows were dropped or old entries were thrown out to make room. Derived from the
/// namespace's counters.
/// </summary>
public sealed record ConntrackTableFullEvent : ConntrackEvent
{
    /// <summary>Packets dropped because they could not be tracked, since the last look.</summary>
    public required ulong Dropped { get; init; }

    /// <summary>Entries thrown out early to make room, since the last look.</summary>
    public required ulong DroppedEarly { get; init; }

    /// <summary>Entries now.</summary>
    public ulong? Entries { get; init; }

    /// <summary>Most entries (<c>net.netfilter.nf_conntrack_max</c>).</summary>
    public ulong? Maximum { get; init; }

    /// <inheritdoc />
    public override string Message => $"table full ({Entries?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "?"} of {Maximum?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "?"} entries): {Dropped} packets dropped, {DroppedEarly} entries thrown out";

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write("dropped", Dropped);
        writer.Write("dropped_early", DroppedEarly);
        writer.WriteIfAny("entries", Entries);
        writer.WriteIfAny("maximum", Maximum);
    }
}

/// <summary>Entries could not be inserted since the last look: two packets raced for the same flow, or a hash chain was too long. Derived from the namespace's counters.</summary>
public sealed record ConntrackInsertFailedEvent : ConntrackEvent
{
    /// <summary>Entries that could not be inserted; their packets were dropped.</summary>
    public required ulong InsertFailed { get; init; }

    /// <summary>Of those, for a hash chain that was too long; kernels before 5.15 do not say, and this is 0.</summary>
    public ulong ChainsTooLong { get; init; }

    /// <inheritdoc />
    public override string Message => $"{InsertFailed} entries could not be inserted, {ChainsTooLong} of them for a long hash chain";

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write("insert_failed", InsertFailed);
        writer.Write("chains_too_long", ChainsTooLong);
    }
}

internal static class ConntrackWords
{
    internal static string Of(ConntrackChange change) => change switch { ConntrackChange.New => "new", ConntrackChange.Update => "update", _ => "destroy" };
}

/// <summary>Traffic of a flow in one direction.</summary>
/// <param name="Packets">Packets.</param>
/// <param name="Bytes">Bytes, headers of the network layer included.</param>
public readonly record struct ConntrackTraffic(ulong Packets, ulong Bytes);

/// <summary>Status bits of an entry (include/uapi/linux/netfilter/nf_conntrack_common.h, IPS_*).</summary>
[Flags]
public enum ConntrackStatus
{
    /// <summary>None of them.</summary>
    None = 0,

    /// <summary>The flow was expected by a helper.</summary>
    Expected = 1 << 0,

    /// <summary>Packets were seen in both directions.</summary>
    SeenReply = 1 << 1,

    /// <summary>Not thrown out early when the table is full.</summary>
    Assured = 1 << 2,

    /// <summary>The first packet has left this machine or reached its socket.</summary>
    Confirmed = 1 << 3,

    /// <summary>The source address is translated.</summary>
    SourceNat = 1 << 4,

    /// <summary>The destination address is translated.</summary>
    DestinationNat = 1 << 5,

    /// <summary>TCP sequence numbers are adjusted.</summary>
    SequenceAdjusted = 1 << 6,

    /// <summary>Source translation has been set up.</summary>
    SourceNatDone = 1 << 7,

    /// <summary>Destination translation has been set up.</summary>
    DestinationNatDone = 1 << 8,

    /// <summary>On its way out.</summary>
    Dying = 1 << 9,

    /// <summary>Its timeout is fixed.</summary>
    FixedTimeout = 1 << 10,

    /// <summary>A template for others.</summary>
    Template = 1 << 11,

    /// <summary>Its translation clashed with another entry's.</summary>
    NatClash = 1 << 12,

    /// <summary>A helper was assigned by hand.</summary>
    Helper = 1 << 13,

    /// <summary>Packets take the flow table's fast path.</summary>
    Offload = 1 << 14,

    /// <summary>Packets are forwarded by hardware.</summary>
    HardwareOffload = 1 << 15,
}

/// <summary>A tracked TCP connection's state (include/uapi/linux/netfilter/nf_conntrack_tcp.h).</summary>
public enum ConntrackTcpState : byte
{
    /// <summary>Not known.</summary>
    None,

    /// <summary>A SYN was seen.</summary>
    SynSent,

    /// <summary>A SYN and its SYN-ACK were seen.</summary>
    SynReceived,

    /// <summary>The handshake was seen.</summary>
    Established,

    /// <summary>A FIN was seen.</summary>
    FinWait,

    /// <summary>The FIN was acknowledged.</summary>
    CloseWait,

    /// <summary>FINs of both sides were seen.</summary>
    LastAck,

    /// <summary>The last FIN was acknowledged.</summary>
    TimeWait,

    /// <summary>A RST was seen.</summary>
    Close,

    /// <summary>SYNs of both sides were seen (simultaneous open).</summary>
    SynSent2,
}
