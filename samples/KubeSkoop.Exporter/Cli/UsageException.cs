namespace KubeSkoop.Exporter.Cli;

/// <summary>What was asked for is not there, or does not go together. The message is for people.</summary>
internal sealed class UsageException(string message) : Exception(message);
