namespace KubeSkoop.Probes.Lifecycle;

/// <summary>What a probe reports about itself.</summary>
public struct ProbeSelfRecord
{
    /// <summary>The probe's <see cref="ProbeState"/> as a number.</summary>
    public ulong State;

    /// <summary>Samples taken since the process began.</summary>
    public ulong Samples;

    /// <summary>Samples and starts that failed.</summary>
    public ulong Errors;

    /// <summary>Duration of the last sample in seconds.</summary>
    public double LastSampleSeconds;

    /// <summary>CPU time spent in samples, in seconds.</summary>
    public double CpuSeconds;

    /// <summary>Series of the last sample.</summary>
    public ulong Series;

    /// <summary>Rows skipped because their subject ended meanwhile.</summary>
    public ulong RowsVanished;

    /// <summary>Rows skipped because the kernel refused access.</summary>
    public ulong RowsDenied;

    /// <summary>Rows skipped because the kernel's answer was not understood.</summary>
    public ulong RowsMalformed;

    /// <summary>Events handed to subscribers.</summary>
    public ulong EventsSent;

    /// <summary>Events lost by full subscriber buffers.</summary>
    public ulong EventsDropped;

    /// <summary>Runs of the probe's programs in the kernel; absent where it has none, or they are not measured.</summary>
    public Reading KernelRuns;

    /// <summary>CPU time of those runs, in nanoseconds.</summary>
    public Reading KernelNanoseconds;

    /// <summary>Events the kernel did not send because of the probe's limit.</summary>
    public Reading EventsSuppressed;

    /// <summary>Events the kernel had no room for.</summary>
    public Reading EventsLost;

    /// <summary>Hits the kernel had no room to count for.</summary>
    public Reading Uncounted;

    /// <summary>Hits for which the kernel did not run the program.</summary>
    public Reading Missed;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<ProbeSelfRecord> Metrics { get; } = new()
    {
        { "kubeskoop.probe.state", MetricKind.Gauge, "1", "State of the probe: 0 stopped, 1 starting, 2 running, 3 stopping, 4 failed, 5 unavailable.", static (in ProbeSelfRecord r) => r.State },
        { "kubeskoop.probe.samples", MetricKind.Counter, "{sample}", "Samples taken.", static (in ProbeSelfRecord r) => r.Samples },
        { "kubeskoop.probe.errors", MetricKind.Counter, "{error}", "Samples and starts that failed.", static (in ProbeSelfRecord r) => r.Errors },
        { "kubeskoop.probe.sample.duration", MetricKind.Gauge, "s", "Duration of the last sample.", static (in ProbeSelfRecord r) => r.LastSampleSeconds },
        { "kubeskoop.probe.cpu.time", MetricKind.Counter, "s", "CPU time, user and kernel, spent in samples and in the background.", static (in ProbeSelfRecord r) => r.CpuSeconds },
        { "kubeskoop.probe.series", MetricKind.Gauge, "{series}", "Most series the last sample can give: its rows times the metrics; a number that is absent has none.", static (in ProbeSelfRecord r) => r.Series },
        { "kubeskoop.probe.rows.vanished", MetricKind.Counter, "{row}", "Rows skipped because their process, namespace or device ended meanwhile.", static (in ProbeSelfRecord r) => r.RowsVanished },
        { "kubeskoop.probe.rows.denied", MetricKind.Counter, "{row}", "Rows skipped because the kernel refused access.", static (in ProbeSelfRecord r) => r.RowsDenied },
        { "kubeskoop.probe.rows.malformed", MetricKind.Counter, "{row}", "Rows skipped because the kernel's answer was not understood.", static (in ProbeSelfRecord r) => r.RowsMalformed },
        { "kubeskoop.probe.events.sent", MetricKind.Counter, "{event}", "Events handed to subscribers.", static (in ProbeSelfRecord r) => r.EventsSent },
        { "kubeskoop.probe.events.dropped", MetricKind.Counter, "{event}", "Events lost because a subscriber's buffer was full.", static (in ProbeSelfRecord r) => r.EventsDropped },
        { "kubeskoop.probe.kernel.runs", MetricKind.Counter, "{run}", "Runs of the probe's programs in the kernel, for all the time: what is measured now and then stands for the rest. Absent where the kernel does not measure.", static (in ProbeSelfRecord r) => r.KernelRuns },
        { "kubeskoop.probe.kernel.time", MetricKind.Counter, "s", "CPU time of those runs.", static (in ProbeSelfRecord r) => r.KernelNanoseconds.HasValue ? r.KernelNanoseconds.Value / 1e9 : MetricValue.Absent },
        { "kubeskoop.probe.events.suppressed", MetricKind.Counter, "{event}", "Events the kernel did not send because of the probe's limit.", static (in ProbeSelfRecord r) => r.EventsSuppressed },
        { "kubeskoop.probe.events.lost", MetricKind.Counter, "{event}", "Events the kernel had no room for in the ring buffer.", static (in ProbeSelfRecord r) => r.EventsLost },
        { "kubeskoop.probe.uncounted", MetricKind.Counter, "{hit}", "Hits that had no room in the kernel: more network namespaces than the probe has room for, or more at once of what it follows.", static (in ProbeSelfRecord r) => r.Uncounted },
        { "kubeskoop.probe.missed", MetricKind.Counter, "{hit}", "Hits for which the kernel did not run the probe's program, because it interrupted itself.", static (in ProbeSelfRecord r) => r.Missed },
    };
}

/// <summary>Publishes every probe's state, cost, rows and drops like any other metric.</summary>
internal sealed class SelfProbe(Func<IReadOnlyList<IProbe>> probes, TimeProvider clock) : MetricProbe<ProbeSelfRecord>(About, clock)
{
    internal const string Name = "probe";

    private static readonly ProbeDescriptor About = new()
    {
        Name = Name,
        Source = ProbeSource.Other,
        Overhead = OverheadClass.Low,
        Purpose = "State, cost, rows and drops of every probe.",
        Finds = ["A probe that failed, is unavailable, costs too much or loses rows or events."],
        KernelSources = ["The SDK itself."],
        Attributes = [new(AttributeNames.Probe, "The probe's name.")],
        Metrics = ProbeSelfRecord.Metrics.Describe(),
    };

    private SampleSubject[] _subjects = [];
    private IReadOnlyList<IProbe> _probes = [];

    public override MetricTable<ProbeSelfRecord> Metrics => ProbeSelfRecord.Metrics;

    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        _probes = probes();
        _subjects = [.. _probes.Select(static p => new SampleSubject(null, new SampleAttribute(AttributeNames.Probe, p.Descriptor.Name)))];
        return ValueTask.FromResult<string?>("self");
    }

    protected override ValueTask OnStopAsync()
    {
        _probes = [];
        _subjects = [];
        return ValueTask.CompletedTask;
    }

    protected override void Read(SampleBatch<ProbeSelfRecord> batch)
    {
        for (int i = 0; i < _probes.Count; i++)
        {
            ProbeStatistics s = _probes[i].Statistics;
            ref ProbeSelfRecord row = ref batch.Add(_subjects[i]);
            row.State = (ulong)_probes[i].Status.State;
            row.Samples = (ulong)s.Samples;
            row.Errors = (ulong)s.Errors;
            row.LastSampleSeconds = s.LastSampleDuration.TotalSeconds;
            row.CpuSeconds = s.SampleCpuTime.TotalSeconds;
            row.Series = (ulong)s.Series;
            row.RowsVanished = (ulong)s.Vanished;
            row.RowsDenied = (ulong)s.Denied;
            row.RowsMalformed = (ulong)s.Malformed;
            row.EventsSent = (ulong)s.EventsSent;
            row.EventsDropped = (ulong)s.EventsDropped;
            if (_probes[i] is not IKernelProgramProbe programs) continue;
            KernelProgramStatistics k = programs.ReadKernelStatistics();
            if (k.Runs is { } runs) row.KernelRuns = (ulong)runs;
            if (k.RunTime is { } time) row.KernelNanoseconds = (ulong)(time.Ticks * TimeSpan.NanosecondsPerTick);
            row.EventsSuppressed = (ulong)k.EventsSuppressed;
            row.EventsLost = (ulong)k.EventsLost;
            row.Uncounted = (ulong)k.Uncounted;
            row.Missed = (ulong)k.Missed;
        }
    }
}
