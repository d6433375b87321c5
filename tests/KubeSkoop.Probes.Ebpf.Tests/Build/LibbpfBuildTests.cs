using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Interop;

namespace KubeSkoop.Probes.Ebpf.Tests.Build;

/// <summary><c>native/libbpf/build.sh</c> and <c>Libbpf.targets</c>.</summary>
public sealed class LibbpfBuildTests : IDisposable
{
    private static readonly string Here = RuntimeInformation.OSArchitecture == Architecture.Arm64 ? "arm64" : "x64";

    private readonly DirectoryInfo _home = Directory.CreateTempSubdirectory("kubeskoop-libbpf-build-");

    public void Dispose() => _home.Delete(recursive: true);

    [LiveFact(Needs.Sources, "clang", "llvm-objcopy")]
    public async Task The_installed_archives_serve_where_newer_ones_cannot_be_had()
    {
        CommandResult result = await BuildAsync(Here, ("LIBBPF_SUITE", "system"));
        string triplet = Here == "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
        if (!((string[])["bpf", "elf", "z"]).All(n => File.Exists($"/usr/lib/{triplet}/lib{n}.a")))
        {
            Assert.Equal((3, true), (result.ExitCode, result.Error.Contains("apt-get install libbpf-dev libelf-dev zlib1g-dev", StringComparison.Ordinal)));
            return;
        }
        Assert.True(result.ExitCode == 0, result.Error);
        LoadedLibbpf built = LibbpfResolver.Find(Path.Combine(_home.FullName, "libbpf.so"), []);
        Assert.True(built.Version >= new Version(1, 0));
        Assert.NotEmpty(await File.ReadAllLinesAsync(Path.Combine(_home.FullName, "libbpf.sources.txt")));
    }

    [LiveFact(Needs.Sources)]
    public async Task Without_a_compiler_it_says_what_to_install()
    {
        CommandResult result = await BuildAsync(Here, ("CC", "no-such-compiler"));
        Assert.Equal((3, "libbpf: there is no compiler 'no-such-compiler' with the C library's headers. On Debian: apt-get install clang\n"), (result.ExitCode, result.Error));
        Assert.False(File.Exists(Path.Combine(_home.FullName, "libbpf.so")));
    }

    [LiveFact(Needs.Sources)]
    public async Task An_architecture_it_does_not_know_is_refused()
    {
        CommandResult result = await BuildAsync("riscv64");
        Assert.Equal((2, "libbpf: knows x64 and arm64, not 'riscv64'.\n"), (result.ExitCode, result.Error));
    }

    [LiveFact(Needs.Sources)]
    public async Task The_build_stops_with_the_scripts_words_when_this_machines_own_library_cannot_be_linked()
    {
        CommandResult result = await Command.RunAsync("dotnet",
            ["msbuild", "src/KubeSkoop.Probes.Ebpf", "-t:BuildLibbpf", "-nologo", "-v:quiet", $"-p:LibbpfDirectory={_home.FullName}/"], Repository.Root,
            new Dictionary<string, string?>
            {
                ["CC"] = "no-such-compiler",
                // What the test runner tells its own SDK must not reach another.
                ["MSBuildSDKsPath"] = null,
                ["MSBUILD_EXE_PATH"] = null,
                ["MSBuildExtensionsPath"] = null,
                ["MSBUILDDISABLENODEREUSE"] = "1",
            }, TimeSpan.FromMinutes(5));
        Assert.NotEqual(0, result.ExitCode);
        string error = Assert.Single(result.Output.Split('\n').Where(static l => l.Contains("error ", StringComparison.Ordinal)).Distinct());
        Assert.Contains("error KSPBUILD02: libbpf: there is no compiler 'no-such-compiler' with the C library's headers. On Debian: apt-get install clang [", error, StringComparison.Ordinal);
    }

    private Task<CommandResult> BuildAsync(string architecture, params (string Name, string Value)[] environment) =>
        Command.RunAsync(Path.Combine(Repository.Root, "native", "libbpf", "build.sh"), [architecture, _home.FullName], Repository.Root,
            environment.ToDictionary(static e => e.Name, static string? (e) => e.Value), TimeSpan.FromMinutes(5));
}
