using KubeSkoop.Probes.Lifecycle;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Tests.Lifecycle;

public sealed class SelfMetricsTests
{
    private readonly FakeTimeProvider _clock = new();

    [Fact]
    public async Task Every_probe_reports_state_cost_rows_and_drops()
    {
        var good = new TestProbe("good", _clock)
        {
            Reading = batch =>
            {
                _clock.Advance(TimeSpan.FromMilliseconds(250));
                batch.Add(SampleSubject.Node);
                batch.Skip(SkipReason.Vanished);
                batch.Skip(SkipReason.Denied);
                batch.Skip(SkipReason.Malformed);
            },
        };
        var bad = new TestProbe("bad", _clock) { Starting = static _ => throw new IOException("no") };
        var absent = new TestProbe("absent", _clock) { Starting = static _ => throw new ProbeUnavailableException("absent", "a", "b", "c") };
        var idle = new TestProbe("idle", _clock);
        var events = new TestEventProbe("events", _clock);
        await using var manager = new ProbeManager([good, bad, absent, idle, events], Options.Create(new ProbesOptions().Enable("good", "bad", "absent", "events")), _clock);
        await manager.StartEnabledAsync();
        using (EventSubscription<TestEvent> slow = events.Subscribe(new EventSubscriptionOptions { Capacity = 1 }))
            for (int i = 0; i < 3; i++) events.Send(i);
        manager.Collect("good", new NullVisitor());
        manager.Collect("good", new NullVisitor());

        var seen = new RecordingVisitor();
        Assert.True(manager.Collect("probe", seen));
        Assert.Equal(["good", "bad", "absent", "idle", "events", "probe"], seen.Rows.Select(static r => r.Subject.Attributes[0].Value));
        Assert.All(seen.Rows, static r => Assert.Equal(AttributeNames.Probe, r.Subject.Attributes[0].Name));
        Assert.Equal([2.0, 4.0, 5.0, 0.0, 2.0, 2.0], seen.Rows.Select(static r => r.Values["kubeskoop.probe.state"].AsDouble()));
        Assert.Equal((MetricValue)2ul, seen.Value("kubeskoop.probe.samples", "good"));
        Assert.Equal((MetricValue)0.25, seen.Value("kubeskoop.probe.sample.duration", "good"));
        Assert.Equal((MetricValue)3ul, seen.Value("kubeskoop.probe.series", "good"));
        Assert.Equal((MetricValue)2ul, seen.Value("kubeskoop.probe.rows.vanished", "good"));
        Assert.Equal((MetricValue)2ul, seen.Value("kubeskoop.probe.rows.denied", "good"));
        Assert.Equal((MetricValue)2ul, seen.Value("kubeskoop.probe.rows.malformed", "good"));
        Assert.Equal((MetricValue)1ul, seen.Value("kubeskoop.probe.errors", "bad"));
        Assert.Equal((MetricValue)0ul, seen.Value("kubeskoop.probe.errors", "good"));
        Assert.Equal((MetricValue)3ul, seen.Value("kubeskoop.probe.events.sent", "events"));
        Assert.Equal((MetricValue)2ul, seen.Value("kubeskoop.probe.events.dropped", "events"));
        Assert.Equal(11, seen.Rows[0].Values.Count);

        await manager.StopAsync("good");
        seen.Clear();
        manager.Collect("probe", seen);
        Assert.Equal((MetricValue)0ul, seen.Value("kubeskoop.probe.state", "good"));
        Assert.Equal((MetricValue)0ul, seen.Value("kubeskoop.probe.series", "good"));
        Assert.Equal((MetricValue)2ul, seen.Value("kubeskoop.probe.samples", "good"));
    }

    [Fact]
    public async Task They_can_be_switched_off()
    {
        await using var manager = new ProbeManager([new TestProbe()], Options.Create(new ProbesOptions { SelfMetrics = false }.Enable("test")));
        await manager.StartEnabledAsync();
        var seen = new RecordingVisitor();
        manager.Collect(seen);
        Assert.Equal(["test"], seen.Probes);
    }

    [Fact]
    public async Task A_strangers_probe_of_that_name_is_not_started_in_their_place()
    {
        var stranger = new TestProbe("probe");
        await using var manager = new ProbeManager([stranger]);
        await manager.StartEnabledAsync();
        Assert.Equal(ProbeState.Stopped, stranger.Status.State);
        Assert.Contains("Two probes are called 'probe'", Assert.Single(manager.ConfigurationProblems), StringComparison.Ordinal);
    }
}
