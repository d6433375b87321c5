using System.Net;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>Events say whose both ends of their flow are.</summary>
public sealed class EventOwnersLiveTests
{
    [LiveTheory(Needs.NetNs | Needs.Bpf)]
    [InlineData("10.99.0.1", "10.99.0.2")]
    [InlineData("fd99::1", "fd99::2")]
    public async Task An_event_says_whose_its_flow_is_also_when_that_is_known_later(string from, string to)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            var pods = new KnownAddresses { Container = "main" };
            await using var bench = new EbpfBench(pods: pods);
            NetworkNamespace ns = bench.Of(left);
            ns.Update(ns.Facts with { Pod = new PodIdentity("shop", "client") });
            TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
            using var heard = new Heard<TcpResetEvent>(probe, left);
            using var other = new Heard<TcpResetEvent>(probe, right);
            await left.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Parse(to), 4711));

            TcpResetEvent received = Assert.Single(await heard.ExactlyAsync(1)), sent = Assert.Single(await other.ExactlyAsync(1));
            var client = new PeerIdentity(PeerKind.Pod, "client", "shop", EbpfBench.Node);
            Assert.Equal((client, null), (received.SourceOwner, received.DestinationOwner));
            Assert.Equal((null, null), (sent.SourceOwner, sent.DestinationOwner));
            Assert.Contains($"{received.Flow} in", received.Message, StringComparison.Ordinal);
            Assert.Equal(["k8s.src.name=client", "k8s.src.namespace=shop", "k8s.src.node.name=here", "k8s.src.type=pod"], Owners(received));

            pods.Set(from, PeerIdentity.Outside); // it seems so, as long as nobody has told of it
            pods.Set(to, new PeerIdentity(PeerKind.Service, "web", "shop"));
            Assert.Equal((client, new PeerIdentity(PeerKind.Service, "web", "shop")), (received.SourceOwner, received.DestinationOwner));
            Assert.Equal((new PeerIdentity(PeerKind.Service, "web", "shop"), PeerIdentity.Outside), (sent.SourceOwner, sent.DestinationOwner));
            pods.Set(from, new PeerIdentity(PeerKind.Pod, "client", "shop", "there"));
            Assert.Equal("there", sent.DestinationOwner?.Node);
            Assert.Contains($"{received.Flow} (to service shop/web) in", received.Message, StringComparison.Ordinal);
            Assert.Contains($"{sent.Flow} (service shop/web -> pod shop/client)", sent.Message, StringComparison.Ordinal);
            Assert.Equal(["k8s.dst.name=client", "k8s.dst.namespace=shop", "k8s.dst.node.name=there", "k8s.dst.type=pod", "k8s.src.name=web", "k8s.src.namespace=shop", "k8s.src.type=service"], Owners(sent));

            // What was known when it was made stays, whoever gets the address afterwards.
            await left.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Parse(to), 4711));
            TcpResetEvent second = (await heard.ExactlyAsync(2))[1];
            pods.Set(to, new PeerIdentity(PeerKind.Pod, "heir", "shop"));
            Assert.Equal("service shop/web", $"{second.DestinationOwner}");
            Assert.Equal(second.CgroupId is null ? null : "main", second.Container);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Over_loopback_both_ends_are_the_pods_own()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench(pods: new KnownAddresses());
        NetworkNamespace known = bench.Of(ns);
        known.Update(known.Facts with { Pod = new PodIdentity("shop", "alone") });
        TcpResetProbe probe = await bench.StartAsync(static p => new TcpResetProbe(p));
        using var heard = new Heard<TcpResetEvent>(probe, ns);
        await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        var alone = new PeerIdentity(PeerKind.Pod, "alone", "shop", EbpfBench.Node);
        Assert.All(await heard.ExactlyAsync(2), e => Assert.Equal((alone, alone), (e.SourceOwner, e.DestinationOwner)));
    }

    [LiveFact(Needs.NetNs | Needs.DropReasons)]
    public async Task Every_event_of_a_namespace_that_is_only_bound_to_a_name_says_so()
    {
        const int Datagrams = 40;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await right.EndProcessAsync();
            await using var bench = new EbpfBench();
            PacketLossProbe probe = await bench.StartAsync(static p => new PacketLossProbe(p));
            using var heard = new Heard<PacketLossEvent>(probe, e => e.Reason == "NO_SOCKET" && e.Flow?.Source.Port == 4711 && e.Flow.Value.Source.Address.Equals(TestNamespace.RightIPv4));
            for (int i = 0; i < Datagrams; i++)
            {
                await left.SendUdpAsync(1, new IPEndPoint(TestNamespace.RightIPv4, 4711));
                await Task.Delay(10);
            }
            Assert.All(await heard.ExactlyAsync(Datagrams), e => Assert.Equal((right.Inode, right.Name), (e.NetworkNamespaceInode, e.Namespace?.Name)));
        }
    }

    private static string[] Owners(EbpfEvent e)
    {
        var fields = new Fields();
        e.WriteFields(fields);
        return [.. fields.Written.Where(static f => f.StartsWith("k8s.src", StringComparison.Ordinal) || f.StartsWith("k8s.dst", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
    }

    private sealed class Fields : IEventFieldWriter
    {
        internal List<string> Written { get; } = [];

        public void Write(string name, string value) => Written.Add($"{name}={value}");

        public void Write(string name, long value)
        {
        }

        public void Write(string name, ulong value)
        {
        }

        public void Write(string name, double value)
        {
        }
    }
}
