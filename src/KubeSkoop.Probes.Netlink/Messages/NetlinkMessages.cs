using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Netlink;

/// <summary>Message types every netlink family shares, include/uapi/linux/netlink.h.</summary>
internal static class NetlinkMessageType
{
    internal const ushort Noop = 1;
    internal const ushort Error = 2;
    internal const ushort Done = 3;
    internal const ushort Overrun = 4;
}

/// <summary>Flags of a message.</summary>
[Flags]
internal enum NetlinkFlags : ushort
{
    None = 0,
    Request = 0x1,
    Multipart = 0x2,
    Acknowledge = 0x4,
    DumpInterrupted = 0x10,
    DumpFiltered = 0x20,

    /// <summary>On a request: the whole table (NLM_F_ROOT and NLM_F_MATCH).</summary>
    Dump = 0x300,

    /// <summary>On an acknowledgement: only the request's header is repeated.</summary>
    Capped = 0x100,

    /// <summary>On an acknowledgement: attributes follow.</summary>
    AcknowledgeAttributes = 0x200,
}

/// <summary>struct nlmsghdr.</summary>
internal struct NetlinkHeader
{
    internal const int Size = 16;

    internal uint Length;
    internal ushort Type;
    internal NetlinkFlags Flags;
    internal uint Sequence;
    internal uint Port;
}

/// <summary>What is wrong with a netlink message.</summary>
internal enum NetlinkFault : byte
{
    None,

    /// <summary>A length is smaller than its own header, or larger than what it is in.</summary>
    Length,

    /// <summary>An attribute is too short for its value.</summary>
    Short,

    /// <summary>Attributes nested deeper than any kernel nests them.</summary>
    Depth,
}

/// <summary>One message of a datagram.</summary>
internal readonly ref struct NetlinkMessage
{
    private readonly ref readonly NetlinkHeader _header;

    internal NetlinkMessage(ref readonly NetlinkHeader header, ReadOnlySpan<byte> payload)
    {
        _header = ref header;
        Payload = payload;
    }

    internal ushort Type => _header.Type;

    internal NetlinkFlags Flags => _header.Flags;

    internal uint Sequence => _header.Sequence;

    internal uint Port => _header.Port;

    /// <summary>Everything behind the header.</summary>
    internal ReadOnlySpan<byte> Payload { get; }

    /// <summary>
    /// The family's own header at the start of the payload, read in place, and the attributes behind it; false when the message
    /// is too short for it.
    /// </summary>
    internal bool TryRead<T>(out T header, out NetlinkAttributes attributes)
        where T : unmanaged
    {
        int aligned = (Unsafe.SizeOf<T>() + 3) & ~3;
        if (!MemoryMarshal.TryRead(Payload, out header))
        {
            attributes = default;
            return false;
        }
        attributes = new NetlinkAttributes(Payload[Math.Min(aligned, Payload.Length)..]);
        return true;
    }
}

/// <summary>Walks the messages of a datagram. A length that lies ends the walk with <see cref="Fault"/>.</summary>
internal ref struct NetlinkMessages(ReadOnlySpan<byte> datagram)
{
    private ReadOnlySpan<byte> _rest = datagram;
    private ReadOnlySpan<byte> _message;

    /// <summary>Looked at once, after the walk.</summary>
    internal NetlinkFault Fault { get; private set; }

    internal readonly NetlinkMessage Current =>
        new(in Unsafe.As<byte, NetlinkHeader>(ref MemoryMarshal.GetReference(_message)), _message[NetlinkHeader.Size..]);

    internal bool MoveNext()
    {
        if (_rest.IsEmpty) return false;
        uint length = _rest.Length < NetlinkHeader.Size ? 0 : MemoryMarshal.Read<uint>(_rest);
        if (length < NetlinkHeader.Size || length > (uint)_rest.Length)
        {
            Fault = NetlinkFault.Length;
            _rest = default;
            return false;
        }
        _message = _rest[..(int)length];
        _rest = _rest[Math.Min(((int)length + 3) & ~3, _rest.Length)..];
        return true;
    }
}
