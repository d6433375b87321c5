using System.Globalization;
using System.Text.Json;
using KubeSkoop.Probes.Netlink;

namespace KubeSkoop.Exporter.Cli;

/// <summary><c>sample</c>: starts one probe, reads once, prints, stops.</summary>
internal static class SampleCommand
{
    /// <summary>There is no next sample that could bring what a budget has put off: everything is listed at once.</summary>
    internal static KeyValuePair<string, string?>[] DefaultsOf(string probe) => !TcpSummaryProbe.About.Answers(probe) ? [] : [new($"{TcpSummaryOptions.SectionName}:{nameof(TcpSummaryOptions.Budget)}", "00:00:10")];

    internal static async Task<int> RunAsync(CliHost host, IConfiguration configuration, string name, string? netns, bool json, CancellationToken cancellationToken)
    {
        await using ServiceProvider services = ExporterServices.BuildForCommand(host, configuration);
        await services.NamePodsAsync(cancellationToken);
        var manager = services.GetRequiredService<IProbeManager>();
        if (manager.Find(name) is not IMetricProbe)
        {
            throw new UnknownProbeException(name, manager.Probes.Where(static p => p is IMetricProbe).Select(static p => p.Descriptor.Name));
        }
        await using ProbeLease lease = await manager.StartAsync(name, null, cancellationToken);
        var reading = new SampleReading();
        DateTimeOffset taken = host.Clock.GetUtcNow();
        ((IMetricProbe)lease.Probe).Collect(reading);

        var namespaces = services.GetService<INetworkNamespaceSource>();
        IReadOnlyList<SampleReading.Row> rows = reading.Rows;
        if (netns is not null)
        {
            var choice = new NamespaceChoice(namespaces, configuration);
            if (rows.Count > 0 && rows.All(static r => r.Inode is null)) throw new UsageException($"The probe {lease.Probe.Descriptor.Name} counts for the whole node, not per namespace; leave out --netns.");
            uint inode = choice.Resolve(netns, rows);
            rows = [.. rows.Where(r => r.Inode == inode)];
        }
        if (reading.Rows.SelectMany(static r => r.Values).FirstOrDefault(static v => v.Name == "postponed") is { Number: { Kind: MetricValueKind.UInt64, UInt64: > 0 } postponed })
            host.Errors.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{postponed.UInt64} namespaces have no numbers yet: the time {TcpSummaryOptions.SectionName}:{nameof(TcpSummaryOptions.Budget)} allows was used up."));
        if (json) WriteJson(host.Output, lease.Probe.Descriptor.Name, taken, rows);
        else WriteTable(host, rows);
        if (lease.Probe.Descriptor.Source == ProbeSource.Ebpf)
        {
            string how = lease.Probe is IEventProbe ? $"'watch --probe {lease.Probe.Descriptor.Name}', or " : string.Empty;
            host.Errors.WriteLine($"{lease.Probe.Descriptor.Name} counts what happens while it runs, and was started for this reading: see {how}/metrics of 'serve'.");
            if (WatchCommand.WhatIsMissing(lease.Probe) is { } missing) host.Errors.WriteLine(missing);
        }
        // Namespaces that cannot be seen are nobody's concern who asked for one of the others.
        if (netns is null && namespaces?.Problem is { } hidden) host.Errors.WriteLine(Metrics.SafeText.Clean(hidden));
        if (lease.Probe.Statistics.LastProblem is { } problem && problem != namespaces?.Problem) host.Errors.WriteLine($"Some rows are missing: {Metrics.SafeText.Clean(problem)}");
        return ExitCodes.Ok;
    }

    private static void WriteJson(TextWriter output, string probe, DateTimeOffset taken, IReadOnlyList<SampleReading.Row> rows) => JsonOutput.Write(output, json =>
    {
        json.WriteString("probe", probe);
        json.WriteString("taken", taken);
        json.WriteStartArray("rows");
        foreach (SampleReading.Row row in rows)
        {
            json.WriteStartObject();
            if (row.Inode is { } inode) json.WriteNumber("netns", inode);
            else json.WriteNull("netns");
            json.WriteString("namespace", row.Namespace);
            json.WriteString("pod", row.Pod);
            json.WriteStartObject("attributes");
            foreach (SampleAttribute attribute in row.Attributes) json.WriteString(attribute.Name, attribute.Value);
            json.WriteEndObject();
            json.WriteStartObject("values");
            foreach (SampleReading.Value value in row.Values)
            {
                json.WritePropertyName(value.Name);
                if (value.Histogram is { } histogram) WriteHistogram(json, in histogram, value.Scale);
                else if (value.Number.Kind == MetricValueKind.UInt64) json.WriteNumberValue(value.Number.UInt64);
                else json.WriteNumberValue(value.Number.AsDouble());
            }
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
    });

    // Cumulative buckets by inclusive upper bound, as in Prometheus; the last, unbounded one is the count.
    private static void WriteHistogram(Utf8JsonWriter json, in Log2Histogram histogram, double scale)
    {
        json.WriteStartObject();
        json.WriteNumber("count", histogram.Count);
        json.WriteNumber("sum", histogram.Sum * scale);
        json.WriteStartArray("buckets");
        ulong cumulative = 0;
        for (int i = 0; i < Log2Histogram.BucketCount - 1; i++)
        {
            cumulative += histogram[i];
            json.WriteStartObject();
            json.WriteNumber("le", Log2Histogram.UpperBound(i) * scale);
            json.WriteNumber("count", cumulative);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteTable(CliHost host, IReadOnlyList<SampleReading.Row> rows)
    {
        var table = new TextTable("Namespace", "Inode", "Pod", "Attributes", "Metric", "Value", "Unit");
        foreach (SampleReading.Row row in rows)
        {
            string inode = row.Inode?.ToString(CultureInfo.InvariantCulture) ?? "-";
            string attributes = row.Attributes.Count == 0 ? "-" : string.Join(' ', row.Attributes.Select(static a => $"{a.Name}={a.Value}"));
            foreach (SampleReading.Value value in row.Values)
            {
                string text = value.Histogram is { } histogram
                    ? string.Create(CultureInfo.InvariantCulture, $"{histogram.Count} observations, sum {histogram.Sum * value.Scale}")
                    : value.Number.Kind == MetricValueKind.UInt64 ? value.Number.UInt64.ToString(CultureInfo.InvariantCulture)
                    : value.Number.AsDouble().ToString(CultureInfo.InvariantCulture);
                table.Add(row.Namespace ?? "node", inode, row.Pod ?? "-", attributes, value.Name, text, UnitOf(value.Unit));
            }
        }
        table.Write(host);
    }

    // UCUM, as people say it.
    private static string UnitOf(string unit) => unit switch
    {
        "1" or "" => "-",
        "By" => "bytes",
        ['{', .. var what, '}'] => what,
        _ => unit,
    };
}
