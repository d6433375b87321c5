using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>What a disk was asked to do.</summary>
public enum BioLatencyOperation : byte
{
    /// <summary>To read.</summary>
    Read,

    /// <summary>To write.</summary>
    Write,

    /// <summary>To bring what it has cached to where it stays.</summary>
    Flush,

    /// <summary>To forget.</summary>
    Discard,

    /// <summary>Something else: to write zeroes, to erase, a zone, a command of a driver.</summary>
    Other,
}

/// <summary>A request to a disk took longer than the threshold.</summary>
/// <remarks>
/// <see cref="EbpfEvent.ProcessId"/> is a process that waits for it: one that reads, or writes synchronously. What was written before and comes to the disk now has none, but a
/// <see cref="EbpfEvent.CgroupId"/>: that of who made the data, as far as the kernel keeps it, in the hierarchy of the io controller (of version 1: blkio).
/// </remarks>
public sealed record BioLatencyEvent : EbpfEvent
{
    /// <summary>The disk's name; of a partition, that of the whole.</summary>
    public required string Disk { get; init; }

    /// <summary>What it was asked to do.</summary>
    public required BioLatencyOperation Operation { get; init; }

    /// <summary>From the request's start to its completion.</summary>
    public required TimeSpan Latency { get; init; }

    /// <summary>Of that, until the driver got it (for the last time, if it gave it back); <see langword="null"/> when that was before the probe was started.</summary>
    public TimeSpan? Queue { get; init; }

    /// <summary>The rest: with the device; <see langword="null"/> when <see cref="Queue"/> is.</summary>
    public TimeSpan? Device => Latency - Queue;

    /// <summary>Where on the disk. Unit: sectors of 512 bytes.</summary>
    public ulong Sector { get; init; }

    /// <summary>How much; of a request that completed in parts, its last part. Unit: bytes.</summary>
    public uint Bytes { get; init; }

    /// <summary>What went wrong, as the kernel names it (<c>IOERR</c>, <c>TIMEOUT</c>); <see langword="null"/> for nothing.</summary>
    public string? Error { get; init; }

    /// <inheritdoc />
    public override string Message
    {
        get
        {
            string parts = Queue is { } queue && Device is { } device
                ? string.Create(CultureInfo.InvariantCulture, $" ({queue.TotalMilliseconds:F1} queued, {device.TotalMilliseconds:F1} with the device)")
                : string.Empty;
            string who = ProcessId is { } process ? string.Create(CultureInfo.InvariantCulture, $", {Command} ({process}) waits") : string.Empty;
            return string.Create(CultureInfo.InvariantCulture,
                $"{Latency.TotalMilliseconds:F1} ms{parts}: {Name(Operation)} of {Bytes} bytes at sector {Sector} of {Disk}{(Error is null ? string.Empty : $", {Error}")}{who}");
        }
    }

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        base.WriteFields(writer);
        writer.Write(BioLatencyProbe.DiskAttribute, Disk);
        writer.Write(BioLatencyProbe.OperationAttribute, Name(Operation));
        writer.Write("latency_us", Latency.Ticks / TimeSpan.TicksPerMicrosecond);
        if (Queue is { } queue && Device is { } device)
        {
            writer.Write("queue_us", queue.Ticks / TimeSpan.TicksPerMicrosecond);
            writer.Write("device_us", device.Ticks / TimeSpan.TicksPerMicrosecond);
        }
        writer.Write("sector", Sector);
        writer.Write("bytes", (long)Bytes);
        writer.WriteIfAny("error", Error);
    }

    internal static string Name(BioLatencyOperation operation) => operation switch
    {
        BioLatencyOperation.Read => "read",
        BioLatencyOperation.Write => "write",
        BioLatencyOperation.Flush => "flush",
        BioLatencyOperation.Discard => "discard",
        _ => "other",
    };

    // BLK_STS_*, include/linux/blk_types.h: macros, so no kernel's type information has their names. Before 5.16 the errno that belongs to it, block/blk-core.c, blk_errors.
    internal static string? ErrorOf(int status) => status switch
    {
        0 => null,
        1 or -95 => "NOTSUPP",
        2 or -110 => "TIMEOUT",
        3 or -28 => "NOSPC",
        4 or -67 => "TRANSPORT",
        5 or -121 => "TARGET",
        6 or -52 => "RESV_CONFLICT",
        7 or -61 => "MEDIUM",
        8 or -84 => "PROTECTION",
        9 or -12 => "RESOURCE",
        10 or -5 => "IOERR",
        < 0 => Loading.Errors.Name(-status),
        _ => string.Create(CultureInfo.InvariantCulture, $"status {status}"),
    };
}

/// <summary>struct biolatency_event, bpf/biolatency.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawBioLatency
{
    internal RawEvent Head;
    internal ulong TotalNs;
    internal ulong QueueNs;
    internal ulong Sector;
    internal uint Bytes;
    internal int Status;
    internal byte Operation;
    internal byte Issued;
    internal byte OwnHierarchy;
    internal DiskPadding _pad;
    internal DiskName Disk;

    [InlineArray(5)]
    internal struct DiskPadding
    {
        private byte _first;
    }
}

/// <summary>A disk's name, as the kernel keeps it.</summary>
[InlineArray(32)] // BIOLATENCY_DISK, bpf/biolatency.h
internal struct DiskName
{
    private byte _first;
}
