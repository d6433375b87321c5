using System.Diagnostics.Metrics;
using KubeSkoop.Probes.Lifecycle;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Tests.Publishing;

public sealed class ProbeMeterTests : IDisposable
{
    private readonly FakeTimeProvider _clock = new();
    private readonly ServiceProvider _services = new ServiceCollection().AddMetrics().BuildServiceProvider();
    private readonly List<IDisposable> _listeners = [];
    private ulong _now = 1;

    public void Dispose()
    {
        foreach (IDisposable listener in _listeners) listener.Dispose();
        _services.Dispose();
    }

    [Fact]
    public async Task One_read_serves_all_instruments_of_a_collection()
    {
        TestProbe probe = Probe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener listener = Listen();
        _clock.Advance(TimeSpan.FromSeconds(10));
        int before = probe.Reads;
        listener.Collect();
        Assert.Equal(before + 1, probe.Reads);
        Assert.Equal(["kubeskoop.test.busy", "kubeskoop.test.level", "kubeskoop.test.opened"], listener.Names);
        Assert.Single(listener.Values.Select(static v => v.Value).Distinct()); // all of one reading
    }

    [Fact]
    public async Task Every_collection_reads_anew_once_the_reuse_time_is_over()
    {
        TestProbe probe = Probe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener listener = Listen();
        for (ulong collection = 100; collection < 110; collection++)
        {
            _now = collection;
            _clock.Advance(TimeSpan.FromSeconds(1));
            int before = probe.Reads;
            listener.Collect();
            Assert.Equal(before + 1, probe.Reads);
            Assert.All(listener.Values, v => Assert.Equal(collection, v.Value));
        }
    }

    [Fact]
    public async Task The_first_collection_does_not_show_the_state_of_the_start()
    {
        TestProbe probe = Probe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener listener = Listen();
        _clock.Advance(TimeSpan.FromSeconds(4));
        _now = 77;
        listener.Collect();
        Assert.All(listener.Values, static v => Assert.Equal(77ul, v.Value));
    }

    [Fact]
    public async Task Two_listeners_in_turns_see_the_same_and_cost_one_read()
    {
        TestProbe probe = Probe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener one = Listen(), two = Listen();
        for (ulong collection = 1; collection <= 5; collection++)
        {
            _now = collection * 10;
            _clock.Advance(TimeSpan.FromSeconds(1));
            int before = probe.Reads;
            one.Collect();
            _now++; // the kernel goes on counting between the two
            two.Collect();
            Assert.Equal(before + 1, probe.Reads);
            Assert.Equal(one.Values, two.Values);
            Assert.All(two.Values, v => Assert.Equal(collection * 10, v.Value));
        }
    }

    [Fact]
    public async Task Two_listeners_at_once_get_whole_rows()
    {
        TestProbe probe = Probe();
        await using ProbeManager manager = Manager(probe, o => o.MeterSampleReuse = TimeSpan.FromMinutes(10));
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener[] listeners = [Listen(), Listen()];
        for (int round = 1; round <= 50; round++)
        {
            _now = (ulong)round;
            _clock.Advance(TimeSpan.FromMinutes(11));
            int before = probe.Reads;
            await Task.WhenAll(listeners.Select(static l => Task.Run(l.Collect)));
            Assert.Equal(before + 1, probe.Reads);
            Assert.All(listeners, l => Assert.All(l.Values, v => Assert.Equal((ulong)round, v.Value)));
        }
    }

    [Fact]
    public async Task Looking_does_not_change_what_is_seen()
    {
        TestProbe probe = Probe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener once = Listen();
        _now = 5;
        _clock.Advance(TimeSpan.FromSeconds(1));
        once.Collect();
        (string, ulong)[] before = [.. once.Values.Select(static v => (v.Name, v.Value))];
        // Direct collections, samples and another listener in between leave the meter as it was.
        manager.Collect(new NullVisitor());
        probe.Sample();
        Listen().Collect();
        once.Collect();
        Assert.Equal(before, once.Values.Select(static v => (v.Name, v.Value)));
    }

    [Fact]
    public async Task A_stopped_probe_gives_no_measurements_and_a_restart_no_second_instruments()
    {
        TestProbe probe = Probe();
        await using ProbeManager manager = Manager(probe);
        Listener listener = Listen();
        listener.Collect();
        Assert.Empty(listener.Values);
        for (int run = 0; run < 3; run++)
        {
            ProbeLease lease = await manager.StartAsync("test");
            _clock.Advance(TimeSpan.FromMilliseconds(100));
            listener.Collect();
            Assert.Equal(3, listener.Values.Count);
            await lease.DisposeAsync();
            listener.Collect(); // within the reuse time: what was read while it ran must not come back
            Assert.Empty(listener.Values);
        }
        Assert.Equal(3, listener.Published);
        ProbeLease brief = await manager.StartAsync("test");
        await brief.DisposeAsync();
        listener.Collect();
        Assert.Empty(listener.Values);
    }

    [Fact]
    public async Task A_probe_that_fails_while_observed_gives_no_measurements_until_it_is_back()
    {
        TestProbe probe = Probe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener listener = Listen();
        Action<SampleBatch<TestRecord>> good = probe.Reading;
        probe.Reading = static _ => throw new IOException("garbage");
        _clock.Advance(TimeSpan.FromSeconds(10));
        listener.Collect();
        Assert.Empty(listener.Values);
        await Eventually.EqualAsync(ProbeState.Failed, () => probe.Status.State, "the probe");
        probe.Reading = good;
        _clock.Advance(TimeSpan.FromSeconds(1));
        await Eventually.EqualAsync(ProbeState.Running, () => probe.Status.State, "the probe");
        listener.Collect();
        Assert.Equal(3, listener.Values.Count);
    }

    [Fact]
    public async Task A_probe_that_fails_or_stops_elsewhere_gives_no_measurements_at_once()
    {
        TestProbe probe = Probe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener listener = Listen();
        listener.Collect();
        Assert.NotEmpty(listener.Values);
        await probe.StopAsync(); // not through the manager
        listener.Collect();
        Assert.Empty(listener.Values);
        await probe.StartAsync();
        listener.Collect();
        Assert.NotEmpty(listener.Values);
        probe.Reading = static _ => throw new IOException("garbage");
        manager.Collect(new NullVisitor()); // the direct path finds out first
        await Eventually.EqualAsync(ProbeState.Failed, () => probe.Status.State, "the probe");
        listener.Collect();
        Assert.Empty(listener.Values);
    }

    [Fact]
    public async Task What_is_absent_gives_no_measurement()
    {
        TestProbe probe = Probe();
        probe.Reading = static batch => batch.Add(SampleSubject.Node).Level = 4;
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener listener = Listen();
        listener.Collect();
        Assert.Equal(["kubeskoop.test.busy", "kubeskoop.test.level"], listener.Names);
    }

    [Fact]
    public async Task Measurements_carry_node_pod_namespace_and_attributes()
    {
        var ns = new NetworkNamespace(4711, false, new NamespaceFacts("blue", 1, "app", new PodIdentity("shop", "web-1")));
        var subject = new SampleSubject(ns, new SampleAttribute(AttributeNames.Interface, "eth0"));
        TestProbe probe = Probe();
        probe.Reading = batch => batch.Add(subject).Opened = 1;
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener listener = Listen();
        listener.Collect();
        Assert.Equal(
            "k8s.node.name=node-1 k8s.namespace.name=shop k8s.pod.name=web-1 network.namespace.inode=4711 network.namespace.name=blue network.interface.name=eth0",
            listener.Values[0].Tags);
        ns.Update(new NamespaceFacts("blue", 1, "app", new PodIdentity("shop", "web-2")));
        listener.Collect();
        Assert.Contains("k8s.pod.name=web-2", listener.Values[0].Tags, StringComparison.Ordinal);
        ns.Update(ns.Facts with { Pod = new PodIdentity("shop", "web-2", "uid") { Attributes = [new SampleAttribute("k8s.pod.label.app", "web")] } });
        listener.Collect();
        Assert.Contains("k8s.pod.name=web-2 k8s.pod.label.app=web network", listener.Values[0].Tags, StringComparison.Ordinal);
        ns.Update(ns.Facts with { Pod = PodIdentity.OfUid("4711") });
        listener.Collect();
        Assert.Contains("k8s.node.name=node-1 k8s.pod.uid=4711 network", listener.Values[0].Tags, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Instruments_have_the_tables_kind_unit_and_description()
    {
        TestProbe probe = Probe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        var seen = new List<string>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (i, _) =>
        {
            if (IsOurs(i)) seen.Add($"{i.Meter.Name} {i.Meter.Version} {i.GetType().Name} {i.Name} {i.Unit} {i.Description}");
        };
        listener.Start();
        Assert.Equal(
            [
                "KubeSkoop.Probes.test 0.1.0 ObservableCounter`1 kubeskoop.test.busy s Time spent.",
                "KubeSkoop.Probes.test 0.1.0 ObservableCounter`1 kubeskoop.test.opened {open} Things opened.",
                "KubeSkoop.Probes.test 0.1.0 ObservableGauge`1 kubeskoop.test.level 1 A level.",
            ],
            seen.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_histogram_is_shown_as_buckets_sum_and_count()
    {
        var probe = new TestProbe("test", _clock, TestRecord.WithHistogram)
        {
            Reading = static batch =>
            {
                ref TestRecord record = ref batch.Add(SampleSubject.Node);
                record.Latency.Observe(1);
                record.Latency.Observe(3);
                record.Latency.Observe(4);
                record.Latency.Observe(1UL << 40);
                // A row about something else has none, and shows none.
                batch.Add(new SampleSubject(null, new SampleAttribute("part", "other"))).Latency = Log2Histogram.Absent;
            },
        };
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        Listener listener = Listen();
        listener.Collect();
        Seen[] buckets = [.. listener.Values.Where(static v => v.Name == "kubeskoop.test.latency.bucket")];
        Assert.Equal(Log2Histogram.BucketCount, buckets.Length);
        Assert.Equal([1ul, 1ul, 3ul], buckets[..3].Select(static b => b.Value)); // <= 1, 2, 4 us
        Assert.EndsWith("le=1E-06", buckets[0].Tags, StringComparison.Ordinal);
        Assert.EndsWith("le=4E-06", buckets[2].Tags, StringComparison.Ordinal);
        Assert.Equal((3ul, 4ul), (buckets[^2].Value, buckets[^1].Value));
        Assert.EndsWith("le=Infinity", buckets[^1].Tags, StringComparison.Ordinal);
        Assert.Equal(4ul, listener.Values.Single(static v => v.Name == "kubeskoop.test.latency.count").Value);
        Assert.Equal((8 + (1UL << 40)) * 1e-6, listener.Values.Single(static v => v.Name == "kubeskoop.test.latency.sum").Number, 6);
    }

    [Fact]
    public async Task Kernel_counters_beyond_a_signed_number_do_not_become_negative()
    {
        TestProbe probe = Probe();
        _now = ulong.MaxValue - 1;
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        var values = new List<long>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (i, l) =>
            {
                if (IsOurs(i)) l.EnableMeasurementEvents(i);
            },
        };
        listener.SetMeasurementEventCallback<long>((_, v, _, _) => values.Add(v));
        listener.Start();
        listener.RecordObservableInstruments();
        Assert.Contains(long.MaxValue - 1, values);
        Assert.All(values, static v => Assert.True(v >= 0));
    }

    [Fact]
    public async Task Columns_that_appear_later_get_their_instruments()
    {
        MetricTable<TestRecord> grown = TestRecord.Metrics.With([("kubeskoop.test.TCPNewThing", MetricKind.Counter, "1", "New.", static (in TestRecord _) => 9ul)]);
        var probe = new GrowingProbe(_clock);
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("growing");
        Listener listener = Listen();
        probe.Table = grown;
        _clock.Advance(TimeSpan.FromSeconds(1));
        listener.Collect();
        _clock.Advance(TimeSpan.FromSeconds(1));
        listener.Collect();
        Assert.Equal(9ul, listener.Values.Single(static v => v.Name == "kubeskoop.test.TCPNewThing").Value);
        Assert.Equal(4, listener.Published);
    }

    [Fact]
    public async Task Collecting_while_probes_start_stop_and_fail_is_safe()
    {
        TestProbe[] probes = [.. Enumerable.Range(0, 3).Select(i => new TestProbe($"p{i}", _clock))];
        int turn = 0;
        foreach (TestProbe probe in probes)
        {
            probe.Reading = batch =>
            {
                batch.Add(SampleSubject.Node).Opened = 1;
                if (Interlocked.Increment(ref turn) % 17 == 0) throw new IOException("now and then");
            };
        }
        await using ProbeManager manager = Manager(probes, o => o.MeterSampleReuse = TimeSpan.Zero);
        using var end = new CancellationTokenSource();
        Task[] collectors = [.. Enumerable.Range(0, 2).Select(_ => Task.Run(() =>
        {
            Listener listener = Listen();
            while (!end.IsCancellationRequested)
            {
                listener.Collect();
                _clock.Advance(TimeSpan.FromMilliseconds(1));
            }
        }))];
        await Task.WhenAll(probes.Select(probe => Task.Run(async () =>
        {
            for (int i = 0; i < 500; i++)
            {
                ProbeLease lease = await manager.StartAsync(probe.Descriptor.Name);
                if (i % 3 == 0) await Task.Yield();
                await lease.DisposeAsync();
            }
        }))).WaitAsync(TimeSpan.FromSeconds(60));
        await end.CancelAsync();
        await Task.WhenAll(collectors).WaitAsync(TimeSpan.FromSeconds(30));
        Assert.All(probes, static p => Assert.Equal((ProbeState.Stopped, 0, 0), (p.Status.State, p.Held, p.ReadsWithoutHold)));
        Listener last = Listen();
        last.Collect();
        Assert.Empty(last.Values);
    }

    [Fact]
    public async Task Without_a_meter_factory_nothing_is_read_that_nobody_asked_for()
    {
        TestProbe probe = Probe();
        await using var manager = new ProbeManager([probe], null, _clock);
        await using ProbeLease lease = await manager.StartAsync("test");
        Assert.Equal(0, probe.Reads);
    }

    [Fact]
    public async Task A_start_whose_meter_cannot_be_made_leaves_nothing_running()
    {
        TestProbe probe = Probe();
        await using var manager = new ProbeManager([probe], null, _clock, new BrokenFactory());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => manager.StartAsync("test"));
        Assert.Equal((ProbeState.Stopped, 0), (probe.Status.State, probe.Held));
    }

    // Other tests run at the same time, and every listener of a process hears of every meter.
    private bool IsOurs(Instrument instrument) => ReferenceEquals(instrument.Meter.Scope, _services.GetRequiredService<IMeterFactory>());

    private TestProbe Probe() => new(_clock)
    {
        Reading = batch =>
        {
            ref TestRecord record = ref batch.Add(SampleSubject.Node);
            record.Opened = _now;
            record.Level = record.Busy = _now;
        },
    };

    private ProbeManager Manager(params IProbe[] probes) => Manager(probes, static _ => { });

    private ProbeManager Manager(IProbe probe, Action<ProbesOptions> configure) => Manager([probe], configure);

    private ProbeManager Manager(IProbe[] probes, Action<ProbesOptions> configure)
    {
        var options = new ProbesOptions { NodeName = "node-1" };
        configure(options);
        return new ProbeManager(probes, Options.Create(options), _clock, _services.GetRequiredService<IMeterFactory>());
    }

    private Listener Listen()
    {
        var listener = new Listener(_services.GetRequiredService<IMeterFactory>());
        lock (_listeners) _listeners.Add(listener);
        return listener;
    }

    private sealed record Seen(string Name, double Number, string Tags)
    {
        internal ulong Value => (ulong)Number;
    }

    /// <summary>What a telemetry library does: listens, and collects now and then. Only meters of the test's own factory.</summary>
    private sealed class Listener : IDisposable
    {
        private readonly MeterListener _listener = new();
        private readonly List<Seen> _values = [];
        private int _published;

        internal Listener(IMeterFactory factory)
        {
            _listener.InstrumentPublished = (instrument, listener) =>
            {
                if (!ReferenceEquals(instrument.Meter.Scope, factory)) return;
                Interlocked.Increment(ref _published);
                listener.EnableMeasurementEvents(instrument);
            };
            _listener.SetMeasurementEventCallback<long>((i, v, tags, _) => Add(i, v, tags));
            _listener.SetMeasurementEventCallback<double>((i, v, tags, _) => Add(i, v, tags));
            _listener.Start();
        }

        internal int Published => Volatile.Read(ref _published);

        internal List<Seen> Values => _values;

        internal IEnumerable<string> Names => _values.Select(static v => v.Name).Order(StringComparer.Ordinal);

        public void Dispose() => _listener.Dispose();

        internal void Collect()
        {
            _values.Clear();
            _listener.RecordObservableInstruments();
        }

        private void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            var text = new List<string>();
            foreach (var (name, tag) in tags) text.Add(FormattableString.Invariant($"{name}={tag}"));
            _values.Add(new Seen(instrument.Name, value, string.Join(' ', text)));
        }
    }

    private sealed class GrowingProbe(TimeProvider clock) : MetricProbe<TestRecord>(
        new ProbeDescriptor { Name = "growing", Source = ProbeSource.Other, Overhead = OverheadClass.Low, Purpose = "Tests." }, clock)
    {
        internal MetricTable<TestRecord> Table { get; set; } = TestRecord.Metrics;

        public override MetricTable<TestRecord> Metrics => Table;

        protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken) => ValueTask.FromResult<string?>(null);

        protected override ValueTask OnStopAsync() => ValueTask.CompletedTask;

        protected override void Read(SampleBatch<TestRecord> batch) => batch.Add(SampleSubject.Node).Opened = 1;
    }

    private sealed class BrokenFactory : IMeterFactory
    {
        public Meter Create(MeterOptions options) => throw new ObjectDisposedException(nameof(BrokenFactory));

        public void Dispose()
        {
        }
    }
}
