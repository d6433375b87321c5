using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>What was slow about a softirq.</summary>
public enum NetSoftirqKind : byte
{
    /// <summary>It was raised, and not entered for long.</summary>
    Delayed,

    /// <summary>It was entered, and did not end for long.</summary>
    RanLong,
}

/// <summary>A softirq of the network; the values are the kernel's.</summary>
public enum NetSoftirqVector : byte
{
    /// <summary>NET_TX: queues of devices that were held up, and packets that drivers are done with.</summary>
    NetTx = 2,

    /// <summary>NET_RX: packets received, and most work of drivers (NAPI).</summary>
    NetRx = 3,
}

/// <summary>A softirq of the network waited, or ran, longer than the threshold.</summary>
/// <remarks>
/// <see cref="EbpfEvent.ProcessId"/> says who had the CPU instead. For a delay that is the process that ran when it was raised (it kept the CPU, or had softirqs switched off); where
/// ksoftirqd or nobody did, the process in whose place it then ran. For a long run it is the process that had to wait. <see langword="null"/> when that was the idle CPU or
/// ksoftirqd itself. The cgroup is that process's.
/// </remarks>
public sealed record NetSoftirqEvent : EbpfEvent
{
    /// <summary>What was slow.</summary>
    public required NetSoftirqKind Kind { get; init; }

    /// <summary>Which softirq.</summary>
    public required NetSoftirqVector Vector { get; init; }

    /// <summary>The CPU it was raised on and ran on.</summary>
    public required int Cpu { get; init; }

    /// <summary>How long it waited, or ran.</summary>
    public required TimeSpan Latency { get; init; }

    /// <summary>Whether it ran in the kernel's thread for softirqs, which waits for the CPU like any other, rather than in place of what was interrupted.</summary>
    public bool InKsoftirqd { get; init; }

    /// <inheritdoc />
    public override string Message
    {
        get
        {
            bool delayed = Kind == NetSoftirqKind.Delayed;
            string what = string.Create(CultureInfo.InvariantCulture, $"{Name(Vector)} {(delayed ? "waited" : "ran")} {Latency.TotalMilliseconds:F1} ms {(delayed ? "for" : "on")} CPU {Cpu}");
            string instead = ProcessId is { } process ? string.Create(CultureInfo.InvariantCulture, $" {(delayed ? "while" : "in place of")} {Command} ({process}){(delayed ? " had it" : string.Empty)}") : string.Empty;
            return $"{what}{instead}{(InKsoftirqd ? ", in ksoftirqd" : string.Empty)}";
        }
    }

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        base.WriteFields(writer);
        writer.Write("kind", Kind == NetSoftirqKind.Delayed ? "delayed" : "ran_long");
        writer.Write(NetSoftirqProbe.VectorAttribute, Name(Vector));
        writer.Write(AttributeNames.Cpu, (long)Cpu);
        writer.Write("latency_us", Latency.Ticks / TimeSpan.TicksPerMicrosecond);
        writer.Write("ran_in", InKsoftirqd ? "ksoftirqd" : "interrupted_task");
    }

    internal static string Name(NetSoftirqVector vector) => vector == NetSoftirqVector.NetTx ? "net_tx" : "net_rx";
}

/// <summary>struct net_softirq_event, bpf/net_softirq.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawNetSoftirq
{
    internal RawEvent Head;
    internal ulong LatencyNs;
    internal uint Cpu;
    internal byte Kind;
    internal byte Vector;
    internal byte InKsoftirqd;
    private byte _pad;
}
