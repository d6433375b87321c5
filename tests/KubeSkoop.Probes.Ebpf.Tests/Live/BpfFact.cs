using System.ComponentModel;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>
/// A live fact about all that passes a probe's tracepoints. One that fails is run anew, twice at most, if the kernel has shown the programs less than there was: see <see cref="BlindSpot"/>.
/// </summary>
[XunitTestCaseDiscoverer("KubeSkoop.Probes.Ebpf.Tests.Live." + nameof(BpfFactDiscoverer), "KubeSkoop.Probes.Ebpf.Tests")]
public sealed class BpfFactAttribute(Needs needs, params string[] tools) : LiveFactAttribute(needs, tools);

/// <summary>A live theory, likewise.</summary>
[XunitTestCaseDiscoverer("KubeSkoop.Probes.Ebpf.Tests.Live." + nameof(BpfTheoryDiscoverer), "KubeSkoop.Probes.Ebpf.Tests")]
public sealed class BpfTheoryAttribute(Needs needs, params string[] tools) : LiveTheoryAttribute(needs, tools);

/// <summary>Finds facts that may be run anew.</summary>
public sealed class BpfFactDiscoverer(IMessageSink diagnosticMessageSink) : FactDiscoverer(diagnosticMessageSink)
{
    /// <inheritdoc/>
    protected override IXunitTestCase CreateTestCase(ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo factAttribute) =>
        new BpfTestCase(DiagnosticMessageSink, discoveryOptions.MethodDisplayOrDefault(), discoveryOptions.MethodDisplayOptionsOrDefault(), testMethod, null);
}

/// <summary>Finds the rows of theories that may be run anew.</summary>
public sealed class BpfTheoryDiscoverer(IMessageSink diagnosticMessageSink) : TheoryDiscoverer(diagnosticMessageSink)
{
    /// <inheritdoc/>
    protected override IEnumerable<IXunitTestCase> CreateTestCasesForDataRow(ITestFrameworkDiscoveryOptions discoveryOptions, ITestMethod testMethod, IAttributeInfo theoryAttribute, object[] dataRow) =>
        [new BpfTestCase(DiagnosticMessageSink, discoveryOptions.MethodDisplayOrDefault(), discoveryOptions.MethodDisplayOptionsOrDefault(), testMethod, dataRow)];
}

/// <summary>One that may be run anew.</summary>
public class BpfTestCase : XunitTestCase
{
    private const int Runs = 3;
    private const int MostOfAll = 6; // a failure here and there; a probe that misses something all the time has more

    private static readonly Lock Told = new();
    private static int _anew;

    /// <summary>For who sends test cases between processes.</summary>
    [EditorBrowsable(EditorBrowsableState.Never)]
    [Obsolete("For deserialization only.")]
    public BpfTestCase()
    {
    }

    /// <summary>One of a method, with its arguments.</summary>
    public BpfTestCase(IMessageSink diagnosticMessageSink, TestMethodDisplay display, TestMethodDisplayOptions options, ITestMethod testMethod, object[]? arguments)
        : base(diagnosticMessageSink, display, options, testMethod, arguments)
    {
    }

    /// <inheritdoc/>
    public override async Task<RunSummary> RunAsync(
        IMessageSink diagnosticMessageSink, IMessageBus messageBus, object[] constructorArguments, ExceptionAggregator aggregator, CancellationTokenSource cancellationTokenSource)
    {
        for (int run = 1; ; run++)
        {
            using var held = new HeldMessages();
            BlindSpot spot = BlindSpot.Begin();
            var thrown = new ExceptionAggregator(aggregator);
            RunSummary summary = await base.RunAsync(diagnosticMessageSink, held, constructorArguments, thrown, cancellationTokenSource);
            if (summary.Failed == 0 || run == Runs || cancellationTokenSource.IsCancellationRequested || await ExcuseAsync(spot) is not { } excuse || !MayRunAnew($"{DisplayName}: run {run} failed ({held.Failure}), and {excuse}"))
            {
                aggregator.Aggregate(thrown);
                if (!held.Release(messageBus)) await cancellationTokenSource.CancelAsync();
                return summary;
            }
        }
    }

    /// <summary>Says why it is run anew, for <c>./test.sh</c>, which tells it at its end.</summary>
    /// <returns>Whether it may be: not when too many were.</returns>
    protected virtual bool MayRunAnew(string why)
    {
        if (Interlocked.Increment(ref _anew) > MostOfAll) return false;
        if (Machine.Lacks(Needs.Sources) is null && Path.Combine(Repository.Root, "artifacts", "test-results") is { } results && Directory.Exists(results))
            lock (Told) File.AppendAllText(Path.Combine(results, "anew.txt"), why + "\n");
        return true;
    }

    // Whatever goes wrong with the tracer excuses nothing; xunit would end the whole run.
    private static async Task<string?> ExcuseAsync(BlindSpot spot)
    {
        try
        {
            return await spot.HitsAsync() is { Count: > 0 } hits ? $"of what it is about this kernel has kept from BPF: {hits.Count}, the first {hits[0].Trim()}" : null;
        }
        catch (Exception e)
        {
            Console.Error.WriteLine($"What the kernel has kept from BPF cannot be told: {e}");
            return null;
        }
    }

    private sealed class HeldMessages : IMessageBus
    {
        private readonly List<IMessageSinkMessage> _messages = [];

        internal string Failure => Short(string.Join("; ", _messages.OfType<ITestFailed>().SelectMany(static f => f.Messages)).ReplaceLineEndings(" "));

        public bool QueueMessage(IMessageSinkMessage message)
        {
            lock (_messages) _messages.Add(message);
            return true;
        }

        internal bool Release(IMessageBus to) => _messages.TrueForAll(to.QueueMessage);

        private static string Short(string text) => text.Length > 300 ? text[..300] + " ..." : text;

        public void Dispose()
        {
        }
    }
}
