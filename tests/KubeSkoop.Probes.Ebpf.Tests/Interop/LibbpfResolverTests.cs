using KubeSkoop.Probes.Ebpf.Interop;

namespace KubeSkoop.Probes.Ebpf.Tests.Interop;

public sealed class LibbpfResolverTests : IDisposable
{
    private readonly DirectoryInfo _home = Directory.CreateTempSubdirectory("kubeskoop-libbpf-");

    public void Dispose() => _home.Delete(recursive: true);

    [Fact]
    public void The_packaged_library_is_found_beside_these_tests_and_loaded_once()
    {
        LoadedLibbpf first = LibbpfResolver.Load();
        Assert.StartsWith(AppContext.BaseDirectory, first.Path, StringComparison.Ordinal);
        Assert.EndsWith("/native/libbpf.so", first.Path, StringComparison.Ordinal);
        Assert.True(first.Version >= new Version(1, 0), first.Version.ToString());
        // The library cannot change under a running process, whatever is asked for.
        Assert.Same(first, LibbpfResolver.Load("/nowhere/libbpf.so"));
        Assert.Same(first, LibbpfResolver.Loaded);
    }

    [Fact]
    public void A_library_that_was_asked_for_is_the_only_one_tried()
    {
        string packaged = LibbpfResolver.PackagedPaths().First(System.IO.File.Exists);
        var problem = Assert.Throws<ProbeUnavailableException>(() => LibbpfResolver.Find("/nowhere/libbpf.so", [packaged], packaged));
        Assert.Equal(
            "ebpf: libbpf cannot be loaded: tried /nowhere/libbpf.so (there is no such file). "
            + "Set KubeSkoop:Probes:Ebpf:LibraryPath to a libbpf 1.0 or later, or remove it to use the packaged one.", problem.Message);
        Assert.Equal(packaged, LibbpfResolver.Find(packaged, ["/nowhere/libbpf.so"], "libnowhere.so.1").Path);
    }

    [Fact]
    public void The_packaged_ones_come_before_the_systems_and_each_refusal_is_named()
    {
        string packaged = LibbpfResolver.PackagedPaths().First(System.IO.File.Exists);
        string text = File("text.so", "This is no library.\n"u8.ToArray());
        string empty = File("empty.so", []);
        Assert.Equal(packaged, LibbpfResolver.Find(null, ["/nowhere/libbpf.so", text, packaged, empty], "libnowhere.so.1").Path);
        Assert.Equal(packaged, LibbpfResolver.Find(string.Empty, [text], packaged).Path);

        var problem = Assert.Throws<ProbeUnavailableException>(() => LibbpfResolver.Find(null, ["/nowhere/libbpf.so", text, empty, _home.FullName], "libnowhere.so.1"));
        Assert.Equal(
            $"tried /nowhere/libbpf.so (there is no such file); {text} (file too short); {empty} (file too short); {_home.FullName} (there is no such file); "
            + "libnowhere.so.1 (cannot open shared object file: No such file or directory)", problem.Why);
        Assert.Equal("Install libbpf 1.0 or later (Debian package libbpf1), or set KubeSkoop:Probes:Ebpf:LibraryPath to one.", problem.Remedy);
    }

    [Fact]
    public void A_file_that_is_no_library_is_refused_with_the_loaders_reason()
    {
        string text = File("longer.so", Enumerable.Repeat((byte)'x', 4096).ToArray());
        var problem = Assert.Throws<ProbeUnavailableException>(() => LibbpfResolver.Find(text, []));
        Assert.Equal($"tried {text} (invalid ELF header)", problem.Why);
    }

    [Fact]
    public void A_library_that_is_something_else_is_refused()
    {
        var problem = Assert.Throws<ProbeUnavailableException>(() => LibbpfResolver.Find("libc.so.6", []));
        Assert.Equal("tried libc.so.6 (is no libbpf 1.0 or later)", problem.Why);
    }

    [LiveTheory(Needs.None, "clang")]
    [InlineData(0, 8, "is libbpf 0.8; 1.0 or later is needed")]
    [InlineData(1, 0, null)]
    [InlineData(2, 3, null)]
    public async Task The_version_decides(int major, int minor, string? refusal)
    {
        string source = File("fake.c", System.Text.Encoding.UTF8.GetBytes(
            $"unsigned libbpf_major_version(void) {{ return {major}; }} unsigned libbpf_minor_version(void) {{ return {minor}; }}"));
        string library = Path.Combine(_home.FullName, "fake.so");
        await Command.OutputAsync("clang", "-shared", "-fPIC", "-nostdlib", "-o", library, source);
        if (refusal is null)
        {
            Assert.Equal(new Version(major, minor), LibbpfResolver.Find(library, []).Version);
            return;
        }
        var problem = Assert.Throws<ProbeUnavailableException>(() => LibbpfResolver.Find(library, []));
        Assert.Equal($"tried {library} ({refusal})", problem.Why);
    }

    [LiveFact(Needs.None, "clang")]
    public async Task What_the_loader_misses_is_named()
    {
        string source = File("unresolved.c", "void missing_function(void); void libbpf_major_version(void) { missing_function(); }"u8.ToArray());
        string library = Path.Combine(_home.FullName, "unresolved.so");
        await Command.OutputAsync("clang", "-shared", "-fPIC", "-nostdlib", "-Wl,-z,now", "-o", library, source);
        var problem = Assert.Throws<ProbeUnavailableException>(() => LibbpfResolver.Find(library, []));
        Assert.Equal($"tried {library} (undefined symbol: missing_function)", problem.Why);
    }

    [Theory]
    [InlineData(null, true)]
    [InlineData("/usr/lib/libbpf.so.1", true)]
    [InlineData("libbpf.so.1", true)]
    [InlineData("./libbpf.so", false)]
    [InlineData("", false)]
    [InlineData("  ", false)]
    public void A_path_must_be_absolute_or_a_librarys_name(string? path, bool valid)
    {
        string[] problems = [.. new EbpfOptions { LibraryPath = path }.Validate()];
        if (valid) Assert.Empty(problems);
        else Assert.Contains($"KubeSkoop:Probes:Ebpf:LibraryPath is '{path}'", Assert.Single(problems), StringComparison.Ordinal);
    }

    private string File(string name, byte[] bytes)
    {
        string path = Path.Combine(_home.FullName, name);
        System.IO.File.WriteAllBytes(path, bytes);
        return path;
    }
}
