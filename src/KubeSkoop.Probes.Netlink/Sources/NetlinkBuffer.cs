using System.Numerics;

namespace KubeSkoop.Probes.Netlink;

/// <summary>A pinned buffer for datagrams, shared by all sockets that are read by one thread at a time.</summary>
/// <remarks>
/// The kernel fills dumps in pieces of up to 32 KiB, and more only for a single larger message. A datagram that does not fit makes the buffer grow
/// for the next try.
/// </remarks>
internal sealed class NetlinkBuffer(int size = NetlinkBuffer.DefaultSize)
{
    internal const int DefaultSize = 64 * 1024;
    internal const int Limit = 16 * 1024 * 1024;

    private byte[] _bytes = GC.AllocateUninitializedArray<byte>(size, pinned: true);

    internal Span<byte> Span => _bytes;

    /// <summary>Grows to hold a datagram of this many bytes, or to the limit. What the buffer held is gone.</summary>
    internal void Grow(int needed)
    {
        if (_bytes.Length >= Limit) return;
        _bytes = GC.AllocateUninitializedArray<byte>((int)Math.Min(Limit, BitOperations.RoundUpToPowerOf2((uint)needed)), pinned: true);
    }
}
