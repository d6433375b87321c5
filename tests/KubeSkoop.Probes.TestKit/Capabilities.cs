using System.ComponentModel;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.TestKit;

/// <summary>A capability, include/uapi/linux/capability.h.</summary>
public enum Capability
{
    /// <summary>CAP_DAC_READ_SEARCH.</summary>
    DacReadSearch = 2,

    /// <summary>CAP_NET_ADMIN.</summary>
    NetAdmin = 12,

    /// <summary>CAP_SYS_PTRACE.</summary>
    SysPtrace = 19,

    /// <summary>CAP_SYS_ADMIN.</summary>
    SysAdmin = 21,

    /// <summary>CAP_PERFMON.</summary>
    Perfmon = 38,

    /// <summary>CAP_BPF.</summary>
    Bpf = 39,
}

/// <summary>Runs something with fewer rights than the test has.</summary>
public static partial class Capabilities
{
    private const uint Version3 = 0x20080522;
    private static readonly nint CapGetNumber = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 90 : 125;
    private static readonly nint CapSetNumber = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 91 : 126;

    /// <summary>Runs <paramref name="body"/> without some capabilities, on a thread of its own; threads it starts lack them, too.</summary>
    public static Task<T> RunWithoutAsync<T>(Func<T> body, params Capability[] without)
    {
        ArgumentNullException.ThrowIfNull(body);
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() =>
        {
            try
            {
                Drop(without);
                done.SetResult(body());
            }
#pragma warning disable CA1031 // Whatever it is, the test that awaits shall have it.
            catch (Exception e)
#pragma warning restore CA1031
            {
                done.SetException(e);
            }
        })
        { IsBackground = true, Name = "fewer rights" };
        thread.Start();
        return done.Task;
    }

    // The system call is about the calling thread alone.
    private static unsafe void Drop(Capability[] capabilities)
    {
        uint* header = stackalloc uint[2] { Version3, 0 };
        uint* sets = stackalloc uint[6]; // effective, permitted, inheritable; then the upper halves
        if (SystemCall(CapGetNumber, header, sets) != 0) throw new Win32Exception(Marshal.GetLastPInvokeError(), "capget failed");
        foreach (Capability capability in capabilities)
        {
            (int half, int bit) = Math.DivRem((int)capability, 32);
            for (int i = 0; i < 3; i++) sets[3 * half + i] &= ~(1u << bit);
        }
        if (SystemCall(CapSetNumber, header, sets) != 0) throw new Win32Exception(Marshal.GetLastPInvokeError(), "capset failed");
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static unsafe partial nint SystemCall(nint number, uint* header, uint* sets);
}
