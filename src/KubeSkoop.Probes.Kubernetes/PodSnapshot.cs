namespace KubeSkoop.Probes.Kubernetes;

/// <summary>All pods known at one moment, by everything they are asked for. Does not change.</summary>
internal sealed class PodSnapshot
{
    internal static readonly PodSnapshot Empty = new([]);

    /// <summary>How long something may still happen in a pod's namespace after the runtime has called it ended.</summary>
    private static readonly TimeSpan Aftermath = TimeSpan.FromSeconds(2);

    private readonly Dictionary<uint, PodInfo> _byNamespace = [];
    private readonly Dictionary<uint, List<PodInfo>> _historyOfNamespace = [];
    private readonly Dictionary<string, PodInfo> _byUid = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PodContainer> _containers = new(StringComparer.Ordinal);
    private readonly Dictionary<ulong, PodInfo> _byCgroupId = [];
    private readonly Dictionary<UInt128, List<(PodInfo Pod, PeerIdentity Peer)>> _byAddress = [];

    internal PodSnapshot(PodInfo[] pods, string? node = null)
    {
        Pods = pods;
        foreach (PodInfo pod in pods)
        {
            if (pod.Identity.Uid is { Length: > 0 } uid && (!_byUid.TryGetValue(uid, out PodInfo? known) || IsLater(pod, known))) _byUid[uid] = pod;
            if (pod.NamespaceInode is { } inode)
            {
                if (pod.Ended is null && (!_byNamespace.TryGetValue(inode, out known) || IsLater(pod, known))) _byNamespace[inode] = pod;
                if (!_historyOfNamespace.TryGetValue(inode, out List<PodInfo>? history)) _historyOfNamespace.Add(inode, history = []);
                history.Add(pod);
            }
            foreach (ulong id in pod.CgroupIds)
                if (!_byCgroupId.TryGetValue(id, out known) || IsLater(pod, known)) _byCgroupId[id] = pod;
            foreach (PodContainer container in pod.Containers) _containers[container.Id] = container;
            if (pod.Source != PodSource.Runtime || pod.IsHostNetwork || PeerIdentity.Of(pod.Identity, node) is not { } peer) continue; // the API's addresses have a book of their own
            foreach (System.Net.IPAddress address in pod.Addresses)
            {
                UInt128 value = Api.ClusterState.ValueOf(address);
                if (!_byAddress.TryGetValue(value, out List<(PodInfo, PeerIdentity)>? owners)) _byAddress.Add(value, owners = []);
                owners.Add((pod, peer));
            }
        }
    }

    /// <summary>All, those that have ended too.</summary>
    internal IReadOnlyList<PodInfo> Pods { get; }

    internal PodInfo? ByNamespace(uint inode) => _byNamespace.GetValueOrDefault(inode);

    /// <summary>Of the pods that have had the number, the last that was there at that time.</summary>
    internal PodInfo? ByNamespace(uint inode, DateTimeOffset at)
    {
        PodInfo? found = null;
        foreach (PodInfo pod in _historyOfNamespace.GetValueOrDefault(inode) ?? [])
            if (!(pod.Created > at) && !(pod.Ended + Aftermath < at) && (found is null || Nullable.Compare(pod.Created, found.Created) > 0)) found = pod;
        return found;
    }

    /// <summary>Of the pods that have had the address, the last that was there at that time.</summary>
    internal PeerIdentity? ByAddress(UInt128 address, DateTimeOffset at)
    {
        if (!_byAddress.TryGetValue(address, out List<(PodInfo Pod, PeerIdentity Peer)>? owners)) return null;
        PodInfo? found = null;
        PeerIdentity? peer = null;
        foreach (var owner in owners)
        {
            if (owner.Pod.Created > at || owner.Pod.Ended + Aftermath < at || (found is not null && Nullable.Compare(owner.Pod.Created, found.Created) <= 0)) continue;
            (found, peer) = owner;
        }
        return peer;
    }

    internal PodInfo? ByUid(string uid) => _byUid.GetValueOrDefault(uid);

    internal PodInfo? ByCgroupId(ulong id) => _byCgroupId.GetValueOrDefault(id);

    internal PodContainer? Container(string id) => _containers.GetValueOrDefault(id);

    // The living before the ended, then the later sandbox, then any, but always the same.
    private static bool IsLater(PodInfo pod, PodInfo than)
    {
        if (pod.Ended is null != than.Ended is null) return pod.Ended is null;
        int order = Nullable.Compare(pod.Created, than.Created);
        return order > 0 || (order == 0 && string.CompareOrdinal(pod.SandboxId, than.SandboxId) > 0);
    }
}
