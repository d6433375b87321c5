using System.Runtime.CompilerServices;

namespace KubeSkoop.Probes.Ebpf.Sources;

/// <summary>Where a column's number lies in a <see cref="RawMibs"/>, in words of 8 bytes, and the group it belongs to.</summary>
internal readonly record struct MibPlace(int Word, Mibs Mib);

/// <summary>
/// Finds the columns that <c>/proc</c> shows in the kernel's own arrays. Most are called as their enumerator is (<c>TcpExt: DelayedACKs</c> is LINUX_MIB_DELAYEDACKS), and its
/// value comes from the running kernel's BTF; the rest is listed here (net/ipv4/proc.c, net/ipv6/proc.c). What is in neither is not guessed.
/// </summary>
/// <param name="enumeration">The enumeration that has a given enumerator, by name.</param>
internal sealed class MibColumns(Func<string, IReadOnlyDictionary<string, long>?> enumeration)
{
    // Candidates in order: a kernel before 6.7 counts OutRequests where later ones count OutTransmits.
    private static readonly Dictionary<string, string> OtherNames = new()
    {
        ["IPSTATS_MIB_INRECEIVES"] = "INPKTS",
        ["IPSTATS_MIB_FORWDATAGRAMS"] = "OUTFORWDATAGRAMS",
        ["IPSTATS_MIB_OUTREQUESTS"] = "OUTPKTS",
        ["IPSTATS_MIB_OUTTRANSMITS"] = "OUTPKTS",
        ["IPSTATS_MIB_INCSUMERRORS"] = "CSUMERRORS",
        ["IPSTATS_MIB_INNOECTPKTS"] = "NOECTPKTS",
        ["IPSTATS_MIB_INECT1PKTS"] = "ECT1PKTS",
        ["IPSTATS_MIB_INECT0PKTS"] = "ECT0PKTS",
        ["IPSTATS_MIB_INCEPKTS"] = "CEPKTS",
        ["ICMP_MIB_INCSUMERRORS"] = "CSUMERRORS",
        ["ICMP_MIB_OUTRATELIMITGLOBAL"] = "RATELIMITGLOBAL",
        ["ICMP_MIB_OUTRATELIMITHOST"] = "RATELIMITHOST",
        ["ICMP6_MIB_INCSUMERRORS"] = "CSUMERRORS",
        ["ICMP6_MIB_OUTRATELIMITHOST"] = "RATELIMITHOST",
        ["TCP_MIB_INCSUMERRORS"] = "CSUMERRORS",
        ["UDP_MIB_INCSUMERRORS"] = "CSUMERRORS",
        ["LINUX_MIB_TW"] = "TIMEWAITED",
        ["LINUX_MIB_TWRECYCLED"] = "TIMEWAITRECYCLED",
        ["LINUX_MIB_TWKILLED"] = "TIMEWAITKILLED",
        ["LINUX_MIB_PAWSACTIVE"] = "PAWSACTIVEREJECTED",
        ["LINUX_MIB_PAWSESTAB"] = "PAWSESTABREJECTED",
        ["LINUX_MIB_PAWSTIMEWAIT"] = "PAWSTWREJECTED",
        ["LINUX_MIB_TCPSACKSHIFTED"] = "SACKSHIFTED",
        ["LINUX_MIB_TCPSACKMERGED"] = "SACKMERGED",
        ["LINUX_MIB_TCPSACKSHIFTFALLBACK"] = "SACKSHIFTFALLBACK",
        ["LINUX_MIB_IPREVERSEPATHFILTER"] = "IPRPFILTER",
    };

    // Numbers of messages, RFC 792 and its successors.
    private static readonly Dictionary<string, int> IcmpTypes = new()
    {
        ["EchoReps"] = 0,
        ["DestUnreachs"] = 3,
        ["SrcQuenchs"] = 4,
        ["Redirects"] = 5,
        ["Echos"] = 8,
        ["TimeExcds"] = 11,
        ["ParmProbs"] = 12,
        ["Timestamps"] = 13,
        ["TimestampReps"] = 14,
        ["AddrMasks"] = 17,
        ["AddrMaskReps"] = 18,
    };

    // RFC 4443, 2710, 3810, 4861.
    private static readonly Dictionary<string, int> IcmpV6Types = new()
    {
        ["DestUnreachs"] = 1,
        ["PktTooBigs"] = 2,
        ["TimeExcds"] = 3,
        ["ParmProblems"] = 4,
        ["Echos"] = 128,
        ["EchoReplies"] = 129,
        ["GroupMembQueries"] = 130,
        ["GroupMembResponses"] = 131,
        ["GroupMembReductions"] = 132,
        ["RouterSolicits"] = 133,
        ["RouterAdvertisements"] = 134,
        ["NeighborSolicits"] = 135,
        ["NeighborAdvertisements"] = 136,
        ["Redirects"] = 137,
        ["MLDv2Reports"] = 143,
    };

    private static readonly Dictionary<string, Section> Sections = Describe();

    private readonly Dictionary<string, Dictionary<string, long>?> _enumerators = [];

    /// <summary>Where the column's number is; <see langword="null"/> when that does not follow.</summary>
    /// <param name="section">The section, as the table calls it: <c>Tcp:</c>, <c>Udp6</c>.</param>
    /// <param name="column">The kernel's name of the column.</param>
    internal MibPlace? Find(string section, string column)
    {
        if (!Sections.TryGetValue(section, out Section? known)) return null;
        if (known.Fixed.TryGetValue(column, out MibPlace place)) return place;
        if (EnumeratorsOf(known.Prefix) is not { } enumerators) return null;
        string name = Plain(column);
        if (!enumerators.TryGetValue(name, out long index) && !(OtherNames.TryGetValue(known.Prefix + name, out string? other) && enumerators.TryGetValue(other, out index))) return null;
        // The first of each enumeration only holds its place.
        return index > 0 && index < known.Room ? new MibPlace(known.Begin + (int)index, known.Mib) : null;
    }

    private Dictionary<string, long>? EnumeratorsOf(string prefix)
    {
        if (_enumerators.TryGetValue(prefix, out Dictionary<string, long>? plain)) return plain;
        if (enumeration(prefix + "NUM") is { } values)
        {
            plain = [];
            foreach ((string name, long value) in values)
                if (name.StartsWith(prefix, StringComparison.Ordinal)) plain.TryAdd(Plain(name[prefix.Length..]), value);
        }
        return _enumerators[prefix] = plain;
    }

    private static string Plain(string name) => name.Replace("_", "", StringComparison.Ordinal).ToUpperInvariant();

    private static Dictionary<string, Section> Describe()
    {
        var raw = new RawMibs();
        var sections = new Dictionary<string, Section>
        {
            ["Ip:"] = new("IPSTATS_MIB_", Mibs.Ip, WordOf(ref raw, ref raw.Ip), 64),
            ["IpExt:"] = new("IPSTATS_MIB_", Mibs.Ip, WordOf(ref raw, ref raw.Ip), 64),
            ["Tcp:"] = new("TCP_MIB_", Mibs.Tcp, WordOf(ref raw, ref raw.Tcp), 32),
            ["TcpExt:"] = new("LINUX_MIB_", Mibs.Linux, WordOf(ref raw, ref raw.Linux), 256),
            ["Udp:"] = new("UDP_MIB_", Mibs.Udp, WordOf(ref raw, ref raw.Udp), 16),
            ["Icmp:"] = new("ICMP_MIB_", Mibs.Icmp, WordOf(ref raw, ref raw.Icmp), 32),
            ["Ip6"] = new("IPSTATS_MIB_", Mibs.IPv6, WordOf(ref raw, ref raw.IPv6), 64),
            ["Udp6"] = new("UDP_MIB_", Mibs.UdpV6, WordOf(ref raw, ref raw.UdpV6), 16),
            ["Icmp6"] = new("ICMP6_MIB_", Mibs.IcmpV6, WordOf(ref raw, ref raw.IcmpV6), 16),
        };
        sections["Ip:"].Fixed["Forwarding"] = new MibPlace(WordOf(ref raw, ref raw.Forwarding), Mibs.None);
        sections["Ip:"].Fixed["DefaultTTL"] = new MibPlace(WordOf(ref raw, ref raw.DefaultTtl), Mibs.None);
        // Messages by type are not where the enumerators of their names are: those are left over from the time before.
        foreach ((string name, int type) in IcmpTypes)
        {
            sections["Icmp:"].Fixed["In" + name] = new MibPlace(WordOf(ref raw, ref raw.IcmpIn) + type, Mibs.IcmpTypes);
            sections["Icmp:"].Fixed["Out" + name] = new MibPlace(WordOf(ref raw, ref raw.IcmpOut) + type, Mibs.IcmpTypes);
        }
        foreach ((string name, int type) in IcmpV6Types)
        {
            int received = type < 128 ? WordOf(ref raw, ref raw.IcmpV6InErrors) + type : WordOf(ref raw, ref raw.IcmpV6In) + type - 128;
            int sent = type < 128 ? WordOf(ref raw, ref raw.IcmpV6OutErrors) + type : WordOf(ref raw, ref raw.IcmpV6Out) + type - 128;
            sections["Icmp6"].Fixed["In" + name] = new MibPlace(received, Mibs.IcmpV6Types);
            sections["Icmp6"].Fixed["Out" + name] = new MibPlace(sent, Mibs.IcmpV6Types);
        }
        return sections;
    }

    private static int WordOf<T>(ref RawMibs raw, ref T member) => (int)Unsafe.ByteOffset(ref Unsafe.As<RawMibs, byte>(ref raw), ref Unsafe.As<T, byte>(ref member)) / sizeof(ulong);

    private sealed record Section(string Prefix, Mibs Mib, int Begin, int Room)
    {
        internal Dictionary<string, MibPlace> Fixed { get; } = [];
    }
}
