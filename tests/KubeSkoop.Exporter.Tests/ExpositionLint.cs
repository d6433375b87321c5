using System.Globalization;
using System.Text.RegularExpressions;

namespace KubeSkoop.Exporter.Tests;

/// <summary>
/// What a strict parser of the text formats checks, written from the formats' descriptions and sharing no code with the
/// writer: every line parses, a family stands in one piece, no series appears twice.
/// </summary>
internal static partial class ExpositionLint
{
    internal sealed record Sample(string Name, SortedDictionary<string, string> Labels, string Value)
    {
        internal string Key => $"{Name}{{{string.Join(",", Labels.Select(static l => $"{l.Key}={l.Value.Length}:{l.Value}"))}}}";
    }

    /// <summary>Parses a whole answer; throws with the line's number at the first mistake.</summary>
    internal static List<Sample> Parse(string text, bool openMetrics)
    {
        if (!text.EndsWith('\n')) throw new FormatException("The last line has no end.");
        string[] lines = text[..^1].Split('\n');
        if (openMetrics)
        {
            if (lines[^1] != "# EOF") throw new FormatException("OpenMetrics ends with # EOF.");
            lines = lines[..^1];
        }
        var samples = new List<Sample>();
        var types = new Dictionary<string, string>();
        var closed = new HashSet<string>();
        var series = new HashSet<string>();
        string family = "";
        for (int i = 0; i < lines.Length; i++)
        {
            string line = lines[i];
            void Require(bool condition, string what)
            {
                if (!condition) throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"Line {i + 1}: {what}: {line}"));
            }

            Require(!line.Any(static c => c < ' ' || c == '\x7f' || c == '\u2028'), "control character");
            if (line.StartsWith('#'))
            {
                Match meta = MetaLine().Match(line);
                Require(meta.Success, "neither HELP, TYPE nor UNIT");
                string name = meta.Groups["name"].Value;
                if (name != family)
                {
                    Require(closed.Add(name), "family in two pieces");
                    family = name;
                }
                if (meta.Groups["kind"].Value == "TYPE")
                {
                    Require(meta.Groups["text"].Value is "counter" or "gauge" or "histogram", "type");
                    Require(types.TryAdd(name, meta.Groups["text"].Value), "second TYPE");
                    Require(!openMetrics || types[name] != "counter" || !name.EndsWith("_total", StringComparison.Ordinal), "an OpenMetrics counter family has no _total");
                }
                if (meta.Groups["kind"].Value == "UNIT")
                    Require(openMetrics && name.EndsWith("_" + meta.Groups["text"].Value, StringComparison.Ordinal), "unit is no suffix of the name");
                continue;
            }
            Match match = SampleLine().Match(line);
            Require(match.Success, "no sample");
            string sample = match.Groups["name"].Value;
            Require(types.ContainsKey(family), "no TYPE before");
            bool belongs = types[family] switch
            {
                "histogram" => sample == family + "_bucket" || sample == family + "_sum" || sample == family + "_count",
                "counter" => sample == (openMetrics ? family + "_total" : family),
                _ => sample == family,
            };
            Require(belongs, $"does not belong to the family {family}");
            var labels = new SortedDictionary<string, string>(StringComparer.Ordinal);
            foreach (Match label in Label().Matches(match.Groups["labels"].Value))
                Require(labels.TryAdd(label.Groups["name"].Value, label.Groups["value"].Value.Replace("\\n", "\n", StringComparison.Ordinal).Replace("\\\"", "\"", StringComparison.Ordinal).Replace("\\\\", "\\", StringComparison.Ordinal)), "label twice");
            string value = match.Groups["value"].Value;
            Require(value is "NaN" or "+Inf" or "-Inf" || double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out _), "no number");
            if (types[family] == "counter") Require(double.Parse(value, CultureInfo.InvariantCulture) >= 0, "negative counter");
            var parsed = new Sample(sample, labels, value);
            Require(series.Add(parsed.Key), "series twice");
            samples.Add(parsed);
        }
        CheckHistograms(samples, types);
        return samples;
    }

    private static void CheckHistograms(List<Sample> samples, Dictionary<string, string> types)
    {
        foreach (string family in types.Where(static t => t.Value == "histogram").Select(static t => t.Key))
        {
            var counts = samples.Where(s => s.Name == family + "_count").ToDictionary(static s => string.Join(",", s.Labels), static s => s.Value);
            var rows = samples.Where(s => s.Name == family + "_bucket").GroupBy(static s => string.Join(",", s.Labels.Where(static l => l.Key != "le")));
            foreach (var row in rows)
            {
                double[] bounds = [.. row.Select(static s => s.Labels["le"] == "+Inf" ? double.PositiveInfinity : double.Parse(s.Labels["le"], CultureInfo.InvariantCulture))];
                ulong[] cumulative = [.. row.Select(static s => ulong.Parse(s.Value, CultureInfo.InvariantCulture))];
                if (!bounds.SequenceEqual(bounds.Order()) || !cumulative.SequenceEqual(cumulative.Order()) || !double.IsPositiveInfinity(bounds[^1]))
                    throw new FormatException($"The buckets of {family} are out of order.");
                if (counts[row.Key] != row.Last().Value) throw new FormatException($"The last bucket of {family} is not its count.");
            }
        }
    }

    [GeneratedRegex("^# (?<kind>HELP|TYPE|UNIT) (?<name>[a-zA-Z_:][a-zA-Z0-9_:]*) (?<text>.*)$")]
    private static partial Regex MetaLine();

    [GeneratedRegex("""^(?<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?<labels>[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\[\\"n])*"(,[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\[\\"n])*")*)\})? (?<value>[^ ]+)$""")]
    private static partial Regex SampleLine();

    [GeneratedRegex("""(?<name>[a-zA-Z_][a-zA-Z0-9_]*)="(?<value>([^"\\]|\\[\\"n])*)"(,|$)""")]
    private static partial Regex Label();
}
