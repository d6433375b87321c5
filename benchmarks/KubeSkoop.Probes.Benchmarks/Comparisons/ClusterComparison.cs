using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using k8s;
using k8s.Models;
using KubeSkoop.Probes.Kubernetes;
using KubeSkoop.Probes.Kubernetes.Api;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>
/// What a large cluster costs every node: reading the list of its pods, keeping whose their addresses are, and looking one up. Against KubernetesClient's own
/// objects kept by address, as informers do, and against a plain dictionary with 128-bit keys (the floor of a look).
/// </summary>
internal static class ClusterComparison
{
    internal static int Run(Arguments args)
    {
        bool quick = args.Has("--quick");
        int pods = args.Number("--pods", quick ? 200 : 5000), each = args.Number("--addresses", 10), rounds = quick ? 3 : args.Number("--rounds", 15);
        byte[] list = List(args.Text("--fixtures"), pods, each);
        Turns.Print($"{pods} pods, {pods * each} addresses; the list has {list.Length / 1048576.0:F1} MiB");

        (long Kept, long Allocated) mine = Memory(() => Fill(list)), peer = Memory(() => Inform(list));
        ClusterState state = Fill(list);
        Dictionary<IPAddress, V1Pod> informer = Inform(list);
        Action ours = () => state = Fill(list), theirs = () => informer = Inform(list);
        Turns.Print($"{"",-46} {"kept KiB",10} {"B/address",10} {"allocated KiB",14}");
        Turns.Print($"{"the list into pods and addresses",-46} {mine.Kept / 1024,10} {mine.Kept / (pods * each),10} {mine.Allocated / 1024,14}");
        Turns.Print($"{"KubernetesClient's objects by address",-46} {peer.Kept / 1024,10} {peer.Kept / (pods * each),10} {peer.Allocated / 1024,14}");

        var floor = new Dictionary<UInt128, PeerIdentity>();
        var ends = new Endpoint[pods * each];
        var bytes = new byte[ends.Length][];
        for (int i = 0; i < ends.Length; i++)
        {
            bytes[i] = AddressOf(i);
            ends[i] = new Endpoint(bytes[i], 80);
            floor[ends[i].AddressValue] = PeerIdentity.Outside;
        }
        new Random(1).Shuffle(ends);
        new Random(1).Shuffle(bytes);
        DateTimeOffset now = DateTimeOffset.UnixEpoch.AddYears(60);
        int found = 0;
        Action look = () =>
        {
            foreach (Endpoint end in ends)
                if (state.Addresses.Find(end.AddressValue, now) is not null) found++;
        };
        Action lookFloor = () =>
        {
            foreach (Endpoint end in ends)
                if (floor.ContainsKey(end.AddressValue)) found++;
        };
        Action lookTheirs = () =>
        {
            foreach (byte[] address in bytes)
                if (informer.ContainsKey(new IPAddress(address))) found++;
        };
        Action miss = () =>
        {
            foreach (Endpoint end in ends)
                if (state.Addresses.Find(~end.AddressValue, now) is null && !state.IsPodRange(~end.AddressValue)) found++;
        };
        foreach (Action action in new[] { look, lookFloor, lookTheirs, miss })
        {
            found = 0;
            for (int i = 0; i < 20; i++) action();
            if (found != 20 * ends.Length) throw new InvalidOperationException($"{found} of {20 * ends.Length} looks came out as they must.");
        }
        var reading = new Turns();
        var readingTheirs = new Turns();
        Turns[] looking = [new(), new(), new(), new()];
        long allocated = 0;
        for (int round = 0; round < rounds; round++)
        {
            reading.Add(Turns.Measure(1, ours));
            readingTheirs.Add(Turns.Measure(1, theirs));
            long before = GC.GetAllocatedBytesForCurrentThread();
            looking[0].Add(Turns.Measure(4, look));
            looking[3].Add(Turns.Measure(4, miss));
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            looking[1].Add(Turns.Measure(4, lookFloor));
            looking[2].Add(Turns.Measure(4, lookTheirs));
        }
        Turns.Print($"median of {rounds} turns{"",-28} {"wall ms",9} {"CPU ms",9}");
        Turns.Print($"{"reading the list, ours",-46} {reading.Wall / 1e6,9:F2} {reading.Cpu / 1e6,9:F2}");
        Turns.Print($"{"reading the list, KubernetesClient",-46} {readingTheirs.Wall / 1e6,9:F2} {readingTheirs.Cpu / 1e6,9:F2}");
        foreach (var (name, turns) in new[] { ("a look, ours", looking[0]), ("a look that finds nothing, ours", looking[3]), ("a look, plain dictionary of 128-bit numbers", looking[1]), ("a look, dictionary of IPAddress", looking[2]) })
            Turns.Print($"{name,-46} {turns.Wall / ends.Length,9:F1} ns");
        Turns.PrintRatio("bytes allocated per look (goal 0)", (double)allocated / rounds / (8.0 * ends.Length));
        Turns.PrintRatio("a look/plain dictionary", looking[0].RatioTo(looking[1]));
        Turns.PrintRatio("KubernetesClient reading/ours", readingTheirs.RatioTo(reading));
        Turns.PrintRatio("KubernetesClient memory kept/ours", (double)peer.Kept / mine.Kept);
        return 0;
    }

    private static ClusterState Fill(byte[] list)
    {
        var state = new ClusterState(new KubernetesOptions(), "node-7", TimeProvider.System);
        ApiList read = JsonSerializer.Deserialize(list, ApiJson.Default.ApiList)!;
        state.BeginList(ApiKind.Pods);
        foreach (ApiObject? pod in read.Items!) state.Set(ApiKind.Pods, pod!);
        state.EndList(ApiKind.Pods);
        return state;
    }

    private static Dictionary<IPAddress, V1Pod> Inform(byte[] list)
    {
        V1PodList read = KubernetesJson.Deserialize<V1PodList>(new MemoryStream(list));
        var byAddress = new Dictionary<IPAddress, V1Pod>();
        foreach (V1Pod pod in read.Items)
            foreach (V1PodIP ip in pod.Status.PodIPs) byAddress[IPAddress.Parse(ip.Ip)] = pod;
        return byAddress;
    }

    private static (long Kept, long Allocated) Memory<T>(Func<T> make)
        where T : class
    {
        GC.KeepAlive(make()); // what is made once for all
        long before = GC.GetTotalMemory(forceFullCollection: true), allocated = GC.GetAllocatedBytesForCurrentThread();
        T made = make();
        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        long kept = GC.GetTotalMemory(forceFullCollection: true) - before;
        GC.KeepAlive(made);
        return (kept, allocated);
    }

    private static byte[] AddressOf(int i) => [10, (byte)(64 + i / 65536), (byte)(i / 256), (byte)i];

    private static byte[] List(string fixtures, int pods, int each)
    {
        JsonObject template = JsonNode.Parse(File.ReadAllText(Path.Combine(fixtures, "pod.json")))!.AsObject();
        var text = new StringBuilder("""{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[""");
        for (int i = 0; i < pods; i++)
        {
            string name = string.Create(CultureInfo.InvariantCulture, $"web-7d4b9c6f5-{i:x5}");
            template["metadata"]!["name"] = name;
            template["metadata"]!["namespace"] = string.Create(CultureInfo.InvariantCulture, $"team-{i % 40}");
            template["metadata"]!["uid"] = string.Create(CultureInfo.InvariantCulture, $"00000000-0000-4000-8000-{i:x12}");
            template["spec"]!["nodeName"] = string.Create(CultureInfo.InvariantCulture, $"node-{i / 50}");
            template["status"]!["podIPs"] = new JsonArray([.. Enumerable.Range(i * each, each).Select(static a => new JsonObject { ["ip"] = new IPAddress(AddressOf(a)).ToString() })]);
            template["status"]!["podIP"] = new IPAddress(AddressOf(i * each)).ToString();
            if (i > 0) text.Append(',');
            text.Append(template.ToJsonString());
        }
        return Encoding.UTF8.GetBytes(text.Append("]}").ToString());
    }
}
