using System.Buffers.Binary;
using System.Text;

namespace KubeSkoop.Probes.Ebpf.Tests.Build;

/// <summary>What <c>Bpf.targets</c> makes of <c>bpf/</c>.</summary>
public sealed class BpfBuildTests : IDisposable
{
    private const string Project = "src/KubeSkoop.Probes.Ebpf";

    private readonly DirectoryInfo _home = Directory.CreateTempSubdirectory("kubeskoop-bpf-");

    public void Dispose() => _home.Delete(recursive: true);

    [LiveFact(Needs.Sources)]
    public void Each_program_is_embedded_under_its_name()
    {
        string[] sources = [.. Directory.GetFiles(Path.Combine(Repository.Root, "bpf"), "*.bpf.c").Select(static f => $"bpf/{Path.GetFileName(f)[..^2]}.o").Order(StringComparer.Ordinal)];
        Assert.NotEmpty(sources);
        Assert.Equal(sources, typeof(EbpfOptions).Assembly.GetManifestResourceNames().Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Objects_are_BPF_with_types_without_debug_information_and_without_paths_of_the_build()
    {
        foreach (string name in typeof(EbpfOptions).Assembly.GetManifestResourceNames())
        {
            byte[] bytes = Resource(name);
            Assert.True(bytes.AsSpan().StartsWith("\x7f"u8) && bytes.AsSpan(1).StartsWith("ELF"u8));
            Assert.Equal(247, BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(18))); // EM_BPF
            string text = Encoding.Latin1.GetString(bytes);
            Assert.Contains(".BTF\0", text, StringComparison.Ordinal);
            Assert.Contains(".BTF.ext\0", text, StringComparison.Ordinal);
            Assert.Contains("\0bpf/include/kubeskoop/", text, StringComparison.Ordinal);
            Assert.DoesNotContain(".debug_", text, StringComparison.Ordinal);
            if (Machine.Lacks(Needs.Sources) is null) Assert.DoesNotContain(Repository.Root, text, StringComparison.Ordinal);
        }
    }

    [LiveFact(Needs.Sources, "clang", "llvm-strip")]
    public async Task Sources_in_another_place_give_the_same_object()
    {
        Copy();
        await CompileAsync();
        Assert.Equal(Resource("bpf/tcpreset.bpf.o"), await File.ReadAllBytesAsync(Object("tcpreset")));
    }

    [LiveFact(Needs.Sources, "clang", "llvm-strip")]
    public async Task Only_what_changed_is_compiled_again()
    {
        Copy();
        File.Copy(Source("tcpreset"), Source("second"));
        await CompileAsync();
        DateTime tcpreset = Mark("tcpreset"), second = Mark("second");
        await CompileAsync();
        Assert.Equal((tcpreset, second), (Written("tcpreset"), Written("second")));

        File.SetLastWriteTimeUtc(Source("second"), tcpreset.AddSeconds(10));
        await CompileAsync();
        Assert.Equal(tcpreset, Written("tcpreset"));
        Assert.NotEqual(second, Written("second"));

        (tcpreset, second) = (Mark("tcpreset"), Mark("second"));
        File.SetLastWriteTimeUtc(Path.Combine(_home.FullName, "bpf", "include", "kubeskoop", "flow.h"), second.AddSeconds(20));
        await CompileAsync();
        Assert.NotEqual(tcpreset, Written("tcpreset"));
        Assert.NotEqual(second, Written("second"));
    }

    [LiveFact(Needs.Sources, "clang", "llvm-strip")]
    public async Task A_program_that_does_not_compile_leaves_no_object()
    {
        Copy();
        await File.AppendAllTextAsync(Source("tcpreset"), "\nint broken(void) { return unknown; }\n");
        CommandResult result = await RunAsync();
        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains("tcpreset.bpf.c(", result.Output, StringComparison.Ordinal);
        Assert.Contains("unknown", result.Output, StringComparison.Ordinal);
        Assert.False(File.Exists(Object("tcpreset")));
    }

    [LiveTheory(Needs.Sources, "clang", "llvm-strip")]
    [InlineData("BpfClang", "no-such-clang", "the compiler 'no-such-clang'. On Debian: apt-get install clang")]
    [InlineData("BpfStrip", "no-such-strip", "'no-such-strip'. On Debian: apt-get install llvm")]
    public async Task A_missing_tool_is_one_error_that_names_its_package(string property, string tool, string expected)
    {
        Copy();
        CommandResult result = await RunAsync($"-p:{property}={tool}");
        Assert.NotEqual(0, result.ExitCode);
        string error = Assert.Single(result.Output.Split('\n').Where(static l => l.Contains("error ", StringComparison.Ordinal)).Distinct());
        Assert.Contains($"error KSPBUILD01: The BPF programs cannot be compiled; missing: {expected} [", error, StringComparison.Ordinal);
    }

    [LiveFact(Needs.Sources, "clang", "llvm-strip")]
    public async Task Missing_headers_of_libbpf_are_one_error_that_names_the_package()
    {
        Copy();
        // A compiler that does not look where libbpf's headers are.
        string clang = Path.Combine(_home.FullName, "clang");
        await File.WriteAllTextAsync(clang, "#!/bin/sh\nexec clang -nostdinc \"$@\"\n");
        await Command.OutputAsync("chmod", "+x", clang);
        CommandResult result = await RunAsync($"-p:BpfClang={clang}");
        string error = Assert.Single(result.Output.Split('\n').Where(static l => l.Contains("error ", StringComparison.Ordinal)).Distinct());
        Assert.Contains("missing: libbpf's headers (bpf/bpf_helpers.h). On Debian: apt-get install libbpf-dev [", error, StringComparison.Ordinal);
    }

    private void Copy()
    {
        string from = Path.Combine(Repository.Root, "bpf");
        foreach (string file in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            string to = Path.Combine(_home.FullName, "bpf", Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(to)!);
            if (file.EndsWith(".h", StringComparison.Ordinal) || Path.GetFileName(file) == "tcpreset.bpf.c") File.Copy(file, to);
        }
    }

    private async Task CompileAsync()
    {
        CommandResult result = await RunAsync();
        Assert.True(result.ExitCode == 0, result.Output + result.Error);
    }

    private Task<CommandResult> RunAsync(params string[] more)
    {
        string bpf = Path.Combine(_home.FullName, "bpf/");
        return Command.RunAsync("dotnet",
        [
            "msbuild", Project, "-t:CompileBpf", "-nologo", "-v:quiet", $"-p:Configuration={Repository.Configuration}", $"-p:BpfDirectory={bpf}",
            $"-p:BpfIncludeDirectory={bpf}include/", $"-p:BpfObjectDirectory={_home.FullName}/objects/", .. more,
        ], Repository.Root, new Dictionary<string, string?>
        {
            // What the test runner tells its own SDK must not reach another.
            ["MSBuildSDKsPath"] = null,
            ["MSBUILD_EXE_PATH"] = null,
            ["MSBuildExtensionsPath"] = null,
            ["MSBUILDDISABLENODEREUSE"] = "1",
        }, TimeSpan.FromMinutes(2));
    }

    private string Source(string name) => Path.Combine(_home.FullName, "bpf", name + ".bpf.c");

    private string Object(string name) => Path.Combine(_home.FullName, "objects", name + ".bpf.o");

    private DateTime Written(string name) => File.GetLastWriteTimeUtc(Object(name));

    // A time of its own, so that an object written again is told from one that was left alone; and later than all it is made of.
    private DateTime Mark(string name)
    {
        DateTime time = new(TimeProvider.System.GetUtcNow().Ticks / TimeSpan.TicksPerSecond * TimeSpan.TicksPerSecond + TimeSpan.TicksPerHour, DateTimeKind.Utc);
        File.SetLastWriteTimeUtc(Object(name), time);
        return time;
    }

    private static byte[] Resource(string name)
    {
        using Stream stream = typeof(EbpfOptions).Assembly.GetManifestResourceStream(name)!;
        byte[] bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }
}
