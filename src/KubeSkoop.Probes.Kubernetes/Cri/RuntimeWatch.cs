using System.Collections.Frozen;
using System.Net;
using Grpc.Core;
using KubeSkoop.Probes.Kubernetes.Cri.V1;
using Microsoft.Extensions.Logging;

namespace KubeSkoop.Probes.Kubernetes.Cri;

/// <summary>
/// Follows the pods a container runtime tells of. One list call each for sandboxes and containers, and a call per sandbox
/// only for new ones. What was known stays while the runtime is away, and is marked stale.
/// </summary>
#pragma warning disable CA1001 // A semaphore whose wait handle is never asked for: there is nothing to dispose of.
internal sealed partial class RuntimeWatch
#pragma warning restore CA1001
{
    private const int StatusCallsAtOnce = 8;
    private const int MostTries = 7; // for what is still missing: half a minute in all
    private const int MostLabels = 64;
    private const int MostContainers = 64;
    private const int MostAddresses = 16;
    private static readonly TimeSpan FirstRetry = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan LongestRetry = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan BetweenEventLooks = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    private readonly KubernetesOptions _options;
    private readonly PodNaming _naming;
    private readonly HostView _host;
    private readonly TimeProvider _clock;
    private readonly ILogger? _logger;
    private readonly Action<PodInfo[]?, PodDirectoryStatus> _publish;
    private readonly SemaphoreSlim _wanted = new(0);
    private readonly Dictionary<string, Sandbox> _known = new(StringComparer.Ordinal);
    private readonly List<Sandbox> _asked = []; // whose calls have not been answered yet
    private PodDirectoryStatus _status = new();
    private int _leftOut;
    private bool _dirty;

    /// <param name="options">The settings.</param>
    /// <param name="host">What the kernel says.</param>
    /// <param name="clock">The clock of waits and ages.</param>
    /// <param name="logger">Told when the runtime comes and goes.</param>
    /// <param name="publish">Called from the following task, one call at a time: with all pods, or without them when they are the same as before.</param>
    internal RuntimeWatch(KubernetesOptions options, HostView host, TimeProvider clock, ILogger? logger, Action<PodInfo[]?, PodDirectoryStatus> publish)
    {
        _options = options;
        _naming = new PodNaming(options);
        _host = host;
        _clock = clock;
        _logger = logger;
        _publish = publish;
    }

    /// <summary>Asks the runtime now instead of at the next period: somebody has seen a pod that it has not told of yet.</summary>
    internal void LookSoon()
    {
        if (_wanted.CurrentCount == 0) _wanted.Release();
    }

    /// <summary>Follows until cancelled; nothing a runtime does ends it.</summary>
    internal async Task RunAsync(CancellationToken cancellationToken)
    {
        TimeSpan retry = FirstRetry;
        while (!cancellationToken.IsCancellationRequested)
        {
            DateTimeOffset? before = _status.LastAnswer;
            string problem = await TryEndpointsAsync(cancellationToken).ConfigureAwait(false);
            if (cancellationToken.IsCancellationRequested) return;
            if (_status.LastAnswer != before) retry = FirstRetry;
            Lost(problem);
            await Task.Delay(retry, _clock, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            retry = retry * 2 < LongestRetry ? retry * 2 : LongestRetry;
        }
    }

    /// <summary>Follows the first runtime that answers, until it does not; what went wrong, for people.</summary>
    private async Task<string> TryEndpointsAsync(CancellationToken cancellationToken)
    {
        if (_options.Endpoints.Count == 0) return $"No runtime is asked ({KubernetesOptions.SectionName}:{nameof(KubernetesOptions.RuntimeEndpoint)} is {KubernetesOptions.NoRuntime}): pods are known by the uid in their cgroups.";
        var problems = new List<string>();
        foreach (string endpoint in _options.Endpoints)
        {
            if (!File.Exists(endpoint)) continue;
            try
            {
                using var client = new CriClient(endpoint, _options.CallTimeout);
                await FollowAsync(client, endpoint, cancellationToken).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                return string.Empty;
            }
            catch (RpcException e)
            {
                problems.Add($"{endpoint}: {Explain(e)}");
            }
#pragma warning disable CA1031 // Whatever a runtime provokes: it is tried again, and the host's process goes on.
            catch (Exception e)
#pragma warning restore CA1031
            {
                problems.Add($"{endpoint}: {e.GetType().Name}: {e.Message}");
            }
        }
        return problems.Count > 0 ? string.Join(" ", problems)
            : _options.RuntimeEndpoint is { Length: > 0 } ? $"There is no socket {_options.Endpoints[0]}: start the runtime, mount its socket if this is a container, or set {KubernetesOptions.SectionName}:{nameof(KubernetesOptions.RuntimeEndpoint)}."
            : $"No container runtime is here (looked for {string.Join(", ", _options.Endpoints)}): mount its socket if this is a container, or name it with {KubernetesOptions.SectionName}:{nameof(KubernetesOptions.RuntimeEndpoint)}.";
    }

    private string Explain(RpcException e) => e.StatusCode switch
    {
        StatusCode.DeadlineExceeded => $"the runtime did not answer within {_options.CallTimeout:c}.",
        StatusCode.Unimplemented => "this is no container runtime of Kubernetes, or one that does not speak CRI v1 (containerd: is its cri plugin disabled?).",
        StatusCode.PermissionDenied => "permission denied: run as root.",
        StatusCode.Internal or StatusCode.Unavailable when e.InnerException is { } inner && Cause(inner) is System.Net.Sockets.SocketException { SocketErrorCode: System.Net.Sockets.SocketError.AccessDenied } => "permission denied: run as root.",
        _ => $"{e.StatusCode}: {CriText.Bounded(e.Status.Detail)}",
    };

    private static Exception Cause(Exception e) => e.InnerException is { } inner ? Cause(inner) : e;

    // Returns only by an exception.
    private async Task FollowAsync(CriClient client, string endpoint, CancellationToken cancellationToken)
    {
        CriRuntime runtime = await client.VersionAsync(cancellationToken).ConfigureAwait(false);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var happened = new SemaphoreSlim(0);
        bool listen = _options.RuntimeEvents == RuntimeEvents.Always || (_options.RuntimeEvents == RuntimeEvents.Auto && runtime.BroadcastsEvents);
        Task events = listen ? ListenAsync(client, happened, ending.Token) : Task.CompletedTask;
        bool trusted = false; // once an event has come, and until something changes without one
        bool told = false;
        try
        {
            while (true)
            {
                bool changed = Apply(await client.ListSandboxesAsync(cancellationToken).ConfigureAwait(false), await client.ListContainersAsync(cancellationToken).ConfigureAwait(false));
                if (trusted && changed && !told) trusted = false;
                if (_status is { StaleSince: not null } or { Endpoint: null } || _status.Endpoint != endpoint)
                {
                    if (_logger is not null) LogFound(_logger, runtime.Name, runtime.Version, endpoint);
                    _dirty = true;
                }
                bool usesEvents = trusted && !events.IsCompleted;
                _dirty |= usesEvents != _status.UsesEvents;
                _status = new PodDirectoryStatus
                {
                    Endpoint = endpoint,
                    Runtime = $"{runtime.Name} {runtime.Version}".Trim(),
                    UsesEvents = usesEvents,
                    LastAnswer = _clock.GetUtcNow(),
                    Problem = Describe(),
                };
                Publish();
                await AskForDetailsAsync(client, ending.Token).ConfigureAwait(false);
                cancellationToken.ThrowIfCancellationRequested();
                _status = _status with { HasLooked = true, Problem = Describe() };
                Publish();

                // No event says that a call can be tried again.
                TimeSpan wait = usesEvents && !_known.Values.Any(static s => s.LacksDetails) ? _options.ResyncInterval : _options.PollInterval;
                (told, bool wanted) = await WaitAsync(happened, wait, cancellationToken).ConfigureAwait(false);
                if (!told && !wanted) continue;
                trusted |= told;
                // Events come in groups: one look for all that come within a moment, and a bound on looks per second.
                await Task.Delay(BetweenEventLooks, _clock, cancellationToken).ConfigureAwait(false);
                while (happened.Wait(0, CancellationToken.None) || _wanted.Wait(0, CancellationToken.None)) { }
            }
        }
        finally
        {
            await ending.CancelAsync().ConfigureAwait(false);
            foreach (Sandbox sandbox in _asked) sandbox.Answer = null;
            _asked.Clear();
            await events.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private static async Task ListenAsync(CriClient client, SemaphoreSlim happened, CancellationToken cancellationToken)
    {
        try
        {
            await client.FollowEventsAsync(() =>
            {
                if (happened.CurrentCount == 0) happened.Release();
            }, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException)
        {
            // A runtime that has no events says so (Unimplemented). One that is lost is noticed by the next list.
        }
    }

    private async Task<(bool Told, bool Wanted)> WaitAsync(SemaphoreSlim happened, TimeSpan limit, CancellationToken cancellationToken)
    {
        using var waiting = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<bool> told = SignalAsync(happened, waiting.Token), wanted = SignalAsync(_wanted, waiting.Token);
        await Task.WhenAny(told, wanted, Task.Delay(limit, _clock, waiting.Token)).ConfigureAwait(false);
        await waiting.CancelAsync().ConfigureAwait(false);
        (bool Told, bool Wanted) result = (await told.ConfigureAwait(false), await wanted.ConfigureAwait(false));
        cancellationToken.ThrowIfCancellationRequested();
        return result;
    }

    private static async Task<bool> SignalAsync(SemaphoreSlim signal, CancellationToken cancellationToken)
    {
        try
        {
            await signal.WaitAsync(cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    private void Lost(string problem)
    {
        if (_status.Endpoint is not null && _status.StaleSince is null && _logger is not null) LogLost(_logger, problem);
        bool wasKnown = _status.LastAnswer is not null;
        PodDirectoryStatus before = _status;
        _status = before with { UsesEvents = false, Problem = problem, StaleSince = wasKnown ? before.StaleSince ?? before.LastAnswer : null, HasLooked = true };
        _dirty |= _status != before;
        ForgetEnded();
        Publish();
    }

    /// <summary>Takes over what there is now; whether it is something else than before.</summary>
    private bool Apply(IReadOnlyList<PodSandbox> sandboxes, IReadOnlyList<Container> containers)
    {
        DateTimeOffset now = _clock.GetUtcNow();
        bool changed = false;
        _leftOut = 0;
        foreach (Sandbox sandbox in _known.Values) sandbox.Listed = false;
        foreach (PodSandbox item in sandboxes.OrderBy(static s => s.State)) // the living first, if there is not room for all
        {
            if (item.Id.Length is 0 or > 256 || item.Metadata is not { Uid.Length: > 0, Name.Length: > 0 } named) continue;
            bool isReady = item.State == PodSandboxState.SandboxReady;
            // One that has only been made counts as not ready with some runtimes; one that was started again has all anew.
            if (!_known.TryGetValue(item.Id, out Sandbox? sandbox) || (isReady && sandbox.Ended is not null))
            {
                if (sandbox is null && _known.Count >= _options.MaxPods)
                {
                    if (isReady) ForgetOneEnded();
                    if (_known.Count >= _options.MaxPods)
                    {
                        _leftOut++;
                        continue;
                    }
                }
                FrozenDictionary<string, string> labels = item.Labels.Take(MostLabels).ToFrozenDictionary(static l => CriText.Bounded(l.Key), static l => CriText.Bounded(l.Value), StringComparer.Ordinal);
                sandbox = new Sandbox(item.Id, _naming.Of(CriText.Bounded(named.Namespace), CriText.Bounded(named.Name), CriText.Bounded(named.Uid), labels), labels, Time(item.CreatedAt));
                _known[item.Id] = sandbox;
                changed = true;
            }
            sandbox.Listed = true;
            if (!isReady && sandbox.Ended is null)
            {
                sandbox.Ended = now;
                changed = true;
            }
        }
        foreach (Sandbox sandbox in _known.Values)
        {
            if (sandbox.Listed || sandbox.Ended is not null) continue;
            sandbox.Ended = now;
            changed = true;
        }
        changed |= Take(containers);
        _dirty |= changed;
        ForgetEnded();
        return changed;
    }

    private bool Take(IReadOnlyList<Container> containers)
    {
        foreach (Sandbox sandbox in _known.Values) sandbox.Next.Clear();
        foreach (Container container in containers)
        {
            if (container.Id.Length is 0 or > 256 || !_known.TryGetValue(container.PodSandboxId, out Sandbox? sandbox)) continue;
            sandbox.Next.Add(new PodContainer(container.Id, CriText.Bounded(container.Metadata?.Name ?? string.Empty), container.State == ContainerState.ContainerRunning));
        }
        bool changed = false;
        foreach (Sandbox sandbox in _known.Values)
        {
            // Runtimes list in any order, and in another one each time.
            sandbox.Next.Sort(static (a, b) => a.IsRunning != b.IsRunning ? b.IsRunning.CompareTo(a.IsRunning) : string.CompareOrdinal(a.Name, b.Name) is not 0 and var order ? order : string.CompareOrdinal(a.Id, b.Id));
            if (sandbox.Next.Count > MostContainers) sandbox.Next.RemoveRange(MostContainers, sandbox.Next.Count - MostContainers);
            // What an ended pod had stays with it: its last events name them.
            if ((sandbox.Ended is not null && sandbox.Next.Count == 0) || sandbox.Next.SequenceEqual(sandbox.Containers)) continue;
            sandbox.Containers = [.. sandbox.Next];
            if (sandbox.LacksNamespace) sandbox.Tries = 0; // the first process of the pod may be one of theirs
            LearnCgroups(sandbox);
            changed = true;
        }
        return changed;
    }

    /// <summary>
    /// Asks for what the lists do not tell: once for a new sandbox, and again where the call has failed or something was not there
    /// yet. A sandbox that is not answered for delays no other: its call goes on, and is seen to after the next list.
    /// </summary>
    private async Task AskForDetailsAsync(CriClient client, CancellationToken cancellationToken)
    {
        var due = new Queue<Sandbox>(_known.Values.Where(s => s is { LacksDetails: true, Answer: null } && (s.Tries == 0 || _clock.GetElapsedTime(s.LastTry) >= RetryAfter(s.Tries))));
        bool isIncomplete = false;
        while (true)
        {
            for (int i = _asked.Count - 1; i >= 0; i--)
            {
                if (_asked[i] is not { Answer: { IsCompleted: true } answer } sandbox) continue;
                _asked.RemoveAt(i);
                sandbox.Answer = null;
                (PodSandboxStatusResponse? status, sandbox.Problem) = await answer.ConfigureAwait(false);
                if (status is null || sandbox.Ended is not null) continue; // gone already: the next list says so
                Learn(sandbox, status);
                isIncomplete |= sandbox.LacksNamespace;
                _dirty = true;
            }
            while (_asked.Count < StatusCallsAtOnce && due.TryDequeue(out Sandbox? next))
            {
                (next.Tries, next.LastTry, next.Answer) = (next.Tries + 1, _clock.GetTimestamp(), AskAsync(client, next.Id, cancellationToken));
                _asked.Add(next);
            }
            Task[] waitedFor = [.. _asked.Where(s => _clock.GetElapsedTime(s.LastTry) < Patience).Select(static s => s.Answer!)];
            if (waitedFor.Length == 0) break;
            await ((Task)Task.WhenAny(waitedFor)).WaitAsync(Patience, _clock, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        if (isIncomplete) LearnFromProcesses();
    }

    // Only a list that fails means that the runtime is lost: a status may fail for one pod, whose shim has died or hangs.
    private async Task<(PodSandboxStatusResponse? Status, string? Problem)> AskAsync(CriClient client, string id, CancellationToken cancellationToken)
    {
        try
        {
            return (await client.SandboxStatusAsync(id, cancellationToken).ConfigureAwait(false), null);
        }
        catch (RpcException e)
        {
            return (null, Explain(e));
        }
    }

    private static TimeSpan RetryAfter(int tries) => FirstRetry * (1 << Math.Min(tries - 1, 10)) is var wait && wait < LongestRetry ? wait : LongestRetry;

    /// <summary>What keeps pods from being known though the runtime answers.</summary>
    private string? Describe()
    {
        string? leftOut = _leftOut == 0 ? null : $"{_leftOut} pods are left out: raise {KubernetesOptions.SectionName}:{nameof(KubernetesOptions.MaxPods)}, which is {_options.MaxPods}.";
        Sandbox[] failed = [.. _known.Values.Where(static s => s is { Problem: not null, Ended: null })];
        if (failed.Length == 0) return leftOut;
        string others = failed.Length == 1 ? string.Empty : $" and {failed.Length - 1} more";
        string silent = $"The runtime tells no more than the name of {failed[0].Identity}{others}: {failed[0].Problem}";
        return leftOut is null ? silent : $"{leftOut} {silent}";
    }

    private void Learn(Sandbox sandbox, PodSandboxStatusResponse answer)
    {
        sandbox.IsAnswered = true;
        sandbox.IsHostNetwork = answer.Status?.Linux?.Namespaces?.Options?.Network == NamespaceMode.Node;
        if (answer.Status?.Network is { } network && !sandbox.IsHostNetwork)
            sandbox.Addresses = [.. network.AdditionalIps.Take(MostAddresses).Select(static ip => ip.Ip).Prepend(network.Ip).Select(CriText.Address).OfType<IPAddress>().Distinct()];
        CriSandboxInfo info = CriSandboxInfo.Parse(answer.Info);
        if (info.ProcessId is { } pid && _host.CgroupOf(pid) is { } cgroup && CgroupPath.TryParse(cgroup, out CgroupPath path) && path.PodUid == sandbox.Identity.Uid)
        {
            // The number is the host's, and that process is this pod's.
            sandbox.ProcessId = pid;
            // From a cgroup namespace of our own it begins where we are; the runtime's begins at the root.
            sandbox.CgroupPath = cgroup.StartsWith("/../", StringComparison.Ordinal) ? info.CgroupParent : cgroup[..path.PodLength];
        }
        else
        {
            sandbox.CgroupPath = info.CgroupParent ?? sandbox.CgroupPath;
        }
        LearnCgroups(sandbox);
        if (sandbox.IsHostNetwork) return;
        sandbox.NamespacePath = info.NetworkNamespacePath;
        uint inode = info.NetworkNamespacePath is { } bound ? _host.NamespaceAt(bound) : 0;
        if (inode == 0 && sandbox.ProcessId is { } process) inode = _host.NamespaceOf(process);
        // A runtime that names the host's own cannot make the host's numbers a pod's.
        if (inode != 0 && inode != _host.NamespaceOf(1)) sandbox.NamespaceInode = inode;
    }

    /// <summary>The namespaces of pods whose runtime tells none (cri-dockerd; CRI-O, where its bindings are not mounted here): those that their processes are in.</summary>
    private void LearnFromProcesses()
    {
        var lacking = new Dictionary<string, Sandbox>(StringComparer.Ordinal);
        HashSet<uint> taken = [0, _host.NamespaceOf(1)];
        foreach (Sandbox sandbox in _known.Values)
        {
            if (sandbox.LacksNamespace) lacking[sandbox.Identity.Uid!] = sandbox;
            else if (sandbox is { NamespaceInode: { } inode, Ended: null }) taken.Add(inode);
        }
        foreach (int pid in _host.ProcessIds())
        {
            if (lacking.Count == 0) return;
            if (_host.CgroupOf(pid) is not { } cgroup || !CgroupPath.TryParse(cgroup, out CgroupPath path) || !lacking.TryGetValue(path.PodUid, out Sandbox? sandbox)) continue;
            uint inode = _host.NamespaceOf(pid);
            if (!taken.Add(inode)) continue; // one that looks into another's
            lacking.Remove(path.PodUid);
            sandbox.NamespaceInode = inode;
            sandbox.ProcessId ??= pid;
            sandbox.CgroupPath ??= cgroup[..path.PodLength];
            LearnCgroups(sandbox);
        }
    }

    private void LearnCgroups(Sandbox sandbox)
    {
        if (sandbox is { CgroupPath: { } path, Ended: null } && _host.Cgroups.IdsOf(path) is { Count: > 0 } ids) sandbox.CgroupIds = [.. sandbox.CgroupIds.Union(ids).Take(4 * MostContainers)];
    }

    // A sandbox that is still listed must stay, so that it does not come back as a new one.
    private void ForgetEnded()
    {
        DateTimeOffset limit = _clock.GetUtcNow() - _options.RememberEnded;
        foreach ((string id, Sandbox sandbox) in _known)
        {
            if (sandbox.Ended > limit || sandbox.Ended is null || sandbox.IsForgotten) continue;
            sandbox.IsForgotten = true;
            _dirty = true;
        }
        foreach ((string id, Sandbox sandbox) in _known)
            if (sandbox is { IsForgotten: true, Listed: false }) _known.Remove(id);
    }

    private void ForgetOneEnded()
    {
        Sandbox? oldest = _known.Values.Where(static s => s.Ended is not null).MinBy(static s => s.Ended);
        if (oldest is not null) _known.Remove(oldest.Id);
    }

    private void Publish()
    {
        if (!_dirty)
        {
            _publish(null, _status);
            return;
        }
        _dirty = false;
        _publish([.. _known.Values.Where(static s => !s.IsForgotten).Select(static s => s.ToInfo())], _status);
    }

    private static DateTimeOffset? Time(long nanoseconds) =>
        nanoseconds <= 0 ? null : DateTimeOffset.UnixEpoch.AddTicks(nanoseconds / TimeSpan.NanosecondsPerTick);

    [LoggerMessage(Level = LogLevel.Information, Message = "Pods are named by {Name} {Version} at {Endpoint}")]
    private static partial void LogFound(ILogger logger, string name, string version, string endpoint);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The container runtime is lost; pods stay as they were last known. {Problem}")]
    private static partial void LogLost(ILogger logger, string problem);

    /// <summary>A sandbox from its first listing to its end.</summary>
    private sealed class Sandbox(string id, PodIdentity identity, FrozenDictionary<string, string> labels, DateTimeOffset? created)
    {
        internal string Id => id;

        internal PodIdentity Identity => identity;

        internal bool Listed { get; set; }

        /// <summary>The call for its status, while it is not seen to.</summary>
        internal Task<(PodSandboxStatusResponse? Status, string? Problem)>? Answer { get; set; }

        /// <summary>What the last call has failed with.</summary>
        internal string? Problem { get; set; }

        internal int Tries { get; set; }

        internal long LastTry { get; set; }

        internal bool IsAnswered { get; set; }

        /// <summary>Whether it is to be asked. Some runtimes call a pod ready before it has its network, some tell nothing of namespaces.</summary>
        internal bool LacksDetails => Ended is null && (!IsAnswered || (Tries < MostTries && !IsHostNetwork && (NamespaceInode is null || Addresses.Length == 0)));

        internal bool LacksNamespace => IsAnswered && !IsHostNetwork && NamespaceInode is null && Ended is null;

        internal bool IsForgotten { get; set; }

        internal DateTimeOffset? Ended { get; set; }

        internal bool IsHostNetwork { get; set; }

        internal uint? NamespaceInode { get; set; }

        internal string? NamespacePath { get; set; }

        internal int? ProcessId { get; set; }

        internal string? CgroupPath { get; set; }

        internal ulong[] CgroupIds { get; set; } = [];

        internal IPAddress[] Addresses { get; set; } = [];

        internal PodContainer[] Containers { get; set; } = [];

        /// <summary>Scratch of one listing.</summary>
        internal List<PodContainer> Next { get; } = [];

        internal PodInfo ToInfo() => new()
        {
            Identity = identity,
            Source = PodSource.Runtime,
            SandboxId = id,
            Created = created,
            Ended = Ended,
            IsHostNetwork = IsHostNetwork,
            NamespaceInode = NamespaceInode,
            NamespacePath = NamespacePath,
            ProcessId = ProcessId,
            CgroupPath = CgroupPath,
            CgroupIds = CgroupIds,
            Addresses = Addresses,
            Containers = Containers,
            Labels = labels,
        };
    }
}
