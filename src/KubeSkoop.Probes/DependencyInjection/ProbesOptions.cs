using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes;

/// <summary>Settings of the SDK as a whole; a probe's own settings are in its options class.</summary>
public sealed class ProbesOptions
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = "KubeSkoop:Probes";

    /// <summary>Names of the probes to start with the host. Unknown names are reported; the others run.</summary>
    public IList<string> Enabled { get; } = [];

    /// <summary>The node's name on every series and event. Default: the variable NODE_NAME, else the machine's name.</summary>
    public string? NodeName { get; set; }

    /// <summary>Whether every probe's state, cost and drops are published as metrics too. Default: yes.</summary>
    public bool SelfMetrics { get; set; } = true;

    /// <summary>Time until a probe that failed is started again; doubles with every failure. Default: 1 s.</summary>
    public TimeSpan RetryDelay { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest time until the next try. Default: 60 s.</summary>
    public TimeSpan MaxRetryDelay { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>How old a sample may be to serve another meter collection. Default: 500 ms.</summary>
    public TimeSpan MeterSampleReuse { get; set; } = TimeSpan.FromMilliseconds(500);

    /// <summary>The node's name as published.</summary>
    public string ResolvedNodeName =>
        NodeName is { Length: > 0 } name ? name
        : Environment.GetEnvironmentVariable("NODE_NAME") is { Length: > 0 } variable ? variable
        : Environment.MachineName;

    /// <summary>Adds names to <see cref="Enabled"/>.</summary>
    public ProbesOptions Enable(params ReadOnlySpan<string> probes)
    {
        foreach (string probe in probes) Enabled.Add(probe);
        return this;
    }
}

/// <summary>Checks <see cref="ProbesOptions"/> at start; every message names the key.</summary>
internal sealed class ProbesOptionsValidator : IValidateOptions<ProbesOptions>
{
    public ValidateOptionsResult Validate(string? name, ProbesOptions options)
    {
        var mistakes = new List<string>();
        if (options.RetryDelay <= TimeSpan.Zero) mistakes.Add(Message(nameof(options.RetryDelay), options.RetryDelay, "must be longer than zero"));
        if (options.MaxRetryDelay > TimeSpan.FromDays(1)) mistakes.Add(Message(nameof(options.MaxRetryDelay), options.MaxRetryDelay, "must not be longer than a day (hours:minutes:seconds; a bare number means days)"));
        if (options.MaxRetryDelay < options.RetryDelay) mistakes.Add(Message(nameof(options.MaxRetryDelay), options.MaxRetryDelay, $"must not be shorter than {nameof(options.RetryDelay)}"));
        if (options.MeterSampleReuse < TimeSpan.Zero) mistakes.Add(Message(nameof(options.MeterSampleReuse), options.MeterSampleReuse, "must not be negative"));
        if (options.Enabled.Any(string.IsNullOrWhiteSpace)) mistakes.Add(Message(nameof(options.Enabled), "''", "must hold probe names"));
        return mistakes.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(mistakes);
    }

    private static string Message(string key, object value, string rule) => $"{ProbesOptions.SectionName}:{key} is {value}; it {rule}.";
}
