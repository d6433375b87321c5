using System.Text;
using KubeSkoop.Exporter.Metrics;

namespace KubeSkoop.Exporter.Cli;

/// <summary><c>docs</c>: the probes' reference, made from their descriptors so that it cannot drift.</summary>
internal static class DocsCommand
{
    internal static async Task<int> RunAsync(CliHost host, IConfiguration configuration, string directory)
    {
        await using ServiceProvider services = new ServiceCollection().AddExporterProbes(configuration, host.Probes).BuildServiceProvider();
        string page = Page([.. services.GetRequiredService<IProbeManager>().Probes.Select(static p => p.Descriptor)]);
        try
        {
            Directory.CreateDirectory(directory);
            string file = Path.Combine(directory, "probes.md");
            await File.WriteAllTextAsync(file, page, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false));
            host.Errors.WriteLine($"Wrote {file}.");
            return ExitCodes.Ok;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            host.Errors.WriteLine($"Cannot write below {directory}: {e.Message}");
            return ExitCodes.Failed;
        }
    }

    private static string Page(ProbeDescriptor[] probes)
    {
        var page = new StringBuilder();
        Line(page, "# Probes");
        Line(page, "");
        Line(page, "Made from the probes' descriptors by `./test.sh --update-docs`; do not edit.");
        Line(page, "");
        Line(page, "| probe | source | overhead | metrics | purpose |");
        Line(page, "|---|---|---|---|---|");
        foreach (ProbeDescriptor probe in probes)
            Line(page, $"| [{probe.Name}](#{probe.Name}) | {Word(probe.Source)} | {Word(probe.Overhead)} | {probe.Metrics.Count} | {Cell(probe.Purpose)} |");
        foreach (ProbeDescriptor probe in probes) Section(page, probe);
        return page.ToString();
    }

    private static void Section(StringBuilder page, ProbeDescriptor probe)
    {
        Line(page, "");
        Line(page, $"## {probe.Name}");
        Line(page, "");
        Line(page, probe.Purpose);
        if (probe.Aliases.Count > 0) Line(page, $"\nAlso answers to: {string.Join(", ", probe.Aliases)}.");
        List(page, "Finds", probe.Finds);
        List(page, "Reads", probe.KernelSources);
        List(page, "Needs", probe.Requirements);
        List(page, "Notes", probe.Notes);
        Table(page, "attribute | values", probe.Attributes.Select(static a => $"`{a.Name}` | {Cell(a.Description)}"));
        Table(page, "setting | type | default | what it does", probe.Options.Select(static o => $"`{o.Name}` | {Cell(o.Type)} | `{o.Default}` | {Cell(o.Description)}"));
        Table(page, "metric | kind | unit | Prometheus name | upstream's name | what it is", probe.Metrics.Select(static m =>
            $"`{m.Name}` | {m.Kind.ToString().ToLowerInvariant()} | `{m.Unit}` | `{PrometheusName(m)}` | {(m.UpstreamName is null ? "" : $"`{m.UpstreamName}`")} | {Cell(m.Description)}"));
        Table(page, "event | what it is", probe.Events.Select(static e => $"`{e.Name}` | {Cell(e.Description)}"));
    }

    private static string PrometheusName(MetricDescriptor metric) =>
        PrometheusNames.Family(metric.Name, metric.Kind, metric.Unit) + (metric.Kind == MetricKind.Counter ? "_total" : "");

    private static void List(StringBuilder page, string title, IReadOnlyList<string> lines)
    {
        if (lines.Count == 0) return;
        Line(page, $"\n{title}:\n");
        foreach (string line in lines) Line(page, $"- {line}");
    }

    private static void Table(StringBuilder page, string head, IEnumerable<string> rows)
    {
        string[] lines = [.. rows];
        if (lines.Length == 0) return;
        Line(page, $"\n| {head} |");
        Line(page, $"|{string.Concat(Enumerable.Repeat("---|", head.Count(static c => c == '|') + 1))}");
        foreach (string line in lines) Line(page, $"| {line} |");
    }

    private static string Cell(string text) => text.Replace("|", "\\|", StringComparison.Ordinal).ReplaceLineEndings(" ");

    private static void Line(StringBuilder page, string line) => page.Append(line).Append('\n');

    private static string Word(Enum value) => value.ToString().ToLowerInvariant();
}
