using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>The kernel has dropped a packet.</summary>
public sealed record PacketLossEvent : EbpfEvent
{
    /// <summary>The kernel's reason, its name without <c>SKB_DROP_REASON_</c>; <see langword="null"/> before 5.17, which has none.</summary>
    public string? Reason { get; init; }

    /// <summary>The function that dropped it, as <c>name+0xoffset</c>; <see langword="null"/> where the kernel hides its symbols.</summary>
    public string? Location { get; init; }

    /// <summary>The part of the kernel that function belongs to.</summary>
    public required string Part { get; init; }

    /// <summary>The device it was on; <see langword="null"/> for none. Chosen by whoever made the device: hostile.</summary>
    public string? Device { get; init; }

    /// <summary>Its length in bytes, as far as its headers had not been taken off.</summary>
    public uint Length { get; init; }

    /// <summary>Its ethertype (0x0800 for IPv4); 0 before it has one.</summary>
    public ushort EtherType { get; init; }

    /// <summary>Whether it was on its way out from a socket of this machine.</summary>
    public bool IsSent { get; init; }

    /// <summary>The functions that led there, the innermost first; empty unless asked for.</summary>
    public IReadOnlyList<string> Stack { get; init; } = [];

    /// <inheritdoc />
    public override string Message =>
        string.Create(CultureInfo.InvariantCulture, $"{(IsSent ? "outgoing" : "incoming")} packet dropped {OnItsWay}: {Reason ?? "no reason known"} at {Location ?? "?"} ({Part}){(Device is null ? "" : $", device {Device}")}, {Length} bytes");

    // A person reads an arrow as the packet's way; the flow is in socket view.
    private string OnItsWay => Flow is not { } flow ? string.Create(CultureInfo.InvariantCulture, $"ethertype 0x{EtherType:x4}")
        : IsSent ? FlowText : TextOf(new FlowTuple(flow.Destination, flow.Source, flow.Protocol), DestinationOwner, Pod is { IsNamed: true } ? null : SourceOwner);

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        base.WriteFields(writer);
        writer.WriteIfAny("reason", Reason);
        writer.WriteIfAny("location", Location);
        writer.Write("part", Part);
        writer.WriteIfAny(AttributeNames.Interface, Device);
        writer.Write("bytes", (long)Length);
        writer.Write("direction", IsSent ? "transmit" : "receive");
        if (Flow is null) writer.Write("ethertype", (long)EtherType);
        if (Stack.Count > 0) writer.Write("stack", string.Join('\n', Stack));
    }
}

/// <summary>struct packetloss_event, bpf/packetloss.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawPacketLoss
{
    internal RawEvent Head;
    internal ulong Location;
    internal uint Reason;
    internal uint Length;
    internal ushort EtherType;
    internal byte Sent;
    internal byte Frames;
    internal uint DeviceIndex;
    internal DeviceName Device;

    [InlineArray(16)]
    internal struct DeviceName
    {
        private byte _first;
    }
}

/// <summary>struct packetloss_key, bpf/packetloss.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct PacketLossKey
{
    internal Loading.NamespaceKey NetworkNamespace;
    internal uint Reason;
    private uint _pad;
    internal ulong Location;
}

/// <summary>struct packetloss_settings, bpf/packetloss.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PacketLossSettings
{
    internal ReasonBits Normal;
    internal ReasonBits Stray;
    internal uint Stacks;
    private uint _pad;

    [InlineArray(4)]
    internal struct ReasonBits
    {
        private ulong _first;
    }
}
