namespace KubeSkoop.Probes;

/// <summary>Base of a probe's settings: properties with defaults, and a validation whose messages name the key.</summary>
public abstract class ProbeOptions
{
    /// <summary>Every mistake, one message each, in the form <c>Key: what is wrong, what is right</c>.</summary>
    public virtual IEnumerable<string> Validate() => [];
}

/// <summary>A probe with settings.</summary>
/// <typeparam name="TOptions">The settings.</typeparam>
public interface IConfigurableProbe<TOptions> : IConfigurableProbe
    where TOptions : ProbeOptions
{
    /// <summary>The settings in force.</summary>
    TOptions Options { get; }
}

/// <summary>The untyped side of <see cref="IConfigurableProbe{TOptions}"/>.</summary>
public interface IConfigurableProbe : IProbe
{
    /// <summary>The type <see cref="Configure"/> takes.</summary>
    Type OptionsType { get; }

    /// <summary>Whether <see cref="Configure"/> takes these settings also while the probe runs, without a restart and so without a gap.</summary>
    bool CanConfigureWhileRunning(ProbeOptions options) => false;

    /// <summary>Replaces the settings; the probe must be stopped, unless it can take them while it runs (<see cref="CanConfigureWhileRunning"/>).</summary>
    /// <exception cref="ArgumentException">They are of another type, or a value is out of range; the message names the key.</exception>
    /// <exception cref="InvalidOperationException">The probe runs, and cannot take settings then.</exception>
    void Configure(ProbeOptions options);
}
