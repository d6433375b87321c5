using System.Globalization;
using System.Text;
using CsCheck;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs.Tests.Probes;

public sealed class SoftnetTests
{
    [Fact]
    public async Task Every_column_goes_to_its_field()
    {
        using var proc = new FakeProc();
        proc.Write("net/softnet_stat", string.Join(' ', Enumerable.Range(1, 12).Append(5).Append(14).Append(15).Append(99).Select(static n => n.ToString("x8", CultureInfo.InvariantCulture))) + "\n");
        SampleRow<SoftnetRecord> row = Assert.Single((await SampleAsync(proc)).ToArray());
        Assert.Equal(new SampleAttribute("cpu.logical_number", "5"), row.Subject.Attributes[0]);
        Assert.Null(row.Namespace);
        SoftnetRecord r = row.Value;
        Assert.Equal([1, 2, 3, 9, 10, 11, 12, 14, 15],
            new[] { r.Processed, r.Dropped, r.TimeSqueezed, r.CpuCollisions, r.ReceivedRps, r.FlowLimited, r.BacklogLength, r.InputQueueLength, r.ProcessQueueLength }.Select(static v => (int)v.Value));
    }

    [Fact]
    public async Task A_cpu_is_known_by_its_number_and_not_by_its_line()
    {
        using var proc = new FakeProc();
        proc.Write("net/softnet_stat", Fixture.Bytes("5.10-handcut/proc/net/softnet_stat"));
        SampleRow<SoftnetRecord>[] rows = (await SampleAsync(proc)).ToArray();
        Assert.Equal(["0", "1", "3"], rows.Select(static r => r.Subject.Attributes[0].Value));
        Assert.Equal(0x2600138ul, rows[2].Value.Processed.Value);
        Assert.Equal(7ul, rows[2].Value.BacklogLength.Value);
        Assert.False(rows[2].Value.InputQueueLength.HasValue); // since 6.4
    }

    [Fact]
    public void Columns_that_wrap_go_on()
    {
        SoftnetProbe probe = Probe();
        ulong expected = 0xfffffff0;
        Fold(probe, 0xfffffff0);
        foreach (uint step in (uint[])[0x20, 0xffffffff, 0, 1, 0x80000000, 0x80000000])
        {
            expected += step;
            Fold(probe, unchecked((uint)expected));
            Assert.Equal(expected, Processed(probe));
        }

        static void Fold(SoftnetProbe probe, uint processed) => Assert.True(probe.Fold(Line(0, processed), out _));
    }

    [Fact]
    public void Any_increments_below_32_bits_add_up() => Gen.UInt.Array[0, 40].Sample(steps =>
    {
        SoftnetProbe probe = Probe();
        ulong total = 0;
        probe.Fold(Line(3, 0), out _);
        foreach (uint step in steps)
        {
            total += step;
            if (!probe.Fold(Line(3, unchecked((uint)total)), out _)) return false;
        }
        return Processed(probe) == total;
    });

    [Fact]
    public void A_cpu_that_goes_offline_keeps_its_total_and_goes_on_from_there()
    {
        SoftnetProbe probe = Probe();
        Assert.True(probe.Fold([.. Line(0, 5), .. Line(1, 0xffffffff)], out _));
        Assert.True(probe.Fold(Line(0, 6), out _));
        SoftnetRecord[] rows = Rows(probe);
        Assert.Equal(0xffffffff, rows[1].Processed.Value);
        Assert.False(rows[1].BacklogLength.HasValue);
        Assert.True(rows[0].BacklogLength.HasValue);
        Assert.True(probe.Fold([.. Line(0, 7), .. Line(1, 1)], out _));
        Assert.Equal(0x100000001ul, Rows(probe)[1].Processed.Value);
    }

    [Theory]
    [InlineData("")]
    [InlineData("\n")]
    [InlineData("0 0 0 0 0 0 0 0\n")]
    [InlineData("0 0 0 0 0 0 0 0 0 0 0")]
    [InlineData("0 0 0 0 0 0 0 0 0 0 100000000\n")]
    [InlineData("0 0 0 0 0 0 0 0 0 0 g\n")]
    [InlineData("0 0 0 0 0 0 0 0 0 0 0 0 ffffffff 0 0\n")]
    public void A_file_of_another_form_changes_nothing(string text)
    {
        SoftnetProbe probe = Probe();
        Assert.True(probe.Fold(Line(0, 5), out _));
        Assert.False(probe.Fold([.. Line(0, 9), .. Encoding.ASCII.GetBytes(text.Length == 0 ? "x" : text)], out ParseFault fault));
        Assert.NotEqual(FaultKind.None, fault.Kind);
        Assert.Equal(5ul, Processed(probe));
        Assert.False(probe.Fold(Encoding.ASCII.GetBytes(text), out _));
    }

    [Fact]
    public void Any_bytes_are_rows_or_a_fault()
    {
        byte[][] good = [.. Fixture.Named("proc/net/softnet_stat").Select(Fixture.Bytes)];
        SoftnetProbe probe = Probe();
        Check.Hostile(good).Sample(bytes => probe.Fold(bytes, out ParseFault fault) == (fault.Kind == FaultKind.None), iter: 5000, threads: 1);
        foreach (byte[] bad in good.SelectMany(Check.Bad)) _ = probe.Fold(bad, out _);
        foreach (byte[] file in good)
        {
            Assert.True(Probe().Fold(file, out _));
            for (int length = 0; length < file.Length; length++)
            {
                SoftnetProbe cut = Probe();
                if (cut.Fold(file.AsSpan(0, length), out _)) Assert.Equal((byte)'\n', file[length - 1]);
                else Assert.Empty(Rows(cut));
            }
        }
        byte[] last = good[0];
        Check.Quiet(() => probe.Fold(last, out _));
    }

    [Theory]
    [InlineData("0-3,8,10-11\n", new[] { 0, 1, 2, 3, 8, 10, 11 })]
    [InlineData("0\n", new[] { 0 })]
    [InlineData("5", new[] { 5 })]
    public void Lists_of_cpus_are_read(string text, int[] expected)
    {
        var numbers = new List<int>();
        Assert.True(CpuList.TryParse(Encoding.ASCII.GetBytes(text), numbers, 1024));
        Assert.Equal(expected, numbers);
    }

    [Theory]
    [InlineData("")]
    [InlineData("\n")]
    [InlineData("a")]
    [InlineData("1-")]
    [InlineData("3-1")]
    [InlineData("1,")]
    [InlineData("1;2")]
    [InlineData("0-99999999999999999999")]
    [InlineData("0-2000")]
    public void What_is_no_list_of_cpus_is_refused(string text) => Assert.False(CpuList.TryParse(Encoding.ASCII.GetBytes(text), [], 1024));

    [Fact]
    public async Task Without_the_file_the_probe_is_unavailable_and_says_what_to_do()
    {
        using var proc = new FakeProc();
        ProbeUnavailableException e = await Assert.ThrowsAsync<ProbeUnavailableException>(
            () => SoftnetProbe.StartNewAsync(new ProcfsOptions { HostProc = proc.Root }));
        Assert.Contains("softnet_stat", e.What, StringComparison.Ordinal);
        Assert.Contains("HostProc", e.Remedy, StringComparison.Ordinal);
    }

    private static byte[] Line(int cpu, uint processed) =>
        Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{processed:x8} 0 0 0 0 0 0 0 0 0 0 00000002 {cpu:x8} 0 0\n"));

    private static SoftnetProbe Probe() => new(new ProcNet(new ProcNamespaceSource()));

    private static ulong Processed(SoftnetProbe probe) => Rows(probe).Last().Processed.Value;

    private static SoftnetRecord[] Rows(SoftnetProbe probe) => [.. probe.Known];

    private static async Task<SampleRow<SoftnetRecord>[]> SampleAsync(FakeProc proc)
    {
        await using SoftnetProbe probe = await SoftnetProbe.StartNewAsync(new ProcfsOptions { HostProc = proc.Root });
        return probe.Sample().Rows.ToArray();
    }
}
