using System.Diagnostics;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>
/// Counters that programs keep by network namespace, brought together with the namespaces there are. A namespace that ends takes its counters with it, so that one that gets
/// its number does not inherit them; those of namespaces nobody has ever seen are added up for the node.
/// </summary>
internal sealed class NamespaceCounts : IDisposable
{
    private readonly TimeSpan _longestUnknown;
    private readonly CountsMap<uint> _map;
    private readonly PerNamespace<Kept> _namespaces;
    private readonly Dictionary<uint, int> _places = [];
    private readonly Dictionary<uint, long> _unknown = [];
    private readonly ulong[] _lost;
    private readonly ulong[] _none;
    private readonly Lock _gate = new();
    private bool _closed;

    /// <param name="map">The map of a loaded object.</param>
    /// <param name="longestUnknown">How long a namespace may be unknown before its counters are the node's: it may just be young. Default: 10 s.</param>
    internal NamespaceCounts(nint map, TimeSpan? longestUnknown = null)
    {
        _longestUnknown = longestUnknown ?? TimeSpan.FromSeconds(10);
        _map = new CountsMap<uint>(map);
        _lost = new ulong[_map.Words];
        _none = new ulong[_map.Words];
        _namespaces = new PerNamespace<Kept>(ns => new Kept(this, ns.Inode));
    }

    /// <summary>What namespaces counted that ended before anybody had seen them, and hits that have none.</summary>
    internal ReadOnlySpan<ulong> Unattributed => _lost;

    /// <summary>Reads the map; then <see cref="Of"/> answers for the namespaces of the snapshot.</summary>
    internal void Read(IReadOnlyList<NetworkNamespace> snapshot)
    {
        _ = _namespaces.For(snapshot);
        lock (_gate) _map.Read();
        _places.Clear();
        for (int i = 0; i < _map.Count; i++) _places[_map.Keys[i]] = i;
        int known = 0;
        for (int i = 0; i < snapshot.Count; i++)
        {
            if (_places.ContainsKey(snapshot[i].Inode)) known++;
            if (_unknown.Count > 0) _unknown.Remove(snapshot[i].Inode);
        }
        if (known < _places.Count) LookAtUnknown(snapshot);
    }

    /// <summary>The counters of a namespace; zeros where nothing has happened.</summary>
    internal ReadOnlySpan<ulong> Of(NetworkNamespace ns) => _places.TryGetValue(ns.Inode, out int place) ? _map.Sums(place) : _none;

    public void Dispose()
    {
        lock (_gate) _closed = true;
        _namespaces.Dispose();
    }

    private void LookAtUnknown(IReadOnlyList<NetworkNamespace> snapshot)
    {
        long now = Stopwatch.GetTimestamp();
        foreach ((uint inode, int place) in _places)
        {
            bool known = false;
            for (int i = 0; i < snapshot.Count && !known; i++) known = snapshot[i].Inode == inode;
            if (known) continue;
            if (!_unknown.TryAdd(inode, now) && Stopwatch.GetElapsedTime(_unknown[inode], now) > _longestUnknown)
            {
                ReadOnlySpan<ulong> sums = _map.Sums(place);
                for (int word = 0; word < sums.Length; word++) _lost[word] += sums[word];
                Forget(inode);
                _unknown.Remove(inode);
            }
        }
    }

    private void Forget(uint inode)
    {
        lock (_gate)
            if (!_closed) _map.Delete(inode);
    }

    private sealed class Kept(NamespaceCounts owner, uint inode) : IDisposable
    {
        public void Dispose() => owner.Forget(inode);
    }
}
