using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Tests.Interop;

namespace KubeSkoop.Probes.Ebpf.Tests.Bpf;

/// <summary><c>kubeskoop/histogram.h</c>, run by the kernel.</summary>
public sealed class HistogramTests
{
    private const uint Namespace = 4026531840;
    private const int Words = Log2Histogram.BucketCount + 1;

    [LiveFact(Needs.PacketPrograms)]
    public void A_time_falls_into_the_bucket_that_the_managed_histogram_has_for_it()
    {
        using var headers = new TestObject("headers");
        ulong sum = 0;
        var expected = new Log2Histogram();
        for (int power = 0; power < 40; power++)
        {
            foreach (ulong microseconds in (ulong[])[(1UL << power) - 1, 1UL << power, (1UL << power) + 1])
            {
                // A part of a microsecond lies above it, and no time above its bucket's bound.
                foreach (ulong extra in (ulong[])[0, 1, 999])
                {
                    ulong nanoseconds = microseconds * 1000 + extra;
                    headers.RunWith("observe", Namespace, nanoseconds);
                    expected.Observe(microseconds + (extra > 0 ? 1UL : 0));
                    sum += nanoseconds;
                }
            }
        }
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(headers.Read("times", Namespace))[..Words];
        for (int i = 0; i < Log2Histogram.BucketCount; i++) Assert.Equal((i, expected[i]), (i, words[i]));
        Assert.Equal(sum, words[^1]);
    }

    [LiveFact(Needs.PacketPrograms)]
    public void Times_without_room_are_counted_and_room_comes_back()
    {
        using var headers = new TestObject("headers", ("times", 2));
        for (uint key = 1; key <= 3; key++) headers.RunWith("observe", key, 5000);
        Assert.Equal(1ul, Tally.Of(headers).Uncounted);
        Assert.Null(headers.Read("times", 3));
        headers.Remove("times", 1);
        headers.RunWith("observe", 3, 5000);
        Assert.Equal(1ul, Tally.Of(headers).Uncounted);
        Assert.Equal(1ul, MemoryMarshal.Cast<byte, ulong>(headers.Read("times", 3))[3]);
    }

    [LiveFact(Needs.PacketPrograms)]
    public void Counters_start_at_nothing_add_up_and_say_when_they_are_full()
    {
        using var headers = new TestObject("headers", ("counters", 2));
        headers.RunWith("count", 1, 5);
        headers.RunWith("count", 1, 7);
        headers.RunWith("count", 2, 1);
        headers.RunWith("count", 3, 1);
        headers.RunWith("count", 3, 1);
        Assert.Equal((12ul, 1ul), (MemoryMarshal.Read<ulong>(headers.Read("counters", 1)), MemoryMarshal.Read<ulong>(headers.Read("counters", 2))));
        Assert.Equal(2ul, Tally.Of(headers).Uncounted);
    }
}
