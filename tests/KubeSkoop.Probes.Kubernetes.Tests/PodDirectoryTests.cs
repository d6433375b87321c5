using System.Net;
using System.Net.Sockets;
using Google.Protobuf;
using KubeSkoop.Probes.Kubernetes.Tests.Cri;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Kubernetes.Tests;

public sealed class PodDirectoryTests
{
    private const uint HostInode = 100;

    [Fact]
    public async Task Without_a_runtime_a_pod_is_its_uid()
    {
        using var proc = new FakeProc();
        string uid = FakePod.UidOf(0xabc);
        proc.AddProcess(1, HostInode, "init").AddProcess(20, 200, "web", $"0::/kubepods/burstable/pod{uid}/{FakePod.Id(1)}\n").AddProcess(30, 300, "alone", "0::/system.slice/x.service\n");
        await using PodDirectory directory = TestDirectory.Of(KubernetesOptions.NoRuntime, hostProc: proc.Root);
        await directory.StartAsync(CancellationToken.None);
        Assert.Contains("none", directory.Status.Problem, StringComparison.Ordinal);
        Assert.Null(directory.Status.StaleSince);
        PodIdentity pod = directory.Resolve(Namespace(200, 20))!;
        Assert.Equal((false, "", "", uid, $"uid {uid}"), (pod.IsNamed, pod.Namespace, pod.Name, pod.Uid, pod.ToString()));
        Assert.Equal([new SampleAttribute("k8s.pod.uid", uid)], pod.Attributes);
        Assert.Equal(pod, directory.ResolveCgroup($"/kubepods/burstable/pod{uid}"));
        Assert.Null(directory.Resolve(Namespace(300, 30)));
        Assert.Null(directory.Resolve(Namespace(400, null)));
        Assert.Null(directory.Resolve(new NetworkNamespace(200, true, new NamespaceFacts(null, 20, null, null)))); // the host's is nobody's
        Assert.Null(directory.ResolveCgroup("/system.slice/x.service"));
    }

    [Theory]
    [InlineData("0::/system.slice/containerd.service\n4:memory:/kubepods/burstable/podUID/ID\n1:name=systemd:/kubepods/burstable/podUID/ID\n")] // runc before 1.1, and 'runc exec'
    [InlineData("4:memory:/kubepods/burstable/podUID/ID\n1:name=systemd:/kubepods/burstable/podUID/ID\n0::/system.slice/containerd.service\n")]
    [InlineData("9:rdma:/\n4:memory:/kubepods/burstable/podUID/ID\n1:name=systemd:/system.slice/docker.service\n0::/\n")]
    [InlineData("0::/../../podUID/ID\n")] // from a cgroup namespace of our own
    [InlineData("0::/../../../podUID/ID\n")]
    [InlineData("0::/../../../burstable/podUID/ID\n")]
    public async Task A_pod_is_known_by_the_hierarchy_that_names_it_from_wherever_that_is_seen(string cgroup)
    {
        using var proc = new FakeProc();
        string uid = FakePod.UidOf(77);
        proc.AddProcess(1, HostInode, "init").AddProcess(50, 500, "app", cgroup.Replace("UID", uid, StringComparison.Ordinal).Replace("ID", FakePod.Id(5), StringComparison.Ordinal));
        await using PodDirectory directory = TestDirectory.Of(KubernetesOptions.NoRuntime, hostProc: proc.Root);
        Assert.Equal(PodIdentity.OfUid(uid), directory.Resolve(Namespace(500, 50)));
        Assert.Equal((uid, 50), (directory.Survey().Single().Pod.Identity.Uid, directory.Survey().Single().ProcessIds.Single()));
    }

    [Fact]
    public async Task Of_hierarchies_that_name_a_pod_that_of_version_2_is_taken()
    {
        using var proc = new FakeProc();
        proc.AddProcess(50, 500, "app", $"4:memory:/kubepods/pod{FakePod.UidOf(1)}\n0::/kubepods/pod{FakePod.UidOf(2)}\n").AddProcess(51, 500, "app", "4:memory:/a\n0::/b\n").AddProcess(52, 500, "app", "4 memory\n");
        await using PodDirectory directory = TestDirectory.Of(KubernetesOptions.NoRuntime, hostProc: proc.Root);
        Assert.Equal($"/kubepods/pod{FakePod.UidOf(2)}", directory.Host.CgroupOf(50));
        Assert.Equal("/b", directory.Host.CgroupOf(51));
        Assert.Null(directory.Host.CgroupOf(52));
        Assert.Null(directory.Host.CgroupOf(53));
    }

    [Fact]
    public async Task From_a_cgroup_namespace_of_our_own_a_pod_has_its_process_its_namespace_and_its_cgroups()
    {
        using var proc = new FakeProc();
        using var hierarchy = new FakeProc(); // stands in for /sys/fs/cgroup
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod pod = FakePod.Make("web") with { ProcessId = 20 };
        string parent = $"/kubepods/besteffort/pod{pod.Uid}";
        hierarchy.Write("cgroup.procs", "").Write("cgroup.controllers", "").Write($"{parent[1..]}/{pod.SandboxId}/cgroup.procs", "");
        proc.AddProcess(1, HostInode, "init").AddProcess(20, 200, "pause", $"0::/../../pod{pod.Uid}/{pod.SandboxId}\n");
        cri.Add(pod with { CgroupParent = parent });
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, o => o.CgroupRoot = hierarchy.Root, proc.Root);
        PodInfo known = await directory.FindAsync("web");
        Assert.Equal((20, 200u, parent), (known.ProcessId, known.NamespaceInode, known.CgroupPath));
        Assert.Equal(2, known.CgroupIds.Count);
        Assert.All(known.CgroupIds, id => Assert.Equal("web", directory.ResolveCgroup(id)?.Name));
    }

    [Fact]
    public async Task A_pod_is_named_by_the_runtime_with_all_it_says()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod web = Make(proc, "web-0", 20, 200, static p => p with
        {
            Ips = ["10.88.0.7", "fd88::7", "10.88.0.7", "no address"],
            Labels = new() { ["app"] = "web", ["example.com/team"] = "core", ["other"] = "x" },
            Containers = [(FakePod.Id(77), "main"), (FakePod.Id(78), "sidecar")],
        });
        cri.Add(web);
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, static o =>
        {
            o.PodUid = true;
            foreach (string label in (string[])["app", "team=example.com/team", "absent"]) o.PodLabels.Add(label);
        }, proc.Root);
        PodInfo pod = await directory.FindAsync("web-0");
        Assert.Equal(PodSource.Runtime, pod.Source);
        Assert.Equal((web.SandboxId, 200u, 20, false), (pod.SandboxId, pod.NamespaceInode, pod.ProcessId, pod.IsHostNetwork));
        Assert.Equal(DateTimeOffset.FromUnixTimeSeconds(1_700_000_000), pod.Created);
        Assert.Equal([IPAddress.Parse("10.88.0.7"), IPAddress.Parse("fd88::7")], pod.Addresses);
        Assert.Equal([new PodContainer(FakePod.Id(77), "main", true), new PodContainer(FakePod.Id(78), "sidecar", true)], pod.Containers);
        Assert.Equal([new SampleAttribute("k8s.pod.uid", web.Uid), new SampleAttribute("k8s.pod.label.app", "web"), new SampleAttribute("team", "core", "team")], pod.Identity.Attributes);
        Assert.Equal(3, pod.Labels.Count);
        Assert.Equal(pod.Identity, directory.Resolve(Namespace(200, 20)));
        Assert.Equal("sidecar", directory.FindContainer($"/kubepods/pod{web.Uid}/{FakePod.Id(78)}")?.Name);
        Assert.Equal(pod.Identity, directory.ResolveCgroup($"/kubepods/pod{web.Uid}/{FakePod.Id(99)}")); // a container that is not known yet
        Assert.Equal(1, cri.Calls("PodSandboxStatus"));
    }

    [Fact]
    public async Task Only_new_sandboxes_are_asked_for_their_status()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        for (int i = 0; i < 20; i++) cri.Add(Make(proc, $"pod-{i}", 1000 + i, (uint)(2000 + i)));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        await Eventually.TrueAsync(() => directory.Pods.Count(static p => p.NamespaceInode is not null) == 20, "all pods");
        int polls = cri.Calls("ListPodSandbox");
        await Eventually.TrueAsync(() => cri.Calls("ListPodSandbox") >= polls + 5, "some polls");
        cri.Add(Make(proc, "late", 1900, 2900));
        await directory.FindAsync("late");
        Assert.Equal(21, cri.Calls("PodSandboxStatus"));
        Assert.InRange(cri.Calls("ListContainers"), cri.Calls("ListPodSandbox") - 1, cri.Calls("ListPodSandbox"));
    }

    [Theory]
    [InlineData("containerd", "1.6.20~ds1", RuntimeEvents.Auto, false)]
    [InlineData("containerd", "v1.7.27", RuntimeEvents.Auto, false)] // whoever listens takes events from the kubelet
    [InlineData("containerd", "v1.7.27", RuntimeEvents.Always, true)]
    [InlineData("containerd", "v2.0.1", RuntimeEvents.Auto, true)]
    [InlineData("containerd", "2.1.4-k3s1", RuntimeEvents.Auto, true)]
    [InlineData("containerd", "v2.0.1", RuntimeEvents.Never, false)]
    [InlineData("cri-o", "1.32.1", RuntimeEvents.Auto, false)]
    [InlineData("cri-o", "1.32.1", RuntimeEvents.Always, true)]
    public async Task Events_are_listened_to_where_that_takes_them_from_nobody(string name, string version, RuntimeEvents events, bool listens)
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync(c => (c.Name, c.Version, c.HasEvents) = (name, version, true));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, o => o.RuntimeEvents = events, proc.Root);
        if (listens) await Eventually.EqualAsync(1, () => cri.ListenerCount, "the listener");
        cri.Add(Make(proc, "web", 20, 200));
        await directory.FindAsync("web");
        await Eventually.EqualAsync(listens, () => directory.Status.UsesEvents, "what the status says");
        Assert.Equal(listens ? 1 : 0, cri.Calls("GetContainerEvents"));
    }

    [Fact]
    public async Task With_events_pods_are_known_at_once_and_nothing_is_polled_in_between()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync(static c => (c.Version, c.HasEvents) = ("2.0.0", true));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, static o => (o.PollInterval, o.ResyncInterval) = (TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1)), proc.Root);
        await Eventually.EqualAsync(1, () => cri.ListenerCount, "the listener");
        cri.Add(Make(proc, "first", 20, 200));
        await Eventually.TrueAsync(() => directory.Status.UsesEvents, "events to be trusted");
        int polls = cri.Calls("ListPodSandbox");
        for (int i = 0; i < 5; i++)
        {
            cri.Add(Make(proc, $"pod-{i}", 30 + i, (uint)(300 + i)));
            await directory.FindAsync($"pod-{i}"); // an hour before the next look
            cri.Remove(directory.Named($"pod-{i}")!.SandboxId!);
            await Eventually.TrueAsync(() => directory.Named($"pod-{i}")!.Ended is not null, "the end");
        }
        Assert.InRange(cri.Calls("ListPodSandbox") - polls, 5, 10); // one look an event, or fewer
    }

    [Fact]
    public async Task Events_that_do_not_come_are_not_relied_on()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync(static c => (c.Version, c.HasEvents) = ("2.0.0", true));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, static o => o.ResyncInterval = TimeSpan.FromSeconds(1), proc.Root);
        await Eventually.EqualAsync(1, () => cri.ListenerCount, "the listener");
        cri.Add(Make(proc, "first", 20, 200));
        await Eventually.TrueAsync(() => directory.Status.UsesEvents, "events to be trusted");
        cri.Add(Make(proc, "silent", 21, 201), tell: false);
        await directory.FindAsync("silent"); // by the look all the same
        await Eventually.TrueAsync(() => !directory.Status.UsesEvents, "events not to be trusted any more");
        cri.Tell();
        await Eventually.TrueAsync(() => directory.Status.UsesEvents, "events to be trusted again");
    }

    [Fact]
    public async Task A_runtime_that_goes_leaves_all_as_it_was_and_comes_back()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        cri.Add(Make(proc, "stays", 20, 200));
        FakePod goes = cri.Add(Make(proc, "goes", 21, 201));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, static o => o.RememberEnded = TimeSpan.FromMinutes(1), proc.Root);
        await directory.FindAsync("stays");
        await directory.FindAsync("goes");
        await cri.StopAsync();
        await Eventually.TrueAsync(() => directory.Status.StaleSince is not null, "the loss to be noticed");
        Assert.Equal(directory.Status.LastAnswer, directory.Status.StaleSince);
        Assert.Equal(2, directory.Pods.Count(static p => p.Ended is null));
        Assert.Equal("stays", directory.Resolve(Namespace(200, 20))?.Name);
        cri.Remove(goes.SandboxId);
        cri.Add(Make(proc, "new", 22, 202));
        await cri.StartAsync();
        await directory.FindAsync("new");
        Assert.Equal((null, null), (directory.Status.StaleSince, directory.Status.Problem));
        Assert.NotNull(directory.Named("goes")!.Ended);
        Assert.Equal("goes", directory.ResolveNamespace(201, Now)?.Name);
    }

    [Fact]
    public async Task The_order_in_which_a_runtime_lists_containers_is_no_news()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync(static c => (c.Version, c.HasEvents) = ("2.0.0", true));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, static o => o.ResyncInterval = TimeSpan.FromSeconds(1), proc.Root);
        await Eventually.EqualAsync(1, () => cri.ListenerCount, "the listener");
        cri.Add(Make(proc, "web", 20, 200, static p => p with { Containers = [.. Enumerable.Range(1, 70).Select(static i => (FakePod.Id(i), $"c{i % 7}"))] }));
        await directory.FindAsync("web");
        await Eventually.TrueAsync(() => directory.Status.UsesEvents, "events to be trusted");
        await LooksAsync(1);
        int changes = 0;
        directory.Changed += () => Interlocked.Increment(ref changes);
        await LooksAsync(3);
        Assert.Equal((0, true), (changes, directory.Status.UsesEvents));
        Assert.Equal(64, directory.Named("web")!.Containers.Count);

        async Task LooksAsync(int count)
        {
            int before = cri.Calls("ListContainers");
            await Eventually.TrueAsync(() => cri.Calls("ListContainers") >= before + count, $"{count} looks");
        }
    }

    [Fact]
    public async Task Ended_pods_are_forgotten_after_a_minute_and_do_not_come_back()
    {
        using var proc = new FakeProc();
        var clock = new FakeTimeProvider();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod dead = cri.Add(Make(proc, "dead", 20, 200, static p => p with { IsReady = false })); // a job that is done: listed until it is deleted
        FakePod gone = cri.Add(Make(proc, "gone", 21, 201));
        await using PodDirectory directory = TestDirectory.Of(cri.Socket, hostProc: proc.Root, clock: clock);
        Task starting = directory.StartAsync(CancellationToken.None);
        await directory.FindAsync("gone");
        await starting;
        Assert.NotNull(directory.Named("dead")!.Ended);
        cri.Remove(gone.SandboxId);
        await PollAsync();
        Assert.NotNull(directory.Named("gone")!.Ended);
        clock.Advance(TimeSpan.FromSeconds(58));
        await PollAsync();
        Assert.Equal("gone", directory.ResolveCgroup($"/kubepods/pod{gone.Uid}")?.Name);
        clock.Advance(TimeSpan.FromSeconds(3));
        await PollAsync();
        Assert.Empty(directory.Pods);
        Assert.False(directory.ResolveCgroup($"/kubepods/pod{gone.Uid}")!.IsNamed); // its uid is all that is left
        Assert.Null(directory.ResolveNamespace(201, Now));
        await PollAsync();
        Assert.Null(directory.Named("dead")); // though it is listed still
        Assert.Equal(dead.SandboxId, dead.ToSandbox().Id);

        async Task PollAsync()
        {
            int polls = cri.Calls("ListContainers");
            await Eventually.TrueAsync(() =>
            {
                clock.Advance(TimeSpan.FromMilliseconds(20));
                return cri.Calls("ListContainers") >= polls + 2;
            }, "two polls");
        }
    }

    [Fact]
    public async Task A_number_used_again_is_not_inherited()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod old = cri.Add(Make(proc, "old", 20, 200));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        await directory.FindAsync("old");

        // By the cgroup of its process: another pod's.
        proc.Remove("20");
        string uid = FakePod.UidOf(0xdef);
        proc.AddProcess(40, 200, "new", $"0::/kubepods/pod{uid}/{FakePod.Id(1)}\n");
        Assert.Equal(PodIdentity.OfUid(uid), directory.Resolve(Namespace(200, 40)));

        // By the sandbox's process: it leads there no more.
        FakePod bound = cri.Add(Make(proc, "bound", 21, 201, static p => p with { NetnsPath = "/var/run/netns/cni-1" }));
        await directory.FindAsync("bound");
        Assert.Equal("bound", directory.Resolve(Namespace(201, null, "cni-1"))?.Name);
        Assert.Equal("bound", directory.Resolve(Namespace(201, 21, "other"))?.Name); // its own process says so
        proc.Remove("21");
        Assert.Null(directory.Resolve(Namespace(201, null, "cni-2")));

        // But not by the end of an object of ours: who stops watching has ended nothing.
        cri.Add(Make(proc, "plain", 22, 202));
        await directory.FindAsync("plain");
        NetworkNamespace first = Namespace(202, null), second = Namespace(202, null);
        Assert.Equal("plain", directory.Resolve(first)?.Name);
        Assert.Equal("plain", directory.Resolve(second)?.Name); // another source's object of the same namespace
        first.End();
        Assert.Equal("plain", directory.Resolve(Namespace(202, null))?.Name);
        proc.Remove("22");
        Assert.Null(directory.Resolve(Namespace(202, null)));
        Assert.Null(directory.Resolve(second));

        // An ended pod's number goes to the next one as soon as that is known; the ended one keeps its uid.
        cri.Remove(old.SandboxId);
        await Eventually.TrueAsync(() => directory.Named("old")?.Ended is not null, "the end");
        Assert.Equal("old", directory.ResolveNamespace(200, Now)?.Name);
        cri.Add(Make(proc, "heir", 23, 200, static p => p with { CreatedAt = 1_700_000_005_000_000_000 }));
        await directory.FindAsync("heir");
        Assert.Equal("heir", directory.ResolveNamespace(200, Now)?.Name);
        Assert.Equal("old", directory.ResolveNamespace(200, DateTimeOffset.FromUnixTimeSeconds(1_700_000_001))?.Name); // what happened then was its
        Assert.Null(directory.ResolveNamespace(200, DateTimeOffset.FromUnixTimeSeconds(1_600_000_000)));
        Assert.Equal("old", directory.ResolveCgroup($"/kubepods/pod{old.Uid}")?.Name);
        Assert.Equal(bound.Uid, directory.Find(bound.Uid)?.Identity.Uid);
    }

    [Fact]
    public async Task A_runtime_cannot_make_the_hosts_namespace_or_anothers_process_a_pods()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        cri.Add(Make(proc, "host", 20, HostInode));
        // A process that is not this pod's.
        proc.AddProcess(50, 500, "sshd", "0::/system.slice/sshd.service\n");
        cri.Add(Make(proc, "liar", 21, 201) with { ProcessId = 50 });
        cri.Add(Make(proc, "true", 22, 202));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        await directory.FindAsync("true");
        await Eventually.EqualAsync((20, null), () => (directory.Named("host")!.ProcessId, directory.Named("host")!.NamespaceInode), "the pod in the host's namespace");
        await Eventually.EqualAsync((21, 201u), () => (directory.Named("liar")!.ProcessId, directory.Named("liar")!.NamespaceInode), "the pod, by the process that is its own,");
        // A file that is no namespace.
        string file = Path.Combine(proc.Root, "file");
        await File.WriteAllTextAsync(file, "");
        cri.Add(Make(proc, "file", 23, 203) with { NetnsPath = file });
        await directory.FindAsync("file");
        Assert.Equal(203u, directory.Named("file")!.NamespaceInode); // by its process
    }

    [Fact]
    public async Task A_process_of_a_pod_in_a_namespace_of_its_own_making_is_no_second_pod()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod web = cri.Add(Make(proc, "web", 20, 200));
        FakePod agent = cri.Add(Make(proc, "agent", 21, HostInode, static p => p with { IsHostNetwork = true }));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        await directory.FindAsync("web");
        await directory.FindAsync("agent");
        proc.AddProcess(30, 300, "unshared", $"0::/kubepods/burstable/pod{web.Uid}/{FakePod.Id(1)}\n").AddProcess(31, 301, "health", $"0::/kubepods/burstable/pod{agent.Uid}/{FakePod.Id(1)}\n");
        Assert.Null(directory.Resolve(Namespace(300, 30)));
        Assert.Equal("agent", directory.Resolve(Namespace(301, 31))?.Name); // a host-network pod has no other
    }

    [Fact]
    public async Task A_namespace_is_the_pods_that_the_runtime_names_whoever_else_is_in_it()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        cri.Add(Make(proc, "web", 40, 200));
        FakePod agent = cri.Add(Make(proc, "agent", 21, HostInode, static p => p with { IsHostNetwork = true }));
        FakePod other = cri.Add(Make(proc, "debugger", 22, 222));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        foreach (string name in (string[])["web", "agent", "debugger"]) await directory.FindAsync(name);
        string stranger = FakePod.UidOf(0xdef);
        proc.AddProcess(30, 200, "iptables", $"0::/kubepods/burstable/pod{agent.Uid}/{FakePod.Id(1)}\n").AddProcess(31, 200, "nsenter", $"0::/kubepods/burstable/pod{other.Uid}/{FakePod.Id(1)}\n")
            .AddProcess(32, 200, "nsenter", $"0::/kubepods/burstable/pod{stranger}/{FakePod.Id(1)}\n").AddProcess(33, 200, "ip", "0::/system.slice/containerd.service\n");
        foreach (int pid in (int[])[30, 31, 32, 33, 40]) Assert.Equal("web", directory.Resolve(Namespace(200, pid))?.Name);

        // The process that stands for it is an agent's, and goes again.
        proc.Link("self/ns/net", $"net:[{HostInode}]");
        var options = new ProcfsOptions { HostProc = proc.Root, RefreshInterval = TimeSpan.FromHours(1) };
        options.NamespaceDirectories.Clear();
        using var source = new ProcNamespaceSource(Options.Create(options), directory);
        using IDisposable lease = source.Acquire();
        NetworkNamespace ns = source.Current.Single(static n => n.Inode == 200);
        Assert.Equal((30, "web"), (ns.ProcessId, ns.Pod?.Name));
        proc.Remove("30");
        source.Refresh();
        Assert.Equal((31, "web"), (ns.ProcessId, ns.Pod?.Name));
        Assert.False(ns.Ended.IsCancellationRequested);
        Assert.Same(ns, source.Current.Single(static n => n.Inode == 200));

        // When the sandbox's own process is elsewhere, the number is the debugger's word against the runtime's.
        proc.Remove("40");
        Assert.Equal(PodIdentity.OfUid(stranger), directory.Resolve(Namespace(200, 32)));
        proc.AddProcess(40, 200, "sshd", "0::/system.slice/sshd.service\n"); // its number used again
        Assert.Equal(PodIdentity.OfUid(stranger), directory.Resolve(Namespace(200, 32)));
    }

    [Fact]
    public async Task A_pod_in_the_hosts_network_owns_no_namespace_that_has_a_name()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod agent = cri.Add(Make(proc, "agent", 21, HostInode, static p => p with { IsHostNetwork = true }));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        await directory.FindAsync("agent");
        proc.AddProcess(30, 200, "iptables", $"0::/kubepods/burstable/pod{agent.Uid}/{FakePod.Id(1)}\n");
        Assert.Null(directory.Resolve(Namespace(200, 30, "cni-1"))); // of a pod that the runtime has not told of yet
        Assert.Equal("agent", directory.Resolve(Namespace(200, 30))?.Name); // of its own making
    }

    [Fact]
    public async Task A_pod_without_a_process_has_its_namespace_also_when_it_is_watched_anew()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, HostInode, "init");
        await using FakeCri cri = await FakeCri.StartNewAsync();
        cri.Add(FakePod.Make("bound") with { NetnsPath = "/proc/self/ns/net" }); // a path that leads to a namespace
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        uint inode = (await directory.FindAsync("bound")).NamespaceInode!.Value;
        for (int i = 0; i < 3; i++)
        {
            NetworkNamespace ns = Namespace(inode, null, "net");
            Assert.Equal("bound", directory.Resolve(ns)?.Name);
            ns.End();
        }
    }

    [Fact]
    public async Task Hostile_names_and_labels_stay_what_they_are_within_bounds()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        string[] names = ["a\"b\\c", "line\nbreak\r\t\0", "smile\U0001F600", "\u202Eevil", new string('x', 300), new string('x', 255) + "\U0001F600", "{}<>&'$(rm)"];
        foreach (var (name, i) in names.Select(static (n, i) => (n, i)))
            cri.Add(Make(proc, name, 20 + i, (uint)(200 + i), p => p with { Namespace = name, Labels = Enumerable.Range(0, 100).ToDictionary(k => $"{k:000}{name}", _ => name) }));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, static o => o.PodLabels.Add("label=000a\"b\\c"), proc.Root);
        await Eventually.TrueAsync(() => directory.Pods.Count(static p => p.NamespaceInode is not null) == names.Length, "all pods");
        for (int i = 0; i < names.Length; i++)
        {
            PodInfo pod = directory.Pods.Single(p => p.NamespaceInode == 200 + i);
            Assert.StartsWith(pod.Identity.Name, names[i], StringComparison.Ordinal);
            Assert.Equal(pod.Identity.Name, pod.Identity.Namespace);
            Assert.Equal(names[i].Length > 256 ? names[i] == names[4] ? 256 : 255 : names[i].Length, pod.Identity.Name.Length); // never half a character
            Assert.InRange(pod.Labels.Count, 1, 64);
            Assert.All(pod.Labels, static l => Assert.InRange(l.Value.Length, 1, 256));
        }
    }

    [Theory]
    [InlineData("garbage")]
    [InlineData("empty")]
    [InlineData("truncated")]
    [InlineData("huge")]
    [InlineData("status")]
    [InlineData("hang")]
    public async Task A_runtime_that_answers_nonsense_costs_nothing_but_its_pods(string how)
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        cri.Add(Make(proc, "known", 20, 200));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, static o => o.CallTimeout = TimeSpan.FromSeconds(1), proc.Root);
        await directory.FindAsync("known");
        var never = new TaskCompletionSource<byte[]?>();
        cri.Instead = (method, _) => method is not "ListPodSandbox" ? Task.FromResult<byte[]?>(null) : how switch
        {
            "garbage" => Task.FromResult<byte[]?>([0xff, 0xff, 0xff, 0xff, 0x0f, 0x01, 0x02]),
            "truncated" => Task.FromResult<byte[]?>([0x0a, 0x40, 0x0a]),
            "huge" => Task.FromResult<byte[]?>(new byte[17 * 1024 * 1024]),
            "status" => throw new FakeStatusException(14, "starting \"up\"\n"),
            "hang" => never.Task,
            _ => Task.FromResult<byte[]?>([]),
        };
        if (how == "empty")
        {
            // A runtime that says that there are none is believed; the pod has ended.
            await Eventually.TrueAsync(() => directory.Named("known")?.Ended is not null, "the end of the pod");
        }
        else
        {
            await Eventually.TrueAsync(() => directory.Status.StaleSince is not null, "the loss to be noticed");
            Assert.StartsWith(cri.Socket, directory.Status.Problem, StringComparison.Ordinal);
            Assert.Null(directory.Named("known")!.Ended);
        }
        never.TrySetResult([]);
        cri.Instead = null;
        cri.Add(Make(proc, "after", 21, 201));
        await directory.FindAsync("after");
        await Eventually.TrueAsync(() => directory.Status.StaleSince is null, "the recovery");
    }

    [Fact]
    public async Task A_sandbox_that_was_listed_as_not_ready_before_its_start_lives_when_it_is_ready()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod pod = Make(proc, "web", 20, 200);
        cri.Add(pod with { IsReady = false });
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        Assert.NotNull(directory.Named("web")!.Ended);
        cri.Replace(pod);
        PodInfo known = await directory.FindAsync("web");
        Assert.Equal((null, 200u, pod.SandboxId), (known.Ended, known.NamespaceInode, known.SandboxId));
        Assert.Equal([IPAddress.Parse("10.88.0.2")], known.Addresses);
        Assert.Single(directory.Pods);

        // The same sandbox started again: its process and its namespace are others.
        NetworkNamespace first = Namespace(200, 20);
        Assert.Equal("web", directory.Resolve(first)?.Name);
        cri.Replace(pod with { IsReady = false });
        await Eventually.TrueAsync(() => directory.Named("web")!.Ended is not null, "the end");
        first.End();
        proc.AddProcess(21, 201, "pause", $"0::/kubepods/burstable/pod{pod.Uid}/{pod.SandboxId}\n");
        cri.Replace(pod with { ProcessId = 21 });
        await Eventually.EqualAsync((null, 201u), () => (directory.Named("web")!.Ended, directory.Named("web")!.NamespaceInode), "the new namespace");
        Assert.Equal("web", directory.Resolve(Namespace(201, null))?.Name);
    }

    [Fact]
    public async Task A_pod_that_is_ready_before_it_has_an_address_is_asked_again_a_few_times()
    {
        using var proc = new FakeProc();
        var clock = new FakeTimeProvider();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod web = cri.Add(Make(proc, "web", 20, 200, static p => p with { Ips = [] }));
        cri.Add(Make(proc, "never", 21, 201, static p => p with { Ips = [] }));
        cri.Add(Make(proc, "agent", 22, HostInode, static p => p with { IsHostNetwork = true }));
        await using PodDirectory directory = TestDirectory.Of(cri.Socket, hostProc: proc.Root, clock: clock);
        await directory.StartAsync(CancellationToken.None);
        Assert.Equal(3, cri.Calls("PodSandboxStatus"));
        Assert.Empty(directory.Named("web")!.Addresses);
        cri.Replace(web with { Ips = ["10.88.0.7"] });
        await AdvanceAsync(() => directory.Named("web")!.Addresses.Count > 0, "the address");
        const int all = 2 + 7 + 1; // of web, never and agent
        await AdvanceAsync(() => cri.Calls("PodSandboxStatus") >= all, "the last try");
        int polls = cri.Calls("ListPodSandbox");
        await AdvanceAsync(() => cri.Calls("ListPodSandbox") > polls + 20, "more polls");
        Assert.Equal(all, cri.Calls("PodSandboxStatus"));

        Task AdvanceAsync(Func<bool> until, string what) => Eventually.TrueAsync(() =>
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            return until();
        }, what);
    }

    [Fact]
    public async Task A_pod_whose_runtime_tells_no_namespace_has_the_one_its_processes_are_in()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        cri.Add(Make(proc, "other", 20, 200));
        FakePod web = cri.Add(Make(proc, "web", 41, 201) with { Info = "" });
        proc.AddProcess(40, 200, "nsenter", $"0::/kubepods/burstable/pod{web.Uid}/{FakePod.Id(1)}\n"); // looks into another's
        FakePod late = cri.Add(FakePod.Make("late") with { Info = "" }); // without a process of its own
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        PodInfo known = await directory.FindAsync("web");
        Assert.Equal((201u, 41, $"/kubepods/burstable/pod{web.Uid}"), (known.NamespaceInode, known.ProcessId, known.CgroupPath));
        Assert.Equal("web", directory.Resolve(Namespace(201, 41))?.Name);
        Assert.Equal("web", directory.ResolveNamespace(201, Now)?.Name); // of an event that comes late
        Assert.Null(directory.Named("late")!.NamespaceInode);

        proc.AddProcess(50, 202, "main", $"0::/kubepods/burstable/pod{late.Uid}/{FakePod.Id(7)}\n");
        PodProcesses seen = directory.Survey().Single(p => p.Pod.Identity.Name == "late"); // at once, for people
        Assert.Equal((202u, 50), (seen.Pod.NamespaceInode, seen.Pod.ProcessId));
        cri.Replace(late with { Containers = [(FakePod.Id(7), "main")] });
        Assert.Equal(202u, (await directory.FindAsync("late")).NamespaceInode);
    }

    [Fact]
    public async Task A_namespace_the_runtime_tells_of_is_looked_for_at_once()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, HostInode, "init");
        await using FakeCri cri = await FakeCri.StartNewAsync();
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        var options = new ProcfsOptions { HostProc = proc.Root, RefreshInterval = TimeSpan.FromHours(1) };
        options.NamespaceDirectories.Clear();
        using var source = new ProcNamespaceSource(Options.Create(options), directory);
        using IDisposable lease = source.Acquire();
        Assert.Single(source.Current);
        cri.Add(Make(proc, "job", 20, 200));
        await Eventually.EqualAsync("job", () => source.Current.FirstOrDefault(static n => n.Inode == 200)?.Pod?.Name, "the namespace's pod, an hour before the next look");
    }

    [Theory]
    [InlineData("status")]
    [InlineData("hang")]
    public async Task A_sandbox_whose_status_fails_takes_no_other_and_is_told(string how)
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod bad = cri.Add(Make(proc, "bad", 20, 200));
        for (int i = 0; i < 20; i++) cri.Add(Make(proc, $"good-{i}", 30 + i, (uint)(300 + i)));
        var never = new TaskCompletionSource<byte[]?>();
        int asked = 0;
        cri.Instead = (method, request) =>
        {
            if (method != "PodSandboxStatus" || KubeSkoop.Probes.Kubernetes.Tests.Cri.Kubelet.PodSandboxStatusRequest.Parser.ParseFrom(request.Span).PodSandboxId != bad.SandboxId) return Task.FromResult<byte[]?>(null);
            Interlocked.Increment(ref asked);
            return how == "hang" ? never.Task : throw new FakeStatusException(2, "failed to get task status: ttrpc: closed");
        };
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, o => o.CallTimeout = how == "hang" ? TimeSpan.FromMinutes(10) : TimeSpan.FromSeconds(10), proc.Root);
        await Eventually.TrueAsync(() => directory.Pods.Count(static p => p.NamespaceInode is not null) == 20, "all other pods");
        int polls = cri.Calls("ListPodSandbox");
        await Eventually.TrueAsync(() => cri.Calls("ListPodSandbox") >= polls + 5, "some polls");
        cri.Add(Make(proc, "late", 60, 400));
        await directory.FindAsync("late");
        Assert.Equal((1, null), (cri.Calls("Version"), directory.Status.StaleSince)); // the runtime was not lost
        Assert.Equal(("bad", null, null), (directory.Named("bad")!.Identity.Name, directory.Named("bad")!.NamespaceInode, directory.Named("bad")!.Ended));
        if (how == "status")
        {
            Assert.Equal("The runtime tells no more than the name of shop/bad: Unknown: failed to get task status: ttrpc: closed", directory.Status.Problem);
            await Eventually.TrueAsync(() => asked >= 2, "another try");
        }
        cri.Instead = null;
        never.TrySetResult(bad.ToStatus().ToByteArray());
        Assert.Equal(200u, (await directory.FindAsync("bad")).NamespaceInode);
        await Eventually.TrueAsync(() => directory.Status.Problem is null, "the problem to be over");
    }

    [Fact]
    public async Task Sandboxes_without_metadata_are_passed_over()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        cri.Add(new FakePod("", "ns", "no-id", FakePod.UidOf(1)), tell: false);
        cri.Add(new FakePod("no-uid", "ns", "no-uid", ""), tell: false);
        cri.Add(new FakePod("no-name", "ns", "", FakePod.UidOf(2)), tell: false);
        cri.Add(new FakePod(new string('i', 10_000), "ns", "long-id", FakePod.UidOf(3)), tell: false);
        cri.Add(Make(proc, "good", 20, 200) with { Info = "nonsense" });
        cri.Add(Make(proc, "better", 21, 201));
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        await directory.FindAsync("better");
        Assert.Equal(["better", "good"], directory.Pods.Select(static p => p.Identity.Name).Order());
        // Its cgroup and the uid tell its namespace all the same.
        Assert.Equal(200u, (await directory.FindAsync("good")).NamespaceInode);
        Assert.Equal("good", directory.Resolve(Namespace(200, 20))?.Name);
    }

    [Fact]
    public async Task Damaged_answers_of_every_kind_never_end_the_following()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        byte[] good = new KubeSkoop.Probes.Kubernetes.Tests.Cri.Kubelet.ListPodSandboxResponse { Items = { Enumerable.Range(0, 5).Select(static i => FakePod.Make($"p{i}").ToSandbox()) } }.ToByteArray();
        var random = new Random(4711);
        int answered = 0;
        cri.Instead = (method, _) =>
        {
            if (method == "Version" || answered > 60) return Task.FromResult<byte[]?>(null);
            answered++;
            byte[] bad = [.. good[..random.Next(good.Length)]];
            for (int i = 0; i < 4 && bad.Length > 0; i++) bad[random.Next(bad.Length)] = (byte)random.Next(256);
            return Task.FromResult<byte[]?>(bad);
        };
        var clock = new FakeTimeProvider();
        await using PodDirectory directory = TestDirectory.Of(cri.Socket, hostProc: proc.Root, clock: clock);
        Task starting = directory.StartAsync(CancellationToken.None);
        await Eventually.TrueAsync(() =>
        {
            clock.Advance(TimeSpan.FromSeconds(20)); // no waiting for the next try
            return answered > 60;
        }, "60 damaged answers", TimeSpan.FromSeconds(30));
        await starting;
        cri.Add(Make(proc, "real", 20, 200));
        await Eventually.TrueAsync(() =>
        {
            clock.Advance(TimeSpan.FromSeconds(20));
            return directory.Named("real") is not null;
        }, "the real pod");
    }

    [Fact]
    public async Task A_socket_that_accepts_and_never_answers_hangs_nothing()
    {
        DirectoryInfo place = Directory.CreateTempSubdirectory("kubeskoop-deaf-");
        try
        {
            string path = Path.Combine(place.FullName, "deaf.sock");
            using var deaf = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            deaf.Bind(new UnixDomainSocketEndPoint(path));
            deaf.Listen(16);
            using var proc = new FakeProc();
            proc.AddProcess(1, HostInode, "init");
            PodDirectory directory = TestDirectory.Of(path, static o => o.CallTimeout = TimeSpan.FromMilliseconds(300), proc.Root);
            await directory.StartAsync(CancellationToken.None);
            await Eventually.TrueAsync(() => directory.Status.Problem is not null, "the silence to be noticed");
            Assert.Contains("did not answer within 00:00:00.3", directory.Status.Problem, StringComparison.Ordinal);
            Assert.Null(directory.Resolve(Namespace(200, null)));
            await directory.DisposeAsync();
        }
        finally
        {
            place.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task A_start_waits_for_no_runtime_longer_than_two_seconds()
    {
        DirectoryInfo place = Directory.CreateTempSubdirectory("kubeskoop-deaf-");
        try
        {
            string path = Path.Combine(place.FullName, "deaf.sock");
            using var deaf = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            deaf.Bind(new UnixDomainSocketEndPoint(path));
            deaf.Listen(16);
            var clock = new FakeTimeProvider();
            await using PodDirectory directory = TestDirectory.Of(path, static o => o.CallTimeout = TimeSpan.FromMinutes(10), clock: clock);
            Task starting = directory.StartAsync(CancellationToken.None);
            Assert.False(starting.IsCompleted);
            clock.Advance(TimeSpan.FromSeconds(2));
            await starting.WaitAsync(TimeSpan.FromSeconds(10));
        }
        finally
        {
            place.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task A_socket_that_is_missing_is_named_and_waited_for()
    {
        await using var cri = new FakeCri();
        await using PodDirectory directory = await TestDirectory.StartAsync(cri);
        Assert.Contains($"There is no socket {cri.Socket}", directory.Status.Problem, StringComparison.Ordinal);
        Assert.Null(directory.Status.StaleSince); // nothing was ever known
        await cri.StartAsync();
        await Eventually.TrueAsync(() => directory.Status is { Problem: null, Endpoint: not null }, "the runtime to be found");
    }

    [Fact]
    public async Task What_speaks_no_CRI_is_passed_over_with_the_reason()
    {
        await using FakeCri other = await FakeCri.StartNewAsync(static c => c.Instead = static (_, _) => throw new FakeStatusException(12, "unknown service runtime.v1.RuntimeService"));
        await using PodDirectory directory = await TestDirectory.StartAsync(other);
        Assert.Contains("no container runtime of Kubernetes", directory.Status.Problem, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Pods_past_the_limit_are_left_out_and_told_the_ended_first()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        for (int i = 0; i < 4; i++) cri.Add(Make(proc, $"dead-{i}", 20 + i, (uint)(200 + i), static p => p with { IsReady = false }), tell: false);
        for (int i = 0; i < 3; i++) cri.Add(Make(proc, $"live-{i}", 30 + i, (uint)(300 + i)), tell: false);
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, static o => o.MaxPods = 4, proc.Root);
        Assert.Equal(["live-0", "live-1", "live-2"], directory.Pods.Where(static p => p.Ended is null).Select(static p => p.Identity.Name).Order());
        Assert.Contains("3 pods are left out", directory.Status.Problem, StringComparison.Ordinal);
        cri.Add(Make(proc, "live-3", 34, 304));
        await directory.FindAsync("live-3");
        Assert.Equal(4, directory.Pods.Count);
    }

    [Theory]
    [InlineData("0::/kubepods/burstable/podUID/ID\n")]
    [InlineData("9:pids:/kubepods/burstable/podUID/ID\n1:name=systemd:/kubepods/burstable/podUID/ID\n0::/system.slice/containerd.service\n")]
    [InlineData("0::/../../podUID/ID\n")]
    public async Task In_a_host_it_names_the_pods_of_namespaces_and_host_network_processes(string cgroup)
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod agent = cri.Add(Make(proc, "agent", 21, HostInode, static p => p with { IsHostNetwork = true }));
        FakePod web = cri.Add(Make(proc, "web", 20, 200));
        foreach (int pid in (int[])[1, 20, 21])
            proc.Write(FakeProc.Of(pid, "fd/0"), "").Write(FakeProc.Of(pid, "limits"), "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            10                   20                   files     \n");
        foreach (FakePod pod in (FakePod[])[agent, web])
            proc.Write(FakeProc.Of(pod.ProcessId!.Value, "cgroup"), cgroup.Replace("UID", pod.Uid, StringComparison.Ordinal).Replace("ID", pod.SandboxId, StringComparison.Ordinal));
        proc.Link("self/fd/0", "/dev/null").Link("self/ns/net", $"net:[{HostInode}]");
        await using ServiceProvider services = new ServiceCollection().AddKubeSkoopProbes().AddProcfs(o =>
        {
            o.HostProc = proc.Root;
            o.NamespaceDirectories.Clear();
            o.RefreshInterval = TimeSpan.FromHours(1);
        }).AddKubernetes(o => o.RuntimeEndpoint = cri.Socket).Services.BuildServiceProvider();
        Assert.Same(services.GetRequiredService<PodDirectory>(), services.GetRequiredService<IPodResolver>());
        var manager = services.GetRequiredService<IProbeManager>();
        await using ProbeLease lease = await manager.StartAsync("fd");
        Assert.Equal([(200u, $"uid {web.Uid}"), (HostInode, $"uid {agent.Uid}")], Rows()); // before anybody has asked the runtime
        foreach (var service in services.GetServices<Microsoft.Extensions.Hosting.IHostedService>().OfType<PodDirectory>()) await service.StartAsync(CancellationToken.None);
        await Eventually.TrueAsync(() => Rows().SequenceEqual([(200u, "shop/web"), (HostInode, "shop/agent")]), "rows with names");

        List<(uint, string)> Rows()
        {
            var rows = new List<(uint, string)>();
            foreach (ref readonly SampleRow<FdRecord> row in ((IMetricProbe<FdRecord>)manager.Find("fd")!).Sample())
                if (row.Pod is { } pod && row.Value.Processes.Value > 0) rows.Add((row.Namespace!.Inode, pod.ToString()));
            return [.. rows.OrderByDescending(static r => r.Item1)];
        }
    }

    [Fact]
    public async Task A_resolver_of_the_hosts_own_stays()
    {
        await using ServiceProvider services = new ServiceCollection().AddSingleton<IPodResolver>(new Own()).AddKubeSkoopProbes().AddKubernetes().AddKubernetes(static o => o.MaxPods = 5).Services.BuildServiceProvider();
        Assert.IsType<Own>(services.GetRequiredService<IPodResolver>());
        Assert.Equal(5, services.GetRequiredService<IOptions<KubernetesOptions>>().Value.MaxPods);
        Assert.Single(services.GetServices<Microsoft.Extensions.Hosting.IHostedService>().OfType<PodDirectory>());
    }

    [Theory]
    [InlineData("run/containerd.sock", "RuntimeEndpoint")]
    [InlineData("http://127.0.0.1", "RuntimeEndpoint")]
    [InlineData("unix://", "RuntimeEndpoint")]
    public void Wrong_settings_are_named(string endpoint, string key) =>
        Assert.Contains(key, Assert.Single(new KubernetesOptions { RuntimeEndpoint = endpoint }.Validate()), StringComparison.Ordinal);

    [Fact]
    public void Each_wrong_setting_is_named()
    {
        var options = new KubernetesOptions
        {
            RuntimeEndpoint = "/" + new string('x', 200),
            RuntimeEvents = (RuntimeEvents)9,
            PollInterval = TimeSpan.Zero,
            ResyncInterval = TimeSpan.Zero,
            CallTimeout = TimeSpan.FromDays(1),
            RememberEnded = TimeSpan.FromSeconds(-1),
            MaxPods = 0,
            MaxAddresses = 0,
            ApiScope = (ApiScope)9,
            Kubeconfig = "config",
            CgroupRoot = "cgroup",
            PodLabels = { "", "=x", "x=", "fine", "a=b" },
        };
        Assert.Equal(14, options.Validate().Count());
        Assert.All(options.Validate(), static m => Assert.StartsWith("KubeSkoop:Probes:Kubernetes:", m, StringComparison.Ordinal));
        Assert.Empty(new KubernetesOptions { RuntimeEndpoint = "unix:///run/crio/crio.sock" }.Validate());
    }

    [Theory]
    [InlineData("app", "app")]
    [InlineData("app=app", "app=app.kubernetes.io/name")]
    [InlineData("app", "k8s.pod.label.app=x")]
    [InlineData("my.team=x", "my_team=y")]
    [InlineData("k8s.pod.name=x")]
    [InlineData("k8s_pod=x")]
    [InlineData("k8s.pod.uid=x")]
    [InlineData(" le = x ")]
    [InlineData("src=x")]
    [InlineData("softirq_type=x")]
    [InlineData("network.interface.name=x")]
    [InlineData("k8s.src.name=x")]
    [InlineData("k8s.deployment.name=x")]
    public void A_label_with_a_name_that_is_taken_is_refused(params string[] labels)
    {
        var options = new KubernetesOptions();
        foreach (string label in labels) options.PodLabels.Add(label);
        string mistake = Assert.Single(options.Validate());
        Assert.Contains($"PodLabels holds '{labels[^1]}'", mistake, StringComparison.Ordinal);
        Assert.Contains("choose another name", mistake, StringComparison.Ordinal);
        foreach (string label in (string[])["version", "device=x", "k8s.pod.label.team=y", "application=app"]) options.PodLabels.Add(label);
        Assert.Equal([mistake], options.Validate());
    }

    private static DateTimeOffset Now => TimeProvider.System.GetUtcNow() - TimeSpan.FromMilliseconds(1);

    /// <summary>A pod whose process is in the stand-in for <c>/proc</c>.</summary>
    private static FakePod Make(FakeProc proc, string name, int pid, uint inode, Func<FakePod, FakePod>? change = null)
    {
        FakePod pod = FakePod.Make(name) with { ProcessId = pid };
        if (change is not null) pod = change(pod);
        if (!Directory.Exists(Path.Combine(proc.Root, "1"))) proc.AddProcess(1, HostInode, "init");
        proc.AddProcess(pid, inode, "pause", $"0::/kubepods/burstable/pod{pod.Uid}/{pod.SandboxId}\n");
        return pod;
    }

    private static NetworkNamespace Namespace(uint inode, int? pid, string? name = null) => new(inode, false, new NamespaceFacts(name, pid, null, null));

    private sealed class Own : IPodResolver
    {
        public PodIdentity? Resolve(NetworkNamespace networkNamespace) => null;

        public PodIdentity? ResolveCgroup(string cgroupPath) => null;
    }
}
