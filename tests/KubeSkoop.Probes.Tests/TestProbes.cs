using System.Collections.Concurrent;

namespace KubeSkoop.Probes.Tests;

/// <summary>A record with one of everything.</summary>
public struct TestRecord
{
    public Reading Opened;
    public double Level;
    public double Busy;
    public Log2Histogram Latency;

    public static MetricTable<TestRecord> Metrics { get; } = new()
    {
        { "kubeskoop.test.opened", MetricKind.Counter, "{open}", "Things opened.", static (in TestRecord r) => r.Opened, "test_opened" },
        { "kubeskoop.test.level", MetricKind.Gauge, "1", "A level.", static (in TestRecord r) => r.Level },
        { "kubeskoop.test.busy", MetricKind.Counter, "s", "Time spent.", static (in TestRecord r) => r.Busy },
    };

    public static MetricTable<TestRecord> WithHistogram { get; } = MakeWithHistogram();

    private static MetricTable<TestRecord> MakeWithHistogram()
    {
        var table = new MetricTable<TestRecord>
        {
            { "kubeskoop.test.opened", MetricKind.Counter, "{open}", "Things opened.", static (in TestRecord r) => r.Opened },
        };
        table.AddHistogram("kubeskoop.test.latency", "s", 1e-6, "Latency.", static (in TestRecord r) => ref r.Latency);
        return table;
    }
}

public sealed class TestProbeOptions : ProbeOptions
{
    public int Threshold { get; init; } = 10;

    public override IEnumerable<string> Validate()
    {
        if (Threshold < 0) yield return $"{nameof(Threshold)}: {Threshold} is negative; it must be 0 or more.";
    }
}

public sealed class OtherOptions : ProbeOptions;

/// <summary>A probe whose every step is the test's, and that counts what it holds.</summary>
public class TestProbe : MetricProbe<TestRecord>, IConfigurableProbe<TestProbeOptions>
{
    private readonly MetricTable<TestRecord> _metrics;
    private int _held;
    private int _mostHeld;
    private int _reads;

    public TestProbe(string name = "test", TimeProvider? clock = null, MetricTable<TestRecord>? metrics = null, params string[] aliases)
        : base(Describe(name, aliases), clock)
    {
        _metrics = metrics ?? TestRecord.Metrics;
    }

    public TestProbe(TimeProvider clock)
        : this("test", clock)
    {
    }

    public Func<CancellationToken, ValueTask<string?>> Starting { get; set; } = static _ => ValueTask.FromResult<string?>("test");

    public Func<ValueTask> Ending { get; set; } = static () => ValueTask.CompletedTask;

    public Action<SampleBatch<TestRecord>> Reading { get; set; } = static batch => batch.Add(SampleSubject.Node).Opened = 1;

    /// <summary>What the probe holds: 1 between a start and its stop, else 0.</summary>
    public int Held => Volatile.Read(ref _held);

    public int MostHeld => Volatile.Read(ref _mostHeld);

    /// <summary>Reads while nothing was held; must stay 0.</summary>
    public int ReadsWithoutHold { get; private set; }

    public int Reads => Volatile.Read(ref _reads);

    public TestProbeOptions Options { get; private set; } = new();

    public Type OptionsType => typeof(TestProbeOptions);

    public override MetricTable<TestRecord> Metrics => _metrics;

    public void Configure(ProbeOptions options)
    {
        if (Status.State == ProbeState.Running) throw new InvalidOperationException("The probe runs.");
        Options = (TestProbeOptions)options;
    }

    protected override async ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        int held = Interlocked.Increment(ref _held);
        if (held > _mostHeld) _mostHeld = held;
        return await Starting(cancellationToken);
    }

    protected override async ValueTask OnStopAsync()
    {
        Interlocked.Decrement(ref _held);
        await Ending();
    }

    protected override void Read(SampleBatch<TestRecord> batch)
    {
        Interlocked.Increment(ref _reads);
        if (Held != 1) ReadsWithoutHold++;
        Reading(batch);
    }

    private static ProbeDescriptor Describe(string name, string[] aliases) => new()
    {
        Name = name,
        Aliases = aliases,
        Source = ProbeSource.Other,
        Overhead = OverheadClass.Low,
        Purpose = "Tests.",
    };
}

public sealed record TestEvent(long Number) : ProbeEvent;

public sealed record OtherEvent(string Text) : ProbeEvent;

/// <summary>A probe that sends what the test tells it.</summary>
public sealed class TestEventProbe : EventProbe<TestEvent>
{
    public TestEventProbe(string name = "testevents", TimeProvider? clock = null)
        : base(new() { Name = name, Source = ProbeSource.Other, Overhead = OverheadClass.Low, Purpose = "Tests." }, clock)
    {
    }

    public bool Heard => HasSubscribers;

    public void Send(long number) =>
        Publish(new TestEvent(number) { Probe = Descriptor.Name, Timestamp = DateTimeOffset.UnixEpoch });

    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken) => ValueTask.FromResult<string?>(null);

    protected override ValueTask OnStopAsync() => ValueTask.CompletedTask;
}

/// <summary>A probe that yields a number, and an event whenever that is read.</summary>
public sealed class TestMetricEventProbe(string name = "testboth")
    : MetricEventProbe<TestRecord, TestEvent>(new() { Name = name, Source = ProbeSource.Other, Overhead = OverheadClass.Low, Purpose = "Tests." })
{
    private ulong _reads;

    public bool Heard => HasSubscribers;

    public override MetricTable<TestRecord> Metrics => TestRecord.Metrics;

    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken) => ValueTask.FromResult<string?>(null);

    protected override ValueTask OnStopAsync() => ValueTask.CompletedTask;

    protected override void Read(SampleBatch<TestRecord> batch)
    {
        batch.Add(SampleSubject.Node).Opened = ++_reads;
        Publish(new TestEvent((long)_reads) { Probe = Descriptor.Name, Timestamp = DateTimeOffset.UnixEpoch });
    }
}

/// <summary>Does nothing with what it is shown, and allocates nothing.</summary>
public sealed class NullVisitor : ISampleVisitor
{
    private int _visits;

    public int Visits => Volatile.Read(ref _visits);

    public void Visit<TRecord>(ProbeDescriptor probe, MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
        where TRecord : struct => Interlocked.Increment(ref _visits);
}

/// <summary>Keeps log lines.</summary>
public sealed class ListLogger<T> : Microsoft.Extensions.Logging.ILogger<T>
{
    public ConcurrentQueue<string> Lines { get; } = new();

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(Microsoft.Extensions.Logging.LogLevel logLevel) => true;

    public void Log<TState>(Microsoft.Extensions.Logging.LogLevel logLevel, Microsoft.Extensions.Logging.EventId eventId, TState state,
        Exception? exception, Func<TState, Exception?, string> formatter) => Lines.Enqueue($"{logLevel}: {formatter(state, exception)}");
}
