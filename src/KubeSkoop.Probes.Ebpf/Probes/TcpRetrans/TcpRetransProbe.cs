using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>TCP segments that are sent again, by what made TCP do so.</summary>
/// <remarks>Makes a stopped probe that shares its reading thread with the other probes of the package.</remarks>
public sealed class TcpRetransProbe(EbpfPrograms programs, IOptions<TcpRetransOptions>? options = null, TimeProvider? clock = null)
    : EbpfCountsProbe<TcpRetransRecord, TcpRetransEvent, TcpRetransOptions>(About, programs, options?.Value, clock)
{
    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "tcpretrans",
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.Low,
        Purpose = "TCP segments sent again: on which connection, and whether for a timeout, by the receiver's word, as a probe, for the path's MTU, or in the handshake.",
        Finds =
        [
            "Packets lost on the way, and to whom.",
            "Connections that stall for a retransmission timeout, which costs 200 ms and more.",
            "Peers that do not answer a SYN, and SYN-ACKs that do not arrive.",
            "Paths with a smaller MTU than the devices' at their ends (tunnels, overlays).",
        ],
        KernelSources =
        [
            "tracepoint tcp:tcp_retransmit_skb (4.15; with an error 6.16)",
            "tracepoint tcp:tcp_retransmit_synack (4.15)",
        ],
        Requirements =
        [
            "CAP_BPF and CAP_PERFMON (before 5.8: CAP_SYS_ADMIN).",
            "A kernel with BTF, 5.8 or later.",
        ],
        Metrics = TcpRetransRecord.Metrics.Describe(),
        Events = [new(nameof(TcpRetransEvent), "Something was sent again: kind, flow in socket view, TCP and congestion state, sequence number, bytes, segments.")],
        Options = EbpfOptionDescriptions.OfProbe,
        Notes =
        [
            "The sum of all kinds is what TcpRetransSegs counts; a large packet that is sent again as a whole counts with all its segments.",
            "The kind follows from the congestion state at that moment: Loss is a timeout, Recovery is fast, and before either only the tail loss probe sends again.",
            "Loss without a timeout is the path's MTU: what TCP sends again when a router has told that it was too large, or when a larger size that it tried was lost. During a timeout's Loss that cannot be told apart. What a server did not take of a Fast Open SYN is told so, too, where the kernel sends it again in that state.",
            "What could not be handed down is in no kind; before 6.16 the kernel is silent about it.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<TcpRetransRecord> Metrics => TcpRetransRecord.Metrics;

    private protected override IReadOnlyList<Hook> Hooks { get; } =
    [
        new("retransmit",
            new HookVariant("tp_btf", ["retransmit_with_error"], static k => k.Tracepoint("tcp_retransmit_skb", 3)),
            new HookVariant("tp_btf", ["retransmit"], static k => k.Tracepoint("tcp_retransmit_skb", 2, 2))),
        new("synack", new HookVariant("tp_btf", ["retransmit_synack"], static k => k.Tracepoint("tcp_retransmit_synack", 2))),
    ];

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<TcpRetransProbe> StartNewAsync(EbpfOptions? options = null, TcpRetransOptions? tcpretrans = null, CancellationToken cancellationToken = default) =>
        EbpfPrograms.StartAsync(options, programs =>
        {
            var probe = new TcpRetransProbe(programs);
            if (tcpretrans is not null) probe.Configure(tcpretrans);
            return probe;
        }, cancellationToken);

    private protected override void Write(ref TcpRetransRecord record, ReadOnlySpan<ulong> counts)
    {
        record.Syn = counts[(int)TcpRetransKind.Syn];
        record.SynAck = counts[(int)TcpRetransKind.SynAck];
        record.Fast = counts[(int)TcpRetransKind.Fast];
        record.Timeout = counts[(int)TcpRetransKind.Timeout];
        record.TailLossProbe = counts[(int)TcpRetransKind.TailLossProbe];
        record.PathMtu = counts[(int)TcpRetransKind.PathMtu];
        record.Failed = counts[(int)TcpRetransKind.PathMtu + 1];
    }

    private protected override TcpRetransEvent? Understand(ReadOnlySpan<byte> record)
    {
        if (!MemoryMarshal.TryRead(record, out RawTcpRetrans raw) || raw.Kind > (byte)TcpRetransKind.PathMtu) return null;
        DateTimeOffset time = TimeOf(raw.Head.Time);
        return new TcpRetransEvent
        {
            Probe = About.Name,
            Timestamp = time,
            Origin = Programs.OriginOf(in raw.Head, time),
            Kind = (TcpRetransKind)raw.Kind,
            State = (TcpState)raw.State,
            Congestion = (TcpCongestionState)raw.Congestion,
            Sequence = raw.Sequence,
            Bytes = raw.Bytes,
            Segments = raw.Segments,
            Error = raw.Error == 0 ? null : -raw.Error,
        };
    }
}
