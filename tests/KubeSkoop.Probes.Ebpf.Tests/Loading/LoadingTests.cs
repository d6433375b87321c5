using System.Net;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Ebpf.Tests.Live;

namespace KubeSkoop.Probes.Ebpf.Tests.Loading;

/// <summary>What keeps a program out of the kernel is said in words; what was in it is gone afterwards.</summary>
public sealed class LoadingTests
{
    [Fact]
    public void The_verifiers_words_become_one_sentence()
    {
        const string Said = """
            libbpf: prog 'send_reset': BPF program load failed: Permission denied
            libbpf: prog 'send_reset': -- BEGIN PROG LOAD LOG --
            0: R1=ctx() R10=fp0
            ; int BPF_PROG(send_reset, const struct sock *sk) @ tcpreset.bpf.c:51
            3: (4f) r2 |= r7
            R2 pointer |= pointer prohibited
            processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
            -- END PROG LOAD LOG --
            libbpf: prog 'send_reset': failed to load: -13
            libbpf: failed to load object 'ks_tcpreset'
            """;
        Assert.Equal("program send_reset: R2 pointer |= pointer prohibited", Verifier.Shorten(Said));
        Assert.Equal("Error in bpf_create_map_xattr(counts): EPERM", Verifier.Shorten("libbpf: Error in bpf_create_map_xattr(counts): EPERM\nlibbpf: map 'counts': failed to create\n"));
        Assert.Equal("", Verifier.Shorten(""));
        Assert.Equal("a b", Verifier.Shorten("a\u001bb"));
    }

    [Fact]
    public void Lockdown_and_missing_capabilities_are_read()
    {
        Assert.Equal("integrity", KernelFeatures.LockdownOf("none [integrity] confidentiality\n"));
        Assert.Null(KernelFeatures.LockdownOf("none"));
        Assert.Null(KernelFeatures.LockdownOf(null));
        Assert.Equal("CAP_BPF and CAP_PERFMON", KernelFeatures.Missing(["Name:\tx", "CapEff:\t0000000000000000"]));
        Assert.Equal("CAP_PERFMON", KernelFeatures.Missing(["CapEff:\t0000008000000000"]));
        Assert.Equal("", KernelFeatures.Missing(["CapEff:\t000000c000000000"]));
        Assert.Equal("", KernelFeatures.Missing(["CapEff:\t0000000000200000"])); // CAP_SYS_ADMIN has them all
        Assert.Equal("", KernelFeatures.Missing([]));
    }

    [LiveFact(Needs.Bpf)]
    public void The_first_way_that_the_kernel_has_is_taken_and_without_one_every_reason_is_told()
    {
        KernelFeatures features = KernelFeatures.Probe();
        var hook = new Hook("send",
            new HookVariant("fentry", ["a"], static _ => "the kernel is locked down"),
            new HookVariant("tp_btf", ["b"], static k => k.Tracepoint("tcp_send_reset", 99)),
            new HookVariant("tp_btf", ["c"], static k => k.Tracepoint("tcp_receive_reset", 1)),
            new HookVariant("kprobe", ["d"], static _ => null));
        Assert.Equal("c", Assert.Single(BpfObject.Choose("x", [hook], features, null)).Variant!.Programs[0]);
        Assert.Equal("d", Assert.Single(BpfObject.Choose("x", [hook], features, "kprobe")).Variant!.Programs[0]);
        ProbeUnavailableException none = Assert.Throws<ProbeUnavailableException>(() => BpfObject.Choose("x", [hook], features, "fentry"));
        Assert.Contains("fentry: the kernel is locked down; tp_btf: not the one asked for (fentry)", none.Message, StringComparison.Ordinal);
        var nothing = new Hook("h", new HookVariant("tp_btf", [], static k => k.Tracepoint("nothing", 1)));
        Assert.Contains("there is no tracepoint nothing", Assert.Throws<ProbeUnavailableException>(() => BpfObject.Choose("x", [nothing], features, null)).Message, StringComparison.Ordinal);

        // A way that was asked for is for hooks that have it, and one of them must; what a probe can do without is left out with the reason.
        Assert.Equal(["d", "e"], BpfObject.Choose("x", [hook, new Hook("other", new HookVariant("tp_btf", ["e"], static _ => null))], features, "kprobe").Select(static c => c.Variant!.Programs[0]));
        Assert.Contains("it has no way by kprobe", Assert.Throws<ProbeUnavailableException>(() => BpfObject.Choose("x", [nothing], features, "kprobe")).Message, StringComparison.Ordinal);
        ChosenHook without = Assert.Single(BpfObject.Choose("x", [nothing with { Without = "something" }], features, null));
        Assert.Equal((null, "tp_btf: there is no tracepoint nothing"), (without.Variant, without.Refusal));
    }

    [LiveFact(Needs.Bpf, "setpriv", "bpftool")]
    public async Task A_process_without_rights_is_told_which()
    {
        // The capabilities of this thread's process cannot be given up for a test; the words are those of an unprivileged reader of the same file.
        CommandResult status = await Command.RunAsync("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "cat", "/proc/self/status"]);
        Assert.Equal("CAP_BPF and CAP_PERFMON", KernelFeatures.Missing(status.Output.Split('\n')));
    }

    [Fact]
    public void A_library_that_is_not_there_or_is_none_is_named_with_what_to_do()
    {
        string text = Path.GetTempFileName();
        try
        {
            ProbeUnavailableException missing = Assert.Throws<ProbeUnavailableException>(static () => LibbpfResolver.Find("/nonexistent/libbpf.so", []));
            Assert.Contains("/nonexistent/libbpf.so (there is no such file)", missing.Message, StringComparison.Ordinal);
            Assert.Contains("KubeSkoop:Probes:Ebpf:LibraryPath", missing.Message, StringComparison.Ordinal);
            ProbeUnavailableException nowhere = Assert.Throws<ProbeUnavailableException>(() => LibbpfResolver.Find(null, ["/nonexistent/libbpf.so", text], "libc.so.6"));
            Assert.Matches($"there is no such file.*; {System.Text.RegularExpressions.Regex.Escape(text)} \\(.*; libc.so.6 \\(is no libbpf 1.0 or later\\).*libbpf1", nowhere.Message);
            // The packaged one goes before the system's.
            LoadedLibbpf packaged = LibbpfResolver.Find(null, LibbpfResolver.PackagedPaths());
            Assert.EndsWith("/native/libbpf.so", packaged.Path, StringComparison.Ordinal);
            Assert.True(packaged.Version >= new Version(1, 0));
        }
        finally
        {
            File.Delete(text);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf | Needs.Native)]
    public async Task Runs_are_counted_and_timed_by_the_kernel_for_a_part_of_the_time_that_stands_for_the_whole()
    {
        const int Times = 100, Connections = 20; // two runs each: one reset sent, one received
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench(overhead: new OverheadMeter(TimeSpan.FromMilliseconds(40), TimeSpan.FromMilliseconds(20)));
        TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p, Microsoft.Extensions.Options.Options.Create(new TcpResetOptions())));
        for (int i = 0; i < Times; i++)
        {
            await ns.RefusedConnectionsAsync(Connections, new IPEndPoint(IPAddress.Loopback, 4711));
            await Task.Delay(5);
        }
        await Eventually.TrueAsync(() => probe.ReadKernelStatistics().Runs > 0, "a while to end");
        KernelProgramStatistics cost = probe.ReadKernelStatistics();
        Assert.InRange(cost.Runs, Times * Connections * 2 / 3, Times * Connections * 2 * 3);
        Assert.InRange(cost.RunTime.TotalMicroseconds / cost.Runs, 0.05, 1000);
        await probe.StopAsync();
        Assert.True(probe.ReadKernelStatistics().Runs >= cost.Runs); // it does not go back
    }
}
