using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using KubeSkoop.Probes.Benchmarks.Comparisons;

// A comparison with a peer in one run (bench.sh prepares what it needs), or else the parts, by BenchmarkDotNet.
switch (args)
{
    case ["daily", .. var rest]:
        return DailyComparison.Run(new Arguments(rest));
    case ["cluster", .. var rest]:
        return ClusterComparison.Run(new Arguments(rest));
    case ["conntrack", .. var rest]:
        return ConntrackComparison.Run(new Arguments(rest));
    case ["ring", .. var rest]:
        return RingComparison.Run(new Arguments(rest));
    case ["overhead", .. var rest]:
        return OverheadComparison.Run(new Arguments(rest));
    case ["qdisc", .. var rest]:
        return QdiscComparison.Run(new Arguments(rest));
    case ["parsers", .. var rest]:
        return ParserComparison.Run(new Arguments(rest));
    case ["scrape", .. var rest]:
        return ScrapeComparison.Run(new Arguments(rest));
    case ["node-exporter", .. var rest]:
        return NodeExporterComparison.Run(new Arguments(rest));
    case ["tcpsummary", .. var rest]:
        return TcpSummaryComparison.Run(new Arguments(rest));
    case ["scrape-server", .. var rest]:
        return ScrapeServer.Run(new Arguments(rest));
    default:
        bool dry = args.Contains("--dry");
        // In this process: no build per benchmark, so that all of them run within a minute or two.
        Job job = (dry ? Job.Dry : Job.ShortRun).WithToolchain(InProcessEmitToolchain.Instance);
        ManualConfig config = ManualConfig.Create(DefaultConfig.Instance)
            .AddJob(job)
            .AddDiagnoser(MemoryDiagnoser.Default)
            .HideColumns(Column.Job, Column.Toolchain, Column.IterationCount, Column.LaunchCount, Column.WarmupCount, Column.RunStrategy, Column.UnrollFactor)
            .WithOptions(ConfigOptions.DisableOptimizationsValidator);
        string[] chosen = [.. args.Where(static a => a != "--dry")];
        var summaries = BenchmarkSwitcher.FromAssembly(typeof(Arguments).Assembly).Run(chosen.Length == 0 ? ["--filter", "*"] : chosen, config);
        return summaries.Any(static s => s.HasCriticalValidationErrors || s.Reports.Any(static r => !r.Success)) ? 1 : 0;
}
