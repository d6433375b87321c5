namespace KubeSkoop.Probes.Procfs;

/// <summary>Settings of the probe <c>fd</c>.</summary>
public sealed class FdOptions : ProbeOptions
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":fd";

    /// <summary>Whether sockets are told from other descriptors, which takes a system call for each descriptor. Default: yes.</summary>
    public bool CountSockets { get; set; } = true;

    /// <summary>
    /// Most descriptors that are looked at in one sample to find sockets; about 1 microsecond each. The rest is looked at
    /// in the following samples, and until then the processes' last counts stand. Default: 100,000.
    /// </summary>
    public int MaxLinksPerSample { get; set; } = 100_000;

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        if (MaxLinksPerSample < 1) yield return $"{SectionName}:{nameof(MaxLinksPerSample)} is {MaxLinksPerSample}; it must be 1 or more.";
    }
}
