using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>Where a packet was on its way out.</summary>
public enum NetifTxLatencyKind : byte
{
    /// <summary>In a qdisc.</summary>
    Queue,

    /// <summary>In the call that hands it to the driver.</summary>
    Driver,

    /// <summary>With the driver, until it was done with it.</summary>
    Completion,
}

/// <summary>A packet took longer than the threshold to leave through a device.</summary>
public sealed record NetifTxLatencyEvent : EbpfEvent
{
    /// <summary>Where it was.</summary>
    public required NetifTxLatencyKind Kind { get; init; }

    /// <summary>How long.</summary>
    public required TimeSpan Latency { get; init; }

    /// <summary>The device's name. Chosen by the namespace: hostile.</summary>
    public required string Device { get; init; }

    /// <summary>The device's index.</summary>
    public uint DeviceIndex { get; init; }

    /// <summary>The kind of its root qdisc (<c>fq_codel</c>, <c>tbf</c>); <see langword="null"/> but for <see cref="NetifTxLatencyKind.Queue"/>.</summary>
    public string? Qdisc { get; init; }

    /// <summary>Packets behind it in the qdisc.</summary>
    public uint Backlog { get; init; }

    /// <summary>The packet's length. Unit: bytes.</summary>
    public uint Bytes { get; init; }

    /// <inheritdoc />
    public override string Message
    {
        get
        {
            string where = Kind switch
            {
                NetifTxLatencyKind.Queue => string.Create(CultureInfo.InvariantCulture, $"in the qdisc {Qdisc} of {Device}, {Backlog} packets behind it"),
                NetifTxLatencyKind.Driver => $"in the call into the driver of {Device}",
                _ => $"with the driver of {Device}",
            };
            return string.Create(CultureInfo.InvariantCulture, $"{Latency.TotalMilliseconds:F1} ms {where}: {FlowText}, {Bytes} bytes");
        }
    }

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        base.WriteFields(writer);
        writer.Write("kind", Kind switch { NetifTxLatencyKind.Queue => "queue", NetifTxLatencyKind.Driver => "driver", _ => "completion" });
        writer.Write("latency_us", Latency.Ticks / TimeSpan.TicksPerMicrosecond);
        writer.Write(AttributeNames.Interface, Device);
        writer.Write("network.interface.index", (long)DeviceIndex);
        writer.WriteIfAny("qdisc", Qdisc);
        if (Kind == NetifTxLatencyKind.Queue) writer.Write("backlog", (long)Backlog);
        writer.Write("bytes", (long)Bytes);
    }
}

/// <summary>struct netiftxlatency_settings, bpf/netiftxlatency.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct NetifTxLatencySettings
{
    internal uint DriverMask;
    private uint _pad;
}

/// <summary>struct netiftxlatency_event, bpf/netiftxlatency.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawNetifTxLatency
{
    internal RawEvent Head;
    internal ulong LatencyNs;
    internal uint Bytes;
    internal uint Backlog;
    internal uint DeviceIndex;
    internal uint Kind;
    internal Name Device;
    internal Name Qdisc;

    [InlineArray(16)]
    internal struct Name
    {
        private byte _first;
    }
}
