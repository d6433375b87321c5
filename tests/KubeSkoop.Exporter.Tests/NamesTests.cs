using CsCheck;
using KubeSkoop.Exporter.Http;
using KubeSkoop.Exporter.Metrics;

namespace KubeSkoop.Exporter.Tests;

public class NamesTests
{
    [Theory]
    [InlineData("kubeskoop.tcp.active_opens", MetricKind.Counter, "{connection}", "kubeskoop_tcp_active_opens")]
    [InlineData("kubeskoop.packets.total", MetricKind.Counter, "{packet}", "kubeskoop_packets")]
    [InlineData("kubeskoop.probe.sample.duration", MetricKind.Gauge, "s", "kubeskoop_probe_sample_duration_seconds")]
    [InlineData("kubeskoop.io.read_bytes", MetricKind.Counter, "By", "kubeskoop_io_read_bytes")]
    [InlineData("kubeskoop.probe.state", MetricKind.Gauge, "1", "kubeskoop_probe_state")]
    [InlineData("kubeskoop.sock.memory.utilization", MetricKind.Gauge, "1", "kubeskoop_sock_memory_utilization_ratio")]
    [InlineData("kubeskoop.x.hit_ratio", MetricKind.Gauge, "1", "kubeskoop_x_hit_ratio")]
    [InlineData("kubeskoop.x.rate", MetricKind.Gauge, "By/s", "kubeskoop_x_rate_bytes_per_second")]
    [InlineData("kubeskoop.x.rate", MetricKind.Gauge, "{packet}/s", "kubeskoop_x_rate_per_second")]
    [InlineData("kubeskoop.x.kibibytes", MetricKind.Gauge, "KiBy", "kubeskoop_x_kibibytes")]
    [InlineData("kubeskoop.tcpext.TCPOrigDataSent", MetricKind.Counter, "1", "kubeskoop_tcpext_TCPOrigDataSent")]
    public void Instrument_to_family(string instrument, MetricKind kind, string unit, string family) =>
        Assert.Equal(family, PrometheusNames.Family(instrument, kind, unit));

    [Fact]
    public void Any_attribute_name_gives_a_label_name() =>
        Gen.String.Sample(static name => Assert.Matches("^[a-zA-Z_][a-zA-Z0-9_]*$", PrometheusNames.Label(name)));

    [Fact]
    public void Any_text_is_clean_afterwards_and_clean_text_stays() =>
        Gen.String.Sample(static text =>
        {
            string clean = SafeText.Clean(text);
            Assert.DoesNotContain(clean, static c => char.IsControl(c));
            Assert.Equal(clean, SafeText.Clean(clean));
        });

    [Theory]
    [InlineData("", false)]
    [InlineData("*/*", false)]
    [InlineData("text/plain", false)]
    [InlineData("application/openmetrics-text", true)]
    [InlineData("application/openmetrics-text; version=0.0.1", false)]
    [InlineData("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true)]
    [InlineData("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true)]
    [InlineData("application/openmetrics-text;q=0.3, text/plain;q=0.6", false)]
    [InlineData("text/plain;q=0.2, application/openmetrics-text;q=0", false)]
    [InlineData("APPLICATION/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=1, text/*;q=0.9", true)]
    [InlineData("*/*;q=0.9, application/openmetrics-text;q=0.5, text/plain;q=0.1", true)]
    [InlineData(",;q=,;;=,", false)]
    public void Accept_decides_the_format(string accept, bool openMetrics) =>
        Assert.Equal(openMetrics ? ExpositionFormat.OpenMetrics : ExpositionFormat.PrometheusText, Negotiation.Format(accept));

    [Theory]
    [InlineData("", false)]
    [InlineData("gzip", true)]
    [InlineData("gzip;q=0", false)]
    [InlineData("*", true)]
    [InlineData("*, gzip;q=0.0", false)]
    [InlineData("deflate, br", false)]
    [InlineData("deflate, GZIP;q=0.3", true)]
    [InlineData("identity;q=1, *;q=0", false)]
    public void Accept_encoding_decides_gzip(string header, bool expected) => Assert.Equal(expected, Negotiation.AcceptsGzip(header));

    [Fact]
    public void No_header_breaks_the_negotiation() =>
        Gen.String.Sample(static header =>
        {
            _ = Negotiation.Format(header);
            _ = Negotiation.AcceptsGzip(header);
        });
}
