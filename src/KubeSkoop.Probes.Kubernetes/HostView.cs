using KubeSkoop.Probes.Kubernetes.Cgroups;
using KubeSkoop.Probes.Procfs;
using KubeSkoop.Probes.Procfs.Interop;
using KubeSkoop.Probes.Procfs.Text;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Kubernetes;

/// <summary>What the kernel says about processes and namespaces that others have named.</summary>
internal sealed class HostView(string hostProc, string cgroupRoot)
{
    private const int LongestCgroupFile = 16 * 1024;

    internal CgroupTree Cgroups { get; } = new(cgroupRoot);

    /// <summary>The processes there are now, in order.</summary>
    internal IReadOnlyList<int> ProcessIds()
    {
        try
        {
            return [.. Directory.EnumerateDirectories(hostProc)
                .Select(static path => int.TryParse(Path.GetFileName(path.AsSpan()), System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int pid) ? pid : 0)
                .Where(static pid => pid > 0).Order()];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    /// <summary>The cgroup of a process, in the hierarchy that says of which pod it is, if one does; <see langword="null"/> when it is gone or hidden.</summary>
    internal string? CgroupOf(int pid)
    {
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        using SafeFileHandle proc = Libc.Open(Libc.AtCurrentDirectory, new NulPath(path).Append(hostProc).Terminate(), Libc.OpenPath, out Errno error);
        if (error != Errno.None) return null;
        byte[] text = System.Buffers.ArrayPool<byte>.Shared.Rent(LongestCgroupFile);
        try
        {
            int length = Libc.ReadOnce(proc, new NulPath(path).Append(pid).Append("/cgroup"u8).Terminate(), text, out _);
            return length > 0 && length < text.Length ? CgroupIn(text.AsSpan(0, length)) : null;
        }
        finally
        {
            System.Buffers.ArrayPool<byte>.Shared.Return(text);
        }
    }

    private static string? CgroupIn(ReadOnlySpan<byte> text)
    {
        string? first = null;
        var cgroups = new CgroupCursor(text);
        while (cgroups.MoveNext())
        {
            string path = KernelText.Decode(cgroups.Current);
            if (CgroupPath.TryParse(path, out _)) return path;
            first ??= path;
        }
        return first;
    }

    /// <summary>The network namespace of a process; 0 when it is gone or hidden.</summary>
    internal uint NamespaceOf(int pid)
    {
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        using SafeFileHandle proc = Libc.Open(Libc.AtCurrentDirectory, new NulPath(path).Append(hostProc).Terminate(), Libc.OpenPath, out Errno error);
        return error == Errno.None ? ProcNamespaceSource.ReadNamespaceLink(proc, new NulPath(path).Append(pid).Append("/ns/net"u8).Terminate(), out _) : 0;
    }

    /// <summary>The namespace that is bound to a path; 0 when there is none here. The path is the runtime's, and may not lead to the same place for us.</summary>
    internal uint NamespaceAt(string bound)
    {
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        if (System.Text.Encoding.UTF8.GetByteCount(bound) >= NulPath.MaxLength) return 0;
        using SafeFileHandle handle = Libc.Open(Libc.AtCurrentDirectory, new NulPath(path).Append(bound).Terminate(), Libc.OpenPath, out Errno error);
        if (error != Errno.None || !Libc.Stat(handle, out Libc.FileStatus status)) return 0;
        using SafeFileHandle own = Libc.Open(Libc.AtCurrentDirectory, "/proc/self/ns/net\0"u8, Libc.OpenPath, out error);
        // Where the mount is not propagated to us there is an ordinary, empty file.
        return error == Errno.None && Libc.Stat(own, out Libc.FileStatus nsfs) && status.DeviceMajor == nsfs.DeviceMajor && status.DeviceMinor == nsfs.DeviceMinor ? (uint)status.Inode : 0;
    }
}
