using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Procfs.Interop;

internal static partial class Libc
{
    private const int EpollCloseOnExec = 0x80000; // include/uapi/linux/eventpoll.h
    private const int EpollAdd = 1;
    private const uint EpollIn = 1;
    private const short PollIn = 1;
    private const int EventFdCloseOnExec = 0x80000;
    private const int EventFdNonBlocking = 0x800;

    /// <exception cref="IOException">The kernel has no descriptor left to give.</exception>
    internal static SafeFileHandle CreateEpoll() => Made(EpollCreate1(EpollCloseOnExec), "epoll_create1");

    /// <exception cref="IOException">The kernel has no descriptor left to give.</exception>
    internal static SafeFileHandle CreateEventFd() => Made(EventFd(0, EventFdCloseOnExec | EventFdNonBlocking), "eventfd");

    private static SafeFileHandle Made(SafeFileHandle file, string call)
    {
        if (!file.IsInvalid) return file;
        var error = (Errno)Marshal.GetLastPInvokeError();
        file.Dispose();
        throw new IOException($"{call} failed: {error.Describe()}");
    }

    /// <summary>Watches a descriptor for readability. It leaves the set by itself when it is closed.</summary>
    internal static unsafe bool WatchReadable(SafeFileHandle epoll, SafeFileHandle file, ulong data)
    {
        Span<byte> e = stackalloc byte[16];
        bool packed = RuntimeInformation.ProcessArchitecture == Architecture.X64; // struct epoll_event is packed there only
        MemoryMarshal.Write(e, EpollIn);
        MemoryMarshal.Write(e[(packed ? 4 : 8)..], data);
        fixed (byte* p = e) return EpollCtl(epoll, EpollAdd, file, p) == 0;
    }

    /// <summary>Waits until something is readable or the time is over. Which one does not matter to the caller.</summary>
    internal static unsafe int WaitReadable(SafeFileHandle epoll, int milliseconds)
    {
        byte* events = stackalloc byte[64 * 16];
        return EpollWait(epoll, events, 64, milliseconds);
    }

    /// <summary>Waits until something is readable or the time is over; the data of what is.</summary>
    internal static unsafe ReadOnlySpan<ulong> WaitReadable(SafeFileHandle epoll, Span<ulong> data, int milliseconds)
    {
        byte* events = stackalloc byte[64 * 16];
        int count = EpollWait(epoll, events, Math.Min(data.Length, 64), milliseconds);
        bool packed = RuntimeInformation.ProcessArchitecture == Architecture.X64;
        for (int i = 0; i < count; i++) data[i] = Unsafe.ReadUnaligned<ulong>(events + (packed ? 12 * i + 4 : 16 * i + 8));
        return data[..Math.Max(count, 0)];
    }

    /// <summary>Whether a descriptor is readable now.</summary>
    internal static unsafe bool IsReadable(SafeFileHandle file)
    {
        bool added = false;
        try
        {
            file.DangerousAddRef(ref added);
            var watched = new PollDescriptor { File = (int)file.DangerousGetHandle(), Events = PollIn };
            return Poll(&watched, 1, 0) > 0;
        }
        finally
        {
            if (added) file.DangerousRelease();
        }
    }

    internal static unsafe void Signal(SafeFileHandle eventFd)
    {
        ulong one = 1;
        _ = Write(eventFd, (byte*)&one, sizeof(ulong));
    }

    [LibraryImport("libc", EntryPoint = "epoll_create1", SetLastError = true)]
    private static partial SafeFileHandle EpollCreate1(int flags);

    [LibraryImport("libc", EntryPoint = "epoll_ctl", SetLastError = true)]
    private static unsafe partial int EpollCtl(SafeFileHandle epoll, int operation, SafeFileHandle file, byte* e);

    [LibraryImport("libc", EntryPoint = "epoll_wait", SetLastError = true)]
    private static unsafe partial int EpollWait(SafeFileHandle epoll, byte* events, int count, int milliseconds);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    private static partial SafeFileHandle EventFd(uint value, int flags);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static unsafe partial nint Write(SafeFileHandle file, byte* buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    private static unsafe partial int Poll(PollDescriptor* descriptors, nuint count, int milliseconds);

    private struct PollDescriptor
    {
        internal int File;
        internal short Events;
        internal short Returned;
    }
}
