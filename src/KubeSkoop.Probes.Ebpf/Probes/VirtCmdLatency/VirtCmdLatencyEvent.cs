using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>A command to a virtio network device took longer than the threshold, or failed.</summary>
/// <remarks><see cref="EbpfEvent.ProcessId"/> is a process that had to wait; it is <see langword="null"/> where a thread of the kernel did.</remarks>
public sealed record VirtCmdLatencyEvent : EbpfEvent
{
    /// <summary>How long it took.</summary>
    public required TimeSpan Latency { get; init; }

    /// <summary>The network device; <see langword="null"/> where the driver's data are not as expected.</summary>
    public string? Device { get; init; }

    /// <summary>Its index; 0 where <see cref="Device"/> is not known.</summary>
    public uint DeviceIndex { get; init; }

    /// <summary>What the command was about: <c>rx_mode</c>, <c>mac</c>, <c>vlan</c>, <c>announce</c>, <c>mq</c>, <c>guest_offloads</c>, <c>notf_coal</c>, <c>stats</c>; else its number.</summary>
    public required string Class { get; init; }

    /// <summary>The command, of those of its class.</summary>
    public required byte Code { get; init; }

    /// <summary>Whether the device refused.</summary>
    public bool Failed { get; init; }

    /// <inheritdoc />
    public override string Message
    {
        get
        {
            string who = ProcessId is { } process ? string.Create(CultureInfo.InvariantCulture, $", {Command} ({process}) waited") : string.Empty;
            return string.Create(CultureInfo.InvariantCulture, $"{Latency.TotalMilliseconds:F1} ms: command {Class}/{Code} to {Device ?? "a virtio device"}{(Failed ? ", refused" : string.Empty)}{who}");
        }
    }

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        base.WriteFields(writer);
        if (Device is { } device) writer.Write(AttributeNames.Interface, device);
        writer.Write("class", Class);
        writer.Write("code", (long)Code);
        writer.Write("latency_us", Latency.Ticks / TimeSpan.TicksPerMicrosecond);
        writer.Write("failed", Failed ? 1L : 0);
    }

    // VIRTIO_NET_CTRL_*, include/uapi/linux/virtio_net.h: macros, so no kernel's type information has their names.
    internal static string NameOf(byte deviceClass) => deviceClass switch
    {
        0 => "rx_mode",
        1 => "mac",
        2 => "vlan",
        3 => "announce",
        4 => "mq",
        5 => "guest_offloads",
        6 => "notf_coal",
        8 => "stats",
        _ => deviceClass.ToString(CultureInfo.InvariantCulture),
    };
}

/// <summary>struct virtcmdlatency_event, bpf/virtcmdlatency.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawVirtCmdLatency
{
    internal RawEvent Head;
    internal ulong LatencyNs;
    internal uint DeviceIndex;
    internal byte Class;
    internal byte Code;
    internal byte Failed;
    private byte _pad;
    internal DeviceName Device;

    [InlineArray(16)]
    internal struct DeviceName
    {
        private byte _first;
    }
}
