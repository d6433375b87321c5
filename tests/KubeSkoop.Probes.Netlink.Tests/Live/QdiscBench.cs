using System.Globalization;
using System.Net;
using System.Reflection;
using System.Text.Json;
using System.Text.RegularExpressions;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;
using Xunit.Sdk;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>The probes of rtnetlink on the test's namespaces only, with a clock the test sets.</summary>
internal sealed class QdiscBench : IAsyncDisposable
{
    private readonly ProcNet _procfs = new(new ProcNamespaceSource(Options.Create(new ProcfsOptions()))); // not used

    private QdiscBench(TestNamespace[] namespaces)
    {
        Source = new FakeNamespaceSource { Opener = NetlinkTableTests.Opener(namespaces) };
        foreach (TestNamespace ns in namespaces) Source.Add(ns.Inode, ns.Name);
        Sockets = new NetlinkSockets(Source, Settings);
        Probe = new QdiscProbe(Sockets, Clock);
        NetDev = new NetDevProbe(_procfs, [new NetDevNetlinkSource(Sockets, Clock)], Clock);
    }

    internal NetlinkSettings Settings { get; } = new();

    internal FakeNamespaceSource Source { get; }

    internal FakeTimeProvider Clock { get; } = new(new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero));

    internal NetlinkSockets Sockets { get; }

    internal QdiscProbe Probe { get; }

    internal NetDevProbe NetDev { get; }

    internal static async Task<QdiscBench> StartAsync(params TestNamespace[] namespaces)
    {
        var bench = new QdiscBench(namespaces);
        await bench.Probe.StartAsync();
        await bench.NetDev.StartAsync();
        Assert.Equal("rtnetlink", bench.NetDev.Status.Source);
        return bench;
    }

    /// <summary>All rows of a namespace.</summary>
    internal SampleRow<QdiscRecord>[] Rows(TestNamespace ns)
    {
        SampleBatch<QdiscRecord> batch = Probe.Sample();
        Assert.Null(batch.Skips.LastProblem);
        return [.. batch.Rows.ToArray().Where(r => r.Namespace?.Inode == ns.Inode)];
    }

    /// <summary>By <c>device kind handle parent</c> and, of a class, <c>class</c>.</summary>
    internal Dictionary<string, QdiscRecord> Qdiscs(TestNamespace ns) => Rows(ns)
        .Where(static r => !r.Subject.Attributes.IsEmpty)
        .ToDictionary(static r => string.Join(' ', r.Subject.Attributes.ToArray().Select(static a => a.Value)), static r => r.Value);

    /// <summary>The row about the namespace.</summary>
    internal QdiscRecord Total(TestNamespace ns) => Assert.Single(Rows(ns), static r => r.Subject.Attributes.IsEmpty).Value;

    /// <summary>netdev's rows of a namespace from rtnetlink, by name.</summary>
    internal Dictionary<string, NetDevRecord> Devices(TestNamespace ns)
    {
        SampleBatch<NetDevRecord> batch = NetDev.Sample();
        Assert.Null(batch.Skips.LastProblem);
        return batch.Rows.ToArray().Where(r => r.Namespace?.Inode == ns.Inode).ToDictionary(static r => r.Subject.Attributes[0].Value, static r => r.Value);
    }

    public async ValueTask DisposeAsync()
    {
        await NetDev.DisposeAsync();
        await Probe.DisposeAsync();
        Sockets.Dispose();
        _procfs.Dispose();
    }
}

/// <summary>What <c>tc</c> says and does in a test's namespace.</summary>
internal static partial class QdiscWitness
{
    /// <summary>
    /// A veth pair <c>left</c>, <c>right</c> within the namespace, without IPv6, so that nothing is sent but what the test sends with
    /// <see cref="SendAsync"/>.
    /// </summary>
    internal static async Task AddPairAsync(this TestNamespace ns, int queues = 1)
    {
        await ns.WithoutIpv6Async();
        string number = queues.ToString(CultureInfo.InvariantCulture);
        await ns.IpAsync("link", "add", "name", "left", "numtxqueues", number, "type", "veth", "peer", "name", "right", "numtxqueues", number);
        await ns.IpAsync("address", "add", "10.98.0.1/24", "dev", "left");
        await ns.IpAsync("link", "set", "left", "up");
        await ns.IpAsync("link", "set", "right", "up");
        await ns.IpAsync("neighbour", "replace", "10.98.0.2", "lladdr", "02:00:00:00:00:77", "dev", "left", "nud", "permanent");
    }

    /// <summary>IPv6 reports its groups when a device comes up; here it does not.</summary>
    internal static async Task WithoutIpv6Async(this TestNamespace ns)
    {
        if (Machine.Lacks(Needs.Ipv6) is null) await ns.ExecuteAsync("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1");
    }

    /// <summary>Sends frames of exactly this many bytes through <c>left</c>. Nobody answers.</summary>
    internal static async Task SendAsync(this TestNamespace ns, int count, int frame = 142)
    {
        for (int i = 0; i < count; i += 10)
            await ns.SendUdpAsync(Math.Min(10, count - i), new IPEndPoint(IPAddress.Parse("10.98.0.2"), 9), size: frame - (14 + 20 + 8));
    }

    internal static Task<string> TcAsync(this TestNamespace ns, string arguments) => ns.ExecuteAsync("tc", arguments.Split(' '));

    /// <summary>What <c>tc -s -j qdisc</c> shows, by <c>device kind handle parent</c>.</summary>
    internal static async Task<Dictionary<string, JsonElement>> TcQdiscsAsync(this TestNamespace ns)
    {
        using JsonDocument json = JsonDocument.Parse(await ns.TcAsync("-s -j qdisc show"));
        var qdiscs = new Dictionary<string, JsonElement>();
        foreach (JsonElement qdisc in json.RootElement.EnumerateArray())
        {
            string parent = qdisc.TryGetProperty("parent", out JsonElement text) ? text.GetString()! : "root";
            qdiscs.Add($"{qdisc.GetProperty("dev").GetString()} {qdisc.GetProperty("kind").GetString()} {qdisc.GetProperty("handle").GetString()} {parent}", qdisc.Clone());
        }
        return qdiscs;
    }

    /// <summary>The htb classes of a device as <c>tc -s class</c> shows them (it has no JSON for them), by <c>parent class</c>.</summary>
    internal static async Task<Dictionary<string, Dictionary<string, long>>> TcClassesAsync(this TestNamespace ns, string device) =>
        Classes(await ns.TcAsync($"-s class show dev {device}"));

    /// <summary>Reads what <c>tc -s class</c> says of the classes of an htb.</summary>
    internal static Dictionary<string, Dictionary<string, long>> Classes(string text)
    {
        var classes = new Dictionary<string, Dictionary<string, long>>();
        foreach (Match match in HtbClass().Matches(text))
        {
            string parent = match.Groups["parent"].Success ? match.Groups["parent"].Value : "root";
            classes.Add($"{parent} {match.Groups["class"].Value}", match.Groups.Values
                .Where(static g => g.Name is not ("0" or "class" or "parent")).ToDictionary(static g => g.Name, static g => long.Parse(g.ValueSpan, CultureInfo.InvariantCulture)));
        }
        return classes;
    }

    /// <summary>Every number that <c>tc -s -j qdisc</c> and we both know is the same.</summary>
    internal static void AssertLikeTc(string key, JsonElement tc, in QdiscRecord record)
    {
        (string Name, Reading Value)[] all =
        [
            ("bytes", record.Bytes), ("packets", record.Packets), ("drops", record.Drops), ("overlimits", record.Overlimits),
            ("requeues", record.Requeues), ("backlog", record.Backlog), ("qlen", record.QueueLength),
            ("flows", record.FqFlows), ("inactive", record.FqInactiveFlows), ("gc", record.FqFlowsCollected), ("flows_plimit", record.FqFlowLimitDrops),
            ("pkts_too_long", record.FqPacketsTooLong), ("fastpath", record.FqFastPathPackets),
            ("maxpacket", record.FqCodelLargestPacket), ("drop_overlimit", record.FqCodelOverlimitDrops),
            ("new_flow_count", record.FqCodelNewFlows), ("ecn_mark", record.FqCodelEcnMarks), ("memory_used", record.FqCodelMemory),
            ("new_flows_len", record.FqCodelNewFlowsQueued), ("old_flows_len", record.FqCodelOldFlowsQueued),
        ];
        int compared = 0;
        foreach ((string name, Reading value) in all)
        {
            if (!tc.TryGetProperty(name, out JsonElement number)) continue;
            Assert.Equal((key, name, new Reading(number.GetUInt64())), (key, name, value));
            compared++;
        }
        Assert.True(compared >= 7);
        JsonElement options = tc.GetProperty("options");
        if (options.TryGetProperty("direct_packets_stat", out JsonElement direct)) Assert.Equal(new Reading(direct.GetUInt64()), record.HtbDirectPackets);
        if (options.TryGetProperty("rate", out JsonElement rate)) Assert.Equal(new Reading(rate.GetUInt64()), record.Rate);
    }

    /// <summary>Every number of a class.</summary>
    internal static void AssertLikeTc(Dictionary<string, long> tc, in QdiscRecord record)
    {
        (string, long)[] ours =
        [
            ("bytes", (long)record.Bytes.Value), ("packets", (long)record.Packets.Value), ("drops", (long)record.Drops.Value), ("overlimits", (long)record.Overlimits.Value),
            ("requeues", (long)record.Requeues.Value), ("qlen", (long)record.QueueLength.Value), ("lends", (long)record.HtbLends.Value), ("borrows", (long)record.HtbBorrows.Value),
            ("tokens", (long)Math.Round(record.HtbTokens!.Value / 64e-9)), ("ctokens", (long)Math.Round(record.HtbCeilingTokens!.Value / 64e-9)),
        ];
        foreach ((string name, long value) in ours) Assert.Equal((name, tc[name]), (name, value));
    }

    /// <summary>Why this kernel or <c>tc</c> has no qdisc of a kind; <see langword="null"/> when it has.</summary>
    internal static string? Lacks(string kind, string specification)
    {
        if (Machine.Lacks(Needs.NetNs, "tc") is { } reason) return reason;
        CommandResult result = Command.RunAsync("unshare", ["-n", "sh", "-c",
            $"ip link add name left numtxqueues 4 type veth peer name right && tc qdisc replace dev left {specification}"]).GetAwaiter().GetResult();
        return result.ExitCode == 0 ? null : $"Needs the qdisc '{kind}', which this kernel does not have.";
    }

    [GeneratedRegex(
        @"class htb (?<class>\S+) (?:root|parent (?<parent>\S+)) .*\n Sent (?<bytes>\d+) bytes (?<packets>\d+) pkt \(dropped (?<drops>\d+), overlimits (?<overlimits>\d+) requeues (?<requeues>\d+)\) *\n backlog \S+ (?<qlen>\d+)p .*\n lended: (?<lends>\d+) borrowed: (?<borrows>\d+) giants: \d+\n tokens: (?<tokens>-?\d+) ctokens: (?<ctokens>-?\d+)")]
    private static partial Regex HtbClass();
}

/// <summary>A kind of qdisc and how <c>tc</c> makes one; skipped, with the reason, where the kernel lacks it.</summary>
[AttributeUsage(AttributeTargets.Method, AllowMultiple = true)]
internal sealed class QdiscDataAttribute : DataAttribute
{
    private readonly string _kind;
    private readonly string _specification;

    /// <param name="kind">The kind.</param>
    /// <param name="specification">What follows <c>tc qdisc replace dev left</c>.</param>
    public QdiscDataAttribute(string kind, string specification)
    {
        _kind = kind;
        _specification = specification;
        Skip = QdiscWitness.Lacks(kind, specification);
    }

    public override IEnumerable<object[]> GetData(MethodInfo testMethod) => [[_kind, _specification]];
}
