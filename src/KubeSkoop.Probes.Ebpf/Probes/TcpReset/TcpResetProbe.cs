using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>TCP connections that end with a reset, sent or received, with the kernel's reason and, where a process is the cause, that process.</summary>
/// <remarks>Makes a stopped probe that shares its reading thread with the other probes of the package.</remarks>
public sealed class TcpResetProbe(EbpfPrograms programs, IOptions<TcpResetOptions>? options = null, TimeProvider? clock = null)
    : EbpfCountsProbe<TcpResetRecord, TcpResetEvent, TcpResetOptions>(About, programs, options?.Value, clock)
{
    private Dictionary<long, string> _reasons = [];

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "tcpreset",
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.Low,
        Purpose = "TCP resets sent and received: on which connection, in which state, and why.",
        Finds =
        [
            "Connections refused because nothing listens.",
            "Idle time limits that differ between client, server and what is between them.",
            "Processes that close connections with unread data, or with SO_LINGER set to zero.",
        ],
        KernelSources =
        [
            "tracepoint tcp:tcp_send_reset (4.15; with a reason, and where there is no socket: 6.10)",
            "functions tcp_v4_send_reset, tcp_v6_send_reset, before 6.10: where there is no socket, or one in TIME_WAIT",
            "tracepoint tcp:tcp_receive_reset (4.15)",
        ],
        Requirements =
        [
            "CAP_BPF and CAP_PERFMON (before 5.8: CAP_SYS_ADMIN).",
            "A kernel with BTF, 5.8 or later.",
        ],
        Metrics = TcpResetRecord.Metrics.Describe(),
        Events = [new(nameof(TcpResetEvent), "A reset was sent or received: kind, state, reason, flow in socket view, and the process if one is the cause.")],
        Options = EbpfOptionDescriptions.OfProbe,
        Notes =
        [
            "Before 6.10 the kernel's tracepoint is silent where there is no socket. Resets that answer a segment to a closed port are seen there only if programs may hook functions (fentry, kprobe), and have no reason.",
            "A reset that is received is told by the socket it ends; one for which there is no socket does not exist for TCP.",
            "A reset that ends a handshake before the last segment of it has come is not told where it is received: there is no socket yet, and no tracepoint. tcpext counts it (embryonic_resets).",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<TcpResetRecord> Metrics => TcpResetRecord.Metrics;

    private protected override IReadOnlyList<Hook> Hooks { get; } =
    [
        new("send",
            new HookVariant("tp_btf", ["send_reset_with_reason"], static k => k.Tracepoint("tcp_send_reset", 3)),
            new HookVariant("tp_btf", ["send_reset"], static k => k.Tracepoint("tcp_send_reset", 2, 2))),
        new("answer",
            new HookVariant("tp_btf", [], static k => k.Tracepoint("tcp_send_reset", 3) is null ? null : "the tracepoint tcp_send_reset tells only of sockets (6.10)"),
            new HookVariant("fentry", ["answer", "answer6"], static k => SeenAlready(k) ?? k.Function("tcp_v4_send_reset") ?? k.Function("tcp_v6_send_reset")),
            new HookVariant("kprobe", ["answer_by_kprobe", "answer6_by_kprobe"], static k => SeenAlready(k) ?? k.Kprobe("tcp_v4_send_reset") ?? k.Kprobe("tcp_v6_send_reset")))
        {
            Without = "resets for segments that have no socket",
        },
        new("receive", new HookVariant("tp_btf", ["receive_reset"], static k => k.Tracepoint("tcp_receive_reset", 1))),
    ];

    // They would be counted twice.
    private static string? SeenAlready(KernelFeatures features) => features.Tracepoint("tcp_send_reset", 3) is null ? "the tracepoint tcp_send_reset tells of them (6.10)" : null;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<TcpResetProbe> StartNewAsync(EbpfOptions? options = null, TcpResetOptions? tcpreset = null, CancellationToken cancellationToken = default) =>
        EbpfPrograms.StartAsync(options, programs =>
        {
            var probe = new TcpResetProbe(programs);
            if (tcpreset is not null) probe.Configure(tcpreset);
            return probe;
        }, cancellationToken);

    private protected override void Loaded(BpfObject loaded)
    {
        base.Loaded(loaded);
        _reasons = KernelNames.Of(Programs.Features.Btf?.Enumerators("sk_rst_reason"), "SK_RST_REASON_");
    }

    private protected override void Write(ref TcpResetRecord record, ReadOnlySpan<ulong> counts)
    {
        record.SentWithoutSocket = counts[(int)TcpResetKind.NoSocket];
        record.SentOnSocket = counts[(int)TcpResetKind.OnSocket];
        record.SentActively = counts[(int)TcpResetKind.Active];
        record.Received = counts[(int)TcpResetKind.Received];
    }

    private protected override TcpResetEvent? Understand(ReadOnlySpan<byte> record)
    {
        if (!MemoryMarshal.TryRead(record, out RawTcpReset raw) || raw.Kind > (byte)TcpResetKind.Received) return null;
        DateTimeOffset time = TimeOf(raw.Head.Time);
        return new TcpResetEvent
        {
            Probe = About.Name,
            Timestamp = time,
            Origin = Programs.OriginOf(in raw.Head, time),
            Kind = (TcpResetKind)raw.Kind,
            State = (TcpState)raw.State,
            Reason = raw.HasReason == 0 ? null : _reasons.TryGetValue(raw.Reason, out string? name) ? name : raw.Reason.ToString(CultureInfo.InvariantCulture),
        };
    }
}
