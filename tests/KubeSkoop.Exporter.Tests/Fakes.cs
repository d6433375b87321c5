using KubeSkoop.Probes.Lifecycle;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Exporter.Tests;

/// <summary>A record with one metric of every kind.</summary>
internal struct FakeRecord
{
    internal Reading Opens;
    internal Reading Bytes;
    internal double Share;
    internal Reading Limit;
    internal Log2Histogram Latency;
    internal bool Main;

    internal static MetricTable<FakeRecord> Table(string probe = "fake", MetricKind upstreamKind = MetricKind.Gauge)
    {
        var table = new MetricTable<FakeRecord>(static (in FakeRecord r) => r.Main, upstreamKind);
        table.Add($"kubeskoop.{probe}.active_opens", MetricKind.Counter, "{connection}", "Connections opened.", static (in FakeRecord r) => r.Opens, $"kubeskoop_{probe}_activeopens");
        table.Add($"kubeskoop.{probe}.received", MetricKind.Counter, "By", "Bytes \"received\", a \\ and\na line break.", static (in FakeRecord r) => r.Bytes, $"kubeskoop_{probe}_rxkilobytes", static (in FakeRecord r) => r.Bytes.HasValue ? r.Bytes.Value / 1024 : default(Reading));
        table.Add($"kubeskoop.{probe}.utilization", MetricKind.Gauge, "1", "Share in use.", static (in FakeRecord r) => r.Share);
        table.Add($"kubeskoop.{probe}.limit", MetricKind.Gauge, "{socket}", "Most there may be.", static (in FakeRecord r) => r.Limit);
        table.AddHistogram($"kubeskoop.{probe}.latency", "s", 1e-6, "Latency.", static (in FakeRecord r) => ref r.Latency);
        table.AddUpstream($"kubeskoop_{probe}_only", "Only upstream has it.", static (in FakeRecord r) => r.Opens + r.Limit);
        return table;
    }
}

/// <summary>A probe whose rows a test sets.</summary>
internal sealed class FakeProbe(string name = "fake", MetricTable<FakeRecord>? table = null) : MetricProbe<FakeRecord>(Describe(name, table ?? FakeRecord.Table(name)))
{
    private readonly MetricTable<FakeRecord> _table = table ?? FakeRecord.Table(name);

    internal List<(SampleSubject Subject, FakeRecord Record)> Rows { get; } = [];

    internal ProbeUnavailableException? Unavailable { get; set; }

    internal Exception? ReadFails { get; set; }

    /// <summary>Called in the middle of a read.</summary>
    internal Action? OnRead { get; set; }

    public override MetricTable<FakeRecord> Metrics => _table;

    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken) =>
        Unavailable is { } e ? throw e : ValueTask.FromResult<string?>("fake");

    protected override ValueTask OnStopAsync() => ValueTask.CompletedTask;

    protected override void Read(SampleBatch<FakeRecord> batch)
    {
        OnRead?.Invoke();
        if (ReadFails is { } e) throw e;
        foreach (var (subject, record) in Rows) batch.Add(subject) = record;
    }

    private static ProbeDescriptor Describe(string name, MetricTable<FakeRecord> table) => new()
    {
        Name = name,
        Aliases = [name + "_alias"],
        Source = ProbeSource.Other,
        Overhead = OverheadClass.Medium,
        Purpose = "Says what it is told to say.",
        Metrics = table.Describe(),
        Options = [new OptionDescriptor("CountSockets", "true or false", "false", "Counts sockets.")],
    };
}

/// <summary>Namespaces, rows and managers for tests.</summary>
internal static class Make
{
    internal const string HostileName = "a\"b\\c\nd\0\u001b[31m\u2028\ud800é";

    internal static NetworkNamespace Host() => new(4026531840, true, new NamespaceFacts(null, 1, "init", null));

    internal static NetworkNamespace Namespace(uint inode, string? name = null, string? command = null, PodIdentity? pod = null) =>
        new(inode, false, new NamespaceFacts(name, 4711, command, pod));

    internal static FakeRecord Record(ulong opens, bool main = true)
    {
        var record = new FakeRecord { Opens = opens, Bytes = opens * 2048, Share = 0.25, Main = main };
        record.Latency.Observe(3);
        record.Latency.Observe(3);
        record.Latency.Observe(1000);
        return record;
    }

    /// <summary>A manager in which the probes run; without self-metrics unless asked for.</summary>
    internal static async Task<ProbeManager> ManagerAsync(params IProbe[] probes)
    {
        var manager = new ProbeManager(probes);
        foreach (IProbe probe in probes) await manager.StartAsync(probe.Descriptor.Name);
        return manager;
    }

    /// <summary>Adds finished probes to a host.</summary>
    internal static Action<IProbesBuilder> Probes(params IProbe[] probes) => builder =>
    {
        foreach (IProbe probe in probes) builder.Services.AddSingleton(probe);
    };
}
