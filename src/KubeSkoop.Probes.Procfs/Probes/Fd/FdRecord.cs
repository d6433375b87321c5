namespace KubeSkoop.Probes.Procfs;

/// <summary>Open descriptors of the processes of one network namespace, or of one pod in the host's.</summary>
public struct FdRecord
{
    /// <summary>Open descriptors, each counted, whatever it points to. Unit: descriptors. Kernel: /proc/PID/fd, its size (6.2 and later) or its entries.</summary>
    public Reading OpenDescriptors;

    /// <summary>Of those, sockets; absent when they are not counted. Unit: descriptors. Kernel: /proc/PID/fd/N, links to socket:[inode].</summary>
    public Reading Sockets;

    /// <summary>Processes, zombies left out. Unit: processes. Kernel: /proc/PID.</summary>
    public Reading Processes;

    /// <summary>Processes whose sockets this sample did not count, for lack of permission or because of <see cref="FdOptions.MaxLinksPerSample"/>; their last count stands. Unit: processes.</summary>
    public Reading UncountedProcesses;

    /// <summary>Descriptors of the process that is closest to its limit. Unit: descriptors. Kernel: /proc/PID/fd.</summary>
    public Reading HighestOpen;

    /// <summary>That process's soft limit, RLIMIT_NOFILE. Unit: descriptors. Kernel: /proc/PID/limits, Max open files.</summary>
    public Reading HighestLimit;

    /// <summary>That process, as numbered in the host's pid namespace; 0 for none. Not published as a metric.</summary>
    public int HighestProcessId;

    /// <summary>That process's command (comm). Chosen by the process: hostile. Not published as a metric.</summary>
    public string? HighestCommand;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<FdRecord> Metrics { get; } = new()
    {
        { "kubeskoop.fd.open", MetricKind.Gauge, "{descriptor}", "Open descriptors.", static (in FdRecord r) => r.OpenDescriptors, "kubeskoop_fd_openfd" },
        { "kubeskoop.fd.sockets", MetricKind.Gauge, "{descriptor}", "Open descriptors that are sockets.", static (in FdRecord r) => r.Sockets, "kubeskoop_fd_opensocket" },
        { "kubeskoop.fd.processes", MetricKind.Gauge, "{process}", "Processes, zombies left out.", static (in FdRecord r) => r.Processes },
        { "kubeskoop.fd.uncounted_processes", MetricKind.Gauge, "{process}", "Processes whose sockets the last sample did not count; their count before stands.", static (in FdRecord r) => r.UncountedProcesses },
        { "kubeskoop.fd.highest_open", MetricKind.Gauge, "{descriptor}", "Descriptors of the process that is closest to its limit.", static (in FdRecord r) => r.HighestOpen },
        { "kubeskoop.fd.highest_limit", MetricKind.Gauge, "{descriptor}", "Soft limit (RLIMIT_NOFILE) of the process that is closest to it.", static (in FdRecord r) => r.HighestLimit },
        { "kubeskoop.fd.highest_usage", MetricKind.Gauge, "1", "Part of its limit used by the process that is closest to it.", static (in FdRecord r) => r.HighestUsage },
    };

    /// <summary>How much of its limit the process that is closest to it uses: 1 is all. <see langword="null"/> when no process has a limit.</summary>
    public readonly double? HighestUsage =>
        HighestOpen.HasValue && HighestLimit.HasValue && HighestLimit.Value > 0 ? (double)HighestOpen.Value / HighestLimit.Value : null;
}
