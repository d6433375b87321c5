using System.Collections;

namespace KubeSkoop.Exporter.Cli;

/// <summary>What a command talks to; tests bring their own.</summary>
internal sealed class CliHost
{
    internal required TextWriter Output { get; init; }

    internal required TextWriter Errors { get; init; }

    /// <summary>Whether the output is a terminal, so that a table may have frames and colours.</summary>
    internal bool IsTerminal { get; init; }

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
        IsTerminal = !Console.IsOutputRedirected,
        Environment = System.Environment.GetEnvironmentVariables(),
    };
}
