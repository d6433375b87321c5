using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Netlink;

/// <summary>
/// Walks attributes (struct nlattr) and remembers the first fault: read straight down, and look at <see cref="Fault"/> once at
/// the end. Values are read byte by byte where they stand, so a 64-bit value needs no alignment.
/// </summary>
internal ref struct NetlinkAttributes
{
    /// <summary>The kernel nests about five deep (a bridge's link information); its own checks allow ten.</summary>
    internal const int MaxDepth = 10;

    private const int HeaderSize = 4;
    private const ushort TypeMask = 0x3fff; // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

    private readonly int _depth;
    private ReadOnlySpan<byte> _rest;

    internal NetlinkAttributes(ReadOnlySpan<byte> attributes)
        : this(attributes, 0)
    {
    }

    private NetlinkAttributes(ReadOnlySpan<byte> attributes, int depth)
    {
        _rest = attributes;
        _depth = depth;
    }

    internal NetlinkFault Fault { get; private set; }

    /// <summary>The attribute's type, without the flag bits.</summary>
    internal ushort Type { get; private set; }

    /// <summary>The attribute's value; empty for a flag.</summary>
    internal ReadOnlySpan<byte> Value { get; private set; }

    internal bool MoveNext()
    {
        if (_rest.IsEmpty || Fault != NetlinkFault.None) return false;
        int length = _rest.Length < HeaderSize ? 0 : MemoryMarshal.Read<ushort>(_rest);
        if (length < HeaderSize || length > _rest.Length)
        {
            Fault = NetlinkFault.Length;
            return false;
        }
        Type = (ushort)(MemoryMarshal.Read<ushort>(_rest[2..]) & TypeMask);
        Value = _rest[HeaderSize..length];
        _rest = _rest[Math.Min((length + 3) & ~3, _rest.Length)..];
        return true;
    }

    /// <summary>The attributes inside this one. Give its fault back with <see cref="Join"/> when they have been walked.</summary>
    internal NetlinkAttributes Nested()
    {
        if (_depth + 1 < MaxDepth) return new NetlinkAttributes(Value, _depth + 1);
        Fail(NetlinkFault.Depth);
        return default;
    }

    /// <summary>Takes over the fault of nested attributes.</summary>
    internal void Join(scoped in NetlinkAttributes nested) => Fail(nested.Fault);

    internal byte UInt8() => Value.IsEmpty ? Short<byte>() : Value[0];

    internal ushort UInt16() => MemoryMarshal.TryRead(Value, out ushort value) ? value : Short<ushort>();

    internal uint UInt32() => MemoryMarshal.TryRead(Value, out uint value) ? value : Short<uint>();

    internal ulong UInt64() => MemoryMarshal.TryRead(Value, out ulong value) ? value : Short<ulong>();

    /// <summary>A number in network byte order, as netfilter writes them.</summary>
    internal ushort BigEndian16() => BinaryPrimitives.TryReadUInt16BigEndian(Value, out ushort value) ? value : Short<ushort>();

    /// <inheritdoc cref="BigEndian16" />
    internal uint BigEndian32() => BinaryPrimitives.TryReadUInt32BigEndian(Value, out uint value) ? value : Short<uint>();

    /// <inheritdoc cref="BigEndian16" />
    internal ulong BigEndian64() => BinaryPrimitives.TryReadUInt64BigEndian(Value, out ulong value) ? value : Short<ulong>();

    /// <summary>A struct of the kernel. A newer kernel's may be longer; one that is shorter is a fault.</summary>
    internal T Read<T>()
        where T : unmanaged => MemoryMarshal.TryRead(Value, out T value) ? value : Short<T>();

    /// <summary>A string, without the NUL that ends it.</summary>
    internal readonly ReadOnlySpan<byte> Text()
    {
        int end = Value.IndexOf((byte)0);
        return end < 0 ? Value : Value[..end];
    }

    /// <summary>Says that a value is not what it should be; only the first fault counts.</summary>
    internal void Fail(NetlinkFault fault)
    {
        if (Fault == NetlinkFault.None) Fault = fault;
    }

    private T Short<T>()
        where T : unmanaged
    {
        Fail(NetlinkFault.Short);
        return default;
    }
}
