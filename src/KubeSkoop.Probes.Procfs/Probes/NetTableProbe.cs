namespace KubeSkoop.Probes.Procfs;

/// <summary>A probe that takes columns from tables it shares with other probes, and holds them while it runs.</summary>
/// <typeparam name="TRecord">The record: <see cref="Reading"/>s first, in the order of its column sets.</typeparam>
public abstract class NetTableProbe<TRecord> : MetricProbe<TRecord>
    where TRecord : unmanaged
{
    private readonly NetTable[] _tables;
    private int _acquired;

    private protected NetTableProbe(ProbeDescriptor descriptor, TimeProvider? clock, params NetTable[] tables)
        : base(descriptor, clock) => _tables = tables;

    /// <inheritdoc />
    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        foreach (NetTable table in _tables)
        {
            table.Acquire();
            _acquired++;
        }
        // A probe with tables of several sources has the files of one of them.
        return ValueTask.FromResult<string?>(_tables.Select(static t => t.Describe()).Distinct().Count() == 1 ? _tables[0].Describe() : NetTable.FileSource);
    }

    /// <inheritdoc />
    protected sealed override void Read(SampleBatch<TRecord> batch)
    {
        _tables[0].Namespaces.NoteProblem(batch); // first: what else is wrong says more
        ReadTables(batch);
    }

    /// <summary>Adds a row for each namespace to the empty <paramref name="batch"/>; see <see cref="MetricProbe{TRecord}.Read"/>.</summary>
    private protected abstract void ReadTables(SampleBatch<TRecord> batch);

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        while (_acquired > 0) _tables[--_acquired].Release();
        return ValueTask.CompletedTask;
    }
}
