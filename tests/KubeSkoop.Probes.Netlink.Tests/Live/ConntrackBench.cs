using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>A conntrack probe that sees the test's namespaces only, with a clock the test sets.</summary>
internal sealed class ConntrackBench : IAsyncDisposable
{
    private readonly NetlinkSockets _sockets;

    private ConntrackBench(ConntrackOptions options, TestNamespace[] namespaces)
    {
        Namespaces = [.. namespaces];
        Source = new FakeNamespaceSource { Opener = known => NetlinkTableTests.Opener([.. Namespaces])(known) };
        foreach (TestNamespace ns in namespaces) Source.Add(ns.Inode, ns.Name);
        _sockets = new NetlinkSockets(Source, Settings);
        Probe = new ConntrackProbe(_sockets, Options.Create(options), clock: Clock);
    }

    internal NetlinkSettings Settings { get; } = new();

    internal List<TestNamespace> Namespaces { get; }

    internal FakeNamespaceSource Source { get; }

    internal FakeTimeProvider Clock { get; } = new(new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero));

    internal ConntrackProbe Probe { get; }

    internal static Task<ConntrackBench> StartAsync(params TestNamespace[] namespaces) => StartAsync(new ConntrackOptions(), namespaces);

    internal static async Task<ConntrackBench> StartAsync(ConntrackOptions options, params TestNamespace[] namespaces)
    {
        var bench = new ConntrackBench(options, namespaces);
        await bench.Probe.StartAsync();
        return bench;
    }

    internal static ConntrackBench Make(params TestNamespace[] namespaces) => new(new ConntrackOptions(), namespaces);

    /// <summary>The counters of a namespace.</summary>
    internal ConntrackRecord Record(TestNamespace ns) => Rows(ns).Single(static r => r.Subject.Attributes.IsEmpty).Value;

    /// <summary>All rows of a namespace.</summary>
    internal SampleRow<ConntrackRecord>[] Rows(TestNamespace ns)
    {
        SampleBatch<ConntrackRecord> batch = Probe.Sample();
        Assert.Equal(0, batch.Skips.Malformed);
        return [.. batch.Rows.ToArray().Where(r => r.Namespace?.Inode == ns.Inode)];
    }

    /// <summary>The flows of a namespace, by <c>protocol</c> or <c>protocol state</c>.</summary>
    internal Dictionary<string, ConntrackRecord> Flows(TestNamespace ns) => Rows(ns)
        .Where(static r => !r.Subject.Attributes.IsEmpty)
        .ToDictionary(static r => string.Join(' ', r.Subject.Attributes.ToArray().Select(static a => a.Value)), static r => r.Value);

    public async ValueTask DisposeAsync()
    {
        await Probe.DisposeAsync();
        _sockets.Dispose();
    }
}
