namespace KubeSkoop.Probes.Procfs;

/// <summary>When to look next: a period after the last look, whatever there is to wake up for in between. In milliseconds of any clock.</summary>
internal sealed class LookSchedule(int period, long now)
{
    private long _next = now + period;

    internal int Period => period;

    /// <summary>How long to sleep: until the next look, or until something that comes sooner.</summary>
    internal int Sleep(long now, long? sooner) => (int)Math.Clamp(Math.Min(_next, sooner ?? _next) - now, 0, period);

    internal bool IsDue(long now) => now >= _next;

    internal void Looked(long now) => _next = now + period;
}
