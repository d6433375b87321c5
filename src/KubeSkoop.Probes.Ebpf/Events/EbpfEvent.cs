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

    /// <summary>What to ask for the pod later.</summary>
    internal Func<PodIdentity?>? PodLater
    {
        init => _attribution = new Attribution(value);
    }

    private readonly Attribution _attribution;

    /// <summary>The network namespace by its inode number, also where nothing more is known of it; 0 where it has none.</summary>
    public uint NetworkNamespaceInode { get; init; }

    /// <summary>The flow in socket view: the source is this namespace's side. <see langword="null"/> where there is none.</summary>
    public FlowTuple? Flow { get; init; }

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
        if (Flow is { } flow) writer.Write(flow);
        if (ProcessId is { } process) writer.Write("process.pid", (long)process);
        writer.WriteIfAny("process.command", Command);
        writer.WriteIfAny("cgroup.id", CgroupId);
    }

    /// <summary>Equal to any other: how to ask is no part of what an event says.</summary>
    private readonly struct Attribution(Func<PodIdentity?>? ask) : IEquatable<Attribution>
    {
        internal PodIdentity? Ask() => ask?.Invoke();

        public bool Equals(Attribution other) => true;

        public override bool Equals(object? obj) => obj is Attribution;

        public override int GetHashCode() => 0;
    }
}
