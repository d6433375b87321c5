using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Netlink;

/// <summary>What one listing of a namespace's connections came to.</summary>
internal struct TcpTally
{
    internal StateCounts States;
    internal uint NewSynReceived;

    /// <summary>Of those in FIN_WAIT2, what its process has let go of and the kernel keeps as it keeps TIME_WAIT (struct inet_timewait_sock).</summary>
    internal uint ClosedFinWait2;
    internal ulong ReceiveQueue;
    internal ulong SendQueue;
    internal uint LargestReceiveQueue;
    internal uint LargestSendQueue;
    internal uint ReceiveQueuesAbove;
    internal uint SendQueuesAbove;
    internal ulong Retransmits;
    internal ulong CongestionLimited;
    internal ulong ReceiverLimited;
    internal ulong SendBufferLimited;
    internal Log2Histogram RoundTripTime;
    internal CongestionCounts Congestion;

    /// <summary>What is left when there is no socket any more: handshakes, and what the kernel keeps as it keeps TIME_WAIT.</summary>
    internal readonly TcpTally WithoutSockets()
    {
        var left = new TcpTally { NewSynReceived = NewSynReceived, ClosedFinWait2 = ClosedFinWait2 };
        left.States[(int)TcpState.FinWait2] = ClosedFinWait2;
        return left;
    }

    [InlineArray(16)]
    internal struct StateCounts
    {
        private uint _first;
    }

    [InlineArray(Most)]
    internal struct CongestionCounts
    {
        /// <summary>Far more than a machine has at work at a time; further ones are not told apart from the last.</summary>
        internal const int Most = 8;

        private CongestionCount _first;
    }
}

/// <summary>A congestion control's name, as the kernel has it: at most 16 bytes, NUL included.</summary>
internal struct CongestionCount
{
    internal UInt128 Name;
    internal uint Connections;
}

/// <summary>Sums up connections.</summary>
internal ref struct ConnectionVisitor(ref TcpTally tally, uint threshold, bool info) : INetlinkVisitor
{
    private readonly ref TcpTally _tally = ref tally;

    public readonly void Begin() => _tally = default;

    public readonly bool Visit(in NetlinkMessage message)
    {
        ReadOnlySpan<byte> payload = message.Payload;
        if (message.Type != SocketDiagnostics.GetTcpSockets || payload.Length < Unsafe.SizeOf<InetDiagnosticMessage>()) return false;
        ref readonly InetDiagnosticMessage socket = ref MemoryMarshal.AsRef<InetDiagnosticMessage>(payload);
        ref TcpTally tally = ref _tally;
        var state = (TcpState)(socket.State & 15);
        // Nearly all are in other states: their attributes need not be looked at.
        bool whole = info || state is TcpState.SynReceived or TcpState.FinWait2;
        if (whole && !VisitAttributes(payload, ref state)) return false;
        if (state != TcpState.None) tally.States[(int)state]++;

        uint receive = socket.ReceiveQueue, send = socket.SendQueue;
        tally.ReceiveQueue += receive;
        tally.SendQueue += send;
        if (receive > tally.LargestReceiveQueue) tally.LargestReceiveQueue = receive;
        if (send > tally.LargestSendQueue) tally.LargestSendQueue = send;
        if (receive > threshold) tally.ReceiveQueuesAbove++;
        if (send > threshold) tally.SendQueuesAbove++;
        return true;
    }

    private readonly bool VisitAttributes(ReadOnlySpan<byte> payload, ref TcpState state)
    {
        var attributes = new NetlinkAttributes(payload[Unsafe.SizeOf<InetDiagnosticMessage>()..]);
        bool isSocket = false;
        while (attributes.MoveNext())
        {
            switch (attributes.Type)
            {
                case SocketDiagnostics.Shutdown:
                    isSocket = true;
                    break;
                case SocketDiagnostics.Information when info:
                    Add(attributes.Read<TcpInformation>());
                    break;
                case SocketDiagnostics.CongestionControl when info:
                    Add(attributes.Text());
                    break;
            }
        }
        // Every socket has this attribute; what is only a request or a remainder has not (inet_req_diag_fill, inet_twsk_diag_fill).
        if (!isSocket && state == TcpState.SynReceived)
        {
            _tally.NewSynReceived++;
            state = TcpState.None;
        }
        else if (!isSocket && state == TcpState.FinWait2)
        {
            _tally.ClosedFinWait2++;
        }
        return attributes.Fault == NetlinkFault.None;
    }

    private readonly void Add(in TcpInformation socket)
    {
        ref TcpTally sums = ref _tally;
        sums.Retransmits += socket.Retransmits;
        sums.ReceiverLimited += socket.ReceiverLimited;
        sums.SendBufferLimited += socket.SendBufferLimited;
        ulong others = socket.ReceiverLimited + socket.SendBufferLimited;
        if (socket.BusyTime > others) sums.CongestionLimited += socket.BusyTime - others;
        if (socket.RoundTripTime != 0) sums.RoundTripTime.Observe(socket.RoundTripTime); // 0: never measured
    }

    private readonly void Add(ReadOnlySpan<byte> name)
    {
        Span<byte> padded = stackalloc byte[16];
        padded.Clear();
        name[..Math.Min(name.Length, 16)].CopyTo(padded);
        UInt128 key = MemoryMarshal.Read<UInt128>(padded);
        Span<CongestionCount> counts = _tally.Congestion;
        int i = 0;
        while (i < counts.Length - 1 && counts[i].Name != key && counts[i].Connections != 0) i++;
        if (counts[i].Connections++ == 0) counts[i].Name = key;
    }
}

/// <summary>What one listing of a namespace's listeners came to.</summary>
internal struct ListenerTally
{
    internal uint Count;
    internal ulong Waiting;
    internal ulong Limit;
    internal uint FullestWaiting;
    internal uint FullestLimit;
    internal Endpoint Fullest;
}

/// <summary>Sums up listeners.</summary>
internal ref struct ListenerVisitor(ref ListenerTally tally) : INetlinkVisitor
{
    private readonly ref ListenerTally _tally = ref tally;

    public readonly void Begin() => _tally = default;

    public readonly bool Visit(in NetlinkMessage message)
    {
        ReadOnlySpan<byte> payload = message.Payload;
        if (message.Type != SocketDiagnostics.GetTcpSockets || payload.Length < Unsafe.SizeOf<InetDiagnosticMessage>()) return false;
        ref readonly InetDiagnosticMessage socket = ref MemoryMarshal.AsRef<InetDiagnosticMessage>(payload);
        ref ListenerTally tally = ref _tally;
        tally.Count++;
        tally.Waiting += socket.ReceiveQueue;
        tally.Limit += socket.SendQueue;
        if (tally.Count > 1 && !IsFuller(socket.ReceiveQueue, socket.SendQueue, tally.FullestWaiting, tally.FullestLimit)) return true;
        tally.FullestWaiting = socket.ReceiveQueue;
        tally.FullestLimit = socket.SendQueue;
        tally.Fullest = socket.Local;
        return true;
    }

    /// <summary>Whether one listener is closer to its limit than another. One more than the limit may wait (sk_acceptq_is_full), also where the limit is 0.</summary>
    internal static bool IsFuller(uint waiting, uint limit, uint otherWaiting, uint otherLimit)
    {
        ulong here = waiting * ((ulong)otherLimit + 1), there = otherWaiting * ((ulong)limit + 1);
        return here > there || (here == there && waiting > otherWaiting);
    }
}
