using System.Globalization;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>
/// The same series served by the sample exporter, by prometheus-net and by OpenTelemetry's Prometheus exporter, each in a
/// process of its own, scraped in turns over loopback: time to the last byte, CPU and allocation of the server.
/// </summary>
internal static class ScrapeComparison
{
    private static readonly string[] Sides = ["ours", "prometheus-net", "opentelemetry"];

    internal static int Run(Arguments args)
    {
        bool quick = args.Has("--quick");
        Turns.Print($"{"series",8} {"side",-16} {"MB",6} {"ms",8} {"CPU ms",8} {"KB allocated",13} {"RSS MB",7}");
        Result[] small = Compare(quick ? 100 : 10_000, quick ? 3 : 31);
        Result[] large = Compare(quick ? 1_000 : 100_000, quick ? 3 : 31);
        Turns.Print($"ours allocates {small[0].Allocated / 1e3:F1} KB a scrape of few series, {large[0].Allocated / 1e3:F1} KB of ten times as many");
        Turns.PrintRatio("opentelemetry/ours cpu", large[2].Cpu / large[0].Cpu);
        Turns.PrintRatio("prometheus-net/ours cpu", large[1].Cpu / large[0].Cpu);
        Turns.PrintRatio("opentelemetry/ours (goal >= 6)", large[2].Turns.RatioTo(large[0].Turns));
        Turns.PrintRatio("prometheus-net/ours (goal >= 4)", large[1].Turns.RatioTo(large[0].Turns));
        return 0;
    }

    private static Result[] Compare(int series, int rounds)
    {
        int metrics = Math.Min(ScrapeRecord.Most, series / 10);
        int pods = series / metrics;
        var servers = new List<Server>();
        try
        {
            foreach (string side in Sides) servers.Add(new Server(side, metrics, pods));
            foreach (Server server in servers) server.Check(series);
            for (int i = 0; i < (rounds > 5 ? 60 : 2); i++)
                foreach (Server server in servers) server.Client.Scrape();

            foreach (Server server in servers) server.Begin();
            for (int round = 0; round < rounds; round++)
                foreach (Server server in servers) server.Turn();
            return [.. servers.Select(server => server.End(series, rounds))];
        }
        finally
        {
            foreach (Server server in servers) server.Dispose();
        }
    }

    private sealed record Result(Turns Turns, double Cpu, double Allocated);

    private sealed class Server : IDisposable
    {
        private readonly NativeLoop _process;
        private readonly string _side;
        private readonly Turns _turns = new();
        private long _length;
        private long _cpu;
        private long _allocated;

        internal Server(string side, int metrics, int pods)
        {
            _side = side;
            _process = new NativeLoop(Environment.ProcessPath!, [typeof(ScrapeComparison).Assembly.Location, "scrape-server", "--side", side,
                "--metrics", metrics.ToString(CultureInfo.InvariantCulture), "--pods", pods.ToString(CultureInfo.InvariantCulture)]);
            Client = new ScrapeClient(int.Parse(_process.ReadLine(), CultureInfo.InvariantCulture));
        }

        internal ScrapeClient Client { get; }

        /// <summary>Every side must serve all series, or the comparison says nothing.</summary>
        internal void Check(int series)
        {
            using var body = new MemoryStream();
            Client.Scrape(body);
            _length = body.Length;
            int lines = 0;
            ReadOnlySpan<byte> rest = body.GetBuffer().AsSpan(0, (int)body.Length);
            while (!rest.IsEmpty)
            {
                if (rest.StartsWith("kubeskoop_bench_counter_"u8)) lines++;
                int end = rest.IndexOf((byte)'\n');
                if (end < 0) break;
                rest = rest[(end + 1)..];
            }
            if (lines != series) throw new InvalidDataException($"{_side} serves {lines} series instead of {series}.");
        }

        internal void Begin() => (_cpu, _allocated) = Look();

        internal void Turn() => _turns.Add(new Turn(Client.Scrape().TotalNanoseconds, 0));

        internal Result End(int series, int rounds)
        {
            (long cpu, long allocated) = Look();
            var result = new Result(_turns, (double)(cpu - _cpu) / rounds, (double)(allocated - _allocated) / rounds);
            Turns.Print($"{series,8} {_side,-16} {_length / 1e6,6:F1} {_turns.Wall / 1e6,8:F2} {result.Cpu / 1e6,8:F2} {result.Allocated / 1e3,13:F1} {_process.Ask("look")[2] / 1e6,7:F0}");
            return result;
        }

        public void Dispose()
        {
            Client.Dispose();
            _process.Dispose();
        }

        private (long Cpu, long Allocated) Look() => _process.Ask("look") is [var cpu, var allocated, ..] ? (cpu, allocated) : default;
    }
}
