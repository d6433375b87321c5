namespace KubeSkoop.Probes;

/// <summary>What a probe has done since it was made, and what that cost. Safe to read from any thread.</summary>
public sealed class ProbeStatistics
{
    private long _samples;
    private long _errors;
    private long _starts;
    private long _lastDurationTicks;
    private long _durationTicks;
    private long _cpuNanoseconds;
    private long _rows;
    private long _series;
    private long _vanished;
    private long _denied;
    private long _malformed;
    private long _eventsSent;
    private long _eventsDropped;
    private volatile string? _lastProblem;

    /// <summary>Samples taken.</summary>
    public long Samples => Interlocked.Read(ref _samples);

    /// <summary>Samples and starts that failed.</summary>
    public long Errors => Interlocked.Read(ref _errors);

    /// <summary>Successful starts.</summary>
    public long Starts => Interlocked.Read(ref _starts);

    /// <summary>How long the last sample took.</summary>
    public TimeSpan LastSampleDuration => new(Interlocked.Read(ref _lastDurationTicks));

    /// <summary>How long all samples took together.</summary>
    public TimeSpan SampleDuration => new(Interlocked.Read(ref _durationTicks));

    /// <summary>CPU time, user and kernel, spent in samples and in the probe's background work. Of samples shorter than 200 us one in sixteen is measured and stands for the others.</summary>
    public TimeSpan SampleCpuTime => new(Interlocked.Read(ref _cpuNanoseconds) / 100);

    /// <summary>Rows of the last sample.</summary>
    public long Rows => Interlocked.Read(ref _rows);

    /// <summary>Series of the last sample: rows times metrics.</summary>
    public long Series => Interlocked.Read(ref _series);

    /// <summary>Rows skipped because a process, namespace or device ended meanwhile. Normal.</summary>
    public long Vanished => Interlocked.Read(ref _vanished);

    /// <summary>Rows skipped because the kernel refused access.</summary>
    public long Denied => Interlocked.Read(ref _denied);

    /// <summary>Rows skipped because the kernel's text or message could not be understood.</summary>
    public long Malformed => Interlocked.Read(ref _malformed);

    /// <summary>Events handed to subscribers (once, however many subscribers there are).</summary>
    public long EventsSent => Interlocked.Read(ref _eventsSent);

    /// <summary>Events that a subscriber's full buffer lost, summed over subscribers.</summary>
    public long EventsDropped => Interlocked.Read(ref _eventsDropped);

    /// <summary>The last reason a row was skipped for (other than vanishing), for people.</summary>
    public string? LastProblem => _lastProblem;

    internal void Started() => Interlocked.Increment(ref _starts);

    internal void Failed() => Interlocked.Increment(ref _errors);

    internal void Stopped()
    {
        Interlocked.Exchange(ref _rows, 0);
        Interlocked.Exchange(ref _series, 0);
    }

    internal void Sampled(TimeSpan duration, long cpuNanoseconds, int rows, int metrics, in SampleSkips skips)
    {
        Interlocked.Increment(ref _samples);
        Interlocked.Exchange(ref _lastDurationTicks, duration.Ticks);
        Interlocked.Add(ref _durationTicks, duration.Ticks);
        Interlocked.Add(ref _cpuNanoseconds, cpuNanoseconds);
        Interlocked.Exchange(ref _rows, rows);
        Interlocked.Exchange(ref _series, (long)rows * metrics);
        if (skips.Any)
        {
            Interlocked.Add(ref _vanished, skips.Vanished);
            Interlocked.Add(ref _denied, skips.Denied);
            Interlocked.Add(ref _malformed, skips.Malformed);
            if (skips.LastProblem is { } problem) _lastProblem = problem;
        }
    }

    internal void Lost(int rows) => Interlocked.Add(ref _vanished, rows);

    internal void Worked(long cpuNanoseconds) => Interlocked.Add(ref _cpuNanoseconds, cpuNanoseconds);

    internal void EventSent() => Interlocked.Increment(ref _eventsSent);

    internal void EventDropped() => Interlocked.Increment(ref _eventsDropped);
}
