using System.Globalization;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>
/// Counting the tracked connections of one namespace by protocol, state and flags, against a C loop that asks for the same dump and only steps through it (the floor),
/// and <c>conntrack -L &gt; /dev/null</c>; and one sample of the counters.
/// </summary>
internal static class ConntrackComparison
{
    internal static int Run(Arguments args)
    {
        bool quick = args.Has("--quick");
        int entries = args.Number("--entries", quick ? 2000 : 250_000);
        int rounds = quick ? 3 : args.Number("--rounds", 15);
        using var floor = new NativeLoop(Path.Combine(args.Text("--native"), "ctloop"), entries.ToString(CultureInfo.InvariantCulture));
        _ = floor.ReadLine();
        if (floor.ReadLine() != "ready") throw new InvalidOperationException("ctloop did not get ready.");

        using var ours = new Side();
        Action count = ours.Count, one = ours.Sample;
        // The compiler's tiers take their time, and some allocate.
        for (int i = 0; i < 12; i++) ours.Count();
        for (int i = 0; i < 300; i++) ours.Sample();
        long seen = floor.Ask("dump 2")[2];
        if (ours.Counted != entries || seen != entries) throw new InvalidOperationException($"{ours.Counted} entries are counted and the C loop sees {seen} instead of {entries}.");

        var loop = new Turns();
        var mine = new Turns();
        var list = new Turns();
        var sample = new Turns();
        long allocated = 0;
        for (int round = 0; round < rounds; round++)
        {
            loop.Add(FromNative(floor.Ask("dump 1")));
            long before = GC.GetAllocatedBytesForCurrentThread();
            mine.Add(Turns.Measure(1, count));
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            list.Add(FromNative(floor.Ask("list 1")));
            sample.Add(Turns.Measure(100, one));
        }
        Turns.Print($"{entries} entries in one namespace, median of {rounds} turns{"",12} {"wall ms",9} {"CPU ms",9}");
        foreach (var (name, turns) in new[]
        {
            ("C: receive and step through", loop), ("conntrack probe: counted by protocol, state and flags", mine), ("conntrack -L > /dev/null", list),
            ("a sample of the counters (all namespaces in sight)", sample),
        })
            Turns.Print($"{name,-60} {turns.Wall / 1e6,9:F3} {turns.Cpu / 1e6,9:F3}");
        Turns.PrintRatio("bytes allocated per dump (goal 0)", (double)allocated / rounds);
        Turns.PrintRatio("conntrack by CPU/C loop", mine.CpuRatioTo(loop));
        Turns.PrintRatio("conntrack -L/conntrack (goal >= 2)", list.RatioTo(mine));
        Turns.PrintRatio("conntrack/C loop (goal <= 1.10)", mine.RatioTo(loop));
        return 0;
    }

    private static Turn FromNative(long[] answer) => new(answer[0], answer[1]);

    /// <summary>What the probe counts with, and the probe, on sources of their own.</summary>
    private sealed class Side : IDisposable
    {
        private readonly ProcNamespaceSource _source;
        private readonly NetlinkSockets _sockets;
        private readonly ConntrackProbe _probe;
        private readonly ConntrackCounter _counter;
        private readonly List<(ConntrackNamespace State, Reading Entries)> _candidates = [];
        private readonly SampleBatch<ConntrackRecord> _rows = new();
        private readonly Lock _gate = new();

        internal Side()
        {
            // No look for new namespaces in the meantime: it allocates.
            var options = new ProcfsOptions { RefreshInterval = TimeSpan.FromHours(1) };
            options.NamespaceDirectories.Clear();
            _source = new ProcNamespaceSource(Options.Create(options));
            _sockets = new NetlinkSockets(_source);
            _probe = new ConntrackProbe(_sockets);
            _probe.StartAsync().GetAwaiter().GetResult();
            _counter = new ConntrackCounter(_source, _sockets.Settings with { TimeLimit = TimeSpan.FromSeconds(30) }, new ConntrackOptions { EntriesTimeBudget = TimeSpan.FromMinutes(1) }, TimeProvider.System);
            _probe.Sample(_rows);
            foreach (NetworkNamespace ns in _source.Current)
            {
                Reading entries = default;
                foreach (ref readonly SampleRow<ConntrackRecord> row in _rows)
                    if (row.Namespace == ns) entries = row.Value.Entries;
                _candidates.Add((new ConntrackNamespace(ns), entries));
            }
        }

        internal long Counted
        {
            get
            {
                long sum = 0;
                foreach (var (state, _) in _candidates)
                {
                    var rows = new SampleBatch<ConntrackRecord>();
                    state.Flows?.Write(rows);
                    foreach (ref readonly SampleRow<ConntrackRecord> row in rows) sum += (long)row.Value.Flows.GetValueOrDefault();
                }
                return sum;
            }
        }

        internal void Count() => _counter.Count(_source.Current, _candidates, _gate);

        internal void Sample() => _probe.Sample(_rows);

        public void Dispose()
        {
            _counter.Dispose();
            _probe.StopAsync().GetAwaiter().GetResult();
            _sockets.Dispose();
            _source.Dispose();
        }
    }
}
