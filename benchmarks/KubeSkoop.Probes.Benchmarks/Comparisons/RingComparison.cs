using System.Diagnostics;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Ebpf.Ring;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>A full ring drained by <see cref="RingReader"/>, and by libbpf's own consumer with a callback in C, in turns on the same ring. Both add up every word of every record.</summary>
internal static unsafe partial class RingComparison
{
    private const int Records = 25_000;

    static RingComparison() => NativeLibrary.SetDllImportResolver(typeof(RingComparison).Assembly,
        static (name, _, _) => name == LibbpfResolver.Name ? LibbpfResolver.Load().Handle : 0);

    internal static int Run(Arguments args)
    {
        nint peer = NativeLibrary.Load(Path.Combine(args.Text("--native"), "libringpeer.so"));
        int rounds = args.Has("--quick") ? 5 : 101;
        using BpfObject ring = BenchObject.Load("ring", "fill");
        nint map = ring.Map("events");
        int program = Libbpf.ProgramDescriptor(ring.Program("fill"));
        nint theirs = NewRing(Libbpf.MapDescriptor(map), NativeLibrary.GetExport(peer, "ringpeer_take"), 0, 0);
        if (theirs == 0) throw new InvalidOperationException("libbpf does not take the ring.");
        var sum = (ulong*)NativeLibrary.GetExport(peer, "ringpeer_sum");
        var sink = new Sink();
        using var ours = new RingReader(Libbpf.MapDescriptor(map), Libbpf.MapEntries(map), sink);
        long allocated = 0;
        Turns.Print($"{"record",8} {"libbpf in C, ns",16} {"ours, ns",10} {"ours/libbpf",12} {"B allocated",12}");
        var ratios = new List<(int Size, double Ratio)>();
        foreach (ulong large in (ulong[])[0, 1])
        {
            var c = new Turns();
            var mine = new Turns();
            for (int warm = 0; warm < 200; warm++)
            {
                Fill(program, large);
                ours.Drain();
            }
            long taken = 0;
            for (int round = 0; round < rounds; round++)
            {
                *sum = 0;
                sink.Sum = 0;
                Fill(program, large);
                long began = Stopwatch.GetTimestamp();
                int consumed = Consume(theirs);
                double time = Stopwatch.GetElapsedTime(began).TotalNanoseconds;
                if (consumed != Records) throw new InvalidOperationException($"libbpf has read {consumed} of {Records} records.");
                c.Add(new Turn(time / Records, 0));

                Fill(program, large);
                long before = GC.GetAllocatedBytesForCurrentThread();
                began = Stopwatch.GetTimestamp();
                long drained = ours.Drain();
                time = Stopwatch.GetElapsedTime(began).TotalNanoseconds;
                taken += GC.GetAllocatedBytesForCurrentThread() - before;
                if (drained != Records || sink.Sum != *sum) throw new InvalidOperationException($"{drained} of {Records} records were read, or other words than libbpf has read.");
                mine.Add(new Turn(time / Records, 0));
            }
            allocated = Math.Max(allocated, taken);
            int size = large == 0 ? 64 : 128;
            Turns.Print($"{size,8} {c.Wall,16:F2} {mine.Wall,10:F2} {mine.RatioTo(c),12:F3} {taken,12}");
            ratios.Add((size, mine.RatioTo(c)));
        }
        FreeRing(theirs);
        Turns.PrintRatio("bytes allocated per drain (goal 0)", allocated / (double)rounds);
        foreach ((int size, double ratio) in ratios) Turns.PrintRatio($"ours/libbpf's consumer in C, records of {size} bytes (goal <= 1.10)", ratio);
        return 0;
    }

    private static void Fill(int program, ulong large)
    {
        ulong* context = stackalloc ulong[] { Records, large };
        var run = new TestRun { Size = (nuint)sizeof(TestRun), ContextIn = context, ContextSizeIn = 16 };
        if (RunProgram(program, &run) is var error and < 0) throw new InvalidOperationException($"The ring cannot be filled: error {error}.");
    }

    private sealed class Sink : IRingConsumer
    {
        internal ulong Sum { get; set; }

        public void Take(ReadOnlySpan<byte> record)
        {
            ulong sum = Sum;
            foreach (ulong word in MemoryMarshal.Cast<byte, ulong>(record)) sum += word;
            Sum = sum;
        }
    }

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "ring_buffer__new")]
    private static partial nint NewRing(int map, nint take, nint context, nint options);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "ring_buffer__consume")]
    private static partial int Consume(nint ring);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "ring_buffer__free")]
    private static partial void FreeRing(nint ring);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_prog_test_run_opts")]
    private static partial int RunProgram(int program, TestRun* options);

    // struct bpf_test_run_opts, tools/lib/bpf/bpf.h; its beginning
    [StructLayout(LayoutKind.Sequential)]
    private struct TestRun
    {
        internal nuint Size;
        internal byte* DataIn;
        internal byte* DataOut;
        internal uint DataSizeIn;
        internal uint DataSizeOut;
        internal ulong* ContextIn;
        internal ulong* ContextOut;
        internal uint ContextSizeIn;
        internal uint ContextSizeOut;
        internal uint Result;
        internal int Repeat;
        internal uint Duration;
        internal uint Flags;
        internal uint Cpu;
        internal uint BatchSize;
    }
}
