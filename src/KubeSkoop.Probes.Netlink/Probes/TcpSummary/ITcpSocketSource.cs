namespace KubeSkoop.Probes.Netlink;

/// <summary>
/// A way to the sums over the TCP sockets of all namespaces at once. It means by them what the listings of the probe tcpsummary do, without what only those have
/// (round-trip times, congestion control).
/// </summary>
internal interface ITcpSocketSource
{
    /// <summary>What the probe's status calls it.</summary>
    string Name { get; }

    /// <summary>Takes what it needs.</summary>
    /// <returns><see langword="null"/> when it works here; otherwise why not, for people. Then it holds nothing.</returns>
    string? TryStart();

    /// <summary>Releases everything. Must not throw.</summary>
    void Stop();

    /// <summary>Looks at every socket there is now.</summary>
    /// <param name="queueThreshold">Connections with more than this in a queue are counted apart. Unit: bytes.</param>
    /// <returns>Whether all of them were seen. If not, this sample is to be had by listing.</returns>
    bool TryCollect(uint queueThreshold);

    /// <summary>The sums of the namespace with this inode, as of the last <see cref="TryCollect"/>; all zero when it has no sockets.</summary>
    TcpSums Get(uint inode);
}

/// <summary>The TCP sockets of one namespace, added up.</summary>
internal struct TcpSums
{
    /// <summary>What tells the namespace from others that have had its number; 0 when there are no sockets.</summary>
    internal ulong Cookie;

    /// <summary>Connections in TIME_WAIT; those in FIN_WAIT2 that the kernel keeps alike are <see cref="TcpTally.ClosedFinWait2"/>.</summary>
    internal uint TimeWait;

    internal TcpTally Connections;

    internal ListenerTally Listeners;

    /// <summary>Sockets that are neither listeners nor remainders.</summary>
    internal readonly uint Sockets
    {
        get
        {
            uint sum = 0;
            foreach (uint count in (ReadOnlySpan<uint>)Connections.States) sum += count;
            return sum - Connections.ClosedFinWait2;
        }
    }
}
