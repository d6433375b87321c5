using System.Globalization;
using System.Text;
using CsCheck;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs.Tests.Sources;

public sealed class TableLayoutTests
{
    private static ITableLayout Snmp() => new SnmpLayout(TcpRecord.Columns, UdpRecord.Columns, IpRecord.Columns, IcmpRecord.Columns);

    private static ITableLayout Netstat() => new SnmpLayout(TcpExtRecord.Columns, IpRecord.ExtendedColumns, MptcpRecord.Columns);

    private static ITableLayout Snmp6() => new Snmp6Layout(UdpRecord.Columns6, IpRecord.Columns6, IcmpRecord.Columns6);

    private static ITableLayout Sockstat() => new SockstatLayout(SockRecord.Columns, SockRecord.NodeColumns);

    private static ITableLayout Sockstat6() => new SockstatLayout(SockRecord.Columns6);

    private static ITableLayout Ipvs() => new IpvsLayout(IpvsRecord.Columns);

    private static byte[][] Fixtures(string file) => [.. Fixture.Named("proc/net/" + file).Select(Fixture.Bytes)];

    [Fact]
    public void Snmp_holds_to_the_contract() => Check.Table(Snmp, [TcpRecord.Columns, UdpRecord.Columns, IpRecord.Columns, IcmpRecord.Columns], Fixtures("snmp"));

    [Fact]
    public void Netstat_holds_to_the_contract() => Check.Table(Netstat, [TcpExtRecord.Columns, IpRecord.ExtendedColumns, MptcpRecord.Columns], Fixtures("netstat"));

    [Fact]
    public void Snmp6_holds_to_the_contract() => Check.Table(Snmp6, [UdpRecord.Columns6, IpRecord.Columns6, IcmpRecord.Columns6], Fixtures("snmp6"));

    [Fact]
    public void Sockstat_holds_to_the_contract() => Check.Table(Sockstat, [SockRecord.Columns, SockRecord.NodeColumns], Fixtures("sockstat"));

    [Fact]
    public void Sockstat6_holds_to_the_contract() => Check.Table(Sockstat6, [SockRecord.Columns6], Fixtures("sockstat6"));

    [Fact]
    public void Ipvs_holds_to_the_contract() => Check.Table(Ipvs, [IpvsRecord.Columns], Fixtures("ip_vs_stats"));

    [Fact]
    public void A_captured_snmp_has_the_traffic_of_its_scene()
    {
        ITableLayout layout = Snmp();
        var slots = new Reading[layout.SlotCount];
        Assert.True(layout.TryParse(Fixture.Bytes("6.18-loaded/proc/net/snmp"), slots, out _));
        Assert.Equal(12ul, Check.Slot(layout, TcpRecord.Columns, "ActiveOpens", slots).Value);
        Assert.Equal(10ul, Check.Slot(layout, TcpRecord.Columns, "PassiveOpens", slots).Value);
        Assert.Equal(2ul, Check.Slot(layout, TcpRecord.Columns, "AttemptFails", slots).Value);
        Assert.Equal(3ul, Check.Slot(layout, UdpRecord.Columns, "NoPorts", slots).Value);
        Assert.Equal(10ul, Check.Slot(layout, UdpRecord.Columns, "OutDatagrams", slots).Value);
        Assert.Equal(21ul, Check.Slot(layout, IpRecord.Columns, "FragCreates", slots).Value);
        Assert.Equal(3ul, Check.Slot(layout, IcmpRecord.Columns, "OutDestUnreachs", slots).Value); // behind two columns that grew in the middle
        Assert.Equal(2ul, Check.Slot(layout, IpRecord.Columns, "Forwarding", slots).Value);
    }

    [Fact]
    public void A_column_the_kernel_lacks_is_absent_and_not_zero()
    {
        ITableLayout layout = Snmp();
        var slots = new Reading[layout.SlotCount];
        Assert.True(layout.TryParse(Fixture.Bytes("5.10-handcut/proc/net/snmp"), slots, out _));
        Assert.False(Check.Slot(layout, IpRecord.Columns, "OutTransmits", slots).HasValue);
        Assert.False(Check.Slot(layout, UdpRecord.Columns, "MemErrors", slots).HasValue);
        Assert.True(Check.Slot(layout, UdpRecord.Columns, "InErrors", slots).HasValue);
        // Then a kernel that has them, and back: absent again, not the number from before.
        Assert.True(layout.TryParse(Fixture.Bytes("6.18-loaded/proc/net/snmp"), slots, out _));
        Assert.True(Check.Slot(layout, UdpRecord.Columns, "MemErrors", slots).HasValue);
        Assert.True(layout.TryParse(Fixture.Bytes("5.10-handcut/proc/net/snmp"), slots, out _));
        Assert.False(Check.Slot(layout, UdpRecord.Columns, "MemErrors", slots).HasValue);
    }

    // Every wanted column, each with a number of its own, among columns and sections nobody knows, in any order.
    [Fact]
    public void Headered_tables_are_read_by_name()
    {
        ColumnSet[] sets = [TcpRecord.Columns, UdpRecord.Columns, IpRecord.Columns, IcmpRecord.Columns, TcpExtRecord.Columns, IpRecord.ExtendedColumns];
        var kept = new SnmpLayout(sets);
        var slots = new Reading[kept.SlotCount];
        Gen.Int.Sample(seed =>
        {
            var random = new Random(seed);
            var expected = new Dictionary<(ColumnSet, string), ulong>();
            var sections = new List<string>();
            foreach (ColumnSet set in sets)
            {
                var columns = set.Columns.ToArray().Where(c => c.Length > 0 && random.Next(10) > 0).Concat(Enumerable.Range(0, random.Next(4)).Select(i => $"New{i}")).ToArray();
                if (columns.Length == 0) continue;
                random.Shuffle(columns);
                ulong[] numbers = [.. columns.Select(_ => (ulong)random.NextInt64() >> random.Next(60))];
                for (int i = 0; i < columns.Length; i++) expected[(set, columns[i])] = numbers[i];
                sections.Add(Pair(set.Section, columns, numbers));
            }
            for (int i = random.Next(3); i > 0; i--) sections.Add(Pair($"Unknown{i}:", ["A", "TwoB"], [1, 2]));
            string[] order = [.. sections];
            random.Shuffle(order);
            Assert.True(kept.TryParse(Encoding.ASCII.GetBytes(string.Concat(order)), slots, out ParseFault fault), fault.ToString());
            foreach (ColumnSet set in sets)
            {
                foreach (string column in set.Columns.ToArray().Where(static c => c.Length > 0))
                    Assert.Equal(expected.TryGetValue((set, column), out ulong number) ? number : null, Check.Slot(kept, set, column, slots).ToNullable());
            }
        }, iter: 500, threads: 1);

        static string Pair(string name, string[] columns, ulong[] numbers) =>
            $"{name} {string.Join(' ', columns)}\n{name} {string.Join(' ', numbers.Select(n => n.ToString(CultureInfo.InvariantCulture)))}\n";
    }

    [Fact]
    public void Snmp6_is_read_by_name_in_any_order()
    {
        ITableLayout kept = Snmp6();
        var slots = new Reading[kept.SlotCount];
        ColumnSet[] sets = [UdpRecord.Columns6, IpRecord.Columns6, IcmpRecord.Columns6];
        Gen.Int.Sample(seed =>
        {
            var random = new Random(seed);
            var expected = new Dictionary<string, ulong>();
            foreach (ColumnSet set in sets)
                foreach (string column in set.Columns)
                    if (column.Length > 0 && random.Next(10) > 0) expected[set.Section + column] = (ulong)random.NextInt64() >> random.Next(60);
            string[] lines = [.. expected.Select(e => $"{e.Key,-32}\t{e.Value}\n"), .. Enumerable.Range(0, random.Next(5)).Select(i => $"{"Icmp6InType" + i,-32}\t{i}\n")];
            random.Shuffle(lines);
            Assert.True(kept.TryParse(Encoding.ASCII.GetBytes(string.Concat(lines)), slots, out ParseFault fault), fault.ToString());
            foreach (ColumnSet set in sets)
            {
                foreach (string column in set.Columns.ToArray().Where(static c => c.Length > 0))
                    Assert.Equal(expected.TryGetValue(set.Section + column, out ulong number) ? number : null, Check.Slot(kept, set, column, slots).ToNullable());
            }
        }, iter: 500, threads: 1);
    }

    [Fact]
    public void Sockstat_is_read_by_name_in_any_order()
    {
        ITableLayout layout = Sockstat();
        var slots = new Reading[layout.SlotCount];
        Assert.True(layout.TryParse("FRAG: memory 31 new 99 inuse 30\nNEW: inuse 98\nTCP: mem 15 alloc 14 tw 13 orphan 12 inuse 11\nsockets: used 10\nRAW: inuse -2\n"u8, slots, out ParseFault fault), fault.ToString());
        Assert.Equal(10ul, Check.Slot(layout, SockRecord.Columns, "sockets: used", slots).Value);
        Assert.Equal(11ul, Check.Slot(layout, SockRecord.Columns, "TCP: inuse", slots).Value);
        Assert.Equal(12ul, Check.Slot(layout, SockRecord.NodeColumns, "TCP: orphan", slots).Value);
        Assert.Equal(13ul, Check.Slot(layout, SockRecord.Columns, "TCP: tw", slots).Value);
        Assert.Equal(14ul, Check.Slot(layout, SockRecord.NodeColumns, "TCP: alloc", slots).Value);
        Assert.Equal(15ul, Check.Slot(layout, SockRecord.NodeColumns, "TCP: mem", slots).Value);
        Assert.Equal(30ul, Check.Slot(layout, SockRecord.Columns, "FRAG: inuse", slots).Value);
        Assert.Equal(31ul, Check.Slot(layout, SockRecord.Columns, "FRAG: memory", slots).Value);
        Assert.Equal(0ul, Check.Slot(layout, SockRecord.Columns, "RAW: inuse", slots).Value); // a sum over CPUs, below zero for a moment
        Assert.False(Check.Slot(layout, SockRecord.Columns, "UDP: inuse", slots).HasValue);
        Assert.False(Check.Slot(layout, SockRecord.NodeColumns, "UDP: mem", slots).HasValue);
    }

    [Theory]
    [InlineData("TCP: inuse\n")]
    [InlineData("TCP:\n")]
    [InlineData("TCP inuse 1\n")]
    [InlineData("TCP: inuse 1")]
    [InlineData("TCP: inuse 1x\n")]
    [InlineData("TCP: inuse 99999999999999999999999\n")]
    [InlineData(":\n")]
    [InlineData("")]
    public void A_sockstat_of_another_form_is_refused(string text)
    {
        ITableLayout layout = Sockstat();
        Assert.False(layout.TryParse(Encoding.ASCII.GetBytes(text), new Reading[layout.SlotCount], out ParseFault fault));
        Assert.NotEqual(FaultKind.None, fault.Kind);
    }

    [Theory]
    [InlineData("Tcp: A B\nTcp: 1\n")]
    [InlineData("Tcp: A B\nTcp: 1 2 3\n")]
    [InlineData("Tcp: A B\n")]
    [InlineData("Tcp: A B\nUdp: 1 2\n")]
    [InlineData("Tcp: A  B\nTcp: 1 2\n")]
    [InlineData("Tcp: A B\nTcp: 1 x\n")]
    [InlineData("Tcp: A B\nTcp: 1 2")]
    [InlineData("Tcp: A B\nTcp: 1 99999999999999999999999\n")]
    [InlineData("no colon\nno colon\n")]
    public void A_table_whose_lines_do_not_fit_is_refused(string text)
    {
        ITableLayout layout = Snmp();
        Assert.False(layout.TryParse(Encoding.ASCII.GetBytes(text), new Reading[layout.SlotCount], out ParseFault fault));
        Assert.NotEqual(FaultKind.None, fault.Kind);
    }

    [Fact]
    public void A_limit_of_minus_one_is_absent()
    {
        ITableLayout layout = Snmp();
        var slots = new Reading[layout.SlotCount];
        Assert.True(layout.TryParse("Tcp: CurrEstab ActiveOpens\nTcp: -1 5\n"u8, slots, out _));
        Assert.False(Check.Slot(layout, TcpRecord.Columns, "CurrEstab", slots).HasValue);
        Assert.Equal(5ul, Check.Slot(layout, TcpRecord.Columns, "ActiveOpens", slots).Value);
    }

    [Fact]
    public void Ipvs_totals_and_rates_are_read_by_the_words_above_them()
    {
        ITableLayout layout = Ipvs();
        var slots = new Reading[layout.SlotCount];
        Assert.True(layout.TryParse(Fixture.Bytes("5.10-handcut/proc/net/ip_vs_stats"), slots, out ParseFault fault), fault.ToString());
        ulong[] expected = [0x5e, 0x1c0, 0x190, 0x8b0f3, 0xa1f221, 2, 0x1a, 0x19, 0xf00, 0x1100];
        Assert.Equal(expected, slots.Select(static s => s.Value));

        Assert.True(layout.TryParse("Outgoing New Total Incoming\nBytes New Conns Packets\nFFFFFFFFFFFFFFFE 1 2 3\n\nBytes/s New/s Conns/s Pkts/s\n4 5 6 7\n"u8, slots, out fault), fault.ToString());
        Assert.Equal(0xfffffffffffffffeul, Check.Slot(layout, IpvsRecord.Columns, "Outgoing Bytes", slots).Value);
        Assert.Equal(2ul, Check.Slot(layout, IpvsRecord.Columns, "Total Conns", slots).Value);
        Assert.Equal(3ul, Check.Slot(layout, IpvsRecord.Columns, "Incoming Packets", slots).Value);
        Assert.False(Check.Slot(layout, IpvsRecord.Columns, "Incoming Bytes", slots).HasValue);
        Assert.Equal(6ul, Check.Slot(layout, IpvsRecord.Columns, "Total Conns/s", slots).Value);
        Assert.Equal(7ul, Check.Slot(layout, IpvsRecord.Columns, "Incoming Pkts/s", slots).Value);
    }
}
