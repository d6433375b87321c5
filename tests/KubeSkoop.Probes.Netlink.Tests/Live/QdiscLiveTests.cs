using System.Globalization;
using System.Text.Json;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>qdisc beside <c>tc -s</c>, with queues overrun on purpose by known packets.</summary>
public sealed class QdiscLiveTests
{
    private const int Frame = 142;

    [LiveTheory(Needs.NetNs, "tc")]
    [QdiscData("pfifo", "root handle 1: pfifo limit 100")]
    [QdiscData("bfifo", "root handle 1: bfifo limit 100000")]
    [QdiscData("pfifo_fast", "root handle 1: pfifo_fast")]
    [QdiscData("prio", "root handle 1: prio")]
    [QdiscData("sfq", "root handle 1: sfq")]
    [QdiscData("fq", "root handle 1: fq")]
    [QdiscData("fq_codel", "root handle 1: fq_codel")]
    [QdiscData("tbf", "root handle 1: tbf rate 1gbit burst 100k limit 100k")]
    [QdiscData("htb", "root handle 1: htb")]
    [QdiscData("noqueue", "root handle 0: noqueue")]
    [QdiscData("ingress", "handle ffff: ingress")]
    [QdiscData("clsact", "clsact")]
    public async Task Every_kind_counts_what_tc_shows(string kind, string specification)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.AddPairAsync();
        await ns.TcAsync($"qdisc replace dev left {specification}");
        await using QdiscBench bench = await QdiscBench.StartAsync(ns);

        await ns.SendAsync(25, Frame);

        Dictionary<string, QdiscRecord> ours = bench.Qdiscs(ns);
        AssertEqual(await ns.TcQdiscsAsync(), ours);
        QdiscRecord record = Assert.Single(ours, q => q.Key.StartsWith($"left {kind} ", StringComparison.Ordinal)).Value;
        ulong expected = kind is "noqueue" or "ingress" or "clsact" ? 0ul : 25ul;
        Assert.Equal(expected, record.Packets.Value);
        Assert.Equal(expected * Frame, record.Bytes.Value);
        Assert.Equal(expected, bench.Total(ns).RootPackets.Value);
        Assert.Equal(kind is "fq", record.FqFlows.HasValue);
        Assert.Equal(kind is "fq_codel", record.FqCodelNewFlows.HasValue);
        Assert.Equal(kind is "htb" ? 25ul : null, record.HtbDirectPackets.ToNullable()); // no class, so unshaped
        Assert.Equal(kind is "tbf" ? 125_000_000ul : null, record.Rate.ToNullable());
    }

    [LiveFact(Needs.NetNs, "tc")]
    public async Task What_arrives_is_counted_by_ingress_and_not_in_the_total()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.AddPairAsync();
        await ns.TcAsync("qdisc add dev right ingress");
        await ns.TcAsync("filter add dev right parent ffff: protocol all u32 match u32 0 0"); // without a filter the kernel passes it by
        await ns.TcAsync("qdisc replace dev left root handle 1: pfifo");
        await using QdiscBench bench = await QdiscBench.StartAsync(ns);

        await ns.SendAsync(25, Frame);

        Dictionary<string, QdiscRecord> ours = bench.Qdiscs(ns);
        AssertEqual(await ns.TcQdiscsAsync(), ours);
        Assert.Equal(25ul, ours["right ingress ffff: ffff:fff1"].Packets.Value);
        Assert.Equal(25ul, bench.Total(ns).RootPackets.Value);
    }

    [LiveFact(Needs.NetNs, "tc")]
    public async Task A_tbf_that_is_overrun_passes_queues_and_drops_to_the_packet()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.AddPairAsync();
        await ns.TcAsync("qdisc replace dev left root handle 7: tbf rate 8bit burst 1600 limit 3000"); // a byte a second: it stands still
        await using QdiscBench bench = await QdiscBench.StartAsync(ns);

        await ns.SendAsync(60, Frame);

        (Dictionary<string, QdiscRecord> ours, Dictionary<string, JsonElement> tc) = await BesideTcAsync(bench, ns);
        AssertEqual(tc, ours);
        QdiscRecord tbf = ours["left tbf 7: root"];
        const ulong Sent = 1600 / Frame, Queued = 3000 / Frame;
        Assert.Equal(Sent, tbf.Packets.Value);
        Assert.Equal(Sent * Frame, tbf.Bytes.Value);
        Assert.Equal(Queued, tbf.QueueLength.Value);
        Assert.Equal(Queued * Frame, tbf.Backlog.Value);
        Assert.Equal(60 - Sent - Queued, tbf.Drops.Value);
        Assert.True(tbf.Overlimits.Value >= Queued);
        Assert.Equal(1ul, tbf.Rate.Value);
        QdiscRecord total = bench.Total(ns);
        Assert.Equal(Sent, total.RootPackets.Value);
        Assert.Equal(60 - Sent - Queued, total.RootDrops.Value);
        Assert.Equal(Queued, total.RootQueueLength.Value);
        Assert.Equal(Queued * Frame, total.RootBacklog.Value);
    }

    [LiveFact(Needs.NetNs, "tc")]
    public async Task Htb_classes_tell_what_they_lent_and_borrowed_and_children_are_not_counted_twice()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.AddPairAsync();
        await ns.TcAsync("qdisc replace dev left root handle 1: htb default 10 r2q 1");
        await ns.TcAsync("class add dev left parent 1: classid 1:1 htb rate 8bit ceil 8bit burst 1600 cburst 1600 quantum 1600");
        await ns.TcAsync("class add dev left parent 1:1 classid 1:10 htb rate 8bit ceil 8bit burst 600 cburst 1600 quantum 1600");
        await ns.TcAsync("qdisc add dev left parent 1:10 handle 10: pfifo limit 7");
        await using QdiscBench bench = await QdiscBench.StartAsync(ns);

        await ns.SendAsync(60, Frame);

        (Dictionary<string, QdiscRecord> ours, Dictionary<string, JsonElement> tc) = await BesideTcAsync(bench, ns);
        Assert.Equal(["left htb 1: 1:1 1:10", "left htb 1: root", "left htb 1: root 1:1", "left pfifo 10: 1:10"], ours.Keys.Where(static k => k.StartsWith("left", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
        AssertEqual(tc, ours);
        QdiscRecord qdisc = ours["left htb 1: root"], leaf = ours["left pfifo 10: 1:10"], child = ours["left htb 1: 1:1 1:10"], parent = ours["left htb 1: root 1:1"];
        Assert.Equal(60ul, qdisc.Packets.Value + qdisc.QueueLength.Value + qdisc.Drops.Value);
        Assert.Equal(7ul, leaf.QueueLength.Value);
        Assert.Equal(leaf.Packets, child.Packets);
        Assert.InRange(child.HtbLends.Value, 1ul, 60ul);
        Assert.InRange(child.HtbBorrows.Value, 1ul, 60ul);
        Assert.Equal(child.Packets.Value, child.HtbLends.Value + child.HtbBorrows.Value);
        Assert.Equal((1ul, 1ul), (child.Rate.Value, child.Ceiling.Value));

        Dictionary<string, Dictionary<string, long>> classes = await ns.TcClassesAsync("left");
        Assert.Equal(["1:1 1:10", "root 1:1"], classes.Keys.Order(StringComparer.Ordinal));
        QdiscWitness.AssertLikeTc(classes["1:1 1:10"], child);
        QdiscWitness.AssertLikeTc(classes["root 1:1"], parent);

        QdiscRecord total = bench.Total(ns);
        Assert.Equal((qdisc.Packets, qdisc.Drops, qdisc.QueueLength), (total.RootPackets, total.RootDrops, total.RootQueueLength));
    }

    [LiveFact(Needs.NetNs, "tc")]
    public async Task Queues_of_an_mq_have_rows_and_the_total_has_each_packet_once()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.AddPairAsync(queues: 4);
        await ns.TcAsync("qdisc replace dev left root handle 1: mq");
        await using QdiscBench bench = await QdiscBench.StartAsync(ns);

        await ns.SendAsync(200, Frame); // from twenty sockets

        Dictionary<string, QdiscRecord> ours = bench.Qdiscs(ns);
        AssertEqual(await ns.TcQdiscsAsync(), ours);
        Assert.Equal(200ul, ours["left mq 1: root"].Packets.Value);
        QdiscRecord[] queues = [.. ours.Where(static q => q.Key.Contains(" 0: 1:", StringComparison.Ordinal) && q.Key.StartsWith("left ", StringComparison.Ordinal)).Select(static q => q.Value)];
        Assert.Equal(4, queues.Length);
        Assert.Equal(200ul, queues.Aggregate(0ul, static (sum, q) => sum + q.Packets.Value));
        Assert.True(queues.Count(static q => q.Packets.Value > 0) > 1);
        Assert.Equal(200ul, bench.Total(ns).RootPackets.Value);
        Assert.Equal(200ul * Frame, bench.Total(ns).RootBytes.Value);
    }

    [LiveFact(Needs.NetNs, "tc")]
    public async Task Names_are_those_of_the_pods_namespace_and_follow_a_rename_at_once()
    {
        // The same index has another name in each namespace, and in the test's own.
        await using TestNamespace one = await TestNamespace.CreateAsync();
        await using TestNamespace two = await TestNamespace.CreateAsync();
        await one.IpAsync("link", "add", "name", "ens1", "index", "50", "type", "veth", "peer", "name", "cali0", "index", "51");
        await two.IpAsync("link", "add", "name", "cali0", "index", "50", "type", "veth", "peer", "name", "bond7", "index", "51");
        await one.TcAsync("qdisc replace dev ens1 root handle 3: pfifo");
        await one.TcAsync("qdisc replace dev cali0 root handle 2: pfifo");
        await two.TcAsync("qdisc replace dev cali0 root handle 2: pfifo");
        await two.TcAsync("qdisc replace dev bond7 root handle 3: pfifo");
        await using QdiscBench bench = await QdiscBench.StartAsync(one, two);
        Assert.Equal(["cali0 pfifo 2: root", "ens1 pfifo 3: root"], bench.Qdiscs(one).Keys.Where(NotLoopback).Order(StringComparer.Ordinal));
        Assert.Equal(["bond7 pfifo 3: root", "cali0 pfifo 2: root"], bench.Qdiscs(two).Keys.Where(NotLoopback).Order(StringComparer.Ordinal));

        await one.IpAsync("link", "set", "ens1", "name", "net1");
        await two.IpAsync("link", "set", "bond7", "name", "ens1");

        Assert.Equal(["cali0 pfifo 2: root", "net1 pfifo 3: root"], bench.Qdiscs(one).Keys.Where(NotLoopback).Order(StringComparer.Ordinal));
        Assert.Equal(["cali0 pfifo 2: root", "ens1 pfifo 3: root"], bench.Qdiscs(two).Keys.Where(NotLoopback).Order(StringComparer.Ordinal));
        Assert.Equal(["cali0", "lo", "net1"], bench.Devices(one).Keys.Order(StringComparer.Ordinal));
    }

    [LiveFact(Needs.NetNs, "tc")]
    public async Task A_device_that_is_moved_or_deleted_leaves_and_the_total_keeps_what_it_counted()
    {
        await using TestNamespace one = await TestNamespace.CreateAsync();
        await using TestNamespace two = await TestNamespace.CreateAsync();
        await one.AddPairAsync();
        await two.WithoutIpv6Async();
        await one.TcAsync("qdisc replace dev left root handle 1: pfifo");
        await using QdiscBench bench = await QdiscBench.StartAsync(one, two);
        await one.SendAsync(20, Frame);
        Assert.Equal(20ul, bench.Total(one).RootPackets.Value);

        await one.IpAsync("link", "set", "left", "netns", two.ProcessId.ToString(CultureInfo.InvariantCulture));

        Assert.Equal(["right noqueue 0: root"], bench.Qdiscs(one).Keys.Where(NotLoopback));
        Assert.Equal(20ul, bench.Total(one).RootPackets.Value);
        await two.IpAsync("link", "set", "left", "up");
        await two.TcAsync("qdisc replace dev left root handle 1: pfifo");
        Assert.Equal(["left pfifo 1: root"], bench.Qdiscs(two).Keys.Where(NotLoopback));
        Assert.Equal(0ul, bench.Total(two).RootPackets.Value);

        await two.IpAsync("link", "delete", "left"); // and its peer
        Assert.DoesNotContain(bench.Qdiscs(one).Keys, static k => NotLoopback(k));
        Assert.DoesNotContain(bench.Qdiscs(two).Keys, static k => NotLoopback(k));
        Assert.Equal(20ul, bench.Total(one).RootPackets.Value);

        // A new device with the old one's names and numbers adds what it counts itself.
        await one.AddPairAsync();
        await one.TcAsync("qdisc replace dev left root handle 1: pfifo");
        await one.SendAsync(5, Frame);
        Assert.Equal(5ul, bench.Qdiscs(one)["left pfifo 1: root"].Packets.Value);
        Assert.Equal(25ul, bench.Total(one).RootPackets.Value);
    }

    [LiveFact(Needs.NetNs, "tc")]
    public async Task Devices_may_come_go_and_be_renamed_while_they_are_sampled()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using QdiscBench bench = await QdiscBench.StartAsync(ns);
        string batch = Path.GetTempFileName();
        try
        {
            await File.WriteAllLinesAsync(batch, Enumerable.Range(0, 150).SelectMany(static i => (string[])
            [
                $"link add name a{i} type veth peer name b{i}",
                $"link set a{i} up",
                $"link set a{i} down", // before 6.2 one that is up cannot be renamed
                $"link set a{i} name c{i}",
                $"link set c{i} up",
                $"link delete c{i}",
            ]));
            Task<string> churn = ns.IpAsync("-batch", batch);
            int samples = 0;
            while (!churn.IsCompleted)
            {
                SampleRow<QdiscRecord>[] rows = bench.Rows(ns);
                Assert.All(rows.Where(static r => !r.Subject.Attributes.IsEmpty), static r => Assert.Matches("^(lo|[abc][0-9]+)$", r.Subject.Attributes[0].Value));
                samples++;
            }
            await churn;
            Assert.True(samples > 10);
        }
        finally
        {
            File.Delete(batch);
        }
        Assert.Equal(["lo"], bench.Devices(ns).Keys);
        Assert.DoesNotContain(bench.Qdiscs(ns).Keys, static k => NotLoopback(k));
    }

    [LiveFact(Needs.NetNs, "tc")]
    public async Task Hostile_device_names_are_told_apart_and_break_no_row()
    {
        string[] names = ["a\"b", "a\\b", "{x=\"1\"}", "a\u0001b", "é漢", "eth0\u2028"];
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        foreach (string name in names)
        {
            await ns.IpAsync("link", "add", "name", name, "type", "veth", "peer", "name", "p" + Array.IndexOf(names, name).ToString(CultureInfo.InvariantCulture));
            await ns.ExecuteAsync("tc", "qdisc", "replace", "dev", name, "root", "handle", "1:", "pfifo");
        }
        await using QdiscBench bench = await QdiscBench.StartAsync(ns);

        string[] shown = [.. bench.Rows(ns).Where(static r => r.Subject.Attributes.Length == 4 && r.Subject.Attributes[1].Value == "pfifo").Select(static r => r.Subject.Attributes[0].Value)];

        Assert.Equal(["a\"b", "a\\x5cb", "{x=\"1\"}", "a\\x01b", "é漢", "eth0\\xe2\\x80\\xa8"], shown);
    }

    [LiveFact(Needs.NetNs, "tc")]
    public async Task A_namespace_that_ends_is_no_problem()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using QdiscBench bench = await QdiscBench.StartAsync(ns);
        Assert.NotEmpty(bench.Rows(ns));
        NetworkNamespace known = bench.Source.Current[0];
        known.End(); // the source has not noticed yet

        SampleBatch<QdiscRecord> batch = bench.Probe.Sample();

        Assert.Equal((0, 1, 0, 0), (batch.Count, batch.Skips.Vanished, batch.Skips.Denied, batch.Skips.Malformed));
        bench.Source.Remove(known);
        Assert.False(bench.Probe.Sample().Skips.Any);
    }

    internal static bool NotLoopback(string key) => !key.StartsWith("lo ", StringComparison.Ordinal);

    /// <summary>A reading before tc's and one after it are the same.</summary>
    private static async Task<(Dictionary<string, QdiscRecord> Ours, Dictionary<string, JsonElement> Tc)> BesideTcAsync(QdiscBench bench, TestNamespace ns)
    {
        Dictionary<string, QdiscRecord> ours = [];
        Dictionary<string, JsonElement> tc = [];
        await Eventually.TrueAsync(
            async () =>
            {
                ours = bench.Qdiscs(ns);
                tc = await ns.TcQdiscsAsync();
                return bench.Qdiscs(ns).All(q => Counters(q.Value) == Counters(ours[q.Key]));
            },
            "the queues to be quiet");
        return (ours, tc);

        static (Reading, Reading, Reading, Reading, Reading) Counters(in QdiscRecord r) => (r.Packets, r.Drops, r.Overlimits, r.Requeues, r.QueueLength);
    }

    private static void AssertEqual(Dictionary<string, JsonElement> tc, Dictionary<string, QdiscRecord> ours)
    {
        Assert.Equal(tc.Keys.Order(StringComparer.Ordinal), ours.Keys.Where(static k => k.Split(' ').Length == 4).Order(StringComparer.Ordinal));
        foreach ((string key, JsonElement theirs) in tc)
            QdiscWitness.AssertLikeTc(key, theirs, ours[key]);
    }
}
