using System.Net;
using KubeSkoop.Probes.Ebpf.Tests.Live;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf.Tests.Ring;

/// <summary>More events than anybody can take: each is received, or counted as dropped where it was.</summary>
[Collection("alone")]
public sealed class FloodTests
{
    [LiveFact(Needs.NetNs | Needs.Bpf | Needs.Native, "nstat")]
    public async Task Of_a_million_events_each_is_received_or_counted_as_dropped()
    {
        const int Datagrams = 1_000_000;
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        PacketLossProbe probe = await bench.StartAsync(p => new PacketLossProbe(p, Options.Create(new PacketLossOptions { EventsPerSecond = 0, NetworkNamespaces = { ns.Inode } })));
        EventSubscription<PacketLossEvent> subscription = probe.Subscribe(new EventSubscriptionOptions { Capacity = 1000 });
        long received = 0;
        Task slow = Task.Run(async () =>
        {
            await foreach (PacketLossEvent _ in subscription.Reader.ReadAllAsync())
                if (++received % 1000 == 0) await Task.Delay(1);
        });

        await ns.SendUdpAsync(Datagrams, new IPEndPoint(IPAddress.Loopback, 4711));

        Assert.Equal((ulong)Datagrams, await ns.NstatAsync("UdpNoPorts"));
        _ = bench.Of(ns);
        ulong packets = probe.Sample().Rows.ToArray().Single(r => r.Namespace?.Inode == ns.Inode && r.Subject.Attributes.IsEmpty).Value.Total.Value;
        Assert.True(packets >= Datagrams);
        await Eventually.EqualAsync((long)packets, () => probe.Statistics.EventsSent + probe.ReadKernelStatistics().EventsLost, "published and lost together");
        await probe.StopAsync();
        subscription.Dispose(); // what it holds can still be read
        await slow;
        Assert.Equal(0, probe.ReadKernelStatistics().EventsSuppressed);
        Assert.Equal(probe.Statistics.EventsSent, received + subscription.Dropped);
        Assert.True(subscription.Dropped > 0 && received > 0);
    }
}
