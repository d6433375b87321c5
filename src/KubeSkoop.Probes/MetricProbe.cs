using KubeSkoop.Probes.Interop;
using KubeSkoop.Probes.Publishing;

namespace KubeSkoop.Probes;

/// <summary>
/// Base of probes that yield numbers: write <see cref="Probe.OnStartAsync"/>, <see cref="Read"/> and
/// <see cref="Probe.OnStopAsync"/>; locking, timing, counting and the shared batch are here.
/// </summary>
/// <typeparam name="TRecord">The typed record.</typeparam>
public abstract class MetricProbe<TRecord> : Probe, IMetricProbe<TRecord>, IKeepsLastRows
    where TRecord : struct
{
    // The clock of CPU time is a system call of about 0.6 us. Short samples would mostly measure that, so of them only one
    // in a few is measured, and counts for those before it.
    private const int ShortSamplesPerLook = 16;
    private static readonly TimeSpan ShortSample = TimeSpan.FromMicroseconds(200);

    private readonly SampleBatch<TRecord> _shared = new();
    private readonly LastRows<TRecord> _last = new();
    private int _samplesUntilLook;
    private int _samplesSinceLook;

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
            visitor.Visit(Descriptor, Metrics, _shared.Rows);
        }
    }

    /// <summary>
    /// Adds one row per key to the empty <paramref name="batch"/>. What vanished meanwhile is
    /// <see cref="SampleBatch{TRecord}.Skip"/>ped, never thrown; a throw fails the whole probe.
    /// </summary>
    protected abstract void Read(SampleBatch<TRecord> batch);

    /// <inheritdoc />
    void IKeepsLastRows.KeepLastRows(IReadOnlyList<NetworkNamespace> ending, SampleRound round)
    {
        lock (Gate)
        {
            // Where nobody has ever asked for numbers, nobody waits for the last ones.
            if (Status.State != ProbeState.Running || Statistics.Samples == 0) return;
            Account(() =>
            {
                SampleBatch<TRecord> batch = _last.Begin(round);
                try
                {
                    Read(batch);
                    Statistics.Lost(_last.Keep(ending));
                }
#pragma warning disable CA1031 // The next sample says what is wrong, and fails the probe; the watching of namespaces goes on.
                catch (Exception)
#pragma warning restore CA1031
                {
                    Statistics.Failed();
                }
                batch.Begin(default);
            });
        }
    }

    private protected override void Forget()
    {
        lock (Gate)
        {
            _shared.Begin(default);
            _last.Clear();
        }
    }

    private void Fill(SampleBatch<TRecord> batch, SampleRound round)
    {
        ProbeStatus status = Status;
        if (status.State != ProbeState.Running) throw new ProbeNotRunningException(Descriptor.Name, status);
        batch.Begin(round.Id == 0 ? SampleRound.Next() : round);
        bool look = _samplesUntilLook-- <= 0;
        long cpuBegan = look ? ThreadClock.CpuNanoseconds() : 0;
        long began = Clock.GetTimestamp();
        try
        {
            Read(batch);
            if (_last.Any) _last.MoveTo(batch);
        }
        catch
        {
            batch.Begin(batch.Round);
            Statistics.Failed();
            throw;
        }
        TimeSpan duration = Clock.GetElapsedTime(began);
        long cpu = 0;
        _samplesSinceLook++;
        if (look)
        {
            cpu = (ThreadClock.CpuNanoseconds() - cpuBegan) * _samplesSinceLook;
            _samplesSinceLook = 0;
            _samplesUntilLook = duration < ShortSample ? ShortSamplesPerLook - 1 : 0;
        }
        Statistics.Sampled(duration, cpu, batch.Count, Metrics.Count, in batch.Skips);
    }
}
