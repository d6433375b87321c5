using KubeSkoop.Probes.Netlink;

namespace KubeSkoop.Exporter.Events;

/// <summary>
/// Writes full connection tables and entries that could not be inserted to the log, so that a user is told who watches nothing. Asks for these events only: others need not be made for nobody.
/// </summary>
internal sealed partial class TroubleLog : BackgroundService
{
    private readonly ILogger<TroubleLog> _logger;
    private readonly EventSubscription<ConntrackTableFullEvent> _full;
    private readonly EventSubscription<ConntrackInsertFailedEvent> _failed;

    // Listens from the moment it is made, which is before any probe is started.
    public TroubleLog(EventHub events, ILogger<TroubleLog> logger)
    {
        _logger = logger;
        _full = events.Subscribe<ConntrackTableFullEvent>();
        _failed = events.Subscribe<ConntrackInsertFailedEvent>();
    }

    public override void Dispose()
    {
        _full.Dispose();
        _failed.Dispose();
        base.Dispose();
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(WriteAsync(_full, stoppingToken), WriteAsync(_failed, stoppingToken));

    private async Task WriteAsync<TEvent>(EventSubscription<TEvent> events, CancellationToken stoppingToken)
        where TEvent : ProbeEvent
    {
        try
        {
            await foreach (TEvent e in events.Reader.ReadAllAsync(stoppingToken))
                LogTrouble(_logger, e.Probe, e.Pod?.ToString() ?? e.Namespace?.ToString() ?? "the node", e.Message);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "{Probe} in {Where}: {Message}")]
    private static partial void LogTrouble(ILogger logger, string probe, string where, string message);
}
