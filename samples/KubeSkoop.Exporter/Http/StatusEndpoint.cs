using System.Text.Json;
using KubeSkoop.Exporter.Configuration;
using KubeSkoop.Exporter.Metrics;
using KubeSkoop.Probes.Kubernetes;
using KubeSkoop.Probes.Netlink;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace KubeSkoop.Exporter.Http;

/// <summary>
/// <c>/status</c>: what runs, what does not and why. The keys <c>inuse_probes</c> and <c>available_probes</c> are those of
/// KubeSkoop's own exporter; the rest is ours.
/// </summary>
internal sealed class StatusEndpoint(IProbeManager manager, HealthCheckService health, ExporterOptions options, string nodeName,
    IReadOnlyList<string> problems, INetworkNamespaceSource? namespaces, NetlinkSockets? netlink, PodDirectory? pods, PrometheusWriter writer)
{
    internal Task AnswerAsync(HttpContext context) => context.Response.WriteJsonAsync(StatusCodes.Status200OK, Write);

    /// <summary><c>/readyz</c>: 503 when probes were started and none runs.</summary>
    internal async Task AnswerReadyAsync(HttpContext context)
    {
        HealthReport report = await health.CheckHealthAsync(context.RequestAborted);
        context.Response.StatusCode = report.Status == HealthStatus.Unhealthy ? StatusCodes.Status503ServiceUnavailable : StatusCodes.Status200OK;
        context.Response.ContentType = "text/plain; charset=utf-8";
        var text = new StringWriter();
        text.Write($"{report.Status}\n");
        foreach (HealthReportEntry entry in report.Entries.Values)
        {
            if (entry.Description is { } description) text.Write($"{SafeText.Clean(description)}\n");
            foreach (var (name, value) in entry.Data) text.Write($"{name}: {SafeText.Clean(value.ToString() ?? string.Empty)}\n");
        }
        await context.Response.WriteAsync(text.ToString(), context.RequestAborted);
    }

    private void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject("inuse_probes");
        json.WriteStartArray("metrics");
        foreach (IProbe probe in manager.Probes.Where(static p => p is IMetricProbe && InUse(p))) WriteNameAndState(json, probe);
        json.WriteEndArray();
        json.WriteStartArray("event");
        foreach (IProbe probe in manager.Probes.Where(static p => p is IEventProbe && InUse(p))) WriteNameAndState(json, probe);
        json.WriteEndArray();
        json.WriteEndObject();

        json.WriteStartObject("available_probes");
        json.WriteStartArray("event");
        foreach (IProbe probe in manager.Probes.Where(static p => p is IEventProbe)) json.WriteStringValue(probe.Descriptor.Name);
        json.WriteEndArray();
        json.WriteStartArray("metrics");
        foreach (IProbe probe in manager.Probes.Where(static p => p is IMetricProbe)) json.WriteStringValue(probe.Descriptor.Name);
        json.WriteEndArray();
        json.WriteEndObject();

        json.WriteString("version", ExporterApp.Version);
        json.WriteString("node", nodeName);
        json.WriteString("naming", options.Naming.ToLowerInvariant());
        json.WriteString("last_fault", writer.LastFault);
        json.WriteStartArray("probes");
        foreach (IProbe probe in manager.Probes) WriteProbe(json, probe);
        json.WriteEndArray();
        json.WriteNumber("network_namespaces", namespaces?.Current.Count ?? 0);
        json.WriteString("network_namespaces_problem", namespaces?.Problem);
        if (pods?.Status is { } directory)
        {
            json.WriteStartObject("pods");
            json.WriteNumber("known", pods.Pods.Count(static p => p.Ended is null));
            json.WriteString("runtime", directory.Runtime);
            json.WriteString("endpoint", directory.Endpoint);
            json.WriteBoolean("events", directory.UsesEvents);
            if (directory.StaleSince is { } since) json.WriteString("stale_since", since);
            json.WriteString("problem", directory.Problem);
            if (directory.Cluster is { } cluster) Cli.PodsCommand.WriteCluster(json, cluster);
            json.WriteEndObject();
        }
        if (netlink?.Statistics is { } sockets)
        {
            json.WriteStartObject("netlink");
            json.WriteNumber("sockets_opened", sockets.SocketsOpened);
            json.WriteNumber("requests", sockets.Requests);
            json.WriteNumber("interrupted", sockets.Interrupted);
            json.WriteNumber("overruns", sockets.Overruns);
            json.WriteNumber("oversized", sockets.Oversized);
            json.WriteNumber("strangers", sockets.Strangers);
            json.WriteEndObject();
        }
        json.WriteStartArray("configuration_problems");
        foreach (string problem in problems.Concat(manager.ConfigurationProblems)) json.WriteStringValue(problem);
        json.WriteEndArray();
    }

    private static bool InUse(IProbe probe) => probe.Status.State != ProbeState.Stopped;

    private static void WriteNameAndState(Utf8JsonWriter json, IProbe probe)
    {
        json.WriteStartObject();
        json.WriteString("name", probe.Descriptor.Name);
        json.WriteString("state", probe.Status.State.ToString());
        json.WriteEndObject();
    }

    private static void WriteProbe(Utf8JsonWriter json, IProbe probe)
    {
        ProbeStatus status = probe.Status;
        ProbeStatistics statistics = probe.Statistics;
        json.WriteStartObject();
        json.WriteString("name", probe.Descriptor.Name);
        json.WriteString("state", status.State.ToString());
        json.WriteString("reason", status.Reason);
        json.WriteString("source", status.Source);
        json.WriteString("since", status.Since);
        json.WriteNumber("samples", statistics.Samples);
        json.WriteNumber("errors", statistics.Errors);
        json.WriteNumber("series", statistics.Series);
        json.WriteNumber("last_sample_seconds", statistics.LastSampleDuration.TotalSeconds);
        json.WriteNumber("cpu_seconds", statistics.SampleCpuTime.TotalSeconds);
        json.WriteNumber("rows_vanished", statistics.Vanished);
        json.WriteNumber("rows_denied", statistics.Denied);
        json.WriteNumber("rows_malformed", statistics.Malformed);
        json.WriteString("last_problem", statistics.LastProblem);
        json.WriteNumber("events_sent", statistics.EventsSent);
        json.WriteNumber("events_dropped", statistics.EventsDropped);
        if (probe is IKernelProgramProbe programs)
        {
            KernelProgramStatistics kernel = programs.ReadKernelStatistics();
            if (kernel.Runs is { } runs) json.WriteNumber("kernel_runs", runs);
            if (kernel.RunTime is { } time) json.WriteNumber("kernel_seconds", time.TotalSeconds);
            json.WriteString("kernel_cost_problem", kernel.CostProblem);
            json.WriteNumber("events_suppressed", kernel.EventsSuppressed);
            json.WriteNumber("events_lost", kernel.EventsLost);
            json.WriteNumber("uncounted", kernel.Uncounted);
            json.WriteNumber("missed", kernel.Missed);
        }
        json.WriteEndObject();
    }
}
