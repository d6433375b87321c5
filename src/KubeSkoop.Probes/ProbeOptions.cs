namespace KubeSkoop.Probes;

/// <summary>Base of a probe's settings: properties with defaults, and a validation whose messages name the key.</summary>
public abstract class ProbeOptions
{
    /// <summary>Every mistake, one message each, in the form <c>Key: what is wrong, what is right</c>.</summary>
    public virtual IEnumerable<string> Validate() => [];
}

/// <summary>A probe with settings. They take effect at the next start.</summary>
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

    /// <summary>Replaces the settings; the probe must be stopped.</summary>
    /// <exception cref="ArgumentException">They are of another type, or a value is out of range; the message names the key.</exception>
    /// <exception cref="InvalidOperationException">The probe runs.</exception>
    void Configure(ProbeOptions options);
}
