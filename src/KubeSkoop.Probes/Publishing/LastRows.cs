namespace KubeSkoop.Probes.Publishing;

/// <summary>A probe that can take the numbers of namespaces that are about to end.</summary>
internal interface IKeepsLastRows
{
    /// <summary>Takes them, for the next sample.</summary>
    void KeepLastRows(IReadOnlyList<NetworkNamespace> ending, SampleRound round);
}

/// <summary>
/// The last rows of namespaces that have ended, until they are read once more. What nobody reads is bounded; and where another namespace has
/// the same names and the same number by then, the last numbers give way to the living ones: no series is told twice.
/// </summary>
/// <typeparam name="TRecord">The record.</typeparam>
internal sealed class LastRows<TRecord>
    where TRecord : struct
{
    private const int MostRows = 4096;

    private readonly SampleBatch<TRecord> _reading = new();
    private readonly List<SampleRow<TRecord>> _rows = [];

    internal bool Any => _rows.Count > 0;

    /// <summary>An empty batch to be read into; then <see cref="Keep"/>.</summary>
    internal SampleBatch<TRecord> Begin(SampleRound round)
    {
        _reading.Begin(round);
        return _reading;
    }

    /// <summary>Keeps the rows of those that end. Returns how many rows had to go for them, unread.</summary>
    internal int Keep(IReadOnlyList<NetworkNamespace> ending)
    {
        int lost = 0;
        foreach (NetworkNamespace ns in ending) lost += _rows.RemoveAll(row => IsSame(row.Namespace!, ns));
        foreach (ref readonly SampleRow<TRecord> row in _reading.Rows)
            if (row.Namespace is { } ns && ending.Contains(ns)) _rows.Add(row);
        int over = _rows.Count - MostRows;
        if (over <= 0) return lost;
        _rows.RemoveRange(0, over);
        return lost + over;
    }

    /// <summary>Appends the rows to a sample, and keeps them no longer.</summary>
    internal void MoveTo(SampleBatch<TRecord> batch)
    {
        int living = batch.Count;
        NetworkNamespace? judged = null;
        bool lives = false;
        foreach (SampleRow<TRecord> row in _rows)
        {
            if (!ReferenceEquals(row.Namespace, judged)) // rows of a namespace stand together
            {
                judged = row.Namespace!;
                lives = false;
                foreach (ref readonly SampleRow<TRecord> other in batch.Rows[..living]) lives |= other.Namespace is { } ns && IsSame(ns, judged);
            }
            if (lives) batch.Skip(SkipReason.Vanished);
            else batch.Add(row.Subject) = row.Value;
        }
        Clear();
    }

    internal void Clear() => _rows.Clear();

    // For who reads the series: the kernel gives the number of an ended namespace to the next one.
    private static bool IsSame(NetworkNamespace one, NetworkNamespace other) =>
        one.Inode == other.Inode && one.DisplayName == other.DisplayName && one.Pod?.Name == other.Pod?.Name && one.Pod?.Namespace == other.Pod?.Namespace;
}
