using System.Net.Sockets;
using KubeSkoop.Exporter.Configuration;
using KubeSkoop.Exporter.Http;
using KubeSkoop.Exporter.Logging;
using KubeSkoop.Exporter.Metrics;
using KubeSkoop.Probes.Kubernetes;
using KubeSkoop.Probes.Netlink;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;

namespace KubeSkoop.Exporter;

/// <summary>The exporter could not listen. The message is for people.</summary>
internal sealed class AddressException(string message) : Exception(message);

/// <summary>The server: probes, their numbers over HTTP, and nothing else.</summary>
internal sealed class ExporterApp : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly MetricsEndpoint _metrics;
    private readonly StatusEndpoint _status;
    private readonly ControlEndpoint _control;
    private readonly EventsEndpoint _events;
    private readonly ExporterOptions _options;

    private ExporterApp(WebApplication app, ExporterOptions options, TimeProvider clock)
    {
        _app = app;
        _options = options;
        Manager = app.Services.GetRequiredService<IProbeManager>();
        Namespaces = app.Services.GetService<INetworkNamespaceSource>();
        string node = app.Services.GetRequiredService<IOptions<ProbesOptions>>().Value.ResolvedNodeName;
        Problems = ConfigurationCheck.UnknownKeys(app.Services.GetRequiredService<IConfiguration>(), Manager.Probes.Select(static p => p.Descriptor), ExporterServices.PackageSections);
        var writer = new PrometheusWriter(options.MetricNaming(), node);
        _metrics = new MetricsEndpoint(Manager, writer, options.MetricNaming());
        _status = new StatusEndpoint(Manager, app.Services.GetRequiredService<HealthCheckService>(), options, node, Problems, Namespaces, app.Services.GetService<NetlinkSockets>(), app.Services.GetService<PodDirectory>(), writer);
        _control = new ControlEndpoint(Manager, options);
        _events = new EventsEndpoint(Manager, app.Lifetime, clock);
        app.Run(AnswerAsync);
    }

    /// <summary>The version, as packed.</summary>
    internal static string Version { get; } = typeof(ExporterApp).Assembly.GetName().Version?.ToString(3) ?? "0";

    internal IProbeManager Manager { get; }

    /// <summary>What is wrong with the configuration without keeping the exporter from running.</summary>
    internal IReadOnlyList<string> Problems { get; }

    /// <summary>The namespaces, where a package finds them.</summary>
    internal INetworkNamespaceSource? Namespaces { get; }

    /// <summary>Where it listens, once started.</summary>
    internal Uri Address { get; private set; } = null!;

    /// <summary>Puts the server together; starts nothing.</summary>
    /// <exception cref="ConfigurationException">A setting is wrong.</exception>
    internal static ExporterApp Create(IConfiguration configuration, TextWriter errors, Action<IProbesBuilder> probes, TimeProvider? clock = null)
    {
        ExporterOptions options = Options(configuration);
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ApplicationName = "KubeSkoop.Exporter" });
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = 0;
            kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);
            // Connections that say nothing must not keep a scrape out.
            kestrel.Limits.KeepAliveTimeout = TimeSpan.FromSeconds(75);
            kestrel.Limits.MaxConcurrentConnections = 1024;
            if (options.Listen is "*" or "+") kestrel.ListenAnyIP(options.Port);
            else kestrel.Listen(options.ListenAddress()!, options.Port);
        });
        builder.Logging.AddProvider(new LineLoggerProvider(errors, TimeProvider.System));
        // The host logs a failed start with its stack; we say it in a sentence ourselves.
        builder.Logging.AddFilter(static (category, level) => category?.StartsWith("Microsoft.Extensions.Hosting", StringComparison.Ordinal) != true
            && level >= (category?.StartsWith("KubeSkoop", StringComparison.Ordinal) == true ? LogLevel.Warning : LogLevel.Error));
        builder.Services.Configure<HostOptions>(static host => host.ShutdownTimeout = TimeSpan.FromMilliseconds(700));
        builder.Services.AddExporterProbes(configuration, probes);
        builder.Services.AddHealthChecks().AddKubeSkoopProbes();
        builder.Services.AddHostedService<Events.TroubleLog>();
        if (options.OtlpEndpoint() is { } receiver) AddOtlp(builder.Services, receiver, options);
        return new ExporterApp(builder.Build(), options, clock ?? TimeProvider.System);
    }

    /// <summary>Starts the probes and listens.</summary>
    /// <exception cref="AddressException">The address is taken, or may not be used.</exception>
    internal async Task StartAsync(CancellationToken cancellationToken)
    {
        try
        {
            await _app.StartAsync(cancellationToken);
        }
        catch (IOException e) when (e.InnerException is AddressInUseException)
        {
            throw new AddressException($"Port {_options.Port} on {_options.Listen} is taken by another process; choose another with --port, or stop that process (ss -ltnp shows it).");
        }
        catch (SocketException e)
        {
            throw new AddressException($"Cannot listen on {_options.Listen}, port {_options.Port}: {e.Message}; choose another address with --listen or --port.");
        }
        string address = _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        Address = new Uri(address);
    }

    internal Task WaitForShutdownAsync(CancellationToken cancellationToken) => _app.WaitForShutdownAsync(cancellationToken);

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _metrics.Dispose();
    }

    private static ExporterOptions Options(IConfiguration configuration)
    {
        var options = new ExporterOptions();
        try
        {
            configuration.GetSection(ExporterOptions.SectionName).Bind(options);
        }
        catch (InvalidOperationException e)
        {
            throw new ConfigurationException(e.Message);
        }
        string[] mistakes = [.. options.Validate()];
        return mistakes.Length == 0 ? options : throw new ConfigurationException(string.Join(Environment.NewLine, mistakes));
    }

    // The other way to the same numbers: the probes' meters, for whoever runs OpenTelemetry already. See the README for
    // what it costs: OpenTelemetry keeps every series it has once seen.
    private static void AddOtlp(IServiceCollection services, Uri receiver, ExporterOptions options) =>
        services.AddOpenTelemetry()
            .ConfigureResource(static resource => resource.AddService("kubeskoop-exporter", serviceVersion: Version))
            .WithMetrics(metrics => metrics
                .AddMeter("KubeSkoop.Probes.*")
                .AddView("*", new MetricStreamConfiguration { CardinalityLimit = options.OtlpSeriesPerInstrument })
                .AddOtlpExporter((otlp, reader) =>
                {
                    otlp.Protocol = OtlpExportProtocol.HttpProtobuf;
                    otlp.Endpoint = receiver.AbsolutePath == "/" ? new Uri(receiver, "/v1/metrics") : receiver;
                    reader.PeriodicExportingMetricReaderOptions.ExportIntervalMilliseconds = (int)options.OtlpInterval.TotalMilliseconds;
                }));

    // No routing, no middleware: a handful of fixed paths.
    private Task AnswerAsync(HttpContext context)
    {
        string path = context.Request.Path.Value ?? "/";
        if (path.StartsWith(ControlEndpoint.Prefix, StringComparison.Ordinal)) return _control.AnswerAsync(context, path[ControlEndpoint.Prefix.Length..]);
        if (path is not ("/metrics" or "/events" or "/status" or "/healthz" or "/readyz" or "/")) return TextAsync(context, StatusCodes.Status404NotFound, "Not found. See /\n");
        if (!HttpMethods.IsGet(context.Request.Method) && !HttpMethods.IsHead(context.Request.Method))
        {
            context.Response.Headers.Allow = "GET, HEAD";
            return TextAsync(context, StatusCodes.Status405MethodNotAllowed, "Use GET.\n");
        }
        return path switch
        {
            "/metrics" => _metrics.AnswerAsync(context),
            "/events" => _events.AnswerAsync(context),
            "/status" => _status.AnswerAsync(context),
            "/readyz" => _status.AnswerReadyAsync(context),
            "/healthz" => TextAsync(context, StatusCodes.Status200OK, "ok\n"),
            _ => TextAsync(context, StatusCodes.Status200OK, Page, "text/html; charset=utf-8"),
        };
    }

    private const string Page = """
        <!DOCTYPE html>
        <html lang="en"><head><meta charset="utf-8"><title>KubeSkoop.Exporter</title></head>
        <body><h1>KubeSkoop.Exporter</h1>
        <ul><li><a href="/metrics">metrics</a></li><li><a href="/events">events</a></li><li><a href="/status">status</a></li><li><a href="/readyz">ready?</a></li><li><a href="/healthz">alive?</a></li></ul>
        </body></html>

        """;

    private static Task TextAsync(HttpContext context, int status, string text, string contentType = "text/plain; charset=utf-8")
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = contentType;
        return context.Response.WriteAsync(text, context.RequestAborted);
    }
}
