using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Ebpf.Tests.Interop;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>
/// What the kernel kept from the BPF programs of one test. There are kernels, of virtual machines, that run no tracing program while a thread of process 1 is current: not even
/// when an interrupt has taken that thread's CPU for somebody else's packet or timer. Nothing is counted as missed then; the kernel's own tracer (ftrace) sees the tracepoint.
/// So a test that counts exactly fails now and then, and a probe can do nothing about it. This tells such a failure from a real one: by the tracer's word that a tracepoint
/// the test's probes are on was passed there, and by a trial that shows that this kernel is one of those.
/// </summary>
internal sealed partial class BlindSpot
{
    private const string Tracing = "/sys/kernel/tracing";
    private const string Prefix = "kubeskoop-tests-";
    private const int Enough = 5; // softirqs on process 1's threads, of which BPF has seen none

    private static readonly AsyncLocal<BlindSpot?> OfThisTest = new();
    private static readonly Lock Tracer = new();
    private static readonly Lazy<string?> Instance = new(MakeInstance);
    private static readonly Lazy<bool> Is = new(Try);
    private static readonly HashSet<string> Traced = [];
    private static readonly HashSet<int> Threads = [];

    private readonly HashSet<string> _tracepoints = [];
    private readonly TimeSpan _began = Now;

    private BlindSpot()
    {
    }

    /// <summary>That of the test that runs now, if it is a <see cref="BpfFactAttribute"/>.</summary>
    internal static BlindSpot? Current => OfThisTest.Value;

    private static TimeSpan Now => Stopwatch.GetElapsedTime(0); // CLOCK_MONOTONIC, as the tracer's

    /// <summary>Of the test that begins now.</summary>
    internal static BlindSpot Begin() => OfThisTest.Value = new BlindSpot();

    /// <summary>The test looks at what the programs of this object are on.</summary>
    internal void Concerns(string probe)
    {
        foreach (Match section in Section().Matches(Encoding.Latin1.GetString(BpfObject.Image(probe))))
            // Softirqs run on process 1 all the time: that one did excuses nothing.
            if (!section.Groups[1].Value.StartsWith("softirq_", StringComparison.Ordinal)) ConcernsTracepoint(section.Groups[1].Value);
    }

    /// <summary>It looks at this one.</summary>
    internal void ConcernsTracepoint(string tracepoint)
    {
        _tracepoints.Add(tracepoint);
        Trace(tracepoint);
    }

    /// <summary>The tracer's lines about what BPF was not shown; none where it is shown everything.</summary>
    internal IReadOnlyList<string> Hits() => _tracepoints.Count > 0 && Passed() is { Count: > 0 } hits && IsKept ? hits : [];

    /// <summary>What the tracer has seen there, whether or not BPF has.</summary>
    internal IReadOnlyList<string> Passed() => Read(_tracepoints, _began);

    /// <summary>Whether this kernel keeps something from BPF.</summary>
    internal static bool IsKept => Is.Value;

    private static bool Try()
    {
        TimeSpan began = Now;
        int told = 0;
        using var seen = new TestObject("current");
        using (seen.Attach("entry"))
        {
            Trace("softirq_entry");
            while (told < Enough && Now - began < TimeSpan.FromSeconds(20))
            {
                Thread.Sleep(20);
                told = Read(["softirq_entry"], began).Count;
            }
        }
        return told >= Enough && BitConverter.ToUInt64(seen.Read("first", 0)!) == 0;
    }

    private static void Trace(string tracepoint)
    {
        lock (Tracer)
        {
            if (Instance.Value is not { } instance) return;
            // Before the first event is on, so that there are never those of others.
            foreach (int thread in Directory.GetDirectories("/proc/1/task").Select(static d => int.Parse(Path.GetFileName(d), CultureInfo.InvariantCulture)))
                if (Threads.Add(thread)) File.AppendAllText(instance + "/set_event_pid", $"{thread}\n");
            if (Traced.Add(tracepoint) && Directory.GetDirectories(instance + "/events").Select(group => $"{group}/{tracepoint}/enable").FirstOrDefault(File.Exists) is { } file) File.WriteAllText(file, "1");
        }
    }

    private static List<string> Read(HashSet<string> tracepoints, TimeSpan since)
    {
        lock (Tracer)
        {
            if (Instance.Value is not { } instance) return [];
            return [.. File.ReadLines(instance + "/trace").Where(line => Line().Match(line) is { Success: true } m
                && tracepoints.Contains(m.Groups["event"].Value)
                && Threads.Contains(int.Parse(m.Groups["thread"].ValueSpan, CultureInfo.InvariantCulture))
                && TimeSpan.FromSeconds(double.Parse(m.Groups["time"].ValueSpan, CultureInfo.InvariantCulture)) >= since)];
        }
    }

    // An instance of the tracer of this process alone; null where there is none to be had.
    private static string? MakeInstance()
    {
        if (Environment.ProcessId == 1) return null;
        bool mounted = !Directory.Exists(Tracing + "/instances") && Run("mount", "-t", "tracefs", "tracefs", Tracing);
        if (!Directory.Exists(Tracing + "/instances")) return null;
        foreach (string other in Directory.GetDirectories(Tracing + "/instances", Prefix + "*"))
            if (!Directory.Exists("/proc/" + Path.GetFileName(other)[Prefix.Length..])) Remove(other);
        string instance = $"{Tracing}/instances/{Prefix}{Environment.ProcessId}";
        Directory.CreateDirectory(instance);
        AppDomain.CurrentDomain.ProcessExit += (_, _) =>
        {
            Remove(instance);
            if (mounted) Run("umount", Tracing); // stays if somebody else uses it by now
        };
        File.WriteAllText(instance + "/trace_clock", "mono");
        File.WriteAllText(instance + "/buffer_size_kb", "256");
        return instance;
    }

    // What somebody has open stays, for the next run to remove.
    private static void Remove(string instance)
    {
        try
        {
            Directory.Delete(instance);
        }
        catch (IOException)
        {
        }
    }

    private static bool Run(string program, params string[] arguments) => Command.RunAsync(program, arguments).GetAwaiter().GetResult().ExitCode == 0;

    [GeneratedRegex("(?:tp_btf|raw_tp)/([a-z_0-9]+)")]
    private static partial Regex Section();

    // "comm-thread [cpu] flags seconds: event: ...", the third flag: in a softirq or a hardirq.
    [GeneratedRegex(@"-(?<thread>\d+) +\[\d+\] ..[sShHzZ]\S* +(?<time>\d+\.\d+): (?<event>\w+):")]
    private static partial Regex Line();
}
