using System.Text;

namespace KubeSkoop.Exporter.Metrics;

/// <summary>
/// OpenTelemetry names to Prometheus names: dots become underscores, the unit is spelled out and appended once,
/// counters end in <c>_total</c>.
/// </summary>
internal static class PrometheusNames
{
    /// <summary>
    /// The name of a metric family without <c>_total</c>. The unit <c>1</c> adds <c>_ratio</c> only to a gauge whose last
    /// word is <c>utilization</c>, <c>ratio</c> or <c>fraction</c>: a state or a count of 1 is no ratio.
    /// </summary>
    internal static string Family(string instrument, MetricKind kind, string unit)
    {
        string name = Sanitize(instrument, colon: true);
        if (kind == MetricKind.Counter) name = Without(name, "_total");
        string suffix = Unit(unit);
        if (unit == "1" && kind == MetricKind.Gauge && IsShare(name)) suffix = "ratio";
        if (suffix.Length > 0 && !HasSuffix(name, suffix)) name = $"{name}_{suffix}";
        return name;
    }

    /// <summary>The unit's name as Prometheus spells it; empty for annotations and pure numbers.</summary>
    internal static string Unit(string unit)
    {
        int brace = unit.IndexOf('{', StringComparison.Ordinal);
        if (brace >= 0)
        {
            int end = unit.IndexOf('}', brace);
            unit = end < 0 ? unit[..brace] : unit.Remove(brace, end - brace + 1);
        }
        int slash = unit.IndexOf('/', StringComparison.Ordinal);
        if (slash < 0) return Word(unit);
        string per = Singular(unit[(slash + 1)..]);
        string what = Word(unit[..slash]);
        return per.Length == 0 ? what : what.Length == 0 ? $"per_{per}" : $"{what}_per_{per}";
    }

    /// <summary>A label's name: letters, digits and single underscores, not beginning with a digit or two underscores.</summary>
    internal static string Label(string attribute)
    {
        string name = Sanitize(attribute, colon: false);
        // Both have a meaning of their own in histograms and summaries.
        return name is "le" or "quantile" ? "attribute_" + name : name;
    }

    private static string Word(string unit) => unit switch
    {
        "" or "1" => string.Empty,
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "bit" => "bits",
        "Hz" => "hertz",
        "%" => "percent",
        "Cel" => "celsius",
        _ => Sanitize(unit, colon: false).Trim('_'),
    };

    private static string Singular(string unit) => unit switch
    {
        "s" => "second",
        "min" => "minute",
        "h" => "hour",
        "d" => "day",
        _ => Word(unit),
    };

    private static bool IsShare(string name) =>
        HasSuffix(name, "utilization") || HasSuffix(name, "ratio") || HasSuffix(name, "fraction");

    private static bool HasSuffix(string name, string word) =>
        name.EndsWith(word, StringComparison.Ordinal) && (name.Length == word.Length || name[^(word.Length + 1)] == '_');

    private static string Without(string name, string suffix) =>
        name.EndsWith(suffix, StringComparison.Ordinal) && name.Length > suffix.Length ? name[..^suffix.Length] : name;

    private static string Sanitize(string name, bool colon)
    {
        var clean = new StringBuilder(name.Length + 1);
        foreach (char c in name)
        {
            bool good = char.IsAsciiLetterOrDigit(c) || (colon && c == ':');
            if (good) clean.Append(c);
            else if (clean.Length == 0 || clean[^1] != '_') clean.Append('_');
        }
        if (clean.Length == 0 || char.IsAsciiDigit(clean[0])) clean.Insert(0, '_');
        return clean.ToString();
    }
}
