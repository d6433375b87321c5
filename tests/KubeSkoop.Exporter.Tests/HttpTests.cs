using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace KubeSkoop.Exporter.Tests;

[Collection("listens to all meters of the process")]
public class HttpTests
{
    [Theory]
    [InlineData("", "text/plain; version=0.0.4; charset=utf-8", false)]
    [InlineData("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0; charset=utf-8", true)]
    public async Task Metrics_come_in_the_format_asked_for(string accept, string contentType, bool openMetrics)
    {
        await using TestExporter exporter = await TestExporter.StartAsync([Probe(3)]);
        using var request = new HttpRequestMessage(HttpMethod.Get, "/metrics");
        if (accept.Length > 0) request.Headers.TryAddWithoutValidation("Accept", accept);
        using HttpResponseMessage response = await exporter.Client.SendAsync(request);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(contentType, response.Content.Headers.GetValues("Content-Type").Single());
        byte[] body = await response.Content.ReadAsByteArrayAsync();
        Assert.Equal(response.Content.Headers.ContentLength, body.Length);
        List<ExpositionLint.Sample> samples = ExpositionLint.Parse(Encoding.UTF8.GetString(body), openMetrics);
        Assert.Equal(3, samples.Count(static s => s.Name == "kubeskoop_fake_active_opens_total"));
        Assert.Contains(samples, static s => s.Name == "kubeskoop_probe_state" && s.Labels["probe"] == "fake" && s.Value == "2");
    }

    [Fact]
    public async Task Upstream_naming_answers_text_even_when_asked_for_OpenMetrics()
    {
        await using TestExporter exporter = await TestExporter.StartAsync([Probe(0)], ("KubeSkoop:Exporter:Naming", "kubeskoop"));
        using var request = new HttpRequestMessage(HttpMethod.Get, "/metrics");
        request.Headers.TryAddWithoutValidation("Accept", "application/openmetrics-text");
        using HttpResponseMessage response = await exporter.Client.SendAsync(request);
        Assert.Equal("text/plain", response.Content.Headers.ContentType!.MediaType);
        string text = await response.Content.ReadAsStringAsync();
        ExpositionLint.Parse(text, openMetrics: false);
        Assert.Contains("kubeskoop_fake_activeopens{k8s_node=\"node-1\",k8s_namespace=\"\",k8s_pod=\"\"} 1000\n", text, StringComparison.Ordinal);
        Assert.Contains("kubeskoop_probe_state{", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Gzip_carries_the_same_text()
    {
        await using TestExporter exporter = await TestExporter.StartAsync([Probe(300)]);
        using var request = new HttpRequestMessage(HttpMethod.Get, "/metrics");
        request.Headers.AcceptEncoding.Add(new StringWithQualityHeaderValue("gzip", 0.5));
        using HttpResponseMessage response = await exporter.Client.SendAsync(request);
        Assert.Equal("gzip", response.Content.Headers.ContentEncoding.Single());
        await using var unzipped = new GZipStream(await response.Content.ReadAsStreamAsync(), CompressionMode.Decompress);
        using var reader = new StreamReader(unzipped);
        List<ExpositionLint.Sample> samples = ExpositionLint.Parse(await reader.ReadToEndAsync(), openMetrics: false);
        Assert.Equal(300, samples.Count(static s => s.Name == "kubeskoop_fake_active_opens_total"));
    }

    [Fact]
    public async Task Head_has_headers_and_no_body()
    {
        await using TestExporter exporter = await TestExporter.StartAsync([Probe(3)]);
        using HttpResponseMessage response = await exporter.Client.SendAsync(new HttpRequestMessage(HttpMethod.Head, "/metrics"));
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.True(response.Content.Headers.ContentLength > 100);
        Assert.Empty(await response.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task Scrapes_at_the_same_time_are_each_whole()
    {
        await using TestExporter exporter = await TestExporter.StartAsync([Probe(40), new FakeProbe("other")]);
        long before = exporter.Manager.Find("fake")!.Statistics.Samples;
        var scrapes = Enumerable.Range(0, 8).Select(n => Task.Run(async () =>
        {
            for (int i = 0; i < 10; i++)
            {
                using var request = new HttpRequestMessage(HttpMethod.Get, "/metrics");
                bool openMetrics = (n + i) % 2 == 0;
                if (openMetrics) request.Headers.TryAddWithoutValidation("Accept", "application/openmetrics-text");
                using HttpResponseMessage response = await exporter.Client.SendAsync(request);
                Assert.Equal(40, ExpositionLint.Parse(await response.Content.ReadAsStringAsync(), openMetrics).Count(static s => s.Name == "kubeskoop_fake_active_opens_total"));
            }
        }));
        await Task.WhenAll(scrapes);
        Assert.Equal(80, exporter.Manager.Find("fake")!.Statistics.Samples - before);
        Assert.Equal(0, exporter.Manager.Find("fake")!.Statistics.Errors);
    }

    [Fact]
    public async Task A_client_that_goes_away_in_the_middle_fails_no_probe()
    {
        await using TestExporter exporter = await TestExporter.StartAsync([Probe(20_000)]);
        for (int i = 0; i < 5; i++)
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            await socket.ConnectAsync(IPAddress.Loopback, exporter.Address.Port);
            await socket.SendAsync("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray());
            await socket.ReceiveAsync(new byte[100]);
            socket.LingerState = new LingerOption(true, 0);
        }
        string text = await exporter.Client.GetStringAsync("/metrics");
        Assert.Equal(20_000, text.Split('\n').Count(static line => line.StartsWith("kubeskoop_fake_active_opens_total{", StringComparison.Ordinal)));
        Assert.Equal(ProbeState.Running, exporter.Manager.Find("fake")!.Status.State);
        Assert.Equal(0, exporter.Manager.Find("fake")!.Statistics.Errors);
        Assert.Empty(exporter.Errors.ToString());
    }

    [Fact]
    public async Task Status_has_upstreams_keys_and_every_reason()
    {
        var broken = new FakeProbe("broken") { Unavailable = new ProbeUnavailableException("broken", "cannot open a thing", "EPERM, CAP_NET_ADMIN is missing", "Add NET_ADMIN.") };
        await using TestExporter exporter = await TestExporter.StartAsync([Probe(1), broken], ("KubeSkoop:Probes:fake:CountSocket", "true"), ("KubeSkoop:Probes:Enabled", "fake,broken,nonsense"));
        long before = exporter.Manager.Find("fake")!.Statistics.Samples;
        await exporter.Client.GetStringAsync("/metrics");
        using JsonDocument status = JsonDocument.Parse(await exporter.Client.GetStringAsync("/status"));
        JsonElement root = status.RootElement;
        Assert.Contains(root.GetProperty("inuse_probes").GetProperty("metrics").EnumerateArray(), static p => p.GetProperty("name").GetString() == "fake" && p.GetProperty("state").GetString() == "Running");
        Assert.Equal(JsonValueKind.Array, root.GetProperty("inuse_probes").GetProperty("event").ValueKind);
        Assert.Contains(root.GetProperty("available_probes").GetProperty("metrics").EnumerateArray(), static p => p.GetString() == "broken");
        JsonElement[] probes = [.. root.GetProperty("probes").EnumerateArray()];
        Assert.Equal(before + 1, probes.Single(static p => p.GetProperty("name").GetString() == "fake").GetProperty("samples").GetInt64());
        JsonElement unavailable = probes.Single(static p => p.GetProperty("name").GetString() == "broken");
        Assert.Equal("Unavailable", unavailable.GetProperty("state").GetString());
        Assert.Contains("CAP_NET_ADMIN", unavailable.GetProperty("reason").GetString(), StringComparison.Ordinal);
        string[] problems = [.. root.GetProperty("configuration_problems").EnumerateArray().Select(static p => p.GetString()!)];
        Assert.Contains(problems, static p => p.Contains("KubeSkoop:Probes:fake:CountSocket", StringComparison.Ordinal) && p.Contains("CountSockets?", StringComparison.Ordinal));
        Assert.Contains(problems, static p => p.Contains("nonsense", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Ready_names_the_probes_and_the_reasons_and_turns_503_when_none_runs()
    {
        var broken = new FakeProbe("broken") { Unavailable = new ProbeUnavailableException("broken", "cannot open a thing", "EPERM", "Add NET_ADMIN.") };
        await using TestExporter exporter = await TestExporter.StartAsync([broken]);
        using HttpResponseMessage ready = await exporter.Client.GetAsync(new Uri("/readyz", UriKind.Relative));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, ready.StatusCode);
        Assert.Contains("broken: Unavailable: broken: cannot open a thing: EPERM. Add NET_ADMIN.", await ready.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.Equal("ok\n", await exporter.Client.GetStringAsync("/healthz"));
        broken.Unavailable = null;
        using HttpResponseMessage started = await exporter.Client.PostAsync(new Uri("/probes/broken/start", UriKind.Relative), null);
        Assert.Equal(HttpStatusCode.OK, started.StatusCode);
        using HttpResponseMessage again = await exporter.Client.GetAsync(new Uri("/readyz", UriKind.Relative));
        Assert.Equal(HttpStatusCode.OK, again.StatusCode);
    }

    [Fact]
    public async Task Probes_are_plugged_and_unplugged_over_http()
    {
        FakeProbe probe = Probe(2);
        await using TestExporter exporter = await TestExporter.StartAsync([probe, new FakeProbe("other")]);
        Assert.Equal((409, "The probe fake runs already."), await PostAsync(exporter, "/probes/fake/start"));
        Assert.Equal((200, "The probe fake is stopped."), await PostAsync(exporter, "/probes/fake/stop"));
        Assert.DoesNotContain("kubeskoop_fake_active_opens", await exporter.Client.GetStringAsync("/metrics"), StringComparison.Ordinal);
        Assert.Equal((409, "The probe fake does not run."), await PostAsync(exporter, "/probes/fake/stop"));
        Assert.Equal((200, "The probe fake runs."), await PostAsync(exporter, "/probes/fake_alias/start"));
        Assert.Contains("kubeskoop_fake_active_opens", await exporter.Client.GetStringAsync("/metrics"), StringComparison.Ordinal);

        (int status, string message) = await PostAsync(exporter, "/probes/nope/start");
        Assert.Equal(404, status);
        Assert.Contains("Known probes: fake, other", message, StringComparison.Ordinal);
        Assert.Equal(404, (await PostAsync(exporter, "/probes/fake/dance")).Status);

        await PostAsync(exporter, "/probes/fake/stop");
        probe.Unavailable = new ProbeUnavailableException("fake", "no such thing", "ENOENT", "Get one.");
        Assert.Equal((503, "fake: no such thing: ENOENT. Get one."), await PostAsync(exporter, "/probes/fake/start"));
        using HttpResponseMessage get = await exporter.Client.GetAsync(new Uri("/probes/fake/start", UriKind.Relative));
        Assert.Equal(HttpStatusCode.MethodNotAllowed, get.StatusCode);
    }

    [Theory]
    [InlineData("false", null, null)]
    [InlineData(null, "http://evil.example", null)]
    [InlineData(null, null, "evil.example")]
    public async Task Control_is_refused_where_it_is_not_allowed(string? allowed, string? origin, string? host)
    {
        await using TestExporter exporter = await TestExporter.StartAsync([Probe(1)], allowed is null ? [] : [("KubeSkoop:Exporter:AllowControl", allowed)]);
        using var request = new HttpRequestMessage(HttpMethod.Post, "/probes/fake/stop");
        if (origin is not null) request.Headers.TryAddWithoutValidation("Origin", origin);
        if (host is not null) request.Headers.Host = host;
        using HttpResponseMessage response = await exporter.Client.SendAsync(request);
        Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);
        Assert.Equal(ProbeState.Running, exporter.Manager.Find("fake")!.Status.State);
    }

    [Fact]
    public async Task Listening_beyond_loopback_closes_the_control()
    {
        await using TestExporter exporter = await TestExporter.StartAsync([Probe(1)], ("KubeSkoop:Exporter:Listen", "0.0.0.0"));
        using HttpResponseMessage response = await exporter.Client.PostAsync(new Uri($"http://127.0.0.1:{exporter.Address.Port}/probes/fake/stop"), null);
        Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);
    }

    [Fact]
    public async Task Other_paths_and_methods_are_refused()
    {
        await using TestExporter exporter = await TestExporter.StartAsync([Probe(1)]);
        foreach (string path in new[] { "/debug/pprof/", "/metrics/", "/internal", "/..%2f..%2fetc/passwd" })
        {
            using HttpResponseMessage missing = await exporter.Client.GetAsync(new Uri(path, UriKind.Relative));
            Assert.Equal(HttpStatusCode.NotFound, missing.StatusCode);
        }
        using HttpResponseMessage put = await exporter.Client.PutAsync(new Uri("/metrics", UriKind.Relative), null);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, put.StatusCode);
        Assert.Contains("/metrics", await exporter.Client.GetStringAsync("/"), StringComparison.Ordinal);
    }

    private static FakeProbe Probe(int namespaces)
    {
        var probe = new FakeProbe();
        if (namespaces == 0) probe.Rows.Add((new SampleSubject(Make.Host()), Make.Record(1000)));
        for (int i = 0; i < namespaces; i++) probe.Rows.Add((new SampleSubject(Make.Namespace(4026532001 + (uint)i, $"ns-{i}")), Make.Record((ulong)i)));
        return probe;
    }

    private static async Task<(int Status, string Message)> PostAsync(TestExporter exporter, string path)
    {
        using HttpResponseMessage response = await exporter.Client.PostAsync(new Uri(path, UriKind.Relative), null);
        using JsonDocument json = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        return ((int)response.StatusCode, json.RootElement.GetProperty("message").GetString()!);
    }
}
