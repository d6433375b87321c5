using System.Globalization;
using KubeSkoop.Exporter.Metrics;

namespace KubeSkoop.Exporter.Cli;

/// <summary><c>serve</c>: runs until told to stop.</summary>
internal static class ServeCommand
{
    private static readonly TimeSpan LongestGoodbye = TimeSpan.FromMilliseconds(250);

    internal static async Task<int> RunAsync(CliHost host, IConfiguration configuration, string[] named, CancellationToken cancellationToken)
    {
        ExporterApp app = ExporterApp.Create(configuration, host.Errors, host.Probes);
        try
        {
            foreach (string name in named)
                if (app.Manager.Find(name) is null) throw new UnknownProbeException(name, app.Manager.Probes.Select(static p => p.Descriptor.Name));
            return await ServeAsync(host, app, cancellationToken);
        }
        finally
        {
            // On another thread, for it may block: OpenTelemetry sends what it has left; a receiver that does not answer must not keep the process.
            await Task.WhenAny(Task.Run(() => app.DisposeAsync().AsTask(), CancellationToken.None), Task.Delay(LongestGoodbye, CancellationToken.None));
        }
    }

    private static async Task<int> ServeAsync(CliHost host, ExporterApp app, CancellationToken cancellationToken)
    {
        foreach (string problem in app.Problems) Say(host, $"Configuration: {problem}");
        await app.StartAsync(cancellationToken);
        Report(host, app.Manager);
        if (app.Namespaces?.Problem is { } hidden) Say(host, hidden);
        Say(host, $"Listening on {app.Address.ToString().TrimEnd('/')}/metrics. Stop with Ctrl-C.");
        host.Started?.Invoke(app);
        await app.WaitForShutdownAsync(cancellationToken);
        Say(host, "Stopped.");
        return ExitCodes.Ok;
    }

    private static void Report(CliHost host, IProbeManager manager)
    {
        // Of the probes somebody asked for; the one that reports on the others always runs.
        IProbe[] wanted = [.. manager.Probes.Where(static p => p.Status.State != ProbeState.Stopped && p.Descriptor.Name != "probe")];
        IProbe[] running = [.. wanted.Where(static p => p.Status.State == ProbeState.Running)];
        var ways = running.Select(static p => (p.Descriptor.Name, Way: Parted(p.Status.Source))).ToList();
        Say(host, string.Create(CultureInfo.InvariantCulture,
            $"{running.Length} of {wanted.Length} probes run{(running.Length == 0 ? string.Empty : ": ")}{string.Join(", ", ways.Select(static w => $"{w.Name} ({w.Way.Taken})"))}."));
        foreach (IGrouping<string, string> same in ways.Where(static w => w.Way.Why is not null).GroupBy(static w => w.Way.Why!, static w => w.Name))
            Say(host, $"{string.Join(", ", same)}: {same.Key}");
    }

    // The way that was taken, and why not a better one: "procfs (bpf: ...)", "tp_btf, without ...".
    private static (string Taken, string? Why) Parted(string? way)
    {
        way ??= "-";
        int why = way.IndexOf(" (bpf: ", StringComparison.Ordinal), without = way.IndexOf(", without ", StringComparison.Ordinal);
        return why > 0 ? (way[..why], way[(why + 2)..^1]) : without > 0 ? (way[..without], way[(without + 2)..]) : (way, null);
    }

    private static void Say(CliHost host, string line) => host.Errors.WriteLine(SafeText.Clean(line));
}
