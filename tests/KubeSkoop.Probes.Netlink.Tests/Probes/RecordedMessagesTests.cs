using System.Globalization;
using System.Text.RegularExpressions;

namespace KubeSkoop.Probes.Netlink.Tests;

/// <summary>Netlink messages recorded on each kernel of the matrix, beside what other programs said there of the same.</summary>
public sealed partial class RecordedMessagesTests
{
    public static TheoryData<string> Kernels => [.. Folders("ss.txt")];

    public static TheoryData<string> IpvsKernels => [.. Folders("ipvsadm.txt")];

    [Theory]
    [MemberData(nameof(Kernels))]
    public void Connections_are_those_of_ss(string folder)
    {
        string[][] ss = [.. Fixture.Text(folder + "ss.txt").Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries))];
        string[][] listening = [.. ss.Where(static l => l[0] == "LISTEN")], connected = [.. ss.Where(static l => l[0] is not ("LISTEN" or "State"))];
        foreach (bool info in (bool[])[false, true])
        {
            var tally = new TcpTally();
            var visitor = new ConnectionVisitor(ref tally, 500, info);
            Visit(folder + (info ? "tcp-connections-info.bin" : "tcp-connections.bin"), ref visitor);
            Assert.Equal((uint)connected.Count(static l => l[0] == "ESTAB"), tally.States[1]);
            Assert.Equal((uint)connected.Count(static l => l[0] == "CLOSE-WAIT"), tally.States[8]);
            Assert.Equal(connected.Length, Enumerable.Range(1, 11).Sum(s => (int)tally.States[s]));
            Assert.Equal((Sum(connected, 1), Sum(connected, 2)), (tally.ReceiveQueue, tally.SendQueue));
            Assert.Equal((778u, 1u), (tally.LargestReceiveQueue, tally.ReceiveQueuesAbove)); // of the scene: 777 bytes and a FIN
            Assert.Equal(info ? (ulong)connected.Length : 0, tally.RoundTripTime.Count);
        }
        var listeners = new ListenerTally();
        var listener = new ListenerVisitor(ref listeners);
        Visit(folder + "tcp-listeners.bin", ref listener);
        Assert.Equal(((uint)listening.Length, Sum(listening, 1), Sum(listening, 2)), (listeners.Count, listeners.Waiting, listeners.Limit));
        Assert.Equal((3u, 5u, "10.99.0.2:8000"), (listeners.FullestWaiting, listeners.FullestLimit, listeners.Fullest.ToString()));

        static ulong Sum(string[][] lines, int column) => lines.Aggregate(0ul, (sum, l) => sum + ulong.Parse(l[column], CultureInfo.InvariantCulture));
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void Tracked_flows_are_those_of_conntrack(string folder)
    {
        var theirs = new List<string>();
        foreach (Match flow in Flow().Matches(Fixture.Text(folder + "conntrack.txt")))
            theirs.Add($"{flow.Groups["protocol"]} {flow.Groups["state"]} {flow.Groups["source"]} {flow.Groups["destination"]} {flow.Groups["packets"]}/{flow.Groups["bytes"]} {!flow.Groups["unreplied"].Success} {flow.Groups["assured"].Success}");
        var ours = new List<string>();
        var messages = new NetlinkMessages(Fixture.Bytes(folder + "conntrack-dump.bin"));
        while (messages.MoveNext())
        {
            var e = Assert.IsAssignableFrom<ConntrackFlowEvent>(ConntrackParser.Read(messages.Current, null, DateTimeOffset.UnixEpoch, null, out NetlinkFault fault));
            Assert.Equal(NetlinkFault.None, fault);
            FlowTuple flow = e.Original;
            string state = e.TcpState?.ToString().ToUpperInvariant() ?? string.Empty;
            ours.Add($"{flow.ProtocolName.ToLowerInvariant()} {state} {flow.Source.Address} {flow.Destination.Address} {e.OriginalTraffic!.Value.Packets}/{e.OriginalTraffic.Value.Bytes} {e.Status.HasFlag(ConntrackStatus.SeenReply)} {e.Status.HasFlag(ConntrackStatus.Assured)}");
        }
        Assert.Equal(NetlinkFault.None, messages.Fault);
        Assert.Equal(4, theirs.Count);
        Assert.Equal(theirs.Order(StringComparer.Ordinal), ours.Order(StringComparer.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void Statistics_have_the_columns_that_conntrack_shows(string folder)
    {
        string[] lines = Fixture.Text(folder + "conntrack-S.txt").Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var statistics = new ConntrackStatisticsVisitor();
        var messages = new NetlinkMessages(Fixture.Bytes(folder + "conntrack-stats-cpu.bin"));
        int cpus = 0;
        for (; messages.MoveNext(); cpus++) Assert.True(statistics.Visit(messages.Current));
        Assert.Equal(lines.Length, cpus);
        var state = new ConntrackNamespace(new NetworkNamespace(1, true, new NamespaceFacts(null, null, null, null)));
        state.Fold(statistics.Sums);
        var record = default(ConntrackRecord);
        state.Write(ref record);
        foreach ((string name, Reading value) in ((string, Reading)[])
            [("found", record.Found), ("invalid", record.Invalid), ("insert", record.Inserted), ("insert_failed", record.InsertFailed), ("drop", record.Dropped), ("early_drop", record.DroppedEarly), ("error", record.Errors),
            ("search_restart", record.SearchRestarts), ("clash_resolve", record.ClashesResolved), ("chaintoolong", record.ChainsTooLong)])
        {
            ulong?[] theirs = [.. lines.Select(l => Regex.Match(l, $@"\b{name}=(\d+)") is { Success: true } found ? ulong.Parse(found.Groups[1].ValueSpan, CultureInfo.InvariantCulture) : (ulong?)null)];
            Assert.Equal((name, theirs[0] is null ? null : theirs.Aggregate((ulong?)0, static (sum, v) => sum + v)), (name, value.ToNullable()));
        }
    }

    [Theory]
    [MemberData(nameof(IpvsKernels))]
    public void Services_and_servers_are_those_of_ipvsadm(string folder)
    {
        List<IpvsService> services = [];
        ushort family = FamilyOf(folder + "ipvs-services.bin");
        var visitor = new IpvsServiceVisitor(services, [], family, 100);
        Visit(folder + "ipvs-services.bin", ref visitor);
        string text = Fixture.Text(folder + "ipvsadm.txt");
        Assert.Equal(["FWM 7 wrr", "TCP 127.0.0.1:80 rr", "TCP [::1]:80 lc"], services.Select(static s => $"{s.Key} {IpvsMessages.NameOf(s.Scheduler)}").Order(StringComparer.Ordinal));
        IpvsService ours = services.Single(static s => s.Key.ToString() == "TCP 127.0.0.1:80");
        Assert.Equal(Numbers(text, @"^TCP +127\.0\.0\.1:80((?: +\d+){5})"), Numbers(ours.Counts));
        Assert.Equal(3ul, ours.Counts.Connections.Value); // of the scene

        List<IpvsServer> servers = [];
        var listed = new IpvsServerVisitor(servers, [], family, ours.Key);
        Visit(folder + "ipvs-servers.bin", ref listed);
        Assert.Equal(["127.0.0.1:8000", "127.0.0.1:8001"], servers.Select(static s => s.Key.ToString()).Order(StringComparer.Ordinal));
        foreach (IpvsServer server in servers)
        {
            string name = Regex.Escape(server.Key.ToString());
            Assert.Equal(Numbers(text, $@"^  -> {name}((?: +\d+){{5}})"), Numbers(server.Record.Server));
            Assert.Equal(Numbers(text, $@"^  -> {name} +(?:Masq|Local)((?: +\d+){{3}})"), [(long)server.Record.Weight.Value, (long)server.Record.ActiveConnections.Value, (long)server.Record.InactiveConnections.Value]);
        }
    }

    /// <summary>The family's number on the kernel that wrote the messages.</summary>
    internal static ushort FamilyOf(string path)
    {
        var messages = new NetlinkMessages(Fixture.Bytes(path));
        Assert.True(messages.MoveNext());
        return messages.Current.Type;
    }

    private static IEnumerable<string> Folders(string witness) => Fixture.Named("netlink/" + witness).Select(path => path[..^witness.Length]);

    private static IEnumerable<long> Numbers(string text, string pattern)
    {
        Match found = Regex.Match(text, pattern, RegexOptions.Multiline);
        Assert.True(found.Success, pattern);
        return found.Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(static n => long.Parse(n, CultureInfo.InvariantCulture));
    }

    private static IEnumerable<long> Numbers(IpvsCounts c) =>
        [(long)c.Connections.Value, (long)c.IncomingPackets.Value, (long)c.OutgoingPackets.Value, (long)c.IncomingBytes.Value, (long)c.OutgoingBytes.Value];

    private static void Visit<TVisitor>(string path, ref TVisitor visitor)
        where TVisitor : struct, INetlinkVisitor, allows ref struct
    {
        visitor.Begin();
        var messages = new NetlinkMessages(Fixture.Bytes(path));
        while (messages.MoveNext()) Assert.True(visitor.Visit(messages.Current));
        Assert.Equal(NetlinkFault.None, messages.Fault);
    }

    [GeneratedRegex(@"^(?<protocol>\w+) +\d+ +\d+ (?<state>[A-Z_]*) ?src=(?<source>\S+) dst=(?<destination>\S+) .*?packets=(?<packets>\d+) bytes=(?<bytes>\d+) (?<unreplied>\[UNREPLIED\] )?src=[^\[\n]*(?<assured>\[ASSURED\])?", RegexOptions.Multiline)]
    private static partial Regex Flow();
}
