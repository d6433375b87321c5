using System.Diagnostics.Metrics;
using KubeSkoop.Probes.Diagnostics;
using KubeSkoop.Probes.Publishing;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Lifecycle;

/// <summary>The one implementation of <see cref="IProbeManager"/>; also usable without a container.</summary>
public sealed class ProbeManager : IProbeManager, IAsyncDisposable
{
    private readonly List<ProbeSlot> _slots = [];
    private readonly ProbesOptions _options;
    private readonly TimeProvider _clock;
    private readonly IMeterFactory? _meterFactory;
    private readonly ILogger _logger;
    private readonly List<string> _problems = [];
    private readonly MeterTags _meterTags;
    private readonly INetworkNamespaceSource? _namespaces;
    private long _meterRound;
    private long _meterRoundAt;
    private volatile bool _disposed;

    /// <summary>Manages <paramref name="probes"/>; starts none.</summary>
    /// <param name="probes">The probes. Two with the same name: the first wins, the other is reported.</param>
    /// <param name="options">Settings; <see langword="null"/> for the defaults.</param>
    /// <param name="clock">The clock; a fake one in tests.</param>
    /// <param name="meterFactory">Where meters come from; without one nothing is published as meters.</param>
    /// <param name="logger">The log.</param>
    /// <param name="namespaces">
    /// Where the probes have their namespaces from. With it, the numbers of a namespace that ends are read at its end and shown in the next sample, once.
    /// </param>
    public ProbeManager(IEnumerable<IProbe> probes, IOptions<ProbesOptions>? options = null, TimeProvider? clock = null,
        IMeterFactory? meterFactory = null, ILogger<ProbeManager>? logger = null, INetworkNamespaceSource? namespaces = null)
    {
        ArgumentNullException.ThrowIfNull(probes);
        _options = options?.Value ?? new ProbesOptions();
        _clock = clock ?? TimeProvider.System;
        _meterFactory = meterFactory;
        _logger = logger ?? NullLogger<ProbeManager>.Instance;
        _meterTags = new MeterTags(_options.ResolvedNodeName);
        foreach (IProbe probe in probes) Register(probe);
        Register(new SelfProbe(() => Probes!, _clock));
        Probes = [.. _slots.Select(static s => s.Probe)];
        _namespaces = namespaces;
        if (_namespaces is not null) _namespaces.Ending += KeepLastRows;
    }

    /// <inheritdoc />
    public IReadOnlyList<IProbe> Probes { get; }

    /// <inheritdoc />
    public EventHub Events { get; } = new();

    /// <inheritdoc />
    public IReadOnlyList<string> ConfigurationProblems
    {
        get
        {
            lock (_problems) return [.. _problems];
        }
    }

    /// <inheritdoc />
    public IProbe? Find(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return FindSlot(name)?.Probe;
    }

    /// <inheritdoc />
    public async Task<ProbeLease> StartAsync(string name, ProbeOptions? options = null, CancellationToken cancellationToken = default)
    {
        ProbeSlot slot = Slot(name);
        await slot.Turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (options is not null) await ConfigureAsync(slot.Probe, options, cancellationToken).ConfigureAwait(false);
            await StartSlotAsync(slot, cancellationToken).ConfigureAwait(false);
            return Lease(slot);
        }
        catch (Exception e) when (slot.Uses > 0 && slot.Probe.Status.State != ProbeState.Running)
        {
            // Whoever holds a lease is owed the probe, also when this caller's settings or patience ended its run.
            ScheduleRetry(slot, e.Message);
            throw;
        }
        finally
        {
            slot.Turn.Release();
        }
    }

    /// <inheritdoc />
    public async Task StopAsync(string name, CancellationToken cancellationToken = default)
    {
        ProbeSlot slot = Slot(name);
        await slot.Turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            slot.Uses = 0;
            slot.Generation++;
            await StopSlotAsync(slot).ConfigureAwait(false);
        }
        finally
        {
            slot.Turn.Release();
        }
    }

    /// <inheritdoc />
    public void Collect(ISampleVisitor visitor)
    {
        ArgumentNullException.ThrowIfNull(visitor);
        SampleRound round = SampleRound.Next();
        foreach (ProbeSlot slot in _slots) TryCollect(slot, visitor, round);
    }

    /// <inheritdoc />
    public bool Collect(string name, ISampleVisitor visitor)
    {
        ArgumentNullException.ThrowIfNull(visitor);
        return TryCollect(Slot(name), visitor, SampleRound.Next());
    }

    /// <summary>
    /// Starts every probe named in <see cref="ProbesOptions.Enabled"/>. Never throws for one of them: what cannot start
    /// is reported in its status and tried again later.
    /// </summary>
    public async Task StartEnabledAsync(CancellationToken cancellationToken = default)
    {
        var wanted = new List<ProbeSlot>();
        foreach (string name in _options.Enabled)
        {
            if (FindSlot(name) is { } slot)
            {
                if (!wanted.Contains(slot)) wanted.Add(slot);
                continue;
            }
            string problem = new UnknownProbeException(name, Probes.Select(static p => p.Descriptor.Name)).Message;
            Problem($"{ProbesOptions.SectionName}:{nameof(ProbesOptions.Enabled)}: {problem} The other probes run.");
        }
        if (_options.SelfMetrics && _slots.Find(static s => s.Probe is SelfProbe) is { } self && !wanted.Contains(self)) wanted.Add(self);
        await Task.WhenAll(wanted.Select(slot => StartEnabledAsync(slot, cancellationToken))).ConfigureAwait(false);
    }

    /// <summary>Stops every probe.</summary>
    public async Task StopAllAsync(CancellationToken cancellationToken = default)
    {
        foreach (ProbeSlot slot in _slots)
        {
            try
            {
                await StopAsync(slot.Probe.Descriptor.Name, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (!cancellationToken.IsCancellationRequested)
            {
                Log.StopFailed(_logger, slot.Probe.Descriptor.Name, e.Message);
            }
        }
    }

    /// <summary>Stops every probe, for good.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_disposed) return;
        _disposed = true;
        if (_namespaces is not null) _namespaces.Ending -= KeepLastRows;
        await StopAllAsync().ConfigureAwait(false);
    }

    private void KeepLastRows(IReadOnlyList<NetworkNamespace> ending)
    {
        SampleRound round = SampleRound.Next();
        foreach (ProbeSlot slot in _slots)
            if (slot.Probe is IKeepsLastRows probe) probe.KeepLastRows(ending, round);
    }

    private void Register(IProbe probe)
    {
        string name = probe.Descriptor.Name;
        if (FindSlot(name) is { } taken)
        {
            if (!ReferenceEquals(taken.Probe, probe)) Problem($"Two probes are called '{name}'; the one registered first is used.");
            return;
        }
        _slots.Add(new ProbeSlot(probe));
    }

    private void Problem(string problem)
    {
        lock (_problems)
            if (!_problems.Contains(problem)) _problems.Add(problem);
        Log.ConfigurationProblem(_logger, problem);
    }

    private ProbeSlot? FindSlot(string name)
    {
        // A predicate would allocate at every collection by name.
        foreach (ProbeSlot slot in _slots)
            if (slot.Probe.Descriptor.Answers(name)) return slot;
        return null;
    }

    private ProbeSlot Slot(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return FindSlot(name) ?? throw new UnknownProbeException(name, Probes.Select(static p => p.Descriptor.Name));
    }

    private async Task StartEnabledAsync(ProbeSlot slot, CancellationToken cancellationToken)
    {
        await slot.Turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_disposed) return;
            slot.Uses++;
            await StartSlotAsync(slot, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception) when (cancellationToken.IsCancellationRequested)
        {
            slot.Uses--;
            throw;
        }
#pragma warning disable CA1031 // Whatever keeps a probe from starting, it is reported and tried again.
        catch (Exception e)
#pragma warning restore CA1031
        {
            ScheduleRetry(slot, e.Message);
        }
        finally
        {
            slot.Turn.Release();
        }
    }

    private static async Task ConfigureAsync(IProbe probe, ProbeOptions options, CancellationToken cancellationToken)
    {
        if (probe is not IConfigurableProbe configurable)
            throw new ArgumentException($"The probe '{probe.Descriptor.Name}' has no settings.", nameof(options));
        if (!configurable.OptionsType.IsInstanceOfType(options))
            throw new ArgumentException($"The probe '{probe.Descriptor.Name}' takes {configurable.OptionsType.Name}, not {options.GetType().Name}.", nameof(options));
        string[] mistakes = [.. options.Validate()];
        if (mistakes.Length > 0)
            throw new ArgumentException($"The settings of probe '{probe.Descriptor.Name}' are wrong: {string.Join(" ", mistakes)}", nameof(options));
        if (!configurable.CanConfigureWhileRunning(options)) await probe.StopAsync(cancellationToken).ConfigureAwait(false);
        configurable.Configure(options);
    }

    private async Task StartSlotAsync(ProbeSlot slot, CancellationToken cancellationToken)
    {
        await slot.Probe.StartAsync(cancellationToken).ConfigureAwait(false);
        // A metric probe has recovered once it could be sampled, not when it could be started: see TryCollect.
        if (slot.Probe is not IMetricProbe)
        {
            slot.Attempts = 0;
            slot.LoggedReason = null;
        }
        slot.Retry?.Dispose();
        slot.Retry = null;
        try
        {
            if (slot.Probe is IEventProbe events) slot.HubConnection ??= events.ConnectTo(Events);
            if (slot.Probe is IMetricProbe metrics && _meterFactory is not null)
            {
                slot.Meter ??= new ProbeMeter(metrics, (_, visitor) => TryCollect(slot, visitor, MeterRound()), _meterFactory, _clock,
                    _options.MeterSampleReuse, _meterTags);
                slot.Meter.Publish();
            }
        }
        catch
        {
            // A probe nobody got a lease on must not go on running.
            await StopSlotAsync(slot).ConfigureAwait(false);
            throw;
        }
        Log.Started(_logger, slot.Probe.Descriptor.Name, slot.Probe.Status.Source ?? "-");
    }

    private static async Task StopSlotAsync(ProbeSlot slot)
    {
        slot.Retry?.Dispose();
        slot.Retry = null;
        slot.Attempts = 0;
        slot.HubConnection?.Dispose();
        slot.HubConnection = null;
        await slot.Probe.StopAsync().ConfigureAwait(false);
        slot.Meter?.Clear();
    }

    private static ProbeLease Lease(ProbeSlot slot)
    {
        slot.Uses++;
        int generation = slot.Generation;
        return new ProbeLease(slot.Probe, async () =>
        {
            await slot.Turn.WaitAsync().ConfigureAwait(false);
            try
            {
                if (slot.Generation != generation || slot.Uses == 0) return;
                slot.Uses--;
                if (slot.Uses == 0) await StopSlotAsync(slot).ConfigureAwait(false);
            }
            finally
            {
                slot.Turn.Release();
            }
        });
    }

    private bool TryCollect(ProbeSlot slot, ISampleVisitor visitor, SampleRound round)
    {
        if (slot.Probe is not IMetricProbe probe) return false;
        ProbeStatus run = probe.Status;
        if (run.State != ProbeState.Running) return false;
        try
        {
            probe.Collect(visitor, round);
            if (slot.Attempts != 0)
            {
                slot.Attempts = 0;
                slot.LoggedReason = null;
            }
            return true;
        }
        catch (ProbeNotRunningException)
        {
            return false; // stopped between the look and the sample
        }
        catch (Exception e) when (e is not VisitorException)
        {
            string reason = e is ProbeUnavailableException ? e.Message : $"{e.GetType().Name}: {e.Message}";
            _ = FailAsync(slot, run, reason);
            return false;
        }
    }

    // Meters ask probe by probe. Rounds younger than the reuse time are shared, so that probes that read one file share it.
    private SampleRound MeterRound()
    {
        lock (_slots)
        {
            if (_meterRound == 0 || _clock.GetElapsedTime(_meterRoundAt) > _options.MeterSampleReuse)
            {
                _meterRound = SampleRound.Next().Id;
                _meterRoundAt = _clock.GetTimestamp();
            }
            return new SampleRound(_meterRound);
        }
    }

    // Nobody waits for this: it must not throw.
    private async Task FailAsync(ProbeSlot slot, ProbeStatus run, string reason)
    {
        await slot.Turn.WaitAsync().ConfigureAwait(false);
        try
        {
            if (slot.Probe.Status.State != ProbeState.Running || _disposed) return;
            if (slot.Probe is not Probe probe) await slot.Probe.StopAsync().ConfigureAwait(false);
            else if (!await probe.FailAsync(run, reason).ConfigureAwait(false)) return;
            ScheduleRetry(slot, reason);
        }
#pragma warning disable CA1031 // Only a probe that is not derived from Probe can throw when stopped.
        catch (Exception e)
#pragma warning restore CA1031
        {
            Log.StopFailed(_logger, slot.Probe.Descriptor.Name, e.Message);
        }
        finally
        {
            slot.Turn.Release();
        }
    }

    private void ScheduleRetry(ProbeSlot slot, string reason)
    {
        if (_disposed || slot.Uses == 0) return;
        slot.Attempts++;
        TimeSpan delay = BackOff(slot.Attempts);
        // Said once: a probe that is not for this machine would otherwise fill the log with its retries.
        if (reason == slot.LoggedReason) Log.StillDown(_logger, slot.Probe.Descriptor.Name, reason, delay);
        else if (slot.Probe.Status.State == ProbeState.Unavailable) Log.Unavailable(_logger, slot.Probe.Descriptor.Name, reason, delay);
        else Log.Failed(_logger, slot.Probe.Descriptor.Name, reason, delay);
        slot.LoggedReason = reason;
        slot.Retry?.Dispose();
        slot.Retry = _clock.CreateTimer(_ => _ = RetryAsync(slot), null, delay, Timeout.InfiniteTimeSpan);
    }

    private TimeSpan BackOff(int attempt)
    {
        double factor = Math.Pow(2, Math.Min(attempt - 1, 20));
        return TimeSpan.FromTicks((long)Math.Min(_options.RetryDelay.Ticks * factor, _options.MaxRetryDelay.Ticks));
    }

    private async Task RetryAsync(ProbeSlot slot)
    {
        await slot.Turn.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_disposed || slot.Uses == 0 || slot.Probe.Status.State is not (ProbeState.Failed or ProbeState.Unavailable or ProbeState.Stopped)) return;
            await StartSlotAsync(slot, CancellationToken.None).ConfigureAwait(false);
        }
#pragma warning disable CA1031 // Whatever keeps a probe from starting, it is reported and tried again.
        catch (Exception e)
#pragma warning restore CA1031
        {
            ScheduleRetry(slot, e.Message);
        }
        finally
        {
            slot.Turn.Release();
        }
    }
}

/// <summary>
/// Throw this (or derive from it) from a visitor when the failure is the visitor's own (a closed connection), so that
/// the probe is not blamed for it.
/// </summary>
public class VisitorException : Exception
{
    /// <summary>Makes the exception.</summary>
    public VisitorException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
