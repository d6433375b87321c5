using System.Runtime.CompilerServices;
using KubeSkoop.Probes.Kubernetes.Cri;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Kubernetes;

/// <summary>
/// The pods of this node: whose a network namespace, a cgroup or a process is. Follows the container runtime while the host
/// runs, answers from memory, and keeps the last known state while the runtime is away. Without any runtime the uid in a
/// cgroup's path is what is known.
/// </summary>
public sealed partial class PodDirectory : IPodResolver, IHostedLifecycleService, IAsyncDisposable, IDisposable
{
    private const int CgroupLooks = 3; // a process often moves into its cgroup just after it was found
    private const int SlowestLooks = 6; // doublings of a second: about a minute
    private static readonly TimeSpan FirstAnswer = TimeSpan.FromSeconds(2);

    private readonly HostView _host;
    private readonly RuntimeWatch _watch;
    private readonly TimeProvider _clock;
    private readonly ILogger? _logger;
    private readonly ConditionalWeakTable<NetworkNamespace, Seen> _seen = [];
    private readonly TaskCompletionSource _looked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private volatile PodSnapshot _snapshot = PodSnapshot.Empty;
    private volatile PodDirectoryStatus _status = new();
    private CancellationTokenSource? _stopping;
    private Task _following = Task.CompletedTask;

    /// <summary>Asks nobody before it is started.</summary>
    public PodDirectory(IOptions<KubernetesOptions>? options = null, IOptions<ProcfsOptions>? procfs = null, TimeProvider? clock = null, ILogger<PodDirectory>? logger = null)
    {
        KubernetesOptions settings = options?.Value ?? new KubernetesOptions();
        _clock = clock ?? TimeProvider.System;
        _logger = logger;
        _host = new HostView((procfs?.Value ?? new ProcfsOptions()).HostProc, settings.CgroupRoot);
        _watch = new RuntimeWatch(settings, _host, _clock, logger, Take);
    }

    /// <summary>The pods known now, those that have ended a short while ago too. A new list whenever something changes.</summary>
    public IReadOnlyList<PodInfo> Pods => _snapshot.Pods;

    /// <summary>Where the knowledge comes from, and how fresh it is.</summary>
    public PodDirectoryStatus Status => _status;

    /// <inheritdoc />
    public event Action? Changed;

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
        if (snapshot.ByNamespace(networkNamespace.Inode) is { } pod && Owns(pod, networkNamespace, uid)) return pod.Identity;
        if (uid is null) return null;
        pod = snapshot.ByUid(uid);
        if (pod is null)
        {
            if (seen.IsNews(uid)) _watch.LookSoon();
            return PodIdentity.OfUid(uid);
        }
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
        foreach (PodInfo pod in snapshot.Pods)
            if (pod.Ended is null) pods.Add(new PodProcesses(pod, processes.Remove(pod.Identity.Uid!, out List<int>? own) ? own : []));
        uint host = _host.NamespaceOf(1);
        foreach ((string uid, List<int> own) in processes)
        {
            uint[] namespaces = [.. own.Select(_host.NamespaceOf).Where(static inode => inode != 0)];
            uint? inode = namespaces.FirstOrDefault(i => i != host) is not 0 and var found ? found : null;
            pods.Add(new PodProcesses(new PodInfo
            {
                Identity = snapshot.ByUid(uid)?.Identity ?? PodIdentity.OfUid(uid),
                Source = PodSource.Cgroup,
                NamespaceInode = inode,
                IsHostNetwork = inode is null && namespaces.Length > 0,
                ProcessId = own[0],
            }, own));
        }
        pods.Sort(static (a, b) => string.CompareOrdinal(a.Pod.ToString(), b.Pod.ToString()));
        return pods;
    }

    /// <summary>Begins to follow the runtime. Waits for its first answer, but no longer than two seconds.</summary>
    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (_stopping is not null) return;
            _stopping = new CancellationTokenSource();
            CancellationToken stopping = _stopping.Token;
            _following = Task.Run(() => _watch.RunAsync(stopping), CancellationToken.None);
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

    /// <summary>Lets go of the runtime. What is known stays.</summary>
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
    public void Dispose() => StoppedAsync(CancellationToken.None).GetAwaiter().GetResult();

    /// <inheritdoc />
    public async ValueTask DisposeAsync() => await StoppedAsync(CancellationToken.None).ConfigureAwait(false);

    private void Take(PodInfo[]? pods, PodDirectoryStatus status)
    {
        _status = status;
        if (pods is not null) _snapshot = new PodSnapshot(pods);
        if (status.HasLooked) _looked.TrySetResult();
        if (pods is null) return;
        try
        {
            Changed?.Invoke();
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
    /// Whether the namespace is the pod's, and not another's with the same number: the pod's may have ended a moment ago
    /// without the runtime having said so, and numbers are used again at once.
    /// </summary>
    private static bool Owns(PodInfo pod, NetworkNamespace ns, string? uid)
    {
        if (uid is not null) return uid == pod.Identity.Uid;
        if (ns.Name is { } name && pod.NamespacePath is { } path && name != path[(path.LastIndexOf('/') + 1)..]) return false;
        return pod.Claim.Allows(ns);
    }

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
