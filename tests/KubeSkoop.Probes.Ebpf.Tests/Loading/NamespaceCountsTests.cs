using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Ebpf.Tests.Loading;

/// <summary>Counters that programs keep by namespace, through a namespace's life: on a map of real programs that are attached to nothing.</summary>
public sealed class NamespaceCountsTests
{
    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task A_namespace_that_ends_takes_its_counters_with_it_and_one_with_its_number_does_not_inherit_them()
    {
        using BpfObject programs = Load();
        nint map = programs.Map("counts");
        using var source = new ProcNamespaceSource();
        using IDisposable lease = source.Acquire();
        var alive = new AliveNamespaces(new EbpfPrograms(source));
        using var counts = new NamespaceCounts(map, alive);
        NamespaceKey key;
        NetworkNamespace seen;
        await using (TestNamespace ns = await TestNamespace.CreateAsync())
        {
            uint? cookie = null;
            alive.Read(0, (now, _) => cookie = now.CookieOf(ns.Inode));
            key = new NamespaceKey(ns.Inode, cookie!.Value);
            source.Refresh();
            seen = source.Current.Single(n => n.Inode == ns.Inode);
            Assert.Equal([0, 0, 0, 0], Read());
            Put(map, key, [1, 2, 3, 4]);
            Assert.Equal([1, 2, 3, 4], Read());
            Put(map, key, [5, 2, 3, 4]);
            Put(map, key with { Cookie = key.Cookie + 1 }, [9, 9, 9, 9]); // of one that had the number before, and was never seen
            Assert.Equal([5, 2, 3, 4], Read());
            Assert.Equal([9, 9, 9, 9], counts.Unattributed.ToArray());
        }
        await Eventually.TrueAsync(() => Read() is null && !Has(map, key), "the namespace and its counters to go");
        Assert.Equal([9, 9, 9, 9], counts.Unattributed.ToArray());

        // Of the snapshot as it was: whether the namespace is still seen does not matter.
        ulong[]? Read()
        {
            counts.Read([seen]);
            return counts.TryGet(seen, out ReadOnlySpan<ulong> found) ? found.ToArray() : null;
        }
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task What_a_living_namespace_counted_that_nobody_has_seen_is_the_nodes_after_a_while()
    {
        using BpfObject programs = Load();
        nint map = programs.Map("counts");
        using var source = new ProcNamespaceSource();
        var alive = new AliveNamespaces(new EbpfPrograms(source));
        using var counts = new NamespaceCounts(map, alive, TimeSpan.FromMilliseconds(50));
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        uint? cookie = null;
        alive.Read(0, (now, _) => cookie = now.CookieOf(ns.Inode));
        var key = new NamespaceKey(ns.Inode, cookie!.Value);
        Put(map, key, [7, 0, 0, 1]);
        counts.Read([]);
        Assert.False(counts.Unattributed.ContainsAnyExcept(0ul)); // it may only be young
        await Task.Delay(60);
        counts.Read([]);
        Assert.Equal([7, 0, 0, 1], counts.Unattributed.ToArray());
        Assert.False(Has(map, key));
        counts.Read([]);
        Assert.Equal([7, 0, 0, 1], counts.Unattributed.ToArray()); // once
        Put(map, new NamespaceKey(17, 18), [1, 0, 0, 0]); // one that does not exist
        counts.Read([]);
        Assert.Equal([8, 0, 0, 1], counts.Unattributed.ToArray());
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task A_full_map_says_nothing_of_namespaces_that_are_not_in_it()
    {
        using BpfObject programs = Load(room: 1);
        nint map = programs.Map("counts");
        using var source = new ProcNamespaceSource();
        var alive = new AliveNamespaces(new EbpfPrograms(source));
        using IDisposable lease = source.Acquire();
        using var counts = new NamespaceCounts(map, alive);
        await using TestNamespace first = await TestNamespace.CreateAsync(), second = await TestNamespace.CreateAsync();
        source.Refresh();
        NetworkNamespace[] both = [source.Current.Single(n => n.Inode == first.Inode), source.Current.Single(n => n.Inode == second.Inode)];
        counts.Read(both);
        Assert.True(counts.TryGet(both[0], out _) && counts.TryGet(both[1], out _));
        uint? cookie = null;
        alive.Read(0, (now, _) => cookie = now.CookieOf(first.Inode));
        Put(map, new NamespaceKey(first.Inode, cookie!.Value), [1, 0, 0, 0]);
        counts.Read(both);
        Assert.True(counts.TryGet(both[0], out ReadOnlySpan<ulong> found));
        Assert.Equal([1, 0, 0, 0], found.ToArray());
        Assert.False(counts.TryGet(both[1], out _));
    }

    private static BpfObject Load(uint room = 1024)
    {
        var options = new EbpfOptions();
        return BpfObject.Load("tcpreset", BpfObject.Image("tcpreset"), [], KernelFeatures.Of(options), options, logger: null, ("counts", room));
    }

    private static unsafe void Put(nint map, NamespaceKey key, ulong[] values)
    {
        fixed (ulong* p = values) Assert.Equal(0, Libbpf.Update(Libbpf.MapDescriptor(map), &key, p, 0));
    }

    private static unsafe bool Has(nint map, NamespaceKey key)
    {
        ulong* values = stackalloc ulong[4];
        return Libbpf.Lookup(Libbpf.MapDescriptor(map), &key, values) == 0;
    }
}
