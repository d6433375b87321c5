using System.Globalization;
using System.Text.RegularExpressions;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>What <c>conntrack</c> (conntrack-tools) and <c>nft</c> say and do in a test's namespace.</summary>
internal static partial class ConntrackWitness
{
    /// <summary>Makes the namespace track connections, both ways and both IP versions.</summary>
    internal static Task TrackAsync(this TestNamespace ns) => ns.NftAsync(
        """
        table inet track {
          chain in { type filter hook input priority 0; ct state new,established,related accept; }
          chain out { type filter hook output priority 0; ct state new,established,related accept; }
        }
        """);

    /// <summary>Adds nftables rules.</summary>
    internal static Task<string> NftAsync(this TestNamespace ns, string rules) => ns.ExecuteAsync("nft", rules);

    /// <summary>Runs <c>conntrack</c>.</summary>
    internal static Task<string> ConntrackAsync(this TestNamespace ns, string arguments) => ns.ExecuteAsync("conntrack", arguments.Split(' '));

    /// <summary>The per-CPU counters of <c>conntrack -S</c>, summed.</summary>
    internal static async Task<IReadOnlyDictionary<string, ulong>> ConntrackStatisticsAsync(this TestNamespace ns)
    {
        var sums = new Dictionary<string, ulong>();
        foreach (Match match in NameAndNumber().Matches(await ns.ConntrackAsync("-S")))
        {
            string name = match.Groups[1].Value;
            sums[name] = sums.GetValueOrDefault(name) + ulong.Parse(match.Groups[2].ValueSpan, CultureInfo.InvariantCulture);
        }
        return sums;
    }

    /// <summary>The entries of <c>conntrack -C</c>.</summary>
    internal static async Task<ulong> ConntrackCountAsync(this TestNamespace ns) =>
        ulong.Parse((await ns.ConntrackAsync("-C")).Trim(), CultureInfo.InvariantCulture);

    /// <summary>The lines of <c>conntrack -L</c>, of both IP versions.</summary>
    internal static async Task<string[]> ConntrackListAsync(this TestNamespace ns) =>
        [.. (await ns.ConntrackAsync("-L -f ipv4") + await ns.ConntrackAsync("-L -f ipv6")).Split('\n', StringSplitOptions.RemoveEmptyEntries)];

    [GeneratedRegex("([a-z_]+)=([0-9]+)")]
    private static partial Regex NameAndNumber();
}
