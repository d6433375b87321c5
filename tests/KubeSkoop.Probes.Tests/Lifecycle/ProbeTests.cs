using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Tests.Lifecycle;

public sealed class ProbeTests
{
    private readonly FakeTimeProvider _clock = new();

    [Fact]
    public async Task Start_and_stop_may_be_repeated()
    {
        await using var probe = new TestProbe(_clock);
        Assert.Equal(new ProbeStatus(ProbeState.Stopped, null, null, _clock.GetUtcNow()), probe.Status);
        await probe.StopAsync();
        _clock.Advance(TimeSpan.FromSeconds(3));
        await probe.StartAsync();
        await probe.StartAsync();
        Assert.Equal(new ProbeStatus(ProbeState.Running, null, "test", _clock.GetUtcNow()), probe.Status);
        Assert.Equal((1, 1L), (probe.Held, probe.Statistics.Starts));
        await probe.StopAsync();
        await probe.StopAsync();
        Assert.Equal((ProbeState.Stopped, 0), (probe.Status.State, probe.Held));
        await probe.StartAsync();
        Assert.Equal((ProbeState.Running, 2L), (probe.Status.State, probe.Statistics.Starts));
        await probe.DisposeAsync();
        Assert.Equal((ProbeState.Stopped, 0), (probe.Status.State, probe.Held));
    }

    [Fact]
    public async Task Starting_and_stopping_show_while_they_last()
    {
        var gate = new TaskCompletionSource();
        await using var probe = new TestProbe();
        probe.Starting = async _ =>
        {
            await gate.Task;
            return null;
        };
        Task start = probe.StartAsync();
        Assert.Equal(ProbeState.Starting, probe.Status.State);
        Assert.Throws<ProbeNotRunningException>(() => probe.Sample());
        gate.SetResult();
        await start;
        gate = new TaskCompletionSource();
        probe.Ending = () => new ValueTask(gate.Task);
        Task stop = probe.StopAsync();
        Assert.Equal(ProbeState.Stopping, probe.Status.State);
        Assert.Throws<ProbeNotRunningException>(() => probe.Collect(new NullVisitor()));
        gate.SetResult();
        await stop;
        Assert.Equal(0, probe.Held);
    }

    [Fact]
    public async Task A_start_that_fails_releases_and_says_why()
    {
        await using var probe = new TestProbe { Starting = static _ => throw new IOException("disk on fire") };
        await Assert.ThrowsAsync<IOException>(() => probe.StartAsync());
        Assert.Equal((ProbeState.Failed, "disk on fire", 0, 1L), (probe.Status.State, probe.Status.Reason, probe.Held, probe.Statistics.Errors));
        probe.Starting = static _ => throw new ProbeUnavailableException("test", "open /proc/net/x", "no such file", "Load the module x.");
        var unavailable = await Assert.ThrowsAsync<ProbeUnavailableException>(() => probe.StartAsync());
        Assert.Equal("test: open /proc/net/x: no such file. Load the module x.", unavailable.Message);
        Assert.Equal((ProbeState.Unavailable, unavailable.Message, 0), (probe.Status.State, probe.Status.Reason, probe.Held));
        var refused = Assert.Throws<ProbeNotRunningException>(() => probe.Sample());
        Assert.Contains(unavailable.Message, refused.Message, StringComparison.Ordinal);
        Assert.Equal(ProbeState.Unavailable, refused.Status.State);
        await probe.StopAsync();
        Assert.Equal((ProbeState.Stopped, null, 0), (probe.Status.State, probe.Status.Reason, probe.Held));
        probe.Starting = static _ => ValueTask.FromResult<string?>("again");
        await probe.StartAsync();
        Assert.Equal("again", probe.Status.Source);
    }

    [Fact]
    public async Task A_cancelled_start_releases_and_leaves_the_probe_stopped()
    {
        await using var probe = new TestProbe();
        probe.Starting = static async cancellation =>
        {
            await Task.Delay(Timeout.Infinite, cancellation);
            return null;
        };
        using var cancellation = new CancellationTokenSource();
        Task start = probe.StartAsync(cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => start);
        Assert.Equal((ProbeState.Stopped, 0, 0L), (probe.Status.State, probe.Held, probe.Statistics.Errors));
    }

    [Fact]
    public async Task A_cancellation_nobody_asked_for_is_a_failure()
    {
        await using var probe = new TestProbe { Starting = static _ => throw new TaskCanceledException("the probe's own time limit") };
        await Assert.ThrowsAsync<TaskCanceledException>(() => probe.StartAsync());
        Assert.Equal((ProbeState.Failed, "the probe's own time limit", 0), (probe.Status.State, probe.Status.Reason, probe.Held));
    }

    [Fact]
    public async Task A_stop_that_waits_in_line_can_be_given_up()
    {
        var gate = new TaskCompletionSource();
        await using var probe = new TestProbe();
        probe.Starting = async _ =>
        {
            await gate.Task;
            return null;
        };
        Task start = probe.StartAsync();
        using var cancellation = new CancellationTokenSource();
        Task stop = probe.StopAsync(cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => stop);
        gate.SetResult();
        await start;
        Assert.Equal(ProbeState.Running, probe.Status.State);
    }

    [Fact]
    public async Task A_probe_that_cannot_clean_up_stops_all_the_same()
    {
        await using var probe = new TestProbe { Ending = static () => throw new InvalidOperationException("stuck") };
        await probe.StartAsync();
        await probe.StopAsync();
        Assert.Equal((ProbeState.Stopped, 1L), (probe.Status.State, probe.Statistics.Errors));
    }

    [Fact]
    public async Task A_read_that_throws_leaves_no_half_sample()
    {
        await using var probe = new TestProbe
        {
            Reading = static batch =>
            {
                batch.Add(SampleSubject.Node).Opened = 1;
                throw new IOException("cut off");
            },
        };
        await probe.StartAsync();
        var batch = new SampleBatch<TestRecord>();
        Assert.Throws<IOException>(() => probe.Sample(batch));
        Assert.Equal((0, 0L, 1L), (batch.Count, probe.Statistics.Samples, probe.Statistics.Errors));
    }

    [Fact]
    public async Task Statistics_tell_what_samples_cost_and_skipped()
    {
        await using var probe = new TestProbe(_clock);
        probe.Reading = batch =>
        {
            _clock.Advance(TimeSpan.FromMilliseconds(7));
            batch.Add(SampleSubject.Node);
            batch.Add(SampleSubject.Node);
            batch.Skip(SkipReason.Vanished);
            batch.Skip(SkipReason.Vanished);
            batch.Skip(SkipReason.Denied, "no access");
            batch.Skip(SkipReason.Malformed);
        };
        await probe.StartAsync();
        probe.Sample();
        probe.Sample();
        ProbeStatistics s = probe.Statistics;
        Assert.Equal((2L, 2L, 6L, 4L, 2L, 2L, "no access"), (s.Samples, s.Rows, s.Series, s.Vanished, s.Denied, s.Malformed, s.LastProblem));
        Assert.Equal((TimeSpan.FromMilliseconds(7), TimeSpan.FromMilliseconds(14)), (s.LastSampleDuration, s.SampleDuration));
        await probe.StopAsync();
        Assert.Equal((0L, 0L, 2L), (s.Rows, s.Series, s.Samples));
    }

    [Fact]
    public async Task Cpu_time_of_samples_is_measured()
    {
        await using var probe = new TestProbe { Reading = static _ => Thread.SpinWait(2_000_000) };
        await probe.StartAsync();
        probe.Sample();
        Assert.True(probe.Statistics.SampleCpuTime > TimeSpan.Zero);
    }

    [Fact]
    public async Task Thousands_of_concurrent_starts_stops_and_samples_leave_it_whole()
    {
        await using var probe = new TestProbe();
        int seed = 0;
        probe.Starting = async _ =>
        {
            int turn = Interlocked.Increment(ref seed);
            if (turn % 3 == 0) await Task.Yield();
            if (turn % 7 == 0) throw new IOException("now and then");
            return null;
        };
        probe.Ending = async () =>
        {
            if (Interlocked.Increment(ref seed) % 2 == 0) await Task.Yield();
        };
        var visitor = new NullVisitor();
        int unexpected = 0;
        await Task.WhenAll(Enumerable.Range(0, 16).Select(worker => Task.Run(async () =>
        {
            var random = new Random(worker);
            for (int i = 0; i < 1000; i++)
            {
                try
                {
                    switch (random.Next(4))
                    {
                        case 0: await probe.StartAsync(); break;
                        case 1: await probe.StopAsync(); break;
                        case 2: await probe.FailAsync(probe.Status, "test"); break;
                        default: probe.Collect(visitor); break;
                    }
                }
                catch (Exception e) when (e is IOException or ProbeNotRunningException)
                {
                }
                catch (Exception)
                {
                    Interlocked.Increment(ref unexpected);
                }
            }
        })));
        Assert.Equal(0, unexpected);
        Assert.Equal(0, probe.ReadsWithoutHold);
        Assert.Equal(1, probe.MostHeld);
        Assert.True(visitor.Visits > 0);
        Assert.Equal(probe.Status.State == ProbeState.Running ? 1 : 0, probe.Held);
        await probe.StopAsync();
        Assert.Equal((ProbeState.Stopped, 0), (probe.Status.State, probe.Held));
    }

    [Fact]
    public void Work_outside_of_samples_counts_as_the_probes_also_when_it_fails()
    {
        var probe = new BusyProbe();
        Assert.Equal(TimeSpan.Zero, probe.Statistics.SampleCpuTime);
        probe.Busy();
        TimeSpan once = probe.Statistics.SampleCpuTime;
        Assert.True(once > TimeSpan.Zero);
        Assert.Throws<InvalidOperationException>(probe.Fail);
        Assert.True(probe.Statistics.SampleCpuTime > once);
        Assert.Equal(0, probe.Statistics.Samples);
    }

    private sealed class BusyProbe : TestProbe
    {
        internal void Busy() => Account(static () => _ = string.Join(',', Enumerable.Range(0, 100_000)));

        internal void Fail() => Account(static () => throw new InvalidOperationException(string.Join(',', Enumerable.Range(0, 100_000))));
    }

    [Fact]
    public async Task A_sample_in_flight_ends_before_anything_is_released()
    {
        using var inRead = new ManualResetEventSlim();
        using var goOn = new ManualResetEventSlim();
        int heldAfterWait = -1;
        await using var probe = new TestProbe();
        probe.Reading = _ =>
        {
            inRead.Set();
            Assert.True(goOn.Wait(TimeSpan.FromSeconds(10)));
            heldAfterWait = probe.Held;
        };
        await probe.StartAsync();
        Task sample = Task.Run(() => probe.Sample());
        Assert.True(inRead.Wait(TimeSpan.FromSeconds(10)));
        Task stop = Task.Run(() => probe.StopAsync());
        Assert.False(stop.IsCompleted);
        goOn.Set();
        await Task.WhenAll(sample, stop);
        Assert.Equal((1, 0), (heldAfterWait, probe.Held));
    }
}
