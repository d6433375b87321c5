using System.Buffers;
using System.Diagnostics;
using System.Text;
using KubeSkoop.Exporter.Metrics;
using KubeSkoop.Probes.Lifecycle;
using Microsoft.Extensions.Time.Testing;
using Snapshooter.Xunit;

namespace KubeSkoop.Exporter.Tests;

public class PrometheusWriterTests
{
    [Theory]
    [InlineData("otel", false)]
    [InlineData("otel", true)]
    [InlineData("kubeskoop", false)]
    public async Task Whole_answer_is_the_reviewed_one(string naming, bool openMetrics)
    {
        await using ProbeManager manager = await Make.ManagerAsync(Scene());
        string text = Write(Writer(naming), manager, openMetrics);
        ExpositionLint.Parse(text, openMetrics);
        text.MatchSnapshot(Snapshooter.SnapshotNameExtension.Create(naming, openMetrics ? "openmetrics" : "text"));
    }

    [PromtoolTheory]
    [InlineData("otel")]
    [InlineData("kubeskoop")]
    public async Task Promtool_accepts_the_answer(string naming)
    {
        await using ProbeManager manager = await Make.ManagerAsync(Scene());
        string text = Write(Writer(naming), manager, openMetrics: false);
        using Process promtool = Process.Start(new ProcessStartInfo("promtool", ["check", "metrics"]) { RedirectStandardInput = true, RedirectStandardError = true, RedirectStandardOutput = true })!;
        await promtool.StandardInput.WriteAsync(text);
        promtool.StandardInput.Close();
        string complaints = await promtool.StandardError.ReadToEndAsync() + await promtool.StandardOutput.ReadToEndAsync();
        await promtool.WaitForExitAsync();
        // 0 is clean; 3 is style, which upstream's names do not follow; anything else does not parse.
        Assert.True(promtool.ExitCode == 0 || (naming == "kubeskoop" && promtool.ExitCode == 3), complaints);
    }

    [Fact]
    public async Task Hostile_label_values_come_back_as_they_were_but_for_control_characters()
    {
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(Make.Namespace(4026532001, Make.HostileName), new SampleAttribute("network.interface.name", "eth\"0\\\n")), Make.Record(1)));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        foreach (bool openMetrics in new[] { false, true })
        {
            ExpositionLint.Sample sample = ExpositionLint.Parse(Write(Writer("otel"), manager, openMetrics), openMetrics).First();
            Assert.Equal("a\"b\\c\nd\ufffd\ufffd[31m\ufffd\ufffdé", sample.Labels["network_namespace_name"]);
            Assert.Equal("eth\"0\\\n", sample.Labels["network_interface_name"]);
        }
    }

    [Fact]
    public async Task A_name_that_only_differs_in_control_characters_does_not_break_the_answer()
    {
        var probe = new FakeProbe();
        NetworkNamespace ns = Make.Namespace(4026532001, "n");
        probe.Rows.Add((new SampleSubject(ns, new SampleAttribute("device", "a\u0001")), Make.Record(1)));
        probe.Rows.Add((new SampleSubject(ns, new SampleAttribute("device", "a\u0002")), Make.Record(2)));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        PrometheusWriter writer = Writer("otel");
        List<ExpositionLint.Sample> samples = ExpositionLint.Parse(Write(writer, manager, false), false);
        Assert.Equal("1", samples.Single(static s => s.Name == "kubeskoop_fake_active_opens_total").Value);
        Assert.Equal("5", Value(samples, "kubeskoop_exporter_duplicates_total"));
    }

    [Fact]
    public async Task The_same_family_of_a_second_probe_is_dropped_and_counted()
    {
        var first = new FakeProbe("one", FakeRecord.Table("same"));
        var second = new FakeProbe("two", FakeRecord.Table("same"));
        first.Rows.Add((new SampleSubject(Make.Host()), Make.Record(1)));
        second.Rows.Add((new SampleSubject(Make.Host()), Make.Record(2)));
        await using ProbeManager manager = await Make.ManagerAsync(first, second);
        foreach (string naming in new[] { "otel", "kubeskoop" })
        {
            List<ExpositionLint.Sample> samples = ExpositionLint.Parse(Write(Writer(naming), manager, false), false);
            Assert.Equal("1", samples.First().Value);
            Assert.NotEqual("0", Value(samples, "kubeskoop_exporter_duplicates_total"));
        }
    }

    [Fact]
    public async Task Two_attributes_that_become_one_label_keep_both_values()
    {
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(null, new SampleAttribute("a.b", "1"), new SampleAttribute("a_b", "2"), new SampleAttribute("le", "3"), new SampleAttribute("k8s.node.name", "4")), Make.Record(1)));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        SortedDictionary<string, string> labels = ExpositionLint.Parse(Write(Writer("otel"), manager, false), false).First().Labels;
        Assert.Equal("1;2", labels["a_b"]);
        Assert.Equal("3", labels["attribute_le"]);
        Assert.Equal("node-1;4", labels["k8s_node_name"]);
    }

    [Fact]
    public async Task Numbers_beyond_2_to_the_53_stay_exact()
    {
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(Make.Host()), new FakeRecord { Opens = ulong.MaxValue - 1 }));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        Assert.Contains("} 18446744073709551614\n", Write(Writer("otel"), manager, false), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(double.NaN, "NaN")]
    [InlineData(double.PositiveInfinity, "+Inf")]
    [InlineData(double.NegativeInfinity, "-Inf")]
    [InlineData(-1.7976931348623157E+308, "-1.7976931348623157E+308")]
    public async Task Doubles_are_written_as_the_formats_want_them(double value, string expected)
    {
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(Make.Host()), new FakeRecord { Share = value }));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        Assert.Equal(expected, Value(ExpositionLint.Parse(Write(Writer("otel"), manager, true), true), "kubeskoop_fake_utilization_ratio"));
    }

    [Fact]
    public async Task An_absent_number_has_no_line_and_a_family_without_numbers_no_head()
    {
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(Make.Host()), new FakeRecord { Opens = 1 }));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        string text = Write(Writer("otel"), manager, false);
        Assert.Contains("kubeskoop_fake_active_opens_total", text, StringComparison.Ordinal);
        Assert.DoesNotContain("kubeskoop_fake_received", text, StringComparison.Ordinal);
        Assert.DoesNotContain("kubeskoop_fake_limit", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_absent_histogram_has_no_lines_and_a_family_of_absent_ones_no_head()
    {
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(Make.Host()), new FakeRecord { Opens = 1, Latency = Log2Histogram.Absent }));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        Assert.DoesNotContain("kubeskoop_fake_latency", Write(Writer("otel"), manager, false), StringComparison.Ordinal);

        probe.Rows.Add((new SampleSubject(null), Make.Record(2)));
        List<ExpositionLint.Sample> samples = ExpositionLint.Parse(Write(Writer("otel"), manager, false), false);
        Assert.Equal("3", samples.Single(static s => s.Name == "kubeskoop_fake_latency_seconds_count").Value);
    }

    [Fact]
    public async Task A_pod_that_becomes_known_shows_in_the_next_answer()
    {
        NetworkNamespace ns = Make.Namespace(4026532001, command: "nginx");
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(ns), Make.Record(1)));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        PrometheusWriter writer = Writer("otel");
        Assert.DoesNotContain("k8s_pod_name", Write(writer, manager, false), StringComparison.Ordinal);
        ns.Update(ns.Facts with { Pod = new PodIdentity("shop", "web-0") });
        Assert.Contains("k8s_namespace_name=\"shop\",k8s_pod_name=\"web-0\"", Write(writer, manager, false), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("otel", "k8s_node_name=\"node-1\",k8s_pod_uid=\"4711\",network", "k8s_pod_name=\"web-0\",team=\"co\\\"re\\n\",k8s_pod_label_app=\"web\",network")]
    [InlineData("kubeskoop", null, "k8s_pod=\"web-0\",team=\"co\\\"re\\n\"}")] // upstream has no uid, and a row without a name would be the host's
    public async Task What_is_said_of_a_pod_is_on_its_rows(string naming, string? unnamed, string named)
    {
        NetworkNamespace ns = Make.Namespace(4026532001, command: "nginx", pod: PodIdentity.OfUid("4711"));
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(ns), Make.Record(1)));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        PrometheusWriter writer = Writer(naming);
        string text = Write(writer, manager, false);
        if (unnamed is not null) Assert.Contains(unnamed, text, StringComparison.Ordinal);
        else Assert.DoesNotContain("kubeskoop_fake_activeopens{", text, StringComparison.Ordinal);
        ns.Update(ns.Facts with { Pod = new PodIdentity("shop", "web-0", "4711") { Attributes = [new SampleAttribute("team", "co\"re\n", "team"), new SampleAttribute("k8s.pod.label.app", "web")] } });
        text = Write(writer, manager, false);
        Assert.Contains(named, text, StringComparison.Ordinal);
        Assert.DoesNotContain("4711\",", text.Replace("network_namespace", "", StringComparison.Ordinal), StringComparison.Ordinal);
        ExpositionLint.Parse(text, false);
    }

    [Theory]
    [InlineData("otel", "a;b", "eth0;c")]
    [InlineData("kubeskoop", "a;b", "eth0;c")]
    public async Task Labels_of_one_name_are_one_label(string naming, string team, string device)
    {
        PodIdentity pod = new("shop", "web-0")
        {
            Attributes = [new SampleAttribute("team", "a", "team"), new SampleAttribute("team", "b", "team"), new SampleAttribute("device", "eth0", "device"), new SampleAttribute("le", "x", "le")],
        };
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(Make.Namespace(4026532001, pod: pod), new SampleAttribute("device", "c", "device")), Make.Record(1)));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        ExpositionLint.Sample[] samples = [.. ExpositionLint.Parse(Write(Writer(naming), manager, false), false).Where(static s => s.Labels.ContainsKey("team"))];
        Assert.NotEmpty(samples);
        Assert.All(samples, s => Assert.Equal((team, device), (s.Labels["team"], s.Labels["device"])));
    }

    [Fact]
    public async Task A_label_longer_than_any_segment_is_written_whole()
    {
        string name = new('x', 200_000);
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(null, new SampleAttribute("long", name)), Make.Record(7)));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        ExpositionLint.Sample sample = ExpositionLint.Parse(Write(Writer("otel"), manager, false), false).First();
        Assert.Equal(name, sample.Labels["long"]);
        Assert.Equal("7", sample.Value);
    }

    [Fact]
    public async Task Upstream_rows_of_a_pod_are_summed_and_namespaces_without_pod_left_out_and_counted()
    {
        var pod = new PodIdentity("shop", "web-0");
        NetworkNamespace old = Make.Namespace(4026532001, pod: pod), young = Make.Namespace(4026532002, pod: pod);
        NetworkNamespace unknown = Make.Namespace(4026532003, "stray");
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(old), Make.Record(10)));
        probe.Rows.Add((new SampleSubject(young), Make.Record(5)));
        probe.Rows.Add((new SampleSubject(young, new SampleAttribute("network.type", "ipv6")), Make.Record(1000, main: false)));
        probe.Rows.Add((new SampleSubject(unknown), Make.Record(77)));
        probe.Rows.Add((new SampleSubject(unknown, new SampleAttribute("device", "eth0")), Make.Record(77)));
        NetworkNamespace host = Make.Host();
        probe.Rows.Add((new SampleSubject(host), Make.Record(3)));
        probe.Rows.Add((SampleSubject.Node, Make.Record(4)));
        probe.Rows.Add((new SampleSubject(host, new PodIdentity("kube-system", "kube-proxy-1")), Make.Record(2)));
        await using ProbeManager manager = await Make.ManagerAsync(probe);

        List<ExpositionLint.Sample> samples = ExpositionLint.Parse(Write(Writer("kubeskoop"), manager, false), false);

        var opens = samples.Where(static s => s.Name == "kubeskoop_fake_activeopens").ToList();
        Assert.Equal(2, opens.Count);
        Assert.Equal("15", opens.Single(static s => s.Labels["k8s_pod"] == "web-0" && s.Labels["k8s_namespace"] == "shop").Value);
        Assert.Equal("9", opens.Single(static s => s.Labels["k8s_pod"].Length == 0 && s.Labels["k8s_namespace"].Length == 0).Value);
        Assert.All(opens, static s => Assert.Equal(["k8s_namespace", "k8s_node", "k8s_pod"], s.Labels.Keys));
        Assert.Equal("1", Value(samples, "kubeskoop_exporter_unattributed_namespaces"));
        Assert.Equal("0", Value(samples, "kubeskoop_exporter_duplicates_total"));
        Assert.Equal("30", samples.Single(static s => s.Name == "kubeskoop_fake_rxkilobytes" && s.Labels["k8s_pod"] == "web-0").Value);
    }

    [Theory]
    [InlineData(MetricKind.Gauge, "gauge")]
    [InlineData(MetricKind.Counter, "counter")]
    public async Task Upstream_types_are_the_tables(MetricKind kind, string expected)
    {
        var probe = new FakeProbe("fake", FakeRecord.Table("fake", kind));
        probe.Rows.Add((new SampleSubject(Make.Host()), Make.Record(1)));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        string text = Write(Writer("kubeskoop"), manager, openMetrics: true);
        Assert.Contains($"# TYPE kubeskoop_fake_activeopens {expected}\nkubeskoop_fake_activeopens{{", text, StringComparison.Ordinal);
        Assert.DoesNotContain("# EOF", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_metric_that_throws_is_left_out_and_counted()
    {
        MetricTable<FakeRecord> broken = FakeRecord.Table("broken");
        broken.Add("kubeskoop.broken.bad", MetricKind.Gauge, "1", "Throws.", static (in FakeRecord r) => r.Opens.Value == 2 ? throw new InvalidDataException("bad") : 1ul);
        var bad = new FakeProbe("broken", broken);
        bad.Rows.Add((new SampleSubject(Make.Namespace(4026532001, "one")), Make.Record(1)));
        bad.Rows.Add((new SampleSubject(Make.Namespace(4026532002, "two")), Make.Record(2)));
        var good = new FakeProbe("good");
        good.Rows.Add((new SampleSubject(Make.Host()), Make.Record(3)));
        await using ProbeManager manager = await Make.ManagerAsync(bad, good);
        PrometheusWriter writer = Writer("otel");
        List<ExpositionLint.Sample> samples = ExpositionLint.Parse(Write(writer, manager, true), true);
        Assert.Equal("3", Value(samples, "kubeskoop_good_active_opens_total"));
        Assert.Equal(2, samples.Count(static s => s.Name == "kubeskoop_broken_active_opens_total"));
        Assert.Equal("1", Value(samples, "kubeskoop_exporter_faults_total"));
        Assert.Equal("kubeskoop.broken.bad: InvalidDataException: bad", writer.LastFault);
        Assert.DoesNotContain(samples, static s => s.Name == "kubeskoop_broken_bad");
    }

    [Fact]
    public async Task Allocation_does_not_grow_with_series()
    {
        long few = await LaterScrapesBytesAsync(20), many = await LaterScrapesBytesAsync(2000);
        Assert.Equal(few, many);
        Assert.InRange(many, 0, 512);
    }

    // What ten scrapes allocate, after as many that all is compiled for good and whatever the runtime makes once is made.
    private static async Task<long> LaterScrapesBytesAsync(int namespaces)
    {
        var probe = new FakeProbe();
        for (int i = 0; i < namespaces; i++)
            probe.Rows.Add((new SampleSubject(Make.Namespace(4026532001 + (uint)i, $"ns-{i}")), Make.Record((ulong)i)));
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        PrometheusWriter writer = Writer("otel");
        var buffer = new ScrapeBuffer();
        for (int i = 0; i < 100; i++) Scrape();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) Scrape();
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.Null(writer.LastFault);
        Assert.Equal(110, probe.Statistics.Samples);
        return allocated;

        void Scrape()
        {
            buffer.Reset();
            writer.Write(manager, buffer, ExpositionFormat.PrometheusText);
            writer.Wrote(buffer.Length);
        }
    }

    [Fact]
    public async Task Upstream_has_the_labels_an_attribute_names_and_sums_over_the_others()
    {
        var probe = new FakeProbe();
        foreach (string cpu in (string[])["0", "1"])
        {
            probe.Rows.Add((new SampleSubject(null, new SampleAttribute("cpu.logical_number", cpu), new SampleAttribute("softirq.vector", "net_rx", "softirq_type")), Make.Record(3)));
            probe.Rows.Add((new SampleSubject(null, new SampleAttribute("cpu.logical_number", cpu), new SampleAttribute("softirq.vector", "net_tx", "softirq_type")), Make.Record(1)));
        }
        await using ProbeManager manager = await Make.ManagerAsync(probe);
        ExpositionLint.Sample[] samples = [.. ExpositionLint.Parse(Write(Writer("kubeskoop"), manager, false), false).Where(static s => s.Labels.ContainsKey("softirq_type"))];
        Assert.Equal([("net_rx", "6"), ("net_tx", "2")], samples.Where(s => s.Name == samples[0].Name).Select(static s => (s.Labels["softirq_type"], s.Value)));
        Assert.All(samples, static s => Assert.Equal("node-1", s.Labels["k8s_node"]));
        Assert.DoesNotContain(samples, static s => s.Labels.Keys.Any(static l => l.StartsWith("cpu", StringComparison.Ordinal)));
    }

    private static FakeProbe Scene()
    {
        var probe = new FakeProbe();
        probe.Rows.Add((new SampleSubject(Make.Host()), Make.Record(12)));
        probe.Rows.Add((new SampleSubject(Make.Namespace(4026532001, pod: new PodIdentity("shop", "web-0")), new SampleAttribute("network.interface.name", "eth0")), Make.Record(1)));
        probe.Rows.Add((new SampleSubject(Make.Namespace(4026532002, "with \"quotes\" \\ and\nlines")), new FakeRecord { Opens = 5, Limit = 1_000_000, Main = true }));
        return probe;
    }

    private static PrometheusWriter Writer(string naming) =>
        new(naming == "otel" ? MetricNaming.OpenTelemetry : MetricNaming.KubeSkoop, "node-1", new FakeTimeProvider());

    private static string Write(PrometheusWriter writer, IProbeManager manager, bool openMetrics)
    {
        var buffer = new ArrayBufferWriter<byte>();
        writer.Write(manager, buffer, openMetrics ? ExpositionFormat.OpenMetrics : ExpositionFormat.PrometheusText);
        writer.Wrote(buffer.WrittenCount);
        return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(buffer.WrittenSpan);
    }

    private static string Value(List<ExpositionLint.Sample> samples, string name) => samples.Single(s => s.Name == name).Value;
}
