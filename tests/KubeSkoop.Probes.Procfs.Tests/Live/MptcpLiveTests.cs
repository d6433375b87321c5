using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>mptcp: known connections show, and every column is what <c>nstat</c> says.</summary>
public sealed class MptcpLiveTests
{
    [LiveFact(Needs.NetNs | Needs.Mptcp, "nstat")]
    public async Task Every_column_of_this_kernel_is_what_nstat_says()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("mptcp");
        bool can = File.Exists("/proc/sys/net/mptcp/enabled");
        if (can) await ConnectAsync(ns, 3);

        (MptcpRecord[] ours, var nstat) = await probes.BesideNstatAsync<MptcpRecord>("mptcp", ns);
        string[] columns = [.. ((MptcpProbe)probes.Manager.Find("mptcp")!).Columns];
        string[] known = [.. nstat.Keys.Where(static k => k.StartsWith("MPTcpExt", StringComparison.Ordinal))];
        Assert.Equal(known.Order(StringComparer.Ordinal), columns.Select(static c => "MPTcpExt" + c).Order(StringComparer.Ordinal));
        for (int i = 0; i < columns.Length; i++) Assert.Equal((columns[i], new Reading(nstat["MPTcpExt" + columns[i]])), (columns[i], ours[0][i]));
        Assert.Equal(can, columns.Length > 0);
        if (!can) return; // a kernel without it: no columns, no rows
        Assert.Equal((3ul, 3ul), (Column("MPCapableSYNTX"), Column("MPCapableSYNRX")));
        Assert.Equal(0ul, Column("MPCapableFallbackACK"));

        ulong Column(string name) => ours[0][Array.IndexOf(columns, name)].Value;
    }

    private static async Task ConnectAsync(TestNamespace ns, int count)
    {
        using Socket listener = await ns.OpenMptcpAsync();
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(16);
        for (int i = 0; i < count; i++)
        {
            using Socket client = await ns.OpenMptcpAsync();
            await client.ConnectAsync(listener.LocalEndPoint!);
            using Socket server = await listener.AcceptAsync();
            client.Send([1]);
            Assert.Equal(1, server.Receive(new byte[1]));
        }
    }
}
