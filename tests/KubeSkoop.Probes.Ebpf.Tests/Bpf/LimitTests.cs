using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Tests.Interop;

namespace KubeSkoop.Probes.Ebpf.Tests.Bpf;

/// <summary><c>kubeskoop/settings.h</c> and <c>kubeskoop/event.h</c>, run by the kernel on the first CPU, at times the tests give.</summary>
public sealed class LimitTests
{
    private const ulong Start = 1_000_000;

    [LiveFact(Needs.PacketPrograms)]
    public void Nothing_is_sent_to_nobody()
    {
        using var headers = new TestObject("headers");
        Assert.Equal(0, Send(headers, 100, _ => Start));
        Assert.Equal(default, Tally.Of(headers));
    }

    [LiveFact(Needs.PacketPrograms)]
    public void Without_a_limit_everything_is_sent()
    {
        using var headers = new TestObject("headers");
        Set(headers, new Settings { SendEvents = 1 });
        Assert.Equal(100, Send(headers, 100, _ => Start));
        Assert.Equal(new Tally { Sent = 100 }, Tally.Of(headers));
    }

    [LiveFact(Needs.PacketPrograms)]
    public void A_burst_passes_and_then_the_rate()
    {
        using var headers = new TestObject("headers");
        // One each microsecond, three at once.
        Set(headers, new Settings { SendEvents = 1, EventInterval = 1000, EventBurst = 2000 });
        Assert.Equal(3, Send(headers, 10, _ => Start));
        Assert.Equal(new Tally { Sent = 3, Suppressed = 7 }, Tally.Of(headers));
        // Ten asked for in each of 20 microseconds: one passes.
        Assert.Equal(20, Send(headers, 200, static i => Start + 1000 + (ulong)(i / 10) * 1000));
        // After a pause the burst is there again, and no more.
        Assert.Equal(3, Send(headers, 10, _ => Start + 1_000_000));
        Assert.Equal(new Tally { Sent = 26, Suppressed = 194 }, Tally.Of(headers));
    }

    [LiveFact(Needs.PacketPrograms)]
    public void Settings_take_effect_while_the_program_is_loaded()
    {
        using var headers = new TestObject("headers");
        Set(headers, new Settings { SendEvents = 1, EventInterval = 1_000_000 });
        Assert.Equal(1, Send(headers, 10, _ => Start));
        Set(headers, new Settings { SendEvents = 1 });
        Assert.Equal(10, Send(headers, 10, _ => Start));
        Set(headers, new Settings());
        Assert.Equal(0, Send(headers, 10, _ => Start));
    }

    [LiveFact(Needs.PacketPrograms)]
    public void A_higher_rate_is_in_force_at_once_whatever_burst_was_spent_under_the_lower()
    {
        using var headers = new TestObject("headers");
        // One a second, 200 at once: that is spent, and paid for 200 s from now.
        Set(headers, new Settings { SendEvents = 1, EventInterval = 1_000_000_000, EventBurst = 199_000_000_000 });
        Assert.Equal(200, Send(headers, 300, _ => Start));
        // A thousand a second, 100 at once.
        Set(headers, new Settings { SendEvents = 1, EventInterval = 1_000_000, EventBurst = 99_000_000 });
        Assert.Equal(0, Send(headers, 10, _ => Start));
        Assert.Equal(5, Send(headers, 5, static i => Start + (ulong)(i + 1) * 1_000_000));
        Assert.Equal(100, Send(headers, 300, _ => Start + 1_000_000_000));
    }

    [LiveFact(Needs.PacketPrograms)]
    public void A_namespace_that_floods_takes_nothing_from_another()
    {
        using var headers = new TestObject("headers");
        // One each microsecond, three at once.
        Set(headers, new Settings { SendEvents = 1, EventInterval = 1000, EventBurst = 2000 });
        Assert.Equal(3, Send(headers, 1000, _ => Start));
        Assert.Equal(3, Send(headers, 10, _ => Start, 8));
        Assert.Equal(3, Send(headers, 10, _ => Start, 7 + 1023));
        Assert.Equal(3, Send(headers, 10, _ => Start, 7 + 1024));
        uint same = Enumerable.Range(1000, 100_000).Select(static n => (uint)n).First(static n => ShareOf(n) == ShareOf(7));
        Assert.Equal(0, Send(headers, 10, _ => Start, same)); // there are 1024 buckets
        Assert.Equal(3, Send(headers, 10, _ => Start, uint.MaxValue));
        // Both go on asking for more than passes: each gets its one.
        for (ulong time = Start + 1000; time <= Start + 20_000; time += 1000)
            Assert.Equal((1, 1), (Send(headers, 100, _ => time), Send(headers, 10, _ => time, 8)));
    }

    [LiveFact(Needs.PacketPrograms)]
    public void All_namespaces_together_get_what_ten_may_send()
    {
        using var headers = new TestObject("headers");
        Set(headers, new Settings { SendEvents = 1, EventInterval = 1000, EventBurst = 2000 });
        Assert.Equal(30, All(Start));
        Assert.Equal(new Tally { Sent = 30, Suppressed = 270 }, Tally.Of(headers));
        // Then as many as ten get in that time.
        Assert.Equal((10, 10, 20), (All(Start + 1000), All(Start + 2000), All(Start + 4000)));
        // It goes to whoever asks first.
        Assert.Equal((3, 7), (Send(headers, 10, _ => Start + 5000, 99), All(Start + 5000)));
        Assert.Equal(30, All(Start + 1_000_000));

        int All(ulong time) => Enumerable.Range(0, 100).Sum(netns => Send(headers, 3, _ => time, (uint)netns));
    }

    // A new namespace takes as many numbers as it has files in /proc/net, and all of one kind have as many.
    [Theory]
    [InlineData(1)]
    [InlineData(64)]
    [InlineData(107)]
    [InlineData(120)]
    [InlineData(128)]
    [InlineData(1024)]
    public void Namespaces_that_are_made_alike_have_buckets_of_their_own(uint apart)
    {
        const uint First = 4026532281;
        Assert.InRange(Enumerable.Range(0, 110).Select(n => ShareOf(First + ((uint)n * apart))).Distinct().Count(), 95, 110);
    }

    [LiveFact(Needs.PacketPrograms)]
    public void What_the_ring_has_no_room_for_is_counted()
    {
        using var headers = new TestObject("headers", ("events", 4096));
        Set(headers, new Settings { SendEvents = 1 });
        // struct ks_event has 80 bytes, and each record a header of 8; nobody reads.
        Assert.Equal(4096 / 88, Send(headers, 1000, _ => Start));
        Assert.Equal(new Tally { Sent = 46, Lost = 954 }, Tally.Of(headers));
    }

    [LiveFact(Needs.PacketPrograms)]
    public void Only_namespaces_of_interest_are_looked_at_once_that_is_asked_for()
    {
        using var headers = new TestObject("headers");
        headers.Write("namespaces", 7, (byte)1);
        Assert.Equal((1, 1), (headers.RunWith("wanted", 7), headers.RunWith("wanted", 8)));
        Set(headers, new Settings { Filter = 1 });
        Assert.Equal((1, 0), (headers.RunWith("wanted", 7), headers.RunWith("wanted", 8)));
        headers.Remove("namespaces", 7);
        headers.Write("namespaces", 8, (byte)1);
        Assert.Equal((0, 1), (headers.RunWith("wanted", 7), headers.RunWith("wanted", 8)));
    }

    /// <summary>Which of the buckets is a namespace's: ks_share_of.</summary>
    internal static uint ShareOf(uint netns)
    {
        netns = unchecked((netns ^ (netns >> 16)) * 0x85ebca6b);
        netns = unchecked((netns ^ (netns >> 13)) * 0xc2b2ae35);
        return 1 + (netns >> 22);
    }

    private static int Send(TestObject headers, int count, Func<int, ulong> time, uint netns = 7)
    {
        int sent = 0;
        for (int i = 0; i < count; i++) sent += headers.RunWith("send", time(i), netns);
        return sent;
    }

    private static void Set(TestObject headers, Settings settings) => headers.Write(".data.settings", 0, settings);

    // struct ks_settings
    private unsafe struct Settings
    {
        internal fixed ulong Thresholds[4];
        internal ulong EventInterval;
        internal ulong EventBurst;
        internal uint SendEvents;
        internal uint Filter;
    }
}

/// <summary>struct ks_tally of the first CPU, where the tests run their programs.</summary>
internal record struct Tally
{
#pragma warning disable CS0649 // the kernel fills these
    internal ulong Sent;
    internal ulong Suppressed;
    internal ulong Lost;
    internal ulong Uncounted;
#pragma warning restore CS0649

    internal static Tally Of(TestObject headers) => MemoryMarshal.Read<Tally>(headers.Read("tally", 0));
}
