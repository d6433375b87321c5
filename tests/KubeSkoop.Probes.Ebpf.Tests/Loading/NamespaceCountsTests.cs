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

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Where_the_kernel_does_not_say_what_is_alive_what_came_after_the_last_sample_is_not_inherited_either()
    {
        using BpfObject programs = Load();
        nint map = programs.Map("counts");
        using var source = new ProcNamespaceSource();
        using IDisposable lease = source.Acquire();
        var alive = new AliveNamespaces(new EbpfPrograms(source));
        using var counts = new NamespaceCounts(map, alive);
        alive.Release(); // nobody says it then: as on kernels before 5.19
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        source.Refresh();
        NetworkNamespace seen = source.Current.Single(n => n.Inode == ns.Inode);
        counts.Read([seen]); // before anything has happened in it
        Put(map, new NamespaceKey(ns.Inode, 0), [5, 0, 0, 0]);
        counts.Read([]); // it has ended
        counts.Read([seen]); // another that has its number
        Assert.True(counts.TryGet(seen, out ReadOnlySpan<ulong> found));
        Assert.Equal([0, 0, 0, 0], found.ToArray());

        // The end of one comes to be known after its heir has counted (kernels with cookies).
        Put(map, new NamespaceKey(ns.Inode, 18), [2, 0, 0, 0]);
        Assert.Equal(2ul, First());
        Put(map, new NamespaceKey(ns.Inode, 17), [9, 0, 0, 0]);
        Put(map, new NamespaceKey(ns.Inode, 19), [3, 0, 0, 0]);
        _ = First();
        Assert.Equal(3ul, First());
        Assert.False(Has(map, new NamespaceKey(ns.Inode, 17)) || Has(map, new NamespaceKey(ns.Inode, 18)));
        alive.Acquire();

        ulong First()
        {
            counts.Read([seen]);
            Assert.True(counts.TryGet(seen, out ReadOnlySpan<ulong> now));
            return now[0];
        }
    }

    [LiveFact(Needs.Bpf)]
    public void What_belongs_to_no_namespace_stays_in_the_map_so_that_nothing_is_lost_beside_a_sample()
    {
        using BpfObject programs = Load();
        nint map = programs.Map("counts");
        using var source = new ProcNamespaceSource();
        using var counts = new NamespaceCounts(map, new AliveNamespaces(new EbpfPrograms(source)));
        foreach (ulong hits in (ulong[])[3, 7, 7])
        {
            Put(map, default, [hits, 0, 0, 1]); // the program goes on counting where it is
            counts.Read([]);
            Assert.Equal([hits, 0, 0, 1], counts.Unattributed.ToArray());
            Assert.True(Has(map, default));
        }
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
