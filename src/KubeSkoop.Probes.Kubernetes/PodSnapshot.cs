namespace KubeSkoop.Probes.Kubernetes;

/// <summary>All pods known at one moment, by everything they are asked for. Does not change.</summary>
internal sealed class PodSnapshot
{
    internal static readonly PodSnapshot Empty = new([]);

    private readonly Dictionary<uint, PodInfo> _byNamespace = [];
    private readonly Dictionary<uint, PodInfo> _endedByNamespace = [];
    private readonly Dictionary<string, PodInfo> _byUid = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PodContainer> _containers = new(StringComparer.Ordinal);
    private readonly Dictionary<ulong, PodInfo> _byCgroupId = [];

    internal PodSnapshot(PodInfo[] pods)
    {
        Pods = pods;
        foreach (PodInfo pod in pods)
        {
            if (pod.Identity.Uid is { Length: > 0 } uid && (!_byUid.TryGetValue(uid, out PodInfo? known) || IsLater(pod, known))) _byUid[uid] = pod;
            if (pod.NamespaceInode is { } inode)
            {
                Dictionary<uint, PodInfo> table = pod.Ended is null ? _byNamespace : _endedByNamespace;
                if (!table.TryGetValue(inode, out known) || IsLater(pod, known)) table[inode] = pod;
            }
            foreach (ulong id in pod.CgroupIds)
                if (!_byCgroupId.TryGetValue(id, out known) || IsLater(pod, known)) _byCgroupId[id] = pod;
            foreach (PodContainer container in pod.Containers) _containers[container.Id] = container;
        }
    }

    /// <summary>All, those that have ended too.</summary>
    internal IReadOnlyList<PodInfo> Pods { get; }

    internal PodInfo? ByNamespace(uint inode) => _byNamespace.GetValueOrDefault(inode);

    internal PodInfo? ByEndedNamespace(uint inode) => _byNamespace.GetValueOrDefault(inode) ?? _endedByNamespace.GetValueOrDefault(inode);

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
