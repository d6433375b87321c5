using System.Diagnostics;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Ebpf.Ring;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>What the BPF probes share: settings, the thread that reads their rings, and the namespaces their records are about.</summary>
public sealed class EbpfPrograms
{
    private readonly Lock _indexGate = new();
    private readonly Dictionary<uint, NetworkNamespace> _index = [];
    private IReadOnlyList<NetworkNamespace>? _indexed;
    private long _lastLook;

    /// <summary>Loads nothing before a probe asks for it.</summary>
    public EbpfPrograms(INetworkNamespaceSource namespaces, IOptions<EbpfOptions>? options = null, IOptions<ProbesOptions>? sdk = null, IPodResolver? pods = null, ILogger<EbpfPrograms>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(namespaces);
        Namespaces = namespaces;
        Pods = pods ?? NoPodResolver.Instance;
        Options = options?.Value ?? new EbpfOptions();
        Node = sdk?.Value.ResolvedNodeName;
        Logger = logger ?? (ILogger)NullLogger.Instance;
        Overhead = new OverheadMeter { Logger = Logger };
        Alive = new AliveNamespaces(this);
    }

    /// <summary>The namespaces of this machine.</summary>
    public INetworkNamespaceSource Namespaces { get; }

    /// <summary>Who names pods and addresses.</summary>
    internal IPodResolver Pods { get; }

    internal EbpfOptions Options { get; }

    internal string? Node { get; }

    internal RingThread Rings { get; } = new();

    internal AliveNamespaces Alive { get; }

    /// <summary>What this kernel can do; found out when it is first asked for.</summary>
    internal KernelFeatures Features
    {
        get => field ?? KernelFeatures.Of(Options);
        init;
    }

    /// <summary>Who keeps what libbpf says.</summary>
    internal ILogger Logger { get; }

    /// <summary>The namespace with this inode number. One that was just born is looked for, at most ten times a second.</summary>
    internal NetworkNamespace? Find(uint inode) => Find(inode, long.MaxValue, out _);

    /// <summary>Where a record comes from.</summary>
    internal EventOrigin OriginOf(in RawEvent head, DateTimeOffset time)
    {
        NetworkNamespace? ns = Find(in head, time, out PodIdentity? pod, out Func<PodIdentity?>? later);
        return new EventOrigin(head, time, ns, pod, later, Pods, Node);
    }

    /// <summary>The namespace an event is about, and the pod; where the pod has no name yet, whom to ask later.</summary>
    private NetworkNamespace? Find(in RawEvent head, DateTimeOffset at, out PodIdentity? pod, out Func<PodIdentity?>? later)
    {
        long now = Stopwatch.GetTimestamp();
        NetworkNamespace? ns = Find(head.NetworkNamespace, now, out bool looked);
        pod = ns is not null ? PodOf(ns, head.Cgroup) : PodOfMissing(null, looked, head.NetworkNamespace, head.Cgroup, at);
        later = null;
        if (pod is { IsNamed: true } || Pods is NoPodResolver || (head.NetworkNamespace == 0 && head.Cgroup == 0)) return ns;
        if (ns is { IsHost: true } && pod is null) return ns; // no pod's, and it will be none's
        later = Later(ns, head.NetworkNamespace, head.Cgroup, at, now);
        return ns;
    }

    private Func<PodIdentity?> Later(NetworkNamespace? ns, uint inode, ulong cgroup, DateTimeOffset at, long since) => () =>
    {
        if (ns is not null) return PodOf(ns, cgroup);
        NetworkNamespace? found = Find(inode, since, out bool looked);
        return PodOfMissing(found, looked, inode, cgroup, at);
    };

    private PodIdentity? PodOf(NetworkNamespace ns, ulong cgroup)
    {
        PodIdentity? pod = ns.Pod;
        if (pod is not { IsNamed: true } && !ns.IsHost) pod = Pods.Resolve(ns) ?? pod; // known since the source has asked
        if (pod is not { IsNamed: true } && cgroup != 0) pod = Pods.ResolveCgroup(cgroup) ?? pod; // pods in the host's network
        return pod;
    }

    /// <summary>
    /// Of a namespace that was not there when the event came: it had just ended, or was just born. What has its number now may be
    /// another one, so the time decides.
    /// </summary>
    private PodIdentity? PodOfMissing(NetworkNamespace? found, bool looked, uint inode, ulong cgroup, DateTimeOffset at)
    {
        if (cgroup != 0 && Pods.ResolveCgroup(cgroup) is { } owner) return owner;
        if (!looked) return null;
        PodIdentity? then = Pods.ResolveNamespace(inode, at);
        PodIdentity? now = found is null ? null : found.Pod ?? Pods.Resolve(found);
        // One that the runtime has not told of yet is no part of its answer.
        if (now is { IsNamed: false } && now.Uid != then?.Uid) return then is null ? now : null;
        return then;
    }

    // looked: whether a look was made since then, so that what is not known is not there.
    private NetworkNamespace? Find(uint inode, long since, out bool looked)
    {
        looked = true;
        if (inode == 0) return null;
        lock (_indexGate)
        {
            Follow();
            NetworkNamespace? ns = _index.GetValueOrDefault(inode);
            if (ns is not null && (since == long.MaxValue || Namespaces is not ProcNamespaceSource processes || !processes.MayBeAnother(ns))) return ns;
            long now = Stopwatch.GetTimestamp();
            looked = _lastLook >= since;
            if (looked) return ns;
            if (_lastLook != 0 && Stopwatch.GetElapsedTime(_lastLook, now) < TimeSpan.FromMilliseconds(100)) return since == long.MaxValue ? ns : null;
            _lastLook = now;
            Namespaces.Refresh();
            looked = true;
            Follow();
            return _index.GetValueOrDefault(inode);
        }
    }

    /// <summary>What measures the cost of programs.</summary>
    internal OverheadMeter Overhead { get; init; }

    /// <summary>Starts a probe with sources of its own.</summary>
    internal static async Task<TProbe> StartAsync<TProbe>(EbpfOptions? options, Func<EbpfPrograms, TProbe> make, CancellationToken cancellationToken)
        where TProbe : Probe
    {
        options ??= new EbpfOptions();
        string[] mistakes = [.. options.Validate()];
        if (mistakes.Length > 0) throw new ArgumentException(string.Join(" ", mistakes), nameof(options));
        TProbe probe = make(new EbpfPrograms(new ProcNamespaceSource(), Microsoft.Extensions.Options.Options.Create(options)));
        await probe.StartAsync(cancellationToken).ConfigureAwait(false);
        return probe;
    }

    private void Follow()
    {
        IReadOnlyList<NetworkNamespace> current = Namespaces.Current;
        if (ReferenceEquals(current, _indexed)) return;
        _index.Clear();
        foreach (NetworkNamespace ns in current) _index[ns.Inode] = ns;
        _indexed = current;
    }
}
