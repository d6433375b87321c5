using System.Globalization;
using System.Text.Json;

namespace KubeSkoop.Exporter.Cli;

/// <summary><c>list</c>: what the probes tell about themselves, none of them started.</summary>
internal static class ListCommand
{
    internal static async Task<int> RunAsync(CliHost host, IConfiguration configuration, bool json)
    {
        await using ServiceProvider services = ExporterServices.BuildForCommand(host, configuration);
        ProbeDescriptor[] probes = [.. services.GetRequiredService<IProbeManager>().Probes.Select(static p => p.Descriptor)];
        if (json) WriteJson(host.Output, probes);
        else WriteTable(host, probes);
        return ExitCodes.Ok;
    }

    private static void WriteTable(CliHost host, ProbeDescriptor[] probes)
    {
        var table = new TextTable("Probe", "Source", "Overhead", "Metrics", "Events", "Purpose");
        foreach (ProbeDescriptor probe in probes)
        {
            table.Add(probe.Name, Word(probe.Source), Word(probe.Overhead), probe.Metrics.Count.ToString(CultureInfo.InvariantCulture),
                probe.Events.Count.ToString(CultureInfo.InvariantCulture), probe.Purpose);
        }
        table.Write(host);
    }

    private static void WriteJson(TextWriter output, ProbeDescriptor[] probes) => JsonOutput.Write(output, json =>
    {
        json.WriteStartArray("probes");
        foreach (ProbeDescriptor probe in probes)
        {
            json.WriteStartObject();
            json.WriteString("name", probe.Name);
            Strings(json, "aliases", probe.Aliases);
            json.WriteString("source", Word(probe.Source));
            json.WriteString("overhead", Word(probe.Overhead));
            json.WriteString("purpose", probe.Purpose);
            Strings(json, "finds", probe.Finds);
            Strings(json, "kernel_sources", probe.KernelSources);
            Strings(json, "requirements", probe.Requirements);
            json.WriteStartArray("attributes");
            foreach (AttributeDescriptor attribute in probe.Attributes) Object(json, ("name", attribute.Name), ("description", attribute.Description));
            json.WriteEndArray();
            json.WriteStartArray("metrics");
            foreach (MetricDescriptor metric in probe.Metrics)
            {
                Object(json, ("name", metric.Name), ("kind", metric.Kind.ToString().ToLowerInvariant()), ("unit", metric.Unit),
                    ("description", metric.Description), ("upstream_name", metric.UpstreamName));
            }
            json.WriteEndArray();
            json.WriteStartArray("events");
            foreach (EventDescriptor e in probe.Events) Object(json, ("name", e.Name), ("description", e.Description));
            json.WriteEndArray();
            json.WriteStartArray("options");
            foreach (OptionDescriptor option in probe.Options)
                Object(json, ("name", option.Name), ("type", option.Type), ("default", option.Default), ("description", option.Description));
            json.WriteEndArray();
            Strings(json, "notes", probe.Notes);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    });

    private static void Object(Utf8JsonWriter json, params ReadOnlySpan<(string Key, string? Value)> properties)
    {
        json.WriteStartObject();
        foreach (var (key, value) in properties) json.WriteString(key, value);
        json.WriteEndObject();
    }

    private static void Strings(Utf8JsonWriter json, string key, IReadOnlyList<string> values)
    {
        json.WriteStartArray(key);
        foreach (string value in values) json.WriteStringValue(value);
        json.WriteEndArray();
    }

    private static string Word(ProbeSource source) => source switch
    {
        ProbeSource.Procfs => "procfs",
        ProbeSource.Netlink => "netlink",
        ProbeSource.Ebpf => "ebpf",
        _ => "other",
    };

    private static string Word(OverheadClass overhead) => overhead switch
    {
        OverheadClass.Low => "low",
        OverheadClass.Medium => "medium",
        _ => "high",
    };
}
