using Microsoft.Extensions.Logging;

namespace KubeSkoop.Probes.Diagnostics;

internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Information, "Probe {Probe} runs (source {Source}).")]
    internal static partial void Started(ILogger logger, string probe, string source);

    [LoggerMessage(2, LogLevel.Warning, "Probe {Probe} failed: {Reason} Next try in {Delay}.")]
    internal static partial void Failed(ILogger logger, string probe, string reason, TimeSpan delay);

    [LoggerMessage(3, LogLevel.Warning, "Probe {Probe} is unavailable here: {Reason} Next try in {Delay}.")]
    internal static partial void Unavailable(ILogger logger, string probe, string reason, TimeSpan delay);

    [LoggerMessage(4, LogLevel.Warning, "{Problem}")]
    internal static partial void ConfigurationProblem(ILogger logger, string problem);

    [LoggerMessage(5, LogLevel.Error, "Probe {Probe} could not be stopped: {Reason}")]
    internal static partial void StopFailed(ILogger logger, string probe, string reason);

    [LoggerMessage(EventId = 9, Level = LogLevel.Debug, Message = "Probe {Probe} still does not run: {Reason} Next try in {Delay}.")]
    internal static partial void StillDown(ILogger logger, string probe, string reason, TimeSpan delay);
}
