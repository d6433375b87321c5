using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Ebpf.Tests.Loading;

/// <summary>Counters by namespace, reason and place: on a map of real programs that are attached to nothing.</summary>
public sealed class PacketLossCountsTests
{
    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task What_belongs_to_no_namespace_is_the_nodes_and_those_that_are_not_asked_for_have_no_row()
    {
        var options = new EbpfOptions();
        using BpfObject programs = BpfObject.Load("packetloss", BpfObject.Image("packetloss"), [], KernelFeatures.Of(options), options, logger: null, ("counts", 1024u));
        nint map = programs.Map("counts");
        using var source = new ProcNamespaceSource();
        using IDisposable lease = source.Acquire();
        await using TestNamespace asked = await TestNamespace.CreateAsync(), other = await TestNamespace.CreateAsync();
        source.Refresh();
        NetworkNamespace[] both = [source.Current.Single(n => n.Inode == asked.Inode), source.Current.Single(n => n.Inode == other.Inode)];
        using var counts = new PacketLossCounts(map, new AliveNamespaces(new EbpfPrograms(source)), inode => inode == asked.Inode, static _ => null, static _ => default);
        var nowhere = new PacketLossKey { Location = 1 };
        foreach (ulong hits in (ulong[])[3, 7, 7])
        {
            Put(map, nowhere, hits); // the program goes on counting where it is
            var batch = new SampleBatch<PacketLossRecord>();
            counts.Read(both, batch);
            Assert.Equal([(asked.Inode, 0ul), (0u, hits)], batch.Rows.ToArray().Select(static r => (r.Namespace?.Inode ?? 0, r.Value.Total.Value)));
            Assert.True(Has(map, nowhere));
        }
    }

    private static unsafe void Put(nint map, PacketLossKey key, ulong packets)
    {
        ulong* counts = stackalloc ulong[2] { packets, 60 * packets };
        Assert.Equal(0, Libbpf.Update(Libbpf.MapDescriptor(map), &key, counts, 0));
    }

    private static unsafe bool Has(nint map, PacketLossKey key)
    {
        ulong* counts = stackalloc ulong[2];
        return Libbpf.Lookup(Libbpf.MapDescriptor(map), &key, counts) == 0;
    }
}
