using KubeSkoop.Probes.LiveRunner;

namespace KubeSkoop.Probes.IntegrationTests.Vm;

/// <summary>What makes the virtual machines' results must be able to fail, too. No machine is started here.</summary>
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class HarnessTests : IDisposable
{
    private const string Passed = "@\ttest\tpassed\t1.0\tSome_test\t\n";
    private const string Failed = "@\ttest\tfailed\t1.0\tSome_test\tNot equal. | at line 1\n";

    private readonly DirectoryInfo _home = Directory.CreateTempSubdirectory("kubeskoop-harness-");

    public void Dispose() => _home.Delete(recursive: true);

    [LiveFact(Needs.Sources)]
    public async Task Runs_that_come_to_their_end_are_passed_on_as_they_were_told()
    {
        string output = "@\tmachine\t6.1\tX64\n" + Passed + "@\tend\t0\t--matrix 6.1\n" + Failed + "@\tend\t1\t--hook kprobe\n";
        Assert.Equal(output, await JudgeAsync(0, 2, "a line of somebody else\n" + output, string.Empty));
    }

    [LiveTheory(Needs.Sources)]
    [InlineData("Unhandled exception\n@\tend\t134\t--matrix 6.1\n", "(run 1: --matrix 6.1)", "It ended with 134 and told of 0 failed tests.")]
    [InlineData(Failed + "\n@\tend\t139\t--matrix 6.1\n", "(run 1: --matrix 6.1)", "It ended with 139 and told of 1 failed tests.")]
    [InlineData(Passed + "@\ttest\tfa[  12.3] a word of the kernel\n@\tend\t1\t--matrix 6.1\n", "(run 1: --matrix 6.1)", "It ended with 1 and told of 0 failed tests.")]
    [InlineData("@\tend\t0\t--matrix 6.1\n", "(run 1: --matrix 6.1)", "It told of no test.")]
    public async Task A_run_that_ends_badly_is_a_failure_though_the_next_one_ends_well(string first, string name, string message)
    {
        string told = await JudgeAsync(0, 2, first + Passed + "@\tend\t0\t--hook kprobe\n", string.Empty);
        Assert.Contains($"@\ttest\tfailed\t0\t{name}\t{message}", told.Split('\n'));
    }

    [LiveTheory(Needs.Sources)]
    [InlineData(0)]
    [InlineData(124)]
    public async Task A_machine_that_dies_in_its_second_run_is_a_failure(int status)
    {
        string told = await JudgeAsync(status, 2, Passed + "@\tend\t0\t--matrix 6.1\n" + Passed + "and then\tnothing", status == 0 ? string.Empty : null);
        Assert.Equal($"@\ttest\tfailed\t0\t(the machine)\tIt ended with {status}, after 1 of 2 runs; its last words: @ end 0 --matrix 6.1 @ test passed 1.0 Some_test  and then nothing", told.TrimEnd().Split('\n')[^1]);
    }

    [LiveFact(Needs.Sources)]
    public async Task What_the_kernel_complains_of_is_a_failure()
    {
        const string complaint = "[   61.2] trace type BPF program uses run-time allocation [   61.3] WARNING: CPU: 0 PID: 9 at kernel/bpf/verifier.c:1 check_map_prog_compatibility+0x1/0x2";
        const string log = """
            [   60.0] IPv6: ADDRCONF(NETDEV_CHANGE): kst0: link becomes ready
            [   61.1] ------------[ cut here ]------------
            [   61.2] trace type BPF program uses run-time allocation
            [   61.3] WARNING: CPU: 0 PID: 9 at kernel/bpf/verifier.c:1 check_map_prog_compatibility+0x1/0x2
            [   62.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [dotnet:1]
            [   63.0] ------------[ cut here ]------------
            [   63.1] kernel BUG at mm/slub.c:1!
            [   99.0] INFO: task dotnet:1 blocked for more than 120 seconds.
            """;
        string[] told = (await JudgeAsync(0, 1, Passed + "@\tend\t0\t-\n", log)).Split('\n');
        Assert.Equal(["@\ttest\tfailed\t0\t(the kernel)\t" + complaint, "@\ttest\tfailed\t0\t(the kernel)\t[   63.1] kernel BUG at mm/slub.c:1!",
            "@\ttest\tfailed\t0\t(the kernel)\t[   63.1] kernel BUG at mm/slub.c:1! [   99.0] INFO: task dotnet:1 blocked for more than 120 seconds."],
            told.Where(static l => l.Contains("(the kernel)", StringComparison.Ordinal)));
        Assert.Contains("@\ttest\tfailed\t0\t(the kernel)\tIts log is not there.", (await JudgeAsync(0, 1, Passed + "@\tend\t0\t-\n", kernel: null)).Split('\n'));
    }

    [LiveFact(Needs.Sources)]
    public async Task Every_machine_has_its_place_in_the_document_also_one_that_never_spoke()
    {
        const string one = "@\tmachine\t5.10.0-1\tX64\n@\tprobe\tbest\ttcp\tRunning\tprocfs\t\t\n@\tprobe\tbest\tflow\tUnavailable\t\tflow: no way\tknown\n" + Passed + "@\ttook\t61\n";
        Write("5.10.tsv", one);
        Write("6.1.tsv", "@\ttest\tfailed\t0\t(the machine)\tIt ended with 125\n@\ttook\t5\n");
        Write("6.12-arm64.tsv", "@\ttest\tskipped\t0\t(the machine)\tMissing: an emulator\n@\ttook\t0\n");
        (int code, string document) = await DocumentAsync();
        string[] lines = document.Split('\n');
        Assert.Contains("These runs took 2 minutes.", lines);
        Assert.Contains("| 5.10 | 5.10.0-1 | x64 | 1 | 0 | 0 | 61 |", lines);
        Assert.Contains("| 6.1 |  |  | 0 | 1 | 0 | 5 |", lines);
        Assert.Contains("| tcp | procfs | not told | not run |", lines);
        Assert.Contains("| flow | unavailable [1] | not told | not run |", lines);
        Assert.Contains("- 6.1: (the machine): It ended with 125", lines);
        Assert.Contains("- 6.12-arm64: (the machine): not run: Missing: an emulator", lines);
        Assert.Equal(1, code); // 2 of 4

        Write("6.1.tsv", one);
        (code, document) = await DocumentAsync();
        Assert.Contains("4 of these 4 run,", document, StringComparison.Ordinal);
        Assert.Equal(0, code);

        Write("6.1.tsv", one.Replace("known", string.Empty, StringComparison.Ordinal));
        (code, document) = await DocumentAsync();
        Assert.Contains("3 of these 4 run,", document, StringComparison.Ordinal);
        Assert.Equal(1, code);

        Write("6.1.tsv", one.Replace("procfs\t\t", "procfs (bpf: EINVAL)\tprocfs (bpf: EINVAL)\tless", StringComparison.Ordinal));
        (code, document) = await DocumentAsync();
        Assert.Contains("3 of these 4 run,", document, StringComparison.Ordinal);
        Assert.Equal(1, code);
    }

    [Fact]
    public void A_gap_is_known_on_its_kernel_and_for_its_reason_only()
    {
        const string reason = "socketlatency: this kernel has no way to see 'ready': fentry: programs that trace may keep nothing in sockets (5.11)";
        Assert.True(KnownGaps.Has("5.10", KnownGaps.Best, "socketlatency", ProbeState.Unavailable, reason));
        Assert.False(KnownGaps.Has("6.1", KnownGaps.Best, "socketlatency", ProbeState.Unavailable, reason));
        Assert.False(KnownGaps.Has("5.10", KnownGaps.Best, "tcpretrans", ProbeState.Unavailable, reason));
        Assert.False(KnownGaps.Has("5.10", KnownGaps.Best, "socketlatency", ProbeState.Unavailable, "socketlatency: EINVAL: the verifier refuses it"));
        Assert.False(KnownGaps.Has("5.10", KnownGaps.Best, "socketlatency", ProbeState.Failed, reason));

        const string less = "procfs (bpf: this kernel's BPF programs cannot walk its tables: that takes bpf_loop and bpf_map_lookup_percpu_elem, Linux 5.19)";
        Assert.True(KnownGaps.IsLess(less));
        Assert.True(KnownGaps.Has("5.10", KnownGaps.Best, "tcp", ProbeState.Running, less));
        Assert.False(KnownGaps.Has("6.1", KnownGaps.Best, "tcp", ProbeState.Running, less));
        Assert.False(KnownGaps.Has("5.10", KnownGaps.Best, "tcp", ProbeState.Running, "procfs (bpf: EINVAL: the verifier refuses it)"));
        Assert.True(KnownGaps.IsLess("tp_btf, without stages: coarse, totals only (function: fentry: EPERM)"));
        Assert.False(KnownGaps.IsLess("tp_btf, kprobe (answer)"));
    }

    [LiveFact(Needs.Sources, "flock")]
    public async Task A_kernel_is_fetched_once_and_again_when_the_archive_has_a_newer_one()
    {
        FakeArchive("echo linux-image-6.1.0-9-cloud-amd64; echo linux-image-6.1.0-10-cloud-amd64; echo linux-image-6.1.0-10-cloud-amd64-dbg");
        CommandResult fetched = await FetchAsync();
        string folder = Path.Combine(_home.FullName, "kernels", "6.1.0-10-cloud-amd64");
        Assert.Equal((0, folder), (fetched.ExitCode, fetched.Output.Trim()));
        Assert.True(File.Exists(Path.Combine(folder, "root", "boot", "vmlinuz-linux-image-6.1.0-10-cloud-amd64")));
        Assert.Equal((folder, string.Empty), ((fetched = await FetchAsync()).Output.Trim(), fetched.Error)); // no second time

        FakeArchive("echo linux-image-6.1.0-11-cloud-amd64");
        Assert.Equal(folder.Replace("-10-", "-11-", StringComparison.Ordinal), (await FetchAsync()).Output.Trim());
        Assert.Empty(Directory.GetFileSystemEntries(Path.Combine(_home.FullName, "tmp")));
    }

    [LiveFact(Needs.Sources, "flock")]
    public async Task A_kernel_that_cannot_be_had_is_told_with_the_reason_and_leaves_nothing()
    {
        FakeArchive("true", update: "echo 'W: Could not connect to the archive' >&2");
        CommandResult result = await FetchAsync();
        Assert.Equal((3, "There is no kernel 6.1 for amd64 to be had: W: Could not connect to the archive"), (result.ExitCode, result.Error.Trim()));

        FakeArchive("echo linux-image-6.1.0-10-cloud-amd64", download: "echo 'E: Failed to fetch it' >&2; exit 100");
        result = await FetchAsync();
        Assert.Equal((3, "Cannot fetch linux-image-6.1.0-10-cloud-amd64: E: Failed to fetch it"), (result.ExitCode, result.Error.Trim().Split('\n')[^1]));
        Assert.Empty(Directory.GetFileSystemEntries(Path.Combine(_home.FullName, "tmp")));
        Assert.DoesNotContain(Directory.GetDirectories(Path.Combine(_home.FullName, "kernels")), static d => d.EndsWith("-cloud-amd64", StringComparison.Ordinal));
    }

    private static string Script(string name) => Path.Combine(Repository.Root, "tests", "KubeSkoop.Probes.IntegrationTests", "Vm", name);

    private string Write(string name, string text)
    {
        string file = Path.Combine(_home.FullName, name);
        File.WriteAllText(file, text);
        return file;
    }

    private async Task<string> JudgeAsync(int status, int runs, string output, string? kernel)
    {
        string log = Path.Combine(_home.FullName, "kernel.log");
        File.Delete(log);
        if (kernel is not null) Write("kernel.log", kernel);
        return await Command.OutputAsync(Script("judge.sh"), $"{status}", $"{runs}", Write("output", output), log);
    }

    private async Task<(int Code, string Document)> DocumentAsync()
    {
        CommandResult result = await Command.RunAsync(Script("document.sh"), [_home.FullName, "66"]);
        return (result.ExitCode, result.Output);
    }

    // apt and dpkg in the path before the real ones.
    private void FakeArchive(string names, string update = "true", string download = "for package; do touch $package.deb; done")
    {
        string programs = Directory.CreateDirectory(Path.Combine(_home.FullName, "bin")).FullName;
        Directory.CreateDirectory(Path.Combine(_home.FullName, "tmp"));
        Program("apt-get", $$"""
            while [ $# -gt 0 ]; do case $1 in -qq) shift ;; -o) shift 2 ;; *) break ;; esac; done
            what=$1; shift
            case $what in indextargets) echo http://archive.invalid/debian/ ;; update) {{update}} ;; download) {{download}} ;; esac
            """);
        Program("apt-cache", $$"""
            for last; do :; done
            case $last in linux-image-*) {{names}} ;; esac
            """);
        Program("dpkg", """
            case $1 in --print-architecture) echo amd64 ;; -x) mkdir -p "$3/boot"; touch "$3/boot/vmlinuz-$(basename "$2" .deb)" ;; esac
            """);

        void Program(string name, string text)
        {
            string file = Write(Path.Combine(programs, name), "#!/bin/sh\n" + text + "\n");
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    private Task<CommandResult> FetchAsync() => Command.RunAsync(Script("kernels.sh"), ["fetch", "6.1"], environment: new Dictionary<string, string?>
    {
        ["PATH"] = Path.Combine(_home.FullName, "bin") + ":" + Environment.GetEnvironmentVariable("PATH"),
        ["KUBESKOOP_KERNELS"] = Path.Combine(_home.FullName, "kernels"),
        ["TMPDIR"] = Path.Combine(_home.FullName, "tmp"),
    }, timeout: TimeSpan.FromMinutes(2));
}
