using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Netlink.Interop;
using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Win32.SafeHandles;
using Libc = KubeSkoop.Probes.Netlink.Interop.Libc;

namespace KubeSkoop.Probes.Netlink;

/// <summary>Takes the messages of an answer. A struct, so that the call is direct and nothing is allocated.</summary>
internal interface INetlinkVisitor
{
    /// <summary>An answer begins, perhaps anew after an interrupted one: forget what was seen.</summary>
    void Begin();

    /// <summary>One message of the answer; false when it is not what it should be. The message is valid during the call only.</summary>
    bool Visit(in NetlinkMessage message);
}

/// <summary>
/// A netlink socket, bound to the network namespace it was opened in for its whole life, whichever thread uses it. One request at a
/// time; may be disposed of from any thread.
/// </summary>
internal sealed class NetlinkSocket : IDisposable
{
    private readonly SafeFileHandle _handle;
    private readonly NetlinkSettings _settings;
    private readonly uint _peer;
    private uint _sequence;
    private NetlinkError? _lastError;

    private NetlinkSocket(SafeFileHandle handle, uint port, uint peer, NetlinkSettings settings)
    {
        _handle = handle;
        _settings = settings;
        _peer = peer;
        Port = port;
    }

    /// <summary>The address the kernel gave the socket.</summary>
    internal uint Port { get; }

    /// <summary>Whether answers may still arrive that nobody waits for, or the socket is closed: it has to be opened again.</summary>
    internal bool IsBroken { get; private set; }

    /// <summary>
    /// Grows with every message that answers no request of ours, and when messages were lost: on a socket that has joined a group, what was
    /// learned from what the group tells about is then out of date.
    /// </summary>
    internal uint Notices { get; private set; }

    /// <summary>The socket itself, to wait for several at once.</summary>
    internal SafeFileHandle Handle => _handle;

    /// <summary>Opens a socket in the calling thread's network namespace.</summary>
    /// <param name="protocol">The netlink family.</param>
    /// <param name="settings">Limits and counts.</param>
    /// <param name="error">Why there is none.</param>
    /// <param name="peer">Whom to talk to; 0 is the kernel.</param>
    internal static NetlinkSocket? TryOpen(NetlinkProtocol protocol, NetlinkSettings settings, out Errno error, uint peer = 0)
    {
        SafeFileHandle handle = Libc.OpenNetlink(protocol, out error);
        if (error == Errno.None && Libc.Bind(handle, out uint port, out error))
        {
            // Each of these is a matter of the kernel's age: without it requests still work, with poorer errors.
            Libc.SetOption(handle, NetlinkOption.ExtendedAck, 1, out _);
            Libc.SetOption(handle, NetlinkOption.CapAck, 1, out _);
            Libc.SetOption(handle, NetlinkOption.StrictCheck, 1, out _);
            Libc.SetReceiveTimeout(handle, settings.TimeLimit);
            settings.Counts.SocketOpened();
            return new NetlinkSocket(handle, port, peer, settings);
        }
        handle.Dispose();
        return null;
    }

    /// <summary>Asks for a table. Repeats a dump that was interrupted or overrun.</summary>
    /// <param name="buffer">Where datagrams are received.</param>
    /// <param name="request">The request as <see cref="NetlinkWriter"/> wrote it; its sequence number is filled in.</param>
    /// <param name="visitor">Takes the messages.</param>
    internal NetlinkResult Dump<TVisitor>(NetlinkBuffer buffer, Span<byte> request, ref TVisitor visitor)
        where TVisitor : struct, INetlinkVisitor, allows ref struct =>
        Exchange(buffer, request, NetlinkFlags.Request | NetlinkFlags.Dump, ref visitor);

    /// <summary>Asks for one thing, or for something to be done. Ends with the kernel's acknowledgement.</summary>
    /// <inheritdoc cref="Dump{TVisitor}" />
    internal NetlinkResult Request<TVisitor>(NetlinkBuffer buffer, Span<byte> request, ref TVisitor visitor)
        where TVisitor : struct, INetlinkVisitor, allows ref struct =>
        Exchange(buffer, request, NetlinkFlags.Request | NetlinkFlags.Acknowledge, ref visitor);

    /// <summary>Joins a multicast group.</summary>
    internal bool TryJoin(int group, out Errno error) => Libc.SetOption(_handle, NetlinkOption.AddMembership, group, out error);

    /// <summary>Asks for room for this many bytes of messages that wait to be received.</summary>
    internal bool TrySetReceiveBuffer(int bytes) => Libc.SetReceiveBuffer(_handle, bytes);

    /// <summary>Receives a datagram of a multicast group if one is there; without waiting.</summary>
    internal NetlinkReceive TryReceive(NetlinkBuffer buffer, out ReadOnlySpan<byte> datagram)
    {
        try
        {
            NetlinkReceive outcome = Receive(buffer, wait: false, out datagram);
            if (outcome == NetlinkReceive.Failed) IsBroken = true;
            return outcome;
        }
        catch (ObjectDisposedException)
        {
            IsBroken = true;
            datagram = default;
            return NetlinkReceive.Failed;
        }
    }

    /// <summary>Messages the kernel could not deliver to this socket for want of room; 32 bits that wrap.</summary>
    internal uint ReadDrops()
    {
        try
        {
            return Libc.ReadDrops(_handle);
        }
        catch (ObjectDisposedException)
        {
            return 0;
        }
    }

    /// <summary>Closes the socket; from any thread, also while it is in use.</summary>
    public void Dispose() => _handle.Dispose();

    private NetlinkResult Exchange<TVisitor>(NetlinkBuffer buffer, Span<byte> request, NetlinkFlags kind, ref TVisitor visitor)
        where TVisitor : struct, INetlinkVisitor, allows ref struct
    {
        long began = _settings.Clock.GetTimestamp();
        NetlinkResult result = default;
        try
        {
            for (int attempt = 0; attempt < _settings.Attempts; attempt++)
            {
                visitor.Begin();
                _sequence++;
                Stamp(request, kind);
                _settings.Counts.RequestSent();
                if (!Libc.Send(_handle, request, _peer, out Errno error))
                {
                    IsBroken = true;
                    return new NetlinkResult(NetlinkOutcome.Refused, _lastError = new NetlinkError(error));
                }
                result = Await(buffer, request, began, ref visitor);
                if (result.Outcome is not (NetlinkOutcome.Inconsistent or NetlinkOutcome.Overrun)) break;
            }
        }
        catch (ObjectDisposedException)
        {
            IsBroken = true;
            return new NetlinkResult(NetlinkOutcome.Closed);
        }
        if (result.Outcome is NetlinkOutcome.Overrun or NetlinkOutcome.TimedOut or NetlinkOutcome.Malformed) IsBroken = true;
        return result;
    }

    private NetlinkResult Await<TVisitor>(NetlinkBuffer buffer, ReadOnlySpan<byte> request, long began, ref TVisitor visitor)
        where TVisitor : struct, INetlinkVisitor, allows ref struct
    {
        bool interrupted = false;
        bool lost = false;
        bool misunderstood = false;
        while (true)
        {
            if (_settings.Clock.GetElapsedTime(began) > _settings.TimeLimit) return new NetlinkResult(NetlinkOutcome.TimedOut);
            // What was lost may have been the end, so nothing is waited for any more. The kernel writes the next piece of a dump
            // while the one before is received: when nothing is there, nothing comes.
            switch (Receive(buffer, wait: !lost, out ReadOnlySpan<byte> datagram))
            {
                case NetlinkReceive.Datagram:
                    break;
                case NetlinkReceive.Stranger:
                    continue;
                case NetlinkReceive.Oversized or NetlinkReceive.Overrun:
                    lost = true;
                    continue;
                case NetlinkReceive.Nothing:
                    return new NetlinkResult(lost ? NetlinkOutcome.Overrun : NetlinkOutcome.TimedOut);
                default:
                    IsBroken = true;
                    return new NetlinkResult(NetlinkOutcome.Refused, _lastError);
            }

            var messages = new NetlinkMessages(datagram);
            while (messages.MoveNext())
            {
                NetlinkMessage message = messages.Current;
                if (message.Sequence != _sequence || message.Port != Port)
                {
                    Notices++;
                    _settings.Counts.WasStranger();
                    continue;
                }
                interrupted |= (message.Flags & NetlinkFlags.DumpInterrupted) != 0;
                if (message.Type is NetlinkMessageType.Done or NetlinkMessageType.Error)
                {
                    NetlinkError? error = NetlinkError.Read(message, request, _lastError, out NetlinkFault fault);
                    if (fault != NetlinkFault.None || misunderstood) return new NetlinkResult(NetlinkOutcome.Malformed);
                    if (error is not null) return new NetlinkResult(NetlinkOutcome.Refused, _lastError = error);
                    if (lost) return new NetlinkResult(NetlinkOutcome.Overrun);
                    if (!interrupted) return default;
                    _settings.Counts.WasInterrupted();
                    return new NetlinkResult(NetlinkOutcome.Inconsistent);
                }
                if (message.Type == NetlinkMessageType.Noop || misunderstood || lost) continue;
                if (message.Type == NetlinkMessageType.Overrun || !visitor.Visit(message)) misunderstood = true;
            }
            if (messages.Fault != NetlinkFault.None) return new NetlinkResult(NetlinkOutcome.Malformed);
        }
    }

    private NetlinkReceive Receive(NetlinkBuffer buffer, bool wait, out ReadOnlySpan<byte> datagram)
    {
        datagram = default;
        Span<byte> room = buffer.Span;
        int length = Libc.Receive(_handle, room, wait, out uint sender, out Errno error);
        if (length < 0)
        {
            switch (error)
            {
                case Errno.TryAgain:
                    return NetlinkReceive.Nothing;
                case Errno.NoBuffers:
                    Notices++;
                    _settings.Counts.WasOverrun();
                    return NetlinkReceive.Overrun;
                default:
                    if (_lastError?.Errno != error || _lastError.Message is not null) _lastError = new NetlinkError(error);
                    return NetlinkReceive.Failed;
            }
        }
        if (sender != _peer)
        {
            _settings.Counts.WasStranger();
            return NetlinkReceive.Stranger;
        }
        if (length > room.Length)
        {
            _settings.Counts.WasOversized();
            buffer.Grow(length);
            return NetlinkReceive.Oversized;
        }
        datagram = room[..length];
        return NetlinkReceive.Datagram;
    }

    private void Stamp(Span<byte> request, NetlinkFlags kind)
    {
        ref NetlinkHeader header = ref Unsafe.As<byte, NetlinkHeader>(ref MemoryMarshal.GetReference(request[..NetlinkHeader.Size]));
        header.Flags |= kind;
        header.Sequence = _sequence;
        header.Port = Port;
    }
}

/// <summary>What came of a receive.</summary>
internal enum NetlinkReceive : byte
{
    Datagram,

    /// <summary>Nothing waits, or the time limit passed.</summary>
    Nothing,

    /// <summary>The kernel lost messages for want of room (ENOBUFS).</summary>
    Overrun,

    /// <summary>A datagram did not fit and is lost; the buffer has grown for the next.</summary>
    Oversized,

    /// <summary>A datagram of somebody else.</summary>
    Stranger,

    /// <summary>The system call failed.</summary>
    Failed,
}
