using System.Diagnostics;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Ebpf.Ring;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>What the BPF probes share: settings, the thread that reads their rings, and the namespaces their records are about.</summary>
public sealed class EbpfPrograms
{
    private readonly Lock _indexGate = new();
    private readonly Dictionary<uint, NetworkNamespace> _index = [];
    private readonly IPodResolver _pods;
    private IReadOnlyList<NetworkNamespace>? _indexed;
    private long _lastLook;

    /// <summary>Loads nothing before a probe asks for it.</summary>
    public EbpfPrograms(INetworkNamespaceSource namespaces, IOptions<EbpfOptions>? options = null, IOptions<ProbesOptions>? sdk = null, IPodResolver? pods = null)
    {
        ArgumentNullException.ThrowIfNull(namespaces);
        Namespaces = namespaces;
        _pods = pods ?? NoPodResolver.Instance;
        Options = options?.Value ?? new EbpfOptions();
        Node = sdk?.Value.ResolvedNodeName;
    }

    /// <summary>The namespaces of this machine.</summary>
    public INetworkNamespaceSource Namespaces { get; }

    internal EbpfOptions Options { get; }

    internal string? Node { get; }

    internal RingThread Rings { get; } = new();

    internal KernelFeatures Features => KernelFeatures.Of(Options);

    /// <summary>The namespace with this inode number. One that was just born is looked for, at most ten times a second.</summary>
    internal NetworkNamespace? Find(uint inode) => Find(inode, out _);

    /// <summary>The namespace an event is about, and the pod.</summary>
    internal NetworkNamespace? Find(in RawEvent head, out PodIdentity? pod)
    {
        NetworkNamespace? ns = Find(head.NetworkNamespace, out bool looked);
        pod = ns?.Pod;
        if (pod is not null) return ns;
        if (ns is { IsHost: false }) pod = _pods.Resolve(ns); // known since the source has asked
        if (pod is null && head.Cgroup != 0) pod = _pods.ResolveCgroup(head.Cgroup); // host-network pods, and what has ended
        // The number of a namespace that is not there: the last pod that had it. But not while a new one may have it already.
        if (pod is null && ns is null && looked) pod = _pods.ResolveEnded(head.NetworkNamespace);
        return ns;
    }

    private NetworkNamespace? Find(uint inode, out bool looked)
    {
        looked = false;
        if (inode == 0) return null;
        lock (_indexGate)
        {
            Follow();
            if (_index.TryGetValue(inode, out NetworkNamespace? ns)) return ns;
            long now = Stopwatch.GetTimestamp();
            if (_lastLook != 0 && Stopwatch.GetElapsedTime(_lastLook, now) < TimeSpan.FromMilliseconds(100)) return null;
            _lastLook = now;
            Namespaces.Refresh();
            looked = true;
            Follow();
            return _index.GetValueOrDefault(inode);
        }
    }

    /// <summary>What measures the cost of programs.</summary>
    internal OverheadMeter Overhead { get; init; } = new();

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
