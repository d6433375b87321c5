using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Netlink.Interop;

/// <summary>The socket calls, as thin as they come: a number, and the error beside it.</summary>
internal static partial class Libc
{
    private const int AddressFamilyNetlink = 16;      // include/linux/socket.h
    private const int SocketRaw = 3;
    private const int SocketCloseOnExec = 0x80000;
    private const int LevelSocket = 1;                // include/uapi/asm-generic/socket.h
    private const int OptionReceiveBuffer = 8;
    private const int OptionReceiveTimeout = 20;
    private const int OptionReceiveBufferForce = 33;
    private const int OptionMemoryInformation = 55;   // SO_MEMINFO
    private const int MemoryInformationDrops = 8;     // include/uapi/linux/sock_diag.h, SK_MEMINFO_DROPS
    private const int MemoryInformationCount = 16;    // nine today
    private const int LevelNetlink = 270;             // include/linux/socket.h, SOL_NETLINK
    private const int MessageTruncate = 0x20;         // MSG_TRUNC: recvfrom returns the datagram's whole length
    private const int MessageDoNotWait = 0x40;

    /// <summary>Opens a raw netlink socket in the calling thread's network namespace; an invalid handle and the error otherwise.</summary>
    internal static SafeFileHandle OpenNetlink(NetlinkProtocol protocol, out Errno error)
    {
        SafeFileHandle handle = Socket(AddressFamilyNetlink, SocketRaw | SocketCloseOnExec, (int)protocol);
        error = handle.IsInvalid ? LastError() : Errno.None;
        return handle;
    }

    /// <summary>Binds to a port of the kernel's choice, and tells which.</summary>
    internal static unsafe bool Bind(SafeFileHandle socket, out uint port, out Errno error)
    {
        var address = new NetlinkAddress { Family = AddressFamilyNetlink };
        int length = sizeof(NetlinkAddress);
        bool ok = Bind(socket, &address, length) == 0 && GetSockName(socket, &address, &length) == 0;
        error = ok ? Errno.None : LastError();
        port = address.Port;
        return ok;
    }

    /// <summary>Sets an option of SOL_NETLINK; an old kernel that does not know it answers no.</summary>
    internal static unsafe bool SetOption(SafeFileHandle socket, NetlinkOption option, int value, out Errno error)
    {
        bool ok = SetSockOpt(socket, LevelNetlink, (int)option, &value, sizeof(int)) == 0;
        error = ok ? Errno.None : LastError();
        return ok;
    }

    /// <summary>Asks for a receive buffer beyond the system's limit; without CAP_NET_ADMIN up to the limit.</summary>
    internal static unsafe bool SetReceiveBuffer(SafeFileHandle socket, int bytes) =>
        SetSockOpt(socket, LevelSocket, OptionReceiveBufferForce, &bytes, sizeof(int)) == 0
        || SetSockOpt(socket, LevelSocket, OptionReceiveBuffer, &bytes, sizeof(int)) == 0;

    /// <summary>Messages the kernel could not deliver to the socket, ever; 32 bits that wrap. 0 on kernels before 4.12.</summary>
    internal static unsafe uint ReadDrops(SafeFileHandle socket)
    {
        uint* memory = stackalloc uint[MemoryInformationCount];
        int length = MemoryInformationCount * sizeof(uint);
        return GetSockOpt(socket, LevelSocket, OptionMemoryInformation, memory, &length) == 0 && length > MemoryInformationDrops * sizeof(uint)
            ? memory[MemoryInformationDrops]
            : 0;
    }

    /// <summary>The longest a receive may wait.</summary>
    internal static unsafe bool SetReceiveTimeout(SafeFileHandle socket, TimeSpan timeout)
    {
        long* time = stackalloc long[2] { timeout.Ticks / TimeSpan.TicksPerSecond, timeout.Ticks % TimeSpan.TicksPerSecond / TimeSpan.TicksPerMicrosecond };
        return SetSockOpt(socket, LevelSocket, OptionReceiveTimeout, time, 2 * sizeof(long)) == 0;
    }

    /// <summary>Sends one datagram to a netlink port.</summary>
    internal static unsafe bool Send(SafeFileHandle socket, ReadOnlySpan<byte> datagram, uint port, out Errno error)
    {
        var address = new NetlinkAddress { Family = AddressFamilyNetlink, Port = port };
        fixed (byte* p = datagram)
        {
            nint sent;
            do
            {
                sent = SendTo(socket, p, (nuint)datagram.Length, 0, &address, sizeof(NetlinkAddress));
                error = sent < 0 ? LastError() : Errno.None;
            }
            while (error == Errno.Interrupted);
            return sent == datagram.Length;
        }
    }

    /// <summary>
    /// Receives one datagram. The result is its whole length, also when it did not fit into <paramref name="buffer"/>; -1 and the
    /// error otherwise.
    /// </summary>
    internal static unsafe int Receive(SafeFileHandle socket, Span<byte> buffer, bool wait, out uint sender, out Errno error)
    {
        NetlinkAddress address = default;
        int addressLength = sizeof(NetlinkAddress);
        fixed (byte* p = buffer)
        {
            nint received;
            do
            {
                received = RecvFrom(socket, p, (nuint)buffer.Length, MessageTruncate | (wait ? 0 : MessageDoNotWait), &address, &addressLength);
                error = received < 0 ? LastError() : Errno.None;
            }
            while (error == Errno.Interrupted);
            sender = address.Port;
            return (int)received;
        }
    }

    private static Errno LastError() => (Errno)Marshal.GetLastPInvokeError();

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    private static partial SafeFileHandle Socket(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "bind", SetLastError = true)]
    private static unsafe partial int Bind(SafeFileHandle socket, NetlinkAddress* address, int length);

    [LibraryImport("libc", EntryPoint = "getsockname", SetLastError = true)]
    private static unsafe partial int GetSockName(SafeFileHandle socket, NetlinkAddress* address, int* length);

    [LibraryImport("libc", EntryPoint = "setsockopt", SetLastError = true)]
    private static unsafe partial int SetSockOpt(SafeFileHandle socket, int level, int option, void* value, int length);

    [LibraryImport("libc", EntryPoint = "getsockopt", SetLastError = true)]
    private static unsafe partial int GetSockOpt(SafeFileHandle socket, int level, int option, void* value, int* length);

    [LibraryImport("libc", EntryPoint = "sendto", SetLastError = true)]
    private static unsafe partial nint SendTo(SafeFileHandle socket, byte* buffer, nuint length, int flags, NetlinkAddress* address, int addressLength);

    [LibraryImport("libc", EntryPoint = "recvfrom", SetLastError = true)]
    private static unsafe partial nint RecvFrom(SafeFileHandle socket, byte* buffer, nuint length, int flags, NetlinkAddress* address, int* addressLength);

    /// <summary>struct sockaddr_nl, include/uapi/linux/netlink.h.</summary>
    private struct NetlinkAddress
    {
        internal ushort Family;
        internal ushort Padding;
        internal uint Port;
        internal uint Groups;
    }
}

/// <summary>Options of SOL_NETLINK, include/uapi/linux/netlink.h.</summary>
internal enum NetlinkOption
{
    AddMembership = 1,
    DropMembership = 2,
    CapAck = 10,
    ExtendedAck = 11,
    StrictCheck = 12,
}
