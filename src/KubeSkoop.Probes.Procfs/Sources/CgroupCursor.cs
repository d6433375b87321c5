using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// Walks the cgroups in <c>/proc/PID/cgroup</c> (kernel/cgroup/cgroup.c, proc_cgroup_show), one in each hierarchy: lines of
/// <c>id:controllers:path</c>. That of version 2, <c>0::/path</c>, comes first. Where there are hierarchies of version 1 beside it, it
/// may name the runtime's service, or the root, while the others name the pod: whoever looks for a pod asks for one after the other.
/// </summary>
internal ref struct CgroupCursor(ReadOnlySpan<byte> text)
{
    private readonly ReadOnlySpan<byte> _text = text;
    private LineCursor _line = new(text);
    private bool _isPastUnified;

    /// <summary>The path within its hierarchy.</summary>
    internal ReadOnlySpan<byte> Current { get; private set; }

    /// <summary>The first fault.</summary>
    internal ParseFault Fault { get; private set; }

    internal bool MoveNext()
    {
        while (Fault.Kind == FaultKind.None)
        {
            if (_line.MoveNext())
            {
                if (Read(_line.Current) != _isPastUnified && Fault.Kind == FaultKind.None) return true;
                continue;
            }
            Fault = _line.Fault;
            if (_isPastUnified) break;
            _isPastUnified = true;
            _line = new LineCursor(_text);
        }
        return false;
    }

    // Whether the line is that of version 2.
    private bool Read(ReadOnlySpan<byte> line)
    {
        int first = line.IndexOf((byte)':');
        int second = first < 0 ? -1 : line[(first + 1)..].IndexOf((byte)':');
        ReadOnlySpan<byte> path = second < 0 ? default : line[(first + second + 2)..];
        if (path is not [(byte)'/', ..])
        {
            Fault = _line.At(FaultKind.UnknownShape);
            return false;
        }
        Current = path.EndsWith(" (deleted)"u8) ? path[..^" (deleted)"u8.Length] : path;
        return second == 0;
    }
}
