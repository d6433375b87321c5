using System.Collections;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using KubeSkoop.Exporter.Cli;
using Snapshooter.Xunit;

namespace KubeSkoop.Exporter.Tests;

public class CliTests
{
    [Fact]
    public async Task List_json_tells_everything_a_descriptor_says()
    {
        (int code, string output, _) = await RunAsync(["list", "--json"]);
        Assert.Equal(ExitCodes.Ok, code);
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement[] probes = [.. json.RootElement.GetProperty("probes").EnumerateArray()];
        Assert.Equal(["fake", "gone", "broken", "probe"], probes.Select(static p => p.GetProperty("name").GetString()));
        Assert.Equal("kubeskoop.fake.active_opens", probes[0].GetProperty("metrics")[0].GetProperty("name").GetString());
        Assert.Equal("kubeskoop_fake_activeopens", probes[0].GetProperty("metrics")[0].GetProperty("upstream_name").GetString());
        Assert.Equal("CountSockets", probes[0].GetProperty("options")[0].GetProperty("name").GetString());
    }

    [Fact]
    public async Task List_and_sample_print_aligned_columns_into_a_pipe()
    {
        (_, string list, _) = await RunAsync(["list"]);
        (_, string sample, _) = await RunAsync(["sample", "fake"]);
        (list + "\n" + sample).MatchSnapshot();
    }

    [Fact]
    public async Task A_terminal_gets_a_frame_and_no_pod_can_break_it()
    {
        (int code, string output, _) = await RunAsync(["sample", "fake"], terminal: 250);
        Assert.Equal(ExitCodes.Ok, code);
        Assert.Contains("╭", output, StringComparison.Ordinal);
        Assert.DoesNotContain("\u001b[31m", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_terminal_too_narrow_for_a_frame_gets_what_a_pipe_gets()
    {
        (_, string narrow, _) = await RunAsync(["sample", "fake"], terminal: 60);
        (_, string pipe, _) = await RunAsync(["sample", "fake"]);
        Assert.Equal(pipe, narrow);
    }

    [Fact]
    public async Task Sample_json_has_the_documented_shape_and_exact_numbers()
    {
        (int code, string output, string errors) = await RunAsync(["sample", "fake", "--json"]);
        Assert.Equal((ExitCodes.Ok, ""), (code, errors));
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.Equal(["probe", "taken", "rows"], json.RootElement.EnumerateObject().Select(static p => p.Name));
        JsonElement[] rows = [.. json.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.All(rows, static r => Assert.Equal(["netns", "namespace", "pod", "attributes", "values"], r.EnumerateObject().Select(static p => p.Name)));

        Assert.Equal(4026531840u, rows[0].GetProperty("netns").GetUInt32());
        Assert.Equal("18446744073709551614", rows[0].GetProperty("values").GetProperty("active_opens").GetRawText());
        Assert.False(rows[0].GetProperty("values").TryGetProperty("limit", out _), "an absent number is left out");
        Assert.False(rows[0].GetProperty("values").TryGetProperty("utilization", out _), "NaN is no JSON number");
        Assert.Equal(0, rows[0].GetProperty("values").GetProperty("latency").GetProperty("count").GetInt32());

        Assert.Equal("shop", rows[1].GetProperty("namespace").GetString());
        Assert.Equal("web-0", rows[1].GetProperty("pod").GetString());
        JsonElement latency = rows[1].GetProperty("values").GetProperty("latency");
        Assert.Equal(3, latency.GetProperty("count").GetInt32());
        Assert.Equal(2, latency.GetProperty("buckets")[2].GetProperty("count").GetInt32());

        Assert.Equal(JsonValueKind.Null, rows[2].GetProperty("netns").ValueKind);
        Assert.Equal(Make.HostileName.Replace('\ud800', '\ufffd'), rows[2].GetProperty("attributes").GetProperty("device").GetString());
    }

    [Theory]
    [InlineData("4026532001", 4026532001)]
    [InlineData("blue", 4026532001)]
    [InlineData("host", 4026531840)]
    public async Task Netns_takes_an_inode_or_a_name(string netns, uint inode)
    {
        (int code, string output, _) = await RunAsync(["sample", "fake", "--json", "--netns", netns]);
        Assert.Equal(ExitCodes.Ok, code);
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.Equal(inode, json.RootElement.GetProperty("rows").EnumerateArray().Single().GetProperty("netns").GetUInt32());
    }

    [Fact]
    public async Task Netns_takes_a_process_of_the_mounted_proc()
    {
        string proc = Directory.CreateTempSubdirectory().FullName;
        try
        {
            Directory.CreateDirectory(Path.Combine(proc, "815", "ns"));
            File.CreateSymbolicLink(Path.Combine(proc, "815", "ns", "net"), "net:[4026532001]");
            (int code, string output, _) = await RunAsync(["sample", "fake", "--json", "--netns", "815", "--set", $"KubeSkoop:Probes:Procfs:HostProc={proc}"]);
            Assert.Equal(ExitCodes.Ok, code);
            Assert.Contains("\"netns\": 4026532001", output, StringComparison.Ordinal);
            (code, _, string errors) = await RunAsync(["sample", "fake", "--netns", "816", "--set", $"KubeSkoop:Probes:Procfs:HostProc={proc}"]);
            Assert.Equal(ExitCodes.Usage, code);
            Assert.Contains("There is no process 816", errors, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(proc, recursive: true);
        }
    }

    [Theory]
    [InlineData(ExitCodes.Usage, "There is no probe 'nope'. Known probes: fake, gone, broken, probe.", "sample", "nope")]
    [InlineData(ExitCodes.Usage, "There is no network namespace 'green'. Known: host (4026531840), blue (4026532001).", "sample", "fake", "--netns", "green")]
    [InlineData(ExitCodes.Unavailable, "gone: cannot open /proc/gone: ENOENT. Load the module.", "sample", "gone")]
    [InlineData(ExitCodes.Usage, "Write it as Key=Value", "list", "--set", "nonsense")]
    [InlineData(ExitCodes.Usage, "KubeSkoop:Exporter:Naming is 'greek'; it must be otel or kubeskoop.", "serve", "--naming", "greek")]
    [InlineData(ExitCodes.Usage, "KubeSkoop:Exporter:Port is 70000; it must lie between 0 and 65535.", "--port", "70000")]
    [InlineData(ExitCodes.Usage, "KubeSkoop:Exporter:Port", "serve", "--set", "KubeSkoop:Exporter:Port=many")]
    [InlineData(ExitCodes.Usage, "KubeSkoop:Probes:RetryDelay is -00:00:01; it must be longer than zero.", "serve", "--port", "0", "--set", "KubeSkoop:Probes:RetryDelay=-00:00:01")]
    [InlineData(ExitCodes.Usage, "'many' at 'KubeSkoop:Exporter:Port' to a whole number.", "--set", "KubeSkoop:Exporter:Port=many")]
    [InlineData(ExitCodes.Usage, "--port: 'abc' is no whole number.", "--port", "abc")]
    [InlineData(ExitCodes.Usage, "--top: '1.5' is no whole number.", "sample", "fake", "--top", "1.5")]
    [InlineData(ExitCodes.Usage, "--count must be 1 or more.", "watch", "--count", "0")]
    [InlineData(ExitCodes.Usage, "There is no probe 'tpc'. Known probes: fake, gone, broken, probe.", "--port", "0", "--enable", "fake,tpc")]
    [InlineData(ExitCodes.Usage, "The probe 'fake' has no events. Probes that have: .", "watch", "--probe", "fake")]
    [InlineData(ExitCodes.Failed, "InvalidOperationException: the kernel is out of order", "sample", "broken")]
    [InlineData(ExitCodes.Ok, "Configuration: KubeSkop is not known and is ignored. Did you mean KubeSkoop?", "list", "--set", "KubeSkop:Probes:NodeName=x")]
    [InlineData(ExitCodes.Ok, "Configuration: KubeSkoop:Probes:fake is 'true', which is ignored: it takes settings of its own, as KubeSkoop:Probes:fake:Key.", "sample", "fake", "--set", "KubeSkoop:Probes:fake=true")]
    [InlineData(ExitCodes.Usage, "--help", "serve", "--bogus")]
    [InlineData(ExitCodes.Usage, "cannot be read", "list", "--config", "/nonexistent/config.json")]
    public async Task Mistakes_have_their_exit_code_and_a_sentence(int expected, string message, params string[] args)
    {
        (int code, _, string errors) = await RunAsync(args);
        Assert.Equal(expected, code);
        Assert.Contains(message, errors, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_broken_file_is_named_with_its_line()
    {
        string file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, "{\n  \"KubeSkoop\": {\n    \"Exporter\" { }\n  }\n}\n");
            (int code, _, string errors) = await RunAsync(["serve", "--config", file]);
            Assert.Equal(ExitCodes.Usage, code);
            Assert.Contains($"{file} is broken in line 3, column 16", errors, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public async Task A_taken_port_is_named_without_a_stack()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        int port = ((IPEndPoint)taken.LocalEndpoint).Port;
        (int code, _, string errors) = await RunAsync(["--port", port.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        Assert.Equal(ExitCodes.AddressInUse, code);
        Assert.Contains($"Port {port} on 127.0.0.1 is taken", errors, StringComparison.Ordinal);
        Assert.Contains("--port", errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task File_environment_and_command_line_override_each_other_in_this_order()
    {
        string file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, """
                {
                  // comments are welcome
                  "KubeSkoop": {
                    "Probes": { "NodeName": "from-file", "Enabled": ["fake", "gone"], "fake": { "Countsokets": true } },
                    "Exporter": { "Port": 0, "Naming": "kubeskoop" },
                  }
                }
                """);
            using var stop = new CancellationTokenSource();
            string metrics = "";
            string[] problems = [];
            var environment = new Hashtable { ["KUBESKOOP_PROBES__NODENAME"] = "from-environment", ["KUBESKOOP_EXPORTER__NAMING"] = "otel", ["OTHER"] = "x" };
            (int code, _, string errors) = await RunAsync(["--config", file, "--enable", "fake", "--set", "KubeSkoop:Probes:SelfMetrics=false"], environment: environment, started: app =>
            {
                using var client = new HttpClient { BaseAddress = app.Address };
                metrics = client.GetStringAsync("/metrics").GetAwaiter().GetResult();
                problems = [.. app.Problems];
                stop.Cancel();
            }, cancellation: stop.Token);
            Assert.Equal(ExitCodes.Ok, code);
            Assert.Contains("kubeskoop_fake_active_opens_total{k8s_node_name=\"from-environment\"", metrics, StringComparison.Ordinal);
            Assert.DoesNotContain("kubeskoop_probe_state", metrics, StringComparison.Ordinal);
            Assert.Equal(["KubeSkoop:Probes:fake:Countsokets is not known and is ignored. Did you mean CountSockets?"], problems);
            Assert.Contains("Configuration: KubeSkoop:Probes:fake:Countsokets", errors, StringComparison.Ordinal);
            Assert.Contains("1 of 1 probes run: fake (fake).", errors, StringComparison.Ordinal);
            Assert.Contains("Listening on http://127.0.0.1:", errors, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static async Task<(int Code, string Output, string Errors)> RunAsync(string[] args, int? terminal = null, IDictionary? environment = null,
        Action<ExporterApp>? started = null, CancellationToken cancellation = default)
    {
        var fake = new FakeProbe();
        fake.Rows.Add((new SampleSubject(Make.Host()), new FakeRecord { Opens = ulong.MaxValue - 1, Share = double.NaN, Main = true }));
        fake.Rows.Add((new SampleSubject(Make.Namespace(4026532001, "blue", "sh", new PodIdentity("shop", "web-0"))), Make.Record(2)));
        fake.Rows.Add((new SampleSubject(null, new SampleAttribute("device", Make.HostileName)), Make.Record(3)));
        var gone = new FakeProbe("gone") { Unavailable = new ProbeUnavailableException("gone", "cannot open /proc/gone", "ENOENT", "Load the module.") };
        var broken = new FakeProbe("broken") { ReadFails = new InvalidOperationException("the kernel is out of order") };
        var output = new StringWriter();
        var errors = new StringWriter();
        int code = await ExporterCli.RunAsync(args, new CliHost
        {
            Output = output,
            Errors = TextWriter.Synchronized(errors),
            TerminalWidth = terminal,
            Environment = environment ?? new Hashtable(),
            Probes = Make.Probes(fake, gone, broken),
            Started = started,
        }, cancellation);
        return (code, output.ToString(), errors.ToString());
    }
}
