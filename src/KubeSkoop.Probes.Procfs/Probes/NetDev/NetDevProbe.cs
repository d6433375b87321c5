using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Traffic, errors and drops per network namespace and device, from <c>/proc/net/dev</c>.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class NetDevProbe(ProcNet net, TimeProvider? clock = null) : MetricProbe<NetDevRecord>(About, clock)
{
    private readonly PerNamespace<NetDevices> _namespaces = new(ns => new NetDevices(new NetFile(net.Namespaces, ns, "dev")));
    private readonly NetDevHeader _header = new();
    private readonly ReadBuffer _buffer = new();
    private readonly Reading[] _fields = new Reading[NetDevRecord.Columns.Length];
    private IDisposable? _lease;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "netdev",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "Bytes, packets, errors and drops of every network device.",
        Finds =
        [
            "The device that drops packets, or has errors.",
            "Bandwidth used up.",
            "Receive rings that are too small (fifo).",
        ],
        KernelSources = ["/proc/<pid>/net/dev"],
        Requirements = ["CAP_SYS_PTRACE to see the namespaces of other users' processes."],
        Attributes = [new(AttributeNames.Interface, "the device's name; bytes that are not printable UTF-8 as \\xNN")],
        Metrics = NetDevRecord.Metrics.Describe(),
        Notes =
        [
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
        _lease = net.Namespaces.Acquire();
        return ValueTask.FromResult<string?>("procfs");
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        _namespaces.Dispose();
        _lease?.Dispose();
        _lease = null;
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<NetDevRecord> batch)
    {
        net.Namespaces.NoteHidden(batch);
        foreach (NetDevices devices in _namespaces.For(net.Namespaces.Current))
        {
            NetFileOutcome outcome = devices.File.Read(_buffer, singleRecord: false, out ReadOnlySpan<byte> text);
            if (outcome == NetFileOutcome.Ok) outcome = Read(batch, devices, text);
            batch.Note(outcome, devices.File);
        }
    }

    private NetFileOutcome Read(SampleBatch<NetDevRecord> batch, NetDevices devices, ReadOnlySpan<byte> text)
    {
        int before = batch.Count;
        var line = new NetDevCursor(text, _header);
        devices.Begin();
        while (line.MoveNext(_fields))
        {
            if (devices.Meet(line.Name) is not { } device) continue;
            ref NetDevRecord record = ref batch.Add(device.Subject);
            _fields.CopyTo(MemoryMarshal.CreateSpan(ref record.ReceivedBytes, _fields.Length));
            record.IsLoopback = device.IsLoopback;
        }
        if (line.Fault.Kind == Text.FaultKind.None)
        {
            devices.End();
            devices.File.Understood();
            return NetFileOutcome.Ok;
        }
        devices.Abandon();
        while (batch.Count > before) batch.RemoveLast();
        return devices.File.Malformed(line.Fault);
    }
}
