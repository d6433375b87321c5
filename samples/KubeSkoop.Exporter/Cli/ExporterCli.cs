using System.CommandLine;
using System.CommandLine.Parsing;
using KubeSkoop.Exporter.Configuration;
using KubeSkoop.Exporter.Metrics;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Exporter.Cli;

/// <summary>The command line. Without a command it serves.</summary>
internal static class ExporterCli
{
    /// <summary>Runs one command to its end.</summary>
    /// <returns>One of <see cref="ExitCodes"/>.</returns>
    internal static async Task<int> RunAsync(string[] args, CliHost host, CancellationToken cancellationToken = default)
    {
        try
        {
            ParseResult parsed = Build(host).Parse(args);
            if (parsed.Errors.Count > 0)
            {
                foreach (var error in parsed.Errors) host.Errors.WriteLine(SafeText.Clean(error.Message));
                host.Errors.WriteLine("Run with --help to see the commands and options.");
                return ExitCodes.Usage;
            }
            return await parsed.InvokeAsync(
                new InvocationConfiguration
                {
                    Output = host.Output,
                    Error = host.Errors,
                    EnableDefaultExceptionHandler = false,
                    // The host answers signals, and ends with 0; the short commands just end.
                    ProcessTerminationTimeout = null,
                },
                cancellationToken);
        }
        catch (Exception e) when (Explain(e) is { } code)
        {
            host.Errors.WriteLine(e is OptionsValidationException validation
                ? string.Join(Environment.NewLine, validation.Failures.Select(SafeText.Clean))
                : SafeText.Clean(Plainly(e.Message.ReplaceLineEndings(" "))));
            return code;
        }
        catch (OperationCanceledException)
        {
            return ExitCodes.Ok;
        }
#pragma warning disable CA1031 // The last resort: a sentence and the documented exit code instead of a crash.
        catch (Exception e)
#pragma warning restore CA1031
        {
            host.Errors.WriteLine(SafeText.Clean($"{e.GetType().Name}: {e.Message}".ReplaceLineEndings(" ")));
            return ExitCodes.Failed;
        }
    }

    private static int? Explain(Exception e) => e switch
    {
        ConfigurationException or OptionsValidationException or UnknownProbeException or UsageException => ExitCodes.Usage,
        // What the configuration binder says when a value does not fit its type; it names key and value.
        InvalidOperationException { InnerException: FormatException or ArgumentException or OverflowException } => ExitCodes.Usage,
        ProbeUnavailableException => ExitCodes.Unavailable,
        AddressException => ExitCodes.AddressInUse,
        _ => null,
    };

    // What the binder calls by its .NET name.
    private static string Plainly(string message) => Types.Aggregate(message, static (text, type) => text.Replace($"to type '{type.Name}'", $"to {type.Meaning}", StringComparison.Ordinal));

    private static readonly (string Name, string Meaning)[] Types =
    [
        ("System.Int32", "a whole number"), ("System.Int64", "a whole number"), ("System.Double", "a number"),
        ("System.Boolean", "true or false"), ("System.TimeSpan", "a time, such as 00:00:10"), ("System.Nullable`1[System.Int32]", "a whole number"),
    ];

    private static int? WholeNumber(ArgumentResult result)
    {
        if (int.TryParse(result.Tokens[0].Value, System.Globalization.NumberStyles.Integer, System.Globalization.CultureInfo.InvariantCulture, out int number)) return number;
        result.AddError($"{(result.Parent as OptionResult)?.IdentifierToken?.Value ?? result.Argument.Name}: '{result.Tokens[0].Value}' is no whole number.");
        return null;
    }

    private static RootCommand Build(CliHost host)
    {
        var settings = new SettingOptions();
        var serve = new ServeOptions();

        var root = new RootCommand("Per-pod kernel network numbers of this machine. Without a command: serve.");
        settings.AddTo(root);
        serve.AddTo(root);
        root.SetAction((parsed, cancellation) => ServeCommand.RunAsync(host, settings.Load(parsed, host, serve.Read(parsed)), serve.Named(parsed), cancellation));

        var serveCommand = new Command("serve", "Serve the numbers over HTTP until stopped (the default).");
        settings.AddTo(serveCommand);
        serve.AddTo(serveCommand);
        serveCommand.SetAction((parsed, cancellation) => ServeCommand.RunAsync(host, settings.Load(parsed, host, serve.Read(parsed)), serve.Named(parsed), cancellation));
        root.Add(serveCommand);

        var json = new Option<bool>("--json") { Description = "Write JSON." };
        var live = new Option<bool>("--live") { Description = "Of the exporter that runs: the probes' states, and what each costs." };
        var url = new Option<string?>("--url") { Description = "With --live: where that exporter listens. Default: where this one would.", HelpName = "address" };
        var listCommand = new Command("list", "List the probes, running none.") { json, live, url };
        settings.AddTo(listCommand);
        listCommand.SetAction((parsed, cancellation) => parsed.GetValue(live)
            ? ListLiveCommand.RunAsync(host, settings.Load(parsed, host, []), parsed.GetValue(url), parsed.GetValue(json), cancellation)
            : ListCommand.RunAsync(host, settings.Load(parsed, host, []), parsed.GetValue(json)));
        root.Add(listCommand);

        var probe = new Argument<string>("probe") { Description = "The probe's name; see list." };
        var netns = new Option<string?>("--netns") { Description = "Only this network namespace: its inode, its bound name, 'host', or a process id.", HelpName = "inode|name|pid" };
        var top = new Option<int?>("--top") { Description = $"Of tcpsummary: the sockets with the fullest queues and their processes, at most this many (up to {TopCommand.Most}).", HelpName = "count", CustomParser = WholeNumber };
        var sampleCommand = new Command("sample", "Take one exact reading of a probe and print it.") { probe, json, netns, top };
        settings.AddTo(sampleCommand);
        sampleCommand.SetAction((parsed, cancellation) => parsed.GetValue(top) is { } count
            ? TopCommand.RunAsync(host, settings.Load(parsed, host, [], SampleCommand.DefaultsOf(parsed.GetRequiredValue(probe))), parsed.GetRequiredValue(probe), count, parsed.GetValue(netns), parsed.GetValue(json), cancellation)
            : SampleCommand.RunAsync(host, settings.Load(parsed, host, [], SampleCommand.DefaultsOf(parsed.GetRequiredValue(probe))), parsed.GetRequiredValue(probe), parsed.GetValue(netns), parsed.GetValue(json), cancellation));
        root.Add(sampleCommand);

        var watched = new Option<string[]>("--probe") { Description = "Only these probes, with commas or one option each. Default: every BPF probe of the network that has events.", HelpName = "probes" };
        var events = new Option<int?>("--count") { Description = "End after this many events.", HelpName = "count", CustomParser = WholeNumber };
        events.Validators.Add(static result =>
        {
            if (result.GetValueOrDefault<int?>() is < 1) result.AddError("--count must be 1 or more.");
        });
        var watchCommand = new Command("watch", "Start probes and print their events as they happen.") { watched, netns, json, events };
        settings.AddTo(watchCommand);
        watchCommand.SetAction((parsed, cancellation) => WatchCommand.RunAsync(host, settings.Load(parsed, host, []),
            [.. (parsed.GetValue(watched) ?? []).SelectMany(static names => names.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))], parsed.GetValue(netns), parsed.GetValue(json), parsed.GetValue(events), cancellation));
        root.Add(watchCommand);

        var podsCommand = new Command("pods", "Show the pods of this node, whose network namespaces and processes are theirs, and who told.") { json };
        settings.AddTo(podsCommand);
        podsCommand.SetAction((parsed, cancellation) => PodsCommand.RunAsync(host, settings.Load(parsed, host, []), parsed.GetValue(json), cancellation));
        root.Add(podsCommand);

        var kernelCommand = new Command("kernel", "Show what this kernel can do for BPF probes, and which way each takes.");
        settings.AddTo(kernelCommand);
        kernelCommand.SetAction((parsed, cancellation) => KernelCommand.RunAsync(host, settings.Load(parsed, host, []), cancellation));
        root.Add(kernelCommand);

        var output = new Option<string?>("--output", "-o") { Description = "Directory to write into instead of standard output.", HelpName = "directory" };
        var docsCommand = new Command("docs", "Write the page about all probes.") { output };
        docsCommand.SetAction((parsed, _) => DocsCommand.RunAsync(host, parsed.GetValue(output)));
        root.Add(docsCommand);
        return root;
    }

    /// <summary>Where settings come from; every command takes these.</summary>
    private sealed class SettingOptions
    {
        private readonly Option<string?> _config = new("--config", "-c") { Description = "A JSON configuration file.", HelpName = "file" };
        private readonly Option<string[]> _set = new("--set") { Description = "One setting, for example --set KubeSkoop:Probes:NodeName=node-1. May be repeated.", HelpName = "Key=Value", DefaultValueFactory = static _ => [] };

        internal void AddTo(Command command)
        {
            command.Add(_config);
            command.Add(_set);
        }

        internal IConfiguration Load(ParseResult parsed, CliHost host, IEnumerable<KeyValuePair<string, string?>> commandLine,
            IEnumerable<KeyValuePair<string, string?>>? defaults = null) =>
            ConfigurationLoader.Load(parsed.GetValue(_config), host.Environment, parsed.GetValue(_set) ?? [], commandLine, defaults);
    }

    /// <summary>Short forms of the server's settings.</summary>
    private sealed class ServeOptions
    {
        private readonly Option<int?> _port = new("--port", "-p") { Description = "TCP port; 0 takes a free one. Default: 9102.", HelpName = "port", CustomParser = WholeNumber };
        private readonly Option<string?> _listen = new("--listen") { Description = "Address to listen on; * for all. Default: 127.0.0.1.", HelpName = "address" };
        private readonly Option<string?> _naming = new("--naming") { Description = "otel (default), or kubeskoop for upstream's names, labels and types.", HelpName = "otel|kubeskoop" };
        private readonly Option<string?> _enable = new("--enable") { Description = $"Probes to run, with commas. Default: {string.Join(',', ExporterOptions.DefaultProbes)}.", HelpName = "probes" };
        private readonly Option<string?> _otlp = new("--otlp") { Description = "Also send the numbers to this OTLP receiver (HTTP), for example http://127.0.0.1:4318.", HelpName = "endpoint" };

        internal void AddTo(Command command)
        {
            foreach (Option option in new Option[] { _port, _listen, _naming, _enable, _otlp }) command.Add(option);
        }

        /// <summary>Probes that were named on the command line. A name that is wrong in a file must not keep the others from running; whoever types one is there to mend it.</summary>
        internal string[] Named(ParseResult parsed) => (parsed.GetValue(_enable) ?? string.Empty).Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

        internal List<KeyValuePair<string, string?>> Read(ParseResult parsed)
        {
            var settings = new List<KeyValuePair<string, string?>>();
            Add(nameof(ExporterOptions.Port), parsed.GetValue(_port)?.ToString(System.Globalization.CultureInfo.InvariantCulture));
            Add(nameof(ExporterOptions.Listen), parsed.GetValue(_listen));
            Add(nameof(ExporterOptions.Naming), parsed.GetValue(_naming));
            Add(nameof(ExporterOptions.Otlp), parsed.GetValue(_otlp));
            if (parsed.GetValue(_enable) is { } enable) settings.Add(new($"{ProbesOptions.SectionName}:{nameof(ProbesOptions.Enabled)}", enable));
            return settings;

            void Add(string key, string? value)
            {
                if (value is not null) settings.Add(new($"{ExporterOptions.SectionName}:{key}", value));
            }
        }
    }
}
