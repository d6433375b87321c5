using System.Globalization;
using System.Text;
using CsCheck;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs.Tests.Probes;

public sealed class NetDevTests
{
    private const string Header =
        "Inter-|   Receive                                                |  Transmit\n" +
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

    private static readonly string[] Fixtures = [.. Fixture.Named("proc/net/dev")];

    [Fact]
    public void A_captured_file_has_the_traffic_of_its_scene()
    {
        var rows = Parse(Fixture.Bytes("6.18-loaded/proc/net/dev"), out ParseFault fault);
        Assert.Equal(FaultKind.None, fault.Kind);
        Assert.Equal(["lo", "eth0"], rows.Select(static r => r.Name));
        Assert.Equal([16176, 96, 0, 0, 0, 0, 0, 0, 16176, 96, 0, 0, 0, 0, 0, 0], rows[0].Values.Select(static v => (int)v.Value));
        Assert.Equal(22032ul, rows[1].Values[8].Value);
        Assert.Equal(24ul, rows[1].Values[9].Value);
    }

    [Fact]
    public void Every_column_goes_to_its_field()
    {
        var rows = Parse(Encoding.ASCII.GetBytes(Header + "  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 18446744073709551614\n"), out _);
        Assert.Equal([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18446744073709551614], rows[0].Values.Select(static v => v.Value));
    }

    [Fact]
    public void Columns_are_read_by_name_in_their_half()
    {
        const string Other = "Inter-| x | y\n face |multicast new bytes|carrier compressed bytes newer\n eth0: 1 2 3 4 5 6 7\n";
        var header = new NetDevHeader();
        _ = Parse(Encoding.ASCII.GetBytes(Header), out _, header);
        var rows = Parse(Encoding.ASCII.GetBytes(Other), out ParseFault fault, header);
        Assert.Equal(FaultKind.None, fault.Kind);
        Reading[] values = rows[0].Values;
        Assert.Equal(3ul, values[0].Value);  // received bytes
        Assert.Equal(1ul, values[7].Value);  // multicast
        Assert.Equal(6ul, values[8].Value);  // sent bytes
        Assert.Equal(4ul, values[14].Value); // carrier
        Assert.Equal(5ul, values[15].Value); // compressed, of the second half
        Assert.Equal(5, values.Count(static v => v.HasValue));
        Assert.Single(Parse(Fixture.Bytes(Fixtures[0])[..Header.Length].Concat("    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"u8.ToArray()).ToArray(), out fault, header));
    }

    [Theory]
    [InlineData("a:b:", "a:b:")]           // kernels before 4.4 allowed ':'
    [InlineData("1: 2", "1: 2")]
    [InlineData("|", "|")]
    [InlineData("123456789012345", "123456789012345")]
    public void Names_may_hold_what_they_like(string name, string expected)
    {
        var rows = Parse(Encoding.UTF8.GetBytes($"{Header}{name,6}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"), out ParseFault fault);
        Assert.Equal(FaultKind.None, fault.Kind);
        Assert.Equal(expected, Assert.Single(rows).Name);
        Assert.Equal(16ul, rows[0].Values[15].Value);
    }

    [Theory]
    [InlineData("")]
    [InlineData("x\n")]
    [InlineData("x\ny\n")]
    [InlineData("x\n a | b\n")]
    [InlineData(Header + "eth0: 1 2 3\n")]
    [InlineData(Header + "eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n")]
    [InlineData(Header + "eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16")]
    [InlineData(Header + "eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 x\n")]
    [InlineData(Header + "eth0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")]
    [InlineData(Header + ": 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")]
    [InlineData(Header + "1234567890123456: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")]
    [InlineData("Inter-\n face |bytes bytes|bytes\n")]
    public void A_file_of_another_form_is_a_fault(string text)
    {
        _ = Parse(Encoding.ASCII.GetBytes(text), out ParseFault fault);
        Assert.NotEqual(FaultKind.None, fault.Kind);
    }

    [Fact]
    public void A_file_cut_anywhere_gives_whole_rows_only()
    {
        foreach (string name in Fixtures)
        {
            byte[] file = Fixture.Bytes(name);
            var whole = Parse(file, out _);
            for (int length = 0; length < file.Length; length++)
            {
                var rows = Parse(file[..length], out ParseFault fault);
                Assert.True(fault.Kind != FaultKind.None || file[length - 1] == (byte)'\n');
                for (int i = 0; i < rows.Count; i++)
                {
                    Assert.Equal(whole[i].Name, rows[i].Name);
                    Assert.Equal(whole[i].Values, rows[i].Values);
                }
            }
        }
    }

    [Fact]
    public void Any_bytes_end_in_rows_or_a_fault()
    {
        byte[][] good = [.. Fixtures.Select(Fixture.Bytes)];
        var header = new NetDevHeader();
        Check.Hostile(good).Sample(bytes =>
        {
            var rows = Parse(bytes, out _, header);
            return rows.All(static r => r.Raw.Length is > 0 and <= 15);
        }, iter: 5000, threads: 1);
        foreach (byte[] bad in good.SelectMany(Check.Bad)) _ = Parse(bad, out _, header);
        foreach (byte[] file in good)
        {
            Assert.NotEmpty(Parse(file, out ParseFault fault, header));
            Assert.Equal(FaultKind.None, fault.Kind);
        }
    }

    [Fact]
    public void Rows_printed_as_the_kernel_does_go_round() => Gen.Select(Gen.ULong.Array[16], Gen.Byte.Array[1, 15]).Sample((numbers, name) =>
    {
        for (int i = 0; i < name.Length; i++)
            if (name[i] is (byte)'/' or (byte)' ' or (>= 9 and <= 13) or 0 or 0xa0) name[i] = (byte)'x';
        for (int i = 0; i < 16; i++) numbers[i] = Math.Min(numbers[i], ulong.MaxValue - 1);
        byte[] file = [.. Encoding.ASCII.GetBytes(Header), .. Enumerable.Repeat((byte)' ', Math.Max(0, 6 - name.Length)), .. name, (byte)':',
            .. Encoding.ASCII.GetBytes(string.Concat(numbers.Select(n => " " + n.ToString(CultureInfo.InvariantCulture).PadLeft(7))) + "\n")];
        var rows = Parse(file, out ParseFault fault);
        return fault.Kind == FaultKind.None && rows.Count == 1 && rows[0].Raw.SequenceEqual(name) && rows[0].Values.Select(static v => v.Value).SequenceEqual(numbers);
    });

    [Fact]
    public void Devices_keep_their_subject_whatever_comes_and_goes()
    {
        NetDevices devices = Devices();
        Dictionary<string, SampleSubject> first = Meet(devices, "lo", "eth0", "veth1");
        Assert.Equal(3, devices.Count);
        Dictionary<string, SampleSubject> second = Meet(devices, "veth2", "lo", "veth1");
        Assert.Same(first["lo"], second["lo"]);
        Assert.Same(first["veth1"], second["veth1"]);
        Assert.Equal("veth2", second["veth2"].Attributes[0].Value);
        Assert.Equal(3, devices.Count);
        // A device that was away is another one, with a subject of its own.
        Dictionary<string, SampleSubject> third = Meet(devices, "lo", "eth0");
        Assert.NotSame(first["eth0"], third["eth0"]);
        Assert.Equal(2, devices.Count);
    }

    [Fact]
    public void A_device_shown_twice_in_one_file_is_one_row()
    {
        NetDevices devices = Devices();
        devices.Begin();
        Assert.NotNull(devices.Meet("eth0"u8));
        Assert.Null(devices.Meet("eth0"u8));
        Assert.NotNull(devices.Meet("eth1"u8));
        devices.End();
        devices.Begin();
        Assert.NotNull(devices.Meet("eth0"u8));
        Assert.NotNull(devices.Meet("eth1"u8));
        devices.End();
        Assert.Equal(2, devices.Count);
    }

    [Fact]
    public void After_a_broken_file_everything_is_met_anew()
    {
        NetDevices devices = Devices();
        _ = Meet(devices, "lo", "eth0");
        devices.Begin();
        _ = devices.Meet("eth7"u8);
        devices.Abandon();
        Assert.Equal(["lo", "eth0"], Meet(devices, "lo", "eth0").Keys);
        Assert.Equal(2, devices.Count);
    }

    [Fact]
    public void Ten_thousand_devices_in_another_order_cost_no_search_through_all()
    {
        NetDevices devices = Devices();
        byte[][] names = [.. Enumerable.Range(0, 10_000).Select(i => Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"veth{i}")))];
        for (int turn = 0; turn < 50; turn++)
        {
            devices.Begin();
            foreach (byte[] name in turn % 2 == 0 ? names : names.Reverse()) Assert.NotNull(devices.Meet(name));
            devices.End();
            Assert.Equal(10_000, devices.Count);
        }
        Check.Quiet(() =>
        {
            devices.Begin();
            foreach (byte[] name in names) _ = devices.Meet(name);
            devices.End();
        });
    }

    [Fact]
    public void Reading_a_known_file_allocates_nothing()
    {
        byte[] file = Fixture.Bytes(Fixtures[0]);
        var header = new NetDevHeader();
        var fields = new Reading[NetDevRecord.Columns.Length];
        Check.Quiet(() =>
        {
            var line = new NetDevCursor(file, header);
            while (line.MoveNext(fields)) { }
        });
    }

    private static NetDevices Devices() =>
        new(new NetFile(new ProcNamespaceSource(), new NetworkNamespace(7, false, new NamespaceFacts(null, null, null, null)), "dev"));

    private static Dictionary<string, SampleSubject> Meet(NetDevices devices, params string[] names)
    {
        devices.Begin();
        var met = names.ToDictionary(static n => n, n => devices.Meet(Encoding.ASCII.GetBytes(n))!.Subject);
        devices.End();
        return met;
    }

    private static List<(byte[] Raw, string Name, Reading[] Values)> Parse(byte[] text, out ParseFault fault, NetDevHeader? header = null)
    {
        var rows = new List<(byte[], string, Reading[])>();
        var fields = new Reading[NetDevRecord.Columns.Length];
        var line = new NetDevCursor(text, header ?? new NetDevHeader());
        while (line.MoveNext(fields)) rows.Add((line.Name.ToArray(), Encoding.Latin1.GetString(line.Name), [.. fields]));
        fault = line.Fault;
        return rows;
    }
}
