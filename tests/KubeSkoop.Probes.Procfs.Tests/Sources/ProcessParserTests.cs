using System.Globalization;
using System.Text;
using CsCheck;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs.Tests.Sources;

public sealed class ProcessParserTests
{
    // Every field with a number of its own: pid 1, state, ppid 4, ..., starttime 22.
    private const string Numbered = "S 4 5 6 7 -1 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25\n";

    [Theory]
    [InlineData("cat")]
    [InlineData("")]
    [InlineData(") S 1 2 (")]
    [InlineData("a b\nc)")]
    [InlineData("((((((")]
    public void Stat_is_read_whatever_the_command_is(string command)
    {
        byte[] text = Encoding.UTF8.GetBytes($"1 ({command}) {Numbered}");
        Assert.Equal(FaultKind.None, ProcStatParser.TryParse(text, out ProcStat stat, out ReadOnlySpan<byte> name));
        Assert.Equal(command, Encoding.UTF8.GetString(name));
        Assert.Equal(new ProcStat((byte)'S', 4, 9, 10, 11, 20, 22), stat);
    }

    [Fact]
    public void Captured_stats_are_read()
    {
        foreach (string name in Fixture.Named("proc/pid/stat"))
        {
            Assert.Equal(FaultKind.None, ProcStatParser.TryParse(Fixture.Bytes(name), out ProcStat stat, out ReadOnlySpan<byte> command));
            Assert.Equal(name.Contains("recorded", StringComparison.Ordinal) ? "cat" : "sh", Encoding.UTF8.GetString(command));
            Assert.InRange(stat.ParentId, 1, int.MaxValue);
            Assert.InRange(stat.MinorFaults, 1ul, 100_000ul);
            Assert.InRange(stat.StartTime, 1ul, ulong.MaxValue);
            Assert.False(stat.IsKernelThread || stat.HasEnded);
        }
    }

    [Fact]
    public void A_stat_cut_anywhere_is_a_fault()
    {
        byte[] file = Fixture.Bytes(Fixture.Named("proc/pid/stat")[0]);
        for (int length = 0; length < file.Length; length++) Assert.NotEqual(FaultKind.None, ProcStatParser.TryParse(file.AsSpan(0, length), out _, out _));
        Check.Hostile(file).Sample(bytes => { _ = ProcStatParser.TryParse(bytes, out _, out _); }, iter: 5000);
        Check.Quiet(() => ProcStatParser.TryParse(file, out _, out _));
    }

    [Theory]
    [InlineData("v1", "/", "/kubepods/burstable/pod0f6c3a9e/aa11", "/kubepods/burstable/pod0f6c3a9e/aa11", "/kubepods/burstable/pod0f6c3a9e/aa11", "/kubepods/burstable/pod0f6c3a9e/aa11")]
    [InlineData("hybrid", "/", "/kubepods/burstable/pod0f6c3a9e/aa11", "/", "/kubepods/burstable/pod0f6c3a9e/aa11")]
    [InlineData("hybrid-service", "/system.slice/containerd.service", "/kubepods/burstable/pod0f6c3a9e/aa11", "/kubepods/burstable/pod0f6c3a9e/aa11", "/")]
    [InlineData("hybrid-exec", "/system.slice/containerd.service", "/kubepods.slice/kubepods-pod0f6c3a9e.slice/cri-containerd-aa11.scope", "/system.slice/containerd.service", "/kubepods.slice/kubepods-pod0f6c3a9e.slice/cri-containerd-aa11.scope")]
    [InlineData("v2", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f6c3a9e_5a54_4a6e_9d3e_2f6a2c1b7d10.slice/cri-containerd-aa11.scope")]
    public void The_cgroups_of_all_hierarchies_are_told_that_of_version_2_first(string kind, params string[] expected)
    {
        byte[] file = Fixture.Bytes("5.10-handcut/proc/cgroup/" + kind);
        Assert.Equal(expected, Cgroups(file));
        Check.Hostile(file).Sample(static bytes => { _ = Cgroups(bytes); }, iter: 3000);
        Check.Quiet(() =>
        {
            int lines = 0;
            var cgroups = new CgroupCursor(file);
            while (cgroups.MoveNext()) lines++;
            Assert.True(lines == expected.Length);
        });
    }

    [Theory]
    [InlineData("0::/\n", "/")]
    [InlineData("0::/a/b (deleted)\n", "/a/b")]
    [InlineData("0::/with:colons:and spaces\n", "/with:colons:and spaces")]
    [InlineData("0::/../../kubepods/x\n", "/../../kubepods/x")]
    [InlineData("3:freezer:/f\n4:cpu,memory:/m\n0::/\n", "/", "/f", "/m")]
    [InlineData("3:freezer:/f\n0::/two\n4:memory:/m\n", "/two", "/f", "/m")]
    [InlineData("7:misc:/only\n", "/only")]
    [InlineData("2:name=systemd:/s\n1:misc:/m\n", "/s", "/m")]
    public void Cgroups_are_told_in_the_order_in_which_they_are_asked_for(string text, params string[] expected) => Assert.Equal(expected, Cgroups(Encoding.UTF8.GetBytes(text)));

    [Theory]
    [InlineData("")]
    [InlineData("0::/a")]
    [InlineData("0:/a\n")]
    [InlineData("0::a\n")]
    [InlineData("0::\n")]
    public void What_is_no_cgroup_file_has_no_cgroups(string text) => Assert.Empty(Cgroups(Encoding.UTF8.GetBytes(text)));

    private static List<string> Cgroups(ReadOnlySpan<byte> file)
    {
        var paths = new List<string>();
        var cgroups = new CgroupCursor(file);
        while (cgroups.MoveNext()) paths.Add(Encoding.UTF8.GetString(cgroups.Current));
        return paths;
    }

    [Fact]
    public void Limits_are_found_by_name()
    {
        byte[] file = Fixture.Bytes("6.18-loaded/proc/pid/limits");
        Assert.True(LimitsParser.TryParse(file, "Max open files"u8, out Reading files));
        Assert.Equal(20000ul, files.Value);
        Assert.True(LimitsParser.TryParse(file, "Max cpu time"u8, out Reading time));
        Assert.False(time.HasValue); // unlimited
        Assert.False(LimitsParser.TryParse(file, "Max nothing"u8, out _));
        Assert.False(LimitsParser.TryParse(file, "Max open"u8, out _)); // the whole name, not a part
        for (int length = 0; length < file.Length; length++)
            if (LimitsParser.TryParse(file.AsSpan(0, length), "Max open files"u8, out Reading cut)) Assert.Equal(files, cut);
        Check.Hostile(file).Sample(bytes => { _ = LimitsParser.TryParse(bytes, "Max open files"u8, out _); }, iter: 3000);
        Check.Quiet(() => Assert.True(LimitsParser.TryParse(file, "Max open files"u8, out _)));
    }

    [Fact]
    public void Io_goes_round_in_any_order_among_unknown_lines() => Gen.Select(Gen.ULong.Array[7], Gen.Int).Sample((numbers, seed) =>
    {
        string[] lines = [.. IoRecord.Columns.Select((c, i) => string.Create(CultureInfo.InvariantCulture, $"{c}: {numbers[i]}\n")), "new_bytes: 5\n"];
        new Random(seed).Shuffle(lines);
        if (IoParser.TryParse(Encoding.ASCII.GetBytes(string.Concat(lines)), out IoNumbers read) != FaultKind.None) return false;
        for (int i = 0; i < 7; i++)
            if (read[i] != numbers[i]) return false;
        return true;
    });

    [Fact]
    public void An_io_file_cut_anywhere_is_a_fault()
    {
        foreach (byte[] file in Fixture.Named("proc/pid/io").Select(Fixture.Bytes))
        {
            Assert.Equal(FaultKind.None, IoParser.TryParse(file, out _));
            for (int length = 0; length < file.Length; length++) Assert.NotEqual(FaultKind.None, IoParser.TryParse(file.AsSpan(0, length), out _));
            foreach (byte[] bad in Check.Bad(file)) _ = IoParser.TryParse(bad, out _);
            Check.Hostile(file).Sample(bytes => { _ = IoParser.TryParse(bytes, out _); }, iter: 3000);
            Check.Quiet(() => IoParser.TryParse(file, out _));
        }
    }

    [Theory]
    [InlineData("287898\t383867\t575796\n", true)]
    [InlineData("1 2\n", false)]
    [InlineData("1 2 3 4\n", false)]
    [InlineData("1 2 3", false)]
    [InlineData("", false)]
    [InlineData("a b c\n", false)]
    public void A_sysctl_has_the_numbers_that_are_asked_for(string text, bool expected)
    {
        var numbers = new Reading[3];
        Assert.Equal(expected, SysctlParser.TryParse(Encoding.ASCII.GetBytes(text), numbers));
        if (expected) Assert.Equal([287898, 383867, 575796], numbers.Select(static n => (int)n.Value));
    }
}
