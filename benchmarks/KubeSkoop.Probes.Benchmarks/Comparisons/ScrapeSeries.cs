using System.Globalization;
using System.Runtime.CompilerServices;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>Counters of imaginary pods: what every side of the scrape comparison publishes, with the same names and labels.</summary>
internal sealed class ScrapeSeries(int metrics, int pods)
{
    internal const string Node = "node-1";
    internal const string Description = "One of the counters.";
    internal const string Unit = "{packet}";

    private readonly long[] _values = new long[metrics * pods];
    private long _round;

    internal int Metrics => metrics;

    internal int Pods => pods;

    /// <summary>The value of one metric of one pod.</summary>
    internal long this[int metric, int pod] => _values[metric * pods + pod];

    internal static string Name(int metric) => string.Create(CultureInfo.InvariantCulture, $"kubeskoop.bench.counter_{metric}");

    internal static string PrometheusName(int metric) => Name(metric).Replace('.', '_') + "_total";

    internal static PodIdentity Pod(int pod) => new(
        string.Create(CultureInfo.InvariantCulture, $"namespace-{pod % 20}"),
        string.Create(CultureInfo.InvariantCulture, $"deployment-5d9c7bd8f6-{pod:x5}"));

    /// <summary>New values, as a scrape finds them.</summary>
    internal void Advance()
    {
        _round++;
        for (int i = 0; i < _values.Length; i++) _values[i] += _round * 17 + i;
    }
}

/// <summary>The values of one pod.</summary>
internal struct ScrapeRecord
{
    internal const int Most = 100;

    internal Counters Values;

    internal static MetricTable<ScrapeRecord> Table(int metrics)
    {
        var table = new MetricTable<ScrapeRecord>();
        for (int i = 0; i < metrics; i++)
        {
            int index = i;
            table.Add(ScrapeSeries.Name(i), MetricKind.Counter, ScrapeSeries.Unit, ScrapeSeries.Description, (in ScrapeRecord r) => r.Values[index]);
        }
        return table;
    }

    [InlineArray(Most)]
    internal struct Counters
    {
        private Reading _first;
    }
}

/// <summary>Publishes the series through the SDK.</summary>
internal sealed class ScrapeProbe(ScrapeSeries series) : MetricProbe<ScrapeRecord>(About)
{
    private readonly SampleSubject[] _subjects = [.. Enumerable.Range(0, series.Pods).Select(static p => new SampleSubject(null, ScrapeSeries.Pod(p)))];

    internal static ProbeDescriptor About { get; } = new()
    {
        Name = "bench",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "Counters of imaginary pods.",
    };

    public override MetricTable<ScrapeRecord> Metrics { get; } = ScrapeRecord.Table(series.Metrics);

    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken) => ValueTask.FromResult<string?>("memory");

    protected override ValueTask OnStopAsync() => ValueTask.CompletedTask;

    protected override void Read(SampleBatch<ScrapeRecord> batch)
    {
        series.Advance();
        for (int pod = 0; pod < _subjects.Length; pod++)
        {
            ref ScrapeRecord record = ref batch.Add(_subjects[pod]);
            for (int metric = 0; metric < series.Metrics; metric++) record.Values[metric] = (ulong)series[metric, pod];
        }
    }
}
