using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>tcpext: known troubles show under their names, and every column is what <c>nstat</c> says.</summary>
public sealed class TcpExtLiveTests
{
    [LiveFact(Needs.NetNs, "nstat")]
    public async Task Every_column_of_this_kernel_is_what_nstat_says()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("tcpext");
        await ns.TcpConnectionsAsync(3);
        (TcpExtRecord ext, var nstat) = await EqualNstatAsync(probes, ns);
        string[] others = [.. ((TcpExtProbe)probes.Manager.Find("tcpext")!).OtherColumns];
        int both = TcpExtRecord.Columns.Columns.Length;
        foreach (string column in TcpExtRecord.Columns.Columns)
            if (!nstat.ContainsKey("TcpExt" + column)) both--;
        for (int i = 0; i < others.Length; i++)
        {
            if (!nstat.TryGetValue("TcpExt" + others[i], out ulong expected)) continue;
            Assert.Equal((others[i], new Reading(expected)), (others[i], ext.Other(i)));
            both++;
        }
        Assert.Equal(nstat.Keys.Count(static k => k.StartsWith("TcpExt", StringComparison.Ordinal)), both);
    }

    [LiveFact(Needs.NetNs, "nstat")]
    public async Task A_full_accept_queue_overflows()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("tcpext");
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0), backlog: 0);
        using Socket first = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!); // fills it: nobody accepts
        Assert.Equal(0ul, probes.Record<TcpExtRecord>("tcpext", ns).ListenOverflows.Value);
        using Socket second = await BeginConnectAsync(ns, listener.LocalEndPoint!);

        await Eventually.TrueAsync(() => probes.Record<TcpExtRecord>("tcpext", ns).ListenOverflows.Value > 0, "an overflow");
        (TcpExtRecord ext, var nstat) = await EqualNstatAsync(probes, ns);
        Assert.Equal(nstat["TcpExtListenOverflows"], ext.ListenOverflows.Value);
        Assert.Equal(ext.ListenOverflows, ext.ListenDrops); // which counts for every reason, and here there is but one
    }

    [LiveFact(Needs.NetNs, "nstat")]
    public async Task Retransmissions_are_told_by_kind()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("tcpext");
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = await listener.AcceptAsync();
            await right.IpAsync("address", "flush", "dev", "eth0"); // nobody is there any more, and nobody says so
            client.Send([1]);
            using Socket late = await BeginConnectAsync(left, listener.LocalEndPoint!);
            await Eventually.TrueAsync(() => probes.Record<TcpExtRecord>("tcpext", left) is { Timeouts.Value: > 1, SynRetransmits.Value: > 0 }, "timeouts and a second SYN");

            (TcpExtRecord ext, var nstat) = await EqualNstatAsync(probes, left);
            Assert.Equal(nstat["TcpExtTCPTimeouts"], ext.Timeouts.Value);
            Assert.Equal(nstat["TcpExtTCPSynRetrans"], ext.SynRetransmits.Value);
            Assert.Equal(0ul, probes.Record<TcpExtRecord>("tcpext", right).Timeouts.Value); // whose trouble it is
        }
    }

    [LiveFact(Needs.NetNs, "nstat")]
    public async Task Aborts_are_told_by_reason()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using LiveProbes probes = await LiveProbes.StartAsync("tcpext");
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 0));
            for (int i = 0; i < 5; i++)
            {
                Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
                using Socket server = await listener.AcceptAsync();
                if (i < 2)
                {
                    client.LingerState = new LingerOption(true, 0);
                }
                else
                {
                    server.Send([1]);
                    Assert.True(client.Poll(TimeSpan.FromSeconds(10), SelectMode.SelectRead)); // it is there, and stays unread
                }
                client.Dispose();
                Assert.Throws<SocketException>(() => server.Receive(new byte[1]));
            }
            (TcpExtRecord ext, _) = await EqualNstatAsync(probes, left);
            Assert.Equal((2ul, 3ul, 0ul), (ext.AbortsOnData.Value, ext.AbortsOnClose.Value, ext.AbortsOnTimeout.Value));
        }
    }

    [LiveFact(Needs.NetNs, "nstat")]
    public async Task An_application_that_does_not_read_closes_its_window()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("tcpext");
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0));
        listener.ReceiveBufferSize = 4096;
        using Socket client = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
        using Socket server = await listener.AcceptAsync();
        client.Blocking = false;
        byte[] block = new byte[16 * 1024];
        await Eventually.TrueAsync(
            () =>
            {
                while (client.Poll(0, SelectMode.SelectWrite)) client.Send(block, SocketFlags.None, out _);
                return probes.Record<TcpExtRecord>("tcpext", ns).ToZeroWindow.Value > 0;
            },
            "a window of zero");
        (TcpExtRecord ext, var nstat) = await EqualNstatAsync(probes, ns);
        Assert.Equal(nstat["TcpExtTCPToZeroWindowAdv"], ext.ToZeroWindow.Value);
    }

    private static Task<Socket> BeginConnectAsync(TestNamespace ns, EndPoint to) => ns.RunAsync(() =>
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { Blocking = false };
        SocketException e = Assert.Throws<SocketException>(() => socket.Connect(to));
        Assert.Contains(e.SocketErrorCode, (SocketError[])[SocketError.WouldBlock, SocketError.InProgress]);
        return socket;
    });

    private static async Task<(TcpExtRecord Ours, IReadOnlyDictionary<string, ulong> Nstat)> EqualNstatAsync(LiveProbes probes, TestNamespace ns)
    {
        (TcpExtRecord[] ours, var nstat) = await probes.BesideNstatAsync<TcpExtRecord>("tcpext", ns);
        TcpExtRecord ext = Assert.Single(ours);
        Assert.InRange(LiveProbes.AssertEqual(ext, TcpExtRecord.Columns, 0, nstat), 60, TcpExtRecord.Columns.SlotCount);
        return (ext, nstat);
    }
}
