using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using KubeSkoop.Exporter.Cli;

namespace KubeSkoop.Exporter.Tests;

/// <summary><c>sample tcpsummary</c> and <c>--top</c> with real sockets in a namespace of the test's own.</summary>
public sealed class TcpSummaryCliTests
{
    [LiveFact(Needs.NetNs, "ss")]
    public async Task A_sample_agrees_with_ss()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 8000));
        using Socket client = await ns.ConnectTcpAsync(new IPEndPoint(IPAddress.Loopback, 8000));
        (int code, string output, string errors) = await RunAsync("sample", "tcpsummary", "--json", "--netns", ns.Name!);
        Assert.Equal((ExitCodes.Ok, ""), (code, errors));
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement values = Assert.Single(json.RootElement.GetProperty("rows").EnumerateArray().ToArray()).GetProperty("values");
        string[] lines = await ns.SsAsync("-tan");
        foreach (var (state, name) in new[] { ("ESTAB", "established"), ("LISTEN", "listen"), ("TIME-WAIT", "time_wait"), ("SYN-SENT", "syn_sent") })
            Assert.Equal(lines.Count(l => l.StartsWith(state, StringComparison.Ordinal)), values.GetProperty(name).GetInt32());
        Assert.Equal(1, values.GetProperty("accept_queue").GetInt32());
        Assert.False(values.TryGetProperty("round_trip_time", out _), "only with Info");
    }

    [LiveTheory(Needs.NetNs)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Top_shows_the_fullest_sockets_and_their_process(bool asJson)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 8000), backlog: 5);
        using Socket client = await ns.ConnectTcpAsync(new IPEndPoint(IPAddress.Loopback, 8000));
        using Socket server = listener.Accept();
        using Socket waiting = await ns.ConnectTcpAsync(new IPEndPoint(IPAddress.Loopback, 8000));
        client.Send(new byte[4321]);
        await Eventually.EqualAsync(4321, () => server.Available, "the bytes to arrive");

        string[] args = ["sample", "tcpsummary", "--top", "10", "--netns", ns.Name!];
        (int code, string output, string errors) = await RunAsync(asJson ? [.. args, "--json"] : args);

        Assert.Equal((ExitCodes.Ok, ""), (code, errors));
        if (!asJson)
        {
            string[] lines = output.Split(Environment.NewLine);
            Assert.Contains(lines, l => l.StartsWith(ns.Name!, StringComparison.Ordinal) && l.Contains("ESTABLISHED  4321", StringComparison.Ordinal) && l.Contains("127.0.0.1:8000", StringComparison.Ordinal));
            Assert.Contains(lines, static l => l.Contains("LISTEN  1             5", StringComparison.Ordinal));
            return;
        }
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement connection = Assert.Single(json.RootElement.GetProperty("connections").EnumerateArray().ToArray());
        Assert.Equal(("ESTABLISHED", 4321, 0), (connection.GetProperty("state").GetString(), connection.GetProperty("receive_queue").GetInt32(), connection.GetProperty("send_queue").GetInt32()));
        Assert.Equal(("127.0.0.1:8000", client.LocalEndPoint!.ToString()), (connection.GetProperty("local").GetString(), connection.GetProperty("remote").GetString()));
        Assert.Equal(Environment.ProcessId, connection.GetProperty("pid").GetInt32());
        JsonElement accepting = Assert.Single(json.RootElement.GetProperty("listeners").EnumerateArray().ToArray());
        Assert.Equal((1, 5), (accepting.GetProperty("accept_queue").GetInt32(), accepting.GetProperty("accept_queue_limit").GetInt32()));
        Assert.Equal(Environment.ProcessId, accepting.GetProperty("pid").GetInt32());
    }

    [Theory]
    [InlineData("--top is for the probe tcpsummary; the probe tcp has no single sockets to show.", "sample", "tcp", "--top", "3")]
    [InlineData("--top 0: it must be between 1 and 1000.", "sample", "tcpsummary", "--top", "0")]
    [InlineData("There is no probe 'nope'.", "sample", "nope", "--top", "3")]
    [InlineData("KubeSkoop:Probes:tcpsummary:Budget is 00:00:00; it must be longer than zero", "sample", "tcpsummary", "--set", "KubeSkoop:Probes:tcpsummary:Budget=00:00:00")]
    [InlineData("KubeSkoop:Probes:tcpsummary:MaxAge is 00:00:00.5000000; it must be between 1 s and a day", "sample", "tcpsummary", "--set", "KubeSkoop:Probes:tcpsummary:MaxAge=00:00:00.5")]
    [InlineData("KubeSkoop:Probes:tcpsummary:QueueThreshold is -1; it must be between 0", "sample", "tcpsummary", "--set", "KubeSkoop:Probes:tcpsummary:QueueThreshold=-1")]
    public async Task Mistakes_are_named(string message, params string[] args)
    {
        (int code, _, string errors) = await RunAsync(args);
        Assert.Equal(ExitCodes.Usage, code);
        Assert.Contains(message, errors, StringComparison.Ordinal);
    }

    private static async Task<(int Code, string Output, string Errors)> RunAsync(params string[] args)
    {
        var output = new StringWriter();
        var errors = new StringWriter();
        int code = await ExporterCli.RunAsync(args, new CliHost { Output = output, Errors = errors });
        return (code, output.ToString(), errors.ToString());
    }
}
