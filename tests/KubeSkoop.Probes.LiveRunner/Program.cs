using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;
using KubeSkoop.Probes.LiveRunner;
using KubeSkoop.Probes.TestKit;
using Xunit.Abstractions;
using Xunit.Sdk;

// Runs live tests in this one process and tells the result of each as soon as it is there: for machines that are emulated, where starting programs takes long
// and the machine may end at any moment. Lines: "@<TAB>machine<TAB>kernel<TAB>architecture", "@<TAB>test<TAB>outcome<TAB>seconds<TAB>name<TAB>message", and those of ProbeMatrix.
// Exit status: 0 if none failed, 1 if one did.
string? pattern = null;
string? matrix = null;
for (int i = 0; i < args.Length; i++)
{
    switch (args[i])
    {
        case "--matrix" when i + 1 < args.Length:
            matrix = args[++i];
            break;
        case "--record" when i + 1 < args.Length:
            await Recorder.RecordAsync(args[++i]);
            return 0;
        case "--hook" when i + 1 < args.Length:
            Environment.SetEnvironmentVariable("KUBESKOOP_HOOK", args[++i]);
            break;
        case "--only" when i + 1 < args.Length:
            pattern = args[++i];
            break;
        default:
            Console.Error.WriteLine($"Usage: {Assembly.GetExecutingAssembly().GetName().Name} [--matrix NAME] [--hook KIND] [--only REGEX], or --record FOLDER");
            return 2;
    }
}
Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"@\tmachine\t{File.ReadAllText("/proc/sys/kernel/osrelease").Trim()}\t{System.Runtime.InteropServices.RuntimeInformation.OSArchitecture}"));
int failed = matrix is null ? 0 : await ProbeMatrix.TellAsync(matrix);
using var listener = new Listener(pattern is null ? null : new Regex(pattern, RegexOptions.CultureInvariant));
foreach (string file in Directory.GetFiles(AppContext.BaseDirectory, "KubeSkoop.*.Tests.dll").Order(StringComparer.Ordinal))
{
    Assembly assembly = Assembly.LoadFrom(file);
    using var framework = new XunitTestFramework(listener);
    using ITestFrameworkDiscoverer discoverer = framework.GetDiscoverer(new ReflectionAssemblyInfo(assembly));
    var options = new FrameworkOptions();
    options.SetValue("xunit.execution.DisableParallelization", true);
    listener.Begin();
    discoverer.Find(includeSourceInformation: false, listener, options);
    listener.Finished.WaitOne();
    using ITestFrameworkExecutor executor = framework.GetExecutor(assembly.GetName());
    listener.Begin();
    executor.RunTests(listener.Wanted, listener, options);
    listener.Finished.WaitOne();
}
return failed + listener.Failed == 0 ? 0 : 1;

/// <summary>xunit's options, which it takes as names and values.</summary>
internal sealed class FrameworkOptions : ITestFrameworkDiscoveryOptions, ITestFrameworkExecutionOptions
{
    private readonly Dictionary<string, object?> _values = [];

    public TValue GetValue<TValue>(string name) => _values.TryGetValue(name, out object? value) ? (TValue)value! : default!;

    public void SetValue<TValue>(string name, TValue value) => _values[name] = value;
}

/// <summary>Collects the live tests that are found, and tells what became of each.</summary>
internal sealed class Listener(Regex? only) : Xunit.LongLivedMarshalByRefObject, IMessageSink, IDisposable
{
    private static readonly string[] LiveAttributes = [typeof(LiveFactAttribute).AssemblyQualifiedName!, typeof(LiveTheoryAttribute).AssemblyQualifiedName!];

    internal ManualResetEvent Finished { get; } = new(initialState: false);

    internal List<ITestCase> Wanted { get; } = [];

    internal int Failed { get; private set; }

    internal void Begin()
    {
        Finished.Reset();
        if (Wanted.Count > 0 && _ran) Wanted.Clear();
        _ran = false;
    }

    private bool _ran;

    public bool OnMessage(IMessageSinkMessage message)
    {
        switch (message)
        {
            case ITestCaseDiscoveryMessage found:
                if (LiveAttributes.Any(a => found.TestMethod.Method.GetCustomAttributes(a).Any()) && only?.IsMatch(found.TestCase.DisplayName) != false) Wanted.Add(found.TestCase);
                break;
            case IDiscoveryCompleteMessage:
                Finished.Set();
                break;
            case ITestAssemblyFinished:
                _ran = true;
                Finished.Set();
                break;
            case ITestPassed passed:
                Tell("passed", passed, string.Empty);
                break;
            case ITestSkipped skipped:
                Tell("skipped", skipped, skipped.Reason);
                break;
            case ITestFailed failed:
                Failed++;
                Tell("failed", failed, string.Join(" <- ", failed.Messages) + " | " + string.Join(" <- ", failed.StackTraces.Select(static s => s ?? string.Empty)));
                break;
            case ITestClassCleanupFailure broken:
                Failed++;
                Console.Out.WriteLine($"@\ttest\tfailed\t0\t{broken.TestClass.Class.Name} (clean-up)\t{OneLine(string.Join(" <- ", broken.Messages))}");
                break;
            case IErrorMessage broken:
                Failed++;
                Console.Out.WriteLine($"@\ttest\tfailed\t0\t(the run)\t{OneLine(string.Join(" <- ", broken.Messages))}");
                break;
        }
        return true;
    }

    public void Dispose() => Finished.Dispose();

    private static void Tell(string outcome, ITestResultMessage result, string message) =>
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"@\ttest\t{outcome}\t{result.ExecutionTime:F1}\t{OneLine(result.Test.DisplayName)}\t{OneLine(message)}"));

    internal static string OneLine(string text)
    {
        string line = string.Join(' ', text.Split(['\r', '\n', '\t'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
        return line.Length > 1500 ? line[..1500] : line;
    }
}
