using KubeSkoop.Probes.Interop;
using KubeSkoop.Probes.Lifecycle;

namespace KubeSkoop.Probes;

/// <summary>
/// Base of probes that yield numbers: write <see cref="Probe.OnStartAsync"/>, <see cref="Read"/> and
/// <see cref="Probe.OnStopAsync"/>; locking, timing, counting and the shared batch are here.
/// </summary>
/// <typeparam name="TRecord">The typed record.</typeparam>
public abstract class MetricProbe<TRecord> : Probe, IMetricProbe<TRecord>
    where TRecord : struct
{
    private readonly SampleBatch<TRecord> _shared = new();

    /// <summary>Makes a stopped probe.</summary>
    protected MetricProbe(ProbeDescriptor descriptor, TimeProvider? clock = null)
        : base(descriptor, clock)
    {
    }

    /// <inheritdoc />
    public abstract MetricTable<TRecord> Metrics { get; }

    /// <inheritdoc />
    public void Sample(SampleBatch<TRecord> batch, SampleRound round = default)
    {
        ArgumentNullException.ThrowIfNull(batch);
        lock (Gate) Fill(batch, round);
    }

    /// <inheritdoc />
    public void Collect(ISampleVisitor visitor, SampleRound round = default)
    {
        ArgumentNullException.ThrowIfNull(visitor);
        lock (Gate)
        {
            Fill(_shared, round);
            try
            {
                visitor.Visit(Descriptor, Metrics, _shared.Rows);
            }
            catch (Exception e) when (e is not VisitorException)
            {
                // The reading was good: whoever watches over probes must be able to tell whose failure this is.
                throw new VisitorException($"The visitor of probe '{Descriptor.Name}' failed: {e.Message}", e);
            }
        }
    }

    /// <summary>
    /// Adds one row per key to the empty <paramref name="batch"/>. What vanished meanwhile is
    /// <see cref="SampleBatch{TRecord}.Skip"/>ped, never thrown; a throw fails the whole probe.
    /// </summary>
    protected abstract void Read(SampleBatch<TRecord> batch);

    private protected override void Forget()
    {
        lock (Gate) _shared.Begin(default);
    }

    private void Fill(SampleBatch<TRecord> batch, SampleRound round)
    {
        ProbeStatus status = Status;
        if (status.State != ProbeState.Running) throw new ProbeNotRunningException(Descriptor.Name, status);
        batch.Begin(round.Id == 0 ? SampleRound.Next() : round);
        long began = Clock.GetTimestamp();
        long cpuBegan = ThreadClock.CpuNanoseconds();
        try
        {
            Read(batch);
        }
        catch
        {
            batch.Begin(batch.Round);
            Statistics.Failed();
            throw;
        }
        Statistics.Sampled(
            Clock.GetElapsedTime(began), ThreadClock.CpuNanoseconds() - cpuBegan, batch.Count, Metrics.Count, in batch.Skips);
    }
}
