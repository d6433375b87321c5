using System.Diagnostics;
using System.Globalization;
using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>
/// What a BPF probe takes away from TCP over loopback: the rate of request and response, and of connect, request, response and close, without it, with it, and with empty
/// programs on the same hooks; in turns. Then how long its programs run, and how much longer than empty ones.
/// </summary>
internal static class OverheadComparison
{
    private static readonly (string Probe, double Goal, string[] Tracepoints, Func<EbpfPrograms, Probe> Make)[] Probes =
    [
        ("tcpreset", 1, ["tcp_send_reset", "tcp_receive_reset"], static p => new TcpResetProbe(p)),
        ("tcpretrans", 1, ["tcp_retransmit_skb", "tcp_retransmit_synack"], static p => new TcpRetransProbe(p)),
        ("packetloss", 1, ["kfree_skb"], static p => new PacketLossProbe(p)),
        ("socketlatency", 3, ["sk_data_ready", "sock_recv_length", "sock_send_length", "net_dev_queue", "tcp_destroy_sock", "inet_sock_set_state"], static p => new SocketLatencyProbe(p)),
        ("netiftxlatency", 3, ["net_dev_queue", "qdisc_enqueue", "qdisc_dequeue", "net_dev_start_xmit", "net_dev_xmit"], static p => new NetifTxLatencyProbe(p)),
        ("kernellatency", 3, ["netif_receive_skb", "tcp_probe", "sk_data_ready", "net_dev_queue", "kfree_skb", "consume_skb"], static p => new KernelLatencyProbe(p, Options.Create(new KernelLatencyOptions { Coarse = true }))),
        ("net_softirq", 1, ["softirq_raise", "softirq_entry", "softirq_exit"], static p => new NetSoftirqProbe(p)),
        ("flow", 3, ["netif_receive_skb", "net_dev_queue"], static p => new FlowProbe(p)), // as often as its own, which are no tracepoints
        ("biolatency", 1, ["block_io_start", "block_rq_issue", "block_rq_complete"], static p => new BioLatencyProbe(p)),
    ];

    internal static int Run(Arguments args)
    {
        bool quick = args.Has("--quick");
        int rounds = args.Number("--rounds", quick ? 2 : 31);
        int milliseconds = args.Number("--milliseconds", quick ? 20 : 100);
        string only = args.Text("--probe", "");
        // In this run's own namespace, see bench.sh. Connections in TIME_WAIT would be more from round to round.
        List<string[]> commands = [["ip", "link", "set", "lo", "up"], ["sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=1000"]];
        if (args.Text("--qdisc", "") is { Length: > 0 } qdisc) commands.Add(["tc", "qdisc", "add", "dev", "lo", "root", qdisc]);
        foreach (string[] command in commands)
        {
            using Process process = Process.Start(command[0], command[1..]);
            process.WaitForExit();
            if (process.ExitCode != 0) throw new InvalidOperationException($"'{string.Join(' ', command)}' ended with {process.ExitCode}.");
        }
        using var work = new NativeLoop(Path.Combine(args.Text("--native"), "tcpwork"));
        _ = work.ReadLine();
        using var source = new ProcNamespaceSource();
        var options = new EbpfOptions { MeasureOverhead = !args.Has("--unmeasured") };
        var programs = new EbpfPrograms(source, Options.Create(options));
        var lost = new List<(string Probe, string Work, double Goal, double Points, double Give, double ByRunTime)>();
        var starts = new List<(string Probe, double Milliseconds)>();
        Turns.Print($"{"probe",16} {"work",5} {"without",9} {"empty",9} {"with",9} {"empty/without",14} {"with/empty",11} {"points",7} {"+-",5}");
        foreach (var (name, goal, tracepoints, make) in Probes)
        {
            if (only.Length > 0 && only != name) continue;
            Probe probe = make(programs);
            var took = new List<double>();
            foreach (string kind in (string[])["rr", "crr"])
            {
                _ = work.Ask($"{kind} 200");
                (List<double> Without, List<double> Empty, List<double> With) rates = ([], [], []);
                for (int round = 0; round < rounds; round++)
                {
                    // Each comes first as often as the others.
                    for (int turn = 0; turn < 3; turn++)
                    {
                        switch ((round + turn) % 3)
                        {
                            case 0:
                                rates.Without.Add(RateOf(work, kind, milliseconds));
                                break;
                            case 1:
                                using (BpfObject empty = BenchObject.Load("empty", [.. tracepoints.Select(static t => $"at_{t}")]))
                                {
                                    BenchObject.Attach(empty);
                                    rates.Empty.Add(RateOf(work, kind, milliseconds));
                                }
                                break;
                            default:
                                long began = Stopwatch.GetTimestamp();
                                probe.StartAsync().GetAwaiter().GetResult();
                                took.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
                                rates.With.Add(RateOf(work, kind, milliseconds));
                                probe.StopAsync().GetAwaiter().GetResult();
                                break;
                        }
                    }
                }
                double emptyToWithout = Turns.Median(rates.Empty.Zip(rates.Without, static (a, b) => a / b));
                List<double> eachRound = [.. rates.With.Zip(rates.Empty, static (a, b) => a / b)];
                double withToEmpty = Turns.Median(eachRound);
                double points = (1 - withToEmpty) * 100, give = Turns.Uncertainty(eachRound) * 100;
                Turns.Print($"{name,16} {kind,5} {Turns.Median(rates.Without),9:F0} {Turns.Median(rates.Empty),9:F0} {Turns.Median(rates.With),9:F0} {emptyToWithout,14:F3} {withToEmpty,11:F3} {points,7:F1} {give,5:F1}");
                double above = PrintPrograms(work, probe, tracepoints, options, kind, quick ? 1 : 9, milliseconds);
                lost.Add((name, kind, goal, points, give, above * Turns.Median(rates.Without) / 1e7));
            }
            starts.Add((name, Turns.Median(took)));
            probe.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
        foreach ((string name, double time) in starts) Turns.Print($"start to attached, {name}: {time:F0} ms (goal < 300)");
        foreach (var (name, kind, _, points, give, _) in lost) Turns.Print($"points below empty programs by rate, {name}, {kind}: {points:F1} +- {give:F1}");
        foreach (var (name, kind, goal, _, _, points) in lost)
            Turns.PrintRatio($"points below empty programs by run time, {name}, {kind} (goal <= {goal.ToString(CultureInfo.InvariantCulture)})", points);
        return 0;
    }

    // The rates have the noise of the whole machine; the kernel's own clock around each run has not, and what it costs itself is in both.
    // Nanoseconds an operation above empty programs.
    private static double PrintPrograms(NativeLoop work, Probe probe, string[] tracepoints, EbpfOptions options, string kind, int turns, int milliseconds)
    {
        using var measured = new Microsoft.Win32.SafeHandles.SafeFileHandle(Ebpf.Interop.Libbpf.EnableStats(Ebpf.Interop.Libbpf.StatsRunTime), ownsHandle: true);
        var above = new List<double>();
        var programs = new SortedDictionary<string, (List<double> Runs, List<double> Each)>(StringComparer.Ordinal);
        for (int turn = 0; turn < turns; turn++)
        {
            double empties;
            using (BpfObject empty = BenchObject.Load("empty", [.. tracepoints.Select(static t => $"at_{t}")]))
            {
                BenchObject.Attach(empty);
                long operations = work.Ask($"{kind} {milliseconds}")[0];
                empties = empty.CostOfEach().Sum(static p => (double)p.Nanoseconds) / operations;
            }
            probe.StartAsync().GetAwaiter().GetResult();
            long done = work.Ask($"{kind} {milliseconds}")[0];
            double all = 0;
            foreach (var (program, runs, nanoseconds) in ((IHasPrograms)probe).CostOfEach())
            {
                all += (double)nanoseconds / done;
                if (runs == 0) continue;
                if (!programs.TryGetValue(program, out var seen)) programs[program] = seen = ([], []);
                seen.Runs.Add((double)runs / done);
                seen.Each.Add((double)nanoseconds / runs);
            }
            probe.StopAsync().GetAwaiter().GetResult();
            above.Add(all - empties);
        }
        foreach (var (program, seen) in programs) Turns.Print($"{"",16} {kind,5} {program,-22} {Turns.Median(seen.Runs),6:F2} runs each, {Turns.Median(seen.Each),6:F0} ns a run");
        return Turns.Median(above);
    }

    // Per second.
    private static double RateOf(NativeLoop work, string kind, int milliseconds)
    {
        Thread.Sleep(50); // what a start or stop leaves behind for later is done by then
        long[] answer = work.Ask($"{kind} {milliseconds}");
        return answer[0] * 1e9 / answer[1];
    }
}
