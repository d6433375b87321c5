using System.Text;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.Procfs.Tests.Probes;

/// <summary>Files of other kernels and broken ones, through the whole probe: what is understood stays, what is not is counted with its file's name.</summary>
public sealed class OddFilesTests
{
    public static TheoryData<string, string, string, string> BrokenIPv6
    {
        get
        {
            var all = new TheoryData<string, string, string, string>();
            foreach (string how in (string[])["cut", "garbage", "binary", "letters for numbers", "number too large"])
            {
                all.Add("snmp6", "udp", how, "kubeskoop.udp.out_datagrams");
                all.Add("snmp6", "ip", how, "kubeskoop.ip.in_receives");
                all.Add("snmp6", "icmp", how, "kubeskoop.icmp.in_messages");
                all.Add("sockstat6", "sock", how, "kubeskoop.sock.tcp6_in_use");
            }
            return all;
        }
    }

    [Theory]
    [MemberData(nameof(BrokenIPv6))]
    public async Task A_broken_file_of_one_IP_version_leaves_the_other(string file, string probe, string how, string metric)
    {
        using var proc = new FakeProc();
        foreach (int pid in (int[])[1, 20, 30]) Add(proc, pid);
        proc.Write(FakeProc.Of(20, "net/" + file), Break(Fixture.Bytes($"6.18-loaded/proc/net/{file}"), how));
        await using var probes = new Probes(proc);
        RecordingVisitor seen = await probes.CollectAsync(probe);
        string six = file == "snmp6" ? "ipv6" : "";
        Assert.All((uint[])[101, 130], inode => Assert.Contains(seen.Rows, r => Is(r, inode, six) && r.Values.ContainsKey(metric)));
        Assert.DoesNotContain(seen.Rows, r => Is(r, 120, six) && r.Values.ContainsKey(metric));
        Assert.Contains(seen.Rows, r => Is(r, 120, six.Length > 0 ? "ipv4" : "") && r.Values.Count > 2);
        ProbeStatistics statistics = probes.Manager.Find(probe)!.Statistics;
        Assert.Equal((0, 1), (statistics.Errors, probes.Malformed));
        Assert.Contains("/20/net/" + file, statistics.LastProblem, StringComparison.Ordinal);

        proc.Write(FakeProc.Of(20, "net/" + file), Fixture.Bytes($"6.18-loaded/proc/net/{file}")); // and is well again
        seen = await probes.CollectAsync(probe);
        Assert.Contains(seen.Rows, r => Is(r, 120, six) && r.Values.ContainsKey(metric));
        Assert.Equal(0, probes.Malformed);
    }

    [Theory]
    [InlineData("tcp", "snmp", "kubeskoop.tcp.retransmitted_segments", "RetransSegs")]
    [InlineData("udp", "snmp", "kubeskoop.udp.memory_errors", "MemErrors")]
    [InlineData("ip", "netstat", "kubeskoop.ip.in_no_routes", "InNoRoutes")]
    [InlineData("tcpext", "netstat", "kubeskoop.tcpext.listen_overflows", "ListenOverflows")]
    public async Task A_column_the_kernel_lacks_is_absent_and_moves_no_other(string probe, string file, string metric, string column)
    {
        using var proc = new FakeProc();
        foreach (int pid in (int[])[1, 20]) Add(proc, pid);
        await using var probes = new Probes(proc);
        RecordedRow before = (await probes.CollectAsync(probe)).Rows.First(static r => Is(r, 120, "ipv4") || Is(r, 120, ""));
        Assert.Contains(metric, before.Values.Keys);
        proc.Write(FakeProc.Of(20, "net/" + file), Fixture.Text($"6.18-loaded/proc/net/{file}") is var text ? Drop(text, column) : "");

        RecordingVisitor seen = await probes.CollectAsync(probe);
        RecordedRow after = seen.Rows.First(static r => Is(r, 120, "ipv4") || Is(r, 120, ""));
        Assert.DoesNotContain(metric, after.Values.Keys);
        Assert.Equal(before.Values.Where(v => v.Key != metric), after.Values);
        Assert.Contains(seen.Rows, r => Is(r, 101, "ipv4") || Is(r, 101, "") && r.Values.ContainsKey(metric));
        Assert.Equal(0, probes.Manager.Find(probe)!.Statistics.Malformed);
    }

    [Fact]
    public async Task A_column_of_a_newer_kernel_is_published_under_its_own_name_and_moves_no_other()
    {
        using var proc = new FakeProc();
        foreach (int pid in (int[])[1, 20]) Add(proc, pid);
        await using var probes = new Probes(proc);
        RecordedRow before = (await probes.CollectAsync("tcpext")).Rows.First(static r => Is(r, 120, ""));
        string[] lines = Fixture.Text("6.18-loaded/proc/net/netstat").Split('\n');
        int at = Array.FindIndex(lines, static l => l.StartsWith("TcpExt:", StringComparison.Ordinal));
        (lines[at], lines[at + 1]) = (lines[at].Replace("TcpExt: ", "TcpExt: TCPBrandNew ", StringComparison.Ordinal), lines[at + 1].Replace("TcpExt: ", "TcpExt: 77 ", StringComparison.Ordinal));
        proc.Write(FakeProc.Of(20, "net/netstat"), string.Join('\n', lines));

        RecordedRow after = (await probes.CollectAsync("tcpext")).Rows.First(static r => Is(r, 120, ""));
        (string name, MetricValue value) = Assert.Single(after.Values.Except(before.Values));
        Assert.Equal(("kubeskoop.tcpext.TCPBrandNew", 77ul), (name, value.UInt64));
        Assert.Empty(before.Values.Except(after.Values));
        Assert.Equal(0, probes.Manager.Find("tcpext")!.Statistics.Malformed);
    }

    [Theory]
    [InlineData("4294967295", "3")] // the counters of a 32-bit kernel
    [InlineData("18446744073709551614", "0")]
    public async Task A_counter_that_wraps_is_published_as_the_kernel_has_it(string high, string low)
    {
        using var proc = new FakeProc();
        foreach (int pid in (int[])[1, 20]) Add(proc, pid);
        await using var probes = new Probes(proc);
        foreach (string number in (string[])[high, low])
        {
            proc.Write(FakeProc.Of(20, "net/snmp"), Put(Fixture.Text("6.18-loaded/proc/net/snmp"), "InSegs", number));
            RecordedRow row = (await probes.CollectAsync("tcp")).Rows.Single(static r => Is(r, 120, ""));
            Assert.Equal(number, row.Values["kubeskoop.tcp.in_segments"].UInt64.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }
        Assert.Equal(0, probes.Manager.Find("tcp")!.Statistics.Malformed);
    }

    [Theory]
    [InlineData("io", "stat", "garbage")]
    [InlineData("io", "stat", "cut")]
    [InlineData("io", "stat", "binary")]
    [InlineData("fd", "stat", "garbage")]
    [InlineData("io", "io", "garbage")]
    [InlineData("io", "io", "cut")]
    [InlineData("io", "io", "letters for numbers")]
    [InlineData("io", "io", "number too large")]
    public async Task A_broken_file_of_a_process_costs_that_process_only(string probe, string file, string how)
    {
        using var proc = new FakeProc();
        foreach (int pid in (int[])[1, 20, 30]) Add(proc, pid);
        proc.AddProcess(21, 120); // the same namespace's
        proc.Write("21/io", Fixture.Bytes("6.18-loaded/proc/pid/io")).Write("21/fd/0", "").Write("21/limits", "");
        proc.Write(FakeProc.Of(20, file), Break(File.ReadAllBytes(Path.Combine(proc.Root, "20", file)), how));
        await using var probes = new Probes(proc);
        RecordingVisitor seen = await probes.CollectAsync(probe);
        Assert.Equal([101u, 120u, 130u], seen.Rows.Select(static r => r.Subject.Namespace!.Inode));
        string number = probe == "io" ? "kubeskoop.io.read_characters" : "kubeskoop.fd.processes";
        Assert.Equal(seen.Rows[2].Values[number], seen.Rows[1].Values[number]); // what the other process of the namespace says
        ProbeStatistics statistics = probes.Manager.Find(probe)!.Statistics;
        Assert.Equal((0, 1), (statistics.Errors, probes.Malformed));
        Assert.Contains("/<pid>/" + file, statistics.LastProblem, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_ends_has_left_its_namespace_and_counts_for_it()
    {
        const string ReadCharacters = "kubeskoop.io.read_characters", Before = "rchar: 100\nwchar: 0\nsyscr: 2\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n";
        using var proc = new FakeProc();
        foreach (int pid in (int[])[1, 20]) Add(proc, pid);
        proc.AddProcess(21, 120, parent: 20).Write("21/io", Before);
        await using var probes = new Probes(proc);
        ulong before = (await probes.CollectAsync("io")).Rows.Single(static r => Is(r, 120, "")).Values[ReadCharacters].UInt64;
        proc.Remove("21/ns/net").Write("21/io", Before.Replace("100", "175", StringComparison.Ordinal)); // not a zombie yet
        Assert.Equal(before + 75, (await probes.CollectAsync("io")).Rows.Single(static r => Is(r, 120, "")).Values[ReadCharacters].UInt64);
    }

    // So it is when the descriptors have run out.
    [Fact]
    public async Task Who_cannot_be_read_for_a_while_is_not_counted_anew()
    {
        const string ReadCharacters = "kubeskoop.io.read_characters";
        using var proc = new FakeProc();
        foreach (int pid in (int[])[1, 20]) Add(proc, pid);
        await using var probes = new Probes(proc);
        ulong before = await ReadAsync();
        string stat = File.ReadAllText(Path.Combine(proc.Root, "20/stat"));
        proc.Link("20/stat", "stat"); // too many levels of symbolic links
        Assert.Equal(before, await ReadAsync());
        Assert.Contains("/<pid>", probes.Manager.Find("io")!.Statistics.LastProblem, StringComparison.Ordinal);
        proc.Remove("20/stat").Write("20/stat", stat);
        Assert.Equal(before, await ReadAsync());

        async Task<ulong> ReadAsync() => (await probes.CollectAsync("io")).Rows.Single(static r => Is(r, 120, "")).Values[ReadCharacters].UInt64;
    }

    [Theory]
    [InlineData("empty")]
    [InlineData("garbage")]
    [InlineData("binary")]
    [InlineData("cut")]
    public async Task Without_a_limit_that_can_be_read_descriptors_are_counted_all_the_same(string how)
    {
        using var proc = new FakeProc();
        foreach (int pid in (int[])[1, 20]) Add(proc, pid);
        proc.Write("20/limits", how == "empty" ? [] : Break(Fixture.Bytes("6.18-loaded/proc/pid/limits")[..200], how));
        await using var probes = new Probes(proc);
        RecordedRow row = (await probes.CollectAsync("fd")).Rows.Single(static r => Is(r, 120, ""));
        Assert.Equal((1ul, 1ul), (row.Values["kubeskoop.fd.open"].UInt64, row.Values["kubeskoop.fd.processes"].UInt64));
        Assert.DoesNotContain(row.Values.Keys, static k => k.Contains("highest", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_broken_softnet_file_is_counted_and_the_counters_go_on_when_it_is_well()
    {
        using var proc = new FakeProc();
        string good = "0000000a 00000001 00000002 0 0 0 0 0 0 0 0 0 00000000\n";
        proc.Write("net/softnet_stat", good);
        await using var probes = new Probes(proc);
        Assert.Equal(10ul, Assert.Single((await probes.CollectAsync("softnet")).Rows).Values["kubeskoop.softnet.processed"].UInt64);
        foreach (string bad in (string[])["garbage\n", good[..30], "\u00fc\u00fc\n"])
        {
            proc.Write("net/softnet_stat", bad);
            Assert.Empty((await probes.CollectAsync("softnet")).Rows);
            Assert.Equal(1, probes.Malformed);
        }
        ProbeStatistics statistics = probes.Manager.Find("softnet")!.Statistics;
        Assert.Equal(0, statistics.Errors);
        Assert.Contains("/net/softnet_stat", statistics.LastProblem, StringComparison.Ordinal);
        proc.Write("net/softnet_stat", good.Replace("0000000a", "00000004", StringComparison.Ordinal)); // it has wrapped meanwhile
        Assert.Equal(4ul + uint.MaxValue + 1ul, Assert.Single((await probes.CollectAsync("softnet")).Rows).Values["kubeskoop.softnet.processed"].UInt64);
    }

    [Theory]
    [InlineData("garbage")]
    [InlineData("binary")]
    [InlineData("cut")]
    public async Task A_broken_IPVS_file_costs_its_own_namespace_only(string how)
    {
        using var proc = new FakeProc();
        foreach (int pid in (int[])[1, 20, 30])
        {
            Add(proc, pid);
            proc.Write(FakeProc.Of(pid, "net/ip_vs_stats"), Fixture.Bytes(Fixture.Named("proc/net/ip_vs_stats")[0]));
        }
        proc.Write("20/net/ip_vs_stats", Break(Fixture.Bytes(Fixture.Named("proc/net/ip_vs_stats")[0]), how));
        await using var probes = new Probes(proc);
        RecordingVisitor seen = await probes.CollectAsync("ipvs");
        Assert.Equal([101u, 130u], seen.Rows.Select(static r => r.Subject.Namespace!.Inode));
        ProbeStatistics statistics = probes.Manager.Find("ipvs")!.Statistics;
        Assert.Equal((0, 1), (statistics.Errors, probes.Malformed));
        Assert.Contains("/20/net/ip_vs_stats", statistics.LastProblem, StringComparison.Ordinal);
    }

    private static bool Is(RecordedRow row, uint inode, string attribute) => row.Subject.Namespace?.Inode == inode
        && (row.Subject.Attributes.Length == 0 ? attribute.Length == 0 : row.Subject.Attributes[0].Value == attribute);

    private static byte[] Break(byte[] good, string how) => how switch
    {
        "cut" => good[..(good.Length / 2)],
        "garbage" => Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("lorem ipsum: 12 dolor\n", 50))),
        "binary" => [.. Enumerable.Range(0, 4096).Select(static i => (byte)(i * 7))],
        "letters for numbers" => Encoding.ASCII.GetBytes(System.Text.RegularExpressions.Regex.Replace(Encoding.ASCII.GetString(good), @"(?<=[\s])\d+(?=\s)", "x")),
        "number too large" => Encoding.ASCII.GetBytes(System.Text.RegularExpressions.Regex.Replace(Encoding.ASCII.GetString(good), @"(?<=[\s])\d+(?=\s)", "99999999999999999999999")),
        _ => throw new ArgumentOutOfRangeException(nameof(how)),
    };

    private static string Drop(string table, string column) => Edit(table, column, static (words, i) => words.RemoveAt(i), static (words, i) => words.RemoveAt(i));

    private static string Put(string table, string column, string number) => Edit(table, column, static (_, _) => { }, (words, i) => words[i] = number);

    // The first section that has the column: a line of names, and a line of numbers below it.
    private static string Edit(string table, string column, Action<List<string>, int> names, Action<List<string>, int> numbers)
    {
        string[] lines = table.Split('\n');
        int line = Array.FindIndex(lines, l => l.Split(' ').Contains(column));
        int place = Array.IndexOf(lines[line].Split(' '), column);
        List<string> header = [.. lines[line].Split(' ')], values = [.. lines[line + 1].Split(' ')];
        names(header, place);
        numbers(values, place);
        (lines[line], lines[line + 1]) = (string.Join(' ', header), string.Join(' ', values));
        return string.Join('\n', lines);
    }

    private static void Add(FakeProc proc, int pid)
    {
        proc.AddProcess(pid, (uint)pid + 100);
        foreach (string file in (string[])["snmp", "netstat", "snmp6", "sockstat", "sockstat6", "dev"])
            proc.Write(FakeProc.Of(pid, "net/" + file), Fixture.Bytes($"6.18-loaded/proc/net/{file}"));
        proc.Write(FakeProc.Of(pid, "io"), Fixture.Bytes("6.18-loaded/proc/pid/io"));
        proc.Write(FakeProc.Of(pid, "limits"), Fixture.Bytes("6.18-loaded/proc/pid/limits"));
        proc.Write(FakeProc.Of(pid, "fd/0"), "");
        if (pid != 1) return;
        proc.Link("self/ns/net", "net:[101]").Write("self/fd", "").Write("self/io", Fixture.Bytes("6.18-loaded/proc/pid/io"));
    }

    private sealed class Probes : IAsyncDisposable
    {
        private readonly ServiceProvider _services;

        internal Probes(FakeProc proc) => _services = new ServiceCollection().AddKubeSkoopProbes().AddProcfs(o =>
        {
            o.HostProc = proc.Root;
            o.NamespaceDirectories.Clear();
            o.RefreshInterval = TimeSpan.FromHours(1);
        }).Services.BuildServiceProvider();

        internal IProbeManager Manager => _services.GetRequiredService<IProbeManager>();

        /// <summary>Rows of the last collection that were not understood.</summary>
        internal long Malformed { get; private set; }

        internal async Task<RecordingVisitor> CollectAsync(string probe)
        {
            if (Manager.Find(probe)!.Status.State != ProbeState.Running) await Manager.StartAsync(probe);
            var seen = new RecordingVisitor();
            long before = Manager.Find(probe)!.Statistics.Malformed;
            Assert.True(Manager.Collect(probe, seen));
            Malformed = Manager.Find(probe)!.Statistics.Malformed - before;
            return seen;
        }

        public ValueTask DisposeAsync() => _services.DisposeAsync();
    }
}
