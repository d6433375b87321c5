using System.ComponentModel;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.TestKit;

internal static partial class Libc
{
    private const int CloneNewNet = 0x40000000; // include/uapi/linux/sched.h

    /// <summary>Moves the calling thread, and only it, into a network namespace. It must end there.</summary>
    internal static void EnterNetworkNamespace(SafeHandle handle)
    {
        if (SetNs(handle, CloneNewNet) != 0) throw new Win32Exception(Marshal.GetLastPInvokeError(), "setns into the test's network namespace failed");
    }

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    private static partial int SetNs(SafeHandle fd, int type);
}
