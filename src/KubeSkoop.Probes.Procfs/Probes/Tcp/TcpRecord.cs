using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>TCP counters of one network namespace; IPv4 and IPv6 together, as the kernel keeps them (net/ipv4/proc.c, snmp4_tcp_list).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct TcpRecord
{
    /// <summary>Connections opened by this side. Unit: connections. Kernel: /proc/net/snmp, Tcp: ActiveOpens.</summary>
    public Reading ActiveOpens;

    /// <summary>Connections accepted. Unit: connections. Kernel: /proc/net/snmp, Tcp: PassiveOpens.</summary>
    public Reading PassiveOpens;

    /// <summary>Attempts that died in SYN_SENT or SYN_RECV. Unit: connections. Kernel: /proc/net/snmp, Tcp: AttemptFails.</summary>
    public Reading FailedConnectionAttempts;

    /// <summary>Connections that went from ESTABLISHED or CLOSE_WAIT straight to CLOSED. Unit: connections. Kernel: /proc/net/snmp, Tcp: EstabResets.</summary>
    public Reading EstablishedResets;

    /// <summary>Connections now in ESTABLISHED or CLOSE_WAIT. Unit: connections. Kernel: /proc/net/snmp, Tcp: CurrEstab.</summary>
    public Reading CurrentEstablished;

    /// <summary>Segments received, bad ones included. Unit: segments. Kernel: /proc/net/snmp, Tcp: InSegs.</summary>
    public Reading InSegments;

    /// <summary>Segments sent, retransmissions excluded. Unit: segments. Kernel: /proc/net/snmp, Tcp: OutSegs.</summary>
    public Reading OutSegments;

    /// <summary>Segments retransmitted. Unit: segments. Kernel: /proc/net/snmp, Tcp: RetransSegs.</summary>
    public Reading RetransmittedSegments;

    /// <summary>Bad segments received. Unit: segments. Kernel: /proc/net/snmp, Tcp: InErrs.</summary>
    public Reading InErrors;

    /// <summary>Segments sent with the RST flag. Unit: segments. Kernel: /proc/net/snmp, Tcp: OutRsts.</summary>
    public Reading OutResets;

    /// <summary>Segments received with a wrong checksum. Unit: segments. Kernel: /proc/net/snmp, Tcp: InCsumErrors.</summary>
    public Reading InChecksumErrors;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<TcpRecord> Metrics { get; } = new()
    {
        { "kubeskoop.tcp.active_opens", MetricKind.Counter, "{connection}", "Connections opened by this side.", static (in TcpRecord r) => r.ActiveOpens, "kubeskoop_tcp_activeopens" },
        { "kubeskoop.tcp.passive_opens", MetricKind.Counter, "{connection}", "Connections accepted.", static (in TcpRecord r) => r.PassiveOpens, "kubeskoop_tcp_passiveopens" },
        { "kubeskoop.tcp.failed_connection_attempts", MetricKind.Counter, "{connection}", "Attempts that died in SYN_SENT or SYN_RECV.", static (in TcpRecord r) => r.FailedConnectionAttempts, "kubeskoop_tcp_attemptfails" },
        { "kubeskoop.tcp.established_resets", MetricKind.Counter, "{connection}", "Connections that went from ESTABLISHED or CLOSE_WAIT straight to CLOSED.", static (in TcpRecord r) => r.EstablishedResets, "kubeskoop_tcp_estabresets" },
        { "kubeskoop.tcp.current_established", MetricKind.Gauge, "{connection}", "Connections now in ESTABLISHED or CLOSE_WAIT.", static (in TcpRecord r) => r.CurrentEstablished, "kubeskoop_tcp_currestab" },
        { "kubeskoop.tcp.in_segments", MetricKind.Counter, "{segment}", "Segments received, bad ones included.", static (in TcpRecord r) => r.InSegments, "kubeskoop_tcp_insegs" },
        { "kubeskoop.tcp.out_segments", MetricKind.Counter, "{segment}", "Segments sent, retransmissions excluded.", static (in TcpRecord r) => r.OutSegments, "kubeskoop_tcp_outsegs" },
        { "kubeskoop.tcp.retransmitted_segments", MetricKind.Counter, "{segment}", "Segments retransmitted.", static (in TcpRecord r) => r.RetransmittedSegments, "kubeskoop_tcp_retranssegs" },
        { "kubeskoop.tcp.in_errors", MetricKind.Counter, "{segment}", "Bad segments received.", static (in TcpRecord r) => r.InErrors, "kubeskoop_tcp_inerrs" },
        { "kubeskoop.tcp.out_resets", MetricKind.Counter, "{segment}", "Segments sent with the RST flag.", static (in TcpRecord r) => r.OutResets, "kubeskoop_tcp_outrsts" },
        { "kubeskoop.tcp.in_checksum_errors", MetricKind.Counter, "{segment}", "Segments received with a wrong checksum.", static (in TcpRecord r) => r.InChecksumErrors },
    };

    /// <summary>Field by field, the columns of the section <c>Tcp:</c>.</summary>
    internal static ColumnSet Columns { get; } = new("Tcp:",
    [
        "ActiveOpens", "PassiveOpens", "AttemptFails", "EstabResets", "CurrEstab", "InSegs", "OutSegs",
        "RetransSegs", "InErrs", "OutRsts", "InCsumErrors",
    ]);
}
