using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Netlink;

/// <summary>What is said to sock_diag about TCP, include/uapi/linux/inet_diag.h.</summary>
/// <remarks>
/// The older message, TCPDIAG_GETSOCK, is asked rather than SOCK_DIAG_BY_FAMILY: a dump walks the whole machine's table, of
/// whichever namespace it is asked, and only the older one gives both families in one walk (net/ipv4/inet_diag.c,
/// inet_diag_dump_compat). The answers are the same struct inet_diag_msg.
/// </remarks>
internal static class SocketDiagnostics
{
    internal const ushort GetTcpSockets = 18;  // TCPDIAG_GETSOCK

    internal const ushort Information = 2;     // attributes: INET_DIAG_INFO
    internal const ushort CongestionControl = 4;
    internal const ushort Shutdown = 8;

    /// <summary>Everything but listeners, and TIME_WAIT, of which sockstat has the number: they need not be sent one by one.</summary>
    internal const uint Connections = 0xffe & ~(1u << (int)TcpState.Listen) & ~(1u << (int)TcpState.TimeWait);

    /// <summary>Listeners are in a table of their own, which is small: asking for them takes microseconds.</summary>
    internal const uint Listeners = 1u << (int)TcpState.Listen;

    /// <summary>A request for all sockets in some states.</summary>
    /// <param name="states">A bit for each state; the kernel filters.</param>
    /// <param name="info">Whether struct tcp_info and the congestion control's name are wanted.</param>
    internal static byte[] Request(uint states, bool info)
    {
        var writer = new NetlinkWriter(new byte[128], GetTcpSockets);
        writer.Header(new InetDiagnosticRequest
        {
            Family = 2, // AF_INET; the kernel reads it for a single socket only
            Extensions = info ? (byte)((1 << (Information - 1)) | (1 << (CongestionControl - 1))) : (byte)0,
            States = states,
        });
        return writer.Finish().ToArray();
    }
}

/// <summary>struct inet_diag_req.</summary>
[StructLayout(LayoutKind.Explicit, Size = 60)]
internal struct InetDiagnosticRequest
{
    [FieldOffset(0)] internal byte Family;
    [FieldOffset(3)] internal byte Extensions;
    [FieldOffset(52)] internal uint States;
}

/// <summary>struct inet_diag_msg.</summary>
[StructLayout(LayoutKind.Explicit, Size = 72)]
internal struct InetDiagnosticMessage
{
    private const byte FamilyIPv6 = 10; // AF_INET6

    [FieldOffset(0)] internal byte Family;
    [FieldOffset(1)] internal byte State;
    [FieldOffset(4)] private ushort _localPort;
    [FieldOffset(6)] private ushort _remotePort;
    [FieldOffset(8)] private Address _local;
    [FieldOffset(24)] private Address _remote;
    [FieldOffset(56)] internal uint ReceiveQueue;
    [FieldOffset(60)] internal uint SendQueue;
    [FieldOffset(64)] internal uint UserId;
    [FieldOffset(68)] internal uint Inode;

    internal readonly Endpoint Local => Make(in _local, _localPort);

    internal readonly Endpoint Remote => Make(in _remote, _remotePort);

    private readonly Endpoint Make(in Address address, ushort port)
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<Address>(in address));
        ushort hostOrder = BitConverter.IsLittleEndian ? System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(port) : port;
        return new Endpoint(Family == FamilyIPv6 ? bytes : bytes[..4], hostOrder);
    }

    [InlineArray(16)]
    private struct Address
    {
        private byte _first;
    }
}

/// <summary>The parts of struct tcp_info (include/uapi/linux/tcp.h) that are summed up. Kernels make it longer, never shorter.</summary>
[StructLayout(LayoutKind.Explicit, Size = 192)]
internal struct TcpInformation
{
    [FieldOffset(68)] internal uint RoundTripTime;      // tcpi_rtt, microseconds
    [FieldOffset(100)] internal uint Retransmits;       // tcpi_total_retrans
    [FieldOffset(168)] internal ulong BusyTime;         // microseconds, the two below included
    [FieldOffset(176)] internal ulong ReceiverLimited;
    [FieldOffset(184)] internal ulong SendBufferLimited;
}
