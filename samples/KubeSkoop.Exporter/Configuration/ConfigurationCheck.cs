using System.Diagnostics.CodeAnalysis;
using System.Reflection;

namespace KubeSkoop.Exporter.Configuration;

/// <summary>Finds keys that nothing reads, so that a misspelt setting does not pass in silence.</summary>
internal static class ConfigurationCheck
{
    private static readonly string[] ProbesKeys = KeysOf<ProbesOptions>();

    /// <summary>What a configuration may set of settings: what can be assigned, and lists, which are added to.</summary>
    internal static string[] KeysOf<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicProperties)] TOptions>() =>
        [.. typeof(TOptions).GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(static p => p.CanWrite || p.PropertyType != typeof(string)).Select(static p => p.Name)];

    /// <summary>One message for every key that is not known.</summary>
    /// <param name="configuration">The whole configuration.</param>
    /// <param name="probes">What the probes tell about themselves.</param>
    /// <param name="sections">Further sections below <c>KubeSkoop:Probes</c> and their keys.</param>
    internal static IReadOnlyList<string> UnknownKeys(IConfiguration configuration, IEnumerable<ProbeDescriptor> probes,
        IReadOnlyDictionary<string, string[]> sections)
    {
        var problems = new List<string>();
        Check(problems, configuration, ["KubeSkoop"]);
        Check(problems, configuration.GetSection("KubeSkoop"), ["Probes", "Exporter"]);
        Check(problems, configuration.GetSection(ExporterOptions.SectionName), KeysOf<ExporterOptions>());

        ProbeDescriptor[] known = [.. probes];
        NoText(problems, configuration.GetSection(ProbesOptions.SectionName));
        string[] names = [.. ProbesKeys, .. sections.Keys, .. known.Select(static p => p.Name)];
        foreach (IConfigurationSection section in configuration.GetSection(ProbesOptions.SectionName).GetChildren())
        {
            if (ProbesKeys.Contains(section.Key, StringComparer.OrdinalIgnoreCase)) continue;
            if (sections.FirstOrDefault(s => Same(s.Key, section.Key)) is { Value: { } keys })
                Check(problems, section, keys);
            else if (known.FirstOrDefault(p => Same(p.Name, section.Key)) is { } probe)
                Check(problems, section, [.. probe.Options.Select(static o => o.Name)]);
            else if (known.FirstOrDefault(p => p.Answers(section.Key)) is { } aliased)
                problems.Add($"{section.Path} is not read: write {ProbesOptions.SectionName}:{aliased.Name}.");
            else
                problems.Add(Message(section, names));
        }
        return problems;
    }

    private static void Check(List<string> problems, IConfiguration section, IReadOnlyCollection<string> known)
    {
        if (section is IConfigurationSection named) NoText(problems, named);
        foreach (IConfigurationSection child in section.GetChildren())
            if (!known.Contains(child.Key, StringComparer.OrdinalIgnoreCase)) problems.Add(Message(child, known));
    }

    // "fd": true looks as if it said something.
    private static void NoText(List<string> problems, IConfigurationSection section)
    {
        if (section.Value is { Length: > 0 } text) problems.Add($"{section.Path} is '{text}', which is ignored: it takes settings of its own, as {section.Path}:Key.");
    }

    private static string Message(IConfigurationSection key, IReadOnlyCollection<string> known)
    {
        string? nearest = known.Select(k => (Name: k, Distance: Distance(k, key.Key))).Where(k => k.Distance <= 2).OrderBy(static k => k.Distance).FirstOrDefault().Name;
        string help = nearest is not null ? $"Did you mean {nearest}?" : known.Count == 0 ? "It takes no settings." : $"Known: {string.Join(", ", known)}.";
        return $"{key.Path} is not known and is ignored. {help}";
    }

    private static bool Same(string a, string b) => string.Equals(a, b, StringComparison.OrdinalIgnoreCase);

    // Levenshtein's, without regard to case.
    private static int Distance(string a, string b)
    {
        if (Math.Abs(a.Length - b.Length) > 2) return int.MaxValue;
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int cost = char.ToUpperInvariant(a[i - 1]) == char.ToUpperInvariant(b[j - 1]) ? diagonal : diagonal + 1;
                diagonal = row[j];
                row[j] = Math.Min(cost, Math.Min(row[j], row[j - 1]) + 1);
            }
        }
        return row[^1];
    }
}
