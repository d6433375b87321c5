using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>Packets and bytes by who talks to whom.</summary>
public sealed unsafe class FlowProbe : MetricProbe<FlowRecord>, IConfigurableProbe<FlowOptions>, IKernelProgramProbe, IHasPrograms
{
    internal const string SourceAttribute = "source.address";
    internal const string DestinationAttribute = "destination.address";
    internal const string SourcePortAttribute = "source.port";
    internal const string DestinationPortAttribute = "destination.port";
    internal const string DirectionAttribute = "network.io.direction";
    private const uint CgroupIngress = 0; // BPF_CGROUP_INET_INGRESS, include/uapi/linux/bpf.h
    private const uint CgroupEgress = 1;

    private static readonly Hook[] Hooks = [new("packets", new HookVariant("cgroup_skb", ["received", "sent"], static _ => null))];

    private readonly Lock _programsGate = new();
    private readonly EbpfPrograms _programs;
    private BpfObject? _object;
    private FlowSettings* _settings;
    private FlowTable? _table;
    private IDisposable? _lease;
    private OverheadMeter.Measured? _measured;
    private KernelProgramStatistics _before;
    private int _tally;

    /// <summary>Makes a stopped probe.</summary>
    public FlowProbe(EbpfPrograms programs, IOptions<FlowOptions>? options = null, TimeProvider? clock = null)
        : base(About, clock)
    {
        ArgumentNullException.ThrowIfNull(programs);
        _programs = programs;
        Options = options?.Value ?? new FlowOptions();
    }

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "flow",
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.High,
        Purpose = "Packets and bytes between each two addresses, as the sockets of each network namespace send and receive them.",
        Finds =
        [
            "Who talks to whom, and who fills the network.",
            "Traffic that should not be there: to another zone, to the internet, between tenants.",
        ],
        KernelSources = ["BPF programs of type cgroup_skb, ingress and egress, at the root of the control groups (version 2)"],
        Requirements =
        [
            "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (before 5.8: CAP_SYS_ADMIN).",
            "A kernel with BTF, 5.8 or later, with CONFIG_CGROUP_BPF.",
            "The root of the control groups of version 2; it need not be mounted where the process has CAP_SYS_ADMIN.",
        ],
        Attributes =
        [
            new(SourceAttribute, "the packet's source address; 'other' for what found no row"),
            new(DestinationAttribute, "its destination address; 'other' for what found no row"),
            new(AttributeNames.Transport, "tcp, udp, icmp, icmpv6, sctp, udplite, else the protocol's number; 'other' for what found no row"),
            new(DirectionAttribute, "transmit or receive, as the namespace's sockets see it"),
            new(SourcePortAttribute, "the source port, with Ports"),
            new(DestinationPortAttribute, "the destination port, with Ports"),
            new(AttributeNames.Source + ".type", "whose the source address is: pod, node, service, outside (none of the cluster's), unknown; only with AddKubernetes, as the seven that follow"),
            new(AttributeNames.Source + ".name", "the name of that pod, node or service"),
            new(AttributeNames.Source + ".namespace", "the Kubernetes namespace of that pod or service"),
            new(AttributeNames.Source + ".node.name", "the node of that pod, or that node"),
            new(AttributeNames.Destination + ".type", "whose the destination address is"),
            new(AttributeNames.Destination + ".name", "the name of that pod, node or service"),
            new(AttributeNames.Destination + ".namespace", "the Kubernetes namespace of that pod or service"),
            new(AttributeNames.Destination + ".node.name", "the node of that pod, or that node"),
        ],
        Metrics = FlowRecord.Metrics.Describe(),
        Options =
        [
            new(nameof(FlowOptions.Ports), "boolean", "false", "Whether rows differ by ports. Every connection of a client then has rows of its own."),
            new(nameof(FlowOptions.MaxRows), "number", "16384", "Rows of all namespaces together; what finds no room is counted in its namespace's row 'other'. Takes effect at a start."),
            new(nameof(FlowOptions.IdleTimeout), "time", "00:10:00", "How long nothing is sent until a row ends and makes room."),
        ],
        Notes =
        [
            "Counted where a socket takes a packet and where it has sent one, in the socket's own namespace, each packet once on each side. What the node translates on the way out or in (NAT) is not seen: the addresses are the pod's own.",
            "Where the namespace translates addresses itself (the host with kube-proxy, a pod with a sidecar), what is sent has those after, what is received those its socket knows: one connection has a row to the pod behind a service, and one from the service.",
            "Bytes are those of IP packets, without the link's header. A large packet that the kernel or the device cuts up later counts as its segments, with their headers; one that was put together when it came counts as what it was made of.",
            "A datagram that is sent in fragments is one packet, as its socket sees it; fragments that a raw socket writes itself count one by one, and those after the first have no ports.",
            "Not seen: what is only forwarded, what the kernel drops before a socket has it, what it takes without a socket (echo requests, segments of connections in TIME_WAIT or of none), and the outside of tunnels. A packet for several sockets counts for each.",
            "A row without traffic for IdleTimeout ends: it vanishes, and what it had counted is in ended_packets and ended_bytes with the sample after. The same pair that speaks again later begins at 0.",
            "The rows 'other' are traffic for which there was no row. They stay when there is room again: packets and bytes never count in two rows.",
            "Addresses are as the packets have them. The pod is that of the namespace. Whose the other side's address is, the runtime says of this node's pods, the Kubernetes API of the rest (docs/pods.md). Behind a service's own address is one of its pods; which, only the other side's rows say.",
            "A row that was counted before its other side's name was known goes on under that name. When the address has become another's, the row ends, and another begins at 0.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<FlowRecord> Metrics => FlowRecord.Metrics;

    /// <inheritdoc />
    public FlowOptions Options { get; private set; }

    /// <inheritdoc />
    public Type OptionsType => typeof(FlowOptions);

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<FlowProbe> StartNewAsync(EbpfOptions? options = null, FlowOptions? flow = null, CancellationToken cancellationToken = default) =>
        EbpfPrograms.StartAsync(options, programs =>
        {
            var probe = new FlowProbe(programs);
            if (flow is not null) probe.Configure(flow);
            return probe;
        }, cancellationToken);

    /// <inheritdoc />
    public bool CanConfigureWhileRunning(ProbeOptions options) => options is FlowOptions mine && mine.MaxRows == Options.MaxRows;

    /// <inheritdoc />
    public void Configure(ProbeOptions options)
    {
        if (options is not FlowOptions mine) throw new ArgumentException($"The probe '{Descriptor.Name}' takes {nameof(FlowOptions)}.", nameof(options));
        string[] mistakes = [.. mine.Validate()];
        if (mistakes.Length > 0) throw new ArgumentException(string.Join(" ", mistakes), nameof(options));
        lock (_programsGate)
        {
            if (_object is not null && mine.MaxRows != Options.MaxRows) throw new InvalidOperationException($"Stop the probe '{Descriptor.Name}' before changing {nameof(FlowOptions.MaxRows)}.");
            Options = mine;
            Apply();
        }
    }

    /// <inheritdoc />
    public KernelProgramStatistics ReadKernelStatistics()
    {
        lock (_programsGate) return _before + Now();
    }

    IReadOnlyList<(string Program, ulong Runs, ulong Nanoseconds)> IHasPrograms.CostOfEach()
    {
        lock (_programsGate) return _object?.CostOfEach() ?? [];
    }

    /// <inheritdoc />
    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        _lease = _programs.Namespaces.Acquire();
        using SafeFileHandle root = CgroupRoot.Open(Descriptor.Name);
        uint rows = (uint)Options.MaxRows;
        BpfObject loaded = BpfObject.Load(_programs, Descriptor.Name, Hooks,
            ("rows", rows), ("flows", rows), ("places", rows), ("others", (uint)_programs.Options.MaxNamespaces * 2), ("namespaces", 1u));
        lock (_programsGate)
        {
            _object = loaded;
            _tally = Libbpf.MapDescriptor(loaded.Map("tally"));
            _settings = loaded.Data<FlowSettings>(".data.flow");
            _table = new FlowTable(loaded, _programs, Clock);
            Apply();
        }
        loaded.AttachTo("received", root, CgroupIngress, _programs.Features);
        loaded.AttachTo("sent", root, CgroupEgress, _programs.Features);
        if (_programs.Options.MeasureOverhead) _measured = _programs.Overhead.Add(loaded);
        return ValueTask.FromResult<string?>(loaded.Describe());
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        _measured?.Dispose();
        lock (_programsGate)
        {
            _before = (_before + Now()) with { CostProblem = null };
            _measured = null;
            _settings = null;
            _table?.Dispose();
            _table = null;
            _object?.Dispose();
            _object = null;
        }
        _lease?.Dispose();
        _lease = null;
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<FlowRecord> batch)
    {
        if (_programs.Namespaces.Problem is { } problem) batch.Skip(SkipReason.Denied, problem);
        _table!.Read(batch, Options.IdleTimeout);
    }

    private void Apply()
    {
        if (_settings is not null) _settings->Ports = Options.Ports ? 1u : 0u;
    }

    private KernelProgramStatistics Now()
    {
        if (_object is not { } loaded) return default;
        (long Runs, long Nanoseconds)? cost = _measured?.Estimate;
        ProbeTally tally = default;
        PerCpuElement.Read(_tally, MemoryMarshal.Cast<ProbeTally, ulong>(new Span<ProbeTally>(ref tally)));
        return new KernelProgramStatistics(cost?.Runs, cost is { } known ? TimeSpan.FromTicks(known.Nanoseconds / TimeSpan.NanosecondsPerTick) : null, 0, 0, (long)tally.Uncounted, (long)loaded.Cost().Missed)
        {
            CostProblem = _programs.Options.MeasureOverhead ? _programs.Overhead.Problem : OverheadMeter.Off,
        };
    }
}
