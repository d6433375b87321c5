using KubeSkoop.Probes.Ebpf.Events;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>What the events of BPF probes have in common.</summary>
public abstract record EbpfEvent : ProbeEvent
{
    /// <summary>
    /// The pod it happened to. Asked for when the event is made, and again when it is read as long as the pod's name is not known: a pod's
    /// first events come before anybody has told of it.
    /// </summary>
    public override PodIdentity? Pod
    {
        get => base.Pod is { IsNamed: true } named ? named : _attribution.Ask() ?? base.Pod;
        init => base.Pod = value;
    }

    /// <summary>Everything that the head of a record says, and whom to ask for more.</summary>
    internal EventOrigin Origin
    {
        init
        {
            RawEvent head = value.Head;
            Namespace = value.Namespace;
            Pod = value.Pod;
            Node = value.Node;
            NetworkNamespaceInode = head.NetworkNamespace;
            Flow = head.Flow.ToTuple();
            ProcessId = head.ProcessId == 0 ? null : (int)head.ProcessId;
            Command = head.CommandText();
            CgroupId = head.Cgroup == 0 ? null : head.Cgroup;
            _attribution = new Attribution(value, Flow);
        }
    }

    private readonly Attribution _attribution;

    /// <summary>The network namespace by its inode number, also where nothing more is known of it; 0 where it has none.</summary>
    public uint NetworkNamespaceInode { get; init; }

    /// <summary>The flow in socket view: the source is this namespace's side. <see langword="null"/> where there is none.</summary>
    public FlowTuple? Flow { get; init; }

    /// <summary>Whose the flow's source is: the pod it happened to, or where that is not known, whoever has the address; <see langword="null"/> if neither is known.</summary>
    public PeerIdentity? SourceOwner => Flow is not { } flow ? null : PeerIdentity.Of(Pod, Node) ?? _attribution.OwnerOf(flow.Source, isSource: true);

    /// <summary>Whose the flow's destination is; <see langword="null"/> if that is not known. Asked for as the pod is: when the event is made, and again as long as it is not known.</summary>
    public PeerIdentity? DestinationOwner => Flow is not { } flow ? null : flow.Destination.IsLoopback ? SourceOwner : _attribution.OwnerOf(flow.Destination, isSource: false);

    /// <summary>The name of the container whose cgroup it is; <see langword="null"/> if there is none, or it is not known.</summary>
    public string? Container => _attribution.Container;

    /// <summary>The process that caused it; <see langword="null"/> where it was a packet or a timer.</summary>
    public int? ProcessId { get; init; }

    /// <summary>That process's command. Chosen by the process: hostile.</summary>
    public string? Command { get; init; }

    /// <summary>The cgroup (v2) of the socket or process, by its number (the inode of its directory); <see langword="null"/> where it is not known.</summary>
    public ulong? CgroupId { get; init; }

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        if (Flow is { } flow)
        {
            writer.Write(flow);
            writer.Write(SourceOwner, AttributeNames.Source);
            writer.Write(DestinationOwner, AttributeNames.Destination);
        }
        writer.WriteIfAny(AttributeNames.Container, Container);
        if (ProcessId is { } process) writer.Write("process.pid", (long)process);
        writer.WriteIfAny("process.command", Command);
        writer.WriteIfAny("cgroup.id", CgroupId);
    }

    /// <summary>The flow, and in brackets whose its ends are, for people: the destination's, and the source's where it is not the event's pod.</summary>
    private protected string FlowText => TextOf(Flow, Pod is { IsNamed: true } ? null : SourceOwner, DestinationOwner);

    /// <summary>A flow and whose its ends are.</summary>
    private protected static string TextOf(FlowTuple? flow, PeerIdentity? source, PeerIdentity? destination) =>
        flow is null ? "-" : (source, destination) switch
        {
            (null, null) => $"{flow}",
            (null, _) => $"{flow} (to {destination})",
            (_, null) => $"{flow} (from {source})",
            _ => $"{flow} ({source} -> {destination})",
        };

    /// <summary>Equal to any other: how to ask is no part of what an event says.</summary>
    private readonly struct Attribution : IEquatable<Attribution>
    {
        private readonly IPodResolver? _pods;
        private readonly Func<PodIdentity?>? _podLater;
        private readonly DateTimeOffset _time;
        private readonly ulong _cgroup;
        private readonly PeerIdentity? _source;
        private readonly PeerIdentity? _destination;

        internal Attribution(in EventOrigin origin, FlowTuple? flow)
        {
            _pods = origin.Pods;
            _podLater = origin.PodLater;
            _time = origin.Time;
            _cgroup = origin.Head.Cgroup;
            if (flow is not { } known) return;
            _source = _pods.ResolveAddress(known.Source, _time);
            _destination = _pods.ResolveAddress(known.Destination, _time);
        }

        internal PodIdentity? Ask() => _podLater?.Invoke();

        // Outside may be a pod that was not told of yet.
        internal PeerIdentity? OwnerOf(Endpoint end, bool isSource) =>
            (isSource ? _source : _destination) is { Kind: not PeerKind.Outside } known ? known : _pods?.ResolveAddress(in end, _time) ?? (isSource ? _source : _destination);

        internal string? Container => _cgroup == 0 ? null : _pods?.ResolveContainer(_cgroup);

        public bool Equals(Attribution other) => true;

        public override bool Equals(object? obj) => obj is Attribution;

        public override int GetHashCode() => 0;
    }
}

/// <summary>Where a record comes from, as far as it is known when it is read.</summary>
/// <param name="Head">How the record begins.</param>
/// <param name="Time">When it happened.</param>
/// <param name="Namespace">The network namespace, if known.</param>
/// <param name="Pod">The pod, if known.</param>
/// <param name="PodLater">Whom to ask for a pod that has no name yet.</param>
/// <param name="Pods">Whom to ask for everything else.</param>
/// <param name="Node">The node's name.</param>
internal readonly record struct EventOrigin(RawEvent Head, DateTimeOffset Time, NetworkNamespace? Namespace, PodIdentity? Pod, Func<PodIdentity?>? PodLater, IPodResolver Pods, string? Node);
