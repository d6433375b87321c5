using System.Collections;

namespace KubeSkoop.Exporter.Cli;

/// <summary>What a command talks to; tests bring their own.</summary>
internal sealed class CliHost
{
    internal required TextWriter Output { get; init; }

    internal required TextWriter Errors { get; init; }

    /// <summary>Columns of the terminal the output goes to, so that a table may have frames; null for a pipe or a file.</summary>
    internal int? TerminalWidth { get; init; }

    internal IDictionary Environment { get; init; } = new Hashtable();

    /// <summary>Adds the probes.</summary>
    internal Action<IProbesBuilder> Probes { get; init; } = ExporterServices.AllProbes;

    internal TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Told once the server listens.</summary>
    internal Action<ExporterApp>? Started { get; init; }

    internal static CliHost ForProcess() => new()
    {
        Output = Console.Out,
        Errors = Console.Error,
        TerminalWidth = Console.IsOutputRedirected ? null : Console.WindowWidth,
        Environment = System.Environment.GetEnvironmentVariables(),
    };
}
