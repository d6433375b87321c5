using KubeSkoop.Probes.Interop;

namespace KubeSkoop.Probes;

/// <summary>
/// The life of a probe, done once for all: start and stop are idempotent and safe at any time, and a start that fails
/// half-way releases what it had taken. Derive from <see cref="MetricProbe{TRecord}"/> or <see cref="EventProbe{TEvent}"/>.
/// </summary>
public abstract class Probe : IProbe
{
    private readonly SemaphoreSlim _transition = new(1, 1);
    private volatile ProbeStatus _status;

    /// <summary>Makes a stopped probe.</summary>
    protected Probe(ProbeDescriptor descriptor, TimeProvider? clock = null)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        Descriptor = descriptor;
        Clock = clock ?? TimeProvider.System;
        _status = new ProbeStatus(ProbeState.Stopped, null, null, Clock.GetUtcNow());
    }

    /// <inheritdoc />
    public ProbeDescriptor Descriptor { get; }

    /// <inheritdoc />
    public ProbeStatus Status => _status;

    /// <inheritdoc />
    public ProbeStatistics Statistics { get; } = new();

    /// <summary>The clock; a fake one in tests.</summary>
    protected TimeProvider Clock { get; }

    /// <summary>Serialises sampling with starting and stopping. Never awaited under.</summary>
    internal Lock Gate { get; } = new();

    /// <inheritdoc />
    public async Task StartAsync(CancellationToken cancellationToken = default)
    {
        await _transition.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_status.State == ProbeState.Running) return;
            Enter(ProbeState.Starting);
            try
            {
                string? source = await OnStartAsync(cancellationToken).ConfigureAwait(false);
                Statistics.Started();
                Enter(ProbeState.Running, source: source);
            }
            catch (Exception e)
            {
                await ReleaseAsync().ConfigureAwait(false);
                switch (e)
                {
                    case OperationCanceledException when cancellationToken.IsCancellationRequested:
                        Enter(ProbeState.Stopped);
                        break;
                    case ProbeUnavailableException:
                        Statistics.Failed();
                        Enter(ProbeState.Unavailable, e.Message);
                        break;
                    default:
                        Statistics.Failed();
                        Enter(ProbeState.Failed, e.Message);
                        break;
                }
                throw;
            }
        }
        finally
        {
            _transition.Release();
        }
    }

    /// <inheritdoc />
    public async Task StopAsync(CancellationToken cancellationToken = default)
    {
        await _transition.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_status.State == ProbeState.Stopped) return;
            bool held = _status.State == ProbeState.Running;
            Enter(ProbeState.Stopping);
            if (held) await ReleaseAsync().ConfigureAwait(false);
            Enter(ProbeState.Stopped);
        }
        finally
        {
            _transition.Release();
        }
    }

    /// <summary>Stops the probe. It may be started again.</summary>
    public async ValueTask DisposeAsync()
    {
        await StopAsync().ConfigureAwait(false);
        GC.SuppressFinalize(this);
    }

    /// <summary>Does work of the probe's own outside of samples (listening, counting in the background), so that its CPU time counts as the probe's.</summary>
    protected void Account(Action work)
    {
        ArgumentNullException.ThrowIfNull(work);
        long began = ThreadClock.CpuNanoseconds();
        try
        {
            work();
        }
        finally
        {
            Statistics.Worked(ThreadClock.CpuNanoseconds() - began);
        }
    }

    /// <summary>Takes what the probe needs.</summary>
    /// <returns>The way to the kernel that was taken, for <see cref="ProbeStatus.Source"/>.</returns>
    /// <exception cref="ProbeUnavailableException">This machine lacks what the probe needs.</exception>
    protected abstract ValueTask<string?> OnStartAsync(CancellationToken cancellationToken);

    /// <summary>Releases everything; also called after a start that failed half-way. Must not throw.</summary>
    protected abstract ValueTask OnStopAsync();

    /// <summary>Marks a running probe as failed and releases what it holds. The manager starts it again later.</summary>
    /// <param name="run">The status under which it failed; a run begun since is not touched.</param>
    /// <param name="reason">What went wrong.</param>
    /// <returns>Whether that run was still on.</returns>
    internal async Task<bool> FailAsync(ProbeStatus run, string reason)
    {
        await _transition.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_status.State != ProbeState.Running || !ReferenceEquals(_status, run)) return false;
            Enter(ProbeState.Stopping);
            await ReleaseAsync().ConfigureAwait(false);
            Enter(ProbeState.Failed, reason);
            return true;
        }
        finally
        {
            _transition.Release();
        }
    }

    private async Task ReleaseAsync()
    {
        try
        {
            await OnStopAsync().ConfigureAwait(false);
        }
#pragma warning disable CA1031 // A probe that cannot clean up must not keep the others from stopping.
        catch (Exception)
#pragma warning restore CA1031
        {
            Statistics.Failed();
        }
        Statistics.Stopped();
        Forget();
    }

    /// <summary>Lets go of the last sample.</summary>
    private protected virtual void Forget()
    {
    }

    // Under the gate, so that a sample in flight has ended before anything is released, and none begins after.
    private void Enter(ProbeState state, string? reason = null, string? source = null)
    {
        lock (Gate) _status = new ProbeStatus(state, reason, source, Clock.GetUtcNow());
    }
}
