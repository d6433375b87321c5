using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>What one turn of one side took, per pass.</summary>
/// <param name="Wall">Nanoseconds on the clock.</param>
/// <param name="Cpu">Nanoseconds of CPU, user and kernel.</param>
internal readonly record struct Turn(double Wall, double Cpu);

/// <summary>
/// The turns of one side. Sides take turns within one run and are compared turn by turn, so that whatever slows the
/// machine down for a moment slows down both.
/// </summary>
internal sealed class Turns
{
    private readonly List<Turn> _turns = [];

    internal double Wall => Median(_turns.Select(static t => t.Wall));

    internal double Cpu => Median(_turns.Select(static t => t.Cpu));

    internal void Add(Turn turn) => _turns.Add(turn);

    internal static Turn Measure(int passes, Action pass)
    {
        long cpu = CpuClock.ThreadNanoseconds();
        long began = Stopwatch.GetTimestamp();
        for (int i = 0; i < passes; i++) pass();
        double wall = Stopwatch.GetElapsedTime(began).TotalNanoseconds;
        return new Turn(wall / passes, (double)(CpuClock.ThreadNanoseconds() - cpu) / passes);
    }

    /// <summary>How many times the other's time this one takes: the median over turns.</summary>
    internal double RatioTo(Turns other) => Median(_turns.Zip(other._turns, static (a, b) => a.Wall / b.Wall));

    /// <summary>The same by CPU time.</summary>
    internal double CpuRatioTo(Turns other) => Median(_turns.Zip(other._turns, static (a, b) => a.Cpu / b.Cpu));

    internal static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length == 0 ? double.NaN : (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    /// <summary>By how much a median may be off by chance: 95 times of 100 by less. From the spread, where outliers count as little as in the median.</summary>
    internal static double Uncertainty(IReadOnlyCollection<double> values)
    {
        double median = Median(values);
        double deviation = 1.4826 * Median(values.Select(v => Math.Abs(v - median)));
        return 1.96 * 1.2533 * deviation / Math.Sqrt(values.Count);
    }

    internal static void Print(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));

    /// <summary>What scripts read.</summary>
    internal static void PrintRatio(string what, double ratio) => Print($"ratio {what}: {ratio:F2}");
}

/// <summary>CPU time, user and kernel.</summary>
internal static partial class CpuClock
{
    private const int Process = 2; // include/uapi/linux/time.h
    private const int Thread = 3;

    internal static long ProcessNanoseconds() => Read(Process);

    internal static long ThreadNanoseconds() => Read(Thread);

    /// <summary>Of another process, all its threads (clock_getcpuclockid(3): the pid's complement, shifted, is its clock).</summary>
    internal static long NanosecondsOf(int processId) => Read((~processId << 3) | Process);

    private static unsafe long Read(int clock)
    {
        long* time = stackalloc long[2];
        return ClockGetTime(clock, time) == 0 ? time[0] * 1_000_000_000 + time[1] : 0;
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static unsafe partial int ClockGetTime(int clock, long* time);
}
