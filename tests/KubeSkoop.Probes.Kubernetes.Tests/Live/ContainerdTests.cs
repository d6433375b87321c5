using System.Globalization;
using System.Net;
using KubeSkoop.Probes.Kubernetes.Cri;
using KubeSkoop.Probes.Kubernetes.Tests.Cri.Kubelet;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;
using Xunit.Abstractions;

namespace KubeSkoop.Probes.Kubernetes.Tests.Live;

/// <summary>Against a real containerd with real pods, checked by who does not share our code: stat, nsenter, ctr.</summary>
[Collection(LiveGroup.Name)]
public sealed class ContainerdTests(ITestOutputHelper output)
{
    [LiveFact(Needs.Containerd, "stat", "ip")]
    public async Task Pods_are_named_with_namespace_addresses_labels_and_containers()
    {
        await using ContainerdNode node = await ContainerdNode.StartNewAsync();
        LivePod early = await node.RunPodAsync("early", configure: static c => c.Labels.Add("app", "früh"));
        await using PodDirectory directory = TestDirectory.Of(node.Socket, static o => o.PodLabels.Add("app"));
        await directory.StartAsync(CancellationToken.None);
        output.WriteLine($"{directory.Status}");
        Assert.Equal((node.Socket, false, null), (directory.Status.Endpoint, directory.Status.UsesEvents, directory.Status.Problem)); // 1.6 has no events
        Assert.StartsWith("containerd 1.", directory.Status.Runtime, StringComparison.Ordinal);
        await CheckAsync(await directory.FindAsync("early"), early);
        Assert.Equal([new SampleAttribute("k8s.pod.label.app", "früh")], directory.Named("early")!.Identity.Attributes);

        LivePod late = await node.RunPodAsync("late", "other");
        (string id, int pid) = await node.RunContainerAsync(late, "main", "sleep 600");
        await CheckAsync(await directory.FindAsync("late"), late);
        await Eventually.TrueAsync(() => directory.Named("late")!.Containers is [{ IsRunning: true }], "the container");
        Assert.Equal([new PodContainer(id, "main", true)], directory.Named("late")!.Containers);
        Assert.Contains(id, await node.CtrAsync("containers", "ls", "-q"), StringComparison.Ordinal);

        // The cgroup of the container's process, as the kernel writes it, and its number in version 2.
        string cgroup = (await File.ReadAllLinesAsync($"/proc/{pid}/cgroup")).Single(l => l.StartsWith("0::", StringComparison.Ordinal))["0::".Length..];
        Assert.Equal(new PodIdentity("other", "late", late.Uid), directory.ResolveCgroup(cgroup));
        Assert.Equal("main", directory.FindContainer(cgroup)?.Name);
        string unified = File.Exists("/sys/fs/cgroup/cgroup.controllers") ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified";
        if (cgroup.Length > 1)
        {
            ulong number = ulong.Parse((await Command.OutputAsync("stat", "-c", "%i", unified + cgroup)).Trim(), CultureInfo.InvariantCulture);
            Assert.Equal(late.Uid, directory.ResolveCgroup(number)?.Uid);
            Assert.Equal(cgroup, directory.Host.Cgroups.PathOf(number)); // the kernel says the same
        }

        await node.RemovePodAsync(early);
        await Eventually.TrueAsync(() => directory.Named("early")?.Ended is not null, "the end of the pod to be noticed");
        Assert.Equal("early", directory.Find(early.Uid)?.Identity.Name); // for events that come late
        Assert.Null(directory.Named("late")!.Ended);

        async Task CheckAsync(PodInfo known, LivePod made)
        {
            uint inode = uint.Parse((await Command.OutputAsync("stat", "-L", "-c", "%i", made.NetnsPath!)).Trim(), CultureInfo.InvariantCulture);
            Assert.Equal(inode, known.NamespaceInode);
            Assert.Equal($"net:[{inode}]", File.ResolveLinkTarget($"/proc/{made.ProcessId}/ns/net", false)!.Name);
            Assert.Equal((made.SandboxId, made.Namespace, made.Name, made.Uid), (known.SandboxId, known.Identity.Namespace, known.Identity.Name, known.Identity.Uid));
            Assert.Equal((made.ProcessId, made.CgroupParent, false), (known.ProcessId, known.CgroupPath, known.IsHostNetwork));
            string addresses = await Command.OutputAsync("nsenter", $"--net={made.NetnsPath}", "ip", "-o", "address", "show", "scope", "global");
            IPAddress[] real = [.. addresses.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static l => IPAddress.Parse(l.Split(' ', StringSplitOptions.RemoveEmptyEntries)[3].Split('/')[0]))];
            Assert.NotEmpty(real);
            Assert.Equal(real.Select(static a => a.ToString()).Order(), known.Addresses.Select(static a => a.ToString()).Order());
        }
    }

    [LiveFact(Needs.Containerd)]
    public async Task A_pod_in_the_hosts_network_has_no_namespace_and_is_known_by_cgroup()
    {
        await using ContainerdNode node = await ContainerdNode.StartNewAsync();
        LivePod pod = await node.RunPodAsync("agent", hostNetwork: true);
        (_, int pid) = await node.RunContainerAsync(pod, "main", "sleep 600");
        await using PodDirectory directory = TestDirectory.Of(node.Socket);
        await directory.StartAsync(CancellationToken.None);
        PodInfo known = await directory.FindAsync("agent");
        Assert.Equal((true, null, 0), (known.IsHostNetwork, known.NamespaceInode, known.Addresses.Count));
        Assert.Equal(new PodIdentity("shop", "agent", pod.Uid), directory.ResolveCgroup(directory.Host.CgroupOf(pid)!));
    }

    [LiveFact(Needs.Containerd)]
    public async Task Namespaces_get_their_pods_without_another_look_and_numbers_used_again_are_not_inherited()
    {
        await using ContainerdNode node = await ContainerdNode.StartNewAsync();
        await using PodDirectory directory = TestDirectory.Of(node.Socket);
        using var source = new ProcNamespaceSource(Options.Create(new ProcfsOptions { RefreshInterval = TimeSpan.FromHours(1) }), directory);
        using IDisposable lease = source.Acquire();
        LivePod first = await node.RunPodAsync("first");
        source.Refresh();
        NetworkNamespace ns = source.Current.Single(n => n.Name == Path.GetFileName(first.NetnsPath));
        Assert.Equal(PodIdentity.OfUid(first.Uid), ns.Pod); // nobody but the cgroup was asked yet
        await directory.StartAsync(CancellationToken.None);
        await Eventually.EqualAsync(new PodIdentity("shop", "first", first.Uid), () => ns.Pod, "the pod of the namespace, without a look");

        // Pods end and begin, and numbers come again: each time the namespace is asked for before the runtime is.
        int reused = 0;
        var numbers = new HashSet<uint>();
        for (int i = 0; i < 12; i++)
        {
            LivePod pod = await node.RunPodAsync(string.Create(CultureInfo.InvariantCulture, $"pod-{i}"));
            source.Refresh();
            NetworkNamespace seen = source.Current.Single(n => n.Name == Path.GetFileName(pod.NetnsPath));
            if (!numbers.Add(seen.Inode)) reused++;
            Assert.Equal(pod.Uid, seen.Pod?.Uid);
            await Eventually.EqualAsync(pod.Name, () => seen.Pod?.Name, "the name of the pod");
            await node.RemovePodAsync(pod);
            source.Refresh();
            Assert.True(seen.Ended.IsCancellationRequested);
        }
        output.WriteLine($"{reused} of 12 namespaces had a number that was used before");
        Assert.Equal("first", ns.Pod?.Name);
    }

    [LiveFact(Needs.Containerd)]
    public async Task A_pod_of_two_seconds_is_named_while_it_lives_and_for_a_minute_after()
    {
        await using ContainerdNode node = await ContainerdNode.StartNewAsync();
        await using PodDirectory directory = TestDirectory.Of(node.Socket, static o => o.PollInterval = TimeSpan.FromSeconds(1)); // the default
        await directory.StartAsync(CancellationToken.None);
        LivePod pod = await node.RunPodAsync("short");
        long began = TimeProvider.System.GetTimestamp();
        (_, int pid) = await node.RunContainerAsync(pod, "main", "sleep 2");
        string cgroup = directory.Host.CgroupOf(pid)!;
        PodInfo known = await directory.FindAsync("short");
        output.WriteLine($"named {TimeProvider.System.GetElapsedTime(began).TotalMilliseconds:0} ms after its sandbox was ready");
        Assert.True(File.Exists($"/proc/{pod.ProcessId}/stat"));
        TimeSpan rest = TimeSpan.FromSeconds(2) - TimeProvider.System.GetElapsedTime(began);
        if (rest > TimeSpan.Zero) await Task.Delay(rest);
        await node.RemovePodAsync(pod);
        await Eventually.TrueAsync(() => directory.Named("short")?.Ended is not null, "the end to be noticed");
        var identity = new PodIdentity("shop", "short", pod.Uid);
        Assert.Equal(identity, directory.ResolveCgroup(cgroup));
        Assert.Equal(identity, directory.ResolveNamespace(known.NamespaceInode!.Value, known.Created!.Value.AddSeconds(1)));
        Assert.NotEmpty(known.CgroupIds);
        Assert.All(known.CgroupIds, id => Assert.Equal(identity, directory.ResolveCgroup(id))); // whose directories are gone
    }

    [LiveFact(Needs.Containerd)]
    public async Task A_runtime_that_is_killed_leaves_its_last_state_stale_and_comes_back()
    {
        await using ContainerdNode node = await ContainerdNode.StartNewAsync();
        LivePod pod = await node.RunPodAsync("steady");
        await using PodDirectory directory = TestDirectory.Of(node.Socket);
        await directory.StartAsync(CancellationToken.None);
        await directory.FindAsync("steady");
        Assert.Null(directory.Status.StaleSince);

        await node.KillAsync();
        await Eventually.TrueAsync(() => directory.Status.StaleSince is not null, "the loss to be noticed");
        PodDirectoryStatus lost = directory.Status;
        Assert.Equal(lost.LastAnswer, lost.StaleSince);
        Assert.NotNull(lost.Problem);
        Assert.Equal((null, "steady"), (directory.Named("steady")?.Ended, directory.Find(pod.Uid)?.Identity.Name));

        await node.RestartAsync();
        await Eventually.TrueAsync(() => directory.Status is { StaleSince: null, Problem: null }, "the runtime to be found again", TimeSpan.FromSeconds(20));
        Assert.Equal(pod.SandboxId, directory.Named("steady")!.SandboxId);
        LivePod next = await node.RunPodAsync("next");
        Assert.Equal(next.Uid, (await directory.FindAsync("next")).Identity.Uid);
        Assert.Null(directory.Named("steady")!.Ended);
    }

    [LiveFact(Needs.Containerd)]
    public async Task Containerd_answers_as_the_client_understands_it()
    {
        await using ContainerdNode node = await ContainerdNode.StartNewAsync();
        LivePod pod = await node.RunPodAsync("web", configure: static c => c.Annotations.Add("note", new string('x', 1000)));
        (string id, _) = await node.RunContainerAsync(pod, "main", "sleep 600");
        using var client = new CriClient(node.Socket, TimeSpan.FromSeconds(10));
        CriRuntime runtime = await client.VersionAsync(default);
        Assert.Equal("containerd", runtime.Name);
        Assert.Contains(runtime.Version, await Command.OutputAsync("containerd", "--version"), StringComparison.Ordinal);
        KubeSkoop.Probes.Kubernetes.Cri.V1.PodSandbox sandbox = Assert.Single(await client.ListSandboxesAsync(default));
        ListPodSandboxResponse same = await node.Kubelet.ListPodSandboxAsync(new ListPodSandboxRequest());
        Assert.Equal((same.Items[0].Id, same.Items[0].CreatedAt, 0), (sandbox.Id, sandbox.CreatedAt, (int)sandbox.State));
        KubeSkoop.Probes.Kubernetes.Cri.V1.Container container = Assert.Single(await client.ListContainersAsync(default));
        Assert.Equal((id, pod.SandboxId, "main", 1), (container.Id, container.PodSandboxId, container.Metadata.Name, (int)container.State));
        Assert.True(sandbox.CalculateSize() < same.Items[0].CalculateSize() - 1000); // what is not read is not kept
        Assert.Null(await client.SandboxStatusAsync(FakeId, default));
        var refused = await Assert.ThrowsAsync<Grpc.Core.RpcException>(() => client.FollowEventsAsync(static () => { }, default));
        Assert.Equal(Grpc.Core.StatusCode.Unimplemented, refused.StatusCode);
    }

    private const string FakeId = "00000000000000000000000000000000000000000000000000000000000000ff";
}
