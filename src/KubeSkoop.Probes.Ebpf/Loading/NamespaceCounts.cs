using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>
/// Counters that programs keep by network namespace, brought together with the namespaces there are. A namespace that ends takes its counters with it, so that one that gets
/// its number does not inherit them; those of namespaces nobody has ever seen are added up for the node.
/// </summary>
internal sealed class NamespaceCounts : IDisposable
{
    private readonly CountsMap<NamespaceKey> _map;
    private readonly Func<CountsMap<NamespaceKey>> _again;
    private CountsMap<NamespaceKey>? _ends;
    private readonly AliveNamespaces _alive;
    private readonly NamespaceFates _fates;
    private readonly PerNamespace<Kept> _namespaces;
    private readonly HashSet<uint> _seen = [];
    private readonly Dictionary<uint, int> _places = [];
    private readonly Action<AliveNamespaces, NamespaceCounts> _look;
    private readonly ulong[] _lost;
    private readonly ulong[] _unattributed;
    private readonly ulong[] _none;
    private readonly HashSet<uint> _gone = [];
    private readonly Lock _gate = new();
    private IReadOnlyList<NetworkNamespace>? _snapshot;
    private bool _closed;

    /// <param name="map">The map of a loaded object.</param>
    /// <param name="alive">What the kernel says there is.</param>
    /// <param name="longestUnknown">How long a namespace may be unknown before its counters are the node's: it may just be young. Default: 10 s.</param>
    internal NamespaceCounts(nint map, AliveNamespaces alive, TimeSpan? longestUnknown = null)
    {
        _again = () => new CountsMap<NamespaceKey>(map);
        _map = _again();
        _alive = alive;
        _fates = new NamespaceFates(alive, longestUnknown);
        _lost = new ulong[_map.Words];
        _unattributed = new ulong[_map.Words];
        _none = new ulong[_map.Words];
        _namespaces = new PerNamespace<Kept>(ns => new Kept(this, ns.Inode));
        _look = static (_, counts) => counts.Look();
        alive.Acquire();
    }

    /// <summary>What namespaces counted that ended before anybody had seen them, and hits that have none.</summary>
    internal ReadOnlySpan<ulong> Unattributed => _unattributed;

    /// <summary>Reads the map; then <see cref="TryGet"/> answers for the namespaces of the snapshot.</summary>
    internal void Read(IReadOnlyList<NetworkNamespace> snapshot)
    {
        _ = _namespaces.For(snapshot);
        if (!ReferenceEquals(snapshot, _snapshot))
        {
            _seen.Clear();
            for (int i = 0; i < snapshot.Count; i++) _seen.Add(snapshot[i].Inode);
            _snapshot = snapshot;
        }
        lock (_gate)
        {
            _map.Read(); // first: what is counted after the look at the kernel's list may be for a namespace that was not in it
            _alive.Read(this, _look);
        }
    }

    /// <summary>The counters of a namespace, zeros where nothing has happened. False when it has ended, or when the map has no room to tell.</summary>
    internal bool TryGet(NetworkNamespace ns, out ReadOnlySpan<ulong> counts)
    {
        counts = _none;
        if (_places.TryGetValue(ns.Inode, out int place)) counts = _map.Sums(place);
        else if (_map.Count >= _map.Room || _gone.Contains(ns.Inode)) return false;
        return true;
    }

    public void Dispose()
    {
        lock (_gate) _closed = true;
        _namespaces.Dispose();
        _alive.Release();
    }

    private void Look()
    {
        _places.Clear();
        _gone.Clear();
        int nowhere = -1;
        for (int i = 0; i < _map.Count; i++)
        {
            NamespaceKey key = _map.Keys[i];
            if (key.Inode == 0)
            {
                nowhere = i; // and stays: what is counted between reading and deleting would be lost
                continue;
            }
            switch (_fates.Of(key, _seen.Contains(key.Inode)))
            {
                case NamespaceFate.Take:
                    _places[key.Inode] = i;
                    break;
                case NamespaceFate.Node:
                    AddTo(_lost, _map.Sums(i));
                    Delete(key);
                    break;
                case NamespaceFate.Drop:
                    Delete(key);
                    break;
            }
        }
        _lost.CopyTo(_unattributed, 0);
        if (nowhere >= 0) AddTo(_unattributed, _map.Sums(nowhere));
        if (_snapshot is null) return;
        for (int i = 0; i < _snapshot.Count; i++)
            if (_alive.Has(_snapshot[i].Inode) == false) _gone.Add(_snapshot[i].Inode);
    }

    private static void AddTo(ulong[] all, ReadOnlySpan<ulong> sums)
    {
        for (int word = 0; word < sums.Length; word++) all[word] += sums[word];
    }

    private void Delete(NamespaceKey key)
    {
        _map.Delete(key);
        _fates.Forget(key);
    }

    // Also what was counted since the last sample. Read with room of its own: on another thread somebody may be looking at what that sample has found.
    private void DeleteAll(uint inode)
    {
        _ends ??= _again();
        _ends.Read();
        foreach (NamespaceKey key in _ends.Keys)
            if (key.Inode == inode) Delete(key);
    }

    // Where the kernel does not say what is alive: a number may be another one's soon. Where it does, the next sample sees what has ended.
    private void Forget(uint inode)
    {
        lock (_gate)
        {
            if (_closed) return;
            _alive.Read((this, inode), static (alive, of) =>
            {
                if (alive.Has(of.inode) is null) of.Item1.DeleteAll(of.inode);
            });
        }
    }

    private sealed class Kept(NamespaceCounts owner, uint inode) : IDisposable
    {
        public void Dispose() => owner.Forget(inode);
    }
}
