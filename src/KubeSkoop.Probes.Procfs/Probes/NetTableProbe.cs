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
        return ValueTask.FromResult<string?>("procfs");
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        while (_acquired > 0) _tables[--_acquired].Release();
        return ValueTask.CompletedTask;
    }
}
