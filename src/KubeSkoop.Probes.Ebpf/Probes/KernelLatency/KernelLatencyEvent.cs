using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>Which way a packet took through the kernel's IP layer.</summary>
public enum KernelLatencyPath : byte
{
    /// <summary>From a device to a socket.</summary>
    Receive,

    /// <summary>From a socket to a device.</summary>
    Transmit,

    /// <summary>From a device to a device.</summary>
    Forward,
}

/// <summary>How long a packet was in each part of the IP layer. <see langword="null"/>: it was not there.</summary>
/// <remarks>Not within a chain of netfilter it was in the stage around it. Added up they are the whole time.</remarks>
public sealed record KernelLatencyStages
{
    /// <summary>From the device to IP.</summary>
    public TimeSpan? Receive { get; init; }

    /// <summary>In netfilter's prerouting.</summary>
    public TimeSpan? Prerouting { get; init; }

    /// <summary>Header checks and the look-up of the route.</summary>
    public TimeSpan? Routing { get; init; }

    /// <summary>In netfilter's input.</summary>
    public TimeSpan? LocalIn { get; init; }

    /// <summary>Reassembly, and the look-up of the socket.</summary>
    public TimeSpan? Socket { get; init; }

    /// <summary>In netfilter's forward, and what is around it.</summary>
    public TimeSpan? Forward { get; init; }

    /// <summary>In netfilter's output.</summary>
    public TimeSpan? LocalOut { get; init; }

    /// <summary>In netfilter's postrouting.</summary>
    public TimeSpan? Postrouting { get; init; }

    /// <summary>Neighbour, and on to the device.</summary>
    public TimeSpan? Device { get; init; }

    internal IEnumerable<(string Name, TimeSpan Time)> Entered()
    {
        (string, TimeSpan?)[] all =
        [
            ("receive", Receive), ("local_out", LocalOut), ("prerouting", Prerouting), ("routing", Routing), ("local_in", LocalIn), ("socket", Socket),
            ("forward", Forward), ("postrouting", Postrouting), ("device", Device),
        ];
        foreach ((string name, TimeSpan? time) in all)
            if (time is { } passed) yield return (name, passed);
    }
}

/// <summary>A packet took longer than the threshold in the kernel's IP layer.</summary>
public sealed record KernelLatencyEvent : EbpfEvent
{
    /// <summary>Which way it took.</summary>
    public required KernelLatencyPath Path { get; init; }

    /// <summary>How long, from end to end.</summary>
    public required TimeSpan Latency { get; init; }

    /// <summary>How long in each part; <see langword="null"/> where functions cannot be hooked, so that nobody knows.</summary>
    public KernelLatencyStages? Stages { get; init; }

    /// <summary>Where it came in when received, else where it went out. Chosen by the namespace: hostile. <see langword="null"/>: not known any more.</summary>
    public string? Device { get; init; }

    /// <summary>The device's index; 0: not known any more.</summary>
    public uint DeviceIndex { get; init; }

    /// <summary>The packet's length, IP header included. Several segments that are handled as one packet are one. Unit: bytes.</summary>
    public uint Bytes { get; init; }

    /// <inheritdoc />
    public override string Message
    {
        get
        {
            string where = Path switch { KernelLatencyPath.Receive => "received", KernelLatencyPath.Transmit => "sent", _ => "forwarded" };
            string stages = Stages is null ? "" : $" ({string.Join(", ", Stages.Entered().Select(static s => string.Create(CultureInfo.InvariantCulture, $"{s.Name} {s.Time.TotalMilliseconds:F1}")))})";
            string device = Device is null ? "" : $" on {Device}";
            return string.Create(CultureInfo.InvariantCulture, $"{where}{device} after {Latency.TotalMilliseconds:F1} ms{stages}: {FlowText}, {Bytes} bytes");
        }
    }

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        base.WriteFields(writer);
        writer.Write("path", Path switch { KernelLatencyPath.Receive => "receive", KernelLatencyPath.Transmit => "transmit", _ => "forward" });
        writer.Write("latency_us", Latency.Ticks / TimeSpan.TicksPerMicrosecond);
        if (Stages is not null)
            foreach ((string name, TimeSpan time) in Stages.Entered()) writer.Write($"{name}_us", time.Ticks / TimeSpan.TicksPerMicrosecond);
        writer.WriteIfAny(AttributeNames.Interface, Device);
        if (DeviceIndex != 0) writer.Write("network.interface.index", (long)DeviceIndex);
        writer.Write("bytes", (long)Bytes);
    }
}

/// <summary>enum kernellatency_stage, bpf/kernellatency.h.</summary>
internal enum KernelLatencyStage
{
    Device,
    Prerouting,
    Routing,
    LocalIn,
    Socket,
    Forwarding,
    LocalOut,
    Postrouting,
    Output,
}

/// <summary>struct kernellatency_settings, bpf/kernellatency.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct KernelLatencySettings
{
    internal uint SamplingMask;
    internal uint Follows;
}

/// <summary>struct kernellatency_event, bpf/kernellatency.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawKernelLatency
{
    internal RawEvent Head;
    internal ulong LatencyNs;
    internal Times StagesNs;
    internal uint Entered;
    internal uint Path;
    internal uint Bytes;
    internal uint DeviceIndex;
    internal Name Device;

    [InlineArray((int)KernelLatencyStage.Output + 1)]
    internal struct Times
    {
        private ulong _first;
    }

    [InlineArray(16)]
    internal struct Name
    {
        private byte _first;
    }
}
