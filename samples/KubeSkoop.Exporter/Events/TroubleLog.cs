namespace KubeSkoop.Exporter.Events;

/// <summary>Writes events that mean trouble to the log, so that a user is told who watches nothing.</summary>
internal sealed partial class TroubleLog : BackgroundService
{
    private readonly ILogger<TroubleLog> _logger;
    private readonly EventSubscription<ProbeEvent> _events;

    // Listens from the moment it is made, which is before any probe is started.
    public TroubleLog(EventHub events, ILogger<TroubleLog> logger)
    {
        _logger = logger;
        _events = events.Subscribe<ProbeEvent>();
    }

    public override void Dispose()
    {
        _events.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await foreach (ProbeEvent e in _events.Reader.ReadAllAsync(stoppingToken))
                if (e.IsTrouble) LogTrouble(_logger, e.Probe, e.Pod is { } pod ? $"{pod.Namespace}/{pod.Name}" : e.Namespace?.ToString() ?? "the node", e.Message);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "{Probe} in {Where}: {Message}")]
    private static partial void LogTrouble(ILogger logger, string probe, string where, string message);
}
