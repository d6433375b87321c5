using KubeSkoop.Probes.Lifecycle;

namespace KubeSkoop.Probes.Tests.Publishing;

public sealed class EventTests
{
    [Fact]
    public async Task Of_a_million_events_a_slow_reader_gets_or_loses_each_exactly_once()
    {
        const long sent = 1_000_000;
        await using var probe = new TestEventProbe();
        await probe.StartAsync();
        using EventSubscription<TestEvent> subscription = probe.Subscribe(new EventSubscriptionOptions { Capacity = 256 });
        long received = 0, last = 0;
        bool inOrder = true;
        Task reader = Task.Run(async () =>
        {
            await foreach (TestEvent e in subscription.Reader.ReadAllAsync())
            {
                inOrder &= e.Number > last;
                last = e.Number;
                if (++received % 1000 == 0) await Task.Yield();
            }
        });
        for (long i = 1; i <= sent; i++) probe.Send(i);
        subscription.Dispose();
        await reader.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(sent, received + subscription.Dropped);
        Assert.True(subscription.Dropped > 0, "the reader was meant to be too slow");
        Assert.True(inOrder);
        Assert.Equal(sent, last); // the oldest are dropped, never the newest
        Assert.Equal((sent, subscription.Dropped), (probe.Statistics.EventsSent, probe.Statistics.EventsDropped));
    }

    [Fact]
    public async Task Several_senders_lose_nothing_uncounted()
    {
        const int senders = 4, each = 50_000;
        await using var probe = new TestEventProbe();
        using EventSubscription<TestEvent> subscription = probe.Subscribe(new EventSubscriptionOptions { Capacity = 16 });
        long received = 0;
        Task reader = Task.Run(async () =>
        {
            await foreach (TestEvent _ in subscription.Reader.ReadAllAsync()) received++;
        });
        await Task.WhenAll(Enumerable.Range(0, senders).Select(_ => Task.Run(() =>
        {
            for (int i = 0; i < each; i++) probe.Send(i);
        })));
        subscription.Dispose();
        await reader.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(senders * each, received + subscription.Dropped);
        Assert.Equal(senders * each, probe.Statistics.EventsSent);
    }

    [Fact]
    public async Task Subscribers_do_not_wait_for_each_other()
    {
        await using var probe = new TestEventProbe();
        using EventSubscription<TestEvent> small = probe.Subscribe(new EventSubscriptionOptions { Capacity = 2 });
        using EventSubscription<TestEvent> large = probe.Subscribe();
        for (int i = 1; i <= 5; i++) probe.Send(i);
        Assert.Equal((3L, 0L), (small.Dropped, large.Dropped));
        Assert.Equal([4L, 5L], Drain(small));
        Assert.Equal([1L, 2L, 3L, 4L, 5L], Drain(large));
        // Sent counts events, not deliveries; dropped sums over subscribers.
        Assert.Equal((5L, 3L), (probe.Statistics.EventsSent, probe.Statistics.EventsDropped));
    }

    [Fact]
    public async Task An_ended_subscription_gives_what_it_holds_and_then_completes()
    {
        await using var probe = new TestEventProbe();
        EventSubscription<TestEvent> subscription = probe.Subscribe();
        Assert.True(probe.Heard);
        probe.Send(1);
        subscription.Dispose();
        subscription.Dispose();
        Assert.False(probe.Heard);
        probe.Send(2);
        Assert.Equal([1L], Drain(subscription));
        await subscription.Reader.Completion.WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Equal(0, subscription.Dropped);
    }

    [Fact]
    public void A_buffer_for_nothing_is_refused()
    {
        var probe = new TestEventProbe();
        Assert.Throws<ArgumentOutOfRangeException>(() => probe.Subscribe(new EventSubscriptionOptions { Capacity = 0 }));
        Assert.False(probe.Heard);
    }

    [Fact]
    public async Task The_hub_has_the_events_of_all_running_probes()
    {
        var one = new TestEventProbe("one");
        var two = new TestEventProbe("two");
        await using var manager = new ProbeManager([one, two]);
        using EventSubscription<ProbeEvent> all = manager.Events.Subscribe<ProbeEvent>();
        using EventSubscription<TestEvent> typed = manager.Events.Subscribe<TestEvent>();
        using EventSubscription<OtherEvent> other = manager.Events.Subscribe<OtherEvent>();
        Assert.False(one.Heard); // not connected before it is started
        ProbeLease lease = await manager.StartAsync("one");
        await manager.StartAsync("one");
        await manager.StartAsync("two");
        Assert.True(one.Heard);
        one.Send(1);
        two.Send(2);
        Assert.Equal(["one", "two"], DrainAll(all).Select(static e => e.Probe));
        Assert.Equal([1L, 2L], Drain(typed));
        Assert.False(other.Reader.TryRead(out _));
        await manager.StopAsync("one");
        Assert.False(one.Heard);
        one.Send(3);
        Assert.False(all.Reader.TryRead(out _));
        await manager.StartAsync("one"); // connected again, and once
        one.Send(4);
        Assert.Equal([4L], Drain(typed));
        await lease.DisposeAsync();
    }

    [Fact]
    public async Task Drops_of_the_hub_count_for_the_probe_that_sent()
    {
        var probe = new TestEventProbe();
        await using var manager = new ProbeManager([probe]);
        await using ProbeLease lease = await manager.StartAsync("testevents");
        using EventSubscription<ProbeEvent> slow = manager.Events.Subscribe<ProbeEvent>(new EventSubscriptionOptions { Capacity = 1 });
        for (int i = 0; i < 10; i++) probe.Send(i);
        Assert.Equal((9L, 9L, 10L), (slow.Dropped, probe.Statistics.EventsDropped, probe.Statistics.EventsSent));
    }

    [Fact]
    public async Task Reading_all_ends_with_its_cancellation_and_leaves_nothing()
    {
        var probe = new TestEventProbe();
        await using var manager = new ProbeManager([probe]);
        await using ProbeLease lease = await manager.StartAsync("testevents");
        using var cancellation = new CancellationTokenSource();
        var got = new List<long>();
        Task reading = Task.Run(async () =>
        {
            await foreach (TestEvent e in manager.Events.ReadAllAsync<TestEvent>(cancellation.Token))
            {
                got.Add(e.Number);
                if (got.Count == 2) await cancellation.CancelAsync();
            }
        });
        await Eventually.TrueAsync(() => probe.Heard, "the reader to subscribe");
        probe.Send(1);
        probe.Send(2);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading.WaitAsync(TimeSpan.FromSeconds(10)));
        Assert.Equal([1L, 2L], got);
        Assert.False(probe.Heard);
    }

    [Fact]
    public async Task A_probe_may_yield_numbers_and_events()
    {
        var probe = new TestMetricEventProbe();
        await using var manager = new ProbeManager([probe]);
        Assert.False(probe.Heard);
        using EventSubscription<TestEvent> own = probe.Subscribe();
        using EventSubscription<ProbeEvent> hub = manager.Events.Subscribe<ProbeEvent>();
        await using ProbeLease lease = await manager.StartAsync("testboth");
        Assert.True(probe.Heard);

        Assert.True(manager.Collect("testboth", new NullVisitor()));

        Assert.Equal(typeof(TestEvent), probe.EventType);
        Assert.True(own.Reader.TryRead(out TestEvent? e));
        Assert.Equal(1, e.Number);
        Assert.True(hub.Reader.TryRead(out ProbeEvent? same));
        Assert.Same(e, same);
        Assert.Equal((1L, 1L), (probe.Statistics.EventsSent, probe.Statistics.Samples));
    }

    [Fact]
    public async Task A_subscription_lives_through_a_restart()
    {
        await using var probe = new TestEventProbe();
        using EventSubscription<TestEvent> subscription = probe.Subscribe();
        await probe.StartAsync();
        probe.Send(1);
        await probe.StopAsync();
        await probe.StartAsync();
        probe.Send(2);
        Assert.Equal([1L, 2L], Drain(subscription));
    }

    [Fact]
    public void Events_that_say_the_same_are_the_same_sent_or_not()
    {
        var probe = new TestEventProbe();
        using EventSubscription<TestEvent> subscription = probe.Subscribe();
        probe.Send(1);
        Assert.True(subscription.Reader.TryRead(out TestEvent? received));
        var fresh = new TestEvent(1) { Probe = "testevents", Timestamp = DateTimeOffset.UnixEpoch };
        Assert.Equal(fresh, received);
        Assert.Equal(fresh.GetHashCode(), received.GetHashCode());
        Assert.NotEqual(fresh with { Number = 2 }, received);
        Assert.DoesNotContain("Statistics", received.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Coming_and_going_subscribers_disturb_nobody()
    {
        await using var probe = new TestEventProbe();
        using EventSubscription<TestEvent> steady = probe.Subscribe(new EventSubscriptionOptions { Capacity = 200_000 });
        Task churn = Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() =>
        {
            for (int i = 0; i < 2000; i++) probe.Subscribe(new EventSubscriptionOptions { Capacity = 1 }).Dispose();
        })));
        long sent = 0;
        while (sent < 1000 || (!churn.IsCompleted && sent < 200_000)) probe.Send(++sent);
        await churn.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(sent, Drain(steady).Count);
        Assert.Equal(0, steady.Dropped);
    }

    private static List<long> Drain(EventSubscription<TestEvent> subscription) => [.. DrainAll(subscription).Select(static e => e.Number)];

    private static List<T> DrainAll<T>(EventSubscription<T> subscription)
        where T : ProbeEvent
    {
        var events = new List<T>();
        while (subscription.Reader.TryRead(out T? e)) events.Add(e);
        return events;
    }
}
