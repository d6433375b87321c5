using System.Text.RegularExpressions;

namespace KubeSkoop.Probes;

/// <summary>Which kernel interface a probe reads.</summary>
public enum ProbeSource
{
    /// <summary>Files below <c>/proc</c> (and <c>/sys</c>).</summary>
    Procfs,

    /// <summary>netlink sockets.</summary>
    Netlink,

    /// <summary>BPF programs and maps.</summary>
    Ebpf,

    /// <summary>Something else: the SDK itself, or a probe of the host's.</summary>
    Other,
}

/// <summary>What running a probe costs. The measured cost is a metric of the probe itself.</summary>
public enum OverheadClass
{
    /// <summary>May run every day on every node.</summary>
    Low,

    /// <summary>Noticeable on busy nodes.</summary>
    Medium,

    /// <summary>Plug it in when trouble shows, then unplug it.</summary>
    High,
}

/// <summary>Everything there is to know about a probe without starting it. The CLI list, the docs and the status page are made from it.</summary>
public sealed partial record ProbeDescriptor
{
    private readonly string _name = string.Empty;

    /// <summary>The probe's name: lower-case letters, digits and underscores.</summary>
    /// <exception cref="ArgumentException">The name has other characters.</exception>
    public required string Name
    {
        get => _name;
        init
        {
            ArgumentException.ThrowIfNullOrEmpty(value);
            if (!NamePattern().IsMatch(value))
                throw new ArgumentException($"'{value}' is no probe name: use lower-case letters, digits and '_'.", nameof(value));
            _name = value;
        }
    }

    /// <summary>Other names the probe answers to (upstream's registered names).</summary>
    public IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>The kernel interface it reads.</summary>
    public required ProbeSource Source { get; init; }

    /// <summary>What it costs.</summary>
    public required OverheadClass Overhead { get; init; }

    /// <summary>What it does, in one line.</summary>
    public required string Purpose { get; init; }

    /// <summary>The problems it finds, one a line.</summary>
    public IReadOnlyList<string> Finds { get; init; } = [];

    /// <summary>The kernel files, messages or hooks the numbers come from.</summary>
    public IReadOnlyList<string> KernelSources { get; init; } = [];

    /// <summary>Capabilities, kernel features and files it needs.</summary>
    public IReadOnlyList<string> Requirements { get; init; } = [];

    /// <summary>What a row is keyed by, beside the network namespace and the pod.</summary>
    public IReadOnlyList<AttributeDescriptor> Attributes { get; init; } = [];

    /// <summary>Its metrics; more may follow at run time where the kernel names them itself.</summary>
    public IReadOnlyList<MetricDescriptor> Metrics { get; init; } = [];

    /// <summary>Its events.</summary>
    public IReadOnlyList<EventDescriptor> Events { get; init; } = [];

    /// <summary>Its settings.</summary>
    public IReadOnlyList<OptionDescriptor> Options { get; init; } = [];

    /// <summary>What it does not see, and other things to know, one a line.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>Whether <paramref name="name"/> is the probe's name or one of its aliases.</summary>
    public bool Answers(string name)
    {
        if (string.Equals(name, Name, StringComparison.OrdinalIgnoreCase)) return true;
        for (int i = 0; i < Aliases.Count; i++)
            if (string.Equals(name, Aliases[i], StringComparison.OrdinalIgnoreCase)) return true;
        return false;
    }

    [GeneratedRegex("^[a-z][a-z0-9_]*\\z")]
    private static partial Regex NamePattern();
}

/// <summary>A metric, as told to people.</summary>
/// <param name="Name">The instrument's name, for example <c>kubeskoop.tcp.active_opens</c>.</param>
/// <param name="Kind">Counter, gauge or histogram.</param>
/// <param name="Unit">The OpenTelemetry (UCUM) unit.</param>
/// <param name="Description">What it counts.</param>
/// <param name="UpstreamName">The name under which KubeSkoop's own exporter publishes it, if it does.</param>
public sealed record MetricDescriptor(string Name, MetricKind Kind, string Unit, string Description, string? UpstreamName);

/// <summary>A key of a record, beside namespace and pod.</summary>
/// <param name="Name">The attribute's name, for example <c>network.interface.name</c>.</param>
/// <param name="Description">Its values.</param>
public sealed record AttributeDescriptor(string Name, string Description);

/// <summary>An event, as told to people.</summary>
/// <param name="Name">The event's name.</param>
/// <param name="Description">When it is sent and what it carries.</param>
public sealed record EventDescriptor(string Name, string Description);

/// <summary>A setting of a probe, as told to people.</summary>
/// <param name="Name">The property's name on the options class, and the configuration key.</param>
/// <param name="Type">Its type, in words.</param>
/// <param name="Default">Its default, as written in a configuration file.</param>
/// <param name="Description">What it does.</param>
public sealed record OptionDescriptor(string Name, string Type, string Default, string Description);
