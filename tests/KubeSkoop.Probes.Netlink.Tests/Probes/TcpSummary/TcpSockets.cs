using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.TcpSummary;

/// <summary>TCP sockets in states of the test's choice, in a namespace of the test's own. All closed when disposed of.</summary>
internal sealed class TcpSockets(TestNamespace ns) : IDisposable
{
    private readonly List<Socket> _sockets = [];

    /// <summary>Makes the namespace drop packets as they arrive, by an nftables match, until <see cref="PassAsync"/>.</summary>
    internal Task DropAsync(string match) =>
        ns.ExecuteAsync("nft", $"add table inet kst; add chain inet kst input {{ type filter hook input priority 0; }}; add rule inet kst input {match} drop");

    /// <summary>Ends all dropping.</summary>
    internal Task PassAsync() => ns.ExecuteAsync("nft", "delete table inet kst");

    internal async Task<Socket> ListenAsync(IPAddress address, int port, int backlog = 4096) =>
        Keep(await ns.ListenAsync(new IPEndPoint(address, port), backlog));

    /// <summary>Connections to a listener that are accepted.</summary>
    internal Task<(Socket Client, Socket Server)[]> ConnectAsync(Socket listener, int count) => ns.RunAsync(() =>
    {
        var pairs = new (Socket, Socket)[count];
        for (int i = 0; i < count; i++)
        {
            Socket client = Client(listener);
            client.Connect(listener.LocalEndPoint!);
            pairs[i] = (client, Keep(listener.Accept()));
        }
        return pairs;
    });

    /// <summary>A listener on all addresses of both families.</summary>
    internal Task<Socket> ListenDualAsync(int port) => ns.RunAsync(() =>
    {
        Socket socket = Keep(new Socket(AddressFamily.InterNetworkV6, SocketType.Stream, ProtocolType.Tcp) { DualMode = true });
        socket.Bind(new IPEndPoint(IPAddress.IPv6Any, port));
        socket.Listen(100);
        return socket;
    });

    /// <summary>Connections over IPv4 from IPv6 sockets, accepted.</summary>
    internal Task ConnectMappedAsync(Socket listener, int port, int count) => ns.RunAsync(() =>
    {
        for (int i = 0; i < count; i++)
        {
            Socket client = Keep(new Socket(AddressFamily.InterNetworkV6, SocketType.Stream, ProtocolType.Tcp) { DualMode = true });
            client.Connect(new IPEndPoint(IPAddress.Loopback.MapToIPv6(), port));
            Keep(listener.Accept());
        }
    });

    internal static void SetCongestionControl(Socket socket, string name) => socket.SetRawSocketOption(6, 13, System.Text.Encoding.ASCII.GetBytes(name)); // IPPROTO_TCP, TCP_CONGESTION

    /// <summary>Connections to a listener that nobody accepts.</summary>
    internal Task ConnectUnacceptedAsync(Socket listener, int count) => ns.RunAsync(() =>
    {
        for (int i = 0; i < count; i++) Client(listener).Connect(listener.LocalEndPoint!);
    });

    /// <summary>Connections to somewhere, perhaps another namespace.</summary>
    internal Task ConnectToAsync(EndPoint to, int count) => ns.RunAsync(() =>
    {
        for (int i = 0; i < count; i++) Keep(new Socket(to.AddressFamily, SocketType.Stream, ProtocolType.Tcp)).Connect(to);
    });

    internal Socket[] Accept(Socket listener, int count) => [.. Enumerable.Range(0, count).Select(_ => Keep(listener.Accept()))];

    /// <summary>Closes everything the ordinary way.</summary>
    internal void CloseAll()
    {
        foreach (Socket socket in _sockets) socket.Close();
        _sockets.Clear();
    }

    /// <summary>Tries to connect, and does not wait for it.</summary>
    internal Task BeginConnectAsync(EndPoint to, int count) => ns.RunAsync(() =>
    {
        for (int i = 0; i < count; i++)
        {
            Socket socket = Keep(new Socket(to.AddressFamily, SocketType.Stream, ProtocolType.Tcp));
            socket.Blocking = false;
            try
            {
                socket.Connect(to);
            }
            catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.InProgress)
            {
            }
        }
    });

    /// <summary>Closes a socket now, and forgets it.</summary>
    internal void Close(Socket socket)
    {
        _sockets.Remove(socket);
        socket.Close();
    }

    /// <summary>Closes both ends in order: what closes first is left in TIME_WAIT.</summary>
    internal void CloseFirst(Socket first, Socket second)
    {
        first.Shutdown(SocketShutdown.Send);
        Assert.Equal(0, second.Receive(new byte[1]));
        second.Shutdown(SocketShutdown.Send);
        Assert.Equal(0, first.Receive(new byte[1]));
        Close(first);
        Close(second);
    }

    /// <summary>Sends and does not read: the bytes stay in the other's receive queue.</summary>
    internal static void SendUnread((Socket Client, Socket Server) pair, int bytes) => Assert.Equal(bytes, pair.Client.Send(new byte[bytes]));

    public void Dispose()
    {
        foreach (Socket socket in _sockets)
        {
            socket.LingerState = new LingerOption(true, 0); // a reset, so that nothing is left of it
            socket.Dispose();
        }
    }

    private Socket Client(Socket listener) => Keep(new Socket(listener.AddressFamily, SocketType.Stream, ProtocolType.Tcp));

    private Socket Keep(Socket socket)
    {
        _sockets.Add(socket);
        return socket;
    }
}

/// <summary>A line of <c>ss -tane</c>.</summary>
internal sealed record SsSocket(string State, ulong ReceiveQueue, ulong SendQueue, string Local, string Remote)
{
    internal static async Task<SsSocket[]> AllAsync(TestNamespace ns) => [.. (await ns.SsAsync("-tanem")).Where(static l => !char.IsWhiteSpace(l[0])).Select(Parse)];

    private static SsSocket Parse(string line)
    {
        string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return new SsSocket(words[0], ulong.Parse(words[1], CultureInfo.InvariantCulture), ulong.Parse(words[2], CultureInfo.InvariantCulture), words[3], words[4]);
    }
}
