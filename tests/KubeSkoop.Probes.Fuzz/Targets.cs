using KubeSkoop.Probes.Procfs;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Fuzz;

/// <summary>Throws when what it promises of a parser does not hold for the bytes.</summary>
internal delegate void FuzzTarget(ReadOnlySpan<byte> bytes);

/// <summary>The promise of a parser was broken.</summary>
internal sealed class BrokenPromiseException(string message) : Exception(message);

/// <summary>
/// One entry per parser. Any bytes give a result or a fault; a parser that remembers a layout answers as one that has
/// never seen another text; what it says it has read lies within the text.
/// </summary>
internal static class Targets
{
    internal static readonly SortedDictionary<string, (FuzzTarget Target, string[] Files)> All = new(StringComparer.Ordinal)
    {
        ["snmp"] = (Table(static () => new SnmpLayout(TcpRecord.Columns, UdpRecord.Columns, IpRecord.Columns, IcmpRecord.Columns)), ["net/snmp"]),
        ["netstat"] = (Table(static () => new SnmpLayout(IpRecord.ExtendedColumns)), ["net/netstat"]),
        // Columns beyond the documented ones get their slots in the order of discovery: a fresh layout would give others.
        ["netstat-others"] = (Total(new SnmpLayout(TcpExtRecord.Columns, MptcpRecord.Columns)), ["net/netstat"]),
        ["snmp6"] = (Table(static () => new Snmp6Layout(UdpRecord.Columns6, IpRecord.Columns6, IcmpRecord.Columns6)), ["net/snmp6"]),
        ["sockstat"] = (Table(static () => new SockstatLayout(SockRecord.Columns, SockRecord.NodeColumns)), ["net/sockstat"]),
        ["sockstat6"] = (Table(static () => new SockstatLayout(SockRecord.Columns6)), ["net/sockstat6"]),
        ["ipvs"] = (Table(static () => new IpvsLayout(IpvsRecord.Columns)), ["net/ip_vs_stats"]),
        ["netdev"] = (NetDev, ["net/dev"]),
        ["softnet"] = (Softnet, ["net/softnet_stat"]),
        ["sysctl"] = (static bytes => SysctlParser.TryParse(bytes, stackalloc Reading[3]), ["sys/net/ipv4/tcp_mem"]),
        ["cpulist"] = (CpuLists, ["/sys/devices/system/cpu/online"]),
        ["stat"] = (Stat, ["self/stat"]),
        ["limits"] = (static bytes => LimitsParser.TryParse(bytes, "Max open files"u8, out _), ["self/limits"]),
        ["io"] = (static bytes => IoParser.TryParse(bytes, out _), ["self/io"]),
        ["cgroup"] = (Cgroup, ["self/cgroup"]),
        ["fields"] = (Fields, ["net/sockstat", "net/dev"]),
        ["netlink"] = (NetlinkTargets.Messages, NetlinkFiles),
        ["conntrack"] = (NetlinkTargets.Conntrack, NetlinkFiles),
        ["tcpsummary"] = (NetlinkTargets.TcpSummary, ["netlink/tcp-connections.bin", "netlink/tcp-connections-info.bin", "netlink/tcp-listeners.bin"]),
        ["ipvs_services"] = (NetlinkTargets.Ipvs, ["netlink/ipvs-services.bin", "netlink/ipvs-servers.bin"]),
        ["qdisc"] = (NetlinkTargets.Qdisc, ["netlink/qdisc-fq.bin", "netlink/qdisc-fq_codel.bin", "netlink/qdisc-htb.bin", "netlink/qdisc-htb-classes.bin", "netlink/link.bin", "netlink/link-stats.bin"]),
    };

    // Captures; there is no such file below /proc.
    private static string[] NetlinkFiles => ["netlink/conntrack-events.bin", "netlink/conntrack-dump.bin", "netlink/conntrack-stats-cpu.bin", "netlink/conntrack-stats.bin"];

    private static FuzzTarget Table(Func<ITableLayout> make)
    {
        ITableLayout kept = make();
        var keptSlots = new Reading[kept.SlotCount];
        var freshSlots = new Reading[kept.SlotCount];
        return bytes =>
        {
            bool keptOk = kept.TryParse(bytes, keptSlots, out ParseFault keptFault);
            ITableLayout fresh = make();
            bool freshOk = fresh.TryParse(bytes, freshSlots, out ParseFault freshFault);
            Promise(keptOk == freshOk, $"a kept layout says {keptOk} ({keptFault}), a fresh one {freshOk} ({freshFault})");
            Promise(keptOk == (keptFault.Kind == FaultKind.None), $"the result {keptOk} comes with the fault {keptFault}");
            if (!keptOk) return;
            // The last slot of some layouts takes what nobody wants.
            for (int i = 0; i < keptSlots.Length - 1; i++)
                Promise(keptSlots[i] == freshSlots[i], $"slot {i} is '{keptSlots[i]}' by a kept layout, '{freshSlots[i]}' by a fresh one");
        };
    }

    private static FuzzTarget Total(SnmpLayout layout)
    {
        var slots = new Reading[layout.SlotCount];
        return bytes =>
        {
            bool ok = layout.TryParse(bytes, slots, out ParseFault fault);
            Promise(ok == (fault.Kind == FaultKind.None), $"the result {ok} comes with the fault {fault}");
            foreach (ColumnSet set in (ColumnSet[])[TcpExtRecord.Columns, MptcpRecord.Columns])
                Promise(layout.OthersOf(set).Count <= set.Others, "more other columns than slots");
        };
    }

    private static void NetDev(ReadOnlySpan<byte> bytes)
    {
        var fields = new Reading[NetDevRecord.Columns.Length];
        var cursor = new NetDevCursor(bytes, new NetDevHeader());
        int rows = 0;
        while (cursor.MoveNext(fields))
        {
            Promise(++rows <= bytes.Length, "more rows than bytes");
            Promise(!cursor.Name.IsEmpty && bytes.Overlaps(cursor.Name), "a name that is not in the text");
        }
    }

    private static void Softnet(ReadOnlySpan<byte> bytes)
    {
        var cursor = new SoftnetCursor(bytes);
        int rows = 0;
        while (cursor.MoveNext())
        {
            Promise(++rows <= bytes.Length, "more rows than bytes");
            Promise(cursor.ColumnCount is > 0 and <= SoftnetColumns.Count, "columns that do not exist");
        }
    }

    private static void CpuLists(ReadOnlySpan<byte> bytes)
    {
        var cpus = new List<int>();
        if (!CpuList.TryParse(bytes, cpus, 4096)) return;
        Promise(cpus.Count <= 4096 && cpus.TrueForAll(static c => c is >= 0 and < 4096), "CPUs that do not exist");
    }

    private static void Stat(ReadOnlySpan<byte> bytes)
    {
        if (ProcStatParser.TryParse(bytes, out _, out ReadOnlySpan<byte> command) != FaultKind.None) return;
        Promise(command.IsEmpty || bytes.Overlaps(command), "a command that is not in the text");
    }

    private static void Cgroup(ReadOnlySpan<byte> bytes)
    {
        var cgroups = new CgroupCursor(bytes);
        int lines = 0;
        while (cgroups.MoveNext())
        {
            Promise(++lines <= bytes.Count((byte)'\n'), "more cgroups than lines");
            Promise(cgroups.Current is [(byte)'/', ..] && bytes.Overlaps(cgroups.Current), "a path that is not in the text");
        }
    }

    private static void Fields(ReadOnlySpan<byte> bytes)
    {
        var line = new LineCursor(bytes);
        int lines = 0;
        while (line.MoveNext())
        {
            Promise(++lines <= bytes.Length, "more lines than bytes");
            var number = new FieldCursor(line.Current);
            for (int i = 0; !number.AtEnd && number.Fault == FaultKind.None; i++)
            {
                Promise(i <= line.Current.Length, "more numbers than bytes");
                _ = i % 2 == 0 ? number.UInt64() : number.Hex64();
            }
            var word = new FieldCursor(line.Current);
            for (int i = 0; !word.AtEnd && word.Fault == FaultKind.None; i++)
            {
                Promise(i <= line.Current.Length, "more words than bytes");
                _ = i % 3 == 2 ? word.Until((byte)':') : word.Word();
            }
        }
    }

    internal static void Promise(bool holds, string otherwise)
    {
        if (!holds) throw new BrokenPromiseException(otherwise);
    }
}
