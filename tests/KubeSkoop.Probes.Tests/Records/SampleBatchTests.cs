using System.Runtime.CompilerServices;

namespace KubeSkoop.Probes.Tests.Records;

public sealed class SampleBatchTests
{
    private int _rows = 100;
    private SampleSubject[] _subjects = [.. Enumerable.Range(0, 100).Select(static i => new SampleSubject(null, new SampleAttribute("i", $"{i}")))];

    [Fact]
    public async Task A_sample_in_steady_state_allocates_nothing()
    {
        await using TestProbe probe = await StartedAsync();
        var batch = new SampleBatch<TestRecord>();
        Allocations.AssertNone(() => probe.Sample(batch));
        Assert.Equal(100, batch.Count);
        var visitor = new NullVisitor();
        Allocations.AssertNone(() => probe.Collect(visitor));
    }

    [Fact]
    public async Task A_collection_of_the_manager_allocates_nothing()
    {
        var probe = new TestProbe { Reading = Fill };
        await using var manager = new Probes.Lifecycle.ProbeManager([probe]);
        await manager.StartEnabledAsync();
        await using ProbeLease lease = await manager.StartAsync("test");
        var visitor = new NullVisitor();
        Allocations.AssertNone(() => manager.Collect(visitor));
        Allocations.AssertNone(() => manager.Collect("TEST", visitor));
    }

    [Fact]
    public async Task A_row_begins_cleared_whatever_was_there_before()
    {
        await using TestProbe probe = await StartedAsync();
        var batch = new SampleBatch<TestRecord>();
        probe.Sample(batch);
        Assert.Equal(99ul, batch.Rows[99].Value.Opened.Value);
        probe.Reading = static b =>
        {
            b.Add(SampleSubject.Node);
            b.Skip(SkipReason.Vanished);
        };
        probe.Sample(batch);
        Assert.Equal(1, batch.Count);
        Assert.False(batch.Rows[0].Value.Opened.HasValue);
        Assert.Equal(1, batch.Skips.Vanished);
        probe.Reading = static _ => { };
        probe.Sample(batch);
        Assert.False(batch.Skips.Any);
        int count = 0;
        foreach (ref readonly SampleRow<TestRecord> row in batch) count++;
        Assert.Equal(0, count);
    }

    [Fact]
    public async Task Rows_taken_back_are_gone()
    {
        await using TestProbe probe = await StartedAsync();
        probe.Reading = static b =>
        {
            b.Add(SampleSubject.Node).Opened = 1;
            b.Add(SampleSubject.Node).Opened = 2;
            b.RemoveLast();
        };
        SampleBatch<TestRecord> batch = probe.Sample();
        Assert.Equal(1ul, Assert.Single(batch.Rows.ToArray()).Value.Opened.Value);
        Assert.Throws<ArgumentOutOfRangeException>(() => new SampleBatch<TestRecord>().RemoveLast());
        Assert.Throws<ArgumentNullException>(() => new SampleBatch<TestRecord>().Add(null!));
    }

    [Fact]
    public async Task Subjects_of_the_dead_can_be_collected()
    {
        await using TestProbe probe = await StartedAsync();
        var batch = new SampleBatch<TestRecord>();
        WeakReference[] subjects = SampleAndForget(probe, batch);
        Assert.Equal(0, Alive(subjects));

        [MethodImpl(MethodImplOptions.NoInlining)]
        WeakReference[] SampleAndForget(TestProbe p, SampleBatch<TestRecord> b)
        {
            p.Reading = x =>
            {
                Fill(x);
                x.RemoveLast();
            };
            p.Sample(b);
            p.Collect(new NullVisitor());
            WeakReference[] all = [.. _subjects.Select(static s => new WeakReference(s))];
            _subjects = [SampleSubject.Node];
            _rows = 1;
            p.Reading = Fill;
            p.Sample(b);
            p.Collect(new NullVisitor());
            return all;
        }
    }

    [Fact]
    public async Task A_stopped_probe_keeps_no_subject()
    {
        await using TestProbe probe = await StartedAsync();
        WeakReference[] subjects = CollectAndForget(probe);
        await probe.StopAsync();
        Assert.Equal(0, Alive(subjects));

        [MethodImpl(MethodImplOptions.NoInlining)]
        WeakReference[] CollectAndForget(TestProbe p)
        {
            p.Collect(new NullVisitor());
            WeakReference[] all = [.. _subjects.Select(static s => new WeakReference(s))];
            _subjects = [];
            return all;
        }
    }

    [Fact]
    public void A_subjects_encoding_is_kept_until_its_naming_changes()
    {
        var ns = new NetworkNamespace(4711, false, new NamespaceFacts(null, 1, "app", null));
        var subject = new SampleSubject(ns);
        int made = 0;
        var owner = new object();
        string Encode() => subject.Encoded(owner, (s, _) => $"{++made} {s.Namespace!.DisplayName} {s.Pod}");
        Assert.Equal("1 app ", Encode());
        Assert.Same(Encode(), Encode());
        ns.Update(new NamespaceFacts(null, 2, "app", null)); // another process of the same name: nothing to encode anew
        Assert.Equal("1 app ", Encode());
        ns.Update(new NamespaceFacts(null, 2, "app", new PodIdentity("shop", "web-1")));
        Assert.Equal("2 app shop/web-1", Encode());
        // A few hosts keep theirs side by side; one more pushes the oldest out.
        object[] others = [new(), new(), new()];
        foreach (object other in others) subject.Encoded(other, static (_, _) => "other");
        Assert.Equal("2 app shop/web-1", Encode());
        subject.Encoded(new object(), static (_, _) => "one too many");
        Assert.Equal("3 app shop/web-1", Encode());
    }

    private static int Alive(WeakReference[] references)
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        return references.Count(static r => r.IsAlive);
    }

    private void Fill(SampleBatch<TestRecord> batch)
    {
        for (int i = 0; i < _rows; i++) batch.Add(_subjects[i]).Opened = (ulong)i;
    }

    private async Task<TestProbe> StartedAsync()
    {
        var probe = new TestProbe { Reading = Fill };
        await probe.StartAsync();
        return probe;
    }
}
