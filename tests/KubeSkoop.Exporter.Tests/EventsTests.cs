using System.Diagnostics;
using System.Net;
using System.Text.Json;
using KubeSkoop.Exporter.Cli;
using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Exporter.Tests;

/// <summary>Events end to end: over HTTP from a fake probe, and on the command line from the kernel.</summary>
[Collection("listens to all meters of the process")]
public sealed class EventsTests
{
    [Fact]
    public async Task Events_are_sent_as_they_happen_and_nothing_in_them_breaks_the_stream()
    {
        var probe = new FakeEvents();
        await using TestExporter exporter = await TestExporter.StartAsync([probe]);
        using HttpResponseMessage response = await exporter.Client.GetAsync("/events?probe=fake_events", HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        Assert.StartsWith(":", await reader.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout), StringComparison.Ordinal);
        Assert.Equal("", await reader.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));

        NetworkNamespace ns = Make.Namespace(4026532001, "blue", "sh", new PodIdentity("shop", "web-0"));
        for (int i = 0; i < 3; i++) probe.Send(new FakeEvent { Probe = "fake_events", Timestamp = DateTimeOffset.UnixEpoch.AddSeconds(i), Namespace = ns, Pod = ns.Pod, Node = "node-1", Name = Make.HostileName, Number = ulong.MaxValue });
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal("event: fake_events", await reader.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            string? data = await reader.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout);
            Assert.StartsWith("data: {", data, StringComparison.Ordinal);
            JsonElement e = JsonDocument.Parse(data!["data: ".Length..]).RootElement;
            Assert.Equal(($"1970-01-01T00:00:0{i}+00:00", "fake_events", "Fake", "node-1", 4026532001u, "shop", "web-0"),
                (e.GetProperty("time").GetString(), e.GetProperty("probe").GetString(), e.GetProperty("event").GetString(), e.GetProperty("node").GetString(),
                e.GetProperty("netns").GetUInt32(), e.GetProperty("namespace").GetString(), e.GetProperty("pod").GetString()));
            Assert.Equal(ulong.MaxValue, e.GetProperty("fields").GetProperty("number").GetUInt64());
            Assert.Equal(Make.HostileName.Replace("\ud800", "\ufffd", StringComparison.Ordinal), e.GetProperty("fields").GetProperty("name").GetString());
            Assert.False(e.GetProperty("fields").TryGetProperty("nothing", out _));
            Assert.Equal("", await reader.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
        }
    }

    [Fact]
    public async Task A_client_of_a_quiet_probe_beside_a_busy_one_hears_that_the_exporter_is_there()
    {
        var clock = new Microsoft.Extensions.Time.Testing.FakeTimeProvider();
        var busy = new FakeEvents();
        await using TestExporter exporter = await TestExporter.StartAsync([busy, new FakeConntrack()], clock);
        using HttpResponseMessage response = await exporter.Client.GetAsync("/events?probe=fake_conntrack", HttpCompletionOption.ResponseHeadersRead);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        Assert.StartsWith(":", await reader.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout), StringComparison.Ordinal);
        Assert.Equal("", await reader.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
        // An event of the other each second: it wakes this client, which must not wait anew each time.
        Task<string?> heard = reader.ReadLineAsync();
        for (int second = 0; second < 60 && !heard.IsCompleted; second++)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            busy.Send(new FakeEvent { Probe = "fake_events", Timestamp = DateTimeOffset.UnixEpoch, Name = "something else" });
            await Task.WhenAny(heard, Task.Delay(20));
        }
        Assert.Equal(": still here", await heard.WaitAsync(Eventually.DefaultTimeout));
    }

    [Fact]
    public async Task Trouble_is_in_the_log_though_nobody_watches()
    {
        var probe = new FakeConntrack();
        var others = new FakeEvents();
        await using TestExporter exporter = await TestExporter.StartAsync([probe, others]);
        Assert.Equal((true, false), (probe.IsHeard, others.IsHeard)); // who watches nothing has no events made but these
        NetworkNamespace ns = Make.Namespace(4026532001, Make.HostileName);
        others.Send(new FakeEvent { Probe = "fake_events", Timestamp = DateTimeOffset.UnixEpoch, Namespace = ns, Name = "nothing much" });
        probe.Send(new ConntrackTableFullEvent { Probe = "fake_conntrack", Timestamp = DateTimeOffset.UnixEpoch, Namespace = ns, Dropped = 7, DroppedEarly = 0, Entries = 20, Maximum = 20 });
        probe.Send(new ConntrackInsertFailedEvent { Probe = "fake_conntrack", Timestamp = DateTimeOffset.UnixEpoch, Namespace = ns, InsertFailed = 3 });
        await Eventually.TrueAsync(() => exporter.Errors.ToString() is var log && log.Contains("warn fake_conntrack in a\"b", StringComparison.Ordinal)
            && log.Contains("(net:[4026532001]): table full (20 of 20 entries): 7 packets dropped", StringComparison.Ordinal) && log.Contains("3 entries could not be inserted", StringComparison.Ordinal), "the trouble to be logged");
        Assert.DoesNotContain("nothing much", exporter.Errors.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("\u001b", exporter.Errors.ToString(), StringComparison.Ordinal);
    }

    [LiveFact(Needs.NetNs, "nft", "conntrack")]
    public async Task A_sample_of_conntrack_with_entries_has_the_flows()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.ExecuteAsync("nft", "add", "table", "inet", "kst");
        await ns.ExecuteAsync("nft", "add", "chain", "inet", "kst", "in", "{ type filter hook input priority 0; }");
        await ns.ExecuteAsync("nft", "add", "rule", "inet", "kst", "in", "ct", "state", "new", "accept");
        await ns.TcpConnectionsAsync(7);
        using var output = new StringWriter();
        using var errors = new StringWriter();
        string[] args = ["sample", "conntrack", "--json", "--netns", ns.Name!, "--set", "KubeSkoop:Probes:conntrack:Entries=true"];
        Assert.Equal((ExitCodes.Ok, ""), (await ExporterCli.RunAsync(args, new CliHost { Output = output, Errors = errors }), errors.ToString()));
        JsonElement[] flows = [.. JsonDocument.Parse(output.ToString()).RootElement.GetProperty("rows").EnumerateArray().Where(static r => r.GetProperty("attributes").TryGetProperty("network.transport", out _))];
        Assert.Equal(7, flows.Sum(static f => f.GetProperty("values").GetProperty("flows").GetInt32()));
    }

    [Fact]
    public async Task An_unknown_probe_and_one_without_events_are_refused_by_name()
    {
        await using TestExporter exporter = await TestExporter.StartAsync([new FakeEvents(), new FakeProbe()]);
        foreach ((string name, string why) in ((string, string)[])[("nope", "There is no probe 'nope'. Known probes: fake_events."), ("fake", "The probe 'fake' has no events. Probes that have: fake_events.")])
        {
            using HttpResponseMessage response = await exporter.Client.GetAsync($"/events?probe={name}");
            Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
            Assert.Equal($"{why}\n", await response.Content.ReadAsStringAsync());
        }
        using HttpResponseMessage posted = await exporter.Client.PostAsync("/events", null);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, posted.StatusCode);
    }

    [Fact]
    public async Task More_readers_than_there_is_room_for_are_sent_away_and_room_comes_back()
    {
        await using TestExporter exporter = await TestExporter.StartAsync([new FakeEvents()]);
        var readers = new List<HttpResponseMessage>();
        for (int i = 0; i < 32; i++) readers.Add(await exporter.Client.GetAsync("/events", HttpCompletionOption.ResponseHeadersRead));
        Assert.All(readers, static r => Assert.Equal(HttpStatusCode.OK, r.StatusCode));
        using (HttpResponseMessage refused = await exporter.Client.GetAsync("/events")) Assert.Equal(HttpStatusCode.ServiceUnavailable, refused.StatusCode);
        foreach (HttpResponseMessage reader in readers) reader.Dispose();
        await Eventually.TrueAsync(async () =>
        {
            using HttpResponseMessage again = await exporter.Client.GetAsync("/events", HttpCompletionOption.ResponseHeadersRead);
            return again.StatusCode == HttpStatusCode.OK;
        }, "room for another reader");
    }

    [LiveTheory(Needs.NetNs | Needs.Bpf)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Watch_prints_a_reset_of_the_kernel(bool asJson)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var output = new StringWriter();
        using var errors = new StringWriter();
        await using TestNamespace other = await TestNamespace.CreateAsync();
        string[] args = ["watch", "--probe", "tcpreset", "--count", "2", "--netns", asJson ? ns.Name! : ns.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture)];
        Task<int> watching = ExporterCli.RunAsync(asJson ? [.. args, "--json"] : args, new CliHost { Output = TextWriter.Synchronized(output), Errors = TextWriter.Synchronized(errors) });
        await Eventually.TrueAsync(() => errors.ToString().Contains("Watching tcpreset", StringComparison.Ordinal) || watching.IsCompleted, "the watch to begin");
        await other.RefusedConnectionsAsync(3, new IPEndPoint(IPAddress.Loopback, 4711));
        await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        Assert.Equal(ExitCodes.Ok, await watching.WaitAsync(Eventually.DefaultTimeout));
        string[] lines = output.ToString().Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(2, lines.Length);
        if (!asJson)
        {
            Assert.Matches($@"^\d\d:\d\d:\d\d\.\d{{6}} tcpreset {ns.Name}: reset sent TCP 127.0.0.1:4711 -> 127.0.0.1:\d+, no socket, NO_SOCKET$", lines.Single(static l => l.Contains("sent", StringComparison.Ordinal)));
            return;
        }
        JsonElement sent = lines.Select(static l => JsonDocument.Parse(l).RootElement).Single(static e => e.GetProperty("fields").GetProperty("kind").GetString() == "no_socket");
        JsonElement fields = sent.GetProperty("fields");
        Assert.Equal((ns.Inode, ns.Name, "127.0.0.1", 4711, "tcp", "NO_SOCKET"),
            (sent.GetProperty("netns").GetUInt32(), sent.GetProperty("namespace").GetString(), fields.GetProperty("source.address").GetString(), fields.GetProperty("source.port").GetInt32(),
            fields.GetProperty("network.transport").GetString(), fields.GetProperty("reason").GetString()));
    }

    [Theory]
    [InlineData("net_softirq", "host", "The probe net_softirq tells of the whole node, not of a namespace; leave out --netns.")]
    [InlineData("tcpreset", "nowhere", "There is no network namespace 'nowhere'.")]
    public async Task Watching_a_namespace_that_cannot_be_is_refused(string probe, string netns, string reason)
    {
        using var errors = new StringWriter();
        Assert.Equal(ExitCodes.Usage, await ExporterCli.RunAsync(["watch", "--probe", probe, "--netns", netns], new CliHost { Output = TextWriter.Null, Errors = errors }));
        Assert.Contains(reason, errors.ToString(), StringComparison.Ordinal);
    }

    [LiveFact(Needs.Bpf)]
    public async Task Kernel_says_which_way_each_probe_takes()
    {
        using var output = new StringWriter();
        Assert.Equal(ExitCodes.Ok, await ExporterCli.RunAsync(["kernel"], new CliHost { Output = output, Errors = TextWriter.Null }));
        Assert.Matches(@"(?m)^tcpreset\s+yes\s+tp_btf\s*$", output.ToString());
        Assert.Contains(File.ReadAllText("/proc/sys/kernel/osrelease").Trim(), output.ToString(), StringComparison.Ordinal);
        Assert.Matches(@"(?m)^libbpf\s+1\.\d+\s+/.*/native/libbpf\.so\s*$", output.ToString());
    }

    private sealed class FakeEvents() : EventProbe<FakeEvent>(new ProbeDescriptor { Name = "fake_events", Source = ProbeSource.Other, Overhead = OverheadClass.Low, Purpose = "Sends what it is told to." })
    {
        internal bool IsHeard => HasSubscribers;

        internal void Send(FakeEvent e) => Publish(e);

        protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken) => ValueTask.FromResult<string?>("fake");

        protected override ValueTask OnStopAsync() => ValueTask.CompletedTask;
    }

    private sealed class FakeConntrack() : EventProbe<ConntrackEvent>(new ProbeDescriptor { Name = "fake_conntrack", Source = ProbeSource.Other, Overhead = OverheadClass.Low, Purpose = "Sends what it is told to." })
    {
        internal bool IsHeard => HasSubscribers;

        internal void Send(ConntrackEvent e) => Publish(e);

        protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken) => ValueTask.FromResult<string?>("fake");

        protected override ValueTask OnStopAsync() => ValueTask.CompletedTask;
    }

    private sealed record FakeEvent : ProbeEvent
    {
        public string Name { get; init; } = "";

        public ulong Number { get; init; }

        public override string Message => $"{Name} happened";

        public override void WriteFields(IEventFieldWriter writer)
        {
            writer.Write("name", Name);
            writer.Write("number", Number);
            writer.Write("nothing", double.NaN);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_running_exporter_is_asked_for_its_probes_and_what_each_costs()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var source = new ProcNamespaceSource();
        var programs = new EbpfPrograms(source);
        await using TestExporter exporter = await TestExporter.StartAsync([new TcpResetProbe(programs), new FakeEvents()]);

        string[] row = [];
        await Eventually.TrueAsync(async () =>
        {
            await ns.RefusedConnectionsAsync(50, new IPEndPoint(IPAddress.Loopback, 4711)); // the kernel is asked to measure now and then
            using var output = new StringWriter();
            Assert.Equal(ExitCodes.Ok, await ExporterCli.RunAsync(["list", "--live", "--url", exporter.Address.ToString()], new CliHost { Output = output, Errors = TextWriter.Null }));
            string[] lines = output.ToString().Split('\n');
            Assert.Matches("^Probe +State +Way +Series +Samples +ms each +CPU here +Kernel runs +ns each +CPU in kernel +Events +Not sent", lines[0]);
            row = System.Text.RegularExpressions.Regex.Split(lines.Single(static l => l.StartsWith("tcpreset", StringComparison.Ordinal)), "  +");
            return row[7] is not ("0" or "-");
        }, "runs in the kernel to be measured", TimeSpan.FromSeconds(20));
        Assert.Equal(("Running", "tp_btf"), (row[1], row[2]));
        Assert.InRange(double.Parse(row[8], System.Globalization.CultureInfo.InvariantCulture), 10, 1_000_000);
        Assert.EndsWith("%", row[9], StringComparison.Ordinal);

        using var json = new StringWriter();
        Assert.Equal(ExitCodes.Ok, await ExporterCli.RunAsync(["list", "--live", "--json", "--url", exporter.Address.ToString()], new CliHost { Output = json, Errors = TextWriter.Null }));
        using (var parsed = JsonDocument.Parse(json.ToString()))
            Assert.True(parsed.RootElement.GetProperty("probes").EnumerateArray().Single(static p => p.GetProperty("name").GetString() == "tcpreset").GetProperty("kernel_seconds").GetDouble() > 0);

        using var errors = new StringWriter();
        Assert.Equal(ExitCodes.Unavailable, await ExporterCli.RunAsync(["list", "--live", "--url", "http://127.0.0.1:9"], new CliHost { Output = TextWriter.Null, Errors = errors }));
        Assert.Contains("There is no exporter to ask at http://127.0.0.1:9/", errors.ToString(), StringComparison.Ordinal);
        Assert.Equal(ExitCodes.Usage, await ExporterCli.RunAsync(["list", "--live", "--url", "here"], new CliHost { Output = TextWriter.Null, Errors = TextWriter.Null }));
    }

    [LiveFact(Needs.NetNs | Needs.Bpf, "setpriv")]
    public async Task Without_capabilities_or_a_library_BPF_probes_say_what_to_do_and_the_others_run()
    {
        string[] powerless = ["--bounding-set", "-all", "--inh-caps", "-all", "dotnet", typeof(ExporterCli).Assembly.Location];
        (int code, string said) = await RunAsync("setpriv", [.. powerless, "watch", "--probe", "tcpreset"]);
        Assert.Equal(ExitCodes.Unavailable, code);
        Assert.Contains("Give the process CAP_BPF and CAP_PERFMON", said, StringComparison.Ordinal);
        (code, said) = await RunAsync("dotnet", [powerless[^1], "watch", "--probe", "tcpreset", "--set", "KubeSkoop:Probes:Ebpf:LibraryPath=/nonexistent/libbpf.so"]);
        Assert.Equal(ExitCodes.Unavailable, code);
        Assert.Contains("tried /nonexistent/libbpf.so (there is no such file). Set KubeSkoop:Probes:Ebpf:LibraryPath to a libbpf 1.0 or later", said, StringComparison.Ordinal);
        (code, said) = await RunAsync("dotnet", [powerless[^1], "watch", "--probe", "tcpreset", "--set", "KubeSkoop:Probes:Ebpf:BtfPath=/nonexistent/vmlinux"]);
        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains("BtfPath is /nonexistent/vmlinux; there is no such file", said, StringComparison.Ordinal);

        await using var exporter = new OtherExporter("setpriv", powerless, ["--enable", "tcpreset,sock,biolatency"]);
        await exporter.StartAsync();
        Dictionary<string, JsonElement> probes = await exporter.ProbesAsync();
        Assert.Equal("Running", probes["sock"].GetProperty("state").GetString());
        foreach (string name in (string[])["tcpreset", "biolatency"])
        {
            Assert.Equal("Unavailable", probes[name].GetProperty("state").GetString());
            Assert.Contains("CAP_BPF and CAP_PERFMON", probes[name].GetProperty("reason").GetString(), StringComparison.Ordinal);
        }

        static async Task<(int Code, string Said)> RunAsync(string program, string[] arguments)
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true })!;
            string said = await process.StandardError.ReadToEndAsync().WaitAsync(TimeSpan.FromSeconds(30));
            await process.WaitForExitAsync();
            return (process.ExitCode, said);
        }
    }

    [LiveFact(Needs.Bpf, "setpriv")]
    public async Task Without_CAP_SYS_ADMIN_BPF_probes_run_and_their_cost_is_absent_with_the_reason()
    {
        await using var exporter = new OtherExporter("setpriv", ["--bounding-set", "-all,+bpf,+perfmon,+sys_ptrace,+dac_override,+dac_read_search", "--inh-caps", "-all", "dotnet", typeof(ExporterCli).Assembly.Location],
            ["--enable", "tcpreset,sock"]);
        await exporter.StartAsync();
        JsonElement probe = default;
        await Eventually.TrueAsync(async () =>
        {
            probe = (await exporter.ProbesAsync())["tcpreset"];
            return probe.GetProperty("kernel_cost_problem").ValueKind == JsonValueKind.String;
        }, "the kernel to be asked for the first time", TimeSpan.FromSeconds(30));
        Assert.Equal("Running", probe.GetProperty("state").GetString());
        Assert.False(probe.TryGetProperty("kernel_runs", out _) || probe.TryGetProperty("kernel_seconds", out _));
        using var output = new StringWriter();
        Assert.Equal(ExitCodes.Ok, await ExporterCli.RunAsync(["list", "--live", "--url", exporter.Address.ToString()], new CliHost { Output = output, Errors = TextWriter.Null }));
        string[] lines = output.ToString().Split('\n');
        string[] row = System.Text.RegularExpressions.Regex.Split(lines.Single(static l => l.StartsWith("tcpreset", StringComparison.Ordinal)), "  +");
        Assert.Equal(["-", "-", "-"], row[7..10]);
        Assert.Single(lines, static l => l.StartsWith("The cost in the kernel is not known: EPERM: ", StringComparison.Ordinal) && l.Contains("CAP_SYS_ADMIN", StringComparison.Ordinal));
        await Eventually.TrueAsync(() => exporter.Said.Contains("What BPF programs cost in the kernel is not known. EPERM", StringComparison.Ordinal), "the log to say so");
    }

    [LiveFact(Needs.Bpf, "unshare", "mount")]
    public async Task Where_the_kernel_publishes_no_type_information_its_probes_say_what_would_help_and_the_others_run()
    {
        string copy = Path.GetTempFileName();
        try
        {
            await File.WriteAllBytesAsync(copy, await File.ReadAllBytesAsync("/sys/kernel/btf/vmlinux"));
            string[] hidden = ["--mount", "sh", "-c", "mount -t tmpfs none /sys/kernel/btf && exec dotnet \"$0\" \"$@\"", typeof(ExporterCli).Assembly.Location];
            await using (var exporter = new OtherExporter("unshare", hidden, ["--enable", "tcpreset,virtcmdlatency,sock"]))
            {
                await exporter.StartAsync();
                Dictionary<string, JsonElement> probes = await exporter.ProbesAsync();
                Assert.Equal(("Unavailable", "Unavailable", "Running"), (State(probes["tcpreset"]), State(probes["virtcmdlatency"]), State(probes["sock"])));
                Assert.Contains("Use a kernel with BTF. For this probe a file (BtfPath) does not do", probes["tcpreset"].GetProperty("reason").GetString(), StringComparison.Ordinal);
                Assert.Contains("set KubeSkoop:Probes:Ebpf:BtfPath", probes["virtcmdlatency"].GetProperty("reason").GetString(), StringComparison.Ordinal);
            }
            await using (var exporter = new OtherExporter("unshare", hidden, ["--enable", "tcpreset,flow,sock", "--set", $"KubeSkoop:Probes:Ebpf:BtfPath={copy}"]))
            {
                await exporter.StartAsync();
                Dictionary<string, JsonElement> probes = await exporter.ProbesAsync();
                Assert.Equal(("Unavailable", "Running", "Running"), (State(probes["tcpreset"]), State(probes["flow"]), State(probes["sock"])));
                Assert.Contains("the kernel publishes no type information of its own (/sys/kernel/btf/vmlinux), which this way needs", probes["tcpreset"].GetProperty("reason").GetString(), StringComparison.Ordinal);
            }
        }
        finally
        {
            File.Delete(copy);
        }

        static string? State(JsonElement probe) => probe.GetProperty("state").GetString();
    }

    [LiveFact(Needs.NetNs | Needs.Bpf, "bpftool")]
    public async Task A_process_that_is_killed_leaves_nothing_in_the_kernel()
    {
        using Process watching = Process.Start(new ProcessStartInfo("dotnet", [typeof(ExporterCli).Assembly.Location, "watch", "--probe", "socketlatency"]) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        try
        {
            string? line;
            do line = await watching.StandardError.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(30));
            while (line is not null && !line.Contains("Watching socketlatency", StringComparison.Ordinal));
            Assert.NotNull(line);
            string[] theirs = [.. Directory.GetFiles($"/proc/{watching.Id}/fdinfo").SelectMany(File.ReadAllLines)
                .Where(static l => l.StartsWith("prog_id:", StringComparison.Ordinal) || l.StartsWith("map_id:", StringComparison.Ordinal) || l.StartsWith("link_id:", StringComparison.Ordinal))
                .Select(static l => l.Replace("_id:\t", " ", StringComparison.Ordinal)).Distinct()];
            Assert.Equal((true, true, true), (theirs.Any(static i => i.StartsWith("prog", StringComparison.Ordinal)), theirs.Any(static i => i.StartsWith("map", StringComparison.Ordinal)), theirs.Any(static i => i.StartsWith("link", StringComparison.Ordinal))));
            Assert.Empty(theirs.Except(await IdsOfTheKernelAsync()));

            watching.Kill();

            await watching.WaitForExitAsync();
            await Eventually.TrueAsync(async () => !(await IdsOfTheKernelAsync()).Intersect(theirs).Any(), "programs, maps and links to go");
        }
        finally
        {
            if (!watching.HasExited) watching.Kill();
        }

        static async Task<string[]> IdsOfTheKernelAsync()
        {
            var ids = new List<string>();
            foreach (string what in (string[])["prog", "map", "link"])
            {
                using var list = JsonDocument.Parse(await Command.OutputAsync("bpftool", "-j", what, "list"));
                ids.AddRange(list.RootElement.EnumerateArray().Select(e => $"{what} {e.GetProperty("id").GetInt32()}"));
            }
            return [.. ids];
        }
    }
}
