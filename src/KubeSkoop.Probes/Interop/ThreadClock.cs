using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Interop;

/// <summary>CPU time of the calling thread: what a sample really cost, kernel time included.</summary>
internal static partial class ThreadClock
{
    private const int ClockThreadCpuTimeId = 3; // include/uapi/linux/time.h

    /// <summary>Nanoseconds of CPU the calling thread has used; 0 where the kernel does not tell.</summary>
    internal static unsafe long CpuNanoseconds()
    {
        if (!OperatingSystem.IsLinux()) return 0;
        Timespec t;
        return ClockGetTime(ClockThreadCpuTimeId, &t) == 0 ? t.Seconds * 1_000_000_000 + t.Nanoseconds : 0;
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    [SuppressGCTransition] // below a microsecond, never blocks
    private static unsafe partial int ClockGetTime(int clock, Timespec* time);

    private struct Timespec
    {
        public nint Seconds;
        public nint Nanoseconds;
    }
}
