using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>sock: sockets of known number and kind, <c>ss</c>, and the kernel's limits.</summary>
public sealed class SocketsLiveTests
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

            SockRecord sock = probes.Record<SockRecord>("sock", ns);
            Assert.Equal((5ul, 1ul, 3ul, 2ul, 1ul), (sock.TcpInUse.Value, sock.Tcp6InUse.Value, sock.UdpInUse.Value, sock.Udp6InUse.Value, sock.RawInUse.Value));
            Assert.Equal(4ul, sock.TcpTimeWait.Value);
            Assert.Equal(4, (await ns.SsAsync("-tan", "state", "time-wait")).Length);
            Assert.Equal(5, (await ns.SsAsync("-4", "-ltn")).Length);
            Assert.Equal(3, (await ns.SsAsync("-4", "-uan")).Length);
            Assert.Equal(2, (await ns.SsAsync("-6", "-uan")).Length);
        }
        finally
        {
            foreach (Socket socket in held) socket.Dispose();
        }
        SockRecord after = probes.Record<SockRecord>("sock", ns);
        Assert.Equal((0ul, 0ul, 0ul, 0ul), (after.TcpInUse.Value, after.Tcp6InUse.Value, after.UdpInUse.Value, after.RawInUse.Value));
    }

    [LiveFact(Needs.NetNs)]
    public async Task Limits_stand_beside_their_values_and_are_the_namespaces_own()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.ExecuteAsync("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=4321");
        await using LiveProbes probes = await LiveProbes.StartAsync("sock");
        Assert.Equal(4321ul, probes.Record<SockRecord>("sock", ns).TimeWaitLimit.Value);

        // What the kernel has once for all namespaces is published once, for the node.
        SockRecord node = Assert.Single(probes.All<SockRecord>("sock"), static r => r.Value.TcpMemoryHigh.HasValue).Value;
        ulong[] memory = [.. (await File.ReadAllTextAsync("/proc/sys/net/ipv4/tcp_mem")).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Select(static t => ulong.Parse(t, CultureInfo.InvariantCulture))];
        Assert.Equal((memory[0], memory[1], memory[2]), (node.TcpMemoryLow.Value, node.TcpMemoryPressure.Value, node.TcpMemoryHigh.Value));
        Assert.Equal((await File.ReadAllTextAsync("/proc/sys/net/ipv4/tcp_max_orphans")).Trim(), node.TcpOrphanLimit.Value.ToString(CultureInfo.InvariantCulture));
    }
}
