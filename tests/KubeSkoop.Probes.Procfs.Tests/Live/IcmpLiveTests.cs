using System.Net;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>icmp: known messages give exact numbers for each IP version, and every column is what <c>nstat</c> says.</summary>
public sealed class IcmpLiveTests
{
    [LiveTheory(Needs.NetNs | Needs.Ipv6, "nstat")]
    [InlineData("127.0.0.1", IpVersion.IPv4)]
    [InlineData("::1", IpVersion.IPv6)]
    public async Task Echoes_and_unreachable_ports_are_counted_exactly(string address, IpVersion version)
    {
        IPAddress loopback = IPAddress.Parse(address);
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("icmp");
        await ns.PingAsync(4, loopback);
        await ns.SendUdpAsync(3, new IPEndPoint(loopback, 9)); // nobody listens
        (IcmpRecord icmp, IcmpRecord other) = await EqualNstatAsync(probes, ns, version);
        Assert.Equal((4ul, 4ul, 4ul), (icmp.InEchoRequests.Value, icmp.OutEchoReplies.Value, icmp.InEchoReplies.Value));
        Assert.Equal((3ul, 3ul), (icmp.OutDestinationUnreachable.Value, icmp.InDestinationUnreachable.Value));
        Assert.Equal((0ul, 0ul), (other.InEchoRequests.Value, other.InDestinationUnreachable.Value)); // the versions are kept apart
    }

    [LiveTheory(Needs.NetNs | Needs.Ipv6, "nstat")]
    [InlineData("198.51.100.9", IpVersion.IPv4)]
    [InlineData("2001:db8::9", IpVersion.IPv6)]
    public async Task A_router_tells_who_sends_too_far(string far, IpVersion version)
    {
        (TestNamespace left, TestNamespace router) = await Router.CreateAsync();
        await using (left)
        await using (router)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("icmp");
            await left.SendUdpAsync(3, new IPEndPoint(IPAddress.Parse(far), 9), hops: 1);
            (IcmpRecord sent, _) = await EqualNstatAsync(probes, router, version);
            (IcmpRecord received, _) = await EqualNstatAsync(probes, left, version);
            Assert.Equal((3ul, 0ul), (sent.OutTimeExceeded.Value, sent.InTimeExceeded.Value));
            Assert.Equal((3ul, 0ul), (received.InTimeExceeded.Value, received.OutTimeExceeded.Value));
        }
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "nstat")]
    public async Task Messages_with_a_wrong_checksum_are_errors()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("icmp");
            await left.SendFramesAsync("eth0",
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 1, [8, 0, 0x12, 0x34, 0, 1, 0, 1]),
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 1, [8, 0, 0x12, 0x34, 0, 1, 0, 1]),
                Frames.Packet(TestNamespace.LeftIPv6, TestNamespace.RightIPv6, 58, [128, 0, 0x12, 0x34, 0, 1, 0, 1]));
            await Eventually.TrueAsync(() => probes.Records<IcmpRecord>("icmp", right).All(static r => r.InErrors.Value > 0), "the messages");
            (IcmpRecord four, IcmpRecord six) = await EqualNstatAsync(probes, right, IpVersion.IPv4);
            Assert.Equal((2ul, 2ul, 0ul), (four.InErrors.Value, four.InChecksumErrors.Value, four.OutEchoReplies.Value));
            Assert.Equal((1ul, 1ul, 0ul), (six.InErrors.Value, six.InChecksumErrors.Value, six.OutEchoReplies.Value));
        }
    }

    /// <summary>Both rows, held against nstat; the one of <paramref name="version"/> first.</summary>
    private static async Task<(IcmpRecord Of, IcmpRecord Other)> EqualNstatAsync(LiveProbes probes, TestNamespace ns, IpVersion version)
    {
        (IcmpRecord[] ours, var nstat) = await probes.BesideNstatAsync<IcmpRecord>("icmp", ns);
        IcmpRecord four = ours.Single(static r => r.Version == IpVersion.IPv4), six = ours.Single(static r => r.Version == IpVersion.IPv6);
        Assert.InRange(LiveProbes.AssertEqual(four, IcmpRecord.Columns, 0, nstat), 20, IcmpRecord.Columns.SlotCount);
        Assert.InRange(LiveProbes.AssertEqual(six, IcmpRecord.Columns6, 0, nstat, "Icmp6"), 20, IcmpRecord.Columns6.SlotCount);
        return version == IpVersion.IPv4 ? (four, six) : (six, four);
    }
}
