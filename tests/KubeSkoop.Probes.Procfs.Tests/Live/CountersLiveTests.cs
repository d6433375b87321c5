using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>tcp, udp, ip, icmp, tcpext and mptcp: known traffic gives exact numbers, and every column is what <c>nstat</c> says.</summary>
public sealed class CountersLiveTests
{
    [LiveFact(Needs.NetNs, "nstat")]
    public async Task Tcp_connections_are_counted_exactly()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("tcp");
        TcpRecord before = probes.Record<TcpRecord>("tcp", ns);
        Assert.Equal(0ul, before.ActiveOpens.Value);
        await ns.TcpConnectionsAsync(5);
        await ns.RefusedConnectionsAsync(3, new IPEndPoint(IPAddress.Loopback, 9));
        if (Machine.Lacks(Needs.Ipv6) is null) await ns.TcpConnectionsAsync(2, IPAddress.IPv6Loopback);
        ulong six = Machine.Lacks(Needs.Ipv6) is null ? 2ul : 0;

        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0));
        using Socket held = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
        using Socket accepted = await listener.AcceptAsync();

        (TcpRecord[] ours, var nstat) = await probes.BesideNstatAsync<TcpRecord>("tcp", ns);
        TcpRecord tcp = Assert.Single(ours);
        Assert.Equal(5 + 3 + six + 1, tcp.ActiveOpens.Value); // IPv4 and IPv6 in one row
        Assert.Equal(5 + six + 1, tcp.PassiveOpens.Value);
        Assert.Equal(3ul, tcp.FailedConnectionAttempts.Value);
        Assert.Equal(3ul, tcp.OutResets.Value);
        Assert.Equal(2ul, tcp.CurrentEstablished.Value); // both ends are here
        Assert.InRange(LiveProbes.AssertEqual(tcp, TcpRecord.Columns, 0, nstat), 9, TcpRecord.Columns.SlotCount);
    }

    [LiveFact(Needs.NetNs, "nstat")]
    public async Task Segments_into_a_black_hole_are_retransmitted_and_told_by_kind()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("tcp", "tcpext");
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = await listener.AcceptAsync();
            Assert.Equal(0ul, probes.Record<TcpRecord>("tcp", left).RetransmittedSegments.Value);

            await right.IpAsync("route", "add", "blackhole", "10.99.0.1/32"); // its acknowledgements go nowhere
            client.Send([1]);
            await Eventually.TrueAsync(() => probes.Record<TcpRecord>("tcp", left).RetransmittedSegments.Value >= 3, "three retransmissions");

            (TcpRecord[] tcp, var nstat) = await probes.BesideNstatAsync<TcpRecord>("tcp", left);
            Assert.Equal(nstat["TcpRetransSegs"], tcp[0].RetransmittedSegments.Value);
            (TcpExtRecord[] ext, nstat) = await probes.BesideNstatAsync<TcpExtRecord>("tcpext", left);
            Assert.True(nstat["TcpExtTCPTimeouts"] > 0);
            LiveProbes.AssertEqual(ext[0], TcpExtRecord.Columns, 0, nstat);
            Assert.Equal(0ul, probes.Record<TcpRecord>("tcp", right).RetransmittedSegments.Value); // whose trouble it is
        }
    }

    [LiveFact(Needs.NetNs, "nstat")]
    public async Task A_full_accept_queue_overflows()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("tcpext");
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0), backlog: 0);
        using Socket first = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!); // fills it: nobody accepts
        Assert.Equal(0ul, probes.Record<TcpExtRecord>("tcpext", ns).ListenOverflows.Value);
        using Socket second = await ns.RunAsync(() => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp));
        second.Blocking = false;
        Assert.Equal(SocketError.InProgress, Connect(second, listener.LocalEndPoint!));

        await Eventually.TrueAsync(() => probes.Record<TcpExtRecord>("tcpext", ns).ListenOverflows.Value > 0, "an overflow");
        (TcpExtRecord[] ours, var nstat) = await probes.BesideNstatAsync<TcpExtRecord>("tcpext", ns);
        Assert.Equal(nstat["TcpExtListenOverflows"], ours[0].ListenOverflows.Value);
        Assert.Equal(nstat["TcpExtListenDrops"], ours[0].ListenDrops.Value);

        static SocketError Connect(Socket socket, EndPoint to)
        {
            try
            {
                socket.Connect(to);
                return SocketError.Success;
            }
            catch (SocketException e)
            {
                return e.SocketErrorCode == SocketError.WouldBlock ? SocketError.InProgress : e.SocketErrorCode;
            }
        }
    }

    [LiveFact(Needs.NetNs, "nstat")]
    public async Task Every_TcpExt_and_MPTcpExt_column_of_this_kernel_is_what_nstat_says()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("tcpext", "mptcp");
        await ns.TcpConnectionsAsync(3);

        (TcpExtRecord[] ext, var nstat) = await probes.BesideNstatAsync<TcpExtRecord>("tcpext", ns);
        string[] others = [.. ((TcpExtProbe)probes.Manager.Find("tcpext")!).OtherColumns];
        int both = LiveProbes.AssertEqual(ext[0], TcpExtRecord.Columns, 0, nstat);
        for (int i = 0; i < others.Length; i++)
        {
            if (!nstat.TryGetValue("TcpExt" + others[i], out ulong expected)) continue;
            Assert.Equal((others[i], new Reading(expected)), (others[i], ext[0].Other(i)));
            both++;
        }
        Assert.Equal(nstat.Keys.Count(static k => k.StartsWith("TcpExt", StringComparison.Ordinal)), both);

        (MptcpRecord[] mptcp, nstat) = await probes.BesideNstatAsync<MptcpRecord>("mptcp", ns);
        string[] columns = [.. ((MptcpProbe)probes.Manager.Find("mptcp")!).Columns];
        string[] known = [.. nstat.Keys.Where(static k => k.StartsWith("MPTcpExt", StringComparison.Ordinal))];
        Assert.Equal(known.Order(StringComparer.Ordinal), columns.Select(static c => "MPTcpExt" + c).Order(StringComparer.Ordinal));
        for (int i = 0; i < columns.Length; i++) Assert.Equal((columns[i], new Reading(nstat["MPTcpExt" + columns[i]])), (columns[i], mptcp[0][i]));
    }

    [LiveTheory(Needs.NetNs | Needs.Ipv6, "nstat")]
    [InlineData("127.0.0.1", "")]
    [InlineData("::1", "6")]
    public async Task Datagrams_are_counted_exactly(string address, string version)
    {
        IPAddress loopback = IPAddress.Parse(address);
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("udp", "icmp");
        await ns.SendUdpAsync(3, new IPEndPoint(loopback, 9)); // nobody listens

        // More than a small buffer holds: what is read counts as delivered, the rest as dropped for lack of room.
        using Socket receiver = await ns.RunAsync(() =>
        {
            var socket = new Socket(loopback.AddressFamily, SocketType.Dgram, ProtocolType.Udp) { ReceiveBufferSize = 1 };
            socket.Bind(new IPEndPoint(loopback, 0));
            return socket;
        });
        await ns.SendUdpAsync(100, (IPEndPoint)receiver.LocalEndPoint!, size: 500);
        ulong delivered = 0;
        receiver.Blocking = false;
        while (receiver.Available > 0)
        {
            receiver.Receive(new byte[500]);
            delivered++;
        }
        Assert.InRange(delivered, 1ul, 99ul);

        (UdpRecord[] ours, var nstat) = await probes.BesideNstatAsync<UdpRecord>("udp", ns);
        UdpRecord udp = ours.Single(r => r.Version == (version == "6" ? IpVersion.IPv6 : IpVersion.IPv4));
        Assert.Equal((103ul, 3ul), (udp.OutDatagrams.Value, udp.NoPorts.Value));
        Assert.Equal((delivered, 100 - delivered, 100 - delivered), (udp.InDatagrams.Value, udp.ReceiveBufferErrors.Value, udp.InErrors.Value));
        ColumnSet columns = version == "6" ? UdpRecord.Columns6 : UdpRecord.Columns;
        Assert.InRange(LiveProbes.AssertEqual(udp, columns, 0, nstat, "Udp" + version), 8, columns.SlotCount);
        UdpRecord other = ours.Single(r => r.Version != udp.Version);
        Assert.Equal(0ul, other.OutDatagrams.Value); // the versions are kept apart

        (IcmpRecord[] icmp, nstat) = await probes.BesideNstatAsync<IcmpRecord>("icmp", ns);
        IcmpRecord unreachable = icmp.Single(r => r.Version == udp.Version);
        Assert.Equal((3ul, 3ul), (unreachable.OutDestinationUnreachable.Value, unreachable.InDestinationUnreachable.Value));
    }

    [LiveTheory(Needs.NetNs | Needs.Ipv6, "nstat")]
    [InlineData("127.0.0.1", "")]
    [InlineData("::1", "6")]
    public async Task Echoes_are_counted_exactly(string address, string version)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("icmp");
        await ns.PingAsync(4, IPAddress.Parse(address));
        (IcmpRecord[] ours, var nstat) = await probes.BesideNstatAsync<IcmpRecord>("icmp", ns);
        IcmpRecord icmp = ours.Single(r => r.Version == (version == "6" ? IpVersion.IPv6 : IpVersion.IPv4));
        Assert.Equal((4ul, 4ul, 4ul), (icmp.InEchoRequests.Value, icmp.OutEchoReplies.Value, icmp.InEchoReplies.Value));
        ColumnSet columns = version == "6" ? IcmpRecord.Columns6 : IcmpRecord.Columns;
        Assert.InRange(LiveProbes.AssertEqual(icmp, columns, 0, nstat, "Icmp" + version), 20, columns.SlotCount);
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "nstat")]
    public async Task Packets_fragments_and_missing_routes_are_counted_exactly()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("ip");
            using Socket receiver = await right.BindUdpAsync(new IPEndPoint(TestNamespace.RightIPv4, 0));
            await left.SendUdpAsync(2, (IPEndPoint)receiver.LocalEndPoint!, size: 3000); // 3,008 bytes of IP payload: three fragments each
            for (int i = 0; i < 2; i++) Assert.Equal(3000, receiver.Receive(new byte[4000]));
            for (int i = 0; i < 5; i++)
                await Assert.ThrowsAsync<SocketException>(() => left.SendUdpAsync(1, new IPEndPoint(IPAddress.Parse("192.0.2.1"), 9)));

            IpRecord sender = await EqualNstatAsync(probes, left), taker = await EqualNstatAsync(probes, right);
            Assert.Equal((2ul, 6ul), (sender.FragmentationSuccesses.Value, sender.FragmentsCreated.Value));
            Assert.Equal((6ul, 2ul), (taker.ReassemblyRequests.Value, taker.ReassemblySuccesses.Value));
            Assert.Equal(5ul, sender.OutNoRoutes.Value);
            Assert.Equal(6ul, taker.InReceives.Value);
            Assert.Equal(2ul * (3000 + 8) + (6 * 20), taker.InBytes.Value);
        }
    }

    private static async Task<IpRecord> EqualNstatAsync(LiveProbes probes, TestNamespace ns)
    {
        (IpRecord[] ours, var nstat) = await probes.BesideNstatAsync<IpRecord>("ip", ns);
        IpRecord four = ours.Single(static r => r.Version == IpVersion.IPv4), six = ours.Single(static r => r.Version == IpVersion.IPv6);
        Assert.InRange(LiveProbes.AssertEqual(four, IpRecord.Columns, 0, nstat), 15, IpRecord.Columns.SlotCount);
        Assert.InRange(LiveProbes.AssertEqual(four, IpRecord.ExtendedColumns, IpRecord.Columns.SlotCount, nstat), 15, IpRecord.ExtendedColumns.SlotCount);
        Assert.InRange(LiveProbes.AssertEqual(six, IpRecord.Columns6, 0, nstat), 25, IpRecord.Columns6.SlotCount);
        return four;
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6)]
    public async Task A_namespace_without_IPv6_keeps_its_IPv4_rows()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.ExecuteAsync("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1");
        await using LiveProbes probes = await LiveProbes.StartAsync("udp", "ip", "sock");
        await ns.SendUdpAsync(2, new IPEndPoint(IPAddress.Loopback, 9));
        Assert.Equal(2ul, probes.Records<UdpRecord>("udp", ns).Single(static r => r.Version == IpVersion.IPv4).OutDatagrams.Value);
        Assert.Equal(0, probes.Manager.Find("udp")!.Statistics.Errors);
        Assert.Equal(ProbeState.Running, probes.Manager.Find("udp")!.Status.State);
    }
}
