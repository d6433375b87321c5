using System.Net;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Procfs.Tests.Sources;

/// <summary>Births, deaths and names of namespaces: on a tree of files, and live.</summary>
public sealed class NamespaceSourceTests
{
    [Fact]
    public void Namespaces_are_found_through_processes_the_hosts_first()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").AddProcess(30, 90, "late").AddProcess(20, 200, "web").AddProcess(21, 200, "worker");
        proc.Write("not-a-pid/comm", "x").Write("meminfo", "x").Write("99999999999/comm", "x");
        using ProcNamespaceSource source = Source(proc);
        Assert.Empty(source.Current);
        using IDisposable lease = source.Acquire();
        Assert.Equal([(100u, true, 1, "init"), (90u, false, 30, "late"), (200u, false, 20, "web")],
            source.Current.Select(static n => (n.Inode, n.IsHost, n.ProcessId!.Value, n.Command!)));
        Assert.Equal(["host", "late", "web"], source.Current.Select(static n => n.DisplayName));
    }

    [Fact]
    public void Births_and_deaths_change_the_snapshot_and_nothing_else_does()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").AddProcess(20, 200, "web").AddProcess(21, 200, "worker");
        using ProcNamespaceSource source = Source(proc);
        using IDisposable lease = source.Acquire();
        IReadOnlyList<NetworkNamespace> before = source.Current;
        NetworkNamespace web = before[1];
        source.Refresh();
        Assert.Same(before, source.Current);

        proc.Remove("20"); // another process of the namespace lives on
        source.Refresh();
        Assert.Same(before, source.Current);
        Assert.False(web.Ended.IsCancellationRequested);
        Assert.Equal(21, web.ProcessId);

        proc.Remove("21").AddProcess(40, 300, "new");
        source.Refresh();
        Assert.True(web.Ended.IsCancellationRequested);
        Assert.Equal([100u, 300u], source.Current.Select(static n => n.Inode));

        // The same inode number again is another namespace.
        proc.AddProcess(22, 200, "again");
        source.Refresh();
        NetworkNamespace again = source.Current.Single(static n => n.Inode == 200);
        Assert.NotSame(web, again);
        Assert.False(again.Ended.IsCancellationRequested);

        lease.Dispose();
        Assert.Empty(source.Current);
        Assert.True(again.Ended.IsCancellationRequested); // nobody watches it any more
    }

    [Fact]
    public void What_a_process_says_of_itself_breaks_nothing()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").AddProcess(20, 200);
        proc.Write("20/comm", [.. "a\nb\"\u001b[31m"u8, 0xff, 0xfe, (byte)'\n']);
        proc.AddProcess(21, 201);
        proc.Remove("21/comm");
        proc.AddProcess(22, 202);
        proc.Link("22/ns/net", "net:[0x20]").AddProcess(23, 203);
        proc.Link("23/ns/net", "mnt:[4026531841]").AddProcess(24, 204);
        proc.Link("24/ns/net", new string('n', 200)).AddProcess(25, 205);
        proc.Link("25/ns/net", "net:[99999999999999999999]");
        proc.AddProcess(26, 206, "host").AddProcess(27, 207, "");
        using ProcNamespaceSource source = Source(proc);
        using IDisposable lease = source.Acquire();
        Assert.Equal([100u, 200u, 201u, 206u, 207u], source.Current.Select(static n => n.Inode));
        Assert.Equal("a\ufffdb\"\ufffd[31m\ufffd\ufffd", source.Current[1].Command);
        Assert.Null(source.Current[2].Command);
        Assert.Equal(["201", "206", "207"], source.Current.Skip(2).Select(static n => n.DisplayName)); // nobody passes for the host
    }

    [Fact]
    public void More_namespaces_than_allowed_are_left_out_and_counted_but_never_the_hosts()
    {
        using var proc = new FakeProc();
        for (int i = 10; i < 20; i++) proc.AddProcess(i, (uint)(200 + i));
        proc.AddProcess(1, 100, "init");
        using ProcNamespaceSource source = Source(proc, static o => o.MaxNamespaces = 4);
        using IDisposable lease = source.Acquire();
        Assert.Contains(source.Current, static n => n.IsHost);
        Assert.Equal(11, source.Current.Count + source.LeftOut);
        Assert.InRange(source.Current.Count, 4, 5);
        Assert.Contains($"{source.LeftOut} network namespaces are left out: raise KubeSkoop:Probes:Procfs:MaxNamespaces, which is 4.", source.Problem, StringComparison.Ordinal);
    }

    [Fact]
    public void A_procfs_that_is_not_there_is_said_with_what_to_do()
    {
        using var source = new ProcNamespaceSource(Options.Create(new ProcfsOptions { HostProc = "/nowhere/proc" }));
        ProbeUnavailableException e = Assert.Throws<ProbeUnavailableException>(source.Acquire);
        Assert.Contains("/nowhere/proc", e.Message, StringComparison.Ordinal);
        Assert.Contains("KubeSkoop:Probes:Procfs:HostProc", e.Message, StringComparison.Ordinal);
        Assert.Empty(source.Current);
        Assert.Throws<ProbeUnavailableException>(source.Acquire); // and again: no half lease is left
    }

    [Fact]
    public void A_directory_that_is_no_procfs_is_said_with_what_to_do()
    {
        using var proc = new FakeProc();
        using ProcNamespaceSource source = Source(proc);
        ProbeUnavailableException e = Assert.Throws<ProbeUnavailableException>(source.Acquire);
        Assert.Contains("it seems to be no procfs", e.Message, StringComparison.Ordinal);
        proc.AddProcess(1, 100, "init"); // mounted meanwhile
        using IDisposable lease = source.Acquire();
        Assert.Single(source.Current);
    }

    [Fact]
    public void What_others_get_wrong_at_births_and_ends_does_not_end_the_watching()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").AddProcess(20, 200, "web");
        using var source = new ProcNamespaceSource(Options.Create(NoMounts(proc)), new BrokenResolver());
        using IDisposable lease = source.Acquire();
        Assert.Contains("BrokenResolver", source.Problem, StringComparison.Ordinal);
        source.Current[1].Ended.Register(static () => throw new InvalidOperationException("told too late"));
        proc.Remove("20").AddProcess(30, 300, "new");
        source.Refresh();
        Assert.Equal([100u, 300u], source.Current.Select(static n => n.Inode));
        Assert.Contains("told too late", source.Problem, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Unplugging_leaves_no_descriptor_not_even_of_kernel_threads()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").AddProcess(2, 100, "kthreadd").AddProcess(20, 200, "web");
        proc.Write("2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0\n"); // PF_KTHREAD
        proc.Link("self/ns/net", "net:[100]").Link("self/fd/0", "/dev/null");
        await using ServiceProvider services = new ServiceCollection().AddKubeSkoopProbes().AddProcfs(o =>
        {
            o.HostProc = proc.Root;
            o.NamespaceDirectories.Clear();
        }).Services.BuildServiceProvider();
        var manager = services.GetRequiredService<IProbeManager>();
        await using (await manager.StartAsync("fd"))
        {
            Assert.True(manager.Collect("fd", new RecordingVisitor()));
            Assert.Contains($"{proc.Root}/2", Targets());
        }
        await Eventually.TrueAsync(() => !Targets().Any(t => t?.StartsWith(proc.Root, StringComparison.Ordinal) == true), "every descriptor to be closed");

        static IEnumerable<string?> Targets() => Directory.EnumerateFileSystemEntries("/proc/self/fd").Select(static fd =>
        {
            try
            {
                return new FileInfo(fd).LinkTarget;
            }
            catch (IOException)
            {
                return null;
            }
        });
    }

    [Fact]
    public void Pods_are_asked_for_until_they_are_known()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").AddProcess(20, 200, "web");
        var resolver = new Pods();
        using var source = new ProcNamespaceSource(Options.Create(NoMounts(proc)), resolver);
        using IDisposable lease = source.Acquire();
        NetworkNamespace web = source.Current[1];
        int version = web.Version;
        Assert.Null(web.Pod);
        resolver.Known[200] = new PodIdentity("shop", "web-1");
        source.Refresh();
        Assert.Equal(new PodIdentity("shop", "web-1"), web.Pod);
        Assert.NotEqual(version, web.Version); // labels are made anew
    }

    [Fact]
    public void A_number_that_goes_to_another_pod_between_two_looks_is_another_namespace()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").AddProcess(20, 200, "old");
        var resolver = new Pods { Known = { [200] = new PodIdentity("shop", "old", "uid-1") } };
        using var source = new ProcNamespaceSource(Options.Create(NoMounts(proc)), resolver);
        using IDisposable lease = source.Acquire();
        NetworkNamespace old = source.Current[1];
        resolver.Known[200] = new PodIdentity("shop", "old", "uid-1") { Attributes = [new SampleAttribute("team", "core")] };
        source.Refresh();
        Assert.Same(old, source.Current[1]); // the same pod, of which more is known
        Assert.Single(old.Pod!.Attributes);
        proc.Remove("20").AddProcess(30, 200, "new");
        resolver.Known[200] = new PodIdentity("shop", "new", "uid-2");
        source.Refresh();
        Assert.True(old.Ended.IsCancellationRequested);
        Assert.Equal("old", old.Pod?.Name);
        Assert.Equal((200u, "new", 30), (source.Current[1].Inode, source.Current[1].Pod?.Name, source.Current[1].ProcessId));
    }

    [Fact]
    public void Pods_that_become_known_are_asked_for_without_a_look()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").AddProcess(20, 200, "web");
        var resolver = new Pods();
        using var source = new ProcNamespaceSource(Options.Create(NoMounts(proc)), resolver);
        using (source.Acquire())
        {
            NetworkNamespace web = source.Current[1];
            resolver.Known[200] = new PodIdentity("shop", "web-1");
            proc.Remove("20"); // a look would see that
            resolver.Tell();
            Assert.Equal("web-1", web.Pod?.Name);
            Assert.False(web.Ended.IsCancellationRequested);
        }
        Assert.False(resolver.IsListenedTo);
    }

    [Theory]
    [InlineData("0::/kubepods.slice/pod-a/x\n", "pod-a")] // v2
    [InlineData("12:cpu,cpuacct:/kubepods/pod-a/x\n4:memory:/kubepods/pod-a/x\n1:name=systemd:/kubepods/pod-a/x\n", "pod-a")] // v1
    [InlineData("4:memory:/kubepods/pod-a/x\n1:name=systemd:/kubepods/pod-a/x\n0::/\n", "pod-a")] // hybrid: v2 knows nothing
    [InlineData("0::/system.slice/sshd.service\n", null)]
    [InlineData("garbage", null)]
    [InlineData("", null)]
    public async Task Processes_in_the_hosts_namespace_are_attributed_by_cgroup(string cgroup, string? pod)
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").AddProcess(50, 100, "agent", cgroup, parent: 1);
        foreach (int pid in (int[])[1, 50])
        {
            proc.Write(FakeProc.Of(pid, "fd/0"), "").Write(FakeProc.Of(pid, "fd/1"), "");
            proc.Write(FakeProc.Of(pid, "limits"), "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            10                   20                   files     \n");
        }
        proc.Link("self/fd/0", "/dev/null").Link("self/ns/net", "net:[100]");
        await using ServiceProvider services = new ServiceCollection().AddSingleton<IPodResolver>(new Pods())
            .AddKubeSkoopProbes().AddProcfs(o =>
            {
                o.HostProc = proc.Root;
                o.NamespaceDirectories.Clear();
            }).Services.BuildServiceProvider();
        var manager = services.GetRequiredService<IProbeManager>();
        await using ProbeLease lease = await manager.StartAsync("fd");
        var rows = new List<(string? Pod, ulong Processes, ulong Open)>();
        foreach (ref readonly SampleRow<FdRecord> row in ((IMetricProbe<FdRecord>)manager.Find("fd")!).Sample())
            rows.Add((row.Pod?.Name, row.Value.Processes.Value, row.Value.OpenDescriptors.Value));
        Assert.Equal(pod is null ? [(null, 2, rows[0].Open)] : [(null, 1, rows[0].Open), (pod, 1, rows[1].Open)], rows);
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_death_is_noticed_without_a_look()
    {
        using var source = new ProcNamespaceSource(Options.Create(new ProcfsOptions { RefreshInterval = TimeSpan.FromHours(1) }));
        using IDisposable lease = source.Acquire();
        TestNamespace ns = await TestNamespace.CreateUnboundAsync();
        try
        {
            source.Refresh();
            NetworkNamespace seen = source.Current.Single(n => n.Inode == ns.Inode);
            Assert.Equal((ns.ProcessId, "cat"), (seen.ProcessId, seen.Command));
            await ns.EndProcessAsync();
            await Eventually.TrueAsync(() => seen.Ended.IsCancellationRequested, "the end of the namespace, by its process's descriptor");
            Assert.DoesNotContain(source.Current, n => n.Inode == ns.Inode);
        }
        finally
        {
            await ns.DisposeAsync();
        }
    }

    // The kernel gives the number of a namespace that is gone to the next one, which a look that comes late (here: behind one that waits for a resolver) would take for the first.
    // Or its process ends while a look of the watch's own has seen it, and has not come to it yet.
    [LiveTheory(Needs.NetNs)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_number_is_nobody_elses_until_the_end_is_noticed(bool byTheWatch)
    {
        var resolver = new SlowResolver();
        using var source = new ProcNamespaceSource(Options.Create(new ProcfsOptions { RefreshInterval = TimeSpan.FromHours(1) }), resolver);
        using IDisposable lease = source.Acquire();
        await using TestNamespace first = await TestNamespace.CreateUnboundAsync();
        TestNamespace ns = await TestNamespace.CreateUnboundAsync();
        var others = new List<TestNamespace>();
        Task look = Task.CompletedTask;
        try
        {
            source.Refresh();
            NetworkNamespace seen = source.Current.Single(n => n.Inode == ns.Inode);
            resolver.Go.Reset();
            if (byTheWatch) await first.EndProcessAsync();
            else look = Task.Factory.StartNew(source.Refresh, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            Assert.True(resolver.Asked.Wait(Eventually.DefaultTimeout));
            await ns.EndProcessAsync();
            for (int i = 0; i < 100; i++) others.Add(await TestNamespace.CreateUnboundAsync());
            Assert.DoesNotContain(others, o => o.Inode == seen.Inode);
            resolver.Go.Set();
            await Eventually.TrueAsync(() => seen.Ended.IsCancellationRequested, "the end of the namespace, by its process's descriptor");
        }
        finally
        {
            resolver.Go.Set();
            await look;
            await ns.DisposeAsync();
            foreach (TestNamespace other in others) await other.DisposeAsync();
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_birth_is_noticed_by_the_next_look()
    {
        using var source = new ProcNamespaceSource(Options.Create(new ProcfsOptions { RefreshInterval = TimeSpan.FromMilliseconds(50) }));
        using IDisposable lease = source.Acquire();
        await using TestNamespace ns = await TestNamespace.CreateUnboundAsync();
        await Eventually.TrueAsync(() => source.Current.Any(n => n.Inode == ns.Inode), "the namespace to be found");
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_bound_namespace_without_a_process_is_found_read_and_released()
    {
        TestNamespace ns = await TestNamespace.CreateAsync();
        try
        {
            await ns.SendUdpAsync(3, new IPEndPoint(IPAddress.Loopback, 9));
            await ns.EndProcessAsync();
            await using UdpProbe udp = await UdpProbe.StartNewAsync();
            SampleRow<UdpRecord> row = udp.Sample().Rows.ToArray().Single(r => r.Namespace?.Inode == ns.Inode && r.Value.Version == IpVersion.IPv4);
            Assert.Equal((ns.Name, null), (row.Namespace!.Name, row.Namespace.ProcessId));
            Assert.Equal(3ul, row.Value.OutDatagrams.Value);
            CancellationToken ended = row.Namespace.Ended;
            await ns.DisposeAsync();
            await Eventually.TrueAsync(() => ended.IsCancellationRequested, "the unbound namespace to be released");
        }
        finally
        {
            await ns.DisposeAsync();
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_namespace_is_opened_only_while_it_is_the_one_that_is_meant()
    {
        using var source = new ProcNamespaceSource();
        using IDisposable lease = source.Acquire();
        TestNamespace ns = await TestNamespace.CreateUnboundAsync();
        source.Refresh();
        NetworkNamespace seen = source.Current.Single(n => n.Inode == ns.Inode);
        using (SafeFileHandle? handle = source.Open(seen)) Assert.NotNull(handle);
        await ns.DisposeAsync();
        Assert.Null(source.Open(seen));
        // A process that lives elsewhere under the number it had.
        Assert.Null(source.Open(new NetworkNamespace(ns.Inode, false, new NamespaceFacts(null, Environment.ProcessId, null, null))));
    }

    private static ProcfsOptions NoMounts(FakeProc proc)
    {
        var options = new ProcfsOptions { HostProc = proc.Root, RefreshInterval = TimeSpan.FromHours(1) };
        options.NamespaceDirectories.Clear();
        return options;
    }

    private static ProcNamespaceSource Source(FakeProc proc, Action<ProcfsOptions>? configure = null)
    {
        ProcfsOptions options = NoMounts(proc);
        configure?.Invoke(options);
        return new ProcNamespaceSource(Options.Create(options));
    }

    private sealed class SlowResolver : IPodResolver
    {
        internal ManualResetEventSlim Go { get; } = new(true);

        internal ManualResetEventSlim Asked { get; } = new();

        public PodIdentity? Resolve(NetworkNamespace networkNamespace)
        {
            if (Go.IsSet) return null;
            Asked.Set();
            Go.Wait();
            return null;
        }

        public PodIdentity? ResolveCgroup(string cgroupPath) => null;
    }

    private sealed class BrokenResolver : IPodResolver
    {
        public PodIdentity? Resolve(NetworkNamespace networkNamespace) => throw new InvalidOperationException("no runtime");

        public PodIdentity? ResolveCgroup(string cgroupPath) => null;
    }

    private sealed class Pods : IPodResolver
    {
        public event Action? Changed;

        internal Dictionary<uint, PodIdentity> Known { get; } = [];

        internal bool IsListenedTo => Changed is not null;

        internal void Tell() => Changed?.Invoke();

        public PodIdentity? Resolve(NetworkNamespace networkNamespace) => Known.GetValueOrDefault(networkNamespace.Inode);

        public PodIdentity? ResolveCgroup(string cgroupPath) =>
            cgroupPath.Contains("/pod-a/", StringComparison.Ordinal) ? new PodIdentity("default", "pod-a") : null;
    }
}
