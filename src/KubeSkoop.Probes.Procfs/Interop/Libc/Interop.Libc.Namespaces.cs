using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Procfs.Interop;

internal static partial class Libc
{
    internal const int CloneNewNet = 0x40000000; // include/uapi/linux/sched.h

    private const nuint NamespaceGetType = 0xb703; // NS_GET_NSTYPE, include/uapi/linux/nsfs.h
    private const int PidFdOpenNumber = 434;     // the same on every architecture

    /// <summary>Moves the calling thread into a network namespace. Only ever on a thread that ends afterwards.</summary>
    internal static bool SetNetworkNamespace(SafeFileHandle networkNamespace, out Errno error)
    {
        bool ok = SetNs(networkNamespace, CloneNewNet) == 0;
        error = ok ? Errno.None : (Errno)Marshal.GetLastPInvokeError();
        return ok;
    }

    /// <summary>A descriptor that becomes readable when the process ends; it does not pin the process's namespaces.</summary>
    internal static SafeFileHandle OpenPidFd(int pid, out Errno error)
    {
        int descriptor = (int)PidFdOpen(PidFdOpenNumber, pid, 0);
        error = descriptor < 0 ? (Errno)Marshal.GetLastPInvokeError() : Errno.None;
        return new SafeFileHandle(descriptor, ownsHandle: true);
    }

    /// <summary>Whether a file of nsfs is a network namespace, and not one of another kind.</summary>
    internal static bool IsNetworkNamespace(SafeFileHandle file) => IoControl(file, NamespaceGetType) == CloneNewNet;

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int IoControl(SafeFileHandle file, nuint request);

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    private static partial int SetNs(SafeFileHandle ns, int type);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint PidFdOpen(nint number, int pid, uint flags);
}
