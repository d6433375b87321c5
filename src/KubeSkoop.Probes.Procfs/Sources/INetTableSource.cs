namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// A way to the numbers of several tables at once, for all namespaces, that is faster than reading their files. It fills the slots the files would fill: what is in them,
/// and what it is called, stays the table's business.
/// </summary>
internal interface INetTableSource
{
    /// <summary>What a probe's status calls it.</summary>
    string Name { get; }

    /// <summary>Takes what it needs, and makes sure that its numbers are those of the files.</summary>
    /// <param name="tables">The tables it is to fill.</param>
    /// <param name="witness">A namespace whose files can be read beside.</param>
    /// <returns><see langword="null"/> when it works here; otherwise why not, for people. Then it holds nothing.</returns>
    string? TryStart(IReadOnlyList<NetTable> tables, NetworkNamespace witness);

    /// <summary>Releases everything. Must not throw.</summary>
    void Stop();

    /// <summary>Fills the row's slots as of this round, or of a later one.</summary>
    /// <returns><see langword="null"/> for a namespace it does not have: then its file is read.</returns>
    NetFileOutcome? TryFill(NetTable table, NetTableRow row, long round);
}

/// <summary>Tables that have a faster source in common. It starts with the first user of any of them, and stops with the last.</summary>
internal sealed class NetTableGroup(ProcNamespaceSource namespaces, IEnumerable<INetTableSource> sources)
{
    private readonly INetTableSource[] _sources = [.. sources];
    private readonly List<NetTable> _tables = [];
    private readonly Lock _gate = new(); // taken before a table's, never within
    private int _users;
    private string? _refusal;

    /// <summary>The source that has started.</summary>
    internal INetTableSource? Source { get; private set; }

    /// <summary>Where the numbers come from, and why not from elsewhere.</summary>
    internal string Describe()
    {
        lock (_gate) return Source?.Name ?? (_refusal is null ? NetTable.FileSource : $"{NetTable.FileSource} ({_refusal})");
    }

    internal void Add(NetTable table) => _tables.Add(table);

    /// <summary>Begins a use; namespaces are being watched by then.</summary>
    internal void Acquire()
    {
        lock (_gate)
        {
            if (_users++ > 0 || namespaces.Current is not [var witness, ..]) return;
            _refusal = null;
            foreach (INetTableSource source in _sources)
            {
                if (source.TryStart(_tables, witness) is not { } why)
                {
                    Source = source;
                    return;
                }
                _refusal ??= $"{source.Name}: {why}";
            }
        }
    }

    /// <summary>Ends a use.</summary>
    internal void Release()
    {
        lock (_gate)
        {
            if (_users == 0 || --_users > 0) return;
            INetTableSource? source = Source;
            Source = null;
            source?.Stop();
        }
    }
}
