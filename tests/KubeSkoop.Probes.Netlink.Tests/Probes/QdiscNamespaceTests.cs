using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Netlink.Tests;

/// <summary>What is remembered from sample to sample: counters that wrap, totals that outlive qdiscs.</summary>
public sealed class QdiscNamespaceTests : IDisposable
{
    private readonly QdiscNamespace _namespace = new(new NetworkNamespace(1, isHost: false, new NamespaceFacts("pod", 1, "pause", null)), new FakeTimeProvider());

    public void Dispose() => _namespace.Dispose();

    [Fact]
    public void Only_root_qdiscs_are_added_up()
    {
        Sample(
            Entry(QdiscKey.RootParent, packets: 10, drops: 1),
            Entry(0x0001_0001, packets: 7, drops: 1, handle: 0x0002_0000),
            Entry(0xffff_fff1, packets: 5, drops: 1, handle: 0xffff_0000),
            Entry(QdiscKey.RootParent, packets: 100, drops: 2, device: 3),
            Entry(QdiscKey.RootParent, packets: 50, drops: 1, handle: 0x0001_0001, isClass: true));
        Assert.Equal((110ul, 3ul), Totals());
    }

    [Fact]
    public void What_a_qdisc_counted_stays_when_it_is_gone_and_a_new_one_adds_its_own()
    {
        Sample(Entry(QdiscKey.RootParent, packets: 10, drops: 1), Entry(QdiscKey.RootParent, packets: 20, drops: 2, device: 3));
        Sample(Entry(QdiscKey.RootParent, packets: 15, drops: 1));
        Assert.Equal((35ul, 3ul), Totals());
        Sample(Entry(QdiscKey.RootParent, packets: 16, drops: 1), Entry(QdiscKey.RootParent, packets: 4, drops: 0, device: 3));
        Assert.Equal((40ul, 3ul), Totals());
    }

    [Fact]
    public void A_counter_that_falls_does_not_take_the_total_with_it()
    {
        Sample(Entry(QdiscKey.RootParent, packets: 1000, drops: 70));
        Sample(Entry(QdiscKey.RootParent, packets: 600, drops: 5)); // a child of an mq was replaced
        Assert.Equal((1000ul, 70ul), Totals());
        Sample(Entry(QdiscKey.RootParent, packets: 650, drops: 9));
        Assert.Equal((1050ul, 74ul), Totals());
    }

    [Fact]
    public void Counters_of_32_bits_go_on_over_a_wrap()
    {
        var qdisc = new Qdisc(Entry(QdiscKey.RootParent, 0, 0).Key);
        _ = qdisc.Count(Entry(QdiscKey.RootParent, packets: 1, drops: uint.MaxValue - 4).Record);
        QdiscCounters growth = qdisc.Count(Entry(QdiscKey.RootParent, packets: 2, drops: 5).Record);
        QdiscRecord record = Entry(QdiscKey.RootParent, packets: 2, drops: 5).Record;
        qdisc.Write(ref record);
        Assert.Equal(10ul, growth.Drops);
        Assert.Equal(uint.MaxValue + 6ul, record.Drops.Value);
        Assert.False(record.Requeues.HasValue); // and what the kernel does not say stays unsaid

        // One that begins anew is published as it is.
        _ = qdisc.Count(Entry(QdiscKey.RootParent, packets: 3, drops: 2_000_000_000).Record);
        growth = qdisc.Count(Entry(QdiscKey.RootParent, packets: 1, drops: 7).Record);
        record = Entry(QdiscKey.RootParent, packets: 1, drops: 7).Record;
        qdisc.Write(ref record);
        Assert.Equal((0ul, 7ul), (growth.Drops, record.Drops.Value));
    }

    [Fact]
    public void A_dump_that_missed_something_makes_nothing_count_twice()
    {
        Sample(Entry(QdiscKey.RootParent, packets: 10, drops: 0), Entry(QdiscKey.RootParent, packets: 20, drops: 0, device: 3));
        Sample(isComplete: false, isFull: false, Entry(QdiscKey.RootParent, packets: 11, drops: 0));
        Sample(Entry(QdiscKey.RootParent, packets: 12, drops: 0), Entry(QdiscKey.RootParent, packets: 21, drops: 0, device: 3));
        Assert.Equal((33ul, 0ul), Totals());
    }

    [Fact]
    public void The_same_qdisc_twice_in_a_dump_counts_once()
    {
        Sample(Entry(QdiscKey.RootParent, packets: 10, drops: 0), Entry(QdiscKey.RootParent, packets: 10, drops: 0));
        Assert.Equal((10ul, 0ul), Totals());
    }

    [Fact]
    public void Totals_end_when_there_is_more_than_is_looked_at()
    {
        Sample(isComplete: true, isFull: true, Entry(QdiscKey.RootParent, packets: 10, drops: 0));
        QdiscRecord record = default;
        _namespace.WriteTotals(ref record, 0, 0);
        Assert.False(record.RootPackets.HasValue);
    }

    [Fact]
    public void There_is_an_end_to_what_is_looked_at()
    {
        var entries = new QdiscEntries();
        for (int i = 0; i < QdiscEntries.Limit; i++) entries.Add() = Entry(QdiscKey.RootParent, packets: 1, drops: 0, device: i);
        Assert.False(entries.IsFull);
        entries.Add() = Entry(QdiscKey.RootParent, packets: 1, drops: 0, device: -1);
        Assert.Equal(QdiscEntries.Limit - 1, entries.All[^1].Key.Device);
        Assert.Equal((true, QdiscEntries.Limit), (entries.IsFull, entries.Count));
        entries.Clear();
        Assert.Equal((false, 0), (entries.IsFull, entries.Count));
    }

    private static QdiscEntry Entry(uint parent, ulong packets, ulong drops, int device = 2, uint handle = 0x0001_0000, bool isClass = false) => new()
    {
        Key = new QdiscKey(device, handle, parent, Link.KeyOf("pfifo"u8), isClass),
        Record = new QdiscRecord { Packets = packets, Bytes = packets * 100, Drops = drops },
    };

    private void Sample(params QdiscEntry[] entries) => Sample(true, false, entries);

    private void Sample(bool isComplete, bool isFull, params QdiscEntry[] entries)
    {
        _namespace.Begin();
        foreach (QdiscEntry entry in entries) Assert.Null(_namespace.Meet(in entry)); // no device is known here
        _namespace.End(isComplete, isFull);
    }

    private (ulong Packets, ulong Drops) Totals()
    {
        QdiscRecord record = default;
        _namespace.WriteTotals(ref record, 0, 0);
        Assert.Equal(record.RootPackets.Value * 100, record.RootBytes.Value);
        return (record.RootPackets.Value, record.RootDrops.Value);
    }
}
