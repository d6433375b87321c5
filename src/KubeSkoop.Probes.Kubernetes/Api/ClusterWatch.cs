using Microsoft.Extensions.Logging;

namespace KubeSkoop.Probes.Kubernetes.Api;

/// <summary>Follows the cluster by its API: pods, nodes and services. Answers whose an address is.</summary>
internal sealed class ClusterWatch : IDisposable
{
    /// <summary>How long after a server's loss its silence is still taken for news: a connection that breaks is made anew within that time.</summary>
    private static readonly TimeSpan Away = TimeSpan.FromSeconds(5);

    private readonly KubernetesOptions _options;
    private readonly string? _node;
    private readonly ApiConnection _connection;
    private readonly ApiWatch[] _watches;

    /// <param name="options">The settings.</param>
    /// <param name="node">The name of this node.</param>
    /// <param name="clock">The clock of waits and ages.</param>
    /// <param name="logger">Told when the server comes and goes.</param>
    /// <param name="changed">Called from the following tasks, several at a time: whether this node's pods are others now.</param>
    internal ClusterWatch(KubernetesOptions options, string? node, TimeProvider clock, ILogger? logger, Action<bool> changed)
    {
        _options = options;
        _node = node;
        _connection = new ApiConnection(options);
        State = new ClusterState(options, node, clock);
        string? only = options.ApiScope == ApiScope.Node ? node ?? string.Empty : null;
        _watches = [.. Enum.GetValues<ApiKind>().Select(kind => new ApiWatch(kind, only, options, _connection, State, clock, logger, changed))];
    }

    internal ClusterState State { get; }

    internal bool HasLooked => Array.TrueForAll(_watches, static w => w.Status.HasLooked);

    /// <summary>Where the knowledge comes from, and how fresh it is.</summary>
    internal ClusterStatus Status
    {
        get
        {
            ApiWatchStatus[] all = [.. _watches.Select(static w => w.Status)];
            string[] problems = [.. all.Select(static s => s.Problem).OfType<string>()];
            int leftOut = State.LeftOut;
            return new ClusterStatus
            {
                Server = _connection.Server,
                LastAnswer = all.Max(static s => s.LastAnswer),
                StaleSince = all.Min(static s => s.StaleSince),
                Pods = State.CountOf(ApiKind.Pods),
                Nodes = State.CountOf(ApiKind.Nodes),
                Services = State.CountOf(ApiKind.Services),
                Addresses = State.AddressCount,
                LeftOut = leftOut,
                Lists = all.Sum(static s => s.Lists),
                Problem = problems.Length > 0 ? $"The Kubernetes API: {string.Join(" ", problems)}"
                    : leftOut > 0 ? $"{leftOut} pods, nodes and services of the cluster are left out: raise {KubernetesOptions.SectionName}:{nameof(KubernetesOptions.MaxAddresses)}, which is {_options.MaxAddresses}."
                    : all[(int)ApiKind.Nodes].IsKnown && !State.HasNode ? $"The cluster has no node '{_node}': set {ProbesOptions.SectionName}:{nameof(ProbesOptions.NodeName)} to this node's name there (spec.nodeName)."
                    : null,
            };
        }
    }

    /// <summary>Whose an address was; <see langword="null"/> if that is not known.</summary>
    internal PeerIdentity? Find(in Endpoint endpoint, DateTimeOffset at)
    {
        UInt128 address = endpoint.AddressValue;
        if (State.Addresses.Find(address, at) is { } found) return found;
        // It is nobody's only if everybody is known; a pod may not have been told of yet.
        return _options.ApiScope == ApiScope.Cluster && IsComplete(at) && !endpoint.IsOfNobody && !State.IsPodRange(address) ? PeerIdentity.Outside : null;
    }

    /// <summary>Follows until cancelled.</summary>
    internal Task RunAsync(CancellationToken cancellationToken) => Task.WhenAll(_watches.Select(w => Task.Run(() => w.RunAsync(cancellationToken), CancellationToken.None)));

    public void Dispose() => _connection.Dispose();

    private bool IsComplete(DateTimeOffset at)
    {
        foreach (ApiWatch watch in _watches)
            if (watch.Status is not { IsKnown: true } status || at > status.StaleSince + Away) return false;
        return State.IsComplete;
    }
}
