namespace KubeSkoop.Probes.Kubernetes;

/// <summary>Quality of service class of a pod, as the kubelet has sorted it into cgroups.</summary>
public enum PodQualityOfService
{
    /// <summary>Requests equal limits: directly below <c>kubepods</c>.</summary>
    Guaranteed,

    /// <summary>Some requests.</summary>
    Burstable,

    /// <summary>No requests.</summary>
    BestEffort,
}

/// <summary>
/// What the path of a cgroup tells of a pod, without asking anybody: the kubelet builds it from the pod's uid, the runtime
/// from the container's id. Of the systemd and the cgroupfs driver, in hierarchies of version 1 and 2.
/// </summary>
/// <param name="PodUid">The pod's uid, with dashes; of a static pod the 32 digits of its configuration's hash.</param>
/// <param name="ContainerId">The container's id, 64 hexadecimal digits; <see langword="null"/> in the pod's own cgroup and in those of monitors (conmon).</param>
/// <param name="QualityOfService">The pod's class; <see langword="null"/> where a path that begins in a cgroup namespace of our own does not say it: it is our own class then, mostly.</param>
/// <param name="PodLength">How much of the path names the pod's own cgroup.</param>
public readonly record struct CgroupPath(string PodUid, string? ContainerId, PodQualityOfService? QualityOfService, int PodLength)
{
    private const int LongestPath = 4096; // PATH_MAX
    private const int IdLength = 64;
    private const int UuidLength = 36;
    private const int HashLength = 32;
    private const string Root = "kubepods";
    private const string Slice = ".slice";
    private const string Scope = ".scope";

    /// <summary>
    /// Reads a path as it stands in <c>/proc/&lt;pid&gt;/cgroup</c>. Where pods are nested, a cluster in a pod, it is the outermost
    /// that is told: the one this node runs. In a cgroup namespace of our own the kernel shows others from where we are
    /// (<c>/../../burstable/pod...</c>); that of our own pod's containers says no pod then.
    /// </summary>
    /// <param name="path">The path. May be anything: never throws.</param>
    /// <param name="result">What it tells.</param>
    /// <returns>Whether the path is that of a pod, or of something in one.</returns>
    public static bool TryParse(ReadOnlySpan<char> path, out CgroupPath result)
    {
        result = default;
        if (path.Length > LongestPath) return false;
        bool inRoot = false, isAbove = true;
        PodQualityOfService? qos = PodQualityOfService.Guaranteed;
        foreach (Range range in path.Split('/'))
        {
            ReadOnlySpan<char> part = path[range];
            if (isAbove && part.SequenceEqual(".."))
            {
                (inRoot, qos) = (true, null); // what is above us may be the root of the pods, or a class below it
                continue;
            }
            isAbove &= part.IsEmpty;
            if (inRoot && part.StartsWith("pod") && TryReadUid(part["pod".Length..], out string? uid))
            {
                int end = range.End.GetOffset(path.Length);
                result = new CgroupPath(uid, ContainerIn(path[end..]), qos, end);
                return true;
            }
            if (TryReadSlice(part, ref qos, out uid, out ReadOnlySpan<char> rest))
            {
                int end = range.Start.GetOffset(path.Length) + part.Length - rest.Length;
                result = new CgroupPath(uid, rest.IsEmpty ? ContainerIn(path[end..]) : ContainerAfterColon(rest), qos, end);
                return true;
            }
            if (part.SequenceEqual(Root)) (inRoot, qos) = (true, PodQualityOfService.Guaranteed);
            else if (inRoot && part.SequenceEqual("burstable")) qos = PodQualityOfService.Burstable;
            else if (inRoot && part.SequenceEqual("besteffort")) qos = PodQualityOfService.BestEffort;
            else inRoot = false;
        }
        return false;
    }

    // kubepods-burstable-pod<uid>.slice; with something before it where the kubelet was given a root (kubelet-kubepods-...).
    // A runtime that does not use systemd, below a kubelet that does, makes one directory of it all: <slice>:cri-containerd:<id>.
    private static bool TryReadSlice(ReadOnlySpan<char> part, ref PodQualityOfService? qos, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out string? uid, out ReadOnlySpan<char> rest)
    {
        uid = null;
        rest = default;
        int end = part.IndexOf(Slice);
        if (end < 0) return false;
        rest = part[(end + Slice.Length)..];
        if (!rest.IsEmpty && rest[0] != ':') return false;
        ReadOnlySpan<char> name = part[..end];
        int root = name.IndexOf(Root);
        if (root < 0 || (root > 0 && name[root - 1] != '-')) return false;
        name = name[(root + Root.Length)..];
        PodQualityOfService found = name.StartsWith("-burstable") ? PodQualityOfService.Burstable
            : name.StartsWith("-besteffort") ? PodQualityOfService.BestEffort : PodQualityOfService.Guaranteed;
        if (found == PodQualityOfService.Burstable) name = name["-burstable".Length..];
        if (found == PodQualityOfService.BestEffort) name = name["-besteffort".Length..];
        if (!name.StartsWith("-pod") || !TryReadUid(name["-pod".Length..], out uid)) return false;
        qos = found;
        return true;
    }

    // A UUID, whose dashes systemd's names cannot have, or a static pod's hash.
    private static bool TryReadUid(ReadOnlySpan<char> text, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out string? uid)
    {
        uid = null;
        if (text.Length == HashLength)
        {
            if (!IsHex(text)) return false;
            uid = text.ToString();
            return true;
        }
        if (text.Length != UuidLength) return false;
        char dash = text[8];
        if (dash is not ('-' or '_')) return false;
        for (int i = 0; i < text.Length; i++)
        {
            if (i is 8 or 13 or 18 or 23 ? text[i] != dash : !char.IsAsciiHexDigit(text[i])) return false;
        }
        uid = dash == '-' ? text.ToString() : text.ToString().Replace('_', '-');
        return true;
    }

    /// <summary>The container in what follows the pod's own cgroup: only what is directly below it.</summary>
    private static string? ContainerIn(ReadOnlySpan<char> below)
    {
        if (below is not ['/', ..]) return null;
        ReadOnlySpan<char> part = below[1..];
        int end = part.IndexOf('/');
        if (end >= 0) part = part[..end];
        if (part.EndsWith(Scope)) part = part[..^Scope.Length];
        int dash = part.LastIndexOf('-');
        return dash >= 0 && part[..dash].EndsWith("conmon") ? null : Id(part[(dash + 1)..]);
    }

    private static string? ContainerAfterColon(ReadOnlySpan<char> rest)
    {
        int end = rest.IndexOf('/');
        if (end >= 0) rest = rest[..end];
        return Id(rest[(rest.LastIndexOf(':') + 1)..]);
    }

    private static string? Id(ReadOnlySpan<char> text) => text.Length == IdLength && IsHex(text) ? text.ToString() : null;

    private static bool IsHex(ReadOnlySpan<char> text)
    {
        foreach (char c in text)
            if (!char.IsAsciiHexDigit(c)) return false;
        return true;
    }
}
