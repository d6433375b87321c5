namespace KubeSkoop.Probes.TestKit;

/// <summary>The sources these tests were built from.</summary>
public static class Repository
{
    private const string Mark = "KubeSkoop.Probes.sln";

    /// <summary>The repository's root.</summary>
    /// <exception cref="InvalidOperationException">The tests run apart from their sources; mark the test as needing them.</exception>
    public static string Root => Find() ?? throw new InvalidOperationException($"No directory above {AppContext.BaseDirectory} holds {Mark}.");

    /// <summary>How the tests were built: Release or Debug.</summary>
    public static string Configuration => new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name;

    internal static string? Find()
    {
        for (DirectoryInfo? directory = new(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
            if (File.Exists(Path.Combine(directory.FullName, Mark))) return directory.FullName;
        return null;
    }
}
