namespace KubeSkoop.Probes;

/// <summary>Starts, stops and samples the registered probes; each is isolated from the others.</summary>
public interface IProbeManager
{
    /// <summary>All registered probes, running or not, in the order of their registration.</summary>
    IReadOnlyList<IProbe> Probes { get; }

    /// <summary>The events of all probes.</summary>
    EventHub Events { get; }

    /// <summary>Names in the configuration that no probe answers to, with a message for people each.</summary>
    IReadOnlyList<string> ConfigurationProblems { get; }

    /// <summary>The probe that answers to a name or alias, or <see langword="null"/>.</summary>
    IProbe? Find(string name);

    /// <summary>
    /// Plugs a probe in. It runs until every lease on it has been disposed of (probes enabled in the configuration hold
    /// one for the life of the host), or until <see cref="StopAsync"/>.
    /// </summary>
    /// <param name="name">A probe's name or alias.</param>
    /// <param name="options">Settings; a probe that runs already takes them at once if it can (<see cref="IConfigurableProbe.CanConfigureWhileRunning"/>), and is started anew with them if not.</param>
    /// <param name="cancellationToken">Gives up waiting for the start.</param>
    /// <exception cref="UnknownProbeException">No probe answers to <paramref name="name"/>.</exception>
    /// <exception cref="ProbeUnavailableException">This machine lacks what the probe needs.</exception>
    /// <exception cref="ArgumentException">A setting is out of range; the message names it.</exception>
    Task<ProbeLease> StartAsync(string name, ProbeOptions? options = null, CancellationToken cancellationToken = default);

    /// <summary>Unplugs a probe, whoever holds leases on it.</summary>
    /// <exception cref="UnknownProbeException">No probe answers to <paramref name="name"/>.</exception>
    Task StopAsync(string name, CancellationToken cancellationToken = default);

    /// <summary>
    /// One collection: samples every running metric probe and shows its rows to <paramref name="visitor"/>. A probe that
    /// throws, also from the accessors of its table, is marked failed and started again later; the others are not affected.
    /// </summary>
    /// <exception cref="Lifecycle.VisitorException">The visitor threw it to say that the failure is its own, and no probe's.</exception>
    void Collect(ISampleVisitor visitor);

    /// <summary>Collects one probe.</summary>
    /// <returns>Whether it ran and could be sampled.</returns>
    /// <exception cref="UnknownProbeException">No probe answers to <paramref name="name"/>.</exception>
    bool Collect(string name, ISampleVisitor visitor);
}

/// <summary>A use of a running probe; the probe stops when its last lease is disposed of.</summary>
public sealed class ProbeLease : IAsyncDisposable
{
    private Func<Task>? _release;

    internal ProbeLease(IProbe probe, Func<Task> release)
    {
        Probe = probe;
        _release = release;
    }

    /// <summary>The probe.</summary>
    public IProbe Probe { get; }

    /// <summary>Gives the use back.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _release, null) is { } release) await release().ConfigureAwait(false);
    }
}
