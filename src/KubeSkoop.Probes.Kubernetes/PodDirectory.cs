using System.Runtime.CompilerServices;
using KubeSkoop.Probes.Kubernetes.Api;
using KubeSkoop.Probes.Kubernetes.Cri;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Kubernetes;

/// <summary>
/// The pods of this node: whose a network namespace, a cgroup or a process is; and whose an address is, in the cluster.
/// Follows the container runtime and the Kubernetes API while the host runs, answers from memory, and keeps the last known
/// state while they are away. Without both the uid in a cgroup's path is what is known.
/// </summary>
public sealed partial class PodDirectory : IPodResolver, IHostedLifecycleService, IAsyncDisposable, IDisposable
{
    private const int CgroupLooks = 3; // a process often moves into its cgroup just after it was found
    private const int SlowestLooks = 6; // doublings of a second: about a minute
    private static readonly TimeSpan FirstAnswer = TimeSpan.FromSeconds(2);

    private readonly HostView _host;
    private readonly RuntimeWatch _watch;
    private readonly ClusterWatch? _cluster;
    private readonly PodNaming _naming;
    private readonly string? _node;
    private readonly TimeProvider _clock;
    private readonly ILogger? _logger;
    private readonly ConditionalWeakTable<NetworkNamespace, Seen> _seen = [];
    private readonly TaskCompletionSource _looked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private readonly Lock _mergeGate = new();
    private PodInfo[] _ofRuntime = [];
    private volatile PodSnapshot _snapshot = PodSnapshot.Empty;
    private volatile PodDirectoryStatus _status = new();
    private CancellationTokenSource? _stopping;
    private Task _following = Task.CompletedTask;

    /// <summary>Asks nobody before it is started.</summary>
    public PodDirectory(IOptions<KubernetesOptions>? options = null, IOptions<ProcfsOptions>? procfs = null, IOptions<ProbesOptions>? sdk = null, TimeProvider? clock = null, ILogger<PodDirectory>? logger = null)
    {
        KubernetesOptions settings = options?.Value ?? new KubernetesOptions();
        _clock = clock ?? TimeProvider.System;
        _logger = logger;
        _host = new HostView((procfs?.Value ?? new ProcfsOptions()).HostProc, settings.CgroupRoot);
        _node = (sdk?.Value ?? new ProbesOptions()).ResolvedNodeName;
        _naming = new PodNaming(settings);
        _watch = new RuntimeWatch(settings, _host, _clock, logger, Take);
        if (ApiConnection.IsWanted(settings)) _cluster = new ClusterWatch(settings, _node, _clock, logger, TakeFromCluster);
    }

    /// <summary>The pods known now, those that have ended a short while ago too. A new list whenever something changes.</summary>
    public IReadOnlyList<PodInfo> Pods => _snapshot.Pods;

    /// <summary>Where the knowledge comes from, and how fresh it is.</summary>
    public PodDirectoryStatus Status => _cluster is { } cluster ? _status with { Cluster = cluster.Status } : _status;

    /// <inheritdoc />
    public event Action? Changed;

    /// <inheritdoc />
    public event Action<uint>? NamespaceTold;

    /// <summary>The host's view: processes and cgroups.</summary>
    internal HostView Host => _host;

    /// <inheritdoc />
    public PodIdentity? Resolve(NetworkNamespace networkNamespace)
    {
        ArgumentNullException.ThrowIfNull(networkNamespace);
        if (networkNamespace.IsHost) return null;
        PodSnapshot snapshot = _snapshot;
        Seen seen = _seen.GetValue(networkNamespace, static _ => new Seen());
        string? uid = seen.UidOf(networkNamespace.ProcessId, _host, _clock);
        // Others' processes may be in a pod's namespace, too: those of agents and debuggers. It is the pod's all the same.
        if (snapshot.ByNamespace(networkNamespace.Inode) is { } pod && (uid == pod.Identity.Uid || Holds(pod, networkNamespace.Inode))) return pod.Identity;
        if (uid is null) return null;
        pod = snapshot.ByUid(uid);
        if (pod is null)
        {
            if (seen.IsNews(uid)) _watch.LookSoon();
            return PodIdentity.OfUid(uid);
        }
        // What is bound to a name was made for somebody else than the agent that has entered it.
        if (pod.IsHostNetwork && networkNamespace.Name is not null) return null;
        // A process of a pod in a namespace of its own making: the pod has its rows already.
        return pod.NamespaceInode is { } own && own != networkNamespace.Inode && pod.Ended is null ? null : pod.Identity;
    }

    /// <inheritdoc />
    public PodIdentity? ResolveCgroup(string cgroupPath)
    {
        ArgumentNullException.ThrowIfNull(cgroupPath);
        return CgroupPath.TryParse(cgroupPath, out CgroupPath path) ? _snapshot.ByUid(path.PodUid)?.Identity ?? PodIdentity.OfUid(path.PodUid) : null;
    }

    /// <inheritdoc />
    public PodIdentity? ResolveCgroup(ulong cgroupId) => _snapshot.ByCgroupId(cgroupId)?.Identity ?? ResolveCgroup(_host.Cgroups.PathOf(cgroupId));

    /// <inheritdoc />
    public PodIdentity? ResolveNamespace(uint inode, DateTimeOffset at) => _snapshot.ByNamespace(inode, at)?.Identity;

    /// <inheritdoc />
    public string? ResolveContainer(ulong cgroupId) =>
        CgroupPath.TryParse(_host.Cgroups.PathOf(cgroupId), out CgroupPath path) && path.ContainerId is { } id ? _snapshot.Container(id)?.Name : null;

    /// <inheritdoc />
    /// <remarks>This node's pods are known by the runtime; everything else by the Kubernetes API.</remarks>
    public PeerIdentity? ResolveAddress(in Endpoint endpoint, DateTimeOffset at) => _snapshot.ByAddress(endpoint.AddressValue, at) ?? _cluster?.Find(in endpoint, at);

    /// <summary>The pod with this uid, also for a while after its end.</summary>
    public PodInfo? Find(string uid)
    {
        ArgumentNullException.ThrowIfNull(uid);
        return _snapshot.ByUid(uid);
    }

    /// <summary>The container a cgroup belongs to; <see langword="null"/> if none, or not known.</summary>
    /// <param name="cgroupPath">The path within the hierarchy, as in <c>/proc/&lt;pid&gt;/cgroup</c>.</param>
    public PodContainer? FindContainer(string cgroupPath)
    {
        ArgumentNullException.ThrowIfNull(cgroupPath);
        return CgroupPath.TryParse(cgroupPath, out CgroupPath path) && path.ContainerId is { } id ? _snapshot.Container(id) : null;
    }

    /// <inheritdoc />
    public string? ResolveContainer(string cgroupPath) => FindContainer(cgroupPath)?.Name;

    /// <summary>
    /// Every pod of this node with its processes: those that the runtime tells of, and those of which only a cgroup tells.
    /// Looks through all processes: for people, not for sampling.
    /// </summary>
    public IReadOnlyList<PodProcesses> Survey()
    {
        PodSnapshot snapshot = _snapshot;
        var processes = new Dictionary<string, List<int>>(StringComparer.Ordinal);
        foreach (int pid in _host.ProcessIds())
        {
            if (_host.CgroupOf(pid) is not { } cgroup || !CgroupPath.TryParse(cgroup, out CgroupPath path)) continue;
            if (!processes.TryGetValue(path.PodUid, out List<int>? list)) processes.Add(path.PodUid, list = []);
            list.Add(pid);
        }
        var pods = new List<PodProcesses>();
        uint host = _host.NamespaceOf(1);
        foreach (PodInfo pod in snapshot.Pods)
        {
            if (pod.Ended is not null) continue;
            List<int> own = processes.Remove(pod.Identity.Uid!, out List<int>? found) ? found : [];
            bool isPlaced = pod.NamespaceInode is not null || pod.IsHostNetwork || own.Count == 0;
            pods.Add(new PodProcesses(isPlaced ? pod : pod with { NamespaceInode = NamespaceOf(own, host, out _), ProcessId = pod.ProcessId ?? own[0] }, own));
        }
        foreach ((string uid, List<int> own) in processes)
        {
            uint? inode = NamespaceOf(own, host, out bool isSeen);
            pods.Add(new PodProcesses(new PodInfo
            {
                Identity = snapshot.ByUid(uid)?.Identity ?? PodIdentity.OfUid(uid),
                Source = PodSource.Cgroup,
                NamespaceInode = inode,
                IsHostNetwork = inode is null && isSeen,
                ProcessId = own[0],
            }, own));
        }
        pods.Sort(static (a, b) => string.CompareOrdinal(a.Pod.ToString(), b.Pod.ToString()));
        return pods;
    }

    private uint? NamespaceOf(List<int> processes, uint host, out bool isSeen)
    {
        uint[] namespaces = [.. processes.Select(_host.NamespaceOf).Where(static inode => inode != 0)];
        isSeen = namespaces.Length > 0;
        return namespaces.FirstOrDefault(i => i != host) is not 0 and var found ? found : null;
    }

    /// <summary>Begins to follow the runtime and the API. Waits for their first answers, but no longer than two seconds.</summary>
    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (_stopping is not null) return;
            _stopping = new CancellationTokenSource();
            CancellationToken stopping = _stopping.Token;
            _following = Task.WhenAll(Task.Run(() => _watch.RunAsync(stopping), CancellationToken.None), _cluster?.RunAsync(stopping) ?? Task.CompletedTask);
        }
        await Task.WhenAny(_looked.Task, Task.Delay(FirstAnswer, _clock, cancellationToken)).ConfigureAwait(false);
    }

    /// <summary>Nothing: the pods are known before the probes start.</summary>
    public Task StartAsync(CancellationToken cancellationToken) => StartingAsync(cancellationToken);

    /// <summary>Nothing.</summary>
    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Nothing: the probes stop first.</summary>
    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Nothing: the probes stop first.</summary>
    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Lets go of the runtime and the API. What is known stays.</summary>
    public async Task StoppedAsync(CancellationToken cancellationToken)
    {
        CancellationTokenSource? stopping;
        lock (_gate)
        {
            stopping = _stopping;
            _stopping = null;
        }
        if (stopping is null) return;
        await stopping.CancelAsync().ConfigureAwait(false);
        await _following.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        stopping.Dispose();
    }

    /// <inheritdoc />
    public void Dispose()
    {
        StoppedAsync(CancellationToken.None).GetAwaiter().GetResult();
        _cluster?.Dispose();
    }

    /// <inheritdoc />
    public async ValueTask DisposeAsync()
    {
        await StoppedAsync(CancellationToken.None).ConfigureAwait(false);
        _cluster?.Dispose();
    }

    private void Take(PodInfo[]? pods, PodDirectoryStatus status)
    {
        uint[] begun = [];
        lock (_mergeGate)
        {
            _status = status;
            if (pods is not null)
            {
                begun = [.. NamespacesOf(pods).Except(NamespacesOf(_ofRuntime))];
                _ofRuntime = pods;
                Merge();
            }
        }
        SayIfLooked();
        if (pods is not null) Tell(begun);

        static IEnumerable<uint> NamespacesOf(PodInfo[] pods) => pods.Where(static p => p.Ended is null).Select(static p => p.NamespaceInode).OfType<uint>();
    }

    private void TakeFromCluster(bool changed)
    {
        if (changed)
        {
            lock (_mergeGate) Merge();
        }
        SayIfLooked();
        if (changed) Tell([]);
    }

    private void SayIfLooked()
    {
        if (_looked.Task.IsCompleted || !_status.HasLooked || _cluster is { HasLooked: false }) return;
        // What one of the three watches has just listed may not be merged yet, though it says that it has looked.
        lock (_mergeGate) Merge();
        _looked.TrySetResult();
    }

    /// <summary>The runtime knows what is here; the API what it is for, and labels as they are now.</summary>
    private void Merge()
    {
        PodInfo[] pods = _ofRuntime;
        if (_cluster is { } cluster)
        {
            var told = new HashSet<string>(StringComparer.Ordinal);
            var merged = new List<PodInfo>(pods.Length);
            foreach (PodInfo pod in pods)
            {
                told.Add(pod.Identity.Uid!);
                merged.Add(cluster.State.FindPod(pod.Identity.Uid!) is { } api ? With(pod, api) : pod);
            }
            foreach (ApiPod pod in cluster.State.PodsOfNode())
                if (!told.Contains(pod.Uid)) merged.Add(Of(pod));
            pods = [.. merged];
        }
        _snapshot = new PodSnapshot(pods, _node);
    }

    private PodInfo With(PodInfo pod, ApiPod api)
    {
        IReadOnlyDictionary<string, string> labels = api.IsOfNode ? api.Labels : pod.Labels;
        return pod with { Identity = _naming.Of(pod.Identity.Namespace, pod.Identity.Name, pod.Identity.Uid!, labels, api.Owner), Labels = labels, Owner = api.Owner, IsInApi = true };
    }

    private PodInfo Of(ApiPod pod) => new()
    {
        Identity = _naming.Of(pod.Namespace, pod.Name, pod.Uid, pod.Labels, pod.Owner),
        Source = PodSource.Api,
        Created = pod.Created,
        Ended = pod.Ended,
        IsHostNetwork = pod.IsHostNetwork,
        Addresses = pod.Addresses,
        Containers = pod.Containers,
        Labels = pod.Labels,
        Owner = pod.Owner,
        IsInApi = true,
    };

    private void Tell(uint[] begun)
    {
        try
        {
            Changed?.Invoke();
            foreach (uint inode in begun) NamespaceTold?.Invoke(inode);
        }
#pragma warning disable CA1031 // Whoever listens: it is not the runtime's fault, and must not end the following.
        catch (Exception e)
#pragma warning restore CA1031
        {
            if (_logger is not null) LogListenerFailed(_logger, e);
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "What was to be told of changed pods has failed")]
    private static partial void LogListenerFailed(ILogger logger, Exception e);

    /// <summary>
    /// Whether the number of the pod's namespace is still its own: it may have ended a moment ago without the runtime having
    /// said so, and numbers are used again at once. But what the sandbox's own path or process leads to now is no other's.
    /// </summary>
    private bool Holds(PodInfo pod, uint inode) =>
        (pod.NamespacePath is { } path && _host.NamespaceAt(path) == inode)
        || (pod.ProcessId is { } pid && _host.NamespaceOf(pid) == inode && _host.CgroupOf(pid) is { } cgroup && CgroupPath.TryParse(cgroup, out CgroupPath own) && own.PodUid == pod.Identity.Uid);

    /// <summary>
    /// What the cgroup of a namespace's process said. A pod's process stays one; another may still be on its way into a pod,
    /// and is looked at again, ever more seldom.
    /// </summary>
    private sealed class Seen
    {
        private readonly Lock _gate = new();
        private int? _pid;
        private int _looks;
        private long _lastLook;
        private string? _uid;
        private string? _told;

        /// <summary>Whether the uid was not told of yet.</summary>
        internal bool IsNews(string uid)
        {
            lock (_gate)
            {
                if (_told == uid) return false;
                _told = uid;
                return true;
            }
        }

        internal string? UidOf(int? pid, HostView host, TimeProvider clock)
        {
            lock (_gate)
            {
                if (pid is null) return _uid;
                if (pid != _pid) (_pid, _looks) = (pid, 0);
                if (_looks >= CgroupLooks && (_uid is not null || clock.GetElapsedTime(_lastLook) < TimeSpan.FromSeconds(1 << Math.Min(_looks - CgroupLooks, SlowestLooks)))) return _uid;
                _looks++;
                _lastLook = clock.GetTimestamp();
                if (host.CgroupOf(pid.Value) is { } cgroup) _uid = CgroupPath.TryParse(cgroup, out CgroupPath path) ? path.PodUid : null;
                return _uid;
            }
        }
    }
}
