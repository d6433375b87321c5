namespace KubeSkoop.Probes.Netlink;

/// <summary>What sockets share: limits, clock and counts.</summary>
internal sealed record NetlinkSettings
{
    /// <summary>The longest one request or dump may take, tries included.</summary>
    internal TimeSpan TimeLimit { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How often an interrupted or overrun dump is begun, the first time included.</summary>
    internal int Attempts { get; init; } = 4;

    internal TimeProvider Clock { get; init; } = TimeProvider.System;

    internal NetlinkCounts Counts { get; init; } = new();
}

/// <summary>What happened on the sockets so far. Written by one thread per socket, read by anybody.</summary>
internal sealed class NetlinkCounts
{
    private long _requests;
    private long _interrupted;
    private long _overruns;
    private long _oversized;
    private long _strangers;
    private long _opened;

    /// <summary>Sockets opened.</summary>
    internal long Opened => Volatile.Read(ref _opened);

    /// <summary>Requests and dumps sent, repetitions included.</summary>
    internal long Requests => Volatile.Read(ref _requests);

    /// <summary>Dumps the kernel marked as interrupted (NLM_F_DUMP_INTR).</summary>
    internal long Interrupted => Volatile.Read(ref _interrupted);

    /// <summary>Times the kernel lost messages for want of room (ENOBUFS).</summary>
    internal long Overruns => Volatile.Read(ref _overruns);

    /// <summary>Datagrams larger than the buffer.</summary>
    internal long Oversized => Volatile.Read(ref _oversized);

    /// <summary>Datagrams from another sender, and messages with another sequence number or port.</summary>
    internal long Strangers => Volatile.Read(ref _strangers);

    internal void SocketOpened() => Interlocked.Increment(ref _opened);

    internal void RequestSent() => Interlocked.Increment(ref _requests);

    internal void WasInterrupted() => Interlocked.Increment(ref _interrupted);

    internal void WasOverrun() => Interlocked.Increment(ref _overruns);

    internal void WasOversized() => Interlocked.Increment(ref _oversized);

    internal void WasStranger() => Interlocked.Increment(ref _strangers);
}
