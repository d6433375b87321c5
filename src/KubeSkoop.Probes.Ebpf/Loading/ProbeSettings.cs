using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>struct ks_settings, bpf/include/kubeskoop/settings.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ProbeSettings
{
    internal Thresholds ThresholdNs;
    internal ulong EventIntervalNs;
    internal ulong EventBurstNs;
    internal uint SendEvents;
    internal uint Filter;

    [InlineArray(4)]
    internal struct Thresholds
    {
        private ulong _first;
    }
}

/// <summary>struct ks_tally, bpf/include/kubeskoop/settings.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ProbeTally
{
    internal ulong Sent;
    internal ulong Suppressed;
    internal ulong Lost;
    internal ulong Uncounted;
}
