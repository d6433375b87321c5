using System.Diagnostics;
using System.Globalization;
using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Ebpf.Sources;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>
/// One pass of the probes that run all day, over 1, 100 and 1,000 namespaces, against a C loop over the same files: with
/// kept descriptors and without parsing (the floor), and with open, read, close (what most exporters do). Once with all numbers
/// from files, once with the counters from the BPF source (then sockstat, dev and softnet_stat still are files).
/// </summary>
internal static class DailyComparison
{
    private static readonly string[] Files = ["snmp", "netstat", "snmp6", "sockstat", "sockstat6", "dev", "@softnet_stat"];

    internal static int Run(Arguments args)
    {
        bool quick = args.Has("--quick");
        string native = args.Text("--native");
        var results = new List<Result>();
        Turns.Print($"{"namespaces",10} {"files",6} {"kept C us",11} {"open C us",11} {"source",7} {"ours us",11} {"ours/kept",10} {"by CPU",7} {"open/ours",10} {"by CPU",7} {"B/pass",7}");
        foreach (int count in args.Numbers("--namespaces", quick ? [1, 20] : [1, 100, 1000])) results.AddRange(Compare(count, native, quick ? 5 : 41));
        Turns.PrintRatio("bytes allocated per pass (goal 0)", results.Max(static r => r.Allocated));
        foreach (string source in results.Select(static r => r.Source).Distinct())
        {
            foreach (Result result in results.Where(r => r.Source == source)) Turns.PrintRatio($"open-read-close/ours ({source}), {result.Count} namespaces (goal >= 1.7)", result.Open);
            foreach (Result result in results.Where(r => r.Source == source)) Turns.PrintRatio($"ours ({source})/kept, {result.Count} namespaces (goal <= 1.15)", result.Kept);
        }
        return 0;
    }

    private static List<Result> Compare(int count, string native, int rounds)
    {
        string pids = Path.GetTempFileName();
        try
        {
            // This process is the only one in its pid and network namespace: its own is the first, the farm makes the others.
            using var farm = new NativeLoop(Path.Combine(native, "nsfarm"), (count - 1).ToString(CultureInfo.InvariantCulture), "talk");
            var lines = new List<string> { Environment.ProcessId.ToString(CultureInfo.InvariantCulture) };
            while (farm.ReadLine() is var line && line != "ready") lines.Add(line);
            File.WriteAllLines(pids, lines);

            using var floor = new NativeLoop(Path.Combine(native, "procloop"), [pids, .. Files]);
            int files = int.Parse(floor.ReadLine().Split(' ')[1], CultureInfo.InvariantCulture);
            using var fromFiles = new DailyProbes(kernel: false);
            using var fromKernel = new DailyProbes(kernel: true);
            (string Source, DailyProbes Probes, Turns Turns)[] ours = [("files", fromFiles, new Turns()), ("bpf", fromKernel, new Turns())];
            if (fromKernel.CounterSource != "bpf")
            {
                Turns.Print($"# without BPF: {fromKernel.CounterSource}");
                ours = ours[..1];
            }
            int passes = Math.Max(1, 400 / count);
            foreach (var (_, probes, _) in ours)
            {
                probes.Pass();
                if (probes.Namespaces != count) throw new InvalidOperationException($"{probes.Namespaces} namespaces are in sight instead of {count}; start this through bench.sh.");
                var warm = Stopwatch.StartNew();
                for (int i = 0; i < 64 || warm.ElapsedMilliseconds < 1500; i++) probes.Pass();
                _ = Turns.Measure(passes, probes.Pass);
            }
            _ = floor.Ask($"kept {passes}");
            _ = floor.Ask($"open {passes}");

            var kept = new Turns();
            var open = new Turns();
            long[] allocated = new long[ours.Length];
            Action[] pass = [.. ours.Select(static o => (Action)o.Probes.Pass)];
            for (int round = 0; round < rounds; round++)
            {
                kept.Add(FromNative(floor.Ask($"kept {passes}")));
                for (int i = 0; i < ours.Length; i++)
                {
                    long before = GC.GetAllocatedBytesForCurrentThread();
                    Turn turn = Turns.Measure(passes, pass[i]);
                    allocated[i] += GC.GetAllocatedBytesForCurrentThread() - before;
                    ours[i].Turns.Add(turn);
                }
                open.Add(FromNative(floor.Ask($"open {passes}")));
            }
            var results = new List<Result>();
            for (int i = 0; i < ours.Length; i++)
            {
                var (source, _, mine) = ours[i];
                double perPass = (double)allocated[i] / rounds / passes;
                Turns.Print($"{count,10} {files,6} {kept.Wall / 1e3,11:F1} {open.Wall / 1e3,11:F1} {source,7} {mine.Wall / 1e3,11:F1} {mine.RatioTo(kept),10:F3} {mine.CpuRatioTo(kept),7:F3} {open.RatioTo(mine),10:F2} {open.CpuRatioTo(mine),7:F2} {perPass,7:F1}");
                results.Add(new Result(source, count, mine.RatioTo(kept), open.RatioTo(mine), perPass));
            }
            return results;
        }
        finally
        {
            File.Delete(pids);
        }
    }

    private sealed record Result(string Source, int Count, double Kept, double Open, double Allocated);

    private static Turn FromNative(long[] answer) => new(answer[0], answer[1]);
}

/// <summary>The probes of the daily set on sources of their own, sampled as a host does it: one round, one read a file.</summary>
internal sealed class DailyProbes : IDisposable
{
    private readonly ProcNamespaceSource _source;
    private readonly ProcNet _net;
    private readonly Probe[] _probes;
    private readonly SampleBatch<SockRecord> _sockRows = new();
    private readonly SampleBatch<TcpRecord> _tcpRows = new();
    private readonly SampleBatch<UdpRecord> _udpRows = new();
    private readonly SampleBatch<IpRecord> _ipRows = new();
    private readonly SampleBatch<TcpExtRecord> _tcpExtRows = new();
    private readonly SampleBatch<NetDevRecord> _netDevRows = new();
    private readonly SampleBatch<SoftnetRecord> _softnetRows = new();
    private readonly SockProbe _sock;
    private readonly TcpProbe _tcp;
    private readonly UdpProbe _udp;
    private readonly IpProbe _ip;
    private readonly TcpExtProbe _tcpExt;
    private readonly NetDevProbe _netDev;
    private readonly SoftnetProbe _softnet;

    internal DailyProbes(bool kernel)
    {
        var options = new ProcfsOptions();
        options.NamespaceDirectories.Clear();
        IOptions<ProcfsOptions> wrapped = Options.Create(options);
        _source = new ProcNamespaceSource(wrapped);
        _net = new ProcNet(_source, wrapped, kernel ? [new MibSource(new EbpfPrograms(_source))] : []);
        _sock = new SockProbe(_net);
        _tcp = new TcpProbe(_net);
        _udp = new UdpProbe(_net);
        _ip = new IpProbe(_net);
        _tcpExt = new TcpExtProbe(_net);
        _netDev = new NetDevProbe(_net);
        _softnet = new SoftnetProbe(_net);
        _probes = [_sock, _tcp, _udp, _ip, _tcpExt, _netDev, _softnet];
        foreach (Probe probe in _probes) probe.StartAsync().GetAwaiter().GetResult();
    }

    internal int Namespaces => _source.Current.Count;

    internal string CounterSource => _tcp.Status.Source!;

    internal void Pass()
    {
        SampleRound round = SampleRound.Next();
        _sock.Sample(_sockRows, round);
        _tcp.Sample(_tcpRows, round);
        _udp.Sample(_udpRows, round);
        _ip.Sample(_ipRows, round);
        _tcpExt.Sample(_tcpExtRows, round);
        _netDev.Sample(_netDevRows, round);
        _softnet.Sample(_softnetRows, round);
    }

    public void Dispose()
    {
        foreach (Probe probe in _probes) probe.StopAsync().GetAwaiter().GetResult();
        _net.Dispose();
    }
}
