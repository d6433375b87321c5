namespace KubeSkoop.Probes;

/// <summary>A probe that yields numbers. See <see cref="IMetricProbe{TRecord}"/> for the typed side.</summary>
public interface IMetricProbe : IProbe
{
    /// <summary>
    /// Takes one sample and shows its rows to <paramref name="visitor"/>. The rows live in a buffer of the probe and
    /// are valid during the call only; in steady state nothing is allocated.
    /// </summary>
    /// <param name="visitor">Receives all rows in one call.</param>
    /// <param name="round">
    /// Probes that share a file (tcp, udp, ip) read it once per round. The default asks for a reading of its own.
    /// </param>
    /// <exception cref="ProbeNotRunningException">The probe is not running.</exception>
    void Collect(ISampleVisitor visitor, SampleRound round = default);
}

/// <summary>A probe that yields one <typeparamref name="TRecord"/> per network namespace (or device, CPU, queue).</summary>
/// <typeparam name="TRecord">The typed record; a struct with named fields and one static metric table.</typeparam>
public interface IMetricProbe<TRecord> : IMetricProbe
    where TRecord : struct
{
    /// <summary>Name, kind, unit and accessor of every metric in the record.</summary>
    MetricTable<TRecord> Metrics { get; }

    /// <summary>Clears <paramref name="batch"/> and fills it with one exact reading. Allocates only while the batch still grows.</summary>
    /// <param name="batch">A batch of the caller's, meant to be reused.</param>
    /// <param name="round">See <see cref="IMetricProbe.Collect"/>.</param>
    /// <exception cref="ProbeNotRunningException">The probe is not running.</exception>
    void Sample(SampleBatch<TRecord> batch, SampleRound round = default);
}

/// <summary>Sees the rows of one probe's sample.</summary>
public interface ISampleVisitor
{
    /// <summary>Called once per probe and collection. The span must not be kept.</summary>
    void Visit<TRecord>(ProbeDescriptor probe, MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
        where TRecord : struct;
}

/// <summary>One collection. Probes that read the same kernel file read it once per round.</summary>
/// <param name="Id">Zero asks for a fresh reading.</param>
public readonly record struct SampleRound(long Id)
{
    private static long _last;

    /// <summary>A round that no one has used yet.</summary>
    public static SampleRound Next() => new(Interlocked.Increment(ref _last));
}

/// <summary>Convenience for those who sample now and then and do not mind an allocation.</summary>
public static class MetricProbeExtensions
{
    /// <summary>One exact reading in a batch of its own.</summary>
    /// <exception cref="ProbeNotRunningException">The probe is not running.</exception>
    public static SampleBatch<TRecord> Sample<TRecord>(this IMetricProbe<TRecord> probe)
        where TRecord : struct
    {
        ArgumentNullException.ThrowIfNull(probe);
        var batch = new SampleBatch<TRecord>();
        probe.Sample(batch);
        return batch;
    }
}
