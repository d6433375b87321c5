using System.Collections.Concurrent;
using KubeSkoop.Probes.Kubernetes.Interop;
using KubeSkoop.Probes.Procfs;
using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Kubernetes.Cgroups;

/// <summary>
/// The hierarchy of version 2, for the numbers BPF programs know cgroups by: the inodes of its directories. The kernel gives
/// out each number once.
/// </summary>
internal sealed class CgroupTree
{
    private const int MostRemembered = 8192;
    private const int MostChildren = 256;

    private readonly string? _root;
    private readonly ConcurrentDictionary<ulong, string> _paths = [];

    /// <summary>Of a machine that has only this hierarchy, or one that has it beside those of version 1.</summary>
    internal CgroupTree(string mount)
    {
        string[] places = [mount, Path.Combine(mount, "unified")];
        _root = places.FirstOrDefault(static place => File.Exists(Path.Combine(place, "cgroup.procs")) && File.Exists(Path.Combine(place, "cgroup.controllers")));
    }

    /// <summary>The numbers of a cgroup and of those directly below it.</summary>
    internal IReadOnlyList<ulong> IdsOf(string path)
    {
        if (_root is null || !path.StartsWith('/') || path.Contains("/../", StringComparison.Ordinal)) return [];
        string directory = _root + path;
        var ids = new List<ulong>();
        try
        {
            if (Id(directory) is { } own) ids.Add(own);
            foreach (string child in Directory.EnumerateDirectories(directory).Take(MostChildren))
            {
                if (Id(child) is not { } id) continue;
                ids.Add(id);
                Remember(id, child[_root.Length..]); // for events that come when it is gone
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Gone, or not for us: the kernel is asked when an event names it.
        }
        return ids;
    }

    /// <summary>The path of a cgroup by its number; empty when there is none, any more, or the kernel may not be asked (CAP_DAC_READ_SEARCH).</summary>
    internal string PathOf(ulong id)
    {
        if (_root is null || id <= 1) return string.Empty; // 1 is the root
        if (_paths.TryGetValue(id, out string? path)) return path;
        return Remember(id, CgroupHandles.PathOf(_root, id) ?? string.Empty);
    }

    private string Remember(ulong id, string path)
    {
        if (_paths.Count >= MostRemembered) _paths.Clear();
        return _paths[id] = path;
    }

    private static ulong? Id(string directory)
    {
        Span<byte> buffer = stackalloc byte[NulPath.MaxLength];
        if (System.Text.Encoding.UTF8.GetByteCount(directory) >= NulPath.MaxLength) return null;
        using SafeFileHandle handle = Libc.Open(Libc.AtCurrentDirectory, new NulPath(buffer).Append(directory).Terminate(), Libc.OpenPath, out Errno error);
        return error == Errno.None && Libc.Stat(handle, out Libc.FileStatus status) ? status.Inode : null;
    }
}
