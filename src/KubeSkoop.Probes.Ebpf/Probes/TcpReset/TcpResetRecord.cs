namespace KubeSkoop.Probes.Ebpf;

/// <summary>TCP resets of one network namespace since the probe was started.</summary>
public struct TcpResetRecord
{
    /// <summary>Resets that answered a segment for which there is no socket. Unit: segments. Kernel: tcp_send_reset without a socket, 6.10 and later.</summary>
    public Reading SentWithoutSocket;

    /// <summary>Resets that answered a segment its socket could not take. Unit: segments. Kernel: tcp_send_reset with socket and segment.</summary>
    public Reading SentOnSocket;

    /// <summary>Resets this side sent because it gave the connection up. Unit: segments. Kernel: tcp_send_reset without a segment.</summary>
    public Reading SentActively;

    /// <summary>Resets received that ended a connection. Unit: segments. Kernel: tcp_receive_reset.</summary>
    public Reading Received;

    /// <summary>The metrics made of it.</summary>
    public static MetricTable<TcpResetRecord> Metrics { get; } = new()
    {
        { "kubeskoop.tcpreset.sent_without_socket", MetricKind.Counter, "{segment}", "Resets sent in answer to a segment for which there is no socket.", static (in TcpResetRecord r) => r.SentWithoutSocket },
        { "kubeskoop.tcpreset.sent_on_socket", MetricKind.Counter, "{segment}", "Resets sent in answer to a segment its socket could not take.", static (in TcpResetRecord r) => r.SentOnSocket },
        { "kubeskoop.tcpreset.sent_actively", MetricKind.Counter, "{segment}", "Resets sent because this side gave the connection up.", static (in TcpResetRecord r) => r.SentActively },
        { "kubeskoop.tcpreset.received", MetricKind.Counter, "{segment}", "Resets received that ended a connection.", static (in TcpResetRecord r) => r.Received },
    };
}

/// <summary>Settings of the probe <c>tcpreset</c>.</summary>
public sealed class TcpResetOptions() : EbpfProbeOptions(SectionName)
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":tcpreset";
}
