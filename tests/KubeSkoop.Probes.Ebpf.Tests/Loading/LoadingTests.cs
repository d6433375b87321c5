using System.Net;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Ebpf.Tests.Interop;
using KubeSkoop.Probes.Ebpf.Tests.Live;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

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

        // As Linux 7.3 says it.
        const string Explained = """
            libbpf: prog 'refused': -- BEGIN PROG LOAD LOG --
            0: R1=ctx() R10=fp0
            ; return bpf_get_stack(ctx); @ refused.bpf.c:9
            0: (85) call bpf_get_stack#67
            program of this type cannot use helper bpf_get_stack#67

            Verification failed: Policy: Operation is not allowed

            Reason:
              This program type does not allow the helper.

            Suggestion:
              Use a helper allowed for this program type.

            processed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
            -- END PROG LOAD LOG --
            """;
        Assert.Equal("program refused: program of this type cannot use helper bpf_get_stack#67", Verifier.Shorten(Explained));
        Assert.Equal("program refused: This program type does not allow the helper.", Verifier.Shorten(Explained.Replace("program of this type cannot use helper bpf_get_stack#67\n", "", StringComparison.Ordinal)));
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

    [LiveFact(Needs.Bpf)]
    public unsafe void Functions_whose_programs_are_loaded_but_not_attached_are_hooked_another_way()
    {
        const int ProgLoad = 5, RawTracepointOpen = 17, FunctionEntry = 24, NotSupported = 524;
        int kind = 0;
        KernelFeatures features = KernelFeatures.Probe(bpf: (command, attributes, _) =>
        {
            if (command == ProgLoad) kind = *(int*)((byte*)attributes + 68); // expected_attach_type
            else Assert.Equal(RawTracepointOpen, command);
            return command == RawTracepointOpen && kind == FunctionEntry ? -NotSupported : Descriptor();
        });
        Assert.Null(features.TracepointRefusal);
        Assert.Equal("ENOTSUPP: the kernel loads it, but does not attach it", features.FunctionRefusal);
        var hook = new Hook("connect", new HookVariant("fentry", ["a"], static k => k.Function("tcp_connect")), new HookVariant("kprobe", ["b"], static _ => null));
        Assert.Equal("kprobe", Assert.Single(BpfObject.Choose("x", [hook], features, null)).Variant!.Name);

        static int Descriptor()
        {
            using SafeFileHandle file = File.OpenHandle("/dev/null");
            int descriptor = (int)file.DangerousGetHandle();
            file.SetHandleAsInvalid(); // it is the caller's now
            return descriptor;
        }
    }

    [LiveFact(Needs.Bpf)]
    public void A_way_that_the_kernel_does_not_attach_makes_room_for_the_next_and_its_reason_is_kept()
    {
        var options = new EbpfOptions();
        KernelFeatures features = KernelFeatures.Of(options);
        var hook = new Hook("switch", new HookVariant("kprobe", ["refused"], static _ => null), new HookVariant("tp_btf", ["taken"], static k => k.Tracepoint("sched_switch", 1)));
        using BpfObject first = BpfObject.Load("unattachable", TestObject.Image("unattachable"), [hook], features, options, null);
        (string program, string refusal) = first.Attach()!.Value;
        Assert.Equal("refused", program);
        Assert.StartsWith("the program refused cannot be attached (E", refusal, StringComparison.Ordinal);

        hook = hook.After(new Dictionary<string, string> { [program] = refusal });
        using BpfObject second = BpfObject.Load("unattachable", TestObject.Image("unattachable"), [hook], features, options, null);
        Assert.Null(second.Attach());
        Assert.Equal($"tp_btf (switch; kprobe: {refusal})", second.Describe());
        Hook only = hook with { Variants = [hook.Variants[0]] };
        Assert.Contains($"kprobe: {refusal}", Assert.Throws<ProbeUnavailableException>(() => BpfObject.Choose("x", [only], features, null)).Why, StringComparison.Ordinal);
        ChosenHook without = Assert.Single(BpfObject.Choose("x", [only with { Without = "something" }], features, null));
        Assert.Equal((null, $"kprobe: {refusal}"), (without.Variant, without.Refusal));
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_probe_of_which_a_way_is_not_attached_runs_with_the_next()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        var options = new EbpfOptions();
        await using var bench = new EbpfBench(options);
        options.Hook = null;
        await using var probe = new ResetProbe(bench.Programs);
        for (int i = 0; i < 2; i++) // every start asks the kernel again
        {
            await probe.StartAsync();
            if (bench.Programs.Features.KprobeRefusal is not null)
                Assert.StartsWith("tp_btf (reset; kprobe: the program answer_by_kprobe cannot be attached (", probe.Status.Source, StringComparison.Ordinal);
            else
                Assert.Equal("kprobe", probe.Status.Source);
            await ns.RefusedConnectionsAsync(3, new IPEndPoint(IPAddress.Loopback, 4711));
            TcpResetRecord row = bench.Record(probe, ns);
            Assert.Equal(3ul, row.SentWithoutSocket.Value + row.Received.Value);
            await probe.StopAsync();
        }
    }

    [LiveFact(Needs.Bpf, "setpriv", "bpftool")]
    public async Task A_process_without_rights_is_told_which()
    {
        // The capabilities of this thread's process cannot be given up for a test; the words are those of an unprivileged reader of the same file.
        CommandResult status = await Command.RunAsync("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "cat", "/proc/self/status"]);
        Assert.Equal("CAP_BPF and CAP_PERFMON", KernelFeatures.Missing(status.Output.Split('\n')));
    }

    [LiveFact(Needs.Bpf)]
    public void What_libbpf_says_is_logged_also_when_it_loads()
    {
        var log = new Lines(LogLevel.Debug);
        var options = new EbpfOptions();
        Load("warned", KernelFeatures.Of(options), log).Dispose();
        (LogLevel level, string line) = Assert.Single(log.Taken);
        Assert.Equal(LogLevel.Warning, level);
        Assert.Matches("^libbpf, warned: .*odd", line);

        // What ends in an exception says its cause there; at every new try the rest is for who debugs.
        log.Taken.Clear();
        Assert.Throws<ProbeUnavailableException>(() => Load("refused", KernelFeatures.Of(options), log));
        Assert.Contains(log.Taken, static l => l.Level == LogLevel.Debug && l.Line.StartsWith("libbpf, refused: program refused: ", StringComparison.Ordinal) && l.Line.Contains("bpf_get_stack", StringComparison.Ordinal));
        Assert.All(log.Taken, static l => Assert.True(l.Line.Length < 500 && !l.Line.Contains('\n', StringComparison.Ordinal)));
        Assert.DoesNotContain(log.Taken, static l => l.Level != LogLevel.Debug);

        // What it says for those who debug it is a trace.
        var everything = new Lines(LogLevel.Trace);
        Load("warned", KernelFeatures.Of(options), everything).Dispose();
        Assert.Contains(everything.Taken, static l => l.Level == LogLevel.Trace);
    }

    [LiveFact(Needs.Bpf)]
    public void A_kernel_that_is_locked_down_for_confidentiality_is_named_as_the_cause()
    {
        string lockdown = Path.GetTempFileName();
        try
        {
            File.WriteAllText(lockdown, "none integrity [confidentiality]\n");
            ProbeUnavailableException refused = Assert.Throws<ProbeUnavailableException>(() => Load("refused", KernelFeatures.Probe(lockdown: lockdown), new Lines(LogLevel.None)));
            Assert.Contains("EINVAL: program refused: ", refused.Message, StringComparison.Ordinal);
            Assert.Contains("The kernel is locked down (confidentiality), which keeps programs from reading its memory", refused.Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(lockdown);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_probe_that_a_locked_down_kernel_refuses_is_unavailable_and_leaves_the_others_alone()
    {
        string lockdown = Path.GetTempFileName();
        try
        {
            File.WriteAllText(lockdown, "none [integrity] confidentiality\n");
            await using TestNamespace ns = await TestNamespace.CreateAsync();
            await using var bench = new EbpfBench();
            TcpResetProbe other = await bench.StartAsync(static p => new TcpResetProbe(p));
            await using var locked = new EbpfBench(features: KernelFeatures.Probe(lockdown: lockdown));
            await using var probe = new TcpResetProbe(locked.Programs);
            // The kernel refuses for want of rights, with the same error.
            await Capabilities.RunWithoutAsync(() => Assert.Throws<ProbeUnavailableException>(() => probe.StartAsync().GetAwaiter().GetResult()), Capability.SysAdmin, Capability.Perfmon, Capability.Bpf);
            Assert.Equal(ProbeState.Unavailable, probe.Status.State);
            Assert.Contains("EPERM", probe.Status.Reason, StringComparison.Ordinal);
            Assert.Contains("The kernel is locked down (integrity); a kernel without lockdown takes it.", probe.Status.Reason, StringComparison.Ordinal);
            await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
            Assert.Equal((ProbeState.Running, 1ul), (other.Status.State, bench.Record(other, ns).SentWithoutSocket.Value));
        }
        finally
        {
            File.Delete(lockdown);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_file_with_type_information_is_for_probes_whose_hooks_are_not_in_the_kernels_own()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        TcpResetProbe other = await bench.StartAsync(static p => new TcpResetProbe(p));
        await using (var without = new EbpfBench(features: KernelFeatures.Probe(kernelBtf: "/nonexistent/vmlinux")))
        {
            string why = await WhyUnavailableAsync(new TcpResetProbe(without.Programs));
            Assert.Contains("the kernel publishes no type information (/nonexistent/vmlinux)", why, StringComparison.Ordinal);
            Assert.Contains("For this probe a file (BtfPath) does not do", why, StringComparison.Ordinal);
            Assert.Contains("or set KubeSkoop:Probes:Ebpf:BtfPath to a file with this kernel's", await WhyUnavailableAsync(new VirtCmdLatencyProbe(without.Programs)), StringComparison.Ordinal);
        }
        await using (var file = new EbpfBench(new EbpfOptions { BtfPath = Btf.KernelPath }, features: KernelFeatures.Probe(Btf.KernelPath, "/nonexistent/vmlinux")))
        {
            foreach (Probe probe in (Probe[])[new TcpResetProbe(file.Programs), new SocketLatencyProbe(file.Programs), new NetSoftirqProbe(file.Programs)])
                Assert.Contains("the kernel publishes no type information of its own (/nonexistent/vmlinux), which this way needs; the file of KubeSkoop:Probes:Ebpf:BtfPath cannot stand for it", await WhyUnavailableAsync(probe), StringComparison.Ordinal);
        }
        await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        Assert.Equal((ProbeState.Running, 1ul), (other.Status.State, bench.Record(other, ns).SentWithoutSocket.Value));

        static async Task<string> WhyUnavailableAsync(Probe probe)
        {
            await using (probe)
            {
                await Assert.ThrowsAsync<ProbeUnavailableException>(async () => await probe.StartAsync());
                Assert.Equal(ProbeState.Unavailable, probe.Status.State);
                return probe.Status.Reason!;
            }
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_cost_that_the_kernel_does_not_measure_is_absent_with_the_reason()
    {
        var log = new Lines(LogLevel.Debug);
        using var meter = new OverheadMeter(TimeSpan.FromHours(2), TimeSpan.FromHours(1)) { Logger = log };
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench(overhead: meter);
        TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
        await Capabilities.RunWithoutAsync(() => { meter.Turn(); meter.Turn(); return 0; }, Capability.SysAdmin);
        KernelProgramStatistics cost = probe.ReadKernelStatistics();
        Assert.Equal((null, null), (cost.Runs, cost.RunTime));
        Assert.Contains("EPERM: the kernel does not measure its programs for this process. That takes CAP_SYS_ADMIN", cost.CostProblem, StringComparison.Ordinal);
        Assert.Contains(cost.CostProblem!, Assert.Single(log.Taken).Line, StringComparison.Ordinal); // once, not every five seconds

        meter.Turn(); // with rights again
        await ns.RefusedConnectionsAsync(5, new IPEndPoint(IPAddress.Loopback, 4711));
        meter.Turn();
        cost = probe.ReadKernelStatistics();
        Assert.Null(cost.CostProblem);
        Assert.True(cost is { Runs: >= 10, RunTime.Ticks: > 0 });
        await probe.StopAsync();
        Assert.True(probe.ReadKernelStatistics().Runs >= 10);
    }

    private static BpfObject Load(string name, KernelFeatures features, ILogger log) =>
        BpfObject.Load(name, Interop.TestObject.Image(name), [new Hook(name, new HookVariant("run", [name], static _ => null))], features, new EbpfOptions(), log);

    private sealed class Lines(LogLevel least) : ILogger
    {
        internal List<(LogLevel Level, string Line)> Taken { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= least;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel)) Taken.Add((logLevel, formatter(state, exception)));
        }
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
        Assert.InRange(cost.Runs!.Value, Times * Connections * 2 / 3, Times * Connections * 2 * 3);
        Assert.InRange(cost.RunTime!.Value.TotalMicroseconds / cost.Runs.Value, 0.05, 1000);
        await probe.StopAsync();
        Assert.True(probe.ReadKernelStatistics().Runs >= cost.Runs); // it does not go back
    }

    // tcpreset's programs: those that answer by kprobe, which some kernels have not, or those that are told of resets.
    private sealed class ResetProbe(EbpfPrograms programs) : EbpfCountsProbe<TcpResetRecord, TcpResetEvent, TcpResetOptions>(TcpResetProbe.About, programs, null, null)
    {
        public override MetricTable<TcpResetRecord> Metrics => TcpResetRecord.Metrics;

        private protected override IReadOnlyList<Hook> Hooks =>
        [
            new("reset",
                new HookVariant("kprobe", ["answer_by_kprobe", "answer6_by_kprobe"], static _ => null),
                new HookVariant("tp_btf", ["receive_reset"], static k => k.Tracepoint("tcp_receive_reset", 1))),
        ];

        // struct tcpreset_counts, bpf/tcpreset.h
        private protected override void Write(ref TcpResetRecord record, ReadOnlySpan<ulong> counts) => (record.SentWithoutSocket, record.Received) = (counts[0], counts[3]);

        private protected override TcpResetEvent? Understand(ReadOnlySpan<byte> record) => null;
    }
}
