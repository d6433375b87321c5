using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf.Interop;

/// <summary>bpf(2); a descriptor or 0, else the negative errno.</summary>
internal unsafe delegate int BpfCall(int command, void* attributes, uint size);

/// <summary>System calls that need no libbpf.</summary>
internal static unsafe partial class KernelCalls
{
    internal const int ProtectRead = 1; // include/uapi/asm-generic/mman-common.h
    internal const int ProtectWrite = 2;
    internal const int MapShared = 1;

    private static readonly nint BpfNumber = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 280 : 321;

    /// <summary>How often the kernel's clock ticks (CONFIG_HZ): what a coarse clock's resolution is.</summary>
    internal static TimeSpan Tick { get; } = ReadTick();

    /// <inheritdoc cref="BpfCall" />
    internal static int Bpf(int command, void* attributes, uint size)
    {
        nint result = Syscall(BpfNumber, command, attributes, (nint)size);
        return result >= 0 ? (int)result : -Marshal.GetLastPInvokeError();
    }

    /// <summary>Runs a raw tracepoint program once, here and now (5.10); its result, else the negative errno.</summary>
    internal static int RunProgram(int descriptor)
    {
        const int ProgTestRun = 10; // enum bpf_cmd, include/uapi/linux/bpf.h
        const uint Size = 80;
        byte* attributes = stackalloc byte[(int)Size];
        new Span<byte>(attributes, (int)Size).Clear();
        *(int*)attributes = descriptor;
        int error = Bpf(ProgTestRun, attributes, Size);
        return error < 0 ? error : *(int*)(attributes + 4);
    }

    /// <summary>Attaches a program to what a descriptor stands for (5.7); the link's descriptor, else the negative errno. The program is detached with the last descriptor of the link.</summary>
    internal static int CreateLink(int program, int target, uint attachType)
    {
        const int LinkCreate = 28; // enum bpf_cmd, include/uapi/linux/bpf.h
        const uint Size = 16;
        uint* attributes = stackalloc uint[4];
        attributes[0] = (uint)program;
        attributes[1] = (uint)target;
        attributes[2] = attachType;
        attributes[3] = 0; // flags
        return Bpf(LinkCreate, attributes, Size);
    }

    /// <summary>A directory; else an invalid handle, and the last error says why.</summary>
    internal static SafeFileHandle OpenDirectory(string path)
    {
        const int CloseOnExec = 0x80000; // O_CLOEXEC, include/uapi/asm-generic/fcntl.h; O_RDONLY is 0
        return Open(path, CloseOnExec);
    }

    /// <summary>The root of a file system without a device, mounted nowhere (5.2); else an invalid handle, and the last error says why.</summary>
    internal static SafeFileHandle MountDetached(string fileSystem)
    {
        const nint OpenFileSystem = 430; // fsopen, fsconfig and fsmount have these numbers on every architecture
        const nint Configure = 431;
        const nint Mount = 432;
        const nint CloseOnExec = 1; // FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
        const nint Create = 6; // FSCONFIG_CMD_CREATE, include/uapi/linux/mount.h
        const nint ReadOnly = 1; // MOUNT_ATTR_RDONLY
        fixed (byte* name = System.Text.Encoding.UTF8.GetBytes(fileSystem + "\0"))
        {
            using var context = new SafeFileHandle(Syscall(OpenFileSystem, (nint)name, (void*)CloseOnExec, 0), ownsHandle: true);
            if (context.IsInvalid || Syscall(Configure, context.DangerousGetHandle(), (void*)Create, 0, 0, 0) < 0) return new SafeFileHandle(-1, ownsHandle: true);
            return new SafeFileHandle(Syscall(Mount, context.DangerousGetHandle(), (void*)CloseOnExec, ReadOnly), ownsHandle: true);
        }
    }

    private static TimeSpan ReadTick()
    {
        const int MonotonicCoarse = 6; // CLOCK_MONOTONIC_COARSE, include/uapi/linux/time.h
        const long LongestNanoseconds = 10_000_000; // CONFIG_HZ=100
        nint* resolution = stackalloc nint[2]; // struct timespec
        return new TimeSpan((ClockResolution(MonotonicCoarse, resolution) == 0 && resolution[0] == 0 ? resolution[1] : LongestNanoseconds) / TimeSpan.NanosecondsPerTick);
    }

    [LibraryImport("libc", EntryPoint = "clock_getres")]
    private static partial int ClockResolution(int clock, nint* resolution);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Syscall(nint number, nint first, void* second, nint third, nint fourth = 0, nint fifth = 0);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    internal static partial nint Map(nint address, nuint length, int protection, int flags, int descriptor, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    internal static partial int Unmap(nint address, nuint length);
}
