using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// I/O of the processes of one network namespace, or of one pod in the host's (fs/proc/base.c, do_io_accounting). Processes that have ended
/// stay counted.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct IoRecord
{
    /// <summary>Bytes read through system calls: files, page cache, pipes, terminals and sockets. Unit: bytes. Kernel: /proc/PID/io, rchar.</summary>
    public Reading ReadCharacters;

    /// <summary>Bytes written through system calls, to anything. Unit: bytes. Kernel: /proc/PID/io, wchar.</summary>
    public Reading WrittenCharacters;

    /// <summary>System calls that read. Unit: calls. Kernel: /proc/PID/io, syscr.</summary>
    public Reading ReadCalls;

    /// <summary>System calls that write. Unit: calls. Kernel: /proc/PID/io, syscw.</summary>
    public Reading WriteCalls;

    /// <summary>Bytes fetched from storage. Unit: bytes. Kernel: /proc/PID/io, read_bytes.</summary>
    public Reading StorageReadBytes;

    /// <summary>Bytes that will go to storage, counted when a page is dirtied. Unit: bytes. Kernel: /proc/PID/io, write_bytes.</summary>
    public Reading StorageWrittenBytes;

    /// <summary>Of those, bytes that will not: their pages were truncated before. Counted for who truncates. Unit: bytes. Kernel: /proc/PID/io, cancelled_write_bytes.</summary>
    public Reading CancelledWriteBytes;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<IoRecord> Metrics { get; } = new(upstreamKind: MetricKind.Counter)
    {
        { "kubeskoop.io.read_characters", MetricKind.Counter, "By", "Bytes read through system calls, from files, page cache, pipes and sockets.", static (in IoRecord r) => r.ReadCharacters },
        { "kubeskoop.io.written_characters", MetricKind.Counter, "By", "Bytes written through system calls, to anything.", static (in IoRecord r) => r.WrittenCharacters },
        { "kubeskoop.io.read_calls", MetricKind.Counter, "{call}", "System calls that read.", static (in IoRecord r) => r.ReadCalls, "kubeskoop_io_readsyscall" },
        { "kubeskoop.io.write_calls", MetricKind.Counter, "{call}", "System calls that write.", static (in IoRecord r) => r.WriteCalls, "kubeskoop_io_writesyscall" },
        { "kubeskoop.io.storage_read_bytes", MetricKind.Counter, "By", "Bytes fetched from storage.", static (in IoRecord r) => r.StorageReadBytes, "kubeskoop_io_readbytes" },
        { "kubeskoop.io.storage_written_bytes", MetricKind.Counter, "By", "Bytes that go to storage, counted when a page is dirtied.", static (in IoRecord r) => r.StorageWrittenBytes, "kubeskoop_io_writebytes" },
        { "kubeskoop.io.cancelled_write_bytes", MetricKind.Counter, "By", "Bytes counted as going to storage that did not: their pages were truncated before.", static (in IoRecord r) => r.CancelledWriteBytes },
    };

    /// <summary>Field by field, the names in the file.</summary>
    internal static string[] Columns { get; } = ["rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes"];
}
