using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.TestKit;

// Exact traffic: each method sends what it says and has seen it arrive, or fail, before its task completes.
public sealed partial class TestNamespace
{
    private static readonly TimeSpan TrafficTimeout = TimeSpan.FromSeconds(10);

    /// <summary>Sends packets that are cut into datagrams on their way (UDP_SEGMENT), each when those of the one before have come; how many came with that size.</summary>
    public Task<int> SendCutUdpAsync(Socket receiver, int packets, int each, int size)
    {
        ArgumentNullException.ThrowIfNull(receiver);
        const int SolUdp = 17, UdpSegment = 103;
        var to = (IPEndPoint)receiver.LocalEndPoint!;
        return RunAsync(() =>
        {
            using var sender = new Socket(to.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            sender.SetRawSocketOption(SolUdp, UdpSegment, BitConverter.GetBytes(size));
            byte[] packet = new byte[each * size], datagram = new byte[size + 1];
            receiver.ReceiveTimeout = (int)Eventually.DefaultTimeout.TotalMilliseconds;
            int received = 0;
            for (int i = 0; i < packets; i++)
            {
                sender.SendTo(packet, to);
                for (int j = 0; j < each; j++)
                    if (receiver.Receive(datagram) == size) received++;
            }
            return received;
        });
    }

    /// <summary>Sends datagrams from a socket of their own; nobody need listen. Fragmented on the way out where they are too large for the device.</summary>
    public Task SendUdpAsync(int count, IPEndPoint to, int size = 8, short hops = 64, bool fragment = true) => RunAsync(() =>
    {
        ArgumentNullException.ThrowIfNull(to);
        using var socket = new Socket(to.AddressFamily, SocketType.Dgram, ProtocolType.Udp) { Ttl = hops };
        if (to.AddressFamily == AddressFamily.InterNetwork) socket.DontFragment = !fragment;
        byte[] payload = new byte[size];
        // Unconnected: an ICMP answer to one datagram must not make the next send fail instead of sending.
        for (int i = 0; i < count; i++) socket.SendTo(payload, to);
    });

    /// <summary>A bound UDP socket inside.</summary>
    public Task<Socket> BindUdpAsync(IPEndPoint local) => RunAsync(() =>
    {
        ArgumentNullException.ThrowIfNull(local);
        var socket = new Socket(local.AddressFamily, SocketType.Dgram, ProtocolType.Udp) { ReceiveTimeout = (int)TrafficTimeout.TotalMilliseconds };
        socket.Bind(local);
        return socket;
    });

    /// <summary>A listening TCP socket inside.</summary>
    public Task<Socket> ListenAsync(IPEndPoint local, int backlog = 128) => RunAsync(() =>
    {
        ArgumentNullException.ThrowIfNull(local);
        var socket = new Socket(local.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(local);
        socket.Listen(backlog);
        return socket;
    });

    /// <summary>A socket inside for Multipath TCP over IPv4, neither bound nor connected.</summary>
    public Task<Socket> OpenMptcpAsync() => RunAsync(static () => Libc.OpenSocket(2, 1, 262)); // AF_INET, SOCK_STREAM, IPPROTO_MPTCP: include/uapi/linux/in.h

    /// <summary>A tap device inside: what is sent to it is read from the handle, a frame at a time; it ends with the handle.</summary>
    /// <param name="name">The device's name.</param>
    /// <param name="napi">Whether what is written to the handle is received as most drivers do it, in batches (NAPI, GRO).</param>
    public Task<Microsoft.Win32.SafeHandles.SafeFileHandle> OpenTapAsync(string name, bool napi = false) => RunAsync(() => Libc.OpenTap(name, napi));

    /// <summary>Switches a feature of a device inside on or off.</summary>
    /// <param name="device">The device's name.</param>
    /// <param name="command">The old command of ethtool that sets it: ETHTOOL_STSO, ETHTOOL_SGRO (include/uapi/linux/ethtool.h).</param>
    /// <param name="on">What it is to be.</param>
    public Task SetDeviceFeatureAsync(string device, uint command, bool on) => RunAsync(() =>
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        Libc.SetDeviceFeature(socket.SafeHandle, device, command, on);
    });

    /// <summary>A TCP connection from inside.</summary>
    /// <exception cref="SocketException">Nobody listens.</exception>
    public Task<Socket> ConnectTcpAsync(IPEndPoint to) => RunAsync(() =>
    {
        ArgumentNullException.ThrowIfNull(to);
        var socket = new Socket(to.AddressFamily, SocketType.Stream, ProtocolType.Tcp)
        {
            SendTimeout = (int)TrafficTimeout.TotalMilliseconds,
            ReceiveTimeout = (int)TrafficTimeout.TotalMilliseconds,
        };
        try
        {
            socket.Connect(to);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
        return socket;
    });

    /// <summary>Opens TCP connections over loopback one after the other, sends a byte each way, and closes both ends in order.</summary>
    public async Task TcpConnectionsAsync(int count, IPAddress? loopback = null, int bytes = 1)
    {
        IPAddress address = loopback ?? IPAddress.Loopback;
        using Socket listener = await ListenAsync(new IPEndPoint(address, 0));
        var to = (IPEndPoint)listener.LocalEndPoint!;
        byte[] payload = new byte[bytes];
        for (int i = 0; i < count; i++)
        {
            using Socket client = await ConnectTcpAsync(to);
            using Socket server = await listener.AcceptAsync().WaitAsync(TrafficTimeout);
            server.ReceiveTimeout = (int)TrafficTimeout.TotalMilliseconds;
            if (bytes > 0)
            {
                client.Send(payload);
                ReceiveExactly(server, bytes);
                server.Send(payload);
                ReceiveExactly(client, bytes);
            }
            // Both FINs are seen before the sockets go, so that no close turns into a reset.
            client.Shutdown(SocketShutdown.Send);
            ReceiveEnd(server);
            server.Shutdown(SocketShutdown.Send);
            ReceiveEnd(client);
        }
    }

    /// <summary>Tries to connect to a port nobody listens on and sees each try refused.</summary>
    public async Task RefusedConnectionsAsync(int count, IPEndPoint to)
    {
        for (int i = 0; i < count; i++)
        {
            try
            {
                using Socket socket = await ConnectTcpAsync(to);
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
            {
                continue;
            }
            throw new InvalidOperationException($"Somebody listens on {to}.");
        }
    }

    /// <summary>Sends ICMP (or ICMPv6) echo requests and waits for each reply.</summary>
    public Task PingAsync(int count, IPAddress to) => RunAsync(() =>
    {
        ArgumentNullException.ThrowIfNull(to);
        bool v6 = to.AddressFamily == AddressFamily.InterNetworkV6;
        using var socket = new Socket(to.AddressFamily, SocketType.Raw, v6 ? ProtocolType.IcmpV6 : ProtocolType.Icmp)
        {
            ReceiveTimeout = (int)TrafficTimeout.TotalMilliseconds,
        };
        byte[] request = new byte[16];
        byte[] answer = new byte[2048];
        ushort id = (ushort)Random.Shared.Next(1, ushort.MaxValue);
        for (ushort sequence = 1; sequence <= count; sequence++)
        {
            request[0] = (byte)(v6 ? 128 : 8); // echo request
            request[2] = request[3] = 0;
            BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(4), id);
            BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(6), sequence);
            // The kernel sums ICMPv6 itself, over its pseudo header.
            if (!v6) BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(2), Checksum(request));
            socket.SendTo(request, new IPEndPoint(to, 0));
            // The raw socket also sees its own request on loopback; the bound is far above what one echo can cause.
            bool replied = false;
            for (int seen = 0; !replied && seen < 1000; seen++)
            {
                int length = socket.Receive(answer);
                ReadOnlySpan<byte> message = answer.AsSpan(v6 ? 0 : (answer[0] & 15) * 4, length - (v6 ? 0 : (answer[0] & 15) * 4));
                replied = message.Length >= 8 && message[0] == (v6 ? 129 : 0)
                    && BinaryPrimitives.ReadUInt16BigEndian(message[4..]) == id
                    && BinaryPrimitives.ReadUInt16BigEndian(message[6..]) == sequence;
            }
            if (!replied) throw new TimeoutException($"No echo reply from {to}.");
        }
    });

    /// <summary>Sends Ethernet frames as they are, see <see cref="Frames"/>. The left side of a pair may do so.</summary>
    public Task SendFramesAsync(string device, params byte[][] frames) => RunAsync(() =>
    {
        ArgumentNullException.ThrowIfNull(frames);
        using var socket = new Socket(AddressFamily.Packet, SocketType.Raw, ProtocolType.Unspecified);
        var to = new DeviceEndPoint(Libc.IndexOf(device));
        foreach (byte[] frame in frames) socket.SendTo(frame, to);
    });

    // struct sockaddr_ll, include/uapi/linux/if_packet.h: only the device matters for a whole frame.
    private sealed class DeviceEndPoint(uint index) : EndPoint
    {
        public override AddressFamily AddressFamily => AddressFamily.Packet;

        public override SocketAddress Serialize()
        {
            var address = new SocketAddress(AddressFamily.Packet, 20);
            byte[] bytes = BitConverter.GetBytes(index);
            for (int i = 0; i < bytes.Length; i++) address[4 + i] = bytes[i];
            return address;
        }
    }

    private static void ReceiveExactly(Socket socket, int bytes)
    {
        byte[] buffer = new byte[bytes];
        for (int have = 0; have < bytes;)
        {
            int got = socket.Receive(buffer, have, bytes - have, SocketFlags.None);
            if (got == 0) throw new InvalidOperationException("The other side closed early.");
            have += got;
        }
    }

    private static void ReceiveEnd(Socket socket)
    {
        if (socket.Receive(new byte[1]) != 0) throw new InvalidOperationException("The other side sent more than was agreed.");
    }

    internal static ushort Checksum(ReadOnlySpan<byte> data)
    {
        uint sum = 0;
        for (int i = 0; i < data.Length; i += 2) sum += BinaryPrimitives.ReadUInt16BigEndian(data[i..]);
        while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
        return (ushort)~sum;
    }
}
