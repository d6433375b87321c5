using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Procfs.Interop;

internal static partial class Libc
{
    internal const int AtCurrentDirectory = -100;      // include/uapi/linux/fcntl.h
    internal const int OpenReadOnly = 0;
    internal const int OpenCloseOnExec = 0x80000;
    internal const int OpenPath = 0x200000;            // a place in the tree, not the file itself
    internal static readonly int OpenDirectory = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000;

    private static readonly int GetDents64Number = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 61 : 217;

    /// <summary>Opens a file; an invalid handle and the error otherwise. Never throws: a vanished pid is no exception.</summary>
    internal static SafeFileHandle Open(int directory, ReadOnlySpan<byte> nulTerminatedPath, int flags, out Errno error)
    {
        SafeFileHandle handle = OpenAt(directory, in MemoryMarshal.GetReference(nulTerminatedPath), flags | OpenCloseOnExec, 0);
        error = handle.IsInvalid ? (Errno)Marshal.GetLastPInvokeError() : Errno.None;
        return handle;
    }

    internal static SafeFileHandle Open(SafeFileHandle directory, ReadOnlySpan<byte> nulTerminatedPath, int flags, out Errno error)
    {
        SafeFileHandle handle = OpenAt(directory, in MemoryMarshal.GetReference(nulTerminatedPath), flags | OpenCloseOnExec, 0);
        error = handle.IsInvalid ? (Errno)Marshal.GetLastPInvokeError() : Errno.None;
        return handle;
    }

    /// <summary>Reads at an offset; the number of bytes, or -1 and the error.</summary>
    internal static unsafe int ReadAt(SafeFileHandle file, Span<byte> buffer, long offset, out Errno error)
    {
        fixed (byte* p = buffer)
        {
            nint read;
            do
            {
                read = PRead(file, p, (nuint)buffer.Length, offset);
                error = read < 0 ? (Errno)Marshal.GetLastPInvokeError() : Errno.None;
            }
            while (error == Errno.Interrupted);
            return (int)read;
        }
    }

    /// <summary>Where a symbolic link points; -1 and the error otherwise.</summary>
    internal static unsafe int ReadLink(SafeFileHandle directory, ReadOnlySpan<byte> nulTerminatedPath, Span<byte> target, out Errno error)
    {
        fixed (byte* p = target)
        {
            int length = (int)ReadLinkAt(directory, in MemoryMarshal.GetReference(nulTerminatedPath), p, (nuint)target.Length);
            error = length < 0 ? (Errno)Marshal.GetLastPInvokeError() : Errno.None;
            return length;
        }
    }

    /// <summary>Inode, device and size of a path.</summary>
    internal static unsafe bool Stat(SafeFileHandle directory, ReadOnlySpan<byte> nulTerminatedPath, out FileStatus status, out Errno error)
    {
        fixed (FileStatus* p = &status)
        {
            bool ok = StatX(directory, in MemoryMarshal.GetReference(nulTerminatedPath), 0, StatBasic, p) == 0;
            error = ok ? Errno.None : (Errno)Marshal.GetLastPInvokeError();
            return ok;
        }
    }

    /// <summary>Inode, device and size of an open file.</summary>
    internal static unsafe bool Stat(SafeFileHandle file, out FileStatus status)
    {
        fixed (FileStatus* p = &status) return StatX(file, in MemoryMarshal.GetReference("\0"u8), AtEmptyPath, StatBasic, p) == 0;
    }

    /// <summary>Fills <paramref name="buffer"/> with struct linux_dirent64 records; 0 at the end, -1 on error.</summary>
    internal static unsafe int ReadDirectory(SafeFileHandle directory, Span<byte> buffer, out Errno error)
    {
        fixed (byte* p = buffer)
        {
            int read = (int)Syscall3(GetDents64Number, directory, p, (nuint)buffer.Length);
            error = read < 0 ? (Errno)Marshal.GetLastPInvokeError() : Errno.None;
            return read;
        }
    }

    /// <summary>Goes to an entry of a directory that is kept open; 0 is the first.</summary>
    internal static bool Seek(SafeFileHandle directory, long position) => LSeek(directory, position, 0) == position;

    /// <summary>
    /// Opens, reads and closes a file that the kernel writes in one piece; the number of bytes, or -1 and the error. For
    /// files of which there are too many to keep open: no handle is made, so nothing is allocated.
    /// </summary>
    internal static unsafe int ReadOnce(SafeFileHandle directory, ReadOnlySpan<byte> nulTerminatedPath, Span<byte> buffer, out Errno error)
    {
        int file = OpenAtRaw(directory, in MemoryMarshal.GetReference(nulTerminatedPath), OpenReadOnly | OpenCloseOnExec, 0);
        if (file < 0)
        {
            error = (Errno)Marshal.GetLastPInvokeError();
            return -1;
        }
        fixed (byte* p = buffer)
        {
            nint read;
            do
            {
                read = PReadRaw(file, p, (nuint)buffer.Length, 0);
                error = read < 0 ? (Errno)Marshal.GetLastPInvokeError() : Errno.None;
            }
            while (error == Errno.Interrupted);
            _ = Close(file);
            return (int)read;
        }
    }

    /// <summary>
    /// Makes an open handle stand for another file (dup3). One handle serves to open any number of files one after the
    /// other, without an allocation for each.
    /// </summary>
    internal static bool Reopen(SafeFileHandle slot, SafeFileHandle directory, ReadOnlySpan<byte> nulTerminatedPath, int flags, out Errno error)
    {
        int file = OpenAtRaw(directory, in MemoryMarshal.GetReference(nulTerminatedPath), flags | OpenCloseOnExec, 0);
        if (file < 0)
        {
            error = (Errno)Marshal.GetLastPInvokeError();
            return false;
        }
        bool ok = Dup3(file, slot, OpenCloseOnExec) >= 0;
        error = ok ? Errno.None : (Errno)Marshal.GetLastPInvokeError();
        _ = Close(file);
        return ok;
    }

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true)]
    private static partial SafeFileHandle OpenAt(int directory, in byte path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true)]
    private static partial SafeFileHandle OpenAt(SafeFileHandle directory, in byte path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true)]
    private static partial int OpenAtRaw(SafeFileHandle directory, in byte path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "pread", SetLastError = true)]
    private static unsafe partial nint PReadRaw(int file, byte* buffer, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "dup3", SetLastError = true)]
    private static partial int Dup3(int file, SafeFileHandle slot, int flags);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int file);

    [LibraryImport("libc", EntryPoint = "pread", SetLastError = true)]
    private static unsafe partial nint PRead(SafeFileHandle file, byte* buffer, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "readlinkat", SetLastError = true)]
    private static unsafe partial nint ReadLinkAt(SafeFileHandle directory, in byte path, byte* buffer, nuint size);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true)]
    private static unsafe partial int StatX(SafeFileHandle directory, in byte path, int flags, uint mask, FileStatus* status);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long LSeek(SafeFileHandle file, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static unsafe partial nint Syscall3(nint number, SafeFileHandle file, byte* buffer, nuint count);

    private const uint StatBasic = 0x7ff;         // include/uapi/linux/stat.h
    private const int AtEmptyPath = 0x1000;

    /// <summary>struct statx, include/uapi/linux/stat.h: the same on every architecture.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    internal struct FileStatus
    {
        [FieldOffset(28)] internal ushort Mode;
        [FieldOffset(32)] internal ulong Inode;
        [FieldOffset(40)] internal ulong Size;
        [FieldOffset(136)] internal uint DeviceMajor;
        [FieldOffset(140)] internal uint DeviceMinor;
    }
}

/// <summary>The error numbers that are told apart; include/uapi/asm-generic/errno-base.h.</summary>
internal enum Errno
{
    None = 0,
    NotPermitted = 1,
    NoEntry = 2,
    NoProcess = 3,
    Interrupted = 4,
    BadDescriptor = 9,
    TryAgain = 11,
    OutOfMemory = 12,
    AccessDenied = 13,
    Busy = 16,
    InvalidArgument = 22,
    TooManyInSystem = 23,
    TooManyOpen = 24,
    NotImplemented = 38,
    ProtocolNotSupported = 93,
    NotSupported = 95,
    NoBuffers = 105,
}

internal static class ErrnoExtensions
{
    /// <summary>The thing went away while it was being looked at.</summary>
    internal static bool MeansVanished(this Errno error) => error is Errno.NoEntry or Errno.NoProcess or Errno.InvalidArgument or Errno.BadDescriptor;

    /// <summary>For messages: the symbol people search for.</summary>
    internal static string Describe(this Errno error) => error switch
    {
        Errno.NotPermitted => "EPERM, a capability is missing",
        Errno.AccessDenied => "EACCES, CAP_SYS_PTRACE (and CAP_DAC_READ_SEARCH) may be missing",
        Errno.NoEntry => "ENOENT, no such file",
        Errno.NoProcess => "ESRCH, the process is gone",
        Errno.TooManyOpen => "EMFILE, this process has too many open files; raise LimitNOFILE (ulimit -n)",
        Errno.TooManyInSystem => "ENFILE, the machine has too many open files; raise fs.file-max",
        Errno.OutOfMemory => "ENOMEM, the kernel is out of memory",
        _ => string.Create(CultureInfo.InvariantCulture, $"errno {(int)error}"),
    };
}
