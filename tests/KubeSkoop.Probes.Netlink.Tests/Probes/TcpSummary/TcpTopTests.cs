using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.TcpSummary;

/// <summary>The query for people.</summary>
public sealed class TcpTopTests
{
    // TS-6: the one socket that is stuck, and whose it is.
    [LiveFact(Needs.NetNs, "ss")]
    public async Task The_fullest_sockets_come_first_with_their_process()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using TestNamespace other = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        using var others = new TcpSockets(other);
        Socket listener = await sockets.ListenAsync(IPAddress.Loopback, 8000, backlog: 100);
        Socket tight = await sockets.ListenAsync(IPAddress.Loopback, 8001, backlog: 4);
        var pairs = await sockets.ConnectAsync(listener, 300);
        for (int i = 0; i < 40; i++) TcpSockets.SendUnread(pairs[i], 1000 + i);
        TcpSockets.SendUnread((await others.ConnectAsync(await others.ListenAsync(IPAddress.Loopback, 8000), 1))[0], 1037);
        await sockets.ConnectUnacceptedAsync(listener, 10);
        await sockets.ConnectUnacceptedAsync(tight, 3);

        await using LiveSummary live = await LiveSummary.StartAsync(ns, other);
        live.Show(Environment.ProcessId);
        await Eventually.EqualAsync(41, () => live.Probe.Top(1000).Connections.Count, "the bytes to arrive");
        TcpTop top = live.Probe.Top(5);

        Assert.Equal([1039u, 1038u, 1037u, 1037u, 1036u], top.Connections.Select(static s => s.ReceiveQueue));
        Assert.Equal(1, top.Connections.Count(s => s.Namespace.Inode == other.Inode));
        TcpSocketInfo fullest = top.Connections[0];
        Assert.Equal((TcpState.Established, "127.0.0.1:8000", pairs[39].Client.LocalEndPoint!.ToString()), (fullest.State, fullest.Local.ToString(), fullest.Remote.ToString()));
        Assert.Equal(Environment.ProcessId, fullest.ProcessId); // this process holds it, from another namespace
        Assert.Contains($"ino:{fullest.Inode} ", string.Join('\n', (await ns.SsAsync("-tane")).Where(static l => l.Contains(" 1039 ", StringComparison.Ordinal))), StringComparison.Ordinal);
        // The tight listener is closer to its limit, though fewer wait.
        Assert.Equal([(3u, 4u), (10u, 100u)], top.Listeners.Select(static s => (s.ReceiveQueue, s.SendQueue)));
        Assert.All(top.Listeners, static s => Assert.Equal((TcpState.Listen, (int?)Environment.ProcessId), (s.State, s.ProcessId)));

        TcpTop only = live.Probe.Top(5, live.Namespaces.Current.Single(n => n.Inode == other.Inode));
        Assert.Equal([1037u], only.Connections.Select(static s => s.ReceiveQueue));
        Assert.Empty(only.Listeners); // nobody waits there
    }

    [LiveFact(Needs.NetNs, "bash")]
    public async Task A_process_inside_the_namespace_is_found_with_its_command()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket listener = await sockets.ListenAsync(IPAddress.Loopback, 8000);
        await using LiveSummary live = await LiveSummary.StartAsync(ns);
        // Connects, and never reads.
        System.Diagnostics.Process bash = ns.Start("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8000; read -r");
        try
        {
            live.Show(bash.Id);
            live.Show(Environment.ProcessId);
            Assert.True(listener.Poll(10_000_000, SelectMode.SelectRead));
            sockets.Accept(listener, 1)[0].Send(new byte[77]);
            await Eventually.EqualAsync(1, () => live.Probe.Top(5).Connections.Count, "the bytes to arrive");
            TcpSocketInfo unread = live.Probe.Top(5).Connections[0];
            Assert.Equal((77u, bash.Id, "bash"), (unread.ReceiveQueue, unread.ProcessId, unread.Command));
        }
        finally
        {
            bash.Kill();
            await bash.WaitForExitAsync();
            Command.Close(bash);
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_connection_nobody_has_accepted_has_no_process()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var sockets = new TcpSockets(ns);
        Socket listener = await sockets.ListenAsync(IPAddress.Loopback, 8000);
        using Socket client = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
        client.Send(new byte[9]);
        await using LiveSummary live = await LiveSummary.StartAsync(ns);
        live.Show(Environment.ProcessId);
        await Eventually.EqualAsync(1, () => live.Probe.Top(5).Connections.Count, "the bytes to arrive");
        TcpSocketInfo waiting = live.Probe.Top(5).Connections[0];
        Assert.Equal((9u, 0u, null, null), (waiting.ReceiveQueue, waiting.Inode, waiting.ProcessId, waiting.Command));
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_probe_that_does_not_run_says_so()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveSummary live = await LiveSummary.StartAsync(ns);
        Assert.Throws<ArgumentOutOfRangeException>(() => live.Probe.Top(0));
        Assert.Empty(live.Probe.Top(3).Connections);
        await live.Probe.StopAsync();
        Assert.Throws<ProbeNotRunningException>(() => live.Probe.Top(3));
    }
}
