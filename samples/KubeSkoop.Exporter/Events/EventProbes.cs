namespace KubeSkoop.Exporter.Events;

/// <summary>Probes by name, as those have them who want events.</summary>
internal static class EventProbes
{
    /// <summary>Why there are no events by that name; <see langword="null"/> where there are.</summary>
    internal static string? Refusal(IProbeManager manager, string name)
    {
        IProbe? probe = manager.Find(name);
        if (probe is IEventProbe) return null;
        IEnumerable<string> known = manager.Probes.Where(static p => p is IEventProbe).Select(static p => p.Descriptor.Name);
        return probe is null ? new UnknownProbeException(name, known).Message : $"The probe '{probe.Descriptor.Name}' has no events. Probes that have: {string.Join(", ", known)}.";
    }
}
