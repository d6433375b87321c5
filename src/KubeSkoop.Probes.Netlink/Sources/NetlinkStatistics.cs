namespace KubeSkoop.Probes.Netlink;

/// <summary>What the netlink sockets of all probes have done and met. They only grow.</summary>
/// <param name="SocketsOpened">Sockets opened.</param>
/// <param name="Requests">Requests and dumps sent, repetitions included.</param>
/// <param name="Interrupted">Dumps the kernel marked as interrupted (NLM_F_DUMP_INTR): something changed meanwhile; each was repeated, a bounded number of times.</param>
/// <param name="Overruns">Times the kernel lost messages for want of room (ENOBUFS).</param>
/// <param name="Oversized">Datagrams larger than the buffer, which then grew.</param>
/// <param name="Strangers">Datagrams from another sender, and messages with another sequence number or port; they are not looked at.</param>
public readonly record struct NetlinkStatistics(long SocketsOpened, long Requests, long Interrupted, long Overruns, long Oversized, long Strangers);
