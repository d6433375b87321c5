using System.Globalization;
using System.Text;

namespace KubeSkoop.Exporter.Metrics;

/// <summary>Everything about a metric that is the same in every scrape, as bytes.</summary>
internal sealed class MetricFamily
{
    private MetricFamily(string[] claims, byte[] textHead, byte[] openMetricsHead, byte[] sampleName)
    {
        Claims = claims;
        TextHead = textHead;
        OpenMetricsHead = openMetricsHead;
        SampleName = sampleName;
    }

    /// <summary>The names it takes up: no other family of an answer may have one of them.</summary>
    internal string[] Claims { get; }

    /// <summary>The claims as numbers, given by the writer.</summary>
    internal int[] ClaimIds { get; set; } = [];

    internal byte[] TextHead { get; }

    internal byte[] OpenMetricsHead { get; }

    /// <summary>What a sample's line begins with; for a histogram without <c>_bucket</c> and its like.</summary>
    internal byte[] SampleName { get; }

    /// <summary>A histogram's bounds, each as <c>,le="0.5"} </c>; two spellings, because OpenMetrics wants <c>1.0</c> for 1.</summary>
    internal byte[][] TextBounds { get; private init; } = [];

    internal byte[][] OpenMetricsBounds { get; private init; } = [];

    /// <summary>Under OpenTelemetry's rules.</summary>
    internal static MetricFamily Own(string instrument, MetricKind kind, string unit, string description, double histogramScale)
    {
        string family = PrometheusNames.Family(instrument, kind, unit);
        string sample = kind == MetricKind.Counter ? family + "_total" : family;
        string unitName = PrometheusNames.Unit(unit);
        string unitLine = unitName.Length > 0 && family.EndsWith("_" + unitName, StringComparison.Ordinal) ? $"# UNIT {family} {unitName}\n" : string.Empty;
        string[] claims = kind switch
        {
            MetricKind.Counter => [family, sample],
            MetricKind.Histogram => [family, family + "_bucket", family + "_sum", family + "_count"],
            _ => [family],
        };
        return new MetricFamily(claims,
            Head(sample, kind, description, escapeQuotes: false, string.Empty),
            Head(family, kind, description, escapeQuotes: true, unitLine),
            Encoding.UTF8.GetBytes(sample))
        {
            TextBounds = kind == MetricKind.Histogram ? Bounds(histogramScale, openMetrics: false) : [],
            OpenMetricsBounds = kind == MetricKind.Histogram ? Bounds(histogramScale, openMetrics: true) : [],
        };
    }

    /// <summary>Under upstream's name, untouched. Only ever written as Prometheus text.</summary>
    internal static MetricFamily Upstream(string name, MetricKind kind, string description)
    {
        byte[] head = Head(name, kind, description, escapeQuotes: false, string.Empty);
        return new MetricFamily([name], head, head, Encoding.UTF8.GetBytes(name));
    }

    private static byte[] Head(string name, MetricKind kind, string description, bool escapeQuotes, string unitLine)
    {
        var text = new StringBuilder(256);
        text.Append("# HELP ").Append(name).Append(' ');
        SafeText.AppendHelp(text, description, escapeQuotes);
        text.Append("\n# TYPE ").Append(name).Append(kind switch
        {
            MetricKind.Counter => " counter\n",
            MetricKind.Histogram => " histogram\n",
            _ => " gauge\n",
        });
        text.Append(unitLine);
        return Encoding.UTF8.GetBytes(text.ToString());
    }

    private static byte[][] Bounds(double scale, bool openMetrics)
    {
        var bounds = new byte[Log2Histogram.BucketCount][];
        for (int i = 0; i < bounds.Length; i++)
        {
            double bound = Log2Histogram.UpperBound(i) * scale;
            string text = double.IsPositiveInfinity(bound) ? "+Inf" : bound.ToString("R", CultureInfo.InvariantCulture).ToLowerInvariant();
            if (openMetrics && text.AsSpan().IndexOfAnyExceptInRange('0', '9') < 0) text += ".0";
            bounds[i] = Encoding.UTF8.GetBytes($",le=\"{text}\"}} ");
        }
        return bounds;
    }
}
