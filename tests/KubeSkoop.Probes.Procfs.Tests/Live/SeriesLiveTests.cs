using System.Net;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>All probes together on real namespaces.</summary>
public sealed class SeriesLiveTests
{
    [LiveFact(Needs.NetNs)]
    public async Task No_series_is_there_twice_and_every_namespace_has_its_rows()
    {
        await using TestNamespace bound = await TestNamespace.CreateAsync();
        await using TestNamespace unbound = await TestNamespace.CreateUnboundAsync();
        await bound.SendUdpAsync(1, new IPEndPoint(IPAddress.Loopback, 9));
        string[] names = ["sock", "tcp", "udp", "ip", "icmp", "tcpext", "netdev", "softnet", "fd", "io"];
        await using LiveProbes probes = await LiveProbes.StartAsync(names);
        probes.Namespaces.Refresh();
        for (int round = 0; round < 3; round++)
        {
            var seen = new RecordingVisitor();
            probes.Manager.Collect(seen);
            foreach (string name in names)
            {
                IReadOnlyList<RecordedRow> rows = seen.RowsOf(name);
                // What a writer makes labels of: two rows alike would be one series twice, and a scraper refuses the whole answer.
                Assert.Equal(rows.Count, rows.Select(static r => (r.Subject.Namespace?.Inode, r.Subject.Pod, string.Join(',', r.Subject.Attributes.ToArray()))).Distinct().Count());
                if (name == "softnet") Assert.All(rows, static r => Assert.Null(r.Subject.Namespace));
                else foreach (TestNamespace ns in (TestNamespace[])[bound, unbound]) Assert.Contains(rows, r => r.Subject.Namespace?.Inode == ns.Inode && r.Values.Count > 0);
                Assert.Contains(rows, r => name == "softnet" || r.Subject.Namespace?.Inode == TestNamespace.OwnInode);
            }
        }
    }
}
