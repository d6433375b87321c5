using System.Net;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>netdev: exact packets, bytes and drops per device, and what <c>ip -s link</c> says.</summary>
public sealed class NetDevLiveTests
{
    [LiveFact(Needs.NetNs)]
    public async Task Packets_bytes_and_drops_are_counted_exactly_per_device()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("netdev");
            NetDevRecord before = Device(probes, left, "eth0"), takerBefore = Device(probes, right, "eth0");
            await left.SendUdpAsync(10, new IPEndPoint(TestNamespace.RightIPv4, 9), size: 100);
            // A frame larger than the peer takes is dropped on the way between the two.
            await right.IpAsync("link", "set", "eth0", "mtu", "600");
            await left.SendUdpAsync(4, new IPEndPoint(TestNamespace.RightIPv4, 9), size: 1000);

            // IPv6 reports its groups when a device comes up, so what both sides say is held against ip, and the drops are exact.
            (NetDevRecord sender, var ipSender) = await BesideIpAsync(probes, left);
            (NetDevRecord taker, var ipTaker) = await BesideIpAsync(probes, right);
            Assert.Equal(4ul, sender.SendDrops.Value - before.SendDrops.Value);
            Assert.Equal(4ul, taker.ReceiveDrops.Value - takerBefore.ReceiveDrops.Value);
            Assert.InRange(sender.SentPackets.Value - before.SentPackets.Value, 10ul, 20ul);
            Assert.InRange(sender.SentBytes.Value - before.SentBytes.Value, 10ul * (100 + 8 + 20 + 14), 10ul * (100 + 8 + 20 + 14) + 2000);
            AssertEqual(sender, ipSender);
            AssertEqual(taker, ipTaker);
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task Every_device_has_its_row_and_a_removed_one_takes_nothing_from_the_others()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.IpAsync("link", "add", "one", "type", "veth", "peer", "name", "two");
        await using LiveProbes probes = await LiveProbes.StartAsync("netdev");
        Assert.Equal(["lo", "one", "two"], Names(probes, ns));
        await ns.SendUdpAsync(7, new IPEndPoint(IPAddress.Loopback, 9));
        ulong packets = Device(probes, ns, "lo").SentPackets.Value;
        Assert.Equal(14ul, packets); // each datagram, and the answer that nobody listens
        await ns.IpAsync("link", "set", "one", "name", "renamed");
        Assert.Equal(["lo", "renamed", "two"], Names(probes, ns));
        await ns.IpAsync("link", "delete", "two");
        Assert.Equal(["lo"], Names(probes, ns));
        Assert.Equal(packets, Device(probes, ns, "lo").SentPackets.Value);
    }

    private static string[] Names(LiveProbes probes, TestNamespace ns) =>
        [.. probes.Rows<NetDevRecord>("netdev", ns).Select(static r => r.Subject.Attributes[0].Value).Where(static n => n is not ("tunl0" or "sit0" or "ip6tnl0" or "gre0")).Order(StringComparer.Ordinal)];

    private static NetDevRecord Device(LiveProbes probes, TestNamespace ns, string name) =>
        probes.Rows<NetDevRecord>("netdev", ns).Single(r => r.Subject.Attributes[0].Value == name).Value;

    private static async Task<(NetDevRecord Ours, IReadOnlyDictionary<string, ulong> Ip)> BesideIpAsync(LiveProbes probes, TestNamespace ns)
    {
        NetDevRecord ours = default;
        IReadOnlyDictionary<string, ulong>? ip = null;
        await Eventually.TrueAsync(
            async () =>
            {
                ours = Device(probes, ns, "eth0");
                ip = (await ns.IpLinkStatsAsync())["eth0"];
                return ours.Equals(Device(probes, ns, "eth0"));
            },
            "the device to be quiet");
        return (ours, ip!);
    }

    private static void AssertEqual(NetDevRecord ours, IReadOnlyDictionary<string, ulong> ip)
    {
        var all = new Dictionary<string, Reading>
        {
            ["rx.bytes"] = ours.ReceivedBytes,
            ["rx.packets"] = ours.ReceivedPackets,
            ["rx.errors"] = ours.ReceiveErrors,
            ["rx.dropped"] = ours.ReceiveDrops,
            ["rx.multicast"] = ours.ReceivedMulticast,
            ["rx.fifo_errors"] = ours.ReceiveFifoErrors,
            ["tx.bytes"] = ours.SentBytes,
            ["tx.packets"] = ours.SentPackets,
            ["tx.errors"] = ours.SendErrors,
            ["tx.dropped"] = ours.SendDrops,
            ["tx.fifo_errors"] = ours.SendFifoErrors,
            ["tx.collisions"] = ours.Collisions,
            ["rx.compressed"] = ours.ReceivedCompressed,
            ["tx.compressed"] = ours.SentCompressed,
        };
        // The file sums what ip tells apart (net/core/net-procfs.c, dev_seq_printf_stats).
        Assert.Equal(ip["rx.length_errors"] + ip["rx.over_errors"] + ip["rx.crc_errors"] + ip["rx.frame_errors"], ours.ReceiveFrameErrors.Value);
        Assert.Equal(ip["tx.carrier_errors"] + ip["tx.aborted_errors"] + ip["tx.window_errors"] + ip["tx.heartbeat_errors"], ours.CarrierErrors.Value);
        foreach ((string name, Reading value) in all)
            if (ip.ContainsKey(name) || !name.EndsWith("compressed", StringComparison.Ordinal)) Assert.Equal((name, new Reading(ip[name])), (name, value));
    }
}
