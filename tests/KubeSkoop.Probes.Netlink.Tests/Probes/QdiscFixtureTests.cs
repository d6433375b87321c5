using System.Text.Json;
using KubeSkoop.Probes.Netlink.Tests.Live;

namespace KubeSkoop.Probes.Netlink.Tests;

/// <summary>What other kernels sent (5.10, 6.1, 6.12), and what <c>tc</c> made of it there.</summary>
public sealed class QdiscFixtureTests
{
    public static TheoryData<string> Dumps => [.. ((string[])["fq", "fq_codel", "prio", "mq", "htb"]).SelectMany(static name => Fixture.Named($"netlink/qdisc-{name}.bin"))];

    public static TheoryData<string> ClassDumps => [.. Fixture.Named("netlink/qdisc-htb-classes.bin")];

    [Theory]
    [MemberData(nameof(Dumps))]
    public void A_captured_dump_says_what_tc_said(string path)
    {
        using JsonDocument json = JsonDocument.Parse(Fixture.Text(Path.ChangeExtension(path, ".json")));
        QdiscEntry[] entries = Read(path);
        int device = Assert.Single(entries, static e => e.Key.Handle == 0x0001_0000).Key.Device; // tc was asked for this one only
        QdiscEntry[] ours = [.. entries.Where(e => e.Key.Device == device)];
        Assert.Equal(json.RootElement.GetArrayLength(), ours.Length);
        for (int i = 0; i < ours.Length; i++)
        {
            JsonElement theirs = json.RootElement[i];
            Assert.Equal(Link.KeyOf(System.Text.Encoding.ASCII.GetBytes(theirs.GetProperty("kind").GetString()!)), ours[i].Key.Kind);
            QdiscWitness.AssertLikeTc(path, theirs, ours[i].Record);
        }
        if (path.EndsWith("fq.bin", StringComparison.Ordinal))
        {
            QdiscRecord fq = ours[0].Record;
            Assert.Equal((6ul, 36ul, 12ul), (fq.FqThrottledFlows.Value, fq.FqFlowLimitDrops.Value, fq.FqThrottled.Value)); // tc prints two things as 'throttled'
            Assert.Equal((true, true, path.StartsWith("6.12", StringComparison.Ordinal)), (fq.FqCongestionMarks.HasValue, fq.FqHorizonCaps.HasValue, fq.FqFastPathPackets.HasValue));
        }
    }

    [Theory]
    [MemberData(nameof(ClassDumps))]
    public void A_captured_dump_of_classes_says_what_tc_said(string path)
    {
        Dictionary<string, Dictionary<string, long>> tc = QdiscWitness.Classes(Fixture.Text(Path.ChangeExtension(path, ".txt")));
        QdiscEntry[] ours = Read(path);
        Assert.Equal(2, ours.Length);
        Assert.All(ours, static e => Assert.True(e.Key.IsClass));
        QdiscWitness.AssertLikeTc(tc["1:1 1:10"], ours.Single(static e => e.Key.Handle == 0x0001_0010).Record);
        QdiscWitness.AssertLikeTc(tc["root 1:1"], ours.Single(static e => e.Key.Handle == 0x0001_0001).Record);
    }

    private static QdiscEntry[] Read(string path)
    {
        var entries = new QdiscEntries();
        var visitor = new QdiscVisitor(entries);
        visitor.Begin();
        var messages = new NetlinkMessages(Fixture.Bytes(path));
        while (messages.MoveNext() && messages.Current.Type != NetlinkMessageType.Done) Assert.True(visitor.Visit(messages.Current));
        Assert.Equal(NetlinkFault.None, messages.Fault);
        return entries.All.ToArray();
    }
}
