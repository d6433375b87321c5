namespace KubeSkoop.Probes.IntegrationTests.Packaging;

/// <summary>Packs what was built into a feed of its own, and builds strangers' programs against that feed.</summary>
public sealed class PackagesFixture : IAsyncLifetime
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly DirectoryInfo _home = Directory.CreateTempSubdirectory("kubeskoop-packages-");

    /// <summary>The directory with the packages.</summary>
    public string Feed => Path.Combine(_home.FullName, "feed");

    /// <summary>The packages' names: every project below <c>src</c>.</summary>
    public static IReadOnlyList<string> Names { get; } =
        [.. Directory.EnumerateFiles(Path.Combine(Repository.Root, "src"), "*.csproj", SearchOption.AllDirectories).Select(Path.GetFileNameWithoutExtension).Order(StringComparer.Ordinal)!];

    /// <summary>The version of the packages.</summary>
    public string Version { get; private set; } = string.Empty;

    private string PackageCache => Path.Combine(_home.FullName, "cache");

    public async Task InitializeAsync()
    {
        if (Machine.Lacks(Needs.Sources) is not null) return;
        foreach (string name in Names)
            await DotnetAsync(Repository.Root, "pack", $"src/{name}", "-c", Repository.Configuration, "--no-build", "-o", Feed);
        string core = Assert.Single(Directory.GetFiles(Feed, "KubeSkoop.Probes.*.nupkg"), static f => char.IsAsciiDigit(Path.GetFileName(f)["KubeSkoop.Probes.".Length]));
        Version = Path.GetFileNameWithoutExtension(core)["KubeSkoop.Probes.".Length..];

        // Beside the sources the machine has configured, ours; and our packages never come from, or go to, the shared cache.
        await File.WriteAllTextAsync(Path.Combine(_home.FullName, "nuget.config"), $"""
            <configuration>
              <packageSources><add key="packed-here" value="{Feed}" /></packageSources>
              <config><add key="globalPackagesFolder" value="{PackageCache}" /></config>
              <fallbackPackageFolders>{SharedCache()}</fallbackPackageFolders>
            </configuration>
            """);
        await File.WriteAllTextAsync(Path.Combine(_home.FullName, "Directory.Build.props"), "<Project />");
    }

    public Task DisposeAsync()
    {
        _home.Delete(recursive: true);
        return Task.CompletedTask;
    }

    /// <summary>A fresh console project with the given program that knows nothing but the packages.</summary>
    /// <returns>The built program.</returns>
    public async Task<string> BuildAsync(string name, string program, params string[] packages)
    {
        string directory = DirectoryOf(name);
        Directory.CreateDirectory(directory);
        string references = string.Concat(packages.Select(p =>
            $"    <PackageReference Include=\"{p}\" Version=\"{(p.StartsWith("KubeSkoop.", StringComparison.Ordinal) ? Version : VersionOf(p))}\" />\n"));
        await File.WriteAllTextAsync(Path.Combine(directory, name + ".csproj"), $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <Nullable>enable</Nullable>
                <ImplicitUsings>enable</ImplicitUsings>
                <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
                <NuGetAudit>false</NuGetAudit>
              </PropertyGroup>
              <ItemGroup>
            {references}  </ItemGroup>
            </Project>
            """);
        await File.WriteAllTextAsync(Path.Combine(directory, "Program.cs"), program);
        await DotnetAsync(directory, "build", "-c", "Release");
        foreach (string package in packages.Where(static p => p.StartsWith("KubeSkoop.", StringComparison.Ordinal)))
            Assert.True(Directory.Exists(Path.Combine(PackageCache, package.ToLowerInvariant(), Version)), $"{package} did not come from the feed packed here.");
        return Path.Combine(directory, "bin", "Release", "net10.0", name);
    }

    /// <summary>The directory of a project that was built.</summary>
    internal string DirectoryOf(string name) => Path.Combine(_home.FullName, name);

    internal static Task DotnetAsync(string directory, params string[] arguments) => DotnetAsync(directory, new Dictionary<string, string?>(), arguments);

    internal static async Task DotnetAsync(string directory, IReadOnlyDictionary<string, string?> more, params string[] arguments)
    {
        // What the test runner tells its own SDK must not reach another.
        var environment = new Dictionary<string, string?>(more)
        {
            ["MSBuildSDKsPath"] = null,
            ["MSBUILD_EXE_PATH"] = null,
            ["MSBuildExtensionsPath"] = null,
            ["MSBUILDDISABLENODEREUSE"] = "1",
            ["DOTNET_CLI_TELEMETRY_OPTOUT"] = "1",
        };
        CommandResult result = await Command.RunAsync("dotnet", [.. arguments, "-nologo", "-v", "quiet"], directory, environment, Patience);
        Assert.True(result.ExitCode == 0, $"dotnet {string.Join(' ', arguments)} ended with {result.ExitCode}:\n{result.Output}{result.Error}");
    }

    // Other packages were restored for this very build: no need to fetch them again.
    private static string SharedCache()
    {
        string cache = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        return Directory.Exists(cache) ? $"<add key=\"shared\" value=\"{cache}\" />" : string.Empty;
    }

    private static string VersionOf(string package)
    {
        string props = File.ReadAllText(Path.Combine(Repository.Root, "Directory.Packages.props"));
        string mark = $"<PackageVersion Include=\"{package}\" Version=\"";
        int start = props.IndexOf(mark, StringComparison.Ordinal) + mark.Length;
        return props[start..props.IndexOf('"', start)];
    }
}

[CollectionDefinition(Name)]
public sealed class PackagesGroup : ICollectionFixture<PackagesFixture>
{
    public const string Name = "packages";
}
