using System.Globalization;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.TcpSummary;

/// <summary>The probe, seeing chosen namespaces only, with its own clock.</summary>
internal sealed class LiveSummary : IAsyncDisposable
{
    private readonly FakeProc _proc = new();
    private readonly ProcNet _net;
    private readonly NetlinkSockets _sockets;
    private readonly SampleBatch<TcpSummaryRecord> _batch = new();

    private LiveSummary(TcpSummaryOptions? options, TimeProvider? clock, TestNamespace[] namespaces, Func<ProcNamespaceSource, ITcpSocketSource>? source)
    {
        // A /proc with a process of each namespace, so that other tests' namespaces are not in sight.
        foreach (TestNamespace ns in namespaces) Show(ns.ProcessId);
        var procfs = new ProcfsOptions { HostProc = _proc.Root, RefreshInterval = TimeSpan.FromHours(1) };
        procfs.NamespaceDirectories.Clear();
        IOptions<ProcfsOptions> wrapped = Options.Create(procfs);
        Namespaces = new ProcNamespaceSource(wrapped);
        _net = new ProcNet(Namespaces, wrapped);
        _sockets = new NetlinkSockets(Namespaces, Settings);
        Probe = new TcpSummaryProbe(_sockets, _net, Options.Create(options ?? new TcpSummaryOptions()), clock, source is null ? [] : [source(Namespaces)]);
    }

    internal ProcNamespaceSource Namespaces { get; }

    internal NetlinkSettings Settings { get; } = new();

    internal TcpSummaryProbe Probe { get; }

    /// <summary>The rows of the last sample that are missing.</summary>
    internal SampleSkips Skips => _batch.Skips;

    internal static Task<LiveSummary> StartAsync(TcpSummaryOptions? options, TimeProvider? clock, params TestNamespace[] namespaces) => StartAsync(options, clock, null, namespaces);

    /// <summary>The probe with a faster source.</summary>
    internal static async Task<LiveSummary> StartAsync(TcpSummaryOptions? options, TimeProvider? clock, Func<ProcNamespaceSource, ITcpSocketSource>? source, params TestNamespace[] namespaces)
    {
        var live = new LiveSummary(options, clock, namespaces, source);
        await live.Probe.StartAsync();
        Assert.Equal(namespaces.Select(static n => n.Inode).Order(), live.Namespaces.Current.Select(static n => n.Inode).Order());
        return live;
    }

    internal static Task<LiveSummary> StartAsync(params TestNamespace[] namespaces) => StartAsync(null, null, namespaces);

    /// <summary>Puts a process into sight; its namespace is not looked for any more once the probe runs.</summary>
    internal void Show(int processId)
    {
        string pid = processId.ToString(CultureInfo.InvariantCulture);
        _proc.Link(pid, "/proc/" + pid);
    }

    internal ReadOnlySpan<SampleRow<TcpSummaryRecord>> Sample()
    {
        Probe.Sample(_batch);
        return _batch.Rows;
    }

    /// <summary>A namespace's row, as of now.</summary>
    internal TcpSummaryRecord Record(TestNamespace ns)
    {
        Sample();
        return Last(ns);
    }

    /// <summary>A namespace's row in the last sample.</summary>
    internal TcpSummaryRecord Last(TestNamespace ns) => Assert.Single(Rows(r => r.Namespace?.Inode == ns.Inode && r.Subject.Attributes.IsEmpty)).Value;

    /// <summary>
    /// What we count and what <c>ss</c> shows, with nothing in between: a sample before and one after <c>ss</c> are the same.
    /// </summary>
    internal async Task<(TcpSummaryRecord Ours, SsSocket[] Theirs)> BesideSsAsync(TestNamespace ns)
    {
        TcpSummaryRecord ours = default;
        SsSocket[] theirs = [];
        await Eventually.TrueAsync(
            async () =>
            {
                ours = Record(ns);
                theirs = await SsSocket.AllAsync(ns);
                return Values(ours).SequenceEqual(Values(Record(ns)));
            },
            "the namespace to be quiet");
        return (ours, theirs);
    }

    /// <summary>Everything in a namespace's row but its age.</summary>
    internal static MetricValue[] Values(TcpSummaryRecord record) =>
        [.. TcpSummaryRecord.Metrics.Where(static m => m.Read is not null && m.Name != "kubeskoop.tcpsummary.age").Select(m => m.Read!(in record))];

    /// <summary>The node's row in the last sample.</summary>
    internal TcpSummaryRecord LastNode() => Assert.Single(Rows(static r => r.Namespace is null)).Value;

    /// <summary>Rows of the last sample.</summary>
    internal List<SampleRow<TcpSummaryRecord>> Rows(Predicate<SampleRow<TcpSummaryRecord>> which)
    {
        var rows = new List<SampleRow<TcpSummaryRecord>>();
        foreach (ref readonly SampleRow<TcpSummaryRecord> row in _batch)
            if (which(row)) rows.Add(row);
        return rows;
    }

    public async ValueTask DisposeAsync()
    {
        await Probe.DisposeAsync();
        _sockets.Dispose();
        _net.Dispose();
        _proc.Dispose();
    }
}

/// <summary>A clock on which each look takes time; it stands still otherwise.</summary>
internal sealed class SteppingClock : TimeProvider
{
    private long _now = 1;

    internal TimeSpan Step { get; set; }

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => _now += Step.Ticks;

    internal void Advance(TimeSpan time) => _now += time.Ticks;
}
