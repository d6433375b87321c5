using KubeSkoop.Probes.Publishing;

namespace KubeSkoop.Probes.Lifecycle;

/// <summary>What the manager keeps about one probe.</summary>
internal sealed class ProbeSlot(IProbe probe)
{
    internal IProbe Probe { get; } = probe;

    /// <summary>Serialises what the manager does to this probe; other probes are not waited for.</summary>
    internal SemaphoreSlim Turn { get; } = new(1, 1);

    /// <summary>Leases given out since the last forced stop; a lease of an earlier generation counts no more.</summary>
    internal int Uses { get; set; }

    internal int Generation { get; set; }

    internal int Attempts { get; set; }

    /// <summary>Why it does not run, as last logged.</summary>
    internal string? LoggedReason { get; set; }

    internal ITimer? Retry { get; set; }

    internal ProbeMeter? Meter { get; set; }

    internal IDisposable? HubConnection { get; set; }
}
