using System.Globalization;
using System.Net;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>softnet: rows of the node's CPUs, between what the file says before and after.</summary>
public sealed class SoftnetLiveTests
{
    [LiveFact(Needs.NetNs)]
    public async Task The_rows_are_the_nodes_and_told_per_cpu()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("softnet");
        SampleRow<SoftnetRecord>[] before = probes.All<SoftnetRecord>("softnet");
        Assert.All(before, static r => Assert.Null(r.Namespace)); // once for the node, however many namespaces there are
        await ns.SendUdpAsync(1000, new IPEndPoint(IPAddress.Loopback, 9));
        SampleRow<SoftnetRecord>[] after = probes.All<SoftnetRecord>("softnet");
        int online = (await Command.OutputAsync("nproc", "--all")).Trim() is var all ? int.Parse(all, CultureInfo.InvariantCulture) : 0;
        Assert.InRange(after.Length, 1, online);
        Assert.Equal(after.Length, after.Select(static r => r.Subject.Attributes[0].Value).Distinct().Count());
        Assert.InRange(after.Sum(static r => (long)r.Value.Processed.Value) - before.Sum(static r => (long)r.Value.Processed.Value), 2000, long.MaxValue);
        Assert.All(after, static r => Assert.True(r.Value.TimeSqueezed.HasValue));
    }

    [LiveFact(Needs.NetNs)]
    public async Task Each_column_lies_between_the_file_before_and_after()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("softnet");
        for (int round = 0; round < 3; round++)
        {
            await ns.SendUdpAsync(100, new IPEndPoint(IPAddress.Loopback, 9));
            IReadOnlyDictionary<string, uint[]> before = Table();
            SampleRow<SoftnetRecord>[] rows = probes.All<SoftnetRecord>("softnet");
            IReadOnlyDictionary<string, uint[]> after = Table();
            Assert.Equal(before.Keys.Order(StringComparer.Ordinal), rows.Select(static r => r.Subject.Attributes[0].Value).Order(StringComparer.Ordinal));
            foreach (SampleRow<SoftnetRecord> row in rows)
            {
                uint[] low = before[row.Subject.Attributes[0].Value], high = after[row.Subject.Attributes[0].Value];
                Reading[] counters = [row.Value.Processed, row.Value.Dropped, row.Value.TimeSqueezed];
                for (int i = 0; i < counters.Length; i++)
                {
                    // The columns wrap at 32 bits; the counters go on.
                    uint ours = unchecked((uint)counters[i].Value);
                    Assert.True(unchecked(ours - low[i]) <= unchecked(high[i] - low[i]), $"column {i + 1} of CPU {row.Subject.Attributes[0].Value}: {ours} is not between {low[i]} and {high[i]}");
                }
            }
        }

        // Read by position, as the kernel has it since 5.10: 1 processed, 2 dropped, 3 time_squeeze, 13 the CPU; before, lines are CPUs.
        static IReadOnlyDictionary<string, uint[]> Table() => File.ReadAllLines("/proc/net/softnet_stat")
            .Select(static l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(static w => uint.Parse(w, NumberStyles.HexNumber, CultureInfo.InvariantCulture)).ToArray())
            .Select(static (w, line) => (Cpu: w.Length > 12 ? w[12] : (uint)line, w))
            .ToDictionary(static r => r.Cpu.ToString(CultureInfo.InvariantCulture), static r => r.w);
    }
}
