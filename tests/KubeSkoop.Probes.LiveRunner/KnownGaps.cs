namespace KubeSkoop.Probes.LiveRunner;

/// <summary>The one list of what need not run on which kernel. Everything else must.</summary>
internal static class KnownGaps
{
    /// <summary>The way taken when none is asked for.</summary>
    internal const string Best = "best";

    // Kernels by the names of kernels.sh, and "native" for the machine's own; the way asked for and the probe, null for any; and what the probe must say of the kernel.
    private static readonly Gap[] All =
    [
        new(["5.10"], null, "socketlatency", "programs that trace may keep nothing in sockets (5.11)"),
        new(["5.10", "6.1"], "tp_btf", null, "there is no tracepoint sk_data_ready"),
        new(["5.10", "6.1"], "tp_btf", "tcpreset", "the tracepoint tcp_send_reset tells only of sockets (6.10)"),
        new(["6.12", "6.18", "newest", "6.12-arm64", "native"], null, "tcpreset", "the tracepoint tcp_send_reset tells of them (6.10)"),

        // Run, but not by the best way or not whole.
        new(["5.10", "native"], Best, null, "that takes bpf_loop and bpf_map_lookup_percpu_elem, Linux 5.19"),

        // The machine's own kernel is whatever it is.
        new(["native"], Best, "kernellatency", "without stages: coarse, totals only (function: fentry: EPERM: the kernel"),
        new(["native"], null, null, "this kernel was built without IPVS"),
        new(["native"], null, null, "the kernel module ip_vs is not loaded"),
        new(["native"], null, null, "this kernel has no kprobes (CONFIG_KPROBES)"),
        new(["native"], "fentry", null, "fentry: EPERM: the kernel"),
    ];

    /// <summary>Whether a probe that runs says in its source that something is missing: "procfs (bpf: why)", "tp_btf, without stages: coarse, totals only (why)".</summary>
    internal static bool IsLess(string source) => source.Contains(" (bpf: ", StringComparison.Ordinal) || source.Contains("without ", StringComparison.Ordinal);

    /// <summary>Whether a probe in this state need not run, or not by the best way, for the reason it gives.</summary>
    internal static bool Has(string kernel, string way, string probe, ProbeState state, string reason) =>
        state is ProbeState.Unavailable or ProbeState.Running
        && Array.Exists(All, gap => gap.Kernels.Contains(kernel) && (gap.Way ?? way) == way && (gap.Probe ?? probe) == probe && reason.Contains(gap.Reason, StringComparison.Ordinal));

    private sealed record Gap(string[] Kernels, string? Way, string? Probe, string Reason);
}
