using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>
/// The sample exporter beside Debian's prometheus-node-exporter, both serving every counter of the same kernel files of
/// one namespace, scraped in turns: CPU of the server per scrape, HTTP and all its threads included, and its memory.
/// </summary>
internal static class NodeExporterComparison
{
    internal static int Run(Arguments args)
    {
        bool quick = args.Has("--quick");
        int rounds = quick ? 3 : 50;
        const int ScrapesPerRound = 10;
        int theirPort = FreePort();
        int ourPort = FreePort();
        using var theirs = new Side("node_exporter", theirPort, args.Text("--node-exporter"),
            "--collector.disable-defaults", "--collector.netstat", "--collector.netstat.fields=.*", "--collector.sockstat", "--collector.netdev",
            "--collector.softnet", "--web.disable-exporter-metrics", "--log.level=error", Address("--web.listen-address=127.0.0.1:", theirPort));
        using var ours = new Side("ours", ourPort, "dotnet", args.Text("--exporter"), "serve",
            "--enable", "sock,tcp,udp,ip,icmp,tcpext,mptcp,netdev,softnet", "--port", ourPort.ToString(CultureInfo.InvariantCulture));
        foreach (Side side in (Side[])[theirs, ours]) side.WarmUp(quick ? 5 : 1500);

        var theirTurns = new Turns();
        var ourTurns = new Turns();
        theirs.Begin();
        ours.Begin();
        for (int round = 0; round < rounds; round++)
        {
            theirTurns.Add(theirs.Turn(ScrapesPerRound));
            ourTurns.Add(ours.Turn(ScrapesPerRound));
        }
        Turns.Print($"{"",-14} {"series",7} {"CPU ms",8} {"wall ms",8} {"RSS MB",7}   of {rounds * ScrapesPerRound} scrapes; CPU of the whole process, between scrapes too");
        double theirCpu = theirs.End(theirTurns, rounds * ScrapesPerRound);
        double ourCpu = ours.End(ourTurns, rounds * ScrapesPerRound);
        Turns.PrintRatio("rss ours/node_exporter", (double)ours.Resident / theirs.Resident);
        Turns.PrintRatio("cpu ours/node_exporter (goal <= 0.25)", ourCpu / theirCpu);
        return 0;
    }

    private static string Address(string option, int port) => option + port.ToString(CultureInfo.InvariantCulture);

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private sealed class Side(string name, int port, string program, params string[] arguments) : IDisposable
    {
        private readonly NativeLoop _process = new(program, arguments);
        private ScrapeClient? _client;
        private int _series;
        private long _cpu;

        internal long Resident { get; private set; }

        internal void WarmUp(int scrapes)
        {
            Connect();
            using var body = new MemoryStream();
            _client!.Scrape(body);
            string[] lines = System.Text.Encoding.UTF8.GetString(body.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries);
            _series = lines.Count(static l => l[0] != '#');
            for (int i = 0; i < scrapes; i++)
            {
                _client.Scrape();
                if (i % 100 == 99) Thread.Sleep(200); // the compiler's tiers
            }
        }

        internal void Begin() => _cpu = CpuClock.NanosecondsOf(_process.Id);

        internal Turn Turn(int scrapes)
        {
            long cpu = CpuClock.NanosecondsOf(_process.Id);
            double wall = 0;
            for (int i = 0; i < scrapes; i++) wall += _client!.Scrape().TotalNanoseconds;
            return new Turn(wall / scrapes, (double)(CpuClock.NanosecondsOf(_process.Id) - cpu) / scrapes);
        }

        internal double End(Turns turns, int scrapes)
        {
            double cpu = (double)(CpuClock.NanosecondsOf(_process.Id) - _cpu) / scrapes;
            string status = File.ReadLines(string.Create(CultureInfo.InvariantCulture, $"/proc/{_process.Id}/status")).First(static l => l.StartsWith("VmRSS:", StringComparison.Ordinal));
            Resident = long.Parse(status.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024;
            Turns.Print($"{name,-14} {_series,7} {cpu / 1e6,8:F3} {turns.Wall / 1e6,8:F3} {Resident / 1e6,7:F1}");
            return cpu;
        }

        public void Dispose()
        {
            _client?.Dispose();
            _process.Dispose();
        }

        private void Connect()
        {
            for (int i = 0; ; i++)
            {
                try
                {
                    _client = new ScrapeClient(port);
                    return;
                }
                catch (SocketException) when (i < 100)
                {
                    Thread.Sleep(100);
                }
            }
        }
    }
}
