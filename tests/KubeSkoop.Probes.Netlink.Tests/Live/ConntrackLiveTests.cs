using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>conntrack beside <c>conntrack -S</c>, <c>-C</c> and <c>-L</c>, with real flows.</summary>
public sealed class ConntrackLiveTests
{
    [LiveFact(Needs.NetNs | Needs.Ipv6, "conntrack", "nft")]
    public async Task Counters_entries_and_limit_are_the_namespaces_own()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using TestNamespace idle = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await using ConntrackBench bench = await ConntrackBench.StartAsync(ns, idle);

        await ns.TcpConnectionsAsync(5);
        await ns.TcpConnectionsAsync(3, IPAddress.IPv6Loopback);
        using Socket silent = await ns.BindUdpAsync(new IPEndPoint(IPAddress.Loopback, 0));
        await ns.SendUdpAsync(4, (IPEndPoint)silent.LocalEndPoint!); // one flow

        ConntrackRecord record = bench.Record(ns);
        Assert.Equal(9ul, record.Entries.Value);
        Assert.Equal(await ns.ConntrackCountAsync(), record.Entries.Value);
        ulong limit = ulong.Parse(await ns.ExecuteAsync("cat", "/proc/sys/net/netfilter/nf_conntrack_max"), System.Globalization.CultureInfo.InvariantCulture);
        Assert.Equal(limit, record.Maximum.Value);
        Assert.Equal(9.0 / limit, record.Usage);
        await AssertLikeWitnessAsync(ns, record);

        Assert.Equal(0ul, bench.Record(idle).Entries.Value);
        Assert.False(record.LostEvents.HasValue);
        Assert.False(record.Flows.HasValue);
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task Packets_that_belong_to_no_connection_are_counted_as_invalid()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await ns.ExecuteAsync("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0");
        await using ConntrackBench bench = await ConntrackBench.StartAsync(ns);
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0));
        using Socket client = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
        using Socket server = await listener.AcceptAsync();
        Assert.Equal(0ul, bench.Record(ns).Invalid.Value);

        // In the middle of a connection nobody has seen begin: data, and what answers it.
        await ns.ConntrackAsync("-F");
        client.Send("x"u8);
        server.Receive(new byte[1]);

        ConntrackRecord record = bench.Record(ns);
        Assert.InRange(record.Invalid.Value, 2ul, 8ul);
        await AssertLikeWitnessAsync(ns, bench.Record(ns));
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "conntrack", "nft")]
    public async Task Flows_are_counted_by_protocol_state_and_flags()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await FillAsync(ns);
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Entries = true }, ns);
        Dictionary<string, ConntrackRecord> flows = await CountedAsync(bench, ns);

        string[] lines = await ns.ConntrackListAsync();
        Assert.Equal(
            lines.GroupBy(static l => Key(l)).OrderBy(static g => g.Key, StringComparer.Ordinal).Select(static g =>
                $"{g.Key}: {g.Count()} {g.Count(static l => l.Contains("[UNREPLIED]", StringComparison.Ordinal))} {g.Count(static l => l.Contains("[ASSURED]", StringComparison.Ordinal))}"),
            flows.OrderBy(static f => f.Key, StringComparer.Ordinal).Select(static f => $"{f.Key}: {f.Value.Flows} {f.Value.FlowsUnreplied} {f.Value.FlowsAssured}"));

        Assert.Equal((2ul, 0ul, 2ul), (flows["tcp established"].Flows.Value, flows["tcp established"].FlowsUnreplied.Value, flows["tcp established"].FlowsAssured.Value));
        Assert.Equal((1ul, 1ul, 0ul), (flows["tcp syn_sent"].Flows.Value, flows["tcp syn_sent"].FlowsUnreplied.Value, flows["tcp syn_sent"].FlowsAssured.Value));
        Assert.Equal(3ul, flows["udp"].Flows.Value);
        Assert.Equal((1ul, 1ul), (flows["udp"].FlowsSourceNat.Value, flows["udp"].FlowsDestinationNat.Value));
        Assert.Equal(1ul, flows["icmp"].Flows.Value);
        Assert.Equal(1ul, flows["icmpv6"].Flows.Value);
        Assert.Equal(1ul, flows["sctp"].Flows.Value);
        ConntrackRecord record = bench.Record(ns);
        Assert.Equal(record.Entries.Value, flows.Values.Aggregate(0ul, static (sum, f) => sum + f.Flows.Value));

        // The numbers grow old until they are counted again; a row that was there stays and goes to 0.
        Assert.Equal(0ul, record.FlowsAge.Value);
        bench.Clock.Advance(TimeSpan.FromSeconds(59));
        Assert.Equal(59_000ul, bench.Record(ns).FlowsAge.Value);
        await ns.ConntrackAsync("-F");
        Assert.Equal(2ul, bench.Flows(ns)["tcp established"].Flows.Value);
        bench.Clock.Advance(TimeSpan.FromSeconds(1));
        await Eventually.TrueAsync(() => bench.Record(ns).FlowsAge.Value == 0, "the flows to be counted again");
        Assert.All(bench.Flows(ns).Values, static f => Assert.Equal((0ul, 0ul), (f.Flows.Value, f.FlowsAssured.Value)));
        Assert.Equal(flows.Count, bench.Flows(ns).Count);
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "conntrack", "nft")]
    public async Task Flows_of_one_protocol_are_filtered_by_the_kernel()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await FillAsync(ns);
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Entries = true, EntriesProtocol = 17 }, ns);

        Dictionary<string, ConntrackRecord> flows = await CountedAsync(bench, ns);

        Assert.Equal(["udp"], flows.Keys);
        Assert.Equal(3ul, flows["udp"].Flows.Value); // over IPv4 and IPv6
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task A_namespace_without_entries_is_not_dumped_and_counts_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Entries = true }, ns);

        Assert.Empty(await CountedAsync(bench, ns));

        Assert.Equal(0ul, bench.Record(ns).FlowsAge.Value);
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task Sampling_allocates_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await FillAsync(ns);
        await using ConntrackBench bench = await ConntrackBench.StartAsync(new ConntrackOptions { Entries = true, Events = ConntrackNotices.All }, ns);
        await CountedAsync(bench, ns);
        var batch = new SampleBatch<ConntrackRecord>();

        Check.Quiet(() => bench.Probe.Sample(batch));

        Assert.True(batch.Count > 5);
    }

    [LiveFact(Needs.NetNs)]
    public async Task Without_CAP_NET_ADMIN_the_probe_is_unavailable_and_says_why()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using ConntrackBench bench = ConntrackBench.Make(ns);

        Task start = await Capabilities.RunWithoutAsync(() => bench.Probe.StartAsync(), Capability.NetAdmin);
        ProbeUnavailableException e = await Assert.ThrowsAsync<ProbeUnavailableException>(() => start);

        Assert.StartsWith($"conntrack: connection tracking cannot be asked: netlink Netfilter socket of {ns.Name} (net:[{ns.Inode}]): EPERM, CAP_NET_ADMIN is missing. Give the process CAP_NET_ADMIN", e.Message, StringComparison.Ordinal);
        Assert.Equal(1, Assert.IsType<NetlinkException>(e.InnerException).ErrorNumber);
        Assert.Equal(ProbeState.Unavailable, bench.Probe.Status.State);
        Assert.Equal(0, bench.Source.Leases);
        await bench.Probe.StartAsync(); // with it, it starts
        Assert.Equal(0ul, bench.Record(ns).Entries.Value);
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task A_full_table_that_drops_is_told()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await using ConntrackBench bench = await ConntrackBench.StartAsync(ns);
        using EventSubscription<ConntrackEvent> events = bench.Probe.Subscribe();
        ulong limit = ulong.Parse(await ns.ExecuteAsync("cat", "/proc/sys/net/netfilter/nf_conntrack_max"), System.Globalization.CultureInfo.InvariantCulture);
        Assert.InRange(limit, 1ul, 2_000_000ul); // each of them is made

        // Before the first sample and the first look at the counters: what comes after the start is news all the same.
        // Entries with traffic both ways are not thrown out for new ones.
        await ns.RunAsync(() => ConntrackFiller.Fill((int)limit, ConntrackStatus.SeenReply | ConntrackStatus.Assured | ConntrackStatus.Confirmed));
        await Assert.ThrowsAnyAsync<SocketException>(() => ns.SendUdpAsync(3, new IPEndPoint(IPAddress.Loopback, 9))); // the first is refused

        ConntrackRecord record = bench.Record(ns);
        await AssertLikeWitnessAsync(ns, record);
        Assert.Equal(1ul, record.Dropped.Value);
        Assert.Equal(limit, record.Entries.Value);
        Assert.Equal(1.0, record.Usage);
        Assert.Equal(limit, await ns.ConntrackCountAsync());
        bench.Clock.Advance(TimeSpan.FromSeconds(10));
        var full = Assert.IsType<ConntrackTableFullEvent>(await NextAsync(events));
        Assert.Equal((1ul, 0ul, (ulong?)limit, (ulong?)limit), (full.Dropped, full.DroppedEarly, full.Entries, full.Maximum));
        Assert.Equal(ns.Inode, full.Namespace!.Inode);
        Assert.Equal(bench.Clock.GetUtcNow(), full.Timestamp);

        // Nothing more has happened: nothing more is told.
        await CheckAsync(bench);
        Assert.False(events.Reader.TryRead(out _));
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task A_full_table_that_makes_room_is_told()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TrackAsync();
        await using ConntrackBench bench = await ConntrackBench.StartAsync(ns);
        using EventSubscription<ConntrackEvent> events = bench.Probe.Subscribe();
        ulong limit = bench.Record(ns).Maximum.Value;
        Assert.InRange(limit, 1ul, 2_000_000ul);

        // Entries without an answer are thrown out for new ones, where one is found nearby.
        await ns.RunAsync(() => ConntrackFiller.Fill((int)limit, ConntrackStatus.Confirmed));
        using Socket server = await ns.BindUdpAsync(new IPEndPoint(IPAddress.Loopback, 0));
        for (int i = 0; i < 20; i++)
        {
            try
            {
                await ns.SendUdpAsync(1, (IPEndPoint)server.LocalEndPoint!);
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.AccessDenied)
            {
                // Nothing could be thrown out nearby: refused, and counted as a drop.
            }
        }

        ConntrackRecord record = bench.Record(ns);
        Assert.InRange(record.DroppedEarly.Value, 15ul, 200ul);
        await AssertLikeWitnessAsync(ns, record);
        await CheckAsync(bench);
        var full = Assert.IsType<ConntrackTableFullEvent>(await NextAsync(events));
        Assert.Equal(record.DroppedEarly.Value, full.DroppedEarly);
        Assert.False(events.Reader.TryRead(out _));
    }

    [LiveFact(Needs.NetNs, "conntrack", "iptables")]
    public async Task Packets_that_race_for_one_entry_fail_to_insert_and_that_is_told()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.ExecuteAsync("iptables", "-t", "mangle", "-A", "OUTPUT", "-p", "tcp", "--dport", "7777", "-m", "conntrack", "--ctstate", "NEW", "-j", "NFQUEUE", "--queue-num", "1");
        await ns.ExecuteAsync("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "7777", "-j", "DROP"); // an answer would end the first's entry
        await using ConntrackBench bench = await ConntrackBench.StartAsync(ns);
        using EventSubscription<ConntrackEvent> events = bench.Probe.Subscribe();
        Assert.Equal(0ul, bench.Record(ns).InsertFailed.Value);
        using PacketQueue queue = await ns.RunAsync(static () => new PacketQueue(1));

        // Two SYNs of one connection wait at the same place: both are new, the second finds the first's entry taken.
        await ns.RunAsync(static () =>
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Raw, ProtocolType.Tcp);
            byte[] syn = [0x30, 0x39, 0x1e, 0x61, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0];
            ushort sum = Checksum(syn);
            syn[16] = (byte)(sum >> 8);
            syn[17] = (byte)sum;
            for (int i = 0; i < 2; i++) socket.SendTo(syn, new IPEndPoint(IPAddress.Loopback, 0));
        });
        await queue.ReleaseAsync(2);

        ConntrackRecord record = bench.Record(ns);
        await AssertLikeWitnessAsync(ns, record);
        // Older kernels let the second have the first's entry, and count nothing, as their witness says.
        if (Environment.OSVersion.Version < new Version(6, 18) && record is { InsertFailed.Value: 0, Dropped.Value: 0 }) return;
        Assert.Equal((1ul, 1ul), (record.InsertFailed.Value, record.Dropped.Value));
        await CheckAsync(bench);
        var failed = Assert.IsType<ConntrackInsertFailedEvent>(await NextAsync(events));
        Assert.Equal((1ul, 0ul, ns.Inode), (failed.InsertFailed, failed.ChainsTooLong, failed.Namespace!.Inode));
        Assert.False(events.Reader.TryRead(out _)); // the drop is the failed insertion's, the table is not full

        static ushort Checksum(byte[] tcp)
        {
            // The pseudo header: 127.0.0.1 twice, protocol 6, length 20.
            uint sum = (0x7f00 + 1) * 2 + 6 + (uint)tcp.Length;
            for (int i = 0; i < tcp.Length; i += 2) sum += (uint)((tcp[i] << 8) | tcp[i + 1]);
            while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
            return (ushort)~sum;
        }
    }

    [LiveFact(Needs.NetNs, "conntrack", "nft")]
    public async Task A_round_of_counting_that_takes_too_long_goes_on_with_the_next_namespace()
    {
        await using TestNamespace one = await TestNamespace.CreateAsync();
        await using TestNamespace two = await TestNamespace.CreateAsync();
        await using TestNamespace three = await TestNamespace.CreateAsync();
        await using TestNamespace empty = await TestNamespace.CreateAsync();
        foreach (TestNamespace ns in (TestNamespace[])[one, two, three]) await ns.RunAsync(() => ConntrackFiller.Fill(2, ConntrackStatus.Confirmed));
        var source = new FakeNamespaceSource { Opener = NetlinkTableTests.Opener(one, two, three, empty) };
        var candidates = new List<(ConntrackNamespace State, Reading Entries)>();
        foreach (TestNamespace ns in (TestNamespace[])[one, two, empty, three])
            candidates.Add((new ConntrackNamespace(source.Add(ns.Inode)), ns == empty ? 0 : 2ul));
        // Every look at this clock takes a second.
        var clock = new Microsoft.Extensions.Time.Testing.FakeTimeProvider { AutoAdvanceAmount = TimeSpan.FromSeconds(1) };
        var settings = new NetlinkSettings();
        using var counter = new ConntrackCounter(source, settings, new ConntrackOptions { EntriesTimeBudget = TimeSpan.FromMilliseconds(500) }, clock);
        var gate = new Lock();

        var counted = new List<string>();
        for (int round = 0; round < 5; round++)
        {
            foreach ((ConntrackNamespace state, _) in candidates) state.Flows = null;
            counter.Count(source.Current, candidates, gate);
            counted.Add(string.Concat(candidates.Select(static c => c.State.Flows is null ? '-' : 'x')));
            Assert.All(candidates, static c => Assert.Null(c.State.FlowsProblem));
        }

        // One each round, and the empty one for nothing when it is passed.
        Assert.Equal(["x---", "-xx-", "---x", "x---", "-xx-"], counted);
        Assert.Equal(3, settings.Counts.Opened);
    }

    private static async Task CheckAsync(ConntrackBench bench)
    {
        long before = bench.Settings.Counts.Requests;
        bench.Clock.Advance(TimeSpan.FromSeconds(10));
        await Eventually.TrueAsync(() => bench.Settings.Counts.Requests >= before + 2, "the counters to be looked at");
        bench.Probe.Sample(); // takes the lock the look holds, so that it is over
    }

    private static async Task<ConntrackEvent> NextAsync(EventSubscription<ConntrackEvent> events)
    {
        using var limit = new CancellationTokenSource(Eventually.DefaultTimeout);
        return await events.Reader.ReadAsync(limit.Token);
    }

    private static async Task<Dictionary<string, ConntrackRecord>> CountedAsync(ConntrackBench bench, TestNamespace ns)
    {
        await Eventually.TrueAsync(() => bench.Record(ns).FlowsAge.HasValue, "the flows to be counted");
        return bench.Flows(ns);
    }

    private static async Task FillAsync(TestNamespace ns)
    {
        string[] entries =
        [
            "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 80 --state ESTABLISHED -u SEEN_REPLY,ASSURED",
            "-p tcp -s fd00::1 -d fd00::2 --sport 1000 --dport 80 --state ESTABLISHED -u SEEN_REPLY,ASSURED",
            "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1001 --dport 80 --state SYN_SENT",
            "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1002 --dport 80 --state SYN_RECV -u SEEN_REPLY",
            "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1003 --dport 80 --state FIN_WAIT -u SEEN_REPLY,ASSURED",
            "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1004 --dport 80 --state CLOSE_WAIT -u SEEN_REPLY,ASSURED",
            "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1005 --dport 80 --state LAST_ACK -u SEEN_REPLY,ASSURED",
            "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1006 --dport 80 --state TIME_WAIT -u SEEN_REPLY,ASSURED",
            "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1007 --dport 80 --state CLOSE -u SEEN_REPLY",
            "-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1000 --dport 53 --src-nat 10.0.0.9",
            "-p udp -s 10.0.0.3 -d 10.0.0.2 --sport 1000 --dport 53 --dst-nat 10.0.0.8 -u SEEN_REPLY",
            "-p udp -s fd00::1 -d fd00::2 --sport 1000 --dport 53",
            "-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 77",
            "-p icmpv6 -s fd00::1 -d fd00::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 78",
            "-p sctp -s 10.0.0.1 -d 10.0.0.2 --orig-port-src 1000 --orig-port-dst 99 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2",
        ];
        foreach (string entry in entries) await ns.ConntrackAsync($"-I {entry} -t 600");
    }

    private static string Key(string line)
    {
        string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return words[0] == "tcp" ? $"tcp {words[3].ToLowerInvariant()}" : words[0];
    }

    private static async Task AssertLikeWitnessAsync(TestNamespace ns, ConntrackRecord record)
    {
        IReadOnlyDictionary<string, ulong> witness = await ns.ConntrackStatisticsAsync();
        Assert.Equal(
            (witness["found"], witness["invalid"], witness["insert"], witness["insert_failed"], witness["drop"], witness["early_drop"], witness["error"], witness["search_restart"]),
            (record.Found.Value, record.Invalid.Value, record.Inserted.Value, record.InsertFailed.Value, record.Dropped.Value, record.DroppedEarly.Value, record.Errors.Value, record.SearchRestarts.Value));
        if (witness.TryGetValue("clash_resolve", out ulong clashes)) Assert.Equal(clashes, record.ClashesResolved.Value);
        if (witness.TryGetValue("chaintoolong", out ulong chains)) Assert.Equal(chains, record.ChainsTooLong.Value);
    }
}
