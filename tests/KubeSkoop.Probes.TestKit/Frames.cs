using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.TestKit;

/// <summary>
/// Ethernet frames from the left side of a pair to the right one, made byte by byte: what no socket would send, such as a packet shorter than it
/// says, a wrong checksum, or one fragment alone.
/// </summary>
public static class Frames
{
    /// <summary>Where the IP header begins.</summary>
    public const int HeaderOffset = 14;

    /// <summary>A frame with one IP packet, right in all that is not asked to be otherwise.</summary>
    /// <param name="from">The source address; its version is the packet's.</param>
    /// <param name="to">The destination address.</param>
    /// <param name="protocol">The protocol of <paramref name="payload"/>; in IPv6 the next header.</param>
    /// <param name="payload">What follows the IP header.</param>
    /// <param name="missing">Bytes the header says there are beyond the payload.</param>
    /// <param name="fragment">The 16 bits of flags and offset; IPv4 only.</param>
    /// <param name="identification">What the fragments of one packet have in common; IPv4 only.</param>
    public static byte[] Packet(IPAddress from, IPAddress to, byte protocol, ReadOnlySpan<byte> payload, int missing = 0, ushort fragment = 0, ushort identification = 1)
    {
        ArgumentNullException.ThrowIfNull(from);
        ArgumentNullException.ThrowIfNull(to);
        bool v6 = from.AddressFamily == AddressFamily.InterNetworkV6;
        int headerLength = v6 ? 40 : 20;
        byte[] frame = new byte[HeaderOffset + headerLength + payload.Length];
        (frame[0], frame[5]) = (2, 2); // 02:00:00:00:00:02, see TestNamespace.ConnectAsync
        (frame[6], frame[11]) = (2, 1);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), v6 ? (ushort)0x86dd : (ushort)0x0800);
        Span<byte> header = frame.AsSpan(HeaderOffset, headerLength);
        if (v6)
        {
            header[0] = 0x60;
            BinaryPrimitives.WriteUInt16BigEndian(header[4..], (ushort)(payload.Length + missing));
            header[6] = protocol;
            header[7] = 64;
            from.TryWriteBytes(header[8..], out _);
            to.TryWriteBytes(header[24..], out _);
        }
        else
        {
            header[0] = 0x45;
            BinaryPrimitives.WriteUInt16BigEndian(header[2..], (ushort)(headerLength + payload.Length + missing));
            BinaryPrimitives.WriteUInt16BigEndian(header[4..], identification);
            BinaryPrimitives.WriteUInt16BigEndian(header[6..], fragment);
            header[8] = 64;
            header[9] = protocol;
            from.TryWriteBytes(header[12..], out _);
            to.TryWriteBytes(header[16..], out _);
            BinaryPrimitives.WriteUInt16BigEndian(header[10..], TestNamespace.Checksum(header));
        }
        payload.CopyTo(frame.AsSpan(HeaderOffset + headerLength));
        return frame;
    }

    /// <summary>A UDP datagram with a checksum of the caller's; 0 is none, and no test's payload happens to have 0x1234.</summary>
    public static byte[] Udp(ushort port, int size, ushort checksum)
    {
        byte[] datagram = new byte[8 + size];
        BinaryPrimitives.WriteUInt16BigEndian(datagram, 12345);
        BinaryPrimitives.WriteUInt16BigEndian(datagram.AsSpan(2), port);
        BinaryPrimitives.WriteUInt16BigEndian(datagram.AsSpan(4), (ushort)datagram.Length);
        BinaryPrimitives.WriteUInt16BigEndian(datagram.AsSpan(6), checksum);
        return datagram;
    }
}
