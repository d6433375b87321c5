using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs.Interop;

namespace KubeSkoop.Probes.Netlink.Tests;

/// <summary>
/// A peer that plays the kernel over a real netlink socket (NETLINK_USERSOCK): it answers each request with the datagrams
/// it is told, so that lengths can lie, parts be missing and sequence numbers be wrong.
/// </summary>
internal sealed class FakeNetlink : IDisposable
{
    private readonly NetlinkSocket _peer;
    private readonly NetlinkSocket _stranger;
    private readonly Thread _thread;
    private readonly Func<Question, IEnumerable<byte[]>> _answer;
    private volatile bool _stopping;
    private volatile int _answered;

    internal FakeNetlink(Func<Question, IEnumerable<byte[]>> answer, NetlinkSettings? settings = null)
    {
        _answer = answer;
        Settings = settings ?? new NetlinkSettings { TimeLimit = TimeSpan.FromSeconds(10) };
        var own = new NetlinkSettings { TimeLimit = TimeSpan.FromMilliseconds(50) };
        _peer = Open(own);
        _stranger = Open(own);
        Client = NetlinkSocket.TryOpen(NetlinkProtocol.UserSocket, Settings, out Errno error, _peer.Port)!;
        Assert.Equal(Errno.None, error);
        _thread = new Thread(Run) { IsBackground = true, Name = "fake netlink" };
        _thread.Start();
    }

    internal NetlinkSocket Client { get; }

    internal NetlinkSettings Settings { get; }

    /// <summary>Requests that have arrived.</summary>
    internal int Requests { get; private set; }

    /// <summary>A datagram with one message.</summary>
    internal static byte[] Message(ushort type, NetlinkFlags flags, uint sequence, uint port, ReadOnlySpan<byte> payload)
    {
        var header = new NetlinkHeader { Length = (uint)(NetlinkHeader.Size + payload.Length), Type = type, Flags = flags, Sequence = sequence, Port = port };
        byte[] bytes = new byte[(header.Length + 3) & ~3u];
        MemoryMarshal.Write(bytes, in header);
        payload.CopyTo(bytes.AsSpan(NetlinkHeader.Size));
        return bytes;
    }

    /// <summary>Takes away what the client has left of its answers: a broken socket is otherwise never used again.</summary>
    internal void Settle()
    {
        byte[] buffer = new byte[64];
        while (true)
        {
            bool all = _answered >= Settings.Counts.Requests;
            if (Interop.Libc.Receive(Client.Handle, buffer, wait: false, out _, out _) < 0 && all) return;
        }
    }

    public void Dispose()
    {
        _stopping = true;
        Client.Dispose();
        _thread.Join();
        _peer.Dispose();
        _stranger.Dispose();
    }

    private static NetlinkSocket Open(NetlinkSettings settings) =>
        NetlinkSocket.TryOpen(NetlinkProtocol.UserSocket, settings, out Errno error) ?? throw new InvalidOperationException(error.ToString());

    private void Run()
    {
        byte[] buffer = new byte[4096];
        while (!_stopping)
        {
            int length = Interop.Libc.Receive(_peer.Handle, buffer, wait: true, out uint sender, out _);
            if (length < NetlinkHeader.Size || sender != Client.Port) continue;
            Requests++;
            var question = new Question(MemoryMarshal.Read<NetlinkHeader>(buffer), buffer[..length], Requests,
                bytes => Interop.Libc.Send(_stranger.Handle, bytes, Client.Port, out _), () => _stopping || Client.IsBroken || Client.Handle.IsClosed);
            // When the client does not read, sending waits for room: for ever, but that the client is closed at the end.
            foreach (byte[] datagram in _answer(question)) Interop.Libc.Send(_peer.Handle, datagram, Client.Port, out _);
            _answered++;
        }
    }

    /// <summary>A request that has arrived.</summary>
    /// <param name="Header">Its header.</param>
    /// <param name="Bytes">All of it.</param>
    /// <param name="Number">1 for the first.</param>
    /// <param name="SendAsStranger">Sends the client a datagram from another port.</param>
    /// <param name="IsOver">Whether nobody waits for the answer any more.</param>
    internal sealed record Question(NetlinkHeader Header, byte[] Bytes, int Number, Action<byte[]> SendAsStranger, Func<bool> IsOver)
    {
        internal bool Stopped => IsOver();

        internal byte[] Part(uint value, NetlinkFlags flags = NetlinkFlags.None) =>
            Message(100, NetlinkFlags.Multipart | flags, Header.Sequence, Header.Port, MemoryMarshal.AsBytes(new ReadOnlySpan<uint>(in value)));

        internal byte[] Done(int result = 0) =>
            Message(NetlinkMessageType.Done, NetlinkFlags.Multipart, Header.Sequence, Header.Port, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in result)));

        internal byte[] Acknowledge(int result = 0) =>
            Message(NetlinkMessageType.Error, NetlinkFlags.Capped, Header.Sequence, Header.Port, [.. MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in result)), .. Bytes[..NetlinkHeader.Size]]);
    }
}

/// <summary>Collects the numbers of <see cref="FakeNetlink.Question.Part"/>.</summary>
internal struct Numbers(List<uint> seen) : INetlinkVisitor
{
    internal int Begun;

    public void Begin()
    {
        Begun++;
        seen.Clear();
    }

    public readonly bool Visit(in NetlinkMessage message)
    {
        if (message.Type != 100 || !message.TryRead(out uint number, out _)) return false;
        seen.Add(number);
        return true;
    }
}
