using System.Reflection;
using System.Runtime.CompilerServices;

namespace KubeSkoop.Probes.Procfs.Tests.Probes;

/// <summary>Records are filled by block copy, so their fields must stand as their column sets say; and each field has its metric.</summary>
public sealed class RecordLayoutTests
{
    [Fact]
    public void Tcp_fields_stand_as_their_columns() => Matches<TcpRecord>(TcpRecord.Columns, 0);

    [Fact]
    public void Udp_fields_stand_as_their_columns()
    {
        Matches<UdpRecord>(UdpRecord.Columns, 0);
        Assert.Equal(UdpRecord.Columns.SlotCount, UdpRecord.Columns6.SlotCount);
    }

    [Fact]
    public void Ip_fields_stand_as_their_columns()
    {
        Matches<IpRecord>(IpRecord.Columns, 0);
        Matches<IpRecord>(IpRecord.ExtendedColumns, IpRecord.Columns.SlotCount);
        Assert.Equal(FieldsOf<IpRecord>().Length, IpRecord.Columns6.SlotCount);
        for (int i = 0; i < IpRecord.Columns.SlotCount + IpRecord.ExtendedColumns.SlotCount; i++)
        {
            string column = i < IpRecord.Columns.SlotCount ? IpRecord.Columns.Columns[i] : IpRecord.ExtendedColumns.Columns[i - IpRecord.Columns.SlotCount];
            string column6 = IpRecord.Columns6.Columns[i];
            if (column6.Length > 0) Assert.Equal(column, column6.Replace("OutForwDatagrams", "ForwDatagrams", StringComparison.Ordinal));
        }
    }

    [Fact]
    public void Icmp_fields_are_as_many_as_their_columns()
    {
        Assert.InRange(IcmpRecord.Columns.SlotCount, 1, FieldsOf<IcmpRecord>().Length);
        Assert.InRange(IcmpRecord.Columns6.SlotCount, 1, FieldsOf<IcmpRecord>().Length);
    }

    [Fact]
    public void TcpExt_fields_stand_as_their_columns()
    {
        Matches<TcpExtRecord>(TcpExtRecord.Columns, 0);
        Assert.True(Unsafe.SizeOf<TcpExtRecord>() >= TcpExtRecord.Columns.SlotCount * Unsafe.SizeOf<Reading>());
    }

    [Fact]
    public void Time_under_memory_pressure_is_a_duration_and_refusals_are_counters()
    {
        var record = new TcpExtRecord { MemoryPressureTime = 1500 }; // net/ipv4/tcp.c, tcp_leave_memory_pressure: jiffies_to_msecs
        Metric<TcpExtRecord> time = TcpExtRecord.Metrics.Single(static m => m.Name == "kubeskoop.tcpext.memory_pressure_time");
        Assert.Equal(("s", 1.5, 1500ul), (time.Unit, time.Read!(in record).AsDouble(), time.ReadUpstream!(in record).UInt64));
        foreach (string name in (string[])["paws_active_rejected", "paws_established_rejected", "pf_memalloc_drops"])
            Assert.Equal(MetricKind.Counter, TcpExtRecord.Metrics.Single(m => m.Name == $"kubeskoop.tcpext.{name}").Kind);
    }

    [Fact]
    public void Mptcp_record_holds_its_slots() =>
        Assert.True(Unsafe.SizeOf<MptcpRecord>() >= MptcpRecord.Columns.SlotCount * Unsafe.SizeOf<Reading>());

    [Fact]
    public void Sock_fields_stand_as_their_columns_and_constants()
    {
        Matches<SockRecord>(SockRecord.Columns, 0);
        Assert.Equal(Place<SockRecord>(nameof(SockRecord.Tcp6InUse)), Constant("FirstField6"));
        Matches<SockRecord>(SockRecord.Columns6, Constant("FirstField6"));
        Assert.Equal(Place<SockRecord>(nameof(SockRecord.TimeWaitLimit)), Constant("TimeWaitLimitField"));
        Assert.Equal(Place<SockRecord>(nameof(SockRecord.TcpOrphans)), Constant("FirstNodeField"));
        Matches<SockRecord>(SockRecord.NodeColumns, Constant("FirstNodeField"));
        Assert.Equal(Place<SockRecord>(nameof(SockRecord.TcpMemoryLow)), Constant("TcpMemoryLimitField"));
        Assert.Equal(Place<SockRecord>(nameof(SockRecord.TcpOrphanLimit)), Constant("TcpOrphanLimitField"));
        Assert.Equal(Place<SockRecord>(nameof(SockRecord.UdpMemoryLow)), Constant("UdpMemoryLimitField"));

        static int Constant(string name) => (int)typeof(SockProbe).GetField(name, BindingFlags.NonPublic | BindingFlags.Static)!.GetRawConstantValue()!;
    }

    [Fact]
    public void Ipvs_fields_stand_as_their_columns()
    {
        Matches<IpvsRecord>(IpvsRecord.Columns, 0, "ip_vs_stats");
        Assert.Equal(FieldsOf<IpvsRecord>().Length, IpvsRecord.Columns.SlotCount);
    }

    [Fact]
    public void NetDev_fields_stand_as_their_columns()
    {
        FieldInfo[] fields = FieldsOf<NetDevRecord>();
        Assert.All(fields[NetDevRecord.Columns.Length..], static f => Assert.EndsWith("Only with rtnetlink.", Doc(f).Trim(), StringComparison.Ordinal));
        for (int i = 0; i < NetDevRecord.Columns.Length; i++)
            Assert.Contains($"{(i < NetDevRecord.ReceiveColumns ? "Receive" : "Transmit")} {NetDevRecord.Columns[i]}.", Doc(fields[i]), StringComparison.Ordinal);
    }

    [Fact]
    public void Io_fields_stand_as_their_columns()
    {
        FieldInfo[] fields = FieldsOf<IoRecord>();
        Assert.Equal(fields.Length, IoRecord.Columns.Length);
        Assert.Equal(IoNumbers.Count, fields.Length);
        for (int i = 0; i < fields.Length; i++) Assert.Contains($"/proc/PID/io, {IoRecord.Columns[i]}.", Doc(fields[i]), StringComparison.Ordinal);
    }

    [Fact]
    public void Every_field_has_a_metric_that_reads_it()
    {
        ReadsAll(TcpRecord.Metrics);
        ReadsAll(UdpRecord.Metrics);
        ReadsAll(IpRecord.Metrics);
        ReadsAll(IcmpRecord.Metrics);
        ReadsAll(TcpExtRecord.Metrics);
        ReadsAll(SockRecord.Metrics);
        ReadsAll(NetDevRecord.Metrics);
        ReadsAll(SoftnetRecord.Metrics);
        ReadsAll(IpvsRecord.Metrics);
        ReadsAll(FdRecord.Metrics);
        ReadsAll(IoRecord.Metrics);
    }

    [Fact]
    public void Upstreams_names_are_those_of_the_kernels_columns()
    {
        UpstreamIs(TcpRecord.Metrics, "kubeskoop_tcp_", [.. TcpRecord.Columns.Columns]);
        UpstreamIs(UdpRecord.Metrics, "kubeskoop_udp_", [.. UdpRecord.Columns.Columns]);
        UpstreamIs(IpRecord.Metrics, "kubeskoop_ip_", [.. IpRecord.Columns.Columns, .. IpRecord.ExtendedColumns.Columns]);
        UpstreamIs(TcpExtRecord.Metrics, "kubeskoop_tcpext_", [.. TcpExtRecord.Columns.Columns]);
        UpstreamIs(IpvsRecord.Metrics, "kubeskoop_ipvs_", ["connections", "incomingpackets", "outgoingpackets", "incomingbytes", "outgoingbytes"]);
        UpstreamIs(IoRecord.Metrics, "kubeskoop_io_", ["", "", "readsyscall", "writesyscall", "readbytes", "writebytes", ""]);
        UpstreamIs(NetDevRecord.Metrics, "kubeskoop_netdev_",
            ["rxbytes", "rxpackets", "rxerrors", "rxdropped", "", "", "", "", "txbytes", "txpackets", "txerrors", "txdropped", "", "", "", ""]);
    }

    // The names and the numbers of one record, one field at a time: what upstream calls by a column must read that column's field.
    private static void UpstreamIs<TRecord>(MetricTable<TRecord> metrics, string prefix, string[] columns)
        where TRecord : struct
    {
        FieldInfo[] fields = FieldsOf<TRecord>();
        int named = 0;
        for (int i = 0; i < columns.Length; i++)
        {
            object boxed = default(TRecord);
            fields[i].SetValue(boxed, new Reading(7));
            var record = (TRecord)boxed;
            foreach (Metric<TRecord> metric in metrics.Upstream)
            {
                MetricValue value = metric.ReadUpstream!(in record);
                if (value.Kind == MetricValueKind.Absent) continue;
                Assert.Equal((prefix + columns[i].ToLowerInvariant(), 7ul), (metric.UpstreamName, value.UInt64));
                named++;
            }
        }
        Assert.Equal(metrics.Upstream.Count, named);
    }

    [Fact]
    public void Metrics_are_called_as_the_fields_they_read()
    {
        var odd = new List<string>();
        Odd(TcpRecord.Metrics, "tcp", odd);
        Odd(UdpRecord.Metrics, "udp", odd);
        Odd(IpRecord.Metrics, "ip", odd);
        Odd(IcmpRecord.Metrics, "icmp", odd);
        Odd(TcpExtRecord.Metrics, "tcpext", odd);
        Odd(SockRecord.Metrics, "sock", odd);
        Odd(NetDevRecord.Metrics, "netdev", odd);
        Odd(SoftnetRecord.Metrics, "softnet", odd);
        Odd(IpvsRecord.Metrics, "ipvs", odd);
        Odd(FdRecord.Metrics, "fd", odd);
        Odd(IoRecord.Metrics, "io", odd);
        // Where the field's name says more, since in code no probe's name stands before it.
        Assert.Equal(["kubeskoop.sock.used reads SocketsUsed", "kubeskoop.sock.tcp_time_wait_limit reads TimeWaitLimit", "kubeskoop.fd.open reads OpenDescriptors"], odd);
    }

    private static void Odd<TRecord>(MetricTable<TRecord> metrics, string probe, List<string> odd)
        where TRecord : struct
    {
        foreach (FieldInfo field in FieldsOf<TRecord>())
        {
            object boxed = default(TRecord);
            field.SetValue(boxed, new Reading(7));
            var record = (TRecord)boxed;
            string name = metrics.Single(m => m.Read!(in record).Kind != MetricValueKind.Absent).Name;
            if (Plain(name) != Plain($"kubeskoop.{probe}.{field.Name}")) odd.Add($"{name} reads {field.Name}");
        }

        static string Plain(string name) => name.Replace("_", "", StringComparison.Ordinal).ToLowerInvariant();
    }

    // Sets one field at a time: exactly the metrics of that field may show a number.
    private static void ReadsAll<TRecord>(MetricTable<TRecord> metrics)
        where TRecord : struct
    {
        var read = new HashSet<string>();
        foreach (FieldInfo field in FieldsOf<TRecord>())
        {
            object boxed = default(TRecord);
            field.SetValue(boxed, new Reading(7));
            var record = (TRecord)boxed;
            string[] showing = [.. metrics.Where(m => m.Read!(in record).Kind != MetricValueKind.Absent).Select(static m => m.Name)];
            Assert.True(showing.Length == 1, $"{typeof(TRecord).Name}.{field.Name} is read by [{string.Join(", ", showing)}].");
            Assert.True(read.Add(showing[0]), $"{showing[0]} reads two fields.");
        }
        TRecord none = default;
        Assert.All(metrics, m => Assert.Equal(MetricValueKind.Absent, m.Read!(in none).Kind));
    }

    // The documentation of a field names its kernel column, so the two can be held against each other.
    private static void Matches<TRecord>(ColumnSet set, int first, string? file = null)
        where TRecord : struct
    {
        FieldInfo[] fields = FieldsOf<TRecord>();
        for (int i = 0; i < set.Columns.Length; i++)
        {
            Assert.Equal((first + i) * Unsafe.SizeOf<Reading>(), (int)System.Runtime.InteropServices.Marshal.OffsetOf<TRecord>(fields[first + i].Name));
            string doc = Doc(fields[first + i]);
            if (file is not null) Assert.Contains(set.Columns[i].Split(' ')[^1], doc, StringComparison.Ordinal);
            else Assert.Matches($@"\b{System.Text.RegularExpressions.Regex.Escape(set.Columns[i])}\b", doc);
        }
    }

    private static int Place<TRecord>(string field) => Array.FindIndex(FieldsOf<TRecord>(), f => f.Name == field);

    private static FieldInfo[] FieldsOf<TRecord>() =>
        [.. typeof(TRecord).GetFields(BindingFlags.Public | BindingFlags.Instance).Where(static f => f.FieldType == typeof(Reading)).OrderBy(static f => f.MetadataToken)];

    private static string Doc(FieldInfo field)
    {
        string path = Path.ChangeExtension(field.DeclaringType!.Assembly.Location, ".xml");
        var docs = System.Xml.Linq.XDocument.Load(path);
        string name = $"F:{field.DeclaringType.FullName}.{field.Name}";
        return docs.Descendants("member").Single(m => (string?)m.Attribute("name") == name).Value;
    }
}
