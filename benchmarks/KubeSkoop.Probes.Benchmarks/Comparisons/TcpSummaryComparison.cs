using System.Diagnostics;
using System.Globalization;
using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Ebpf.Sources;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>
/// The probe tcpsummary over 100,000 sockets in one namespace, against a C loop that asks the same of the kernel and only
/// steps through the messages (the floor), and against <c>ss -tan</c>; then beside 1,000 idle namespaces. By sock_diag, and from
/// the BPF source.
/// </summary>
internal static class TcpSummaryComparison
{
    internal static int Run(Arguments args)
    {
        bool quick = args.Has("--quick");
        string native = args.Text("--native");
        int sockets = args.Number("--sockets", quick ? 2000 : 100_000);
        int idle = args.Number("--namespaces", quick ? 20 : 1000);
        int rounds = quick ? 3 : args.Number("--rounds", 31);

        using var farm = new NativeLoop(Path.Combine(native, "sockfarm"), sockets.ToString(CultureInfo.InvariantCulture));
        string pid = farm.ReadLine();
        if (farm.ReadLine() != "ready") throw new InvalidOperationException("sockfarm did not get ready.");
        using var floor = new NativeLoop(Path.Combine(native, "diagloop"), pid);

        double allocated = Summarise(floor, sockets, rounds);
        Turns.Print($"");
        using var namespaces = new NativeLoop(Path.Combine(native, "nsfarm"), idle.ToString(CultureInfo.InvariantCulture), "listen");
        string? one = null;
        while (namespaces.ReadLine() is var line && line != "ready") one = line;
        allocated = Math.Max(allocated, Scrape(floor, native, one!, sockets, idle, rounds));
        Turns.PrintRatio("bytes allocated per sample (goal 0)", allocated);
        return 0;
    }

    private static double Summarise(NativeLoop floor, int sockets, int rounds)
    {
        using var ours = new Side(info: false);
        using var detailed = new Side(info: true);
        using var kernel = new Side(info: false, kernel: true);
        bool hasKernel = kernel.Source == "bpf";
        if (!hasKernel) Turns.Print($"# without BPF: {kernel.Source}");
        // The compiler's tiers take their time, and some allocate.
        for (int i = 0; i < 40; i++)
        {
            ours.Pass(everything: true);
            detailed.Pass(everything: true);
            kernel.Pass(everything: true);
        }
        _ = floor.Ask("both 3");
        foreach (Side side in (Side[])[ours, detailed, kernel])
            if (side.Established != sockets) throw new InvalidOperationException($"{side.Established} connections are counted instead of {sockets}.");
        var both = new Turns();
        var each = new Turns();
        var mine = new Turns();
        var info = new Turns();
        var bpf = new Turns();
        var ss = new Turns();
        long allocated = 0;
        for (int round = 0; round < rounds; round++)
        {
            both.Add(FromNative(floor.Ask("both 1")));
            mine.Add(Turns.Measure(1, () => ours.Pass(everything: true)));
            allocated += ours.LastAllocated;
            ss.Add(FromNative(floor.Ask("ss 1")));
            bpf.Add(Turns.Measure(1, () => kernel.Pass(everything: true)));
            allocated += kernel.LastAllocated;
            info.Add(Turns.Measure(1, () => detailed.Pass(everything: true)));
            allocated += detailed.LastAllocated;
            each.Add(FromNative(floor.Ask("each 1")));
        }
        Turns.Print($"{sockets} sockets in one namespace, median of {rounds} turns{"",12} {"wall ms",9} {"CPU ms",9}");
        foreach (var (name, turns) in new[]
        {
            ("C: receive and step through, one dump of both families", both), ("C: the same, a dump for each family", each),
            ("tcpsummary", mine), ("tcpsummary, BPF", bpf), ("tcpsummary, Info", info), ("ss -tan > /dev/null", ss),
        })
            Turns.Print($"{name,-60} {turns.Wall / 1e6,9:F2} {turns.Cpu / 1e6,9:F2}");
        Turns.PrintRatio("tcpsummary by CPU/C loop", mine.CpuRatioTo(both));
        Turns.PrintRatio("tcpsummary/C loop with a dump for each family", mine.RatioTo(each));
        Turns.PrintRatio("ss -tan by CPU/tcpsummary", ss.CpuRatioTo(mine));
        Turns.PrintRatio("ss -tan/tcpsummary (goal >= 3)", ss.RatioTo(mine));
        Turns.PrintRatio("tcpsummary/C loop (goal <= 1.10)", mine.RatioTo(both));
        if (hasKernel)
        {
            Turns.PrintRatio("tcpsummary (bpf)/C loop", bpf.RatioTo(both));
            Turns.PrintRatio("ss -tan/tcpsummary (bpf) (goal >= 3)", ss.RatioTo(bpf));
        }
        return (double)allocated / rounds / 3;
    }

    private static double Scrape(NativeLoop busy, string native, string idlePid, int sockets, int idle, int rounds)
    {
        using var ours = new Side(info: false);
        using var kernel = new Side(info: false, kernel: true);
        for (int i = 0; i < 60; i++) kernel.Pass(everything: false);
        for (int i = 0; i < 12; i++) ours.Pass(everything: true);
        if (ours.Namespaces != idle + 2) throw new InvalidOperationException($"{ours.Namespaces} namespaces are in sight instead of {idle + 2}.");
        for (int i = 0; i < 60; i++) ours.Pass(everything: false);
        using var inside = new NativeLoop(Path.Combine(native, "diagloop"), idlePid);
        var quiet = new Turns();
        var moved = new Turns();
        var due = new Turns();
        var dump = new Turns();
        var bpf = new Turns();
        long allocated = 0;
        int listed = 0;
        for (int round = 0; round < rounds; round++)
        {
            quiet.Add(Turns.Measure(1, () => ours.Pass(everything: false)));
            allocated += ours.LastAllocated;
            _ = busy.Ask("poke 1");
            long before = ours.Listings;
            moved.Add(Turns.Measure(1, () => ours.Pass(everything: false)));
            allocated += ours.LastAllocated;
            if (ours.Listings == before + 1) listed++;
            due.Add(Turns.Measure(1, () => ours.Pass(everything: true)));
            allocated += ours.LastAllocated;
            bpf.Add(Turns.Measure(1, () => kernel.Pass(everything: true)));
            allocated += kernel.LastAllocated;
            dump.Add(FromNative(inside.Ask("both 1")));
        }
        if (listed != rounds) throw new InvalidOperationException($"Of {rounds} scrapes after something had moved, {listed} listed the connections.");
        Turns.Print($"{idle} idle namespaces beside {sockets} sockets, median of {rounds} turns {"wall ms",9} {"CPU ms",9}");
        foreach (var (name, turns) in new[]
        {
            ("a scrape, nothing has happened since the last", quiet), ("a scrape, something has happened among the sockets", moved),
            ("a scrape, all numbers are at their greatest age", due), ("a scrape, BPF, whatever has happened", bpf), ("C: a dump of one idle namespace", dump),
        })
            Turns.Print($"{name,-60} {turns.Wall / 1e6,9:F2} {turns.Cpu / 1e6,9:F2}");
        Turns.Print($"a dump of each namespace would take {dump.Wall * (idle + 1) / 1e6:F0} ms");
        Turns.PrintRatio("ms per scrape, all numbers at their greatest age", due.Wall / 1e6);
        Turns.PrintRatio("ms per scrape, nothing happened", quiet.Wall / 1e6);
        Turns.PrintRatio("ms per scrape, something happened (goal < 100)", moved.Wall / 1e6);
        if (kernel.Source == "bpf") Turns.PrintRatio("ms per scrape (bpf), whatever happened (goal < 100)", bpf.Wall / 1e6);
        return (double)allocated / rounds / 4;
    }

    private static Turn FromNative(long[] answer) => new(answer[0], answer[1]);

    /// <summary>The probe on sources of its own, over all namespaces in sight.</summary>
    private sealed class Side : IDisposable
    {
        private readonly ShiftedClock _clock = new();
        private readonly ProcNamespaceSource _source;
        private readonly ProcNet _net;
        private readonly NetlinkSockets _sockets;
        private readonly TcpSummaryProbe _probe;
        private readonly SampleBatch<TcpSummaryRecord> _rows = new();

        internal Side(bool info, bool kernel = false)
        {
            // No look for new namespaces in the meantime: it allocates, and a collection in the middle of a sample would be counted as the sample's.
            var options = new ProcfsOptions { RefreshInterval = TimeSpan.FromHours(1) };
            options.NamespaceDirectories.Clear();
            IOptions<ProcfsOptions> wrapped = Options.Create(options);
            _source = new ProcNamespaceSource(wrapped);
            _net = new ProcNet(_source, wrapped);
            _sockets = new NetlinkSockets(_source);
            EbpfOptions room = new() { MaxNamespaces = 4096 };
            _probe = new TcpSummaryProbe(_sockets, _net, Options.Create(new TcpSummaryOptions { Info = info }), _clock,
                kernel ? [new TcpSocketSource(new EbpfPrograms(_source, Options.Create(room)))] : []);
            _probe.StartAsync().GetAwaiter().GetResult();
        }

        internal string Source => _probe.Status.Source!;

        internal int Namespaces => _source.Current.Count;

        internal long LastAllocated { get; private set; }

        internal long Established
        {
            get
            {
                long sum = 0;
                foreach (ref readonly SampleRow<TcpSummaryRecord> row in _rows) sum += (long)row.Value.Established.GetValueOrDefault();
                return sum;
            }
        }

        internal long Listings => (long)_rows.Rows[^1].Value.Listings.GetValueOrDefault();

        /// <summary>One sample.</summary>
        /// <param name="everything">Whether everything that was known is too old by now.</param>
        internal void Pass(bool everything)
        {
            if (everything) _clock.Advance(TimeSpan.FromMinutes(1));
            long before = GC.GetAllocatedBytesForCurrentThread();
            _probe.Sample(_rows);
            LastAllocated = GC.GetAllocatedBytesForCurrentThread() - before;
        }

        public void Dispose()
        {
            _probe.StopAsync().GetAwaiter().GetResult();
            _sockets.Dispose();
            _net.Dispose();
        }
    }

    /// <summary>The real clock, set forward now and then.</summary>
    private sealed class ShiftedClock : TimeProvider
    {
        private long _shift;

        public override long TimestampFrequency => Stopwatch.Frequency;

        public override long GetTimestamp() => Stopwatch.GetTimestamp() + _shift;

        internal void Advance(TimeSpan time) => _shift += (long)(time.TotalSeconds * Stopwatch.Frequency);
    }
}
