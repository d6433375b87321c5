using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes;

/// <summary>An address and a port in 20 bytes: IPv4 (held as mapped IPv6) or IPv6, no string, no allocation.</summary>
public readonly record struct Endpoint
{
    private readonly ulong _high;
    private readonly ulong _low;

    /// <summary>Makes an endpoint from the address in network byte order (4 or 16 bytes).</summary>
    /// <exception cref="ArgumentException">The address has another length.</exception>
    public Endpoint(ReadOnlySpan<byte> address, ushort port)
    {
        switch (address.Length)
        {
            case 4:
                _low = 0x0000_ffff_0000_0000UL | BinaryPrimitives.ReadUInt32BigEndian(address);
                break;
            case 16:
                _high = BinaryPrimitives.ReadUInt64BigEndian(address);
                _low = BinaryPrimitives.ReadUInt64BigEndian(address[8..]);
                break;
            default:
                throw new ArgumentException("An address has 4 or 16 bytes.", nameof(address));
        }
        Port = port;
    }

    /// <summary>The port in host byte order.</summary>
    public ushort Port { get; }

    /// <summary>Whether the address is IPv4, also when a dual-stack socket holds it as mapped IPv6.</summary>
    public bool IsIPv4 => _high == 0 && _low >> 32 == 0xffff;

    /// <summary>The address as a number, the first byte highest; IPv4 as mapped IPv6. What addresses are compared and looked up by.</summary>
    public UInt128 AddressValue => new(_high, _low);

    /// <summary>Whether it is the own machine's, whoever asks: 127.0.0.0/8, ::1.</summary>
    public bool IsLoopback => IsIPv4 ? (_low >> 24 & 0xff) == 127 : _high == 0 && _low == 1;

    /// <summary>Whether it can be nobody's in particular: unspecified, loopback, link-local, multicast, broadcast.</summary>
    public bool IsOfNobody => IsLoopback || (IsIPv4
        ? (_low >> 24 & 0xff) == 0 || (_low >> 16 & 0xffff) == 0xa9fe || (_low & 0xe000_0000) == 0xe000_0000 // 0/8, 169.254/16, 224/3
        : (_high == 0 && _low == 0) || _high >> 56 == 0xff || _high >> 54 == 0x3fa); // ::, ff00::/8, fe80::/10

    /// <summary>The address as an object; allocates.</summary>
    public IPAddress Address
    {
        get
        {
            Span<byte> bytes = stackalloc byte[16];
            BinaryPrimitives.WriteUInt64BigEndian(bytes, _high);
            BinaryPrimitives.WriteUInt64BigEndian(bytes[8..], _low);
            return new IPAddress(IsIPv4 ? bytes[12..] : bytes);
        }
    }

    /// <summary><c>10.0.0.1:80</c> or <c>[fd00::1]:80</c>.</summary>
    public override string ToString() =>
        IsIPv4 ? string.Create(CultureInfo.InvariantCulture, $"{Address}:{Port}") : string.Create(CultureInfo.InvariantCulture, $"[{Address}]:{Port}");
}

/// <summary>The two ends of a flow and its protocol; a value.</summary>
/// <param name="Source">The local side in socket view, the sender in packet view.</param>
/// <param name="Destination">The other side.</param>
/// <param name="Protocol">The IP protocol number: 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6.</param>
[StructLayout(LayoutKind.Auto)]
public readonly record struct FlowTuple(Endpoint Source, Endpoint Destination, byte Protocol)
{
    /// <summary><c>TCP 10.0.0.1:4711 -> 10.0.0.2:80</c>.</summary>
    public override string ToString() => $"{ProtocolName} {Source} -> {Destination}";

    /// <summary>The protocol's usual name, or its number.</summary>
    public string ProtocolName => Protocol switch
    {
        1 => "ICMP",
        6 => "TCP",
        17 => "UDP",
        58 => "ICMPv6",
        132 => "SCTP",
        _ => Protocol.ToString(CultureInfo.InvariantCulture),
    };
}
