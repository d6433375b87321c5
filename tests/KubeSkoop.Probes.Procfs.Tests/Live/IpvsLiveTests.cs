using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.RegularExpressions;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>ipvs on this kernel: its numbers where the module is loaded, and a plain word where it is not.</summary>
public sealed class IpvsLiveTests
{
    [LiveFact]
    public async Task Without_the_module_it_is_unavailable_and_with_it_the_host_has_a_row()
    {
        bool loaded = File.Exists("/proc/net/ip_vs_stats");
        if (!loaded)
        {
            await using LiveProbes none = await LiveProbes.StartAsync();
            ProbeUnavailableException e = await Assert.ThrowsAsync<ProbeUnavailableException>(() => none.Manager.StartAsync("ipvs"));
            Assert.Matches("modprobe ip_vs|built without IPVS", e.Message);
            Assert.True(File.Exists("/proc/modules") || !e.Message.Contains("modprobe", StringComparison.Ordinal), "a module for a kernel that takes none: " + e.Message);
            Assert.Equal((ProbeState.Unavailable, e.Message), (none.Manager.Find("ipvs")!.Status.State, none.Manager.Find("ipvs")!.Status.Reason));
            return;
        }
        await using LiveProbes probes = await LiveProbes.StartAsync("ipvs");
        Assert.Contains(probes.All<IpvsRecord>("ipvs"), static r => r.Namespace!.Inode == TestNamespace.OwnInode && r.Value.Connections.HasValue && r.Value.OutgoingBytes.HasValue);
    }

    [LiveFact(Needs.NetNs | Needs.Ipvs, "ipvsadm")]
    public async Task Totals_are_those_of_ipvsadm_and_keep_what_a_removed_service_has_counted()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.ExecuteAsync("ipvsadm", "-A", "-t", "127.0.0.1:80", "-s", "rr");
        await ns.ExecuteAsync("ipvsadm", "-a", "-t", "127.0.0.1:80", "-r", "127.0.0.1:8000", "-m");
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 8000));
        for (int i = 0; i < 3; i++)
        {
            using Socket client = await ns.ConnectTcpAsync(new IPEndPoint(IPAddress.Loopback, 80));
            using Socket server = listener.Accept();
            client.Send(new byte[100]);
            for (int got = 0; got < 100;) got += server.Receive(new byte[100]);
        }
        await Task.Delay(TimeSpan.FromSeconds(4.5)); // the kernel adds up every two seconds
        await using LiveProbes probes = await LiveProbes.StartAsync("ipvs");

        Match line = Regex.Match(await ns.ExecuteAsync("ipvsadm", "-Ln", "--stats", "--exact"), @"^TCP +127\.0\.0\.1:80((?: +\d+){5})", RegexOptions.Multiline);
        ulong[] theirs = [.. line.Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(static n => ulong.Parse(n, CultureInfo.InvariantCulture))];
        Assert.Equal(3ul, theirs[0]);
        Assert.True(theirs[3] >= 3 * (100 + (4 * 40)), $"{theirs[3]} bytes"); // of each: a payload, and the headers of a SYN, two ACKs and a FIN
        Assert.Equal(theirs, Totals());

        await ns.ExecuteAsync("ipvsadm", "-D", "-t", "127.0.0.1:80");
        Assert.Equal(theirs, Totals());

        ulong[] Totals()
        {
            IpvsRecord row = probes.Record<IpvsRecord>("ipvs", ns);
            return [row.Connections.Value, row.IncomingPackets.Value, row.OutgoingPackets.Value, row.IncomingBytes.Value, row.OutgoingBytes.Value];
        }
    }
}
