namespace KubeSkoop.Probes.Netlink;

/// <summary>The netlink families that are spoken, include/uapi/linux/netlink.h.</summary>
internal enum NetlinkProtocol
{
    /// <summary>rtnetlink: devices, addresses, queueing disciplines.</summary>
    Route = 0,

    /// <summary>Between processes, without the kernel: for tests.</summary>
    UserSocket = 2,

    /// <summary>sock_diag: sockets.</summary>
    SocketDiagnostics = 4,

    /// <summary>nfnetlink: connection tracking.</summary>
    Netfilter = 12,

    /// <summary>Generic netlink: IPVS.</summary>
    Generic = 16,
}
