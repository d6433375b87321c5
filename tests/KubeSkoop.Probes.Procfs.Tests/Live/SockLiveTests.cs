using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.RegularExpressions;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>sock: sockets of known number and kind, <c>ss</c>, and the kernel's limits.</summary>
public sealed class SockLiveTests
{
    [LiveFact(Needs.NetNs | Needs.Ipv6, "ss")]
    public async Task Sockets_are_counted_by_kind_and_IP_version()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("sock");
        SockRecord empty = probes.Record<SockRecord>("sock", ns);
        Assert.Equal((0ul, 0ul, 0ul, 0ul), (empty.TcpInUse.Value, empty.Tcp6InUse.Value, empty.UdpInUse.Value, empty.Udp6InUse.Value));

        await ns.TcpConnectionsAsync(4); // leaves one end of each in TIME_WAIT
        var held = new List<Socket>();
        try
        {
            for (int i = 0; i < 3; i++) held.Add(await ns.BindUdpAsync(new IPEndPoint(IPAddress.Loopback, 0)));
            for (int i = 0; i < 2; i++) held.Add(await ns.BindUdpAsync(new IPEndPoint(IPAddress.IPv6Loopback, 0)));
            for (int i = 0; i < 5; i++) held.Add(await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0)));
            held.Add(await ns.ListenAsync(new IPEndPoint(IPAddress.IPv6Loopback, 0)));
            held.Add(await ns.RunAsync(static () => new Socket(AddressFamily.InterNetwork, SocketType.Raw, ProtocolType.Icmp)));
            held.Add(await ns.RunAsync(static () => new Socket(AddressFamily.InterNetworkV6, SocketType.Raw, ProtocolType.IcmpV6)));

            SockRecord sock = probes.Record<SockRecord>("sock", ns);
            Assert.Equal((5ul, 1ul, 3ul, 2ul), (sock.TcpInUse.Value, sock.Tcp6InUse.Value, sock.UdpInUse.Value, sock.Udp6InUse.Value));
            Assert.Equal((1ul, 1ul), (sock.RawInUse.Value, sock.Raw6InUse.Value));
            Assert.Equal(4ul, sock.TcpTimeWait.Value);
            Assert.Equal(4, (await ns.SsAsync("-tan", "state", "time-wait")).Length);
            Assert.Equal(5, (await ns.SsAsync("-4", "-ltn")).Length);
            Assert.Single(await ns.SsAsync("-6", "-ltn"));
            Assert.Equal(3, (await ns.SsAsync("-4", "-uan")).Length);
            Assert.Equal(2, (await ns.SsAsync("-6", "-uan")).Length);
            string summary = await ns.ExecuteAsync("ss", "-s");
            Assert.Matches(new Regex(@"timewait 4\)"), summary);
            Assert.Equal(["2", "1", "1"], Numbers(summary, "RAW"));
            Assert.Equal(["5", "3", "2"], Numbers(summary, "UDP"));
            Assert.Equal(["6", "5", "1"], Numbers(summary, "TCP"));

            // Of all kinds, those of ip and ss too, which the kernel takes away a little after their end.
            await Eventually.EqualAsync(13ul, () => probes.Record<SockRecord>("sock", ns).SocketsUsed.Value, "the sockets in use, without those in TIME_WAIT,");
            await Eventually.TrueAsync(async () => (await ns.ExecuteAsync("ss", "-s")).StartsWith("Total: 13", StringComparison.Ordinal), "ss to say the same");
        }
        finally
        {
            foreach (Socket socket in held) socket.Dispose();
        }
        SockRecord after = probes.Record<SockRecord>("sock", ns);
        Assert.Equal((0ul, 0ul, 0ul, 0ul), (after.TcpInUse.Value, after.Tcp6InUse.Value, after.UdpInUse.Value, after.RawInUse.Value));
        await Eventually.EqualAsync(0ul, () => probes.Record<SockRecord>("sock", ns).SocketsUsed.Value, "the sockets in use");

        // A line of the summary: all, IPv4, IPv6.
        static string[] Numbers(string summary, string kind) =>
            summary.Split('\n').Single(l => l.StartsWith(kind + "\t", StringComparison.Ordinal) || l.StartsWith(kind + " ", StringComparison.Ordinal))
                .Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1..];
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6)]
    public async Task Fragments_that_wait_are_counted_with_their_memory()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("sock");
            byte[] half = new byte[64];
            await left.SendFramesAsync("eth0",
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, half, fragment: 0x2000), // more follow, it says
                Frames.Packet(TestNamespace.LeftIPv6, TestNamespace.RightIPv6, 44, [17, 0, 0, 1, 0, 0, 0, 7, .. half]),
                Frames.Packet(TestNamespace.LeftIPv6, TestNamespace.RightIPv6, 44, [17, 0, 0, 1, 0, 0, 0, 8, .. half]));
            await Eventually.TrueAsync(() => probes.Record<SockRecord>("sock", right) is { FragmentQueues.Value: 1, Fragment6Queues.Value: 2 }, "the fragments to wait");
            SockRecord sock = probes.Record<SockRecord>("sock", right);
            Assert.True(sock.FragmentMemory.Value > 0 && sock.Fragment6Memory.Value > 0);
            SockRecord other = probes.Record<SockRecord>("sock", left);
            Assert.Equal((0ul, 0ul, 0ul), (other.FragmentQueues.Value, other.FragmentMemory.Value, other.Fragment6Queues.Value));
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task Limits_stand_beside_their_values_and_are_the_namespaces_own()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.ExecuteAsync("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=4321");
        await using LiveProbes probes = await LiveProbes.StartAsync("sock");
        // Of many namespaces only some are entered in one sample; the others' limits follow.
        await Eventually.EqualAsync(4321ul, () => probes.Record<SockRecord>("sock", ns).TimeWaitLimit.ToNullable() ?? 0, "the namespace's limit");

        // What the kernel has once for all namespaces is published once, for the node.
        SockRecord node = Assert.Single(probes.All<SockRecord>("sock"), static r => r.Namespace is null).Value;
        Assert.Equal((Sysctl("tcp_mem")[0], Sysctl("tcp_mem")[1], Sysctl("tcp_mem")[2]), (node.TcpMemoryLow.Value, node.TcpMemoryPressure.Value, node.TcpMemoryHigh.Value));
        Assert.Equal((Sysctl("udp_mem")[0], Sysctl("udp_mem")[1], Sysctl("udp_mem")[2]), (node.UdpMemoryLow.Value, node.UdpMemoryPressure.Value, node.UdpMemoryHigh.Value));
        Assert.Equal(Sysctl("tcp_max_orphans")[0], node.TcpOrphanLimit.Value);
        Assert.All(probes.Records<SockRecord>("sock", ns), static r => Assert.False(r.TcpMemory.HasValue || r.TcpOrphans.HasValue || r.TcpAllocated.HasValue || r.UdpMemory.HasValue));

        static ulong[] Sysctl(string name) =>
            [.. File.ReadAllText("/proc/sys/net/ipv4/" + name).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Select(static t => ulong.Parse(t, CultureInfo.InvariantCulture))];
    }

    [LiveFact(Needs.NetNs)]
    public async Task Memory_is_published_in_bytes_and_to_upstreams_boards_in_pages()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("sock");
        // Megabytes that nobody reads.
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0));
        using Socket client = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
        using Socket server = await listener.AcceptAsync();
        client.Blocking = false;
        byte[] block = new byte[64 * 1024];
        for (int queued = 0; client.Poll(0, SelectMode.SelectWrite) && queued < 10_000_000;) queued += client.Send(block, SocketFlags.None, out _);

        SockRecord node = default;
        await Eventually.TrueAsync(
            () =>
            {
                ulong before = Pages();
                node = Assert.Single(probes.All<SockRecord>("sock"), static r => r.Namespace is null).Value;
                return before == node.TcpMemory.Value && before == Pages();
            },
            "the memory to stand still and be what the file says");
        Assert.Equal((ulong)Environment.SystemPageSize * node.TcpMemory.Value, SockRecord.Metrics.Single(static m => m.Name == "kubeskoop.sock.tcp_memory").Read!(in node).UInt64);
        Assert.Equal(node.TcpMemory.Value, SockRecord.Metrics.Upstream.Single(static m => m.UpstreamName == "kubeskoop_sock_mem").ReadUpstream!(in node).UInt64);

        static ulong Pages() => ulong.Parse(File.ReadLines("/proc/net/sockstat").Single(static l => l.StartsWith("TCP:", StringComparison.Ordinal)).Split(' ')[^1], CultureInfo.InvariantCulture);
    }
}
