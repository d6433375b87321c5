using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>BPF probes on this machine's real namespaces, and what they say of one of them.</summary>
internal sealed class EbpfBench : IAsyncDisposable
{
    /// <summary>What the probes take this node to be called.</summary>
    internal const string Node = "here";

    private readonly ProcNamespaceSource _source = new();
    private readonly IDisposable _lease;
    private readonly List<Probe> _probes = [];

    internal EbpfBench(EbpfOptions? options = null, OverheadMeter? overhead = null, IPodResolver? pods = null, KernelFeatures? features = null)
    {
        options ??= new EbpfOptions();
        options.Hook ??= Environment.GetEnvironmentVariable("KUBESKOOP_HOOK"); // from ./test.sh --kernels, which has each way taken somewhere
        Programs = new EbpfPrograms(_source, Options.Create(options), Options.Create(new ProbesOptions { NodeName = Node }), pods)
        {
            Overhead = overhead ?? new OverheadMeter(),
            Features = features ?? KernelFeatures.Of(options),
        };
        _lease = _source.Acquire();
    }

    internal EbpfPrograms Programs { get; }

    /// <summary>The namespace as the probes know it.</summary>
    internal NetworkNamespace Of(TestNamespace ns)
    {
        _source.Refresh();
        return _source.Current.Single(n => n.Inode == ns.Inode);
    }

    internal async Task<TProbe> StartAsync<TProbe>(Func<EbpfPrograms, TProbe> make)
        where TProbe : Probe
    {
        TProbe probe = make(Programs);
        _probes.Add(probe);
        await probe.StartAsync();
        if (probe is IHasPrograms loaded) BlindSpot.Current?.Concerns(probe.Descriptor.Name, loaded.CostOfEach().Select(static p => p.Program));
        return probe;
    }

    /// <summary>The one row of a namespace.</summary>
    internal TRecord Record<TRecord>(IMetricProbe<TRecord> probe, TestNamespace ns)
        where TRecord : struct
    {
        _source.Refresh();
        return Assert.Single(probe.Sample().Rows.ToArray(), r => r.Namespace?.Inode == ns.Inode).Value;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (Probe probe in _probes) await probe.DisposeAsync();
        _lease.Dispose();
        _source.Dispose();
    }
}

/// <summary>The events of a probe that are about one thing, as they come.</summary>
internal sealed class Heard<TEvent>(IEventProbe<TEvent> probe, Func<TEvent, bool> isOurs) : IDisposable
    where TEvent : EbpfEvent
{
    /// <summary>About one namespace.</summary>
    internal Heard(IEventProbe<TEvent> probe, TestNamespace ns)
        : this(probe, e => e.NetworkNamespaceInode == ns.Inode)
    {
    }

    private readonly EventSubscription<TEvent> _subscription = probe.Subscribe(new EventSubscriptionOptions { Capacity = 65536 });
    private readonly List<TEvent> _events = [];

    /// <summary>Waits until there are as many; fails when there are more, also a moment later.</summary>
    internal async Task<IReadOnlyList<TEvent>> ExactlyAsync(int count)
    {
        await Eventually.TrueAsync(() => Take().Count >= count, $"{count} events to come");
        await Task.Delay(50);
        Assert.True(Take().Count == count, $"{_events.Count} events, not {count}: {string.Join(" | ", _events.Take(10).Select(static e => e.Message))}");
        return [.. _events];
    }

    /// <summary>Those that have come.</summary>
    internal List<TEvent> Take()
    {
        while (_subscription.Reader.TryRead(out TEvent? e))
            if (isOurs(e)) _events.Add(e);
        return _events;
    }

    public void Dispose() => _subscription.Dispose();
}
