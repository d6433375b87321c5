namespace KubeSkoop.Probes;

/// <summary>A TCP state, include/net/tcp_states.h.</summary>
public enum TcpState : byte
{
    /// <summary>No state.</summary>
    None = 0,

    /// <summary>ESTABLISHED.</summary>
    Established = 1,

    /// <summary>SYN_SENT.</summary>
    SynSent = 2,

    /// <summary>SYN_RECV.</summary>
    SynReceived = 3,

    /// <summary>FIN_WAIT1.</summary>
    FinWait1 = 4,

    /// <summary>FIN_WAIT2.</summary>
    FinWait2 = 5,

    /// <summary>TIME_WAIT.</summary>
    TimeWait = 6,

    /// <summary>CLOSE.</summary>
    Close = 7,

    /// <summary>CLOSE_WAIT.</summary>
    CloseWait = 8,

    /// <summary>LAST_ACK.</summary>
    LastAck = 9,

    /// <summary>LISTEN.</summary>
    Listen = 10,

    /// <summary>CLOSING.</summary>
    Closing = 11,

    /// <summary>NEW_SYN_RECV: a handshake that is no socket yet.</summary>
    NewSynReceived = 12,
}

/// <summary>Names of TCP states.</summary>
public static class TcpStateExtensions
{
    /// <summary>The state as the kernel's sources have it: <c>CLOSE_WAIT</c>; a number for one that is not known.</summary>
    public static string KernelName(this TcpState state) => state switch
    {
        TcpState.None => "NONE",
        TcpState.Established => "ESTABLISHED",
        TcpState.SynSent => "SYN_SENT",
        TcpState.SynReceived => "SYN_RECV",
        TcpState.FinWait1 => "FIN_WAIT1",
        TcpState.FinWait2 => "FIN_WAIT2",
        TcpState.TimeWait => "TIME_WAIT",
        TcpState.Close => "CLOSE",
        TcpState.CloseWait => "CLOSE_WAIT",
        TcpState.LastAck => "LAST_ACK",
        TcpState.Listen => "LISTEN",
        TcpState.Closing => "CLOSING",
        TcpState.NewSynReceived => "NEW_SYN_RECV",
        _ => ((byte)state).ToString(System.Globalization.CultureInfo.InvariantCulture),
    };
}
