using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>Who sent a reset, and on what occasion.</summary>
public enum TcpResetKind : byte
{
    /// <summary>Sent: a segment came for which there is no socket.</summary>
    NoSocket,

    /// <summary>Sent: a segment came that its socket could not take.</summary>
    OnSocket,

    /// <summary>Sent: this side gave the connection up (closed with unread data, SO_LINGER zero, timer, abort).</summary>
    Active,

    /// <summary>Received.</summary>
    Received,
}

/// <summary>A reset was sent or received.</summary>
public sealed record TcpResetEvent : EbpfEvent
{
    /// <summary>Sent or received, and on what occasion.</summary>
    public required TcpResetKind Kind { get; init; }

    /// <summary>The connection's state just before; <see cref="TcpState.None"/> without a socket.</summary>
    public required TcpState State { get; init; }

    /// <summary>The kernel's reason, its name in <c>enum sk_rst_reason</c> without the prefix; <see langword="null"/> where the kernel gives none (received ones, and before 6.10).</summary>
    public string? Reason { get; init; }

    /// <inheritdoc />
    public override string Message =>
        $"{(Kind == TcpResetKind.Received ? "reset received" : "reset sent")} {FlowText}{(State == TcpState.None ? ", no socket" : $" in {State.KernelName()}")}{(Reason is null ? "" : $", {Reason}")}{(ProcessId is null ? "" : $", by {Command} ({ProcessId})")}";

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        base.WriteFields(writer);
        writer.Write("kind", Kind switch { TcpResetKind.NoSocket => "no_socket", TcpResetKind.OnSocket => "on_socket", TcpResetKind.Active => "active", _ => "received" });
        if (State != TcpState.None) writer.Write("state", State.KernelName());
        writer.WriteIfAny("reason", Reason);
    }
}

/// <summary>struct tcpreset_event, bpf/tcpreset.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawTcpReset
{
    internal RawEvent Head;
    internal uint Reason;
    internal byte Kind;
    internal byte State;
    internal byte HasReason;
    private byte _pad;
}
