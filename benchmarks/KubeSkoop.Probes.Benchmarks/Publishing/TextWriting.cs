using BenchmarkDotNet.Attributes;
using KubeSkoop.Exporter.Metrics;
using KubeSkoop.Probes.Benchmarks.Comparisons;
using KubeSkoop.Probes.Lifecycle;

namespace KubeSkoop.Probes.Benchmarks.Publishing;

/// <summary>
/// Claim: writing the Prometheus text costs a copy and a number's digits per series, and allocates nothing per series.
/// The peer is prometheus-net's writer over as many counters; HTTP is left out here (see <c>bench.sh scrape</c>).
/// </summary>
public class TextWriting
{
    private readonly ScrapeBuffer _buffer = new();
    private ProbeManager _manager = null!;
    private PrometheusWriter _writer = null!;
    private Prometheus.CollectorRegistry _registry = null!;

    /// <summary>Series of the answer.</summary>
    [Params(1_000, 10_000)]
    public int Series { get; set; }

    /// <summary>The same names, labels and values for both.</summary>
    [GlobalSetup]
    public void Setup()
    {
        var series = new ScrapeSeries(ScrapeRecord.Most, Series / ScrapeRecord.Most);
        _manager = new ProbeManager([new ScrapeProbe(series)]);
        _ = _manager.StartAsync(ScrapeProbe.About.Name).GetAwaiter().GetResult();
        _writer = new PrometheusWriter(MetricNaming.OpenTelemetry, ScrapeSeries.Node);
        _registry = ScrapeServer.PrometheusNetRegistry(series);
    }

    /// <summary>The sample exporter's.</summary>
    [Benchmark(Baseline = true)]
    public long Ours()
    {
        _buffer.Reset();
        _writer.Write(_manager, _buffer, ExpositionFormat.PrometheusText);
        return _buffer.Length;
    }

    /// <summary>prometheus-net's.</summary>
    [Benchmark]
    public Task PrometheusNet() => _registry.CollectAndExportAsTextAsync(Stream.Null, Prometheus.ExpositionFormat.PrometheusText, CancellationToken.None);
}
