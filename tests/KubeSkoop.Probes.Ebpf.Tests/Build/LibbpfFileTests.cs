using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using KubeSkoop.Probes.Ebpf.Interop;
using Xunit.Sdk;

namespace KubeSkoop.Probes.Ebpf.Tests.Build;

/// <summary>The packaged libbpf as the loader of any machine will see it.</summary>
public sealed partial class LibbpfFileTests
{
    // Of RHEL 9; Ubuntu 22.04 and Debian 12 have newer ones.
    private static readonly Version NewestGlibc = new(2, 34);

    private static readonly string[] Used =
    [
        "libbpf_major_version", "libbpf_minor_version", "libbpf_set_print", "libbpf_num_possible_cpus", "bpf_object__open_mem", "bpf_object__load",
        "bpf_object__close", "bpf_program__attach", "bpf_link__destroy", "bpf_map__initial_value", "bpf_map_lookup_elem", "bpf_prog_test_run_opts",
        "btf__parse", "ring_buffer__new", "perf_buffer__new",
    ];

    [LiveTheory(Needs.None, "llvm-readelf")]
    [Architecture("x64")]
    [Architecture("arm64")]
    public async Task It_needs_the_C_library_only(string architecture)
    {
        string dynamic = await Command.OutputAsync("llvm-readelf", "-d", FileOf(architecture));
        string[] needed = [.. Needed().Matches(dynamic).Select(static m => m.Groups[1].Value)];
        // The loader is a part of the C library.
        Assert.Equal(["libc.so.6"], needed.Where(static n => !n.StartsWith("ld-linux-", StringComparison.Ordinal)));
        Assert.Contains("[libbpf.so.1]", dynamic, StringComparison.Ordinal);
        Assert.DoesNotContain("TEXTREL", dynamic, StringComparison.Ordinal);

        string versions = await Command.OutputAsync("llvm-readelf", "-V", FileOf(architecture));
        Version newest = Glibc().Matches(versions).Select(static m => Version.Parse(m.Groups[1].Value)).Max()!;
        Assert.True(newest <= NewestGlibc, $"It needs glibc {newest}.");
    }

    [LiveTheory(Needs.None, "llvm-nm")]
    [Architecture("x64")]
    [Architecture("arm64")]
    public async Task It_shows_libbpfs_functions_and_nothing_else(string architecture)
    {
        string[] names = [.. (await Command.OutputAsync("llvm-nm", "-D", "--defined-only", "--format=just-symbols", FileOf(architecture)))
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static l => l.Split('@')[0].Trim())];
        Assert.All(names, static n => Assert.Matches("^(bpf_|libbpf_|btf_|ring_buffer__|perf_buffer__)", n));
        Assert.Empty(Used.Except(names));
    }

    [LiveFact(Needs.None, "ldd")]
    public async Task Everything_it_needs_is_here()
    {
        string[] lines = [.. (await Command.OutputAsync("ldd", LibbpfResolver.Load().Path)).Split('\n', StringSplitOptions.RemoveEmptyEntries)];
        Assert.All(lines, static l => Assert.Matches(@"^\s*(linux-vdso|libc\.so\.6 =>|\S*ld-linux)", l));
        Assert.DoesNotContain(lines, static l => l.Contains("not found", StringComparison.Ordinal));
    }

    internal static string FileOf(string architecture) => Path.Combine(AppContext.BaseDirectory, "runtimes", $"linux-{architecture}", "native", "libbpf.so");

    [GeneratedRegex(@"\(NEEDED\).*\[(.*)\]")]
    private static partial Regex Needed();

    [GeneratedRegex(@"GLIBC_(\d+\.\d+)")]
    private static partial Regex Glibc();
}

/// <summary>An architecture; skipped when its library was not built, unless it is this machine's own.</summary>
[AttributeUsage(AttributeTargets.Method, AllowMultiple = true)]
internal sealed class ArchitectureAttribute(string name) : DataAttribute
{
    public string Name { get; } = name;

    public override string? Skip
    {
        get => File.Exists(LibbpfFileTests.FileOf(Name)) || string.Equals(Name, RuntimeInformation.OSArchitecture.ToString(), StringComparison.OrdinalIgnoreCase)
            ? null
            : $"Needs libbpf.so for {Name}, which this machine's build left out for want of a cross compiler or of Debian's archives.";
    }

    public override IEnumerable<object[]> GetData(MethodInfo testMethod) => [[Name]];
}
