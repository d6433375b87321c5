namespace KubeSkoop.Probes;

/// <summary>Where a probe is in its life. The numbers are what <c>kubeskoop.probe.state</c> publishes.</summary>
public enum ProbeState
{
    /// <summary>Not running; costs nothing: no descriptor, no thread, no series.</summary>
    Stopped = 0,

    /// <summary>Being started.</summary>
    Starting = 1,

    /// <summary>Sampling, or delivering events.</summary>
    Running = 2,

    /// <summary>Being stopped.</summary>
    Stopping = 3,

    /// <summary>Something went wrong; <see cref="ProbeStatus.Reason"/> says what. The manager tries again with back-off.</summary>
    Failed = 4,

    /// <summary>This machine lacks what the probe needs; <see cref="ProbeStatus.Reason"/> says what and what to do.</summary>
    Unavailable = 5,
}

/// <summary>The state of a probe, and why.</summary>
/// <param name="State">Where the probe is in its life.</param>
/// <param name="Reason">Why it is <see cref="ProbeState.Failed"/> or <see cref="ProbeState.Unavailable"/>; otherwise <see langword="null"/>.</param>
/// <param name="Source">The way to the kernel that was taken (for example <c>procfs</c>), once running.</param>
/// <param name="Since">When the state was entered.</param>
public sealed record ProbeStatus(ProbeState State, string? Reason, string? Source, DateTimeOffset Since);
