using KubeSkoop.Probes.Ebpf.Tests.Interop;

namespace KubeSkoop.Probes.Ebpf.Tests.Bpf;

/// <summary>What programs keep by an object's address (bpf/include/kubeskoop/places.h), run by the kernel.</summary>
public sealed class PlacesTests
{
    private const ulong Base = 0xffff_8880_0000_0000;

    [LiveFact(Needs.PacketPrograms)]
    public void What_is_kept_is_found_by_its_address_until_it_leaves()
    {
        using var headers = new TestObject("headers");
        Assert.Equal(0, headers.RunWith("find", Base));
        headers.RunWith("take", Base, 5, 50);
        headers.RunWith("take", Base + 64, 6, 60);
        Assert.Equal((50, 60, 0), (headers.RunWith("find", Base), headers.RunWith("find", Base + 64), headers.RunWith("find", Base + 128)));
        headers.RunWith("take", Base, 7, 70); // its next one
        Assert.Equal(70, headers.RunWith("find", Base));
        headers.RunWith("leave", Base);
        Assert.Equal((0, 60), (headers.RunWith("find", Base), headers.RunWith("find", Base + 64)));
    }

    [LiveFact(Needs.PacketPrograms)]
    public void Of_five_with_one_set_the_oldest_goes_and_who_leaves_makes_room()
    {
        ulong[] same = [.. Enumerable.Range(0, 64).Select(static i => Base + ((ulong)i * 64)).Where(static a => SetOf(a) == 0).Take(6)];
        ulong[] other = [.. Enumerable.Range(0, 64).Select(static i => Base + ((ulong)i * 64)).Where(static a => SetOf(a) == 1).Take(4)];
        using var headers = new TestObject("headers");
        foreach (ulong address in other) headers.RunWith("take", address, 1, 1);
        ulong[] since = [30, 10, 20, 40, 50];
        for (int i = 0; i < 4; i++) headers.RunWith("take", same[i], since[i], since[i]);
        Assert.Equal([30, 10, 20, 40, 0, 0], Found());
        headers.RunWith("take", same[4], since[4], since[4]);
        Assert.Equal([30, 0, 20, 40, 50, 0], Found());
        headers.RunWith("leave", same[3]);
        headers.RunWith("take", same[5], 60, 60);
        Assert.Equal([30, 0, 20, 0, 50, 60], Found());
        Assert.All(other, address => Assert.Equal(1, headers.RunWith("find", address))); // they are in the other set

        IEnumerable<int> Found() => same.Select(address => headers.RunWith("find", address)).ToArray();
    }

    // As ks_hash_of has it, for two sets.
    private static uint SetOf(ulong address) => unchecked(((uint)address >> 6) * 0x9e3779b1u) >> 31;
}
