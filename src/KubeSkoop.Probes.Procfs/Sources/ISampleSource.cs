namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// A way to a probe's numbers. A probe that has several takes the first that works here, falls back to <c>/proc</c>, and says in its status which it took.
/// </summary>
/// <typeparam name="TRecord">The record it fills.</typeparam>
public interface ISampleSource<TRecord>
    where TRecord : struct
{
    /// <summary>What the probe's status calls it, for example <c>rtnetlink</c>.</summary>
    string Name { get; }

    /// <summary>Takes what it needs.</summary>
    /// <returns><see langword="null"/> when it works here; otherwise why not, for people. Then it holds nothing.</returns>
    string? TryStart();

    /// <summary>Releases everything. Must not throw.</summary>
    void Stop();

    /// <summary>As <see cref="MetricProbe{TRecord}"/>'s method of this name: adds rows, skips what vanished, allocates nothing once warm.</summary>
    void Read(SampleBatch<TRecord> batch);
}
