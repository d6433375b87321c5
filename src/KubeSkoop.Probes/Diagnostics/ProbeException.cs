namespace KubeSkoop.Probes;

/// <summary>This machine lacks what a probe needs. The message names what, why and what to do.</summary>
public sealed class ProbeUnavailableException : Exception
{
    /// <summary>Makes the exception with a message of the form <c>probe: what: why. remedy</c>.</summary>
    /// <param name="probe">The probe's name.</param>
    /// <param name="what">What could not be done.</param>
    /// <param name="why">The kernel's or the system's reason.</param>
    /// <param name="remedy">What a person can do about it.</param>
    /// <param name="inner">The cause, if any.</param>
    public ProbeUnavailableException(string probe, string what, string why, string remedy, Exception? inner = null)
        : base($"{probe}: {what}: {why}. {remedy}", inner)
    {
        Probe = probe;
        What = what;
        Why = why;
        Remedy = remedy;
    }

    /// <summary>The probe's name.</summary>
    public string Probe { get; }

    /// <summary>What could not be done.</summary>
    public string What { get; }

    /// <summary>The reason.</summary>
    public string Why { get; }

    /// <summary>What a person can do about it.</summary>
    public string Remedy { get; }
}

/// <summary>A sample was asked of a probe that does not run.</summary>
public sealed class ProbeNotRunningException : InvalidOperationException
{
    internal ProbeNotRunningException(string probe, ProbeStatus status)
        : base(status.Reason is { } reason
            ? $"The probe '{probe}' is {status.State}: {reason}"
            : $"The probe '{probe}' is {status.State}; start it before sampling.") => Status = status;

    /// <summary>The state that was found.</summary>
    public ProbeStatus Status { get; }
}

/// <summary>No probe answers to a name.</summary>
public sealed class UnknownProbeException : ArgumentException
{
    /// <summary>Makes the exception; the message lists the names there are.</summary>
    public UnknownProbeException(string name, IEnumerable<string> known)
        : base($"There is no probe '{name}'. Known probes: {string.Join(", ", known)}.") => Name = name;

    /// <summary>The name that was asked for.</summary>
    public string Name { get; }
}
