using System.Net;
using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.IntegrationTests.Live;

/// <summary>Namespaces that end between two samples: their last numbers, to the packet, then nothing of them.</summary>
public sealed class LastNumbersTests
{
    private const int Datagrams = 7;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    [LiveTheory(Needs.NetNs)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_a_namespace_counted_until_its_end_is_in_the_next_sample_and_in_no_other(bool isSampledBefore)
    {
        await using ServiceProvider services = new ServiceCollection().AddKubeSkoopProbes().AddProcfs(static o => o.RefreshInterval = TimeSpan.FromMilliseconds(100))
            .AddNetlink().AddEbpf().Services.BuildServiceProvider();
        var manager = services.GetRequiredService<IProbeManager>();
        var source = services.GetRequiredService<INetworkNamespaceSource>();
        var udp = (IMetricProbe<UdpRecord>)await StartAsync(manager, "udp");
        var netdev = (IMetricProbe<NetDevRecord>)await StartAsync(manager, "netdev");
        var qdisc = (IMetricProbe<QdiscRecord>)await StartAsync(manager, "qdisc");
        var packetloss = Machine.Lacks(Needs.Bpf) is null ? (IMetricProbe<PacketLossRecord>)await StartAsync(manager, "packetloss") : null;
        _ = (udp.Sample(), netdev.Sample(), qdisc.Sample(), packetloss?.Sample()); // somebody reads them

        TestNamespace pod = await TestNamespace.CreateUnboundAsync();
        NetworkNamespace? ns = null;
        await Eventually.TrueAsync(() => (ns = source.Current.SingleOrDefault(n => n.Inode == pod.Inode)) is not null, "the namespace to be found", Patience);
        if (isSampledBefore) Assert.Equal(2, RowsOf(udp, ns!).Count); // one for each version of IP
        await pod.SendUdpAsync(Datagrams, new IPEndPoint(IPAddress.Loopback, 9), size: 100); // a closed port: each is answered by ICMP
        await pod.DisposeAsync();
        await Eventually.TrueAsync(() => ns!.Ended.IsCancellationRequested, "the end of the namespace", Patience);
        Assert.DoesNotContain(ns, source.Current);
        Assert.DoesNotContain(Descriptors(), target => target == $"net:[{pod.Inode}]"); // nobody holds it any more

        UdpRecord sent = Assert.Single(RowsOf(udp, ns!), static r => r.Version == IpVersion.IPv4);
        Assert.Equal((Datagrams, Datagrams), ((int)sent.OutDatagrams.Value, (int)sent.NoPorts.Value));
        Assert.Equal(2 * Datagrams, (int)Assert.Single(RowsOf(netdev, ns!)).SentPackets.Value);
        _ = RowsOf(qdisc, ns!);
        if (packetloss is not null) Assert.Equal(Datagrams, (int)Assert.Single(RowsOf(packetloss, ns!), static r => r.Total.HasValue).Total.Value);

        Assert.Empty(RowsOf(udp, ns!));
        Assert.Empty(RowsOf(netdev, ns!));
        Assert.Empty(RowsOf(qdisc, ns!));
        if (packetloss is not null) Assert.Empty(RowsOf(packetloss, ns!));
        Assert.All(manager.Probes, static p => Assert.Equal(0, p.Statistics.Errors));
    }

    private static async Task<IProbe> StartAsync(IProbeManager manager, string name) => (await manager.StartAsync(name)).Probe;

    private static List<TRecord> RowsOf<TRecord>(IMetricProbe<TRecord> probe, NetworkNamespace ns)
        where TRecord : struct
    {
        var rows = new List<TRecord>();
        foreach (ref readonly SampleRow<TRecord> row in probe.Sample())
            if (row.Namespace == ns) rows.Add(row.Value);
        return rows;
    }

    private static IEnumerable<string?> Descriptors()
    {
        foreach (string descriptor in Directory.GetFileSystemEntries("/proc/self/fd"))
        {
            string? target = null;
            try
            {
                target = new FileInfo(descriptor).LinkTarget;
            }
            catch (IOException)
            {
                // Closed meanwhile.
            }
            yield return target;
        }
    }
}
