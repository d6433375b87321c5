using System.Net;
using KubeSkoop.Exporter.Metrics;

namespace KubeSkoop.Exporter.Configuration;

/// <summary>Settings of the exporter itself, section <c>KubeSkoop:Exporter</c>.</summary>
internal sealed class ExporterOptions
{
    internal const string SectionName = "KubeSkoop:Exporter";

    /// <summary>The probes that run when the configuration names none: low overhead, useful every day.</summary>
    internal static readonly string[] DefaultProbes = ["sock", "tcp", "udp", "ip", "icmp", "tcpext", "netdev", "qdisc", "softnet", "ipvs", "io"];

    /// <summary>TCP port. Zero takes a free one.</summary>
    public int Port { get; set; } = 9102;

    /// <summary>Address to listen on; <c>*</c> for all. Loopback unless told otherwise: the numbers tell much about a machine.</summary>
    public string Listen { get; set; } = "127.0.0.1";

    /// <summary><c>otel</c> or <c>kubeskoop</c>.</summary>
    public string Naming { get; set; } = "otel";

    /// <summary>Whether probes may be started and stopped over HTTP. Default: when listening on loopback.</summary>
    public bool? AllowControl { get; set; }

    /// <summary>Base address of an OTLP receiver (HTTP, protobuf), for example <c>http://127.0.0.1:4318</c>.</summary>
    public string? Otlp { get; set; }

    /// <summary>Time between two OTLP exports.</summary>
    public TimeSpan OtlpInterval { get; set; } = TimeSpan.FromSeconds(15);

    /// <summary>The most series OpenTelemetry keeps per instrument; what exceeds it is folded into an overflow series.</summary>
    public int OtlpSeriesPerInstrument { get; set; } = 20_000;

    internal MetricNaming MetricNaming() =>
        string.Equals(Naming, "kubeskoop", StringComparison.OrdinalIgnoreCase) ? Metrics.MetricNaming.KubeSkoop : Metrics.MetricNaming.OpenTelemetry;

    internal IPAddress? ListenAddress() =>
        Listen is "*" or "+" ? IPAddress.IPv6Any
        : string.Equals(Listen, "localhost", StringComparison.OrdinalIgnoreCase) ? IPAddress.Loopback
        : IPAddress.TryParse(Listen, out IPAddress? address) ? address : null;

    internal bool ControlAllowed() => AllowControl ?? (ListenAddress() is { } address && IPAddress.IsLoopback(address));

    internal Uri? OtlpEndpoint() => Otlp is { Length: > 0 } && Uri.TryCreate(Otlp, UriKind.Absolute, out Uri? uri) ? uri : null;

    /// <summary>Every mistake, naming its key.</summary>
    internal IEnumerable<string> Validate()
    {
        if (Port is < 0 or > 65535) yield return $"{SectionName}:{nameof(Port)} is {Port}; it must lie between 0 and 65535.";
        if (ListenAddress() is null) yield return $"{SectionName}:{nameof(Listen)} is '{Listen}'; it must be an IP address, localhost, or * for all.";
        if (!string.Equals(Naming, "otel", StringComparison.OrdinalIgnoreCase) && MetricNaming() != Metrics.MetricNaming.KubeSkoop)
            yield return $"{SectionName}:{nameof(Naming)} is '{Naming}'; it must be otel or kubeskoop.";
        if (Otlp is { Length: > 0 } && OtlpEndpoint() is not { Scheme: "http" or "https" })
            yield return $"{SectionName}:{nameof(Otlp)} is '{Otlp}'; it must be an address such as http://127.0.0.1:4318.";
        if (OtlpInterval <= TimeSpan.Zero || OtlpInterval > TimeSpan.FromDays(1))
            yield return $"{SectionName}:{nameof(OtlpInterval)} is {OtlpInterval}; it must be longer than zero and at most a day.";
        if (OtlpSeriesPerInstrument < 1) yield return $"{SectionName}:{nameof(OtlpSeriesPerInstrument)} is {OtlpSeriesPerInstrument}; it must be at least 1.";
    }
}
