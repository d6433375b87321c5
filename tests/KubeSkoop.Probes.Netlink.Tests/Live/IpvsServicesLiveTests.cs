using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.RegularExpressions;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>ipvs_services beside <c>ipvsadm</c>: a client, a director, and real servers behind it.</summary>
public sealed partial class IpvsServicesLiveTests
{
    [LiveTheory(Needs.NetNs | Needs.Ipvs, "ipvsadm")]
    [InlineData("-t", "10.99.0.2:80", "10.98.0.2")]
    [InlineData("-t", "[fd99::2]:80", "fd98::2")]
    public async Task Services_and_servers_count_what_ipvsadm_shows_and_was_sent(string kind, string service, string server)
    {
        await using Scene scene = await Scene.CreateAsync();
        string first = Real(server, 8000), second = Real(server, 8001), resting = Real(server, 8002);
        await scene.Director.ExecuteAsync("ipvsadm", "-A", kind, service, "-s", "rr");
        foreach ((string real, string weight) in ((string, string)[])[(first, "1"), (second, "3"), (resting, "0")])
            await scene.Director.ExecuteAsync("ipvsadm", "-a", kind, service, "-r", real, "-m", "-w", weight);
        using Socket listener = await scene.Server.ListenAsync(IPEndPoint.Parse(first));
        using Socket other = await scene.Server.ListenAsync(IPEndPoint.Parse(second));
        var open = new List<Socket>();
        for (int i = 0; i < 6; i++)
        {
            Socket client = await scene.Client.ConnectTcpAsync(IPEndPoint.Parse(service));
            await Eventually.TrueAsync(() => listener.Poll(0, SelectMode.SelectRead) || other.Poll(0, SelectMode.SelectRead), "the connection to arrive");
            Socket accepted = (listener.Poll(0, SelectMode.SelectRead) ? listener : other).Accept();
            client.Send(new byte[100]);
            for (int got = 0; got < 100;) got += accepted.Receive(new byte[100]);
            accepted.Send(new byte[1000]);
            for (int got = 0; got < 1000;) got += client.Receive(new byte[1000]);
            open.AddRange([client, accepted]);
        }
        open[0].Close();
        open[1].Close();

        Dictionary<string, long[]> connections = [];
        await Eventually.TrueAsync(async () => (connections = await scene.ConnectionsAsync()).Sum(static c => c.Value[1]) == 5, "the closed connection to be no longer active");
        await Scene.SettleAsync();
        (Dictionary<string, IpvsServicesRecord> rows, Dictionary<string, long[]> stats) = (scene.Rows(), await scene.StatsAsync());
        string name = "TCP " + service;
        Assert.Equal([name, $"{name} {first}", $"{name} {second}", $"{name} {resting}"], rows.Keys.Order(StringComparer.Ordinal));
        IpvsServicesRecord total = rows[name];
        Assert.Equal((6ul, 3ul), (total.Service.Connections.Value, total.Servers.Value));
        Assert.False(total.Server.Connections.HasValue || total.Weight.HasValue || total.ActiveConnections.HasValue);
        Assert.Equal(stats[name], Numbers(total.Service));
        foreach (string real in (string[])[first, second, resting])
        {
            IpvsServicesRecord row = rows[$"{name} {real}"];
            Assert.Equal(stats[$"{name} {real}"], Numbers(row.Server));
            Assert.Equal<IEnumerable<long>>(connections[$"{name} {real}"], [(long)row.Weight.Value, (long)row.ActiveConnections.Value, (long)row.InactiveConnections.Value]);
            Assert.Equal(real == resting ? 0ul : 3ul, row.Server.Connections.Value);
            Assert.False(row.Service.Connections.HasValue || row.Servers.HasValue);
        }
        // At least what was sent: 6 requests of 100 bytes, 6 answers of 1,000, and their headers.
        Assert.InRange(total.Service.IncomingBytes.Value, (ulong)(6 * (100 + (4 * 40))), 6 * 1000ul);
        Assert.InRange(total.Service.OutgoingBytes.Value, (ulong)(6 * (1000 + (2 * 40))), 6 * 2000ul);
        // With one service, the totals of the namespace, which the probe ipvs has from elsewhere, are the service's.
        IpvsRecord all = await scene.TotalsAsync();
        Assert.Equal<IEnumerable<long>>(stats[name], [(long)all.Connections.Value, (long)all.IncomingPackets.Value, (long)all.OutgoingPackets.Value, (long)all.IncomingBytes.Value, (long)all.OutgoingBytes.Value]);
        foreach (Socket socket in open) socket.Dispose();

        static string Real(string address, int port) => new IPEndPoint(IPAddress.Parse(address), port).ToString();
    }

    [LiveFact(Needs.NetNs | Needs.Ipvs, "ipvsadm")]
    public async Task Marks_protocols_schedulers_and_ways_are_named_and_what_is_removed_is_gone()
    {
        await using Scene scene = await Scene.CreateAsync();
        foreach (string command in (string[])
            ["-A -f 7 -s wrr", "-a -f 7 -r 10.98.0.2:0 -i", "-A -f 7 -6 -s lc", "-A -u 10.99.0.2:53 -s sh", "-a -u 10.99.0.2:53 -r 10.98.0.2:53 -g", "-a -u 10.99.0.2:53 -r 10.98.0.3:53 -m"])
            await scene.Director.ExecuteAsync("ipvsadm", command.Split(' '));
        Assert.Equal(
            ["FWM 7 10.98.0.2:0 tunnel", "FWM 7 IPv6 lc", "FWM 7 wrr", "UDP 10.99.0.2:53 10.98.0.2:53 route", "UDP 10.99.0.2:53 10.98.0.3:53 masquerading", "UDP 10.99.0.2:53 sh"],
            scene.Named());
        Assert.Equal([0ul, 1ul, 2ul], scene.Rows().Values.Where(static r => r.Servers.HasValue).Select(static r => r.Servers.Value).Order());

        await scene.Client.SendUdpAsync(4, new IPEndPoint(IPAddress.Parse("10.99.0.2"), 53), size: 20);
        await Scene.SettleAsync();
        Assert.Equal((1ul, 4ul, 4 * 48ul), Of(scene.Rows()["UDP 10.99.0.2:53"].Service));

        await scene.Director.ExecuteAsync("ipvsadm", "-D", "-u", "10.99.0.2:53");
        await scene.Director.ExecuteAsync("ipvsadm", "-E", "-f", "7", "-s", "rr");
        Assert.Equal(["FWM 7 10.98.0.2:0 tunnel", "FWM 7 IPv6 lc", "FWM 7 rr"], scene.Named());

        static (ulong, ulong, ulong) Of(IpvsCounts counts) => (counts.Connections.Value, counts.IncomingPackets.Value, counts.IncomingBytes.Value);
    }

    [LiveFact(Needs.NetNs | Needs.Ipvs, "ipvsadm")]
    public async Task Services_beyond_the_limit_are_left_out_and_said_and_a_pass_allocates_nothing()
    {
        await using Scene scene = await Scene.CreateAsync(new IpvsServicesOptions { MaxServices = 3 });
        for (int port = 1; port <= 5; port++) await scene.Director.ExecuteAsync("ipvsadm", "-A", "-t", $"10.99.0.2:{port}", "-s", "rr");
        SampleBatch<IpvsServicesRecord> batch = scene.Services.Sample();
        Assert.Equal((3, 1), (batch.Count, batch.Skips.Denied));
        Assert.Contains("2 services more than MaxServices (3)", batch.Skips.LastProblem, StringComparison.Ordinal);
        var sample = new SampleBatch<IpvsServicesRecord>();
        Check.Quiet(() => scene.Services.Sample(sample));
        Assert.Equal(3, sample.Count);
    }

    [LiveFact]
    public async Task It_runs_where_the_module_is_and_does_not_load_it_where_it_is_not()
    {
        using var sockets = new NetlinkSockets(new FakeNamespaceSource(), new NetlinkSettings());
        await using var probe = new IpvsServicesProbe(sockets);
        if (Machine.Lacks(Needs.Ipvs) is null)
        {
            await probe.StartAsync();
            Assert.Equal((ProbeState.Running, "generic netlink"), (probe.Status.State, probe.Status.Source));
            return;
        }
        ProbeUnavailableException e = await Assert.ThrowsAsync<ProbeUnavailableException>(() => probe.StartAsync());
        Assert.Matches("modprobe ip_vs|built without IPVS", e.Message);
        Assert.True(File.Exists("/proc/modules") || !e.Message.Contains("modprobe", StringComparison.Ordinal), "a module for a kernel that takes none: " + e.Message);
        Assert.NotNull(Machine.Lacks(Needs.Ipvs));
    }

    private static long[] Numbers(IpvsCounts counts) =>
        [(long)counts.Connections.Value, (long)counts.IncomingPackets.Value, (long)counts.OutgoingPackets.Value, (long)counts.IncomingBytes.Value, (long)counts.OutgoingBytes.Value];

    private sealed partial class Scene : IAsyncDisposable
    {
        private readonly FakeNamespaceSource _source;
        private readonly NetlinkSockets _sockets;

        private Scene(TestNamespace client, TestNamespace director, TestNamespace server, IpvsServicesOptions? options)
        {
            (Client, Director, Server) = (client, director, server);
            _source = new FakeNamespaceSource { Opener = NetlinkTableTests.Opener(director) };
            _source.Add(director.Inode, director.Name);
            _sockets = new NetlinkSockets(_source, new NetlinkSettings());
            Services = new IpvsServicesProbe(_sockets, Options.Create(options ?? new IpvsServicesOptions()));
        }

        internal TestNamespace Client { get; }

        internal TestNamespace Director { get; }

        internal TestNamespace Server { get; }

        internal IpvsServicesProbe Services { get; }

        internal static async Task<Scene> CreateAsync(IpvsServicesOptions? options = null)
        {
            (TestNamespace client, TestNamespace director) = await TestNamespace.CreatePairAsync();
            TestNamespace server = await TestNamespace.CreateAsync();
            await director.IpAsync("link", "add", "back", "type", "veth", "peer", "name", "eth0", "netns", server.ProcessId.ToString(CultureInfo.InvariantCulture));
            foreach ((TestNamespace ns, string device, int own) in ((TestNamespace, string, int)[])[(director, "back", 1), (server, "eth0", 2)])
            {
                await ns.IpAsync("address", "add", $"10.98.0.{own}/24", "dev", device);
                await ns.IpAsync("address", "add", $"fd98::{own}/64", "dev", device, "nodad");
                await ns.IpAsync("link", "set", device, "up");
            }
            await server.IpAsync("route", "add", "default", "via", "10.98.0.1");
            await server.IpAsync("-6", "route", "add", "default", "via", "fd98::1");
            await director.ExecuteAsync("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
            var scene = new Scene(client, director, server, options);
            await scene.Services.StartAsync();
            return scene;
        }

        /// <summary>By <c>service</c> and <c>service server</c>.</summary>
        internal Dictionary<string, IpvsServicesRecord> Rows()
        {
            SampleBatch<IpvsServicesRecord> batch = Services.Sample();
            Assert.Null(batch.Skips.LastProblem);
            return batch.Rows.ToArray().ToDictionary(static r => r.Value.Servers.HasValue ? Attribute(r, 0) : $"{Attribute(r, 0)} {Attribute(r, 1)}", static r => r.Value);
        }

        /// <summary>All attributes of all rows.</summary>
        internal string[] Named() =>
            [.. Services.Sample().Rows.ToArray().Select(static r => string.Join(' ', r.Subject.Attributes.ToArray().Select(static a => a.Value))).Order(StringComparer.Ordinal)];

        /// <summary>The director's row of the probe ipvs.</summary>
        internal async Task<IpvsRecord> TotalsAsync()
        {
            await using IpvsProbe probe = await IpvsProbe.StartNewAsync();
            return Assert.Single(probe.Sample().Rows.ToArray(), r => r.Namespace?.Inode == Director.Inode).Value;
        }

        /// <summary>Connections, packets and bytes as <c>ipvsadm --stats</c> shows them, by the names above.</summary>
        internal async Task<Dictionary<string, long[]>> StatsAsync() => Parse(await Director.ExecuteAsync("ipvsadm", "-Ln", "--stats", "--exact"), 0);

        /// <summary>Waits until what has passed is in the kernel's numbers, which it renews every two seconds.</summary>
        internal static Task SettleAsync() => Task.Delay(TimeSpan.FromSeconds(4.5));

        /// <summary>Weight, active and inactive connections as <c>ipvsadm</c> shows them.</summary>
        internal async Task<Dictionary<string, long[]>> ConnectionsAsync() => Parse(await Director.ExecuteAsync("ipvsadm", "-Ln"), 1);

        public async ValueTask DisposeAsync()
        {
            await Services.DisposeAsync();
            _sockets.Dispose();
            await Client.DisposeAsync();
            await Server.DisposeAsync();
            await Director.DisposeAsync();
        }

        // TCP  10.99.0.2:80 rr / TCP 10.99.0.2:80 6 30 18 2000 9000
        //   -> 10.98.0.2:8000 Masq 1 2 1 / -> 10.98.0.2:8000 3 15 9 1000 4500
        private static Dictionary<string, long[]> Parse(string text, int skip)
        {
            var found = new Dictionary<string, long[]>();
            string service = string.Empty;
            foreach (string line in text.Split('\n'))
            {
                string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
                if (ServiceLine().IsMatch(line))
                {
                    service = $"{words[0]} {words[1]}";
                    if (skip == 0) found.Add(service, [.. words[2..].Select(Number)]);
                }
                else if (service.Length > 0 && words is ["->", ..])
                {
                    found.Add($"{service} {words[1]}", [.. words[(2 + skip)..].Select(Number)]);
                }
            }
            return found;

            static long Number(string word) => long.Parse(word, CultureInfo.InvariantCulture);
        }

        private static string Attribute(in SampleRow<IpvsServicesRecord> row, int index) => row.Subject.Attributes[index].Value;

        [GeneratedRegex("^(TCP|UDP) ")]
        private static partial Regex ServiceLine();
    }
}
