using KubeSkoop.Exporter.Metrics;

namespace KubeSkoop.Exporter.Logging;

/// <summary>
/// Logs to stderr, one line a message, whatever the message holds: a pod's strings can neither break a line nor reach
/// the terminal.
/// </summary>
internal sealed class LineLoggerProvider(TextWriter output, TimeProvider clock) : ILoggerProvider
{
    private readonly Lock _gate = new();

    public ILogger CreateLogger(string categoryName) => new LineLogger(this);

    public void Dispose()
    {
    }

    private void Write(LogLevel level, string message, Exception? exception)
    {
        string word = level switch
        {
            LogLevel.Critical or LogLevel.Error => "error",
            LogLevel.Warning => "warn",
            LogLevel.Information => "info",
            _ => "debug",
        };
        // A stack helps only against our own mistakes; what a person can act on stands in the message.
        string cause = exception is null ? string.Empty : level >= LogLevel.Error ? $" {exception}" : $" {exception.Message}";
        lock (_gate) output.WriteLine($"{clock.GetUtcNow():yyyy-MM-ddTHH:mm:ss.fffZ} {word} {SafeText.Clean((message + cause).ReplaceLineEndings(" | "))}");
    }

    private sealed class LineLogger(LineLoggerProvider provider) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel != LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            provider.Write(logLevel, formatter(state, exception), exception);
    }
}
