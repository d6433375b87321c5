using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>How long packets take in the kernel's IP layer, and in which part of it.</summary>
/// <remarks>Makes a stopped probe that shares its reading thread with the other probes of the package.</remarks>
public sealed unsafe class KernelLatencyProbe(EbpfPrograms programs, IOptions<KernelLatencyOptions>? options = null, TimeProvider? clock = null)
    : EbpfCountsProbe<KernelLatencyRecord, KernelLatencyEvent, KernelLatencyOptions>(About, programs, options?.Value, clock)
{
    private const int Paths = 3; // KERNELLATENCY_PATHS, bpf/kernellatency.h
    private const string Stages = "stages";
    private const int Histograms = Paths + 5 + 4 + 6;

    private static readonly string[] IPv4Functions = ["ip_rcv", "ip_list_rcv", "ip_local_deliver", "ip_forward", "__ip_queue_xmit", "ip_output", "ip_mc_output", "sk_filter_trim_cap"];
    private static readonly string[] IPv6Functions = ["ipv6_rcv", "ipv6_list_rcv", "ip6_input", "ip6_mc_input", "ip6_forward", "inet6_csk_xmit", "ip6_output"];

    private static readonly Hook Begin = new("receive", new HookVariant("tp_btf", ["receive"], static k => k.Tracepoint("netif_receive_skb", 1)));

    private static readonly Hook End = new("end", new HookVariant("tp_btf", ["drop", "consume"], static k => k.Tracepoint("kfree_skb", 2) ?? k.Tracepoint("consume_skb", 1)));

    private static readonly Hook IPv4 = Functions("IPv4", IPv4Functions);

    private static readonly Hook[] Fine =
    [
        Begin,
        new("to device", new HookVariant("tp_btf", ["queue_to_device"], static k => k.Tracepoint("net_dev_queue", 1))),
        End,
        IPv4,
        Functions("IPv6", IPv6Functions) with { Without = "IPv6" },
        new("netfilter",
            new HookVariant("fentry", ["at_nf_hook_slow", "after_nf_hook_slow"], static k => k.Function("nf_hook_slow")),
            new HookVariant("kprobe", ["probe_nf_hook_slow", "probe_after_nf_hook_slow"], static k => k.Kprobe("nf_hook_slow")))
        { Without = "netfilter" },
    ];

    private KernelLatencySettings* _settings;
    private bool _coarse;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "kernellatency",
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.High,
        Purpose = "How long packets take in the kernel's IP layer, and where: netfilter's chains, routing, on to the socket or the device; received, sent and forwarded ones.",
        Finds =
        [
            "Large sets of iptables or nftables rules, and the chain they are in.",
            "Packets that wait for a neighbour's address, or in a queue of netfilter for a program's verdict.",
            "A slow kernel path as the cause of timeouts and jitter, or as none.",
        ],
        KernelSources =
        [
            "tracepoints net:netif_receive_skb, net:net_dev_queue, skb:kfree_skb, skb:consume_skb",
            "functions nf_hook_slow (begin and end), " + string.Join(", ", [.. IPv4Functions, .. IPv6Functions]),
            "coarse: tracepoints net:netif_receive_skb, tcp:tcp_probe, sock:sk_data_ready (6.3), net:net_dev_queue, skb:kfree_skb, skb:consume_skb",
        ],
        Requirements =
        [
            "CAP_BPF and CAP_PERFMON (before 5.8: CAP_SYS_ADMIN).",
            "A kernel with BTF, 5.8 or later, that lets programs hook functions (fentry, or kprobes); else it is coarse, as its status says: totals of received and sent packets, no stages.",
        ],
        Metrics = KernelLatencyRecord.Metrics.Describe(),
        Events = [new(nameof(KernelLatencyEvent), "A packet took longer than the threshold: path (receive, transmit, forward), the time of every stage, flow in socket view (of a forwarded packet, from its sender's side), device, length.")],
        Options =
        [
            .. EbpfOptionDescriptions.OfProbe,
            new(nameof(KernelLatencyOptions.Threshold), "time", "00:00:00.01", "A packet that takes at least this long is told as an event."),
            new(nameof(KernelLatencyOptions.Sampling), "power of two", "8", "Of the packets that take less than 1 ms, one in this many is counted, chosen at random, and stands for the others. 1: all."),
            new(nameof(KernelLatencyOptions.Coarse), "boolean", "false", "Whether to do without the stages: six programs instead of twenty."),
        ],
        Notes =
        [
            "A chain of netfilter counts the packets for which the namespace has a user of that chain (rules, connection tracking, NAT); without any, netfilter is not called and there is no such stage.",
            "Received packets count when their socket is found: what the kernel answers itself (ping, resets) or drops does not. Fragments count as the packet they make.",
            "Segments that are handled as one packet (GRO, GSO) are one.",
            "Every packet is followed, and whatever takes 1 ms or longer is counted. Of those that are faster one in eight is, at random, unless Sampling says otherwise, and stands for eight.",
            "Packets are kept by their address in 16,384 places. One whose place is taken while it is on its way is lost sight of, and is in kubeskoop.probe.uncounted: mostly one that waits long beside much traffic.",
            "Sent packets but TCP's look up their route before there is a packet: they count from netfilter's output, or from ip_output, and have no stage of routing.",
            "What waits for a neighbour's address, or for a verdict (NFQUEUE), is measured until it goes on, on whichever CPU.",
            "A packet that is copied or cut up on its way (a fragmented one, one that several receivers share) is lost sight of, and does not count.",
            "Bridged frames, and what BPF programs redirect past IP, are not the IP layer's. Where a bridge shows packets to netfilter (br_netfilter), prerouting and routing of received ones are counted as prerouting.",
            "Coarse: received are segments of TCP's established connections whose socket no process holds at that moment, and datagrams of UDP (from 6.3 on) that no reader takes at once; sent are TCP's at the first device, whose time begins with TCP's own stamp and may be too long by some 50 us.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<KernelLatencyRecord> Metrics => KernelLatencyRecord.Metrics;

    private protected override IReadOnlyList<Hook> Hooks => WhyCoarse() is { } reason ? Coarse(reason) : Fine;

    private string? WhyCoarse()
    {
        if (Options.Coarse) return "asked for";
        if (Programs.Options.Hook is { } wanted) return wanted == "tp_btf" ? "tp_btf asked for" : null;
        string?[] refusals = [.. IPv4.After(Refused).Variants.Select(v => v.WhyNot(Programs.Features) is { } reason ? $"{v.Name}: {reason}" : null)];
        return Array.Exists(refusals, static r => r is null) ? null : string.Join("; ", refusals);
    }

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<KernelLatencyProbe> StartNewAsync(EbpfOptions? options = null, KernelLatencyOptions? kernellatency = null, CancellationToken cancellationToken = default) =>
        EbpfPrograms.StartAsync(options, programs =>
        {
            var probe = new KernelLatencyProbe(programs);
            if (kernellatency is not null) probe.Configure(kernellatency);
            return probe;
        }, cancellationToken);

    private protected override void Loaded(BpfObject loaded)
    {
        base.Loaded(loaded);
        _settings = loaded.Data<KernelLatencySettings>(".data.kernellatency");
        _coarse = loaded.Hooks.Any(static h => h.Hook.Name == Stages);
    }

    private protected override void Unloading()
    {
        base.Unloading();
        _settings = null;
    }

    private protected override bool NeedsRestart(KernelLatencyOptions next) => next.Coarse != Options.Coarse;

    private protected override void Apply(Span<ulong> thresholdNs)
    {
        _settings->SamplingMask = (uint)Options.Sampling - 1;
        _settings->Follows = _coarse ? 0u : 1;
        thresholdNs[0] = Nanoseconds(Options.Threshold);
    }

    // struct kernellatency_counts, bpf/kernellatency.h
    private protected override void Write(ref KernelLatencyRecord record, ReadOnlySpan<ulong> counts)
    {
        ReadOnlySpan<ulong> over10Ms = counts.Slice(Histograms * HistogramWords.Length, Paths), over100Ms = counts.Slice((Histograms * HistogramWords.Length) + Paths, Paths);
        record.ReceiveOver10Ms = over10Ms[(int)KernelLatencyPath.Receive];
        record.ReceiveOver100Ms = over100Ms[(int)KernelLatencyPath.Receive];
        record.TransmitOver10Ms = over10Ms[(int)KernelLatencyPath.Transmit];
        record.TransmitOver100Ms = over100Ms[(int)KernelLatencyPath.Transmit];
        At(counts, 0, out record.Receive);
        At(counts, 1, out record.Transmit);
        if (_coarse)
        {
            record.Forward = record.ReceiveDevice = record.ReceivePrerouting = record.ReceiveRouting = record.ReceiveLocalIn = record.ReceiveSocket = Log2Histogram.Absent;
            record.TransmitLocalOut = record.TransmitRouting = record.TransmitPostrouting = record.TransmitDevice = Log2Histogram.Absent;
            record.ForwardReceive = record.ForwardPrerouting = record.ForwardRouting = record.ForwardForward = record.ForwardPostrouting = record.ForwardDevice = Log2Histogram.Absent;
            return;
        }
        record.ForwardOver10Ms = over10Ms[(int)KernelLatencyPath.Forward];
        record.ForwardOver100Ms = over100Ms[(int)KernelLatencyPath.Forward];
        At(counts, 2, out record.Forward);
        At(counts, 3, out record.ReceiveDevice);
        At(counts, 4, out record.ReceivePrerouting);
        At(counts, 5, out record.ReceiveRouting);
        At(counts, 6, out record.ReceiveLocalIn);
        At(counts, 7, out record.ReceiveSocket);
        At(counts, 8, out record.TransmitLocalOut);
        At(counts, 9, out record.TransmitRouting);
        At(counts, 10, out record.TransmitPostrouting);
        At(counts, 11, out record.TransmitDevice);
        At(counts, 12, out record.ForwardReceive);
        At(counts, 13, out record.ForwardPrerouting);
        At(counts, 14, out record.ForwardRouting);
        At(counts, 15, out record.ForwardForward);
        At(counts, 16, out record.ForwardPostrouting);
        At(counts, 17, out record.ForwardDevice);
    }

    private protected override KernelLatencyEvent? Understand(ReadOnlySpan<byte> record)
    {
        if (!MemoryMarshal.TryRead(record, out RawKernelLatency raw) || raw.Path >= Paths) return null;
        DateTimeOffset time = TimeOf(raw.Head.Time);
        return new KernelLatencyEvent
        {
            Probe = About.Name,
            Timestamp = time,
            Origin = Programs.OriginOf(in raw.Head, time),
            Path = (KernelLatencyPath)raw.Path,
            Latency = RawEvent.Duration(raw.LatencyNs),
            Stages = raw.Entered == 0 ? null : new KernelLatencyStages
            {
                Receive = Stage(in raw, KernelLatencyStage.Device),
                Prerouting = Stage(in raw, KernelLatencyStage.Prerouting),
                Routing = Stage(in raw, KernelLatencyStage.Routing),
                LocalIn = Stage(in raw, KernelLatencyStage.LocalIn),
                Socket = Stage(in raw, KernelLatencyStage.Socket),
                Forward = Stage(in raw, KernelLatencyStage.Forwarding),
                LocalOut = Stage(in raw, KernelLatencyStage.LocalOut),
                Postrouting = Stage(in raw, KernelLatencyStage.Postrouting),
                Device = Stage(in raw, KernelLatencyStage.Output),
            },
            Device = raw.DeviceIndex == 0 ? null : RawEvent.Text(raw.Device),
            DeviceIndex = raw.DeviceIndex,
            Bytes = raw.Bytes,
        };
    }

    private static void At(ReadOnlySpan<ulong> counts, int histogram, out Log2Histogram read) => HistogramWords.Read(counts, histogram * HistogramWords.Length, out read);

    private static Hook Functions(string name, string[] functions) => new(name,
        new HookVariant("fentry", [.. functions.Select(static f => $"at_{f}")], k => functions.Select(k.Function).FirstOrDefault(static r => r is not null)),
        new HookVariant("kprobe", [.. functions.Select(static f => $"probe_{f}")], k => functions.Select(k.Kprobe).FirstOrDefault(static r => r is not null)));

    private static Hook[] Coarse(string reason) =>
    [
        Begin,
        End,
        new("segment", new HookVariant("tp_btf", ["take_segment"], static k => k.Tracepoint("tcp_probe", 2))),
        new("datagram", new HookVariant("tp_btf", ["take_datagram"], static k => k.Tracepoint("sk_data_ready", 1))) { Without = "received datagrams" },
        new("to device", new HookVariant("tp_btf", ["queue_segment"], static k => k.Tracepoint("net_dev_queue", 1))),
        new(Stages, new HookVariant("function", [], _ => reason)) { Without = "stages: coarse, totals only" },
    ];

    private static TimeSpan? Stage(in RawKernelLatency raw, KernelLatencyStage stage) =>
        (raw.Entered >> (int)stage & 1) != 0 ? RawEvent.Duration(raw.StagesNs[(int)stage]) : null;
}
