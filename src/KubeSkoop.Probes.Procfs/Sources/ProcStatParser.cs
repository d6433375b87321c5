using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>What is taken from <c>/proc/PID/stat</c>.</summary>
/// <param name="State">R, S, D, Z, ...</param>
/// <param name="ParentId">The process that will be told of the end; 0 when it is outside the pid namespace.</param>
/// <param name="Flags">PF_ flags, include/linux/sched.h.</param>
/// <param name="MinorFaults">Page faults of the process without I/O.</param>
/// <param name="ChildMinorFaults">The same of children that were waited for, and of theirs.</param>
/// <param name="Threads">Threads in the group; the first one counts until it is reaped, which is when the others have ended too.</param>
/// <param name="StartTime">When it began, in clock ticks since boot: with the pid, who it is.</param>
internal readonly record struct ProcStat(byte State, int ParentId, ulong Flags, ulong MinorFaults, ulong ChildMinorFaults, ulong Threads, ulong StartTime)
{
    private const ulong KernelThreadFlag = 0x00200000;

    internal bool IsKernelThread => (Flags & KernelThreadFlag) != 0;

    /// <summary>It has ended and waits to be reaped.</summary>
    internal bool HasEnded => FirstThreadHasEnded && Threads <= 1;

    /// <summary>It has been waited for, or nobody will: its numbers are about to be its parent's, or are already, or are lost.</summary>
    internal bool IsReaped => State is (byte)'X' && Threads <= 1;

    /// <summary>The first thread has ended, the process has not: others live on, and only they have descriptors and namespaces.</summary>
    internal bool LivesInOtherThreads => FirstThreadHasEnded && Threads > 1;

    private bool FirstThreadHasEnded => State is (byte)'Z' or (byte)'X';
}

/// <summary>
/// <c>/proc/PID/stat</c> (fs/proc/array.c, do_task_stat): <c>pid (comm) state ppid ...</c> in one line. The command is the process's own
/// choice and may hold blanks, parentheses and line feeds: the fields begin after the last ')'.
/// </summary>
internal static class ProcStatParser
{
    internal static FaultKind TryParse(ReadOnlySpan<byte> text, out ProcStat stat, out ReadOnlySpan<byte> command)
    {
        stat = default;
        command = default;
        if (text is not [.., (byte)'\n']) return FaultKind.Truncated;
        int open = text.IndexOf((byte)'(');
        int close = text.LastIndexOf((byte)')');
        if (open < 0 || close < open) return FaultKind.UnknownShape;
        command = text[(open + 1)..close];

        var field = new FieldCursor(text[(close + 1)..^1]);
        ReadOnlySpan<byte> state = field.Word();
        ulong parent = field.UInt64();
        Skip(ref field, 4); // pgrp session tty_nr tpgid
        ulong flags = field.UInt64(), minorFaults = field.UInt64(), childMinorFaults = field.UInt64();
        Skip(ref field, 8); // majflt cmajflt utime stime cutime cstime priority nice
        ulong threads = field.UInt64();
        Skip(ref field, 1); // itrealvalue
        ulong startTime = field.UInt64();
        if (field.Fault != FaultKind.None) return field.Fault;
        if (state.Length != 1) return FaultKind.UnknownShape;
        if (parent > int.MaxValue) return FaultKind.Overflow;
        stat = new ProcStat(state[0], (int)parent, flags, minorFaults, childMinorFaults, threads, startTime);
        return FaultKind.None;
    }

    private static void Skip(ref FieldCursor field, int count)
    {
        for (int i = 0; i < count; i++) _ = field.Word();
    }
}
