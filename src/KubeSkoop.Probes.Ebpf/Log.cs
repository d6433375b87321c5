using Microsoft.Extensions.Logging;

namespace KubeSkoop.Probes.Ebpf;

internal static partial class Log
{
    /// <summary>What libbpf says about an object, at the level that libbpf gives it.</summary>
    [LoggerMessage(EventId = 1, Message = "libbpf, {Probe}: {Text}")]
    internal static partial void LibbpfSays(ILogger logger, LogLevel level, string probe, string text);

    [LoggerMessage(2, LogLevel.Warning, "What BPF programs cost in the kernel is not known. {Problem}")]
    internal static partial void CostUnknown(ILogger logger, string problem);
}
