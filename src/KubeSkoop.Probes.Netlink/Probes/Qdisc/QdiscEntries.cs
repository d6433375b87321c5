namespace KubeSkoop.Probes.Netlink;

/// <summary>The qdiscs and classes of one namespace, of one sample. Shared by all namespaces, so that it grows once.</summary>
/// <remarks>Whoever may configure a pod's devices may make classes without end, so there is an end.</remarks>
internal sealed class QdiscEntries
{
    /// <summary>Most qdiscs and classes of one namespace.</summary>
    internal const int Limit = 8192;

    private QdiscEntry[] _entries = new QdiscEntry[16];
    private QdiscEntry _surplus;

    internal int Count { get; private set; }

    /// <summary>Whether some were left out.</summary>
    internal bool IsFull { get; private set; }

    internal ReadOnlySpan<QdiscEntry> All => _entries.AsSpan(0, Count);

    /// <summary>Forgets all.</summary>
    internal void Clear()
    {
        Count = 0;
        IsFull = false;
    }

    /// <summary>Forgets those behind the first <paramref name="count"/>.</summary>
    internal void Cut(int count) => Count = count;

    /// <summary>Appends an entry for filling in place. It holds what an earlier sample left there.</summary>
    internal ref QdiscEntry Add()
    {
        if (Count == _entries.Length)
        {
            if (Count >= Limit)
            {
                IsFull = true;
                return ref _surplus;
            }
            Array.Resize(ref _entries, Count * 2);
        }
        return ref _entries[Count++];
    }
}
