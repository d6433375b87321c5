using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>Which way data went that waited in a socket.</summary>
public enum SocketLatencyKind : byte
{
    /// <summary>It had come, and the process did not read it.</summary>
    Read,

    /// <summary>The process had written it, and it was not sent.</summary>
    Write,
}

/// <summary>What written data waited for, when the call that wrote it returned.</summary>
public enum SocketLatencyCause : byte
{
    /// <summary>This side: Nagle's algorithm, a cork, pacing, a full queue.</summary>
    Local,

    /// <summary>Room in the receiver's buffer.</summary>
    PeerWindow,

    /// <summary>Acknowledgements: as much is in flight as the congestion window allows.</summary>
    CongestionWindow,
}

/// <summary>Data has waited in a socket for longer than the threshold.</summary>
public sealed record SocketLatencyEvent : EbpfEvent
{
    /// <summary>Read or write.</summary>
    public required SocketLatencyKind Kind { get; init; }

    /// <summary>How long: the oldest unread byte until it was read, or a write until all of it was sent.</summary>
    public required TimeSpan Latency { get; init; }

    /// <summary>Read: bytes this call gave. Write: bytes of the segment that ended the wait.</summary>
    public uint Bytes { get; init; }

    /// <summary>Read: bytes (UDP: datagrams) that are still unread. Write: bytes that are still unsent.</summary>
    public uint Waiting { get; init; }

    /// <summary>The connection's state; <see langword="null"/> for UDP.</summary>
    public TcpState? State { get; init; }

    /// <summary>What a write waited for; <see langword="null"/> for a read, which waits for the process.</summary>
    public SocketLatencyCause? Cause { get; init; }

    /// <inheritdoc />
    public override string Message => Kind == SocketLatencyKind.Read
        ? string.Create(CultureInfo.InvariantCulture, $"read {Milliseconds} ms late by {Command ?? "-"} ({ProcessId ?? 0}) on {FlowText}: {Bytes} bytes, {Waiting} {(State is null ? "datagrams" : "bytes")} still unread")
        : string.Create(CultureInfo.InvariantCulture, $"write sent after {Milliseconds} ms on {FlowText}, held by {Words(Cause)}: {Bytes} bytes, {Waiting} still unsent");

    private string Milliseconds => Latency.TotalMilliseconds.ToString("F1", CultureInfo.InvariantCulture);

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        base.WriteFields(writer);
        writer.Write("kind", Kind == SocketLatencyKind.Read ? "read" : "write");
        writer.Write("latency_us", Latency.Ticks / TimeSpan.TicksPerMicrosecond);
        writer.Write("bytes", (long)Bytes);
        writer.Write("waiting", (long)Waiting);
        if (State is { } state) writer.Write("state", state.KernelName());
        if (Cause is { } cause) writer.Write("cause", Words(cause).Replace(' ', '_'));
    }

    private static string Words(SocketLatencyCause? cause) => cause switch
    {
        SocketLatencyCause.PeerWindow => "peer window",
        SocketLatencyCause.CongestionWindow => "congestion window",
        _ => "local",
    };
}

/// <summary>struct socketlatency_event, bpf/socketlatency.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawSocketLatency
{
    internal RawEvent Head;
    internal ulong LatencyNs;
    internal uint Bytes;
    internal uint Waiting;
    internal byte Kind;
    internal byte State;
    internal byte Cause;
    private byte _pad1;
    private uint _pad2;
}
