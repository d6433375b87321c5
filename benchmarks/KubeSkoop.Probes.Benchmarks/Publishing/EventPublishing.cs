using BenchmarkDotNet.Attributes;

namespace KubeSkoop.Probes.Benchmarks.Publishing;

/// <summary>
/// Claim: an event that nobody listens to costs next to nothing, and a subscriber that does not read costs the publisher no
/// more than one that does: its oldest event is dropped and counted.
/// </summary>
public class EventPublishing
{
    private readonly BenchEvent _event = new() { Probe = "bench", Timestamp = DateTimeOffset.UnixEpoch };
    private BenchProbe _probe = null!;
    private IDisposable[] _subscriptions = [];

    /// <summary>How many listen, none of which reads.</summary>
    [Params(0, 1, 2)]
    public int Subscribers { get; set; }

    /// <summary>Fills the buffers, so that every further event drops one.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _probe = new BenchProbe();
        _subscriptions = [.. Enumerable.Range(0, Subscribers).Select(_ => _probe.Subscribe(new EventSubscriptionOptions { Capacity = 64 }))];
        for (int i = 0; i < 100; i++) _probe.Send(_event);
    }

    /// <summary>Ends the subscriptions.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        foreach (IDisposable subscription in _subscriptions) subscription.Dispose();
    }

    /// <summary>One event.</summary>
    [Benchmark]
    public void Publish() => _probe.Send(_event);

    private sealed record BenchEvent : ProbeEvent;

    private sealed class BenchProbe() : EventProbe<BenchEvent>(new ProbeDescriptor
    {
        Name = "bench",
        Source = ProbeSource.Ebpf,
        Overhead = OverheadClass.Low,
        Purpose = "Events for a benchmark.",
    })
    {
        internal void Send(BenchEvent e) => Publish(e);

        protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken) => ValueTask.FromResult<string?>(null);

        protected override ValueTask OnStopAsync() => ValueTask.CompletedTask;
    }
}
