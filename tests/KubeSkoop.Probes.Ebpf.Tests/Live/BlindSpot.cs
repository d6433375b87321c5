using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Ebpf.Tests.Interop;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>
/// What the kernel kept from the BPF programs of one test. There are kernels, of virtual machines, that run no tracing program while a thread of process 1 is current: not even
/// when an interrupt has taken that thread's CPU for somebody else's packet or timer. Nothing is counted as missed then; the kernel's own tracer (ftrace) sees the tracepoint.
/// So a test that counts exactly fails now and then, and a probe can do nothing about it. This tells when a failure may be such a one: by the tracer's word that a tracepoint
/// the test's programs are on was passed there, and by a trial that shows that this kernel is one of those.
/// </summary>
internal sealed partial class BlindSpot
{
    private const string Tracing = "/sys/kernel/tracing";
    private const string Prefix = "kubeskoop-tests-";
    private const int Enough = 5; // softirqs on process 1's threads, of which BPF has seen none

    private static readonly AsyncLocal<BlindSpot?> OfThisTest = new();
    private static readonly Lock Tracer = new();
    private static readonly SemaphoreSlim Trial = new(1);
    private static readonly Lazy<string?> Instance = new(MakeInstance);
    private static bool? _isKept;
    private static readonly HashSet<string> Traced = [];
    private static readonly HashSet<int> Threads = [];

    private readonly HashSet<string> _tracepoints = [];
    private TimeSpan? _began;

    private BlindSpot()
    {
    }

    /// <summary>That of the test that runs now, if it has begun one; a <see cref="BpfFactAttribute"/> has.</summary>
    internal static BlindSpot? Current => OfThisTest.Value;

    private static TimeSpan Now => Stopwatch.GetElapsedTime(0); // CLOCK_MONOTONIC, as the tracer's

    /// <summary>Of the test that begins now.</summary>
    internal static BlindSpot Begin() => OfThisTest.Value = new BlindSpot();

    /// <summary>The test looks at what these programs of a probe's object are on.</summary>
    internal void Concerns(string probe, IEnumerable<string> programs)
    {
        IReadOnlyDictionary<string, string> sections = TestObject.Sections(BpfObject.Image(probe));
        foreach (string program in programs)
            if (sections[program].Split('/') is ["tp_btf" or "raw_tp", string tracepoint] && !tracepoint.StartsWith("softirq_", StringComparison.Ordinal)) // those run on process 1 all the time
                ConcernsTracepoint(tracepoint);
    }

    /// <summary>It looks at this one.</summary>
    internal void ConcernsTracepoint(string tracepoint)
    {
        _began ??= Now;
        _tracepoints.Add(tracepoint);
        Trace(tracepoint);
    }

    /// <summary>The tracer's lines about what BPF was not shown; none where it is shown everything.</summary>
    internal async Task<IReadOnlyList<string>> HitsAsync() => Passed() is { Count: > 0 } hits && await IsKeptAsync() ? hits : [];

    /// <summary>What the tracer has seen there, whether or not BPF has.</summary>
    internal IReadOnlyList<string> Passed() => _began is { } began ? Read(_tracepoints, began) : [];

    /// <summary>Whether this kernel keeps something from BPF. Not, as long as nothing has happened that would tell.</summary>
    internal static async Task<bool> IsKeptAsync()
    {
        await Trial.WaitAsync(); // nobody waits on a thread here: others, whose times are measured, would wait for theirs
        try
        {
            return (_isKept ??= await TryAsync()) ?? false;
        }
        finally
        {
            Trial.Release();
        }
    }

    private static async Task<bool?> TryAsync()
    {
        int told = 0;
        using var seen = new TestObject("current");
        using (seen.Attach("entry"))
        {
            Trace("softirq_entry");
            TimeSpan began = Now;
            while (told < Enough && Now - began < TimeSpan.FromSeconds(20))
            {
                await Task.Delay(20);
                told = Read(["softirq_entry"], began).Count;
            }
        }
        return told < Enough ? null : BitConverter.ToUInt64(seen.Read("first", 0)!) == 0;
    }

    private static void Trace(string tracepoint)
    {
        lock (Tracer)
        {
            if (Instance.Value is not { } instance) return;
            Follow(instance); // before the first event is on, so that there are never those of others
            if (Traced.Add(tracepoint) && Directory.GetDirectories(instance + "/events").Select(group => $"{group}/{tracepoint}/enable").FirstOrDefault(File.Exists) is { } file) File.WriteAllText(file, "1");
        }
    }

    // The threads of process 1 come and go, and their numbers are used again.
    private static void Follow(string instance)
    {
        HashSet<int> now = [.. Directory.GetDirectories("/proc/1/task").Select(static d => int.Parse(Path.GetFileName(d), CultureInfo.InvariantCulture))];
        foreach (int thread in now)
            if (Threads.Add(thread)) File.AppendAllText(instance + "/set_event_pid", $"{thread}\n");
        Threads.IntersectWith(now);
    }

    private static List<string> Read(HashSet<string> tracepoints, TimeSpan since)
    {
        lock (Tracer)
        {
            if (Instance.Value is not { } instance) return [];
            Follow(instance);
            return [.. File.ReadLines(instance + "/trace").Where(line => Line().Match(line) is { Success: true } m
                && tracepoints.Contains(m.Groups["event"].Value)
                && Threads.Contains(int.Parse(m.Groups["thread"].ValueSpan, CultureInfo.InvariantCulture))
                && TimeSpan.FromSeconds(double.Parse(m.Groups["time"].ValueSpan, CultureInfo.InvariantCulture)) >= since)];
        }
    }

    // An instance of the tracer of this process alone; null where there is none to be had, or where process 1 is not the machine's.
    private static string? MakeInstance()
    {
        const string FirstPids = "pid:[4026531836]"; // PROC_PID_INIT_INO
        if (Environment.ProcessId == 1 || File.ResolveLinkTarget("/proc/self/ns/pid", returnFinalTarget: false)?.Name != FirstPids) return null;
        try
        {
            bool mounted = !Directory.Exists(Tracing + "/instances") && Command.Exists("mount") && Run("mount", "-t", "tracefs", "tracefs", Tracing);
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
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null; // nothing is excused then
        }
    }

    // What somebody has open stays, for the next run to remove.
    private static void Remove(string instance)
    {
        try
        {
            Directory.Delete(instance);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    private static bool Run(string program, params string[] arguments) => Command.RunAsync(program, arguments).GetAwaiter().GetResult().ExitCode == 0;

    // "comm-thread [cpu] flags seconds: event: ...", the third flag: in a softirq or a hardirq.
    [GeneratedRegex(@"-(?<thread>\d+) +\[\d+\] ..[sShHzZ]\S* +(?<time>\d+\.\d+): (?<event>\w+):")]
    private static partial Regex Line();
}
