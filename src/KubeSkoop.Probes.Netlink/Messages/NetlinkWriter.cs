using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Netlink;

/// <summary>Writes one request. A probe writes its requests once and sends the same bytes again and again.</summary>
/// <remarks>Requests are small and made of constants: one that does not fit its buffer is a programming error, and throws.</remarks>
internal ref struct NetlinkWriter
{
    private readonly Span<byte> _buffer;
    private int _length;

    /// <summary>Begins a request; the socket adds sequence, port and the flags of its kind.</summary>
    internal NetlinkWriter(Span<byte> buffer, ushort type, NetlinkFlags flags = NetlinkFlags.None)
    {
        _buffer = buffer;
        var header = new NetlinkHeader { Type = type, Flags = flags };
        MemoryMarshal.Write(Take(NetlinkHeader.Size), in header);
    }

    /// <summary>The family's own header.</summary>
    internal void Header<T>(in T header)
        where T : unmanaged => MemoryMarshal.Write(Take(Unsafe.SizeOf<T>()), in header);

    internal void Attribute(ushort type, scoped ReadOnlySpan<byte> value)
    {
        Span<byte> attribute = Take(4 + value.Length);
        MemoryMarshal.Write(attribute, (ushort)(4 + value.Length));
        MemoryMarshal.Write(attribute[2..], type);
        value.CopyTo(attribute[4..]);
    }

    /// <summary>A value in the machine's byte order; <see cref="BinaryPrimitives.ReverseEndianness(uint)"/> it for netfilter.</summary>
    internal void Attribute<T>(ushort type, T value)
        where T : unmanaged => Attribute(type, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    /// <summary>Begins an attribute that holds attributes; give the result to <see cref="EndNested"/>.</summary>
    internal int BeginNested(ushort type)
    {
        int start = _length;
        MemoryMarshal.Write(Take(4)[2..], (ushort)(type | 0x8000));
        return start;
    }

    internal readonly void EndNested(int start) => MemoryMarshal.Write(_buffer[start..], (ushort)(_length - start));

    /// <summary>The finished request.</summary>
    internal readonly Span<byte> Finish()
    {
        MemoryMarshal.Write(_buffer, (uint)_length);
        return _buffer[.._length];
    }

    private Span<byte> Take(int bytes)
    {
        int aligned = (bytes + 3) & ~3;
        Span<byte> taken = _buffer.Slice(_length, aligned);
        taken.Clear();
        _length += aligned;
        return taken[..bytes];
    }
}
