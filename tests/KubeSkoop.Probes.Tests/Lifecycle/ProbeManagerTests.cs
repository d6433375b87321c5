using KubeSkoop.Probes.Lifecycle;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Tests.Lifecycle;

public sealed class ProbeManagerTests
{
    private readonly FakeTimeProvider _clock = new();
    private readonly ListLogger<ProbeManager> _log = new();

    [Fact]
    public async Task Probes_are_plugged_in_and_out_by_name_or_alias()
    {
        var probe = new TestProbe("netiftxlatency", aliases: ["netiftxlat"]);
        await using ProbeManager manager = Manager(probe);
        Assert.Same(probe, manager.Find("netiftxlat"));
        Assert.Same(probe, manager.Find("NetIfTxLatency"));
        Assert.Null(manager.Find("nosuch"));
        await using (ProbeLease lease = await manager.StartAsync("netiftxlat"))
        {
            Assert.Same(probe, lease.Probe);
            Assert.Equal(ProbeState.Running, probe.Status.State);
            Assert.True(manager.Collect("netiftxlat", new NullVisitor()));
        }
        Assert.Equal((ProbeState.Stopped, 0), (probe.Status.State, probe.Held));
        Assert.False(manager.Collect("netiftxlat", new NullVisitor()));
    }

    [Fact]
    public async Task An_unknown_name_is_answered_with_the_names_there_are()
    {
        await using ProbeManager manager = Manager(new TestProbe("tcp"), new TestProbe("udp"));
        const string message = "There is no probe 'tpc'. Known probes: tcp, udp, probe.";
        Assert.Equal(message, (await Assert.ThrowsAsync<UnknownProbeException>(() => manager.StartAsync("tpc"))).Message);
        Assert.Equal(message, (await Assert.ThrowsAsync<UnknownProbeException>(() => manager.StopAsync("tpc"))).Message);
        Assert.Equal(message, Assert.Throws<UnknownProbeException>(() => manager.Collect("tpc", new NullVisitor())).Message);
    }

    [Fact]
    public async Task A_probe_stops_with_its_last_lease()
    {
        var probe = new TestProbe();
        await using ProbeManager manager = Manager(probe);
        ProbeLease first = await manager.StartAsync("test");
        ProbeLease second = await manager.StartAsync("test");
        await first.DisposeAsync();
        await first.DisposeAsync();
        Assert.Equal(ProbeState.Running, probe.Status.State);
        await second.DisposeAsync();
        Assert.Equal((ProbeState.Stopped, 1L), (probe.Status.State, probe.Statistics.Starts));
    }

    [Fact]
    public async Task A_forced_stop_makes_earlier_leases_worthless()
    {
        var probe = new TestProbe();
        await using ProbeManager manager = Manager(probe);
        ProbeLease old = await manager.StartAsync("test");
        await manager.StopAsync("test");
        Assert.Equal(ProbeState.Stopped, probe.Status.State);
        ProbeLease fresh = await manager.StartAsync("test");
        await old.DisposeAsync();
        Assert.Equal(ProbeState.Running, probe.Status.State);
        await fresh.DisposeAsync();
        Assert.Equal(ProbeState.Stopped, probe.Status.State);
    }

    [Fact]
    public async Task New_settings_take_effect_by_a_restart()
    {
        var probe = new TestProbe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease first = await manager.StartAsync("test");
        var options = new TestProbeOptions { Threshold = 20 };
        await using ProbeLease second = await manager.StartAsync("test", options);
        Assert.Same(options, probe.Options);
        Assert.Equal((ProbeState.Running, 2L), (probe.Status.State, probe.Statistics.Starts));
        await using ProbeLease third = await manager.StartAsync("test");
        Assert.Same(options, probe.Options);
        Assert.Equal(2L, probe.Statistics.Starts);
    }

    [Fact]
    public async Task Wrong_settings_are_named_and_change_nothing()
    {
        var probe = new TestProbe();
        var plain = new TestEventProbe();
        await using ProbeManager manager = Manager(probe, plain);
        await using ProbeLease lease = await manager.StartAsync("test");
        var e = await Assert.ThrowsAsync<ArgumentException>(() => manager.StartAsync("test", new TestProbeOptions { Threshold = -1 }));
        Assert.Contains("The settings of probe 'test' are wrong: Threshold: -1 is negative; it must be 0 or more.", e.Message, StringComparison.Ordinal);
        e = await Assert.ThrowsAsync<ArgumentException>(() => manager.StartAsync("test", new OtherOptions()));
        Assert.Contains("The probe 'test' takes TestProbeOptions, not OtherOptions.", e.Message, StringComparison.Ordinal);
        e = await Assert.ThrowsAsync<ArgumentException>(() => manager.StartAsync("testevents", new OtherOptions()));
        Assert.Contains("The probe 'testevents' has no settings.", e.Message, StringComparison.Ordinal);
        Assert.Equal((ProbeState.Running, 1L, 10), (probe.Status.State, probe.Statistics.Starts, probe.Options.Threshold));
        await lease.DisposeAsync();
        Assert.Equal(ProbeState.Stopped, probe.Status.State);
    }

    [Fact]
    public async Task A_restart_that_fails_is_tried_again_for_those_who_hold_leases()
    {
        var probe = new TestProbe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        probe.Starting = static _ => throw new IOException("not now");
        await Assert.ThrowsAsync<IOException>(() => manager.StartAsync("test", new TestProbeOptions { Threshold = 20 }));
        Assert.Equal(ProbeState.Failed, probe.Status.State);
        probe.Starting = static _ => ValueTask.FromResult<string?>(null);
        _clock.Advance(TimeSpan.FromSeconds(1));
        await Eventually.EqualAsync(ProbeState.Running, () => probe.Status.State, "the probe");
    }

    [Fact]
    public async Task One_that_throws_fails_and_the_others_are_still_collected()
    {
        var before = new TestProbe("before");
        var bad = new TestProbe("bad") { Reading = static _ => throw new IOException("garbage") };
        var after = new TestProbe("after");
        await using ProbeManager manager = Manager([before, bad, after], "before", "bad", "after");
        await manager.StartEnabledAsync();
        var seen = new RecordingVisitor();
        manager.Collect(seen);
        Assert.Equal(["before", "after", "probe"], seen.Probes);
        await Eventually.EqualAsync(ProbeState.Failed, () => bad.Status.State, "the bad probe");
        Assert.Equal(("IOException: garbage", 0), (bad.Status.Reason, bad.Held));
        Assert.Contains("Warning: Probe bad failed: IOException: garbage Next try in 00:00:01.", _log.Lines);
        bad.Reading = static batch => batch.Add(SampleSubject.Node);
        _clock.Advance(TimeSpan.FromSeconds(1));
        await Eventually.EqualAsync(ProbeState.Running, () => bad.Status.State, "the bad probe");
        seen.Clear();
        manager.Collect(seen);
        Assert.Equal(["before", "bad", "after", "probe"], seen.Probes);
    }

    [Fact]
    public async Task Tries_follow_with_growing_pauses_up_to_the_cap_and_begin_anew_after_success()
    {
        var probe = new TestProbe { Starting = static _ => throw new IOException("still broken") };
        await using ProbeManager manager = Manager([probe], o => o.MaxRetryDelay = TimeSpan.FromSeconds(6), "test");
        await manager.StartEnabledAsync();
        Assert.Equal(1L, probe.Statistics.Errors);
        long errors = 1;
        foreach (int seconds in (int[])[1, 2, 4, 6, 6])
        {
            _clock.Advance(TimeSpan.FromSeconds(seconds) - TimeSpan.FromMilliseconds(1));
            Assert.Equal(errors, probe.Statistics.Errors);
            _clock.Advance(TimeSpan.FromMilliseconds(1));
            await Eventually.EqualAsync(++errors, () => probe.Statistics.Errors, "tries");
            await Eventually.EqualAsync(errors - 1, () => _log.Lines.Count(l => l.StartsWith("Debug: Probe test still does not run: still broken", StringComparison.Ordinal)), "tries noted");
        }
        Assert.Single(_log.Lines, static l => l.StartsWith("Warning: Probe test failed", StringComparison.Ordinal)); // the same reason is said once
        probe.Starting = static _ => ValueTask.FromResult<string?>("better");
        _clock.Advance(TimeSpan.FromSeconds(6));
        await Eventually.EqualAsync(ProbeState.Running, () => probe.Status.State, "the probe");
        manager.Collect(new NullVisitor());
        probe.Reading = static _ => throw new IOException("again");
        manager.Collect(new NullVisitor());
        await Eventually.TrueAsync(() => _log.Lines.Any(l => l.EndsWith("again Next try in 00:00:01.", StringComparison.Ordinal)), "the pause to begin anew");
    }

    [Fact]
    public async Task A_probe_that_starts_but_cannot_be_sampled_is_tried_with_growing_pauses_too()
    {
        var probe = new TestProbe { Reading = static _ => throw new IOException("garbage") };
        await using ProbeManager manager = Manager([probe], "test");
        await manager.StartEnabledAsync();
        foreach (int seconds in (int[])[1, 2, 4])
        {
            manager.Collect(new NullVisitor());
            await Eventually.EqualAsync(ProbeState.Failed, () => probe.Status.State, "the probe");
            string pause = $"garbage Next try in 00:00:0{seconds}.";
            await Eventually.TrueAsync(() => _log.Lines.Any(l => l.EndsWith(pause, StringComparison.Ordinal)), pause);
            _clock.Advance(TimeSpan.FromSeconds(seconds));
            await Eventually.EqualAsync(ProbeState.Running, () => probe.Status.State, "the probe");
        }
    }

    [Fact]
    public async Task What_is_unavailable_is_tried_again_too()
    {
        var probe = new TestProbe { Starting = static _ => throw new ProbeUnavailableException("test", "open x", "no such file", "Load the module.") };
        await using ProbeManager manager = Manager([probe], "test");
        await manager.StartEnabledAsync();
        Assert.Equal(ProbeState.Unavailable, probe.Status.State);
        Assert.Contains(_log.Lines, static l => l.StartsWith("Warning: Probe test is unavailable here: test: open x: no such file. Load the module.", StringComparison.Ordinal));
        probe.Starting = static _ => ValueTask.FromResult<string?>(null);
        _clock.Advance(TimeSpan.FromSeconds(1));
        await Eventually.EqualAsync(ProbeState.Running, () => probe.Status.State, "the probe");
    }

    [Fact]
    public async Task A_start_of_ones_own_fails_to_the_caller_and_is_not_repeated()
    {
        var probe = new TestProbe { Starting = static _ => throw new IOException("no") };
        await using ProbeManager manager = Manager(probe);
        await Assert.ThrowsAsync<IOException>(() => manager.StartAsync("test"));
        _clock.Advance(TimeSpan.FromMinutes(10));
        Assert.Equal(1L, probe.Statistics.Errors);
    }

    [Fact]
    public async Task A_stop_ends_the_tries()
    {
        var probe = new TestProbe { Starting = static _ => throw new IOException("no") };
        await using ProbeManager manager = Manager([probe], "test");
        await manager.StartEnabledAsync();
        await manager.StopAsync("test");
        _clock.Advance(TimeSpan.FromMinutes(10));
        Assert.Equal((ProbeState.Stopped, 1L), (probe.Status.State, probe.Statistics.Errors));
    }

    [Fact]
    public async Task A_try_that_waits_behind_a_stop_does_not_start_the_probe()
    {
        var probe = new TestProbe { Starting = static _ => throw new IOException("no") };
        await using ProbeManager manager = Manager([probe], "test");
        await manager.StartEnabledAsync();
        var goOn = new TaskCompletionSource();
        probe.Starting = async _ =>
        {
            await goOn.Task;
            throw new IOException("no");
        };
        Task<ProbeLease> start = manager.StartAsync("test"); // has the turn
        Task stop = manager.StopAsync("test"); // is next
        _clock.Advance(TimeSpan.FromSeconds(1)); // the try comes third
        probe.Starting = static _ => ValueTask.FromResult<string?>(null);
        goOn.SetResult();
        await Assert.ThrowsAsync<IOException>(() => start);
        await stop;
        await manager.StopAsync("test"); // comes fourth: the try is over
        Assert.Equal((ProbeState.Stopped, 0L), (probe.Status.State, probe.Statistics.Starts));
    }

    [Fact]
    public async Task No_try_follows_the_end_of_the_manager()
    {
        var probe = new TestProbe { Starting = static _ => throw new IOException("no") };
        ProbeManager manager = Manager([probe], "test");
        await manager.StartEnabledAsync();
        await manager.DisposeAsync();
        probe.Starting = static _ => ValueTask.FromResult<string?>(null);
        _clock.Advance(TimeSpan.FromMinutes(10));
        Assert.Equal((ProbeState.Stopped, 0), (probe.Status.State, probe.Held));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => manager.StartAsync("test"));
        await manager.StartEnabledAsync();
        Assert.Equal((ProbeState.Stopped, 0), (probe.Status.State, probe.Held));
        await manager.DisposeAsync();
    }

    [Fact]
    public async Task The_end_of_the_manager_stops_every_probe_even_beside_one_that_cannot_stop()
    {
        var stuck = new StrangeProbe { StopError = new InvalidOperationException("stuck") };
        var probe = new TestProbe();
        ProbeManager manager = Manager([stuck, probe], "strange", "test");
        await manager.StartEnabledAsync();
        Assert.Equal(ProbeState.Running, probe.Status.State);
        await manager.DisposeAsync();
        Assert.Equal((ProbeState.Stopped, 1), (probe.Status.State, stuck.Stops));
    }

    [Fact]
    public async Task Unknown_enabled_names_are_reported_and_the_others_run()
    {
        var probe = new TestProbe("tcp");
        await using ProbeManager manager = Manager([probe], "tpc", "tcp", "tcp");
        await manager.StartEnabledAsync();
        Assert.Equal(ProbeState.Running, probe.Status.State);
        string problem = Assert.Single(manager.ConfigurationProblems);
        Assert.Equal("KubeSkoop:Probes:Enabled: There is no probe 'tpc'. Known probes: tcp, probe. The other probes run.", problem);
        Assert.Contains("Warning: " + problem, _log.Lines);
    }

    [Fact]
    public async Task Of_two_probes_with_one_name_the_first_is_used()
    {
        var first = new TestProbe("tcp");
        var second = new TestProbe("tcp");
        await using ProbeManager manager = Manager(first, second);
        Assert.Same(first, manager.Find("tcp"));
        Assert.DoesNotContain(second, manager.Probes);
        Assert.Equal("Two probes are called 'tcp'; the one registered first is used.", Assert.Single(manager.ConfigurationProblems));
    }

    [Fact]
    public async Task The_same_probe_given_twice_is_no_mistake()
    {
        var probe = new TestProbe();
        await using ProbeManager manager = Manager(probe, probe);
        Assert.Empty(manager.ConfigurationProblems);
        Assert.Equal(2, manager.Probes.Count);
    }

    [Fact]
    public async Task A_cancellation_inside_a_probe_does_not_keep_the_host_from_starting()
    {
        var probe = new TestProbe { Starting = static _ => throw new TaskCanceledException("its own time limit") };
        await using ProbeManager manager = Manager([probe], "test");
        await manager.StartEnabledAsync();
        Assert.Equal(ProbeState.Failed, probe.Status.State);
        probe.Starting = static _ => ValueTask.FromResult<string?>(null);
        _clock.Advance(TimeSpan.FromSeconds(1));
        await Eventually.EqualAsync(ProbeState.Running, () => probe.Status.State, "the probe");
    }

    [Fact]
    public async Task A_visitors_own_failure_reaches_its_host_and_blames_no_probe()
    {
        var probe = new TestProbe();
        await using ProbeManager manager = Manager([probe], "test");
        await manager.StartEnabledAsync();
        var own = Assert.Throws<VisitorException>(() => manager.Collect(new ThrowingVisitor(new VisitorException("closed"))));
        Assert.Equal("closed", own.Message);
        Assert.Equal((ProbeState.Running, 0L), (probe.Status.State, probe.Statistics.Errors));
    }

    [Fact]
    public async Task A_metric_that_throws_fails_its_probe_and_the_others_are_still_collected()
    {
        MetricTable<TestRecord> table = TestRecord.Metrics.With(
            [("kubeskoop.test.bad", MetricKind.Gauge, "1", "Bad.", static (in TestRecord _) => throw new InvalidDataException("bad"))]);
        var bad = new TestProbe("bad", metrics: table);
        var good = new TestProbe("good");
        await using ProbeManager manager = Manager([bad, good], "bad", "good");
        await manager.StartEnabledAsync();
        var seen = new RecordingVisitor();
        manager.Collect(seen);
        Assert.NotEmpty(seen.RowsOf("good"));
        await Eventually.EqualAsync(ProbeState.Failed, () => bad.Status.State, "the bad probe");
        Assert.Equal(("InvalidDataException: bad", ProbeState.Running), (bad.Status.Reason, good.Status.State));
    }

    [Fact]
    public async Task An_old_failure_does_not_fail_a_new_start()
    {
        // Somebody restarts the probe while a read fails: the failure belongs to the run that is over.
        var probe = new TestProbe();
        await using ProbeManager manager = Manager(probe);
        await using ProbeLease lease = await manager.StartAsync("test");
        var goOn = new TaskCompletionSource();
        probe.Starting = async _ =>
        {
            await goOn.Task;
            return "test";
        };
        Task<ProbeLease>? restart = null;
        probe.Reading = _ =>
        {
            restart = manager.StartAsync("test", new TestProbeOptions());
            throw new IOException("old");
        };
        manager.Collect(new NullVisitor());
        goOn.SetResult();
        await using ProbeLease second = await restart!;
        probe.Reading = static _ => { };
        // The manager's turn is free again once another start got it, so the old failure has been dealt with.
        await using ProbeLease after = await manager.StartAsync("test");
        Assert.Equal((ProbeState.Running, 2L), (probe.Status.State, probe.Statistics.Starts));
    }

    [Fact]
    public async Task A_strangers_probe_that_derives_from_nothing_is_managed_too()
    {
        var strange = new StrangeProbe { SampleError = new IOException("no") };
        await using ProbeManager manager = Manager([strange], "strange");
        await manager.StartEnabledAsync();
        Assert.Equal(ProbeState.Running, strange.Status.State);
        manager.Collect(new NullVisitor());
        await Eventually.EqualAsync(1, () => strange.Stops, "stops of the strange probe");
        _clock.Advance(TimeSpan.FromSeconds(1));
        await Eventually.EqualAsync(ProbeState.Running, () => strange.Status.State, "the strange probe");
    }

    [Fact]
    public async Task Thousands_of_concurrent_uses_leave_nothing_running()
    {
        var probes = Enumerable.Range(0, 4).Select(i => new TestProbe($"p{i}")).ToArray();
        int turn = 0;
        foreach (TestProbe probe in probes)
        {
            probe.Starting = async _ =>
            {
                await Task.Yield();
                return Interlocked.Increment(ref turn) % 11 == 0 ? throw new IOException("now and then") : null;
            };
            probe.Reading = batch =>
            {
                batch.Add(SampleSubject.Node);
                if (Interlocked.Increment(ref turn) % 29 == 0) throw new IOException("now and then");
            };
        }
        await using ProbeManager manager = Manager([.. probes], o => o.RetryDelay = o.MaxRetryDelay = TimeSpan.FromMilliseconds(1));
        var visitor = new NullVisitor();
        await Task.WhenAll(Enumerable.Range(0, 12).Select(worker => Task.Run(async () =>
        {
            var random = new Random(worker);
            var leases = new List<ProbeLease>();
            for (int i = 0; i < 500; i++)
            {
                string name = $"p{random.Next(4)}";
                switch (random.Next(6))
                {
                    case 0 or 1:
                        try
                        {
                            leases.Add(await manager.StartAsync(name, random.Next(5) == 0 ? new TestProbeOptions() : null));
                        }
                        catch (IOException)
                        {
                        }
                        break;
                    case 2 when leases.Count > 0:
                        await leases[^1].DisposeAsync();
                        leases.RemoveAt(leases.Count - 1);
                        break;
                    case 3:
                        if (random.Next(10) == 0) await manager.StopAsync(name);
                        break;
                    case 4:
                        _clock.Advance(TimeSpan.FromMilliseconds(1));
                        break;
                    default:
                        manager.Collect(visitor);
                        break;
                }
            }
            foreach (ProbeLease lease in leases) await lease.DisposeAsync();
        })));
        Assert.True(visitor.Visits > 0);
        // Every lease is back: whatever was failing, restarting or retried at the end must come to rest. A start that failed while nobody held a lease
        // leaves its reason to be seen, and nothing else.
        foreach (TestProbe probe in probes)
        {
            await Eventually.TrueAsync(() => probe.Status.State is ProbeState.Stopped or ProbeState.Failed && probe.Held == 0, $"{probe.Descriptor.Name} to stop");
            Assert.Equal((0, 1), (probe.ReadsWithoutHold, probe.MostHeld));
        }
        long starts = probes.Sum(static p => p.Statistics.Starts);
        _clock.Advance(TimeSpan.FromMinutes(5));
        Assert.Equal(starts, probes.Sum(static p => p.Statistics.Starts));
        Assert.All(probes, static p => Assert.True(p.Status.State is ProbeState.Stopped or ProbeState.Failed && p.Held == 0));
    }

    [Fact]
    public async Task Probes_of_one_collection_share_a_round_and_the_next_has_another()
    {
        var rounds = new List<long>();
        var probes = Enumerable.Range(0, 2).Select(i => new TestProbe($"p{i}") { Reading = b => rounds.Add(b.Round.Id) }).ToArray();
        await using ProbeManager manager = Manager([.. probes], "p0", "p1");
        await manager.StartEnabledAsync();
        manager.Collect(new NullVisitor());
        manager.Collect(new NullVisitor());
        manager.Collect("p0", new NullVisitor());
        Assert.Equal(5, rounds.Count);
        Assert.Equal(rounds[0], rounds[1]);
        Assert.Equal(rounds[2], rounds[3]);
        Assert.Equal(3, rounds.Distinct().Count());
        Assert.DoesNotContain(0, rounds);
    }

    private ProbeManager Manager(params IProbe[] probes) => Manager(probes, static _ => { });

    private ProbeManager Manager(IProbe[] probes, params string[] enabled) => Manager(probes, static _ => { }, enabled);

    private ProbeManager Manager(IProbe[] probes, Action<ProbesOptions> configure, params string[] enabled)
    {
        var options = new ProbesOptions().Enable(enabled);
        configure(options);
        return new ProbeManager(probes, Options.Create(options), _clock, logger: _log);
    }

    private sealed class ThrowingVisitor(Exception e) : ISampleVisitor
    {
        public void Visit<TRecord>(ProbeDescriptor probe, MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
            where TRecord : struct => throw e;
    }

    /// <summary>A stranger's probe, straight on the interface.</summary>
    private sealed class StrangeProbe : IMetricProbe
    {
        private ProbeState _state;

        public Exception? StopError { get; init; }

        public Exception? SampleError { get; init; }

        public int Stops { get; private set; }

        public ProbeDescriptor Descriptor { get; } = new() { Name = "strange", Source = ProbeSource.Other, Overhead = OverheadClass.Low, Purpose = "Tests." };

        public ProbeStatus Status => new(_state, null, null, DateTimeOffset.UnixEpoch);

        public ProbeStatistics Statistics { get; } = new();

        public Task StartAsync(CancellationToken cancellationToken = default)
        {
            _state = ProbeState.Running;
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken = default)
        {
            Stops++;
            if (StopError is not null) throw StopError;
            _state = ProbeState.Stopped;
            return Task.CompletedTask;
        }

        public void Collect(ISampleVisitor visitor, SampleRound round = default)
        {
            if (SampleError is not null) throw SampleError;
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
