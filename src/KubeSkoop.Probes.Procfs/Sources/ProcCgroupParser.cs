namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// <c>/proc/PID/cgroup</c> (kernel/cgroup/cgroup.c, proc_cgroup_show): lines of <c>id:controllers:path</c>. On cgroup v2 there is the one line
/// <c>0::/path</c>; on a hybrid system that line may be there with nothing but the root, and a v1 hierarchy knows better.
/// </summary>
internal static class ProcCgroupParser
{
    private static readonly byte[][] PreferredControllers =
    [
        "memory"u8.ToArray(), "pids"u8.ToArray(), "cpu"u8.ToArray(), "cpuacct"u8.ToArray(), "cpuset"u8.ToArray(),
        "devices"u8.ToArray(), "freezer"u8.ToArray(), "blkio"u8.ToArray(), "name=systemd"u8.ToArray(),
    ];

    /// <summary>The path that says most about whose the process is; <c>/</c> when all hierarchies have it in their root. False when the text has no such line.</summary>
    internal static bool TryParse(ReadOnlySpan<byte> text, out ReadOnlySpan<byte> path)
    {
        path = default;
        int best = int.MaxValue;
        while (!text.IsEmpty)
        {
            int end = text.IndexOf((byte)'\n');
            if (end < 0) return false;
            ReadOnlySpan<byte> line = text[..end];
            text = text[(end + 1)..];

            int first = line.IndexOf((byte)':');
            int second = first < 0 ? -1 : line[(first + 1)..].IndexOf((byte)':');
            if (second < 0) return false;
            ReadOnlySpan<byte> controllers = line.Slice(first + 1, second);
            ReadOnlySpan<byte> candidate = line[(first + second + 2)..];
            if (candidate is not [(byte)'/', ..]) return false;
            if (candidate.EndsWith(" (deleted)"u8)) candidate = candidate[..^" (deleted)"u8.Length];
            int rank = candidate.Length == 1 ? int.MaxValue - 1 : controllers.IsEmpty ? -1 : Rank(controllers);
            if (rank >= best) continue;
            best = rank;
            path = candidate;
        }
        return best != int.MaxValue;
    }

    private static int Rank(ReadOnlySpan<byte> controllers)
    {
        int best = PreferredControllers.Length;
        foreach (Range range in controllers.Split((byte)','))
        {
            for (int i = 0; i < best; i++)
                if (controllers[range].SequenceEqual(PreferredControllers[i])) best = i;
        }
        return best;
    }
}
