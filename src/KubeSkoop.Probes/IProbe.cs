namespace KubeSkoop.Probes;

/// <summary>
/// One way of watching the kernel. Start and stop may be called at any time, from any thread, any number of times;
/// a stopped probe holds no descriptor and no thread and publishes no series.
/// </summary>
public interface IProbe : IAsyncDisposable
{
    /// <summary>What the probe is called, what it costs, needs and publishes. The same object for the probe's whole life.</summary>
    ProbeDescriptor Descriptor { get; }

    /// <summary>The present state.</summary>
    ProbeStatus Status { get; }

    /// <summary>What the probe has done so far, and what that cost.</summary>
    ProbeStatistics Statistics { get; }

    /// <summary>Starts the probe; does nothing when it runs already.</summary>
    /// <exception cref="ProbeUnavailableException">This machine lacks what the probe needs.</exception>
    Task StartAsync(CancellationToken cancellationToken = default);

    /// <summary>Stops the probe and releases everything it holds; does nothing when it is stopped already.</summary>
    Task StopAsync(CancellationToken cancellationToken = default);
}
