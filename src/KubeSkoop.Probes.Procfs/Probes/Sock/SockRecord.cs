using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// Sockets in use (net/ipv4/proc.c, sockstat_seq_show; net/ipv6/proc.c, sockstat6_seq_show). Rows about a network namespace have what the kernel
/// counts per namespace; the one row about the node has what it counts for the whole machine, with the limits beside it.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct SockRecord
{
    /// <summary>Sockets of all kinds in the namespace. Unit: sockets. Kernel: /proc/net/sockstat, sockets: used.</summary>
    public Reading SocketsUsed;

    /// <summary>TCP sockets over IPv4, TIME_WAIT left out. Unit: sockets. Kernel: /proc/net/sockstat, TCP: inuse.</summary>
    public Reading TcpInUse;

    /// <summary>Connections in TIME_WAIT, IPv4 and IPv6. Unit: sockets. Kernel: /proc/net/sockstat, TCP: tw.</summary>
    public Reading TcpTimeWait;

    /// <summary>UDP sockets over IPv4. Unit: sockets. Kernel: /proc/net/sockstat, UDP: inuse.</summary>
    public Reading UdpInUse;

    /// <summary>UDP-Lite sockets over IPv4. Unit: sockets. Kernel: /proc/net/sockstat, UDPLITE: inuse.</summary>
    public Reading UdpLiteInUse;

    /// <summary>Raw sockets over IPv4. Unit: sockets. Kernel: /proc/net/sockstat, RAW: inuse.</summary>
    public Reading RawInUse;

    /// <summary>IPv4 packets waiting for their missing fragments. Unit: packets. Kernel: /proc/net/sockstat, FRAG: inuse.</summary>
    public Reading FragmentQueues;

    /// <summary>Memory of those fragments. Unit: bytes. Kernel: /proc/net/sockstat, FRAG: memory.</summary>
    public Reading FragmentMemory;

    /// <summary>TCP sockets over IPv6, TIME_WAIT left out. Unit: sockets. Kernel: /proc/net/sockstat6, TCP6: inuse.</summary>
    public Reading Tcp6InUse;

    /// <summary>UDP sockets over IPv6. Unit: sockets. Kernel: /proc/net/sockstat6, UDP6: inuse.</summary>
    public Reading Udp6InUse;

    /// <summary>UDP-Lite sockets over IPv6. Unit: sockets. Kernel: /proc/net/sockstat6, UDPLITE6: inuse.</summary>
    public Reading UdpLite6InUse;

    /// <summary>Raw sockets over IPv6. Unit: sockets. Kernel: /proc/net/sockstat6, RAW6: inuse.</summary>
    public Reading Raw6InUse;

    /// <summary>IPv6 packets waiting for their missing fragments. Unit: packets. Kernel: /proc/net/sockstat6, FRAG6: inuse.</summary>
    public Reading Fragment6Queues;

    /// <summary>Memory of those fragments. Unit: bytes. Kernel: /proc/net/sockstat6, FRAG6: memory.</summary>
    public Reading Fragment6Memory;

    /// <summary>Most connections the namespace may hold in TIME_WAIT. Unit: sockets. Kernel: sysctl net.ipv4.tcp_max_tw_buckets.</summary>
    public Reading TimeWaitLimit;

    /// <summary>TCP sockets of the whole node that no process holds any more. Unit: sockets. Node row only. Kernel: /proc/net/sockstat, TCP: orphan.</summary>
    public Reading TcpOrphans;

    /// <summary>TCP sockets of the whole node, in any state. Unit: sockets. Node row only. Kernel: /proc/net/sockstat, TCP: alloc.</summary>
    public Reading TcpAllocated;

    /// <summary>Memory of TCP buffers on the whole node. Unit: pages (published as bytes). Node row only. Kernel: /proc/net/sockstat, TCP: mem.</summary>
    public Reading TcpMemory;

    /// <summary>Memory of UDP buffers on the whole node. Unit: pages (published as bytes). Node row only. Kernel: /proc/net/sockstat, UDP: mem.</summary>
    public Reading UdpMemory;

    /// <summary>TCP memory below which the kernel does not economise. Unit: pages (published as bytes). Node row only. Kernel: sysctl net.ipv4.tcp_mem, first number.</summary>
    public Reading TcpMemoryLow;

    /// <summary>TCP memory from which the kernel economises. Unit: pages (published as bytes). Node row only. Kernel: sysctl net.ipv4.tcp_mem, second number.</summary>
    public Reading TcpMemoryPressure;

    /// <summary>TCP memory that is never exceeded. Unit: pages (published as bytes). Node row only. Kernel: sysctl net.ipv4.tcp_mem, third number.</summary>
    public Reading TcpMemoryHigh;

    /// <summary>Most orphaned TCP sockets on the node; further ones are reset. Unit: sockets. Node row only. Kernel: sysctl net.ipv4.tcp_max_orphans.</summary>
    public Reading TcpOrphanLimit;

    /// <summary>UDP memory below which the kernel does not economise. Unit: pages (published as bytes). Node row only. Kernel: sysctl net.ipv4.udp_mem, first number.</summary>
    public Reading UdpMemoryLow;

    /// <summary>UDP memory from which the kernel economises. Unit: pages (published as bytes). Node row only. Kernel: sysctl net.ipv4.udp_mem, second number.</summary>
    public Reading UdpMemoryPressure;

    /// <summary>UDP memory that is never exceeded. Unit: pages (published as bytes). Node row only. Kernel: sysctl net.ipv4.udp_mem, third number.</summary>
    public Reading UdpMemoryHigh;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<SockRecord> Metrics { get; } = Table();

    /// <summary>The first fields: what <c>sockstat</c> has per namespace.</summary>
    internal static ColumnSet Columns { get; } = new("sockstat",
    [
        "sockets: used", "TCP: inuse", "TCP: tw", "UDP: inuse", "UDPLITE: inuse", "RAW: inuse", "FRAG: inuse",
        "FRAG: memory",
    ]);

    /// <summary>The fields from <see cref="Tcp6InUse"/> on: <c>sockstat6</c>.</summary>
    internal static ColumnSet Columns6 { get; } = new("sockstat6",
    [
        "TCP6: inuse", "UDP6: inuse", "UDPLITE6: inuse", "RAW6: inuse", "FRAG6: inuse", "FRAG6: memory",
    ]);

    /// <summary>The fields from <see cref="TcpOrphans"/> on: what <c>sockstat</c> has for the whole node, the same in every namespace.</summary>
    internal static ColumnSet NodeColumns { get; } = new("sockstat", ["TCP: orphan", "TCP: alloc", "TCP: mem", "UDP: mem"]);

    private static MetricTable<SockRecord> Table()
    {
        var table = new MetricTable<SockRecord>
        {
            { "kubeskoop.sock.used", MetricKind.Gauge, "{socket}", "Sockets of all kinds in the namespace.", static (in SockRecord r) => r.SocketsUsed },
            { "kubeskoop.sock.tcp_in_use", MetricKind.Gauge, "{socket}", "TCP sockets over IPv4, TIME_WAIT left out.", static (in SockRecord r) => r.TcpInUse },
            { "kubeskoop.sock.tcp6_in_use", MetricKind.Gauge, "{socket}", "TCP sockets over IPv6, TIME_WAIT left out.", static (in SockRecord r) => r.Tcp6InUse },
            { "kubeskoop.sock.tcp_time_wait", MetricKind.Gauge, "{socket}", "Connections in TIME_WAIT, IPv4 and IPv6.", static (in SockRecord r) => r.TcpTimeWait, "kubeskoop_sock_tw" },
            { "kubeskoop.sock.tcp_time_wait_limit", MetricKind.Gauge, "{socket}", "Most connections the namespace may hold in TIME_WAIT (tcp_max_tw_buckets).", static (in SockRecord r) => r.TimeWaitLimit },
            { "kubeskoop.sock.udp_in_use", MetricKind.Gauge, "{socket}", "UDP sockets over IPv4.", static (in SockRecord r) => r.UdpInUse },
            { "kubeskoop.sock.udp6_in_use", MetricKind.Gauge, "{socket}", "UDP sockets over IPv6.", static (in SockRecord r) => r.Udp6InUse },
            { "kubeskoop.sock.udplite_in_use", MetricKind.Gauge, "{socket}", "UDP-Lite sockets over IPv4.", static (in SockRecord r) => r.UdpLiteInUse },
            { "kubeskoop.sock.udplite6_in_use", MetricKind.Gauge, "{socket}", "UDP-Lite sockets over IPv6.", static (in SockRecord r) => r.UdpLite6InUse },
            { "kubeskoop.sock.raw_in_use", MetricKind.Gauge, "{socket}", "Raw sockets over IPv4.", static (in SockRecord r) => r.RawInUse },
            { "kubeskoop.sock.raw6_in_use", MetricKind.Gauge, "{socket}", "Raw sockets over IPv6.", static (in SockRecord r) => r.Raw6InUse },
            { "kubeskoop.sock.fragment_queues", MetricKind.Gauge, "{packet}", "IPv4 packets waiting for their missing fragments.", static (in SockRecord r) => r.FragmentQueues },
            { "kubeskoop.sock.fragment_memory", MetricKind.Gauge, "By", "Memory of IPv4 fragments that wait.", static (in SockRecord r) => r.FragmentMemory },
            { "kubeskoop.sock.fragment6_queues", MetricKind.Gauge, "{packet}", "IPv6 packets waiting for their missing fragments.", static (in SockRecord r) => r.Fragment6Queues },
            { "kubeskoop.sock.fragment6_memory", MetricKind.Gauge, "By", "Memory of IPv6 fragments that wait.", static (in SockRecord r) => r.Fragment6Memory },
            { "kubeskoop.sock.tcp_orphans", MetricKind.Gauge, "{socket}", "TCP sockets of the whole node that no process holds any more.", static (in SockRecord r) => r.TcpOrphans, "kubeskoop_sock_orphan" },
            { "kubeskoop.sock.tcp_orphan_limit", MetricKind.Gauge, "{socket}", "Most orphaned TCP sockets on the node (tcp_max_orphans); further ones are reset.", static (in SockRecord r) => r.TcpOrphanLimit },
            { "kubeskoop.sock.tcp_allocated", MetricKind.Gauge, "{socket}", "TCP sockets of the whole node, in any state.", static (in SockRecord r) => r.TcpAllocated, "kubeskoop_sock_alloc" },
            { "kubeskoop.sock.tcp_memory", MetricKind.Gauge, "By", "Memory of TCP buffers on the whole node.", static (in SockRecord r) => Bytes(r.TcpMemory), "kubeskoop_sock_mem", static (in SockRecord r) => r.TcpMemory },
            { "kubeskoop.sock.tcp_memory_low", MetricKind.Gauge, "By", "TCP memory below which the kernel does not economise (tcp_mem).", static (in SockRecord r) => Bytes(r.TcpMemoryLow) },
            { "kubeskoop.sock.tcp_memory_pressure", MetricKind.Gauge, "By", "TCP memory from which the kernel economises (tcp_mem).", static (in SockRecord r) => Bytes(r.TcpMemoryPressure) },
            { "kubeskoop.sock.tcp_memory_high", MetricKind.Gauge, "By", "TCP memory that is never exceeded (tcp_mem).", static (in SockRecord r) => Bytes(r.TcpMemoryHigh) },
            { "kubeskoop.sock.udp_memory", MetricKind.Gauge, "By", "Memory of UDP buffers on the whole node.", static (in SockRecord r) => Bytes(r.UdpMemory) },
            { "kubeskoop.sock.udp_memory_low", MetricKind.Gauge, "By", "UDP memory below which the kernel does not economise (udp_mem).", static (in SockRecord r) => Bytes(r.UdpMemoryLow) },
            { "kubeskoop.sock.udp_memory_pressure", MetricKind.Gauge, "By", "UDP memory from which the kernel economises (udp_mem).", static (in SockRecord r) => Bytes(r.UdpMemoryPressure) },
            { "kubeskoop.sock.udp_memory_high", MetricKind.Gauge, "By", "UDP memory that is never exceeded (udp_mem).", static (in SockRecord r) => Bytes(r.UdpMemoryHigh) },
        };
        table.AddUpstream("kubeskoop_sock_inuse", "TCP sockets over IPv4 and IPv6, TIME_WAIT left out.", static (in SockRecord r) => r.TcpInUse + r.Tcp6InUse);
        return table;
    }

    private static Reading Bytes(Reading pages) =>
        pages.HasValue ? new Reading(pages.Value * (ulong)Environment.SystemPageSize) : default;
}
