using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using KubeSkoop.Probes.Kubernetes.Tests.Api;
using Xunit.Abstractions;

namespace KubeSkoop.Probes.Kubernetes.Tests.Live;

/// <summary>The sample exporter beside a real containerd, with an API server that tells of its pods.</summary>
[Collection(LiveGroup.Name)]
public sealed class ClusterLiveTests(ITestOutputHelper output)
{
    [LiveFact(Needs.Containerd | Needs.Sources | Needs.Bpf | Needs.UnifiedCgroup, "nsenter", "ip")]
    public async Task Events_and_flows_name_both_ends()
    {
        await using FakeApi api = await FakeApi.StartNewAsync();
        await using ContainerdNode node = await ContainerdNode.StartNewAsync();
        LivePod client = await node.RunPodAsync("client"), server = await node.RunPodAsync("server", "store");
        string address = await AddressOfAsync(server);
        string gateway = (await Command.OutputAsync("nsenter", "--net=" + client.NetnsPath!, "ip", "-4", "-o", "route", "show", "default")).Split(' ')[2];
        api.Set("nodes", FakeApi.Node("node-a", "00000000-0000-4000-8000-0000000000a1", gateway));
        api.Set("pods", ApiPodOf(client, await AddressOfAsync(client)));
        JsonObject serverInApi = ApiPodOf(server, address);
        serverInApi["metadata"]!["ownerReferences"] = new JsonArray(new JsonObject { ["kind"] = "StatefulSet", ["name"] = "db", ["controller"] = true });
        api.Set("pods", serverInApi);

        string table = await ExporterRun.OutputAsync(node, ["pods", .. Settings(api)]);
        output.WriteLine(table);
        Assert.Matches(@"(?m)^Pod +Owner +Network namespace", table);
        Assert.Matches($@"(?m)^shop/client +Deployment web +\d+ +{client.ProcessId} .* runtime, api +\d+s +-$", table);
        Assert.Matches($@"(?m)^store/server +StatefulSet db +\d+ +{server.ProcessId} .* runtime, api +\d+s +-$", table);

        using Process serving = ExporterRun.Start(node, ["serve", "--port", "0", "--enable", "sock,tcpreset,flow", "--set", "KubeSkoop:Probes:Kubernetes:PodOwner=true", .. Settings(api)]);
        try
        {
            using var http = new HttpClient { BaseAddress = new Uri(await ExporterRun.AddressOfAsync(serving)) };
            using var reader = new StreamReader(await http.GetStreamAsync(new Uri("/events?probe=tcpreset", UriKind.Relative)));
            await node.RunContainerAsync(client, "caller", $"exec 9<>/dev/null; sleep 1; nc {address} 9 </dev/null; nc {gateway} 9 </dev/null; sleep 600");
            var seen = new Dictionary<string, JsonElement>();
            await Eventually.TrueAsync(async () =>
            {
                string? line = await reader.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(10));
                if (line?.StartsWith("data: ", StringComparison.Ordinal) != true) return false;
                JsonElement e = JsonDocument.Parse(line["data: ".Length..]).RootElement;
                if (e.GetProperty("fields").GetProperty("destination.port").GetInt32() == 9) seen[$"{e.GetProperty("pod").GetString()} > {e.GetProperty("fields").GetProperty("destination.address").GetString()}"] = e;
                return seen.Count == 2;
            }, "the two resets", TimeSpan.FromSeconds(30));
            foreach (JsonElement e in seen.Values) output.WriteLine(e.ToString());
            JsonElement toServer = seen[$"client > {address}"].GetProperty("fields"), toNode = seen[$"client > {gateway}"].GetProperty("fields");
            Assert.Equal("pod shop client node-a", Text(toServer, "src"));
            Assert.Equal("pod store server node-a", Text(toServer, "dst"));
            Assert.Equal("pod shop client node-a", Text(toNode, "src"));
            Assert.Equal("node - node-a node-a", Text(toNode, "dst"));
            Assert.Equal("caller", toNode.GetProperty("k8s.container.name").GetString());
            Assert.Equal("web", seen[$"client > {address}"].GetProperty("pod_attributes").GetProperty("k8s.deployment.name").GetString());

            string[] flows = [];
            await Eventually.TrueAsync(async () =>
            {
                string metrics = await http.GetStringAsync(new Uri("/metrics", UriKind.Relative));
                flows = [.. metrics.Split('\n').Where(static l => l.StartsWith("kubeskoop_flow_packets_total{", StringComparison.Ordinal))];
                return flows.Any(l => l.Contains("k8s_pod_name=\"server\"", StringComparison.Ordinal));
            }, "rows of the server");
            foreach (string flow in flows) output.WriteLine(flow);
            Assert.Contains(flows, l => l.Contains("k8s_pod_name=\"client\"", StringComparison.Ordinal) && l.Contains($"destination_address=\"{address}\"", StringComparison.Ordinal)
                && l.Contains("k8s_dst_name=\"server\"", StringComparison.Ordinal) && l.Contains("k8s_dst_namespace=\"store\"", StringComparison.Ordinal) && l.Contains("k8s_src_name=\"client\"", StringComparison.Ordinal));
            Assert.Contains(flows, static l => l.Contains("k8s_pod_name=\"server\"", StringComparison.Ordinal) && l.Contains("network_io_direction=\"transmit\"", StringComparison.Ordinal) && l.Contains("k8s_dst_name=\"client\"", StringComparison.Ordinal)
                && l.Contains("k8s_statefulset_name=\"db\"", StringComparison.Ordinal));
            Assert.Contains(flows, l => l.Contains($"destination_address=\"{gateway}\"", StringComparison.Ordinal) && l.Contains("k8s_dst_type=\"node\"", StringComparison.Ordinal) && l.Contains("k8s_dst_name=\"node-a\"", StringComparison.Ordinal));
            using JsonDocument status = JsonDocument.Parse(await http.GetStringAsync(new Uri("/status", UriKind.Relative)));
            JsonElement cluster = status.RootElement.GetProperty("pods").GetProperty("api");
            Assert.Equal((2, 1, JsonValueKind.Null), (cluster.GetProperty("pods").GetInt32(), cluster.GetProperty("nodes").GetInt32(), cluster.GetProperty("problem").ValueKind));
        }
        finally
        {
            await ExporterRun.EndAsync(serving);
        }
    }

    [LiveFact(Needs.Root | Needs.Sources, "unshare", "mount")]
    public async Task In_a_pod_the_service_account_says_where_the_api_is()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(static a => a.IsSecure = true);
        api.Set("nodes", FakeApi.Make("nodes"));
        api.Set("pods", FakeApi.Make("pods"));
        // A mount namespace of its own, with a service account where pods have theirs.
        string script = $"""
            mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount && cd /run/secrets/kubernetes.io/serviceaccount
            printf '%s' '{FakeApi.Token}' > token && cp '{api.Authority}' ca.crt && printf shop > namespace
            exec dotnet '{ExporterRun.Exporter}' pods --json --set KubeSkoop:Probes:NodeName=node-a --set KubeSkoop:Probes:Kubernetes:RuntimeEndpoint=none
            """;
        CommandResult result = await Command.RunAsync("unshare", ["--mount", "sh", "-e", "-c", script],
            environment: new Dictionary<string, string?> { ["KUBERNETES_SERVICE_HOST"] = "127.0.0.1", ["KUBERNETES_SERVICE_PORT"] = api.Port.ToString(CultureInfo.InvariantCulture) });
        output.WriteLine(result.ToString());
        using JsonDocument json = JsonDocument.Parse(result.Output);
        JsonElement cluster = json.RootElement.GetProperty("api");
        Assert.Equal(($"https://127.0.0.1:{api.Port}/", 1, 1, JsonValueKind.Null),
            (cluster.GetProperty("server").GetString(), cluster.GetProperty("pods").GetInt32(), cluster.GetProperty("nodes").GetInt32(), cluster.GetProperty("problem").ValueKind));
        JsonElement pod = Assert.Single(json.RootElement.GetProperty("pods").EnumerateArray(), static p => p.GetProperty("source").GetString() == "api");
        Assert.Equal(("shop", "web-7d4b9c6f5-x2x9p", "Deployment", "web"), (pod.GetProperty("namespace").GetString(), pod.GetProperty("name").GetString(), pod.GetProperty("owner").GetProperty("kind").GetString(), pod.GetProperty("owner").GetProperty("name").GetString()));

        // A server that another authority vouches for is not believed.
        CommandResult stranger = await Command.RunAsync("unshare", ["--mount", "sh", "-e", "-c", script.Replace($"cp '{api.Authority}' ca.crt", $"cp '{api.OtherAuthority}' ca.crt", StringComparison.Ordinal)],
            environment: new Dictionary<string, string?> { ["KUBERNETES_SERVICE_HOST"] = "127.0.0.1", ["KUBERNETES_SERVICE_PORT"] = api.Port.ToString(CultureInfo.InvariantCulture) });
        Assert.Contains("The Kubernetes API: ", stranger.Error, StringComparison.Ordinal);
        Assert.Contains("certificate", stranger.Error, StringComparison.Ordinal);
        Assert.Contains("\"pods\": 0", stranger.Output, StringComparison.Ordinal);
    }

    private static string[] Settings(FakeApi api) => ["--set", $"KubeSkoop:Probes:Kubernetes:Kubeconfig={api.Kubeconfig}", "--set", "KubeSkoop:Probes:NodeName=node-a"];

    private static JsonObject ApiPodOf(LivePod pod, string address)
    {
        JsonObject made = FakeApi.Pod(pod.Name, pod.Uid, "node-a", address);
        made["metadata"]!["namespace"] = pod.Namespace;
        return made;
    }

    private static async Task<string> AddressOfAsync(LivePod pod) =>
        (await Command.OutputAsync("nsenter", "--net=" + pod.NetnsPath!, "ip", "-4", "-o", "addr", "show", "dev", "eth0")).Split(' ', StringSplitOptions.RemoveEmptyEntries)[3].Split('/')[0];

    private static string Text(JsonElement fields, string end) =>
        string.Join(' ', new[] { "type", "namespace", "name", "node.name" }.Select(part => fields.TryGetProperty($"k8s.{end}.{part}", out JsonElement value) ? value.GetString() : "-"));
}
