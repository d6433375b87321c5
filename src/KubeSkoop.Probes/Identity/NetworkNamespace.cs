using System.Globalization;

namespace KubeSkoop.Probes;

/// <summary>What is known about a network namespace at one moment.</summary>
/// <param name="Name">Its name below <c>/run/netns</c>, if it is bound there.</param>
/// <param name="ProcessId">A living process in it, as numbered in the host's pid namespace.</param>
/// <param name="Command">The command (comm) of that process. Chosen by the pod: hostile.</param>
/// <param name="Pod">The pod that owns it, if known.</param>
public sealed record NamespaceFacts(string? Name, int? ProcessId, string? Command, PodIdentity? Pod);

/// <summary>
/// A network namespace, from its discovery to its end. The same object for its whole life: a namespace that gets a dead
/// one's inode number is another object.
/// </summary>
#pragma warning disable CA1001 // The token source has no timer and is cancelled at the end: there is nothing to dispose of.
public sealed class NetworkNamespace
#pragma warning restore CA1001
{
    private const string HostName = "host";

    private readonly CancellationTokenSource _ended = new();
    private volatile NamespaceFacts _facts;
    private int _version;

    /// <summary>Made by an <see cref="INetworkNamespaceSource"/>.</summary>
    /// <param name="inode">The inode number of the namespace (<c>net:[inode]</c>).</param>
    /// <param name="isHost">Whether it is the namespace of the host's first process.</param>
    /// <param name="facts">What is known at first.</param>
    public NetworkNamespace(uint inode, bool isHost, NamespaceFacts facts)
    {
        ArgumentNullException.ThrowIfNull(facts);
        Inode = inode;
        IsHost = isHost;
        _facts = facts;
        Ended = _ended.Token;
        Subject = new SampleSubject(this);
    }

    /// <summary>The inode number: how procfs, netlink and BPF all name it.</summary>
    public uint Inode { get; }

    /// <summary>Whether it is the host's own.</summary>
    public bool IsHost { get; }

    /// <summary>The subject of rows that are keyed by this namespace alone; shared, so that its labels are encoded once.</summary>
    public SampleSubject Subject { get; }

    /// <summary>What is known now.</summary>
    public NamespaceFacts Facts => _facts;

    /// <summary>Its name below <c>/run/netns</c>, if bound there.</summary>
    public string? Name => _facts.Name;

    /// <summary>A living process in it.</summary>
    public int? ProcessId => _facts.ProcessId;

    /// <summary>The command of that process. Chosen by the pod: hostile.</summary>
    public string? Command => _facts.Command;

    /// <summary>The pod that owns it, if known.</summary>
    public PodIdentity? Pod => _facts.Pod;

    /// <summary>Grows with every change of the facts that name it.</summary>
    public int Version => Volatile.Read(ref _version);

    /// <summary>Cancelled when the last process has left and no bind mount holds it: release what you hold of it.</summary>
    public CancellationToken Ended { get; }

    /// <summary>
    /// What to call it where no pod is known: its bound name, else <c>host</c>, else its first process's command, else its inode.
    /// A command that is empty, or says that it is the host, does not count.
    /// </summary>
    public string DisplayName
    {
        get
        {
            NamespaceFacts facts = _facts;
            if (facts.Name is { } name) return name;
            if (IsHost) return HostName;
            return facts.Command is { Length: > 0 } command && command != HostName ? command : Inode.ToString(CultureInfo.InvariantCulture);
        }
    }

    /// <summary>Replaces the facts. For sources.</summary>
    public void Update(NamespaceFacts facts)
    {
        ArgumentNullException.ThrowIfNull(facts);
        NamespaceFacts before = _facts;
        if (facts == before) return;
        _facts = facts;
        if (facts.Name != before.Name || facts.Command != before.Command || facts.Pod != before.Pod) Interlocked.Increment(ref _version);
    }

    /// <summary>Says that the namespace has ended; runs what was registered on <see cref="Ended"/>. For sources.</summary>
    public void End() => _ended.Cancel();

    /// <summary>The inode and a name, for people.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{DisplayName} (net:[{Inode}])");
}
