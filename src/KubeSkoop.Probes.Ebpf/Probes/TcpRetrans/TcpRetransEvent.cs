using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>Why something is sent again.</summary>
public enum TcpRetransKind : byte
{
    /// <summary>A SYN without an answer.</summary>
    Syn,

    /// <summary>A SYN-ACK without an answer.</summary>
    SynAck,

    /// <summary>The receiver's acknowledgements say it is lost.</summary>
    Fast,

    /// <summary>No acknowledgement came in time.</summary>
    Timeout,

    /// <summary>The last segment once more, to make the receiver say what has arrived.</summary>
    TailLossProbe,

    /// <summary>It was too large for the path.</summary>
    PathMtu,
}

/// <summary>The state of congestion control, enum tcp_ca_state (include/uapi/linux/tcp.h).</summary>
public enum TcpCongestionState : byte
{
    /// <summary>Nothing is wrong.</summary>
    Open,

    /// <summary>Acknowledgements came out of order.</summary>
    Disorder,

    /// <summary>The window shrinks, on the network's word (ECN) or the device's.</summary>
    Cwr,

    /// <summary>Losses are being repaired.</summary>
    Recovery,

    /// <summary>After a timeout, or when what is on its way is too large for the path.</summary>
    Loss,
}

/// <summary>TCP has sent something again.</summary>
public sealed record TcpRetransEvent : EbpfEvent
{
    /// <summary>Why.</summary>
    public required TcpRetransKind Kind { get; init; }

    /// <summary>The connection's state.</summary>
    public required TcpState State { get; init; }

    /// <summary>The state of its congestion control.</summary>
    public TcpCongestionState Congestion { get; init; }

    /// <summary>The sequence number of the first byte; 0 for a SYN-ACK.</summary>
    public uint Sequence { get; init; }

    /// <summary>Bytes of payload.</summary>
    public uint Bytes { get; init; }

    /// <summary>Segments it is cut into.</summary>
    public uint Segments { get; init; }

    /// <summary>The error number with which it could not be handed down; <see langword="null"/> when it was sent.</summary>
    public int? Error { get; init; }

    /// <inheritdoc />
    public override string Message =>
        string.Create(CultureInfo.InvariantCulture, $"{Words(Kind)} retransmission {FlowText} in {State.KernelName()}, {Bytes} bytes in {Segments} segments{(Error is { } error ? $", failed with errno {error}" : "")}");

    /// <inheritdoc />
    public override void WriteFields(IEventFieldWriter writer)
    {
        base.WriteFields(writer);
        writer.Write("kind", Words(Kind).Replace(' ', '_').Replace('-', '_').ToLowerInvariant());
        writer.Write("state", State.KernelName());
        writer.Write("congestion", Congestion.ToString().ToLowerInvariant());
        if (Kind != TcpRetransKind.SynAck) writer.Write("sequence", (long)Sequence);
        writer.Write("bytes", (long)Bytes);
        writer.Write("segments", (long)Segments);
        if (Error is { } error) writer.Write("errno", (long)error);
    }

    private static string Words(TcpRetransKind kind) => kind switch
    {
        TcpRetransKind.Syn => "SYN",
        TcpRetransKind.SynAck => "SYN-ACK",
        TcpRetransKind.Fast => "fast",
        TcpRetransKind.Timeout => "timeout",
        TcpRetransKind.PathMtu => "path MTU",
        _ => "tail loss probe",
    };
}

/// <summary>struct tcpretrans_event, bpf/tcpretrans.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawTcpRetrans
{
    internal RawEvent Head;
    internal uint Sequence;
    internal uint Bytes;
    internal uint Segments;
    internal int Error;
    internal byte Kind;
    internal byte State;
    internal byte Congestion;
    private byte _pad1;
    private uint _pad2;
}
