namespace KubeSkoop.Probes.Tests.Records;

public sealed class MetricTableTests
{
    [Fact]
    public void A_table_reads_its_record()
    {
        var record = new TestRecord { Opened = 7, Level = 0.5 };
        Assert.Equal(3, TestRecord.Metrics.Count);
        Assert.Equal((MetricValue)7ul, TestRecord.Metrics[0].Read!(in record));
        Assert.Equal((MetricValue)0.5, TestRecord.Metrics[1].Read!(in record));
        Assert.Equal(MetricValue.Absent, TestRecord.Metrics[0].Read!(default));
        Assert.Equal("test_opened", Assert.Single(TestRecord.Metrics.Upstream).UpstreamName);
        Assert.Equal(
            new MetricDescriptor("kubeskoop.test.opened", MetricKind.Counter, "{open}", "Things opened.", "test_opened"),
            TestRecord.Metrics.Describe()[0]);
    }

    [Fact]
    public void A_histogram_is_read_in_place()
    {
        var record = new TestRecord();
        record.Latency.Observe(3);
        Metric<TestRecord> metric = TestRecord.WithHistogram[1];
        Assert.Equal((MetricKind.Histogram, 1e-6, null), (metric.Kind, metric.HistogramScale, metric.Read));
        Assert.Equal(1ul, metric.ReadHistogram!(in record)[2]);
    }

    [Fact]
    public void Columns_the_kernel_names_come_at_the_end_of_a_new_table()
    {
        MetricTable<TestRecord> more = TestRecord.Metrics.With([("kubeskoop.test.TCPNewThing", MetricKind.Counter, "1", "New.", static (in TestRecord _) => 9ul)]);
        Assert.Equal((3, 4), (TestRecord.Metrics.Count, more.Count));
        Assert.Equal((MetricValue)9ul, more[3].Read!(default));
        Assert.Equal(TestRecord.Metrics.Upstream, more.Upstream);
        Assert.Throws<ArgumentException>(() => more.With([("kubeskoop.test.TCPNewThing", MetricKind.Counter, "1", "Again.", static (in TestRecord _) => 9ul)]));
    }

    [Fact]
    public void A_metric_only_upstream_has_is_not_among_our_own()
    {
        var table = new MetricTable<TestRecord>(upstreamKind: MetricKind.Counter);
        table.AddUpstream("upstream_only", "Old.", static (in TestRecord r) => r.Opened);
        Assert.Empty(table);
        Assert.Equal(("", "upstream_only", MetricKind.Counter), (table.Upstream[0].Name, table.Upstream[0].UpstreamName, table.Upstream[0].Kind));
    }

    [Theory]
    [InlineData("")]
    [InlineData("kubeskoop")]
    [InlineData("Kubeskoop.tcp.x")]
    [InlineData("kubeskoop.tcp.x y")]
    [InlineData("kubeskoop.tcp.x\n")]
    [InlineData("kubeskoop..x")]
    [InlineData("kubeskoop.tcp.x{le=\"1\"}")]
    public void A_name_that_is_none_is_refused(string name) =>
        Assert.ThrowsAny<ArgumentException>(() => new MetricTable<TestRecord> { { name, MetricKind.Gauge, "1", "Bad.", static (in TestRecord r) => r.Opened } });

    [Fact]
    public void A_histogram_has_a_way_of_its_own() =>
        Assert.Throws<ArgumentException>(() => new MetricTable<TestRecord> { { "kubeskoop.test.x", MetricKind.Histogram, "1", "Bad.", static (in TestRecord r) => r.Opened } });

    [Theory]
    [InlineData("")]
    [InlineData("Tcp")]
    [InlineData("net-softirq")]
    [InlineData("tcp\n")]
    [InlineData("1tcp")]
    public void A_probe_name_that_is_none_is_refused(string name) =>
        Assert.ThrowsAny<ArgumentException>(() => new ProbeDescriptor { Name = name, Source = ProbeSource.Other, Overhead = OverheadClass.Low, Purpose = "" });
}
