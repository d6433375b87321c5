using System.Text;

namespace KubeSkoop.Probes.TestKit;

/// <summary>The captured kernel files below <c>tests/Fixtures</c>.</summary>
public static class Fixture
{
    /// <summary>Where they lie.</summary>
    public static string Root { get; } = Path.Combine(AppContext.BaseDirectory, "Fixtures");

    /// <summary>One file's bytes, for example <c>6.18-idle/proc/net/snmp</c>.</summary>
    public static byte[] Bytes(string path) => File.ReadAllBytes(PathOf(path));

    /// <summary>One file as text.</summary>
    public static string Text(string path) => Encoding.UTF8.GetString(Bytes(path));

    /// <summary>Every fixture whose path ends so (<c>proc/net/snmp</c>), for theories; at least one.</summary>
    public static IReadOnlyList<string> Named(string ending)
    {
        string[] found = Directory.Exists(Root)
            ? [.. Directory.EnumerateFiles(Root, "*", SearchOption.AllDirectories)
                .Select(f => Path.GetRelativePath(Root, f)).Where(f => f.EndsWith(ending, StringComparison.Ordinal)).Order(StringComparer.Ordinal)]
            : [];
        return found.Length > 0 ? found : throw new InvalidOperationException($"No fixture ends in '{ending}' below {Root}.");
    }

    /// <summary>The full path of one file.</summary>
    public static string PathOf(string path) => Path.Combine(Root, path);
}
