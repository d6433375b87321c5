using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>How long data waits in sockets: for the process to read it, and for TCP to send it.</summary>
/// <remarks>Makes a stopped probe that shares its reading thread with the other probes of the package.</remarks>
public sealed unsafe class SocketLatencyProbe(EbpfPrograms programs, IOptions<SocketLatencyOptions>? options = null, TimeProvider? clock = null)
    : EbpfCountsProbe<SocketLatencyRecord, SocketLatencyEvent, SocketLatencyOptions>(About, programs, options?.Value, clock)
{
    private static readonly TimeSpan LongestTick = TimeSpan.FromMilliseconds(10); // CONFIG_HZ=100

    private SocketLatencySettings* _settings;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "socketlatency",
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.High,
        Purpose = "How long data waits in sockets: received data for the process that reads it, written data for TCP to send it.",
        Finds =
        [
            "Processes that read late because their CPU limit throttles them, or because they are busy.",
            "Writes held back by the receiver's window, by the congestion window, or on this side.",
        ],
        KernelSources =
        [
            "tracepoint sock:sk_data_ready (6.3; before: function sock_def_readable)",
            "tracepoints sock:sock_recv_length, sock:sock_send_length (6.3; before: functions inet_recvmsg, inet6_recvmsg, inet_sendmsg, inet6_sendmsg)",
            "tracepoints net:net_dev_queue, tcp:tcp_destroy_sock, sock:inet_sock_set_state",
        ],
        Requirements =
        [
            "CAP_BPF and CAP_PERFMON (before 5.8: CAP_SYS_ADMIN).",
            "A kernel with BTF, 6.3 or later; from 5.12 on if it lets programs hook functions (fentry).",
        ],
        Metrics = SocketLatencyRecord.Metrics.Describe(),
        Events = [new(nameof(SocketLatencyEvent), "Data waited for longer than the threshold: read or write, how long, flow in socket view, process (read) or cause (write), bytes.")],
        Options =
        [
            .. EbpfOptionDescriptions.OfProbe,
            new(nameof(SocketLatencyOptions.ReadThreshold), "time", "00:00:00.1", "A read at least this late is told as an event."),
            new(nameof(SocketLatencyOptions.WriteThreshold), "time", "00:00:00.1", "A write that waited at least this long is told as an event."),
            new(nameof(SocketLatencyOptions.Sampling), "power of two", "8", "Of the TCP reads within one tick of the kernel's clock, one in this many is timed and stands for the others. 1: all. With a ReadThreshold below 10 ms all are."),
        ],
        Notes =
        [
            "A read is late by the age of the oldest byte it returns, so a process that thinks before it asks is late only if data was there. A read that finds nothing is none.",
            "Whatever waits for a tick of the kernel's clock (1 to 10 ms) or longer is timed. Of the TCP reads that come sooner one in eight is, at random, unless Sampling says otherwise, and stands for eight.",
            "What is never read, and what is read by splice, with MSG_WAITALL or within the kernel, gives no number; see the receive queues of tcpsummary.",
            "A write is counted when something of it is unsent at the return of its call, and from then on. Time blocked within the call is not seen, nor are writes by splice.",
            "A socket keeps up to eight moments apart, for each direction; beyond that, neighbours are taken as one that is as old as the older.",
            "TCP and UDP over IPv4 and IPv6; not MPTCP. UDP has no queue of unsent data.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<SocketLatencyRecord> Metrics => SocketLatencyRecord.Metrics;

    private protected override IReadOnlyList<Hook> Hooks { get; } =
    [
        new("ready",
            new HookVariant("tp_btf", ["data_ready"], static k => k.Tracepoint("sk_data_ready", 1)),
            new HookVariant("fentry", ["enter_readable"], static k => k.SocketStorage() ?? k.Function("sock_def_readable"))),
        new("read",
            new HookVariant("tp_btf", ["received"], static k => k.Tracepoint("sock_recv_length", 3)),
            new HookVariant("fentry", ["leave_receive", "leave_receive6"], static k => k.Function("inet_recvmsg") ?? k.Function("inet6_recvmsg"))),
        new("write",
            new HookVariant("tp_btf", ["written"], static k => k.Tracepoint("sock_send_length", 3)),
            new HookVariant("fentry", ["leave_send", "leave_send6"], static k => k.Function("inet_sendmsg") ?? k.Function("inet6_sendmsg"))),
        new("transmit", new HookVariant("tp_btf", ["transmit"], static k => k.Tracepoint("net_dev_queue", 1))),
        new("end", new HookVariant("tp_btf", ["destroy"], static k => k.Tracepoint("tcp_destroy_sock", 1))),
        new("begin", new HookVariant("tp_btf", ["set_state"], static k => k.Tracepoint("inet_sock_set_state", 3))),
    ];

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<SocketLatencyProbe> StartNewAsync(EbpfOptions? options = null, SocketLatencyOptions? socketlatency = null, CancellationToken cancellationToken = default) =>
        EbpfPrograms.StartAsync(options, programs =>
        {
            var probe = new SocketLatencyProbe(programs);
            if (socketlatency is not null) probe.Configure(socketlatency);
            return probe;
        }, cancellationToken);

    private protected override void Loaded(BpfObject loaded)
    {
        base.Loaded(loaded);
        _settings = loaded.Data<SocketLatencySettings>(".data.socketlatency");
    }

    private protected override void Unloading()
    {
        _settings = null;
        base.Unloading();
    }

    private protected override void Apply(Span<ulong> thresholdNs)
    {
        _settings->Sampling = (uint)(Options.ReadThreshold < LongestTick ? 1 : Options.Sampling);
        thresholdNs[(int)SocketLatencyKind.Read] = Nanoseconds(Options.ReadThreshold);
        thresholdNs[(int)SocketLatencyKind.Write] = Nanoseconds(Options.WriteThreshold);
    }

    // struct socketlatency_counts, bpf/socketlatency.h
    private protected override void Write(ref SocketLatencyRecord record, ReadOnlySpan<ulong> counts)
    {
        HistogramWords.Read(counts, 0, out record.TcpRead);
        HistogramWords.Read(counts, HistogramWords.Length, out record.UdpRead);
        HistogramWords.Read(counts, 2 * HistogramWords.Length, out record.TcpWrite);
        counts = counts[(3 * HistogramWords.Length)..];
        record.ReadOver1Ms = counts[0];
        record.ReadOver100Ms = counts[1];
        record.WriteOver1Ms = counts[2];
        record.WriteOver100Ms = counts[3];
        record.WriteForLocal = counts[4 + (int)SocketLatencyCause.Local];
        record.WriteForPeerWindow = counts[4 + (int)SocketLatencyCause.PeerWindow];
        record.WriteForCongestionWindow = counts[4 + (int)SocketLatencyCause.CongestionWindow];
    }

    private protected override SocketLatencyEvent? Understand(ReadOnlySpan<byte> record)
    {
        if (!MemoryMarshal.TryRead(record, out RawSocketLatency raw) || raw.Kind > (byte)SocketLatencyKind.Write || raw.Cause > (byte)SocketLatencyCause.CongestionWindow) return null;
        DateTimeOffset time = TimeOf(raw.Head.Time);
        var kind = (SocketLatencyKind)raw.Kind;
        return new SocketLatencyEvent
        {
            Probe = About.Name,
            Timestamp = time,
            Origin = Programs.OriginOf(in raw.Head, time),
            Kind = kind,
            Latency = RawEvent.Duration(raw.LatencyNs),
            Bytes = raw.Bytes,
            Waiting = raw.Waiting,
            State = raw.State == 0 ? null : (TcpState)raw.State,
            Cause = kind == SocketLatencyKind.Write ? (SocketLatencyCause)raw.Cause : null,
        };
    }
}

/// <summary>struct socketlatency_settings, bpf/socketlatency.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SocketLatencySettings
{
    internal uint Sampling;
}
