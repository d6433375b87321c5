using System.Text;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Sources;

namespace KubeSkoop.Probes.Ebpf.Tests.Sources;

/// <summary>Columns of <c>/proc</c> get their places by name, and where a name leads nowhere, none.</summary>
public sealed class MibColumnsTests
{
    private static readonly Dictionary<string, Dictionary<string, long>> Kernel = new()
    {
        ["IPSTATS_MIB_NUM"] = new()
        {
            ["IPSTATS_MIB_NUM"] = 0,
            ["IPSTATS_MIB_INPKTS"] = 1,
            ["IPSTATS_MIB_OUTREQUESTS"] = 8,
            ["IPSTATS_MIB_OUTPKTS"] = 9,
            ["IPSTATS_MIB_OUTFORWDATAGRAMS"] = 11,
            ["IPSTATS_MIB_CSUMERRORS"] = 36,
            ["IPSTATS_MIB_REASM_OVERLAPS"] = 37,
        },
        ["LINUX_MIB_NUM"] = new()
        {
            ["LINUX_MIB_NUM"] = 0,
            ["LINUX_MIB_TIMEWAITED"] = 11,
            ["LINUX_MIB_PAWS_OLD_ACK"] = 18,
            ["LINUX_MIB_PAWS_TW_REJECTED"] = 19,
            ["LINUX_MIB_DELAYEDACKS"] = 20,
            ["LINUX_MIB_FAROUT"] = 256,
        },
        ["ICMP_MIB_NUM"] = new() { ["ICMP_MIB_INMSGS"] = 1, ["ICMP_MIB_INECHOS"] = 8, ["ICMP_MIB_RATELIMITHOST"] = 29 },
        ["ICMP6_MIB_NUM"] = new() { ["ICMP6_MIB_INMSGS"] = 1 },
        ["TCP_MIB_NUM"] = new() { ["TCP_MIB_ACTIVEOPENS"] = 5, ["TCP_MIB_CSUMERRORS"] = 15 },
    };

    private readonly MibColumns _columns = new(static anchor => Kernel.GetValueOrDefault(anchor));

    [Fact]
    public void Names_lead_to_the_kernels_enumerators()
    {
        int ip = Word("Ip:", "InReceives") - 1;
        Assert.Equal(ip + 11, Word("Ip:", "ForwDatagrams"));
        Assert.Equal(ip + 8, Word("Ip:", "OutRequests"));
        Assert.Equal(ip + 9, Word("Ip:", "OutTransmits"));
        Assert.Equal(ip + 36, Word("IpExt:", "InCsumErrors")); // the same array, another section of the file
        Assert.Equal(ip + 37, Word("IpExt:", "ReasmOverlaps"));
        int linux = Word("TcpExt:", "DelayedACKs") - 20;
        Assert.Equal(linux + 11, Word("TcpExt:", "TW"));
        Assert.Equal(linux + 18, Word("TcpExt:", "PAWSOldAck"));
        Assert.Equal(linux + 19, Word("TcpExt:", "PAWSTimewait"));
        Assert.NotEqual(Word("Ip6", "InReceives"), ip + 1); // another array
        Assert.Equal(Mibs.IPv6, _columns.Find("Ip6", "InReceives")!.Value.Mib);
        Assert.Equal(Word("Tcp:", "ActiveOpens") + 10, Word("Tcp:", "InCsumErrors"));
    }

    [Fact]
    public void Before_6_7_requests_are_what_is_called_transmits_later()
    {
        var older = new MibColumns(static anchor => anchor == "IPSTATS_MIB_NUM" ? new Dictionary<string, long> { ["IPSTATS_MIB_INPKTS"] = 1, ["IPSTATS_MIB_OUTPKTS"] = 8 } : null);
        Assert.Equal(older.Find("Ip:", "InReceives")!.Value.Word + 7, older.Find("Ip:", "OutRequests")!.Value.Word);
        Assert.Null(older.Find("Tcp:", "ActiveOpens"));
    }

    [Fact]
    public void Messages_are_found_by_their_type_and_not_by_the_enumerators_they_once_had()
    {
        Assert.Equal(Mibs.IcmpTypes, _columns.Find("Icmp:", "InEchos")!.Value.Mib);
        Assert.Equal(8, Word("Icmp:", "InEchos") - Word("Icmp:", "InEchoReps"));
        Assert.Equal(20, Word("Icmp:", "OutEchos") - Word("Icmp:", "InEchos"));
        Assert.Equal(15, Word("Icmp6", "InMLDv2Reports") - Word("Icmp6", "InEchos"));
        Assert.Equal(3, Word("Icmp6", "OutParmProblems") - Word("Icmp6", "OutDestUnreachs"));
        Assert.Equal(Mibs.Icmp, _columns.Find("Icmp:", "OutRateLimitHost")!.Value.Mib);
        Assert.Equal(Mibs.None, _columns.Find("Ip:", "Forwarding")!.Value.Mib);
    }

    [Theory]
    [InlineData("TcpExt:", "TCPSomethingNew")] // no such enumerator
    [InlineData("TcpExt:", "FarOut")] // beyond what the program reads
    [InlineData("TcpExt:", "Num")] // holds the place only
    [InlineData("Icmp6", "InSomethings")]
    [InlineData("Udp:", "InDatagrams")] // an enumeration this kernel does not tell
    [InlineData("Sctp:", "InPkts")]
    [InlineData("Tcp:", "")]
    public void What_is_not_known_is_not_guessed(string section, string column) => Assert.Null(_columns.Find(section, column));

    [LiveFact(Needs.Bpf, "bpftool")]
    public async Task This_kernels_nameless_enumerations_are_what_bpftool_says()
    {
        Btf btf = Btf.OfKernel()!;
        string[] dump = (await Command.OutputAsync("bpftool", "btf", "dump", "file", Btf.KernelPath, "format", "c")).Split('\n');
        foreach (string anchor in (string[])["IPSTATS_MIB_NUM", "ICMP_MIB_NUM", "ICMP6_MIB_NUM", "TCP_MIB_NUM", "UDP_MIB_NUM", "LINUX_MIB_NUM"])
        {
            int begin = Array.IndexOf(dump, $"\t{anchor} = 0,");
            Assert.True(begin > 0, $"bpftool shows no {anchor}.");
            Dictionary<string, long> expected = dump[begin..].TakeWhile(static l => l != "};")
                .Select(static l => l.Trim().TrimEnd(',').Split(" = "))
                .ToDictionary(static p => p[0], static p => long.Parse(p[1], System.Globalization.CultureInfo.InvariantCulture));
            Assert.Equal(expected.OrderBy(static p => p.Key, StringComparer.Ordinal), btf.EnumerationWith(anchor)!.OrderBy(static p => p.Key, StringComparer.Ordinal));
        }
        Assert.Null(btf.EnumerationWith("NO_SUCH_MIB_NUM"));
    }

    [Theory]
    [InlineData("0\n", "0")]
    [InlineData("0-3\n", "0 1 2 3")]
    [InlineData("0-1,4,6-7", "0 1 4 6 7")]
    public void Lists_of_cpus_are_read(string list, string expected)
    {
        var cpus = new StringBuilder();
        foreach (int cpu in MibSource.Cpus(list)) cpus.Append(cpus.Length > 0 ? " " : "").Append(cpu);
        Assert.Equal(expected, cpus.ToString());
    }

    private int Word(string section, string column) => _columns.Find(section, column)?.Word ?? throw new InvalidOperationException($"{section} {column} has no place.");
}
