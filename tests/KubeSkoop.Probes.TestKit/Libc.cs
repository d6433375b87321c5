using System.ComponentModel;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.TestKit;

internal static partial class Libc
{
    private const int CloneNewNet = 0x40000000; // include/uapi/linux/sched.h
    private const int CloseOnExec = 0x80000;    // include/uapi/asm-generic/fcntl.h

    /// <summary>Moves the calling thread, and only it, into a network namespace.</summary>
    internal static void EnterNetworkNamespace(SafeHandle handle)
    {
        if (SetNs(handle, CloneNewNet) != 0) throw new Win32Exception(Marshal.GetLastPInvokeError(), "setns into the test's network namespace failed");
    }

    /// <summary>Changes the user and group of the calling thread, and only of it, and drops its other groups. It must end there.</summary>
    // libc's own functions change all threads of the process; the system calls change one.
    internal static void BecomeUser(int id)
    {
        bool arm = RuntimeInformation.ProcessArchitecture == Architecture.Arm64;
        if (Syscall(arm ? 159 : 116, 0, 0, 0) != 0        // setgroups
            || Syscall(arm ? 149 : 119, id, id, id) != 0  // setresgid
            || Syscall(arm ? 147 : 117, id, id, id) != 0) // setresuid
            throw new Win32Exception(Marshal.GetLastPInvokeError(), $"The thread cannot become user {id}");
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Syscall(nint number, nint first, nint second, nint third);

    /// <summary>Has the kernel take a raw tracepoint program that does nothing, and lets go of it.</summary>
    /// <returns>0, or errno.</returns>
    internal static unsafe int LoadEmptyProgram()
    {
        const int ProgramLoad = 5;       // include/uapi/linux/bpf.h
        const uint RawTracepoint = 17;
        ulong* instructions = stackalloc ulong[] { 0xb7, 0x95 }; // r0 = 0; exit
        fixed (byte* licence = "GPL\0"u8)
        {
            var load = new ProgramToLoad { Type = RawTracepoint, Instructions = 2, FirstInstruction = instructions, Licence = licence };
            nint descriptor = Syscall(RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 280 : 321, ProgramLoad, (nint)(&load), sizeof(ProgramToLoad));
            if (descriptor < 0) return Marshal.GetLastPInvokeError();
            new SafeFileHandle(descriptor, ownsHandle: true).Dispose();
            return 0;
        }
    }

    // union bpf_attr, as far as BPF_PROG_LOAD needs it
    private unsafe struct ProgramToLoad
    {
        internal uint Type;
        internal uint Instructions;
        internal ulong* FirstInstruction;
        internal byte* Licence;
    }

    /// <summary>A socket of a protocol that .NET does not know.</summary>
    internal static Socket OpenSocket(int family, int type, int protocol)
    {
        int descriptor = CreateSocket(family, type | CloseOnExec, protocol);
        return descriptor >= 0
            ? new Socket(new SafeSocketHandle(descriptor, ownsHandle: true))
            : throw new Win32Exception(Marshal.GetLastPInvokeError(), $"There is no socket of family {family}, type {type} and protocol {protocol}");
    }

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    private static partial int CreateSocket(int family, int type, int protocol);

    /// <summary>Makes a tap device in the calling thread's network namespace. What is sent to it is read from the handle; it ends with it.</summary>
    internal static unsafe SafeFileHandle OpenTap(string name, bool napi)
    {
        const uint SetInterface = 0x400454ca; // TUNSETIFF, include/uapi/linux/if_tun.h
        const short TapWithoutHeader = 0x1002; // IFF_TAP | IFF_NO_PI
        const short Napi = 0x0010; // IFF_NAPI
        SafeFileHandle handle = File.OpenHandle("/dev/net/tun", FileMode.Open, FileAccess.ReadWrite);
        Span<byte> request = stackalloc byte[40]; // struct ifreq
        request.Clear();
        System.Text.Encoding.ASCII.GetBytes(name, request[..15]);
        MemoryMarshal.Write(request[16..], (short)(napi ? TapWithoutHeader | Napi : TapWithoutHeader));
        fixed (byte* p = request)
        {
            if (IoControl(handle, SetInterface, p) == 0) return handle;
        }
        int error = Marshal.GetLastPInvokeError();
        handle.Dispose();
        throw new Win32Exception(error, $"There is no tap device '{name}'");
    }

    /// <summary>Switches a feature of a device on or off, by the old commands of ethtool (include/uapi/linux/ethtool.h).</summary>
    internal static unsafe void SetDeviceFeature(SafeHandle socket, string device, uint command, bool on)
    {
        const uint Ethtool = 0x8946; // SIOCETHTOOL, include/uapi/linux/sockios.h
        uint* value = stackalloc uint[2] { command, on ? 1u : 0 }; // struct ethtool_value
        Span<byte> request = stackalloc byte[40]; // struct ifreq
        request.Clear();
        System.Text.Encoding.ASCII.GetBytes(device, request[..15]);
        MemoryMarshal.Write(request[16..], (nint)value);
        fixed (byte* p = request)
        {
            if (IoControl(socket, Ethtool, p) < 0) throw new Win32Exception(Marshal.GetLastPInvokeError(), $"A feature of the device '{device}' cannot be switched");
        }
    }

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static unsafe partial int IoControl(SafeHandle handle, nuint request, void* argument);

    /// <summary>Makes, or removes, the loop device with this number.</summary>
    internal static unsafe void ControlLoop(int number, bool add)
    {
        const uint Add = 0x4C80; // LOOP_CTL_ADD, include/uapi/linux/loop.h
        const uint Remove = 0x4C81;
        using SafeFileHandle control = File.OpenHandle("/dev/loop-control", FileMode.Open, FileAccess.ReadWrite);
        if (IoControl(control, add ? Add : Remove, (void*)number) < 0) throw new Win32Exception(Marshal.GetLastPInvokeError(), $"The loop device {number} cannot be {(add ? "made" : "removed")}");
    }

    /// <summary>Keeps the calling thread, and only it, on a CPU.</summary>
    internal static unsafe void StayOn(int cpu)
    {
        byte* mask = stackalloc byte[1024 / 8]; // cpu_set_t
        new Span<byte>(mask, 1024 / 8).Clear();
        mask[cpu / 8] = (byte)(1 << (cpu % 8));
        if (SetAffinity(0, 1024 / 8, mask) != 0) throw new Win32Exception(Marshal.GetLastPInvokeError(), $"The thread cannot stay on CPU {cpu}");
    }

    [LibraryImport("libc", EntryPoint = "sched_setaffinity", SetLastError = true)]
    private static unsafe partial int SetAffinity(int thread, nuint size, byte* mask);

    /// <summary>The number of a device in the calling thread's network namespace.</summary>
    internal static uint IndexOf(string device) => IfNameToIndex(device) is not 0 and var index
        ? index
        : throw new Win32Exception(Marshal.GetLastPInvokeError(), $"There is no device '{device}' here");

    [LibraryImport("libc", EntryPoint = "if_nametoindex", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial uint IfNameToIndex(string device);

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    private static partial int SetNs(SafeHandle fd, int type);
}
