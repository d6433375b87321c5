using System.Diagnostics;
using System.Globalization;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>
/// The qdiscs of 1, 100 and 500 namespaces with three devices each, against a C loop over the same kept sockets that parses nothing (the floor), one that enters the
/// namespace and opens a socket each time (what upstream does), and <c>tc -s -j qdisc</c> in each namespace.
/// </summary>
internal static class QdiscComparison
{
    internal static int Run(Arguments args)
    {
        bool quick = args.Has("--quick");
        string native = args.Text("--native");
        var results = new List<(int Count, double Kept, double Open, double Tc, double Allocated, long Opened)>();
        Turns.Print($"{"namespaces",10} {"messages",8} {"kept C us",11} {"ours us",11} {"open C us",11} {"tc us",11} {"ours/kept",10} {"by CPU",7} {"open/ours",10} {"tc/ours",8} {"B/pass",7}");
        foreach (int count in args.Numbers("--namespaces", quick ? [1, 20] : [1, 100, 500])) results.Add(Compare(count, native, quick ? 5 : 41, quick));
        Turns.PrintRatio("bytes allocated per pass (goal 0)", results.Max(static r => r.Allocated));
        Turns.PrintRatio("sockets opened after the first pass (goal 0)", results.Sum(static r => r.Opened));
        foreach (var result in results) Turns.PrintRatio($"tc/ours, {result.Count} namespaces", result.Tc);
        foreach (var result in results) Turns.PrintRatio($"open-dump-close/ours, {result.Count} namespaces", result.Open);
        foreach (var result in results) Turns.PrintRatio($"ours/kept, {result.Count} namespaces (goal <= 1.25)", result.Kept);
        return 0;
    }

    private static (int Count, double Kept, double Open, double Tc, double Allocated, long Opened) Compare(int count, string native, int rounds, bool quick)
    {
        string pids = Path.GetTempFileName();
        try
        {
            // This process is the only one in its pid namespace: its own network namespace is the first, the farm makes the others.
            using var farm = new NativeLoop(Path.Combine(native, "nsfarm"), (count - 1).ToString(CultureInfo.InvariantCulture));
            var lines = new List<string> { Environment.ProcessId.ToString(CultureInfo.InvariantCulture) };
            while (farm.ReadLine() is var line && line != "ready") lines.Add(line);
            File.WriteAllLines(pids, lines);
            foreach (string pid in lines.Skip(1)) AddDevices(pid);

            using var floor = new NativeLoop(Path.Combine(native, "qdiscloop"), pids);
            _ = floor.ReadLine();
            using var ours = new QdiscPass();
            Action pass = ours.Pass;
            pass();
            if (ours.Namespaces != count) throw new InvalidOperationException($"{ours.Namespaces} namespaces are in sight instead of {count}; start this through bench.sh.");
            int passes = Math.Max(1, 400 / count);
            var warm = Stopwatch.StartNew();
            for (int i = 0; i < 64 || warm.ElapsedMilliseconds < 1500; i++) pass();
            long messages = floor.Ask($"kept {passes}")[2];
            // What the kernel tells of, and one row about each namespace.
            if (ours.Rows != messages + count) throw new InvalidOperationException($"{ours.Rows} rows from {messages} messages of {count} namespaces.");
            _ = floor.Ask($"open {passes}");

            var kept = new Turns();
            var mine = new Turns();
            var open = new Turns();
            long opened = ours.SocketsOpened;
            long allocated = 0;
            for (int round = 0; round < rounds; round++)
            {
                kept.Add(FromNative(floor.Ask($"kept {passes}")));
                long before = GC.GetAllocatedBytesForCurrentThread();
                Turn turn = Turns.Measure(passes, pass);
                allocated += GC.GetAllocatedBytesForCurrentThread() - before;
                mine.Add(turn);
                open.Add(FromNative(floor.Ask($"open {Math.Max(1, passes / 4)}")));
            }
            opened = ours.SocketsOpened - opened;
            var tc = new Turns();
            for (int i = 0; i < (quick ? 1 : 3); i++) tc.Add(Turns.Measure(1, () => lines.ForEach(ShowQdiscs)));
            double perPass = (double)allocated / rounds / passes;
            Turns.Print($"{count,10} {messages,8} {kept.Wall / 1e3,11:F1} {mine.Wall / 1e3,11:F1} {open.Wall / 1e3,11:F1} {tc.Wall / 1e3,11:F1} {mine.RatioTo(kept),10:F3} {mine.CpuRatioTo(kept),7:F3} {open.RatioTo(mine),10:F2} {tc.Wall / mine.Wall,8:F0} {perPass,7:F1}");
            return (count, mine.RatioTo(kept), open.RatioTo(mine), tc.Wall / mine.Wall, perPass, opened);
        }
        finally
        {
            File.Delete(pids);
        }
    }

    // As a pod with a bandwidth limit has them: a veth, and a tbf on it.
    private static void AddDevices(string pid) => Run("nsenter", $"--net=/proc/{pid}/ns/net", "sh", "-c",
        "ip link add name eth0 type veth peer name eth1 && ip link set eth0 up && ip link set eth1 up && tc qdisc add dev eth0 root tbf rate 100mbit burst 100k limit 1m");

    private static void ShowQdiscs(string pid) => Run("nsenter", $"--net=/proc/{pid}/ns/net", "tc", "-s", "-j", "qdisc");

    private static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        _ = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0) throw new InvalidOperationException($"'{program} {string.Join(' ', arguments)}' ended with {process.ExitCode}; its message is above.");
    }

    private static Turn FromNative(long[] answer) => new(answer[0], answer[1]);
}

/// <summary>The probe on sources of its own.</summary>
internal sealed class QdiscPass : IDisposable
{
    private readonly ProcNamespaceSource _source;
    private readonly NetlinkSockets _sockets;
    private readonly QdiscProbe _probe;
    private readonly SampleBatch<QdiscRecord> _rows = new();

    internal QdiscPass()
    {
        var options = new ProcfsOptions();
        options.NamespaceDirectories.Clear();
        _source = new ProcNamespaceSource(Options.Create(options));
        _sockets = new NetlinkSockets(_source);
        _probe = new QdiscProbe(_sockets);
        _probe.StartAsync().GetAwaiter().GetResult();
    }

    internal int Namespaces => _source.Current.Count;

    internal int Rows => _rows.Count;

    internal long SocketsOpened => _sockets.Settings.Counts.Opened;

    internal void Pass() => _probe.Sample(_rows);

    public void Dispose()
    {
        _probe.StopAsync().GetAwaiter().GetResult();
        _sockets.Dispose();
        _source.Dispose();
    }
}
