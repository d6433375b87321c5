namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// Traffic, errors, drops and state per network namespace and device, from <c>/proc/net/dev</c>, or from a richer source where there is one
/// (rtnetlink, with the package KubeSkoop.Probes.Netlink).
/// </summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class NetDevProbe(ProcNet net, IEnumerable<ISampleSource<NetDevRecord>>? sources = null, TimeProvider? clock = null)
    : MetricProbe<NetDevRecord>(About, clock)
{
    private readonly ISampleSource<NetDevRecord>[] _richer = [.. sources ?? []];
    private readonly NetDevFileSource _files = new(net);
    private ISampleSource<NetDevRecord>? _source;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "netdev",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "Bytes, packets, errors, drops and state of every network device.",
        Finds =
        [
            "The device that drops packets, or has errors.",
            "Bandwidth used up.",
            "Receive rings that are too small (fifo).",
            "A device whose carrier comes and goes.",
        ],
        KernelSources = ["/proc/<pid>/net/dev", "with the netlink package: rtnetlink RTM_GETSTATS (IFLA_STATS_LINK_64), RTM_GETLINK; ETHTOOL_GSET for the speed"],
        Requirements =
        [
            "CAP_SYS_PTRACE to see the namespaces of other users' processes.",
            "CAP_SYS_ADMIN to enter them once, for rtnetlink; without it the numbers come from /proc.",
        ],
        Attributes = [new(AttributeNames.Interface, "the device's name; bytes that are not printable UTF-8 as \\xNN")],
        Metrics = NetDevRecord.Metrics.Describe(),
        Notes =
        [
            "State, carrier changes, MTU, queue length, speed, and packets for nobody come from rtnetlink only; the probe's status says which source it has.",
            "Operational states (RFC 2863): 0 unknown (loopback), 1 not present, 2 down, 3 lower layer down, 4 testing, 5 dormant, 6 up.",
            "A driver is asked for the speed when the device is new, when its carrier has changed, and once a minute. A virtual device's is a formality (veth: 10 Gbit/s).",
            "A device that is removed ends its series; nothing is summed, so no counter goes down.",
            "Upstream's names sum all devices of a namespace but lo, as upstream does.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<NetDevRecord> Metrics => NetDevRecord.Metrics;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<NetDevProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new NetDevProbe(net), cancellationToken);

    /// <inheritdoc />
    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        string? problem = null;
        foreach (ISampleSource<NetDevRecord> source in _richer)
        {
            string? why = source.TryStart();
            if (why is null)
            {
                _source = source;
                return ValueTask.FromResult<string?>(source.Name);
            }
            problem ??= $"{source.Name}: {why}";
        }
        _source = _files;
        _ = _files.TryStart();
        return ValueTask.FromResult<string?>(problem is null ? _files.Name : $"{_files.Name} ({problem})");
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        _source?.Stop();
        _source = null;
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<NetDevRecord> batch)
    {
        net.Namespaces.NoteProblem(batch);
        _source!.Read(batch);
    }
}
