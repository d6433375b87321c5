using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Tests.Interop;

namespace KubeSkoop.Probes.Ebpf.Tests.Bpf;

/// <summary><c>kubeskoop/flow.h</c> on packets made here, run by the kernel.</summary>
public sealed class FlowTests
{
    private const int Tcp = 6, Udp = 17, Icmp = 1, Sctp = 132;
    private const int HopByHop = 0, Routing = 43, Fragment = 44, Authentication = 51, NoNext = 59, Destination = 60;

    public static TheoryData<string, byte[], string> Packets => new()
    {
        { "TCP", IPv4(Tcp, Ports(1111, 80)), "6 10.1.2.3:1111 -> 10.4.5.6:80" },
        { "UDP behind IPv4 options", IPv4(Udp, Ports(1111, 53), optionWords: 3), "17 10.1.2.3:1111 -> 10.4.5.6:53" },
        { "SCTP", IPv4(Sctp, Ports(7, 8)), "132 10.1.2.3:7 -> 10.4.5.6:8" },
        { "ICMP has no ports", IPv4(Icmp, [8, 0, 1, 2, 3, 4, 5, 6]), "1 10.1.2.3:0 -> 10.4.5.6:0" },
        { "first fragment", IPv4(Udp, Ports(1111, 53), fragment: 0x2000), "17 10.1.2.3:1111 -> 10.4.5.6:53" },
        { "later fragment", IPv4(Udp, Ports(1111, 53), fragment: 0x2001), "17 10.1.2.3:0 -> 10.4.5.6:0" },
        { "last fragment", IPv4(Udp, Ports(1111, 53), fragment: 0x1fff), "17 10.1.2.3:0 -> 10.4.5.6:0" },
        { "ports cut off", IPv4(Tcp, [1, 2, 3]), "6 10.1.2.3:0 -> 10.4.5.6:0" },
        // With IP's own number the kernel refuses to run a program on less than a header.
        { "IPv4 header cut off", Changed(IPv4(Tcp, [])[..33], 12, 0x12), "none" },
        { "IPv4 header too short for one", Changed(IPv4(Tcp, Ports(1, 2)), 14, 0x44), "none" },
        { "version 5", Changed(IPv4(Tcp, Ports(1, 2)), 14, 0x55), "none" },
        { "ARP", [.. Ethernet(0x0806), 0, 1, 8, 0, 6, 4, 0, 1, .. new byte[20]], "none" },
        { "TCP over IPv6", IPv6(Tcp, Ports(1111, 80)), "6 [fd00::1]:1111 -> [fd00::2]:80" },
        { "hop by hop, destination options, TCP", IPv6(HopByHop, [.. Extension(Destination, 0), .. Extension(Tcp, 2), .. Ports(1111, 80)]), "6 [fd00::1]:1111 -> [fd00::2]:80" },
        { "routing header", IPv6(Routing, [.. Extension(Udp, 4), .. Ports(1111, 53)]), "17 [fd00::1]:1111 -> [fd00::2]:53" },
        { "authentication header counts words", IPv6(Authentication, [Tcp, 4, .. new byte[22], .. Ports(1111, 80)]), "6 [fd00::1]:1111 -> [fd00::2]:80" },
        { "first fragment of IPv6", IPv6(Fragment, [Udp, 0, 0, 1, 0, 0, 0, 9, .. Ports(1111, 53)]), "17 [fd00::1]:1111 -> [fd00::2]:53" },
        { "later fragment of IPv6", IPv6(Fragment, [Udp, 0, 0, 0x08, 0, 0, 0, 9, .. Ports(1111, 53)]), "17 [fd00::1]:0 -> [fd00::2]:0" },
        { "far fragment of IPv6", IPv6(Fragment, [Udp, 0, 1, 0, 0, 0, 0, 9, .. Ports(1111, 53)]), "17 [fd00::1]:0 -> [fd00::2]:0" },
        { "seven extension headers", IPv6(Destination, [.. Repeated(Destination, 6), .. Extension(Tcp, 0), .. Ports(1111, 80)]), "6 [fd00::1]:1111 -> [fd00::2]:80" },
        { "too many extension headers", IPv6(Destination, [.. Repeated(Destination, 7), .. Extension(Tcp, 0), .. Ports(1111, 80)]), "6 [fd00::1]:0 -> [fd00::2]:0" },
        { "extension header past the end", IPv6(Destination, [.. Extension(HopByHop, 255), .. Ports(1111, 80)]), "0 [fd00::1]:0 -> [fd00::2]:0" },
        { "nothing follows", IPv6(NoNext, Ports(1111, 80)), "59 [fd00::1]:0 -> [fd00::2]:0" },
        { "IPv6 header cut off", Changed(IPv6(Tcp, [])[..53], 12, 0x12), "none" },
    };

    [LiveTheory(Needs.PacketPrograms)]
    [MemberData(nameof(Packets))]
    public void A_packet_is_read_as_what_it_is(string name, byte[] packet, string expected)
    {
        using var headers = new TestObject("headers");
        Assert.Equal(0, headers.RunOnPacket("parse", packet));
        Parsed parsed = MemoryMarshal.Read<Parsed>(headers.Read("result", 0));
        Assert.Equal((name, expected), (name, parsed.IsIp == 0 ? "none" : parsed.Sent.Show()));
        // Socket view: what is received ends here.
        Assert.Equal(parsed.Sent.Turned(), parsed.Received.Show());
        if (parsed.IsIp == 0) Assert.True(MemoryMarshal.AsBytes([parsed.Received, parsed.Sent]).IndexOfAnyExcept((byte)0) < 0);
    }

    [LiveFact(Needs.PacketPrograms)]
    public void A_packets_namespace_is_that_of_its_device()
    {
        using var headers = new TestObject("headers");
        headers.RunOnPacket("parse", IPv4(Tcp, Ports(1, 2)));
        string link = File.ResolveLinkTarget("/proc/thread-self/ns/net", returnFinalTarget: false)!.Name; // net:[4026531840]
        Assert.Equal(uint.Parse(link[(link.IndexOf('[', StringComparison.Ordinal) + 1)..^1], CultureInfo.InvariantCulture), MemoryMarshal.Read<Parsed>(headers.Read("result", 0)).Namespace);
    }

    private static byte[] Ethernet(ushort type) => [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, (byte)(type >> 8), (byte)type];

    private static byte[] Ports(ushort source, ushort destination) =>
        [(byte)(source >> 8), (byte)source, (byte)(destination >> 8), (byte)destination, 0, 0, 0, 0];

    private static byte[] IPv4(byte protocol, byte[] payload, int fragment = 0, int optionWords = 0) =>
    [
        .. Ethernet(0x0800), (byte)(0x45 + optionWords), 0, 0, (byte)(20 + optionWords * 4 + payload.Length), 0, 1, (byte)(fragment >> 8), (byte)fragment, 64, protocol, 0, 0,
        10, 1, 2, 3, 10, 4, 5, 6, .. Enumerable.Repeat((byte)1, optionWords * 4), .. payload,
    ];

    private static byte[] IPv6(byte next, byte[] payload) =>
    [
        .. Ethernet(0x86dd), 0x60, 0, 0, 0, 0, (byte)payload.Length, next, 64,
        .. IPAddress.Parse("fd00::1").GetAddressBytes(), .. IPAddress.Parse("fd00::2").GetAddressBytes(), .. payload,
    ];

    private static byte[] Extension(byte next, byte length) => [next, length, .. new byte[6 + Math.Min(length, (byte)4) * 8]];

    private static byte[] Repeated(byte next, int count) => [.. Enumerable.Range(0, count).SelectMany(_ => Extension(next, 0))];

    private static byte[] Changed(byte[] packet, int index, byte value)
    {
        packet[index] = value;
        return packet;
    }

#pragma warning disable CS0649 // the kernel fills these
    private struct Parsed
    {
        internal Flow Received;
        internal Flow Sent;
        internal uint Namespace;
        internal uint IsIp;
    }

    // struct ks_flow
    private unsafe struct Flow
    {
        internal fixed byte Local[16];
        internal fixed byte Remote[16];
        internal ushort LocalPort;
        internal ushort RemotePort;
        internal byte Family;
        internal byte Protocol;
        internal ushort Pad;
#pragma warning restore CS0649

        internal readonly string Show() => $"{Protocol} {LocalEnd} -> {RemoteEnd}";

        internal readonly string Turned() => $"{Protocol} {RemoteEnd} -> {LocalEnd}";

        private readonly Endpoint LocalEnd
        {
            get
            {
                fixed (byte* p = Local) return new Endpoint(new ReadOnlySpan<byte>(p, Family == 2 ? 4 : 16), LocalPort);
            }
        }

        private readonly Endpoint RemoteEnd
        {
            get
            {
                fixed (byte* p = Remote) return new Endpoint(new ReadOnlySpan<byte>(p, Family == 2 ? 4 : 16), RemotePort);
            }
        }
    }
}
