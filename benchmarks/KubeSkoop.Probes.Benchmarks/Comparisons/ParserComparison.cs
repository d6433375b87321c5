using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>Our parsers of snmp and netstat against a C parser that does the same job, on this machine's files.</summary>
internal static class ParserComparison
{
    internal static int Run(Arguments args)
    {
        bool quick = args.Has("--quick");
        string native = args.Text("--native");
        double worst = 0, worstAllocated = 0;
        Turns.Print($"{"file",8} {"bytes",6} {"C ns",8} {"ours ns",8} {"ours/C",7} {"by CPU",7} {"B",4}");
        foreach (string file in (string[])["snmp", "netstat"])
        {
            (double ratio, double allocated) = Compare(file, native, quick ? 5 : 61);
            worst = Math.Max(worst, ratio);
            worstAllocated = Math.Max(worstAllocated, allocated);
        }
        Turns.PrintRatio("bytes-per-parse", worstAllocated);
        Turns.PrintRatio("ours/c-parser (goal <= 1.5)", worst);
        return 0;
    }

    /// <summary>The layouts as the probes use them.</summary>
    internal static ITableLayout LayoutOf(string file) => file switch
    {
        "snmp" => new SnmpLayout(TcpRecord.Columns, UdpRecord.Columns, IpRecord.Columns, IcmpRecord.Columns),
        "netstat" => new SnmpLayout(TcpExtRecord.Columns, IpRecord.ExtendedColumns, MptcpRecord.Columns),
        _ => new Snmp6Layout(UdpRecord.Columns6, IpRecord.Columns6, IcmpRecord.Columns6),
    };

    private static (double Ratio, double Allocated) Compare(string file, string native, int rounds)
    {
        const int Passes = 10_000;
        string snapshot = Path.GetTempFileName();
        try
        {
            byte[] text = File.ReadAllBytes("/proc/net/" + file);
            File.WriteAllBytes(snapshot, text);
            using var floor = new NativeLoop(Path.Combine(native, "parsefloor"), snapshot);
            ITableLayout layout = LayoutOf(file);
            var slots = new Reading[layout.SlotCount];
            Action parse = () =>
            {
                if (!layout.TryParse(text, slots, out var fault)) throw new InvalidOperationException(fault.ToString());
            };
            for (int i = 0; i < 6; i++) // the tiers of the compiler
            {
                _ = Turns.Measure(Passes, parse);
                _ = floor.Ask($"parse {Passes}");
                Thread.Sleep(150);
            }
            var theirs = new Turns();
            var mine = new Turns();
            long allocated = 0;
            for (int round = 0; round < rounds; round++)
            {
                long[] answer = floor.Ask($"parse {Passes}");
                theirs.Add(new Turn(answer[0] / 1e3, answer[1] / 1e3));
                long before = GC.GetAllocatedBytesForCurrentThread();
                Turn turn = Turns.Measure(Passes, parse);
                allocated += GC.GetAllocatedBytesForCurrentThread() - before;
                mine.Add(turn);
            }
            double perPass = (double)allocated / rounds / Passes;
            Turns.Print($"{file,8} {text.Length,6} {theirs.Wall,8:F0} {mine.Wall,8:F0} {mine.RatioTo(theirs),7:F2} {mine.CpuRatioTo(theirs),7:F2} {perPass,4:F0}");
            return (mine.RatioTo(theirs), perPass);
        }
        finally
        {
            File.Delete(snapshot);
        }
    }
}
