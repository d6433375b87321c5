using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Xunit.Abstractions;

namespace KubeSkoop.Probes.Kubernetes.Tests.Live;

/// <summary>The sample exporter beside a real containerd, as people run it.</summary>
[Collection(LiveGroup.Name)]
public sealed class ExporterTests(ITestOutputHelper output)
{
    [LiveFact(Needs.Containerd | Needs.Sources, "stat")]
    public async Task Pods_shows_them_and_samples_name_them()
    {
        await using ContainerdNode node = await ContainerdNode.StartNewAsync();
        LivePod web = await node.RunPodAsync("web-0", configure: static c => c.Labels.Add("app", "we\"b\n\U0001F600"));
        (string id, int pid) = await node.RunContainerAsync(web, "main", "sleep 600");
        LivePod agent = await node.RunPodAsync("agent", "kube-system", hostNetwork: true);

        string table = await ExporterRun.OutputAsync(node, "pods");
        output.WriteLine(table);
        Assert.Matches($@"(?m)^shop/web-0 +\d+ +{web.ProcessId} {pid} +10\.88\.\d+\.\d+[ fd8:0-9a-f]* +main +runtime +\d+s +-$", table);
        Assert.Matches($@"(?m)^kube-system/agent +host +{agent.ProcessId} +- +- +runtime +\d+s +-$", table);

        using JsonDocument json = JsonDocument.Parse(await ExporterRun.OutputAsync(node, "pods", "--json", "--set", "KubeSkoop:Probes:Kubernetes:PodLabels:0=app"));
        Assert.Equal((node.Socket, JsonValueKind.Null), (json.RootElement.GetProperty("endpoint").GetString(), json.RootElement.GetProperty("stale_since").ValueKind));
        JsonElement[] pods = [.. json.RootElement.GetProperty("pods").EnumerateArray()];
        Assert.Equal(["agent", "web-0"], pods.Select(static p => p.GetProperty("name").GetString()));
        uint inode = uint.Parse((await Command.OutputAsync("stat", "-L", "-c", "%i", web.NetnsPath!)).Trim(), CultureInfo.InvariantCulture);
        Assert.Equal((inode, web.Uid, web.SandboxId, "runtime", false), (pods[1].GetProperty("netns").GetUInt32(), pods[1].GetProperty("uid").GetString(), pods[1].GetProperty("sandbox").GetString(),
            pods[1].GetProperty("source").GetString(), pods[1].GetProperty("stale").GetBoolean()));
        Assert.Equal([web.ProcessId, pid], pods[1].GetProperty("pids").EnumerateArray().Select(static p => p.GetInt32()));
        Assert.Equal((id, "main", true), (pods[1].GetProperty("containers")[0].GetProperty("id").GetString(), pods[1].GetProperty("containers")[0].GetProperty("name").GetString(), pods[1].GetProperty("containers")[0].GetProperty("running").GetBoolean()));
        Assert.Equal("we\"b\n\U0001F600", pods[1].GetProperty("attributes").GetProperty("k8s.pod.label.app").GetString());

        using JsonDocument sample = JsonDocument.Parse(await ExporterRun.OutputAsync(node, "sample", "tcp", "--json", "--netns", inode.ToString(CultureInfo.InvariantCulture)));
        JsonElement row = Assert.Single(sample.RootElement.GetProperty("rows").EnumerateArray());
        Assert.Equal(("shop", "web-0"), (row.GetProperty("namespace").GetString(), row.GetProperty("pod").GetString()));

        // Without the runtime the cgroups still tell the uid.
        using JsonDocument alone = JsonDocument.Parse(await ExporterRun.OutputAsync(node, "pods", "--json", "--set", "KubeSkoop:Probes:Kubernetes:RuntimeEndpoint=none"));
        JsonElement[] uids = [.. alone.RootElement.GetProperty("pods").EnumerateArray().Where(p => p.GetProperty("uid").GetString() == web.Uid)];
        Assert.Equal((JsonValueKind.Null, "cgroup", inode), (uids.Single().GetProperty("name").ValueKind, uids[0].GetProperty("source").GetString(), uids[0].GetProperty("netns").GetUInt32()));
    }

    [LiveFact(Needs.Containerd | Needs.Sources | Needs.Bpf | Needs.UnifiedCgroup)]
    public async Task A_pod_in_the_hosts_network_has_rows_and_events_of_its_own()
    {
        await using ContainerdNode node = await ContainerdNode.StartNewAsync(inHostNetwork: true);
        LivePod agent = await node.RunPodAsync("agent", "kube-system", hostNetwork: true);
        using Process serving = ExporterRun.Start(node, "serve", "--port", "0", "--enable", "fd,tcpreset");
        try
        {
            string address = await ExporterRun.AddressOfAsync(serving);
            using var client = new HttpClient { BaseAddress = new Uri(address) };
            using var reader = new StreamReader(await client.GetStreamAsync(new Uri("/events?probe=tcpreset", UriKind.Relative)));
            // Connects to a port that nobody listens on, over loopback: the kernel resets it.
            await node.RunContainerAsync(agent, "main", "exec 9<>/dev/null; sleep 1; nc 127.0.0.1 9 </dev/null; sleep 600");
            JsonElement seen = default;
            await Eventually.TrueAsync(async () =>
            {
                string? line = await reader.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(10));
                if (line?.StartsWith("data: ", StringComparison.Ordinal) != true) return false;
                seen = JsonDocument.Parse(line["data: ".Length..]).RootElement;
                return seen.GetProperty("pod").GetString() == "agent";
            }, "the reset of the pod's connection", TimeSpan.FromSeconds(30));
            output.WriteLine(seen.ToString());
            Assert.Equal(("kube-system", TestNamespace.OwnInode), (seen.GetProperty("namespace").GetString(), seen.GetProperty("netns").GetUInt32()));

            await Eventually.TrueAsync(async () =>
            {
                string metrics = await client.GetStringAsync(new Uri("/metrics", UriKind.Relative));
                return metrics.Split('\n').Any(static l => l.StartsWith("kubeskoop_fd_", StringComparison.Ordinal) && l.Contains("k8s_namespace_name=\"kube-system\",k8s_pod_name=\"agent\"", StringComparison.Ordinal));
            }, "the pod's rows of fd");
            using JsonDocument status = JsonDocument.Parse(await client.GetStringAsync(new Uri("/status", UriKind.Relative)));
            Assert.Equal((1, node.Socket), (status.RootElement.GetProperty("pods").GetProperty("known").GetInt32(), status.RootElement.GetProperty("pods").GetProperty("endpoint").GetString()));
        }
        finally
        {
            await ExporterRun.EndAsync(serving);
        }
    }

    [LiveFact(Needs.Containerd | Needs.Sources, "nsenter")]
    public async Task What_a_pod_of_two_seconds_counted_is_in_the_next_scrape_under_its_name_and_in_no_other()
    {
        await using ContainerdNode node = await ContainerdNode.StartNewAsync();
        using Process serving = ExporterRun.Start(node, "serve", "--port", "0", "--enable", "udp");
        try
        {
            using var client = new HttpClient { BaseAddress = new Uri(await ExporterRun.AddressOfAsync(serving)) };
            Assert.Empty(await ScrapeAsync("job"));
            LivePod job = await node.RunPodAsync("job");
            await Eventually.TrueAsync(async () => await KnownAsync() == 1, "the pod to be known");
            await Command.OutputAsync("nsenter", $"--net={job.NetnsPath}", "bash", "-c", "for i in 1 2 3 4 5; do echo >/dev/udp/127.0.0.1/9; done");
            await Task.Delay(TimeSpan.FromSeconds(2));
            await node.RemovePodAsync(job);
            await Eventually.TrueAsync(async () => await KnownAsync() == 0, "the end of the pod");
            await Task.Delay(TimeSpan.FromSeconds(3)); // its namespace ends with the next look at all of them, which others make and end beside it

            string[] last = await ScrapeAsync("job");
            output.WriteLine(string.Join('\n', last));
            string sent = Assert.Single(last, static l => l.StartsWith("kubeskoop_udp_out_datagrams_total{", StringComparison.Ordinal) && l.Contains("\"ipv4\"", StringComparison.Ordinal));
            Assert.EndsWith(" 5", sent, StringComparison.Ordinal);
            Assert.Contains($"k8s_namespace_name=\"{job.Namespace}\"", sent, StringComparison.Ordinal);
            Assert.Empty(await ScrapeAsync("job"));

            async Task<string[]> ScrapeAsync(string pod) =>
                [.. (await client.GetStringAsync(new Uri("/metrics", UriKind.Relative))).Split('\n').Where(l => l.Contains($"k8s_pod_name=\"{pod}\"", StringComparison.Ordinal))];

            async Task<int> KnownAsync()
            {
                using JsonDocument status = JsonDocument.Parse(await client.GetStringAsync(new Uri("/status", UriKind.Relative)));
                return status.RootElement.GetProperty("pods").GetProperty("known").GetInt32();
            }
        }
        finally
        {
            await ExporterRun.EndAsync(serving);
        }
    }

    [LiveTheory(Needs.Containerd | Needs.Sources | Needs.UnifiedCgroup)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Containers_have_rows_of_their_own_where_that_is_asked_for(bool inHostNetwork)
    {
        await using ContainerdNode node = await ContainerdNode.StartNewAsync(inHostNetwork);
        LivePod pod = await node.RunPodAsync("web-0", hostNetwork: inHostNetwork);
        (_, int main) = await node.RunContainerAsync(pod, "main", "sleep 600 & sleep 601 & wait");
        (_, int side) = await node.RunContainerAsync(pod, "side", "exec 3</dev/null 4</dev/null; sleep 602 & wait");
        (string Container, int Pid)[] all = [("", pod.ProcessId), ("main", main), ("side", side)];
        Dictionary<string, (int Processes, int Open)> kernel = [];
        await Eventually.TrueAsync(() =>
        {
            kernel = all.ToDictionary(static c => c.Container, static c => OfCgroup(c.Pid));
            return (kernel[""].Processes, kernel["main"].Processes, kernel["side"].Processes) == (1, 3, 2);
        }, "the containers' processes");

        Dictionary<string, JsonElement> rows = await SampleAsync("--set", "KubeSkoop:Probes:Procfs:ContainerRows=true");
        Assert.Equal(kernel, rows.ToDictionary(static r => r.Key, static r => (Value(r.Value, "processes"), Value(r.Value, "open"))));
        Dictionary<string, JsonElement> sums = await SampleAsync();
        Assert.Equal((1, 6, kernel.Values.Sum(static k => k.Open)), (sums.Count, Value(sums[""], "processes"), Value(sums[""], "open")));

        async Task<Dictionary<string, JsonElement>> SampleAsync(params string[] settings)
        {
            using JsonDocument sample = JsonDocument.Parse(await ExporterRun.OutputAsync(node, ["sample", "fd", "--json", .. settings]));
            output.WriteLine(sample.RootElement.ToString());
            return sample.RootElement.GetProperty("rows").EnumerateArray().Where(static r => r.GetProperty("pod").GetString() == "web-0")
                .ToDictionary(static r => r.GetProperty("attributes").TryGetProperty("k8s.container.name", out JsonElement name) ? name.GetString()! : "", static r => r.GetProperty("values").Clone());
        }

        static int Value(JsonElement values, string name) => values.GetProperty(name).GetInt32();

        static (int Processes, int Open) OfCgroup(int pid)
        {
            string path = File.ReadAllLines($"/proc/{pid}/cgroup").Single(static l => l.StartsWith("0::", StringComparison.Ordinal))["0::".Length..];
            string[] pids = File.ReadAllLines($"{Machine.UnifiedCgroup}{path}/cgroup.procs");
            return (pids.Length, pids.Sum(static p => Directory.GetFileSystemEntries($"/proc/{p}/fd").Length));
        }
    }

    [LiveFact(Needs.Containerd | Needs.Sources)]
    public async Task A_hundred_and_ten_pods_are_all_named_and_cost_next_to_nothing_at_rest()
    {
        const int count = 110, podsToOneWithContainers = 5; // a container takes as long to start as a pod
        await using ContainerdNode node = await ContainerdNode.StartNewAsync();
        using Process serving = ExporterRun.Start(node, "serve", "--port", "0", "--enable", "sock");
        using Process without = Command.Start("dotnet", [ExporterRun.Exporter, "serve", "--port", "0", "--enable", "sock", "--set", "KubeSkoop:Probes:Kubernetes:RuntimeEndpoint=none"]);
        try
        {
            string address = await ExporterRun.AddressOfAsync(serving);
            var made = new System.Collections.Concurrent.ConcurrentBag<LivePod>();
            await Parallel.ForAsync(0, count, new ParallelOptions { MaxDegreeOfParallelism = 4 }, async (i, _) =>
            {
                LivePod pod = await node.RunPodAsync(string.Create(CultureInfo.InvariantCulture, $"pod-{i}"));
                made.Add(pod);
                if (i % podsToOneWithContainers != 0) return;
                foreach (string container in (string[])["main", "side"]) await node.RunContainerAsync(pod, container, "sleep 3600");
            });
            using var client = new HttpClient { BaseAddress = new Uri(address) };
            string metrics = "";
            await Eventually.TrueAsync(async () =>
            {
                metrics = await client.GetStringAsync(new Uri("/metrics", UriKind.Relative));
                return made.All(p => metrics.Contains($"k8s_pod_name=\"{p.Name}\"", StringComparison.Ordinal));
            }, "rows of all pods");
            foreach (LivePod pod in made)
            {
                string inode = (await Command.OutputAsync("stat", "-L", "-c", "%i", pod.NetnsPath!)).Trim();
                Assert.Contains($"k8s_namespace_name=\"shop\",k8s_pod_name=\"{pod.Name}\",network_namespace_inode=\"{inode}\"", metrics, StringComparison.Ordinal);
            }
            await ExporterRun.AddressOfAsync(without);
            await Task.Delay(TimeSpan.FromSeconds(5)); // what starting costs is not meant
            TimeSpan before = Cpu(serving), beforeWithout = Cpu(without), wait = TimeSpan.FromSeconds(15);
            await Task.Delay(wait);
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"at rest, {count} pods, nobody scrapes: {(Cpu(serving) - before) / wait:P2} of a core for the whole exporter, {(Cpu(without) - beforeWithout) / wait:P2} for one that asks no runtime; {serving.WorkingSet64 / 1048576} MiB"));
        }
        finally
        {
            await ExporterRun.EndAsync(serving);
            await ExporterRun.EndAsync(without);
        }

        static TimeSpan Cpu(Process process)
        {
            process.Refresh();
            return process.TotalProcessorTime;
        }
    }
}
