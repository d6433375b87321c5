using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>udp: known datagrams give exact numbers for each IP version, and every column is what <c>nstat</c> says.</summary>
public sealed class UdpLiveTests
{
    [LiveTheory(Needs.NetNs | Needs.Ipv6, "nstat")]
    [InlineData("127.0.0.1", "")]
    [InlineData("::1", "6")]
    public async Task Datagrams_are_counted_exactly(string address, string version)
    {
        IPAddress loopback = IPAddress.Parse(address);
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("udp");
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
        AssertEqual(udp, nstat);
        UdpRecord other = ours.Single(r => r.Version != udp.Version);
        Assert.Equal(0ul, other.OutDatagrams.Value); // the versions are kept apart
        AssertEqual(other, nstat);
    }

    [LiveFact(Needs.NetNs | Needs.Ipv6, "nstat")]
    public async Task Wrong_checksums_and_unwanted_broadcasts_are_told_apart()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("udp");
            byte[] wrong = Frames.Udp(9, 32, checksum: 0x1234);
            byte[] broadcast = Frames.Packet(TestNamespace.LeftIPv4, IPAddress.Parse("10.99.0.255"), 17, Frames.Udp(9, 32, checksum: 0));
            broadcast.AsSpan(0, 6).Fill(0xff); // to all on the wire, and nobody has a socket for it
            await left.SendFramesAsync("eth0",
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, wrong),
                Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, wrong),
                Frames.Packet(TestNamespace.LeftIPv6, TestNamespace.RightIPv6, 17, wrong),
                broadcast);
            await Eventually.EqualAsync(1ul, () => Of(probes.Records<UdpRecord>("udp", right), IpVersion.IPv4).IgnoredMulticast.Value, "the broadcast");

            (UdpRecord[] ours, var nstat) = await probes.BesideNstatAsync<UdpRecord>("udp", right);
            UdpRecord four = Of(ours, IpVersion.IPv4), six = Of(ours, IpVersion.IPv6);
            Assert.Equal((2ul, 2ul, 0ul), (four.InChecksumErrors.Value, four.InErrors.Value, four.NoPorts.Value));
            Assert.Equal((1ul, 1ul, 0ul), (six.InChecksumErrors.Value, six.InErrors.Value, six.NoPorts.Value));
            AssertEqual(four, nstat);
            AssertEqual(six, nstat);
        }
    }

    private static UdpRecord Of(UdpRecord[] rows, IpVersion version) => rows.Single(r => r.Version == version);

    private static void AssertEqual(UdpRecord udp, IReadOnlyDictionary<string, ulong> nstat)
    {
        bool six = udp.Version == IpVersion.IPv6;
        ColumnSet columns = six ? UdpRecord.Columns6 : UdpRecord.Columns;
        Assert.InRange(LiveProbes.AssertEqual(udp, columns, 0, nstat, six ? "Udp6" : "Udp"), 8, columns.SlotCount);
    }
}
