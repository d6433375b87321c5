using System.Globalization;
using KubeSkoop.Exporter.Metrics;
using Microsoft.Extensions.Primitives;

namespace KubeSkoop.Exporter.Http;

/// <summary>Which format and encoding a client asked for (RFC 9110, sections 12.5.1 and 12.5.3). Never refuses: text is the fallback.</summary>
internal static class Negotiation
{
    internal const string TextContentType = "text/plain; version=0.0.4; charset=utf-8";
    internal const string OpenMetricsContentType = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// <summary>The format the client prefers among those we write; on a tie OpenMetrics, if it was named.</summary>
    internal static ExpositionFormat Format(StringValues accept)
    {
        double text = -1, openMetrics = -1;
        int textRank = -1;
        foreach (string? header in accept)
        {
            foreach (Range part in header.AsSpan().Split(','))
            {
                ReadOnlySpan<char> item = header.AsSpan(part);
                ReadOnlySpan<char> type = Name(item);
                double quality = Quality(item);
                if (Is(type, "application/openmetrics-text"))
                {
                    if (Parameter(item, "version") is "" or "1.0.0") openMetrics = Math.Max(openMetrics, quality);
                    continue;
                }
                // The most specific range decides, whatever its place.
                int rank = Is(type, "text/plain") ? 2 : Is(type, "text/*") ? 1 : Is(type, "*/*") ? 0 : -1;
                if (rank < 0 || (rank == 2 && Parameter(item, "version") is not ("" or "0.0.4")) || rank < textRank) continue;
                text = rank == textRank ? Math.Max(text, quality) : quality;
                textRank = rank;
            }
        }
        return openMetrics > 0 && openMetrics >= text ? ExpositionFormat.OpenMetrics : ExpositionFormat.PrometheusText;
    }

    /// <summary>Whether the client takes gzip. Naming it decides; <c>*</c> counts where it is not named.</summary>
    internal static bool AcceptsGzip(StringValues acceptEncoding)
    {
        double? named = null, any = null;
        foreach (string? header in acceptEncoding)
        {
            foreach (Range part in header.AsSpan().Split(','))
            {
                ReadOnlySpan<char> item = header.AsSpan(part);
                ReadOnlySpan<char> coding = Name(item);
                if (Is(coding, "gzip") || Is(coding, "x-gzip")) named = Math.Max(named ?? 0, Quality(item));
                else if (coding is "*") any = Quality(item);
            }
        }
        return (named ?? any ?? 0) > 0;
    }

    private static ReadOnlySpan<char> Name(ReadOnlySpan<char> item)
    {
        int end = item.IndexOf(';');
        return (end < 0 ? item : item[..end]).Trim();
    }

    private static bool Is(ReadOnlySpan<char> name, string expected) => name.Equals(expected, StringComparison.OrdinalIgnoreCase);

    // A quality that cannot be read is as good as none given.
    private static double Quality(ReadOnlySpan<char> item)
    {
        ReadOnlySpan<char> q = Parameter(item, "q");
        return !q.IsEmpty && double.TryParse(q, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value) && value is >= 0 and <= 1 ? value : 1;
    }

    private static ReadOnlySpan<char> Parameter(ReadOnlySpan<char> item, string name)
    {
        foreach (Range part in item.Split(';'))
        {
            ReadOnlySpan<char> pair = item[part];
            int equals = pair.IndexOf('=');
            if (equals > 0 && Is(pair[..equals].Trim(), name)) return pair[(equals + 1)..].Trim().Trim('"');
        }
        return [];
    }
}
