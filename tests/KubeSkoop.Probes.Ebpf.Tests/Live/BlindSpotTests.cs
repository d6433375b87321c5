using Xunit.Abstractions;
using Xunit.Sdk;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>What excuses a failure, and what does not.</summary>
[Collection("alone")]
public sealed class BlindSpotTests
{
    private static readonly AsyncLocal<Func<Task>?> Body = new();

    [LiveFact(Needs.Bpf)]
    public async Task A_failure_is_a_failure_where_the_kernel_has_kept_nothing()
    {
        int runs = 0;
        (int total, int failed, int told) = await RunAsync(() =>
        {
            runs++;
            BlindSpot.Current!.ConcernsTracepoint("tcp_retransmit_synack"); // there is none
            Assert.Fail("as it must");
            return Task.CompletedTask;
        });
        Assert.Equal((1, 1, 1, 0), (runs, total, failed, told));
        runs = 0;
        (total, failed, told) = await RunAsync(() => throw FailException.ForFailure($"run {++runs}, about nothing"));
        Assert.Equal((1, 1, 1, 0), (runs, total, failed, told));
    }

    [LiveFact(Needs.Bpf)]
    public async Task What_passes_is_not_run_again()
    {
        int runs = 0;
        (int total, int failed, int told) = await RunAsync(() => Task.FromResult(runs++));
        Assert.Equal((1, 1, 0, 0), (runs, total, failed, told));
    }

    // Softirqs run on process 1 all the time.
    [LiveFact(Needs.Bpf)]
    public async Task What_the_kernel_kept_is_run_anew_and_fails_in_the_end()
    {
        int runs = 0;
        (int total, int failed, int told) = await RunAsync(async () =>
        {
            runs++;
            await AwaitHitAsync();
            if (runs < 3 || !await BlindSpot.IsKeptAsync()) Assert.Fail($"run {runs}");
        });
        // Elsewhere the first failure is the result.
        Assert.Equal(await BlindSpot.IsKeptAsync() ? (3, 1, 0, 2) : (1, 1, 1, 0), (runs, total, failed, told));

        runs = 0;
        async Task Fail()
        {
            runs++;
            await AwaitHitAsync();
            Assert.Fail($"run {runs}");
        }
        (total, failed, told) = await RunAsync(Fail);
        Assert.Equal(await BlindSpot.IsKeptAsync() ? (3, 1, 1, 2) : (1, 1, 1, 0), (runs, total, failed, told));

        runs = 0;
        (total, failed, told) = await RunAsync(Fail, may: 1);
        Assert.Equal(await BlindSpot.IsKeptAsync() ? (2, 1, 1, 2) : (1, 1, 1, 0), (runs, total, failed, told));
    }

    private static async Task AwaitHitAsync()
    {
        BlindSpot.Current!.ConcernsTracepoint("softirq_entry");
        for (int i = 0; i < 1000 && await BlindSpot.IsKeptAsync() && BlindSpot.Current!.Passed().Count == 0; i++) await Task.Delay(20);
    }

    private static async Task<(int Total, int Failed, int Told)> RunAsync(Func<Task> body, int may = int.MaxValue)
    {
        Body.Value = body;
        var assembly = new TestAssembly(Reflector.Wrap(typeof(Sample).Assembly));
        var type = new TestClass(new TestCollection(assembly, null, "sample"), Reflector.Wrap(typeof(Sample)));
        var method = new TestMethod(type, type.Class.GetMethod(nameof(Sample.Run), false));
        var bus = new Bus();
        using var cancellation = new CancellationTokenSource();
        using var test = new Case(method) { May = may };
        RunSummary summary = await test.RunAsync(new NullMessageSink(), bus, [], new ExceptionAggregator(), cancellation);
        Assert.All(bus.Messages.OfType<ITestFailed>(), static f => Assert.Equal(typeof(FailException).FullName, Assert.Single(f.ExceptionTypes)));
        // Whoever listens hears of one run.
        Assert.Equal((1, 1), (bus.Messages.Count(static m => m is ITestCaseStarting), bus.Messages.Count(static m => m is ITestPassed or ITestFailed)));
        return (summary.Total, summary.Failed, test.Told);
    }

    private sealed class Case : BpfTestCase
    {
        [Obsolete("For deserialization only.")]
        public Case()
        {
        }

        internal Case(ITestMethod method)
            : base(new NullMessageSink(), TestMethodDisplay.Method, TestMethodDisplayOptions.None, method, null)
        {
        }

        internal int Told { get; private set; }

        internal int May { get; init; } = int.MaxValue;

        protected override bool MayRunAnew(string why) => ++Told <= May;
    }

    /// <summary>Not public: run by hand only.</summary>
#pragma warning disable xUnit1000, CA1822
    private sealed class Sample
    {
        [BpfFact(Needs.None)]
        public Task Run() => Body.Value!();
#pragma warning restore xUnit1000, CA1822
    }

    private sealed class Bus : IMessageBus
    {
        internal List<IMessageSinkMessage> Messages { get; } = [];

        public bool QueueMessage(IMessageSinkMessage message)
        {
            Messages.Add(message);
            return true;
        }

        public void Dispose()
        {
        }
    }
}
