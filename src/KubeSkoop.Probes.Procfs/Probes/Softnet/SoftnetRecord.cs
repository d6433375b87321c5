using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// Packets taken through the receive softirq of one CPU (net/core/net-procfs.c, softnet_seq_show). The kernel's columns have 32 bits and
/// wrap; the counters here go on, as long as less than 2^32 happen between two samples.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct SoftnetRecord
{
    /// <summary>Packets taken from devices and backlogs. Unit: packets. Kernel: /proc/net/softnet_stat, column 1, softnet_data.processed.</summary>
    public Reading Processed;

    /// <summary>Packets refused because the CPU's backlog was full. Unit: packets. Kernel: /proc/net/softnet_stat, column 2, softnet_data.dropped.</summary>
    public Reading Dropped;

    /// <summary>Times the softirq gave up with work left, its budget or time used up. Unit: events. Kernel: /proc/net/softnet_stat, column 3, softnet_data.time_squeeze.</summary>
    public Reading TimeSqueezed;

    /// <summary>Times a send found the device locked by another CPU; 0 since 4.7. Unit: events. Kernel: /proc/net/softnet_stat, column 9, softnet_data.cpu_collision.</summary>
    public Reading CpuCollisions;

    /// <summary>Times another CPU woke this one to process packets (RPS). Unit: events. Kernel: /proc/net/softnet_stat, column 10, softnet_data.received_rps.</summary>
    public Reading ReceivedRps;

    /// <summary>Packets dropped because one flow filled the backlog. Unit: packets. Kernel: /proc/net/softnet_stat, column 11, sd_flow_limit.count.</summary>
    public Reading FlowLimited;

    /// <summary>Packets that wait in the CPU's backlog now, both queues; absent of a CPU that is offline. Unit: packets. Kernel: /proc/net/softnet_stat, column 12 (5.10 and later), softnet_backlog_len().</summary>
    public Reading BacklogLength;

    /// <summary>Of those, packets that other contexts have queued. Unit: packets. Kernel: /proc/net/softnet_stat, column 14 (6.4 and later), softnet_data.input_pkt_queue.</summary>
    public Reading InputQueueLength;

    /// <summary>Of those, packets the softirq is about to process. Unit: packets. Kernel: /proc/net/softnet_stat, column 15 (6.4 and later), softnet_data.process_queue.</summary>
    public Reading ProcessQueueLength;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<SoftnetRecord> Metrics { get; } = new()
    {
        { "kubeskoop.softnet.processed", MetricKind.Counter, "{packet}", "Packets taken from devices and backlogs by the receive softirq.", static (in SoftnetRecord r) => r.Processed, "kubeskoop_softnet_processed" },
        { "kubeskoop.softnet.dropped", MetricKind.Counter, "{packet}", "Packets refused because the CPU's backlog was full.", static (in SoftnetRecord r) => r.Dropped, "kubeskoop_softnet_dropped" },
        { "kubeskoop.softnet.time_squeezed", MetricKind.Counter, "{event}", "Times the softirq gave up with work left, its budget or time used up.", static (in SoftnetRecord r) => r.TimeSqueezed },
        { "kubeskoop.softnet.cpu_collisions", MetricKind.Counter, "{event}", "Times a send found the device locked by another CPU; 0 since 4.7.", static (in SoftnetRecord r) => r.CpuCollisions },
        { "kubeskoop.softnet.received_rps", MetricKind.Counter, "{event}", "Times another CPU woke this one to process packets (RPS).", static (in SoftnetRecord r) => r.ReceivedRps },
        { "kubeskoop.softnet.flow_limited", MetricKind.Counter, "{packet}", "Packets dropped because one flow filled the backlog.", static (in SoftnetRecord r) => r.FlowLimited },
        { "kubeskoop.softnet.backlog_length", MetricKind.Gauge, "{packet}", "Packets that wait in the CPU's backlog.", static (in SoftnetRecord r) => r.BacklogLength },
        { "kubeskoop.softnet.input_queue_length", MetricKind.Gauge, "{packet}", "Packets of the backlog that other contexts have queued.", static (in SoftnetRecord r) => r.InputQueueLength },
        { "kubeskoop.softnet.process_queue_length", MetricKind.Gauge, "{packet}", "Packets of the backlog that the softirq is about to process.", static (in SoftnetRecord r) => r.ProcessQueueLength },
    };
}
