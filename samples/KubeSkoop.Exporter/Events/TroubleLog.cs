namespace KubeSkoop.Exporter.Events;

/// <summary>Writes events that mean trouble to the log, so that a user is told who watches nothing.</summary>
internal sealed partial class TroubleLog(EventHub events, ILogger<TroubleLog> logger) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await foreach (ProbeEvent e in events.ReadAllAsync<ProbeEvent>(stoppingToken))
                if (e.IsTrouble) LogTrouble(logger, e.Probe, e.Pod is { } pod ? $"{pod.Namespace}/{pod.Name}" : e.Namespace?.ToString() ?? "the node", e.Message);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "{Probe} in {Where}: {Message}")]
    private static partial void LogTrouble(ILogger logger, string probe, string where, string message);
}
