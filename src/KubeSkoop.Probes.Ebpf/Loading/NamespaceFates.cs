using System.Diagnostics;

namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>What becomes of what was counted for a namespace.</summary>
internal enum NamespaceFate
{
    /// <summary>It is the namespace's that has the number now.</summary>
    Take,

    /// <summary>Nobody knows the namespace yet. It may just be young.</summary>
    Wait,

    /// <summary>The namespace has ended, and somebody has seen its numbers.</summary>
    Drop,

    /// <summary>Nobody has ever seen the namespace: it is the node's.</summary>
    Node,
}

/// <summary>Decides it, by what the kernel says is alive; on kernels that cannot say, by what is seen and for how long it is not.</summary>
internal sealed class NamespaceFates(AliveNamespaces alive, TimeSpan? longestUnknown = null)
{
    private const int MostUnknown = 4096;
    private readonly TimeSpan _longestUnknown = longestUnknown ?? TimeSpan.FromSeconds(10);
    private readonly HashSet<NamespaceKey> _taken = [];
    private readonly Dictionary<NamespaceKey, long> _unknown = [];
    private readonly Dictionary<uint, uint> _youngest = [];

    /// <param name="key">The namespace that was counted for.</param>
    /// <param name="isSeen">Whether a namespace with its number is in the snapshot.</param>
    internal NamespaceFate Of(NamespaceKey key, bool isSeen)
    {
        bool? exists = alive.Has(key);
        if (exists == false) return _taken.Contains(key) ? NamespaceFate.Drop : NamespaceFate.Node;
        if (isSeen)
        {
            // Of two with one number one has ended, and nobody says which: cookies are given out upwards (5.12 to 5.18; before, there are none).
            if (exists is null)
            {
                if (_youngest.TryGetValue(key.Inode, out uint youngest) && key.Cookie < youngest) return NamespaceFate.Drop;
                _youngest[key.Inode] = key.Cookie;
            }
            _taken.Add(key);
            if (_unknown.Count > 0) _unknown.Remove(key);
            return NamespaceFate.Take;
        }
        long now = Stopwatch.GetTimestamp();
        if (_unknown.Count >= MostUnknown) _unknown.Clear();
        return _unknown.TryAdd(key, now) || Stopwatch.GetElapsedTime(_unknown[key], now) <= _longestUnknown ? NamespaceFate.Wait : NamespaceFate.Node;
    }

    /// <summary>What was counted for it is deleted.</summary>
    internal void Forget(NamespaceKey key)
    {
        _taken.Remove(key);
        _unknown.Remove(key);
        if (_youngest.TryGetValue(key.Inode, out uint youngest) && youngest == key.Cookie) _youngest.Remove(key.Inode);
    }
}
