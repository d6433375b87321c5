using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Ebpf.Interop;

/// <summary>System calls that need no libbpf.</summary>
internal static unsafe partial class KernelCalls
{
    internal const int ProtectRead = 1; // include/uapi/asm-generic/mman-common.h
    internal const int ProtectWrite = 2;
    internal const int MapShared = 1;

    private static readonly nint BpfNumber = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 280 : 321;

    /// <summary>bpf(2); a descriptor or 0, else the negative errno.</summary>
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

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Syscall(nint number, nint command, void* attributes, nint size);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    internal static partial nint Map(nint address, nuint length, int protection, int flags, int descriptor, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    internal static partial int Unmap(nint address, nuint length);
}
