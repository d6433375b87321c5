using System.Globalization;
using System.Text;
using KubeSkoop.Exporter.Metrics;

namespace KubeSkoop.Exporter.Cli;

/// <summary><c>docs</c>: writes <c>probes.md</c> from the descriptors, so that the page cannot say anything else than the code.</summary>
internal static class DocsCommand
{
    private const string FileName = "probes.md";

    internal static async Task<int> RunAsync(CliHost host, string? directory)
    {
        // No configuration: the page is about the code, not about this machine.
        await using ServiceProvider services = new ServiceCollection()
            .AddExporterProbes(new ConfigurationBuilder().Build(), host.Probes)
            .BuildServiceProvider();
        string page = Page([.. services.GetRequiredService<IProbeManager>().Probes.Select(static p => p.Descriptor)]);
        if (directory is null)
        {
            await host.Output.WriteAsync(page);
            return ExitCodes.Ok;
        }
        Directory.CreateDirectory(directory);
        string path = Path.Combine(directory, FileName);
        await File.WriteAllTextAsync(path, page);
        host.Errors.WriteLine($"Wrote {path}.");
        return ExitCodes.Ok;
    }

    internal static string Page(IReadOnlyList<ProbeDescriptor> probes)
    {
        var page = new StringBuilder();
        Line(page, "# Probes");
        Line(page, "");
        Line(page, "Generated from the probes' own descriptors (`./test.sh --update-docs`); do not edit.");
        Line(page, "");
        Line(page, "| probe | source | overhead | purpose |");
        Line(page, "|---|---|---|---|");
        foreach (ProbeDescriptor probe in probes)
            Line(page, $"| [{probe.Name}](#{probe.Name}) | {Lower(probe.Source)} | {Lower(probe.Overhead)} | {Cell(probe.Purpose)} |");
        foreach (ProbeDescriptor probe in probes) Section(page, probe);
        return page.ToString();
    }

    private static void Section(StringBuilder page, ProbeDescriptor probe)
    {
        Line(page, "");
        Line(page, $"## {probe.Name}");
        Line(page, "");
        Line(page, probe.Purpose);
        Line(page, "");
        Line(page, $"Source: {Lower(probe.Source)}. Overhead: {Lower(probe.Overhead)}." +
            (probe.Aliases.Count > 0 ? $" Also answers to: {string.Join(", ", probe.Aliases)}." : string.Empty));
        Bullets(page, "Finds", probe.Finds);
        Bullets(page, "Reads", probe.KernelSources);
        Bullets(page, "Needs", probe.Requirements);
        Bullets(page, "Know", probe.Notes);
        if (probe.Attributes.Count > 0)
        {
            Line(page, "");
            Line(page, "| attribute | values |");
            Line(page, "|---|---|");
            foreach (AttributeDescriptor attribute in probe.Attributes) Line(page, $"| `{attribute.Name}` | {Cell(attribute.Description)} |");
        }
        if (probe.Options.Count > 0)
        {
            Line(page, "");
            Line(page, "| option | type | default | |");
            Line(page, "|---|---|---|---|");
            foreach (OptionDescriptor option in probe.Options)
                Line(page, $"| `{option.Name}` | {Cell(option.Type)} | `{option.Default}` | {Cell(option.Description)} |");
        }
        if (probe.Metrics.Count > 0)
        {
            Line(page, "");
            Line(page, "| metric | kind | unit | Prometheus | upstream | |");
            Line(page, "|---|---|---|---|---|---|");
            foreach (MetricDescriptor metric in probe.Metrics)
            {
                string family = PrometheusNames.Family(metric.Name, metric.Kind, metric.Unit) + (metric.Kind == MetricKind.Counter ? "_total" : string.Empty);
                Line(page, $"| `{metric.Name}` | {Lower(metric.Kind)} | {Cell(metric.Unit)} | `{family}` | {(metric.UpstreamName is { } name ? $"`{name}`" : string.Empty)} | {Cell(metric.Description)} |");
            }
        }
        if (probe.Events.Count > 0)
        {
            Line(page, "");
            Line(page, "| event | |");
            Line(page, "|---|---|");
            foreach (EventDescriptor e in probe.Events) Line(page, $"| `{e.Name}` | {Cell(e.Description)} |");
        }
    }

    private static void Bullets(StringBuilder page, string title, IReadOnlyList<string> lines)
    {
        if (lines.Count == 0) return;
        Line(page, "");
        Line(page, $"{title}:");
        Line(page, "");
        foreach (string line in lines) Line(page, $"- {line.Replace("<", "\\<", StringComparison.Ordinal)}");
    }

    private static string Lower<T>(T value)
        where T : struct, Enum => value.ToString().ToLowerInvariant();

    private static string Cell(string text) => text.Replace("|", "\\|", StringComparison.Ordinal).ReplaceLineEndings(" ");

    private static void Line(StringBuilder page, string text) => page.Append(CultureInfo.InvariantCulture, $"{text}\n");
}
