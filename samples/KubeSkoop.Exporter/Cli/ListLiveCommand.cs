using System.Globalization;
using System.Net;
using System.Text.Json;
using KubeSkoop.Exporter.Configuration;
using KubeSkoop.Exporter.Metrics;

namespace KubeSkoop.Exporter.Cli;

/// <summary><c>list --live</c>: the probes of an exporter that runs, and what each costs: here, and in the kernel.</summary>
internal static class ListLiveCommand
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    internal static async Task<int> RunAsync(CliHost host, IConfiguration configuration, string? url, bool json, CancellationToken cancellationToken)
    {
        var options = new ExporterOptions();
        configuration.GetSection(ExporterOptions.SectionName).Bind(options);
        if (url is null && options.ListenAddress() is null)
        {
            host.Errors.WriteLine(options.Validate().First());
            return ExitCodes.Usage;
        }
        Uri? address = url is null ? AddressOf(options) : Uri.TryCreate(url, UriKind.Absolute, out Uri? given) && given is { Scheme: "http" or "https" } ? given : null;
        if (address is null)
        {
            host.Errors.WriteLine($"--url is '{url}'; it must be an address such as http://127.0.0.1:9102.");
            return ExitCodes.Usage;
        }
        JsonDocument status;
        try
        {
            using var client = new HttpClient { Timeout = Patience };
            using Stream body = await client.GetStreamAsync(new Uri(address, "/status"), cancellationToken);
            status = await JsonDocument.ParseAsync(body, default, cancellationToken);
        }
        catch (Exception e) when (e is HttpRequestException or JsonException || (e is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            host.Errors.WriteLine($"There is no exporter to ask at {address}: {e.Message} Start one, or say with --url where it listens.");
            return ExitCodes.Unavailable;
        }
        using (status)
        {
            if (!status.RootElement.TryGetProperty("probes", out JsonElement probes) || probes.ValueKind != JsonValueKind.Array)
            {
                host.Errors.WriteLine($"What answers at {address} is no exporter of this kind.");
                return ExitCodes.Unavailable;
            }
            if (json)
            {
                JsonOutput.Write(host.Output, writer =>
                {
                    writer.WritePropertyName("probes");
                    probes.WriteTo(writer);
                });
                return ExitCodes.Ok;
            }
            DateTimeOffset now = host.Clock.GetUtcNow();
            var table = new TextTable("Probe", "State", "Way", "Series", "Samples", "ms each", "CPU here", "Kernel runs", "ns each", "CPU in kernel", "Events", "Not sent");
            foreach (JsonElement probe in probes.EnumerateArray()) table.Add(Row(probe, now));
            table.Write(host);
            // A sentence in a column would push the numbers out of sight.
            foreach (JsonElement probe in probes.EnumerateArray())
                if (Reason(probe) is { } reason) host.Output.WriteLine(SafeText.Clean(reason));
            // The same for all of them: once.
            foreach (string? problem in probes.EnumerateArray().Select(static probe => Text(probe, "kernel_cost_problem")).Where(static p => p is not null).Distinct())
                host.Output.WriteLine(SafeText.Clean($"The cost in the kernel is not known: {problem}"));
            return ExitCodes.Ok;
        }
    }

    private static string[] Row(JsonElement probe, DateTimeOffset now)
    {
        bool runs = Text(probe, "state") is "Running";
        double samples = Number(probe, "samples"), cpu = Number(probe, "cpu_seconds"), kernel = Number(probe, "kernel_seconds"), programs = Number(probe, "kernel_runs");
        double alive = runs && probe.TryGetProperty("since", out JsonElement since) && since.TryGetDateTimeOffset(out DateTimeOffset started) ? (now - started).TotalSeconds : 0;
        bool inKernel = probe.TryGetProperty("kernel_runs", out _);
        return
        [
            Text(probe, "name") ?? "-", Text(probe, "state") ?? "-", Text(probe, "source") ?? "-",
            runs ? Whole(Number(probe, "series")) : "-", Whole(samples), samples > 0 ? (cpu * 1000 / samples).ToString("0.000", CultureInfo.InvariantCulture) : "-", Share(cpu, alive),
            inKernel ? Whole(programs) : "-", inKernel && programs > 0 ? Whole(kernel * 1e9 / programs) : "-", inKernel ? Share(kernel, alive) : "-",
            Whole(Number(probe, "events_sent")), Whole(Number(probe, "events_dropped") + Number(probe, "events_suppressed") + Number(probe, "events_lost")),
        ];
    }

    private static string? Reason(JsonElement probe) =>
        Text(probe, "reason") is not { Length: > 0 } reason || Text(probe, "state") is "Stopped" ? null
        : Text(probe, "name") is { } name && !reason.StartsWith($"{name}:", StringComparison.Ordinal) ? $"{name}: {reason}" : reason;

    // Of one core, since the probe was started; a probe that was stopped in between has used some of it before.
    private static string Share(double seconds, double alive) => alive > 0 ? (seconds / alive).ToString("0.000 %", CultureInfo.InvariantCulture) : "-";

    private static string Whole(double number) => number.ToString("0", CultureInfo.InvariantCulture);

    private static string? Text(JsonElement probe, string name) => probe.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static double Number(JsonElement probe, string name) => probe.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : 0;

    private static Uri AddressOf(ExporterOptions options)
    {
        IPAddress address = options.ListenAddress()!;
        if (address.Equals(IPAddress.IPv6Any) || address.Equals(IPAddress.Any)) address = IPAddress.Loopback;
        return new UriBuilder("http", address.ToString(), options.Port).Uri;
    }
}
