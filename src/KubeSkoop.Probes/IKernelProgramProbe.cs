namespace KubeSkoop.Probes;

/// <summary>A probe part of which runs inside the kernel, where its cost is not this process's.</summary>
public interface IKernelProgramProbe : IProbe
{
    /// <summary>What its programs have done since the probe was made. They only grow.</summary>
    KernelProgramStatistics ReadKernelStatistics();
}

/// <summary>What programs in the kernel have done and lost.</summary>
/// <param name="Runs">Times a program ran; of a probe that has the kernel count only now and then, what that comes to for the whole time. Absent while nothing was measured. Kernel: bpf_prog_info.run_cnt.</param>
/// <param name="RunTime">CPU time of those runs, known in the same way, or absent. Kernel: bpf_prog_info.run_time_ns.</param>
/// <param name="EventsSuppressed">Events not sent because of the probe's limit; what they are about is counted all the same.</param>
/// <param name="EventsLost">Events without room in the ring buffer.</param>
/// <param name="Uncounted">Hits without room in a map of counters.</param>
/// <param name="Missed">Hits for which no program ran, because it was interrupted on its CPU by another hit of its own. Kernel: bpf_prog_info.recursion_misses, 5.12 and later.</param>
public readonly record struct KernelProgramStatistics(long? Runs, TimeSpan? RunTime, long EventsSuppressed, long EventsLost, long Uncounted, long Missed)
{
    /// <summary>Why runs and their time are not measured, for people; <see langword="null"/> when they are.</summary>
    public string? CostProblem { get; init; }

    /// <summary>Both together; what is absent in both is absent.</summary>
    public static KernelProgramStatistics operator +(KernelProgramStatistics a, KernelProgramStatistics b) =>
        new(a.Runs is null ? b.Runs : a.Runs + (b.Runs ?? 0), a.RunTime is null ? b.RunTime : a.RunTime + (b.RunTime ?? TimeSpan.Zero),
            a.EventsSuppressed + b.EventsSuppressed, a.EventsLost + b.EventsLost, a.Uncounted + b.Uncounted, a.Missed + b.Missed)
        {
            CostProblem = b.CostProblem ?? a.CostProblem,
        };

    /// <inheritdoc cref="op_Addition" />
    public static KernelProgramStatistics Add(KernelProgramStatistics left, KernelProgramStatistics right) => left + right;
}
