using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>ip: known packets give exact numbers for each IP version, and every column is what <c>nstat</c> says.</summary>
public sealed class IpLiveTests
{
    private static readonly IPAddress Far4 = IPAddress.Parse("198.51.100.9"), Far6 = IPAddress.Parse("2001:db8::9");
    private static readonly IPAddress Nowhere4 = IPAddress.Parse("192.0.2.1"), Nowhere6 = IPAddress.Parse("2001:db8:ffff::1");

    [LiveTheory(Needs.NetNs | Needs.Ipv6, "nstat")]
    [InlineData("10.99.0.2", "192.0.2.1", IpVersion.IPv4)]
    [InlineData("fd99::2", "2001:db8:ffff::1", IpVersion.IPv6)]
    public async Task Packets_fragments_and_missing_routes_are_counted_exactly(string to, string nowhere, IpVersion version)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("ip");
            using Socket receiver = await right.BindUdpAsync(new IPEndPoint(IPAddress.Parse(to), 0));
            await left.SendUdpAsync(2, (IPEndPoint)receiver.LocalEndPoint!, size: 3000); // 3,008 bytes of IP payload: three fragments each
            for (int i = 0; i < 2; i++) Assert.Equal(3000, receiver.Receive(new byte[4000]));
            for (int i = 0; i < 5; i++)
                await Assert.ThrowsAsync<SocketException>(() => left.SendUdpAsync(1, new IPEndPoint(IPAddress.Parse(nowhere), 9)));

            IpRecord sender = await EqualNstatAsync(probes, left, version), taker = await EqualNstatAsync(probes, right, version);
            Assert.Equal((2ul, 6ul), (sender.FragmentationSuccesses.Value, sender.FragmentsCreated.Value));
            Assert.Equal((6ul, 2ul), (taker.ReassemblyRequests.Value, taker.ReassemblySuccesses.Value));
            Assert.Equal(5ul, sender.OutNoRoutes.Value);
            if (version == IpVersion.IPv6) return; // which has reports of its own groups beside
            Assert.Equal(6ul, taker.InReceives.Value);
            Assert.Equal(2ul * (3000 + 8) + (6 * 20), taker.InBytes.Value);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "nstat")]
    public async Task A_router_counts_what_it_forwards_and_what_it_cannot()
    {
        (TestNamespace left, TestNamespace router) = await Router.CreateAsync();
        await using (left)
        await using (router)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("ip");
            await left.SendUdpAsync(7, new IPEndPoint(Far4, 9));
            await left.SendUdpAsync(6, new IPEndPoint(Far6, 9));
            await left.SendUdpAsync(5, new IPEndPoint(Nowhere4, 9));
            await left.SendUdpAsync(4, new IPEndPoint(Nowhere6, 9));
            IpRecord four = await EqualNstatAsync(probes, router, IpVersion.IPv4), six = await EqualNstatAsync(probes, router, IpVersion.IPv6);
            Assert.Equal((1ul, 7ul, 5ul), (four.Forwarding.Value, four.ForwardedPackets.Value, four.InNoRoutes.Value));
            Assert.Equal(6ul, six.ForwardedPackets.Value);
            Assert.InRange(six.InNoRoutes.Value, 4ul, 4ul + six.InMulticastPackets.Value); // a router may have no route for reports of groups

            // Too large for the far wire; some kernels count them as forwarded before they look.
            await left.SendUdpAsync(1, new IPEndPoint(Far4, 9), size: 1400, fragment: false);
            await left.SendUdpAsync(1, new IPEndPoint(Far6, 9), size: 1400);
            four = await EqualNstatAsync(probes, router, IpVersion.IPv4);
            six = await EqualNstatAsync(probes, router, IpVersion.IPv6);
            Assert.Equal((1ul, 0ul), (four.FragmentationFailures.Value, four.FragmentsCreated.Value));
            Assert.Equal((1ul, 0ul), (six.InTooBigErrors.Value, six.FragmentsCreated.Value));
            IpRecord host = await EqualNstatAsync(probes, left, IpVersion.IPv4);
            Assert.Equal((2ul, 64ul), (host.Forwarding.Value, host.DefaultTtl.Value)); // 2, not 0: that is how the kernel says no
        }
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "nstat")]
    public async Task Packets_that_are_not_what_they_say_are_told_by_fault()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("ip");
            byte[] payload = Frames.Udp(9, 32, checksum: 0);
            byte[] wrongSum = Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, payload);
            wrongSum[Frames.HeaderOffset + 10] ^= 0xff;
            byte[] wrongVersion = Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, payload);
            wrongVersion[Frames.HeaderOffset] = 0x75;
            await left.SendFramesAsync("eth0",
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, payload, missing: 100),
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, payload, missing: 100),
                Frames.Packet(TestNamespace.LeftIPv6, TestNamespace.RightIPv6, 17, payload, missing: 100),
                wrongSum,
                wrongSum,
                wrongSum,
                wrongVersion,
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 253, payload), // a protocol for experiments
                Frames.Packet(TestNamespace.LeftIPv4, IPAddress.Parse("203.0.113.5"), 17, payload)); // not for us
            await Eventually.TrueAsync(() => probes.Records<IpRecord>("ip", right).Any(static r => r.InUnknownProtocols.Value > 0 && r.InAddressErrors.HasValue), "the packets");

            IpRecord four = await EqualNstatAsync(probes, right, IpVersion.IPv4), six = await EqualNstatAsync(probes, right, IpVersion.IPv6);
            Assert.Equal((2ul, 1ul), (four.InTruncatedPackets.Value, six.InTruncatedPackets.Value));
            Assert.Equal((3ul, 4ul), (four.InChecksumErrors.Value, four.InHeaderErrors.Value)); // a wrong sum is a header error too
            Assert.Equal(1ul, four.InUnknownProtocols.Value);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "nstat")]
    public async Task A_fragment_that_stays_alone_is_given_up()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await right.ExecuteAsync("sysctl", "-qw", "net.ipv4.ipfrag_time=1", "net.ipv6.ip6frag_time=1");
            await using LiveProbes probes = await LiveProbes.StartAsync("ip", "sock");
            byte[] half = new byte[64];
            await left.SendFramesAsync("eth0",
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, half, fragment: 0x2000), // more follow, it says
                Frames.Packet(TestNamespace.LeftIPv6, TestNamespace.RightIPv6, 44, [17, 0, 0, 1, 0, 0, 0, 7, .. half]));
            await Eventually.TrueAsync(() => probes.Records<IpRecord>("ip", right).All(static r => r.ReassemblyTimeouts.Value > 0), "the fragments to be given up");
            foreach (IpVersion version in (IpVersion[])[IpVersion.IPv4, IpVersion.IPv6])
            {
                IpRecord ip = await EqualNstatAsync(probes, right, version);
                Assert.Equal((1ul, 1ul, 1ul, 0ul), (ip.ReassemblyRequests.Value, ip.ReassemblyTimeouts.Value, ip.ReassemblyFailures.Value, ip.ReassemblySuccesses.Value));
            }
        }
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

    /// <summary>The row of a version, after both were held against nstat.</summary>
    private static async Task<IpRecord> EqualNstatAsync(LiveProbes probes, TestNamespace ns, IpVersion version)
    {
        (IpRecord[] ours, var nstat) = await probes.BesideNstatAsync<IpRecord>("ip", ns);
        IpRecord four = ours.Single(static r => r.Version == IpVersion.IPv4), six = ours.Single(static r => r.Version == IpVersion.IPv6);
        Assert.InRange(LiveProbes.AssertEqual(four, IpRecord.Columns, 0, nstat), 15, IpRecord.Columns.SlotCount);
        Assert.InRange(LiveProbes.AssertEqual(four, IpRecord.ExtendedColumns, IpRecord.Columns.SlotCount, nstat), 15, IpRecord.ExtendedColumns.SlotCount);
        Assert.InRange(LiveProbes.AssertEqual(six, IpRecord.Columns6, 0, nstat), 25, IpRecord.Columns6.SlotCount);
        return version == IpVersion.IPv4 ? four : six;
    }
}
