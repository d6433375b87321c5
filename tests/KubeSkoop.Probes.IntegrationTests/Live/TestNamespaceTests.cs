using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.IntegrationTests.Live;

/// <summary>The tools of the live tests, held to what the kernel does.</summary>
public sealed class TestNamespaceTests
{
    [LiveFact(Needs.NetNs, "nstat")]
    public async Task Datagrams_are_counted_exactly_and_only_inside()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        Assert.NotEqual(TestNamespace.OwnInode, ns.Inode);
        Assert.Equal(0ul, await ns.NstatAsync("UdpOutDatagrams"));
        await ns.SendUdpAsync(count: 3, to: new IPEndPoint(IPAddress.Loopback, 9));
        Assert.Equal(3ul, await ns.NstatAsync("UdpOutDatagrams"));
        Assert.Equal(3ul, await ns.NstatAsync("UdpNoPorts"));
        Assert.Equal(3ul, await ns.NstatAsync("IcmpInDestUnreachs"));
    }

    [LiveFact(Needs.NetNs, "nstat", "ss")]
    public async Task Connections_are_counted_exactly()
    {
        await using TestNamespace ns = await TestNamespace.CreateUnboundAsync();
        Assert.Null(ns.Name);
        await ns.TcpConnectionsAsync(5);
        await ns.RefusedConnectionsAsync(2, new IPEndPoint(IPAddress.Loopback, 9));
        Assert.Equal(7ul, await ns.NstatAsync("TcpActiveOpens"));
        Assert.Equal(5ul, await ns.NstatAsync("TcpPassiveOpens"));
        Assert.Equal(2ul, await ns.NstatAsync("TcpAttemptFails"));
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0));
        string line = Assert.Single(await ns.SsAsync("-ltn"));
        Assert.Contains(((IPEndPoint)listener.LocalEndPoint!).Port.ToString(CultureInfo.InvariantCulture), line, StringComparison.Ordinal);
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "nstat")]
    public async Task Packets_cross_a_pair_in_both_versions_of_ip()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await left.PingAsync(4, TestNamespace.RightIPv4);
            await left.PingAsync(3, TestNamespace.RightIPv6);
            Assert.Equal(4ul, await right.NstatAsync("IcmpInEchos"));
            Assert.Equal(3ul, await right.NstatAsync("Icmp6InEchos"));
            using Socket receiver = await right.BindUdpAsync(new IPEndPoint(TestNamespace.RightIPv6, 0));
            ulong before = (await right.IpLinkStatsAsync())["eth0"]["rx.packets"];
            await left.SendUdpAsync(6, (IPEndPoint)receiver.LocalEndPoint!, size: 100);
            for (int i = 0; i < 6; i++) Assert.Equal(100, receiver.Receive(new byte[200]));
            // Group reports of IPv6 may add a packet or two at the start of a device's life.
            Assert.InRange((await right.IpLinkStatsAsync())["eth0"]["rx.packets"] - before, 6ul, 8ul);
            Assert.Equal(6ul, await right.NstatAsync("Udp6InDatagrams"));
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_thread_inside_does_not_change_where_others_are()
    {
        await using TestNamespace ns = await TestNamespace.CreateUnboundAsync();
        uint inside = await ns.RunAsync(() => TestNamespace.InodeOf("/proc/thread-self/ns/net"));
        Assert.Equal(ns.Inode, inside);
        uint[] pool = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => Task.Run(() => TestNamespace.InodeOf("/proc/thread-self/ns/net"))));
        Assert.All(pool, inode => Assert.Equal(TestNamespace.OwnInode, inode));
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_disposed_namespace_is_gone()
    {
        string path;
        int process;
        await using (TestNamespace ns = await TestNamespace.CreateAsync())
        {
            path = $"/run/netns/{ns.Name}";
            process = ns.ProcessId;
            Assert.True(File.Exists(path));
        }
        Assert.False(File.Exists(path));
        Assert.False(Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}")));
    }

    [LiveFact(Needs.NetNs)]
    public async Task Only_dead_owners_lose_their_namespaces()
    {
        // A name as a killed test run would leave it, and one of a process that lives: this one.
        using Process gone = Command.Start("true", []);
        await gone.WaitForExitAsync();
        string stale = string.Create(CultureInfo.InvariantCulture, $"kst-{gone.Id}-1-1");
        await Command.OutputAsync("ip", "netns", "add", stale);
        await using TestNamespace alive = await TestNamespace.CreateAsync();
        await TestNamespace.RemoveStaleAsync();
        Assert.False(File.Exists($"/run/netns/{stale}"));
        Assert.True(File.Exists($"/run/netns/{alive.Name}"));
    }
}
