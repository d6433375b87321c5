namespace KubeSkoop.Probes.Ebpf;

/// <summary>What every BPF probe's settings mean, for the docs.</summary>
internal static class EbpfOptionDescriptions
{
    internal static IReadOnlyList<OptionDescriptor> OfEvents { get; } =
    [
        new(nameof(EbpfEventOptions.EventsPerSecond), "number", "100", "Events per second that the kernel may send of one network namespace on one CPU, on average; what is beyond is counted as suppressed. All together may send ten times as many; events of no namespace (all of biolatency's and net_softirq's) are limited like those of one. 0: no limit."),
        new(nameof(EbpfEventOptions.EventBurst), "number", "200", "Events of one namespace that a CPU may send at once; of all together ten times as many."),
    ];

    /// <summary>Those, and what every probe's settings mean that tells namespaces apart.</summary>
    internal static IReadOnlyList<OptionDescriptor> OfProbe { get; } =
    [
        .. OfEvents,
        new(nameof(EbpfProbeOptions.NetworkNamespaces), "list of numbers", "", "Inodes of the only network namespaces to look at. The others have no rows."),
    ];
}
