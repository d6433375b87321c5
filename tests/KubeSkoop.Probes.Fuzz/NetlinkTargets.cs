using System.Text;
using KubeSkoop.Probes.Netlink;

namespace KubeSkoop.Probes.Fuzz;

/// <summary>Promises about netlink messages: any bytes come to an end, and what is handed out lies within them.</summary>
internal static class NetlinkTargets
{
    private static readonly ConntrackFlowCount[] Counts = new ConntrackFlowCount[ConntrackFlows.Rows];

    internal static void Messages(ReadOnlySpan<byte> bytes)
    {
        var messages = new NetlinkMessages(bytes);
        int met = 0;
        NetlinkError? last = null;
        while (messages.MoveNext())
        {
            Targets.Promise(++met <= bytes.Length / NetlinkHeader.Size, "more messages than bytes");
            NetlinkMessage message = messages.Current;
            Targets.Promise(message.Payload.IsEmpty || bytes.Overlaps(message.Payload), "a payload that is not in the datagram");
            last = NetlinkError.Read(message, bytes, last, out NetlinkFault fault) ?? last;
            Targets.Promise(last is null || last.ToString().Length > 0, "an error without words");
            if (message.TryRead(out uint _, out NetlinkAttributes attributes))
                Targets.Promise(Walk(attributes, bytes) <= (long)bytes.Length * NetlinkAttributes.MaxDepth, "more attributes than bytes");
        }
        Targets.Promise(!messages.MoveNext(), "a walk that ended goes on");
    }

    internal static void Conntrack(ReadOnlySpan<byte> bytes)
    {
        var messages = new NetlinkMessages(bytes);
        var statistics = new ConntrackStatisticsVisitor();
        var global = new ConntrackGlobalVisitor();
        var flows = new ConntrackFlowVisitor(Counts);
        flows.Begin();
        ulong counted = 0;
        while (messages.MoveNext())
        {
            NetlinkMessage message = messages.Current;
            ConntrackEvent? e = ConntrackParser.Read(message, null, DateTimeOffset.UnixEpoch, null, out NetlinkFault fault);
            Targets.Promise(e is null || fault == NetlinkFault.None, $"an event with the fault {fault}");
            if (e is ConntrackExpectationEvent { Helper: { } helper }) Targets.Promise(!helper.Any(char.IsControl), "a name with control characters");
            _ = e?.ToString();
            statistics.Visit(message);
            global.Visit(message);
            if (flows.Visit(message)) counted++;
        }
        ulong sum = 0;
        foreach (ConntrackFlowCount count in Counts) sum += count.Flows;
        Targets.Promise(sum == counted, $"{counted} flows were taken, {sum} counted");
    }

    internal static void TcpSummary(ReadOnlySpan<byte> bytes)
    {
        var messages = new NetlinkMessages(bytes);
        var plain = new TcpTally();
        var detailed = new TcpTally();
        var listening = new ListenerTally();
        var connections = new ConnectionVisitor(ref plain, 1000, info: false);
        var connectionsInfo = new ConnectionVisitor(ref detailed, 1000, info: true);
        var listeners = new ListenerVisitor(ref listening);
        var top = new TopSockets(3, listeners: false);
        var sockets = new TopVisitor(top);
        long taken = 0;
        while (messages.MoveNext())
        {
            NetlinkMessage message = messages.Current;
            if (connections.Visit(message)) taken++;
            connectionsInfo.Visit(message);
            listeners.Visit(message);
            sockets.Visit(message);
        }
        long counted = 0;
        for (int state = 1; state < 16; state++) counted += plain.States[state];
        Targets.Promise(counted <= taken, $"{taken} sockets were taken, {counted} counted");
        Targets.Promise(plain.LargestReceiveQueue <= plain.ReceiveQueue && plain.LargestSendQueue <= plain.SendQueue, "one queue is larger than all");
        Targets.Promise(detailed.RoundTripTime.Sum >= detailed.RoundTripTime.Count, "round-trip times of nothing");
        _ = listening.Fullest.ToString();
        top.End(new NetworkNamespace(1, false, new NamespaceFacts(null, null, null, null)));
        Targets.Promise(top.Kept.Count <= 3, "more than the top");
        foreach (var (_, socket) in top.Kept) _ = $"{socket.Local} {socket.Remote}";
    }

    internal static void Qdisc(ReadOnlySpan<byte> bytes)
    {
        var messages = new NetlinkMessages(bytes);
        var ns = new NetworkNamespace(1, false, new NamespaceFacts(null, null, null, null));
        using var links = new NamespaceLinks(ns, TimeProvider.System);
        var entries = new QdiscEntries();
        var qdiscs = new QdiscVisitor(entries);
        var rows = new List<NetDevStatistics>();
        var statistics = new NetDevStatisticsVisitor(rows);
        int met = 0;
        while (messages.MoveNext())
        {
            met++;
            NetlinkMessage message = messages.Current;
            qdiscs.Visit(message);
            statistics.Visit(message);
            links.Learn(message);
        }
        Targets.Promise(entries.Count <= met && rows.Count <= met && links.All.Count <= met, "more rows than messages");
        var link = new Link(1, Link.KeyOf("eth0"u8), new SampleSubject(ns, new SampleAttribute(AttributeNames.Interface, "eth0")));
        foreach (ref readonly QdiscEntry entry in entries.All)
        {
            var qdisc = new Qdisc(entry.Key);
            qdisc.BelongsTo(ns, link);
            foreach (SampleAttribute attribute in qdisc.Subject!.Attributes) Targets.Promise(!attribute.Value.Any(char.IsControl), "an attribute with control characters");
            QdiscCounters growth = qdisc.Count(entry.Record);
            Targets.Promise(growth.Bytes == entry.Record.Bytes.GetValueOrDefault() && qdisc.Count(entry.Record).Bytes == 0, "a counter that grows by itself");
        }
        foreach (Link device in links.All) Targets.Promise(device.Name.Length > 0 && !device.Name.Any(char.IsControl), "a name with control characters, or none");
    }

    internal static void Ipvs(ReadOnlySpan<byte> bytes)
    {
        var messages = new NetlinkMessages(bytes);
        List<IpvsService> services = [];
        List<IpvsServer> servers = [];
        HashSet<IpvsServiceKey> serviceKeys = [];
        HashSet<IpvsServerKey> serverKeys = [];
        int met = 0;
        while (messages.MoveNext())
        {
            met++;
            NetlinkMessage message = messages.Current;
            new IpvsServiceVisitor(services, serviceKeys, message.Type, 100).Visit(message);
            new IpvsServerVisitor(servers, serverKeys, message.Type, new IpvsServiceKey(1, 2, 0, IpvsServiceKey.IPv6, 6)).Visit(message);
        }
        Targets.Promise(services.Count <= met && servers.Count <= met, "more rows than messages");
        using var ns = new IpvsNamespace(new NetworkNamespace(1, false, new NamespaceFacts(null, null, null, null)));
        foreach (IpvsService service in services)
            foreach (SampleAttribute attribute in ns.Meet(service).Attributes) Targets.Promise(!attribute.Value.Any(char.IsControl), "an attribute with control characters");
        foreach (IpvsServer server in servers)
            foreach (SampleAttribute attribute in ns.Meet(server).Attributes) Targets.Promise(!attribute.Value.Any(char.IsControl), "an attribute with control characters");
    }

    private static long Walk(NetlinkAttributes attributes, ReadOnlySpan<byte> bytes)
    {
        long met = 0;
        while (attributes.MoveNext())
        {
            met++;
            Targets.Promise(attributes.Value.IsEmpty || bytes.Overlaps(attributes.Value), "a value that is not in the message");
            _ = Encoding.UTF8.GetCharCount(attributes.Text());
            NetlinkAttributes values = attributes; // a copy, so that a short value does not end the walk
            _ = values.UInt32();
            _ = values.BigEndian64();
            NetlinkAttributes inside = attributes;
            NetlinkAttributes nested = inside.Nested();
            if (inside.Fault == NetlinkFault.None) met += Walk(nested, bytes);
        }
        return met;
    }
}
