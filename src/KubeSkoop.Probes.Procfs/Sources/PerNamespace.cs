namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// Keeps one <typeparamref name="T"/> for every namespace of a snapshot, in the snapshot's order, made once and disposed
/// of as soon as its namespace ends. While the snapshot stays the same, asking costs one comparison.
/// </summary>
/// <remarks>Not thread-safe, except for the ends of namespaces, which come from the watching thread.</remarks>
internal sealed class PerNamespace<T>(Func<NetworkNamespace, T> make) : IDisposable
    where T : class, IDisposable
{
    private IReadOnlyList<NetworkNamespace>? _snapshot;
    private Dictionary<NetworkNamespace, Kept> _kept = [];
    private T[] _items = [];

    /// <summary>The items of the namespaces in <paramref name="snapshot"/>.</summary>
    internal ReadOnlySpan<T> For(IReadOnlyList<NetworkNamespace> snapshot)
    {
        if (!ReferenceEquals(snapshot, _snapshot)) Follow(snapshot);
        return _items;
    }

    /// <summary>Disposes of all items.</summary>
    public void Dispose()
    {
        foreach (Kept kept in _kept.Values) kept.Release();
        _kept = [];
        _items = [];
        _snapshot = null;
    }

    private void Follow(IReadOnlyList<NetworkNamespace> snapshot)
    {
        var next = new Dictionary<NetworkNamespace, Kept>(snapshot.Count);
        var items = new T[snapshot.Count];
        for (int i = 0; i < items.Length; i++)
        {
            NetworkNamespace ns = snapshot[i];
            if (!_kept.Remove(ns, out Kept kept))
            {
                T item = make(ns);
                kept = new Kept(item, ns.Ended.UnsafeRegister(static state => ((T)state!).Dispose(), item));
            }
            next.Add(ns, kept);
            items[i] = kept.Item;
        }
        foreach (Kept gone in _kept.Values) gone.Release();
        _kept = next;
        _items = items;
        _snapshot = snapshot;
    }

    private readonly record struct Kept(T Item, CancellationTokenRegistration Registration)
    {
        internal void Release()
        {
            Registration.Unregister(); // not Dispose: that would wait for a callback on the watching thread
            Item.Dispose();
        }
    }
}
