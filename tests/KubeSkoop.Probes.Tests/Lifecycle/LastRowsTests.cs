using KubeSkoop.Probes.Lifecycle;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Tests.Lifecycle;

/// <summary>What a namespace has counted when it ends is shown in the next sample, once.</summary>
public sealed class LastRowsTests : IAsyncDisposable
{
    private readonly FakeNamespaceSource _namespaces = new();
    private readonly Dictionary<NetworkNamespace, ulong> _kernel = [];
    private readonly TestProbe _probe;

    public LastRowsTests()
    {
        _probe = new TestProbe
        {
            Reading = batch =>
            {
                batch.Add(SampleSubject.Node).Opened = 1;
                foreach (NetworkNamespace ns in _namespaces.Current) batch.Add(ns.Subject).Opened = _kernel[ns];
            },
        };
    }

    public ValueTask DisposeAsync() => _probe.DisposeAsync();

    [Fact]
    public async Task The_last_numbers_are_shown_in_the_next_sample_and_never_again()
    {
        await using ProbeManager manager = await StartAsync();
        NetworkNamespace stays = Born(1, "stays"), ends = Born(2, "ends"), endsToo = Born(3, "ends-too");
        Assert.Equal([("stays", 5), ("ends", 5), ("ends-too", 5)], Sample());
        _kernel[ends] = 7;
        _kernel[endsToo] = 8;
        _namespaces.EndWithNotice(ends, endsToo);
        _kernel[stays] = 9;
        Assert.Equal([("stays", 9), ("ends", 7), ("ends-too", 8)], Sample());
        Assert.Equal([("stays", 9)], Sample());
        Assert.Equal((3L, 0L, 0L), (_probe.Statistics.Samples, _probe.Statistics.Vanished, _probe.Statistics.Errors));
    }

    [Fact]
    public async Task A_namespace_between_two_samples_is_shown_too()
    {
        await using ProbeManager manager = await StartAsync();
        Assert.Empty(Sample());
        NetworkNamespace job = Born(2, "job");
        _kernel[job] = 3;
        _namespaces.EndWithNotice(job);
        Assert.Equal([("job", 3)], Sample());
        Assert.Empty(Sample());
    }

    [Fact]
    public async Task Collections_and_samples_share_the_one_showing()
    {
        await using ProbeManager manager = await StartAsync();
        NetworkNamespace ends = Born(2, "ends");
        Assert.Single(Sample());
        _namespaces.EndWithNotice(ends);
        var rows = new RecordingVisitor();
        manager.Collect(rows);
        Assert.Contains(rows.Rows, row => row.Subject.Namespace == ends);
        Assert.Empty(Sample());
    }

    [Theory]
    [InlineData("ends", 2u, true)] // the same name and number: its series are the living one's
    [InlineData("ends", 3u, false)]
    [InlineData("other", 2u, false)]
    public async Task Who_has_the_same_series_by_then_inherits_nothing(string name, uint inode, bool isSame)
    {
        await using ProbeManager manager = await StartAsync();
        NetworkNamespace ends = Born(2, "ends");
        Assert.Single(Sample());
        _namespaces.EndWithNotice(ends);
        NetworkNamespace next = Born(inode, name);
        _kernel[next] = 1;
        Assert.Equal(isSame ? [(name, 1)] : [(name, 1), ("ends", 5)], Sample());
        Assert.Equal(isSame ? 1 : 0, _probe.Statistics.Vanished);
        Assert.Equal([(name, 1)], Sample());
    }

    [Fact]
    public async Task A_pod_is_told_from_the_next_one_with_its_number()
    {
        await using ProbeManager manager = await StartAsync();
        NetworkNamespace first = Born(2, "cni", new PodIdentity("shop", "web-0", "1"));
        Assert.Single(Sample());
        _namespaces.EndWithNotice(first);
        NetworkNamespace second = Born(2, "cni", new PodIdentity("shop", "web-1", "2"));
        _kernel[second] = 1;
        var rows = new RecordingVisitor();
        manager.Collect(rows);
        Assert.Equal([("web-1", second), ("web-0", first)], rows.Rows.Where(static r => r.Subject.Pod is not null).Select(static r => (r.Subject.Pod!.Name, r.Subject.Namespace!)));
    }

    [Fact]
    public async Task Of_two_lives_of_one_name_the_later_is_shown()
    {
        await using ProbeManager manager = await StartAsync();
        Assert.Empty(Sample());
        for (ulong life = 1; life <= 2; life++)
        {
            NetworkNamespace ns = Born(2, "crashes");
            _kernel[ns] = life;
            _namespaces.EndWithNotice(ns);
        }
        Assert.Equal([("crashes", 2)], Sample());
        Assert.Equal(1, _probe.Statistics.Vanished);
    }

    [Fact]
    public async Task What_nobody_reads_is_bounded_and_counted()
    {
        await using ProbeManager manager = await StartAsync();
        Assert.Empty(Sample());
        for (uint i = 0; i < 5000; i++) _namespaces.EndWithNotice(Born(100 + i, $"job-{i}"));
        List<(string, int)> rows = Sample();
        Assert.Equal((4096, ("job-4999", 5)), (rows.Count, rows[^1]));
        Assert.Equal(5000 - 4096, _probe.Statistics.Vanished);
    }

    [Fact]
    public async Task Nothing_is_read_for_nobody_nor_after_a_stop()
    {
        await using ProbeManager manager = await StartAsync();
        _namespaces.EndWithNotice(Born(2, "unread"));
        Assert.Equal(0, _probe.Reads);
        Assert.Empty(Sample());
        _namespaces.EndWithNotice(Born(3, "kept"));
        Assert.Equal(2, _probe.Reads);
        await manager.StopAsync("test");
        await manager.StartAsync("test");
        Assert.Empty(Sample()); // another run
    }

    [Fact]
    public async Task A_last_reading_that_fails_harms_nobody()
    {
        await using ProbeManager manager = await StartAsync();
        NetworkNamespace stays = Born(1, "stays"), ends = Born(2, "ends");
        Assert.Equal(2, Sample().Count);
        Action<SampleBatch<TestRecord>> reading = _probe.Reading;
        _probe.Reading = static _ => throw new IOException("gone");
        _namespaces.EndWithNotice(ends);
        _probe.Reading = reading;
        Assert.Equal([("stays", 5)], Sample());
        Assert.Equal((1L, ProbeState.Running), (_probe.Statistics.Errors, _probe.Status.State));
        Assert.Equal("stays", stays.Name);
    }

    [Fact]
    public async Task A_manager_that_is_disposed_of_listens_no_more()
    {
        ProbeManager manager = await StartAsync();
        Assert.Empty(Sample());
        await manager.DisposeAsync();
        _namespaces.EndWithNotice(Born(2, "ends"));
        Assert.Equal(1, _probe.Reads);
    }

    private NetworkNamespace Born(uint inode, string name, PodIdentity? pod = null)
    {
        var ns = new NetworkNamespace(inode, false, new NamespaceFacts(name, null, null, pod));
        _kernel[ns] = 5;
        _namespaces.Add(ns);
        return ns;
    }

    private List<(string Name, int Opened)> Sample()
    {
        var rows = new List<(string, int)>();
        foreach (ref readonly SampleRow<TestRecord> row in _probe.Sample())
            if (row.Namespace is { } ns) rows.Add((ns.Name!, (int)row.Value.Opened.Value));
        return rows;
    }

    private async Task<ProbeManager> StartAsync()
    {
        var manager = new ProbeManager([_probe], Options.Create(new ProbesOptions { SelfMetrics = false }), namespaces: _namespaces);
        await manager.StartAsync("test");
        return manager;
    }
}
