using System.Text.Json;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs.Tests.Sources;

/// <summary>Files recorded on each kernel of the matrix, beside what other programs said there of the same numbers.</summary>
public sealed class RecordedFilesTests
{
    private const string Witness = "proc/net/nstat.json";

    // What nstat leaves out.
    private static readonly string[] Gauges = ["IpForwarding", "IpDefaultTTL", "TcpRtoAlgorithm", "TcpRtoMin", "TcpRtoMax", "TcpMaxConn", "TcpCurrEstab"];

    public static TheoryData<string> Kernels => [.. Fixture.Named(Witness).Select(static path => path[..^Witness.Length])];

    [Theory]
    [MemberData(nameof(Kernels))]
    public void Counters_are_those_of_nstat(string kernel)
    {
        using JsonDocument json = JsonDocument.Parse(Fixture.Bytes(kernel + Witness));
        Dictionary<string, long> nstat = json.RootElement.GetProperty("kernel").EnumerateObject().ToDictionary(static c => c.Name, static c => c.Value.TryGetInt64(out long value) ? value : unchecked((long)c.Value.GetUInt64()));
        int compared = Compare(new SnmpLayout(TcpRecord.Columns, UdpRecord.Columns, IpRecord.Columns, IcmpRecord.Columns), "snmp", TcpRecord.Columns, UdpRecord.Columns, IpRecord.Columns, IcmpRecord.Columns);
        compared += Compare(new SnmpLayout(TcpExtRecord.Columns, IpRecord.ExtendedColumns), "netstat", TcpExtRecord.Columns, IpRecord.ExtendedColumns);
        compared += Compare(new Snmp6Layout(UdpRecord.Columns6, IpRecord.Columns6, IcmpRecord.Columns6), "snmp6", UdpRecord.Columns6, IpRecord.Columns6, IcmpRecord.Columns6);
        Assert.InRange(compared, 200, 400);
        Assert.Equal((7, 21), (nstat["IpFragOKs"], nstat["IpFragCreates"])); // of the scene: 7 datagrams of 3,000 bytes

        int Compare(ITableLayout layout, string file, params ColumnSet[] sets)
        {
            var slots = new Reading[layout.SlotCount];
            Assert.True(layout.TryParse(Fixture.Bytes($"{kernel}proc/net/{file}"), slots, out ParseFault fault), fault.ToString());
            int both = 0;
            foreach (ColumnSet set in sets)
            {
                foreach (string column in set.Columns.ToArray().Where(static c => c.Length > 0))
                {
                    string name = set.Section.TrimEnd(':') + column;
                    Reading ours = Check.Slot(layout, set, column, slots);
                    bool has = nstat.TryGetValue(name, out long theirs);
                    if (!has && Array.Exists(Gauges, g => g == name)) continue;
                    Assert.Equal((name, has ? (ulong)theirs : null), (name, ours.ToNullable()));
                    if (has) both++;
                }
            }
            return both;
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public void Devices_are_those_of_ip(string kernel)
    {
        using JsonDocument json = JsonDocument.Parse(Fixture.Bytes(kernel + "netlink/link.json"));
        var fields = new Reading[NetDevRecord.Columns.Length];
        var line = new NetDevCursor(Fixture.Bytes(kernel + "proc/net/dev"), new NetDevHeader());
        int met = 0;
        while (line.MoveNext(fields))
        {
            string name = System.Text.Encoding.ASCII.GetString(line.Name);
            JsonElement device = json.RootElement.EnumerateArray().Single(d => d.TryGetProperty("ifname", out JsonElement own) && own.GetString() == name).GetProperty("stats64");
            Assert.Equal((Of("rx", "bytes"), Of("rx", "packets"), Of("tx", "bytes"), Of("tx", "packets")), (fields[0].Value, fields[1].Value, fields[8].Value, fields[9].Value));
            met++;

            ulong Of(string direction, string what) => device.GetProperty(direction).GetProperty(what).GetUInt64();
        }
        Assert.Equal((FaultKind.None, true), (line.Fault.Kind, met >= 2));
    }
}
