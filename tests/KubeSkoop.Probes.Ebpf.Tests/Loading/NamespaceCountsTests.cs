using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Ebpf.Tests.Loading;

/// <summary>Counters that programs keep by namespace, through a namespace's life: on a map of real programs that are attached to nothing.</summary>
public sealed class NamespaceCountsTests
{
    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_namespace_that_ends_takes_its_counters_with_it()
    {
        using BpfObject programs = Load();
        nint map = programs.Map("counts");
        using var source = new ProcNamespaceSource();
        using IDisposable lease = source.Acquire();
        using var counts = new NamespaceCounts(map);
        uint inode;
        await using (TestNamespace ns = await TestNamespace.CreateAsync())
        {
            inode = ns.Inode;
            Put(map, inode, [1, 2, 3, 4]);
            source.Refresh();
            counts.Read(source.Current);
            Assert.Equal([1, 2, 3, 4], counts.Of(source.Current.Single(n => n.Inode == inode)).ToArray());
            Put(map, inode, [5, 2, 3, 4]);
            counts.Read(source.Current);
            Assert.Equal([5, 2, 3, 4], counts.Of(source.Current.Single(n => n.Inode == inode)).ToArray());
        }
        // The next namespace with its number must not find them.
        await Eventually.TrueAsync(() =>
        {
            source.Refresh();
            return !Has(map, inode);
        }, "the counters to be deleted");
        counts.Read(source.Current);
        Assert.False(counts.Unattributed.ContainsAnyExcept(0ul));
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task What_a_namespace_counted_that_nobody_has_seen_is_the_nodes_after_a_while()
    {
        const uint Nobody = 17;
        using BpfObject programs = Load();
        nint map = programs.Map("counts");
        using var source = new ProcNamespaceSource();
        using IDisposable lease = source.Acquire();
        using var counts = new NamespaceCounts(map, TimeSpan.FromMilliseconds(50));
        Put(map, Nobody, [7, 0, 0, 1]);
        counts.Read(source.Current);
        Assert.False(counts.Unattributed.ContainsAnyExcept(0ul)); // it may only be young
        await Task.Delay(60);
        counts.Read(source.Current);
        Assert.Equal([7, 0, 0, 1], counts.Unattributed.ToArray());
        Assert.False(Has(map, Nobody));
        counts.Read(source.Current);
        Assert.Equal([7, 0, 0, 1], counts.Unattributed.ToArray()); // once
        Put(map, Nobody, [1, 0, 0, 0]);
        counts.Read(source.Current);
        await Task.Delay(60);
        counts.Read(source.Current);
        Assert.Equal([8, 0, 0, 1], counts.Unattributed.ToArray());
    }

    private static BpfObject Load()
    {
        var options = new EbpfOptions();
        return BpfObject.Load("tcpreset", [], KernelFeatures.Of(options), options);
    }

    private static unsafe void Put(nint map, uint key, ulong[] values)
    {
        fixed (ulong* p = values) Assert.Equal(0, Libbpf.Update(Libbpf.MapDescriptor(map), &key, p, 0));
    }

    private static unsafe bool Has(nint map, uint key)
    {
        ulong* values = stackalloc ulong[4];
        return Libbpf.Lookup(Libbpf.MapDescriptor(map), &key, values) == 0;
    }
}
