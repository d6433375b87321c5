using System.Diagnostics.Metrics;
using System.Globalization;
using KubeSkoop.Exporter;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using OpenTelemetry.Metrics;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>
/// One side of the scrape comparison, a process of its own: serves the series at <c>/metrics</c> and tells on stdout what
/// it has cost, whenever it is asked on stdin.
/// </summary>
internal static class ScrapeServer
{
    internal static int Run(Arguments args)
    {
        var series = new ScrapeSeries(args.Number("--metrics", 0), args.Number("--pods", 0));
        int port = args.Text("--side") switch
        {
            "ours" => ServeOurs(series),
            "prometheus-net" => ServePrometheusNet(series),
            "opentelemetry" => ServeOpenTelemetry(series),
            var other => throw new ArgumentException($"There is no side '{other}'."),
        };
        Console.WriteLine(port.ToString(CultureInfo.InvariantCulture));
        while (Console.ReadLine() is not null)
            Turns.Print($"{CpuClock.ProcessNanoseconds()} {GC.GetTotalAllocatedBytes(precise: true)} {Environment.WorkingSet}");
        return 0;
    }

    private static int ServeOurs(ScrapeSeries series)
    {
        IConfiguration configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["KubeSkoop:Probes:Enabled"] = ScrapeProbe.About.Name,
            ["KubeSkoop:Probes:NodeName"] = ScrapeSeries.Node,
            ["KubeSkoop:Exporter:Port"] = "0",
        }).Build();
        ExporterApp app = ExporterApp.Create(configuration, Console.Error, probes =>
        {
            probes.Services.AddSingleton(series);
            probes.AddProbe<ScrapeProbe>();
        });
        app.StartAsync(CancellationToken.None).GetAwaiter().GetResult();
        return app.Address.Port;
    }

    /// <summary>The series as counters of prometheus-net, set to new values before each collection.</summary>
    internal static Prometheus.CollectorRegistry PrometheusNetRegistry(ScrapeSeries series)
    {
        Prometheus.CollectorRegistry registry = Prometheus.Metrics.NewCustomRegistry();
        Prometheus.MetricFactory factory = Prometheus.Metrics.WithCustomRegistry(registry);
        var counters = new Prometheus.Counter.Child[series.Metrics, series.Pods];
        for (int metric = 0; metric < series.Metrics; metric++)
        {
            Prometheus.Counter counter = factory.CreateCounter(ScrapeSeries.PrometheusName(metric), ScrapeSeries.Description,
                "k8s_node_name", "k8s_namespace_name", "k8s_pod_name");
            for (int pod = 0; pod < series.Pods; pod++)
                counters[metric, pod] = counter.WithLabels(ScrapeSeries.Node, ScrapeSeries.Pod(pod).Namespace, ScrapeSeries.Pod(pod).Name);
        }
        registry.AddBeforeCollectCallback(() =>
        {
            series.Advance();
            for (int metric = 0; metric < series.Metrics; metric++)
                for (int pod = 0; pod < series.Pods; pod++) counters[metric, pod].IncTo(series[metric, pod]);
        });
        return registry;
    }

    private static int ServePrometheusNet(ScrapeSeries series)
    {
        Prometheus.CollectorRegistry registry = PrometheusNetRegistry(series);
        WebApplication app = Build(static _ => { });
        app.MapGet("/metrics", async (HttpContext context) =>
        {
            context.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
            await registry.CollectAndExportAsTextAsync(context.Response.Body, Prometheus.ExpositionFormat.PrometheusText, context.RequestAborted);
        });
        return Start(app);
    }

    private static int ServeOpenTelemetry(ScrapeSeries series)
    {
        WebApplication app = Build(services => services.AddOpenTelemetry().WithMetrics(metrics => metrics
            .AddMeter("bench")
            .AddView(_ => new MetricStreamConfiguration { CardinalityLimit = series.Pods + 10 })
            .AddPrometheusExporter(static options => options.ScrapeResponseCacheDurationMilliseconds = 0)));
        KeyValuePair<string, object?>[][] tags = [.. Enumerable.Range(0, series.Pods).Select(static pod => (KeyValuePair<string, object?>[])
        [
            new("k8s.node.name", ScrapeSeries.Node),
            new("k8s.namespace.name", ScrapeSeries.Pod(pod).Namespace),
            new("k8s.pod.name", ScrapeSeries.Pod(pod).Name),
        ])];
        var meter = new Meter("bench");
        for (int i = 0; i < series.Metrics; i++)
        {
            int metric = i;
            meter.CreateObservableCounter(ScrapeSeries.Name(i), () => Observe(metric), ScrapeSeries.Unit, ScrapeSeries.Description);
        }
        app.MapPrometheusScrapingEndpoint();
        return Start(app);

        IEnumerable<Measurement<long>> Observe(int metric)
        {
            if (metric == 0) series.Advance();
            for (int pod = 0; pod < series.Pods; pod++) yield return new Measurement<long>(series[metric, pod], tags[pod]);
        }
    }

    private static WebApplication Build(Action<IServiceCollection> configure)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        configure(builder.Services);
        return builder.Build();
    }

    private static int Start(WebApplication app)
    {
        app.StartAsync().GetAwaiter().GetResult();
        return new Uri(app.Urls.First()).Port;
    }
}
