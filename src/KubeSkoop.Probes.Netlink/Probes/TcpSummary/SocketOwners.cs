using System.Buffers.Text;
using KubeSkoop.Probes.Procfs;
using KubeSkoop.Probes.Procfs.Interop;
using KubeSkoop.Probes.Procfs.Text;
using Microsoft.Win32.SafeHandles;
using Libc = KubeSkoop.Probes.Procfs.Interop.Libc;

namespace KubeSkoop.Probes.Netlink;

/// <summary>
/// Finds the processes that hold sockets, by the sockets' inode numbers: through <c>/proc/PID/fd</c> of the processes in the
/// sockets' namespaces, and if some are left, of all others, because a socket may have been handed on.
/// </summary>
internal static class SocketOwners
{
    internal static Dictionary<uint, (int ProcessId, string Command)> Find(ProcNamespaceSource source, IEnumerable<(NetworkNamespace Namespace, InetDiagnosticMessage Socket)> sockets)
    {
        var wanted = new HashSet<uint>();
        var inside = new HashSet<uint>();
        foreach (var (ns, socket) in sockets)
        {
            if (socket.Inode != 0) wanted.Add(socket.Inode);
            inside.Add(ns.Inode);
        }
        var owners = new Dictionary<uint, (int, string)>();
        if (wanted.Count == 0) return owners;
        using SafeFileHandle proc = source.OpenProc();
        Look(proc, wanted, owners, inode => inside.Contains(inode));
        if (wanted.Count > 0) Look(proc, wanted, owners, inode => !inside.Contains(inode));
        return owners;
    }

    private static void Look(SafeFileHandle proc, HashSet<uint> wanted, Dictionary<uint, (int, string)> owners, Predicate<uint> where)
    {
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        byte[] buffer = new byte[32 * 1024];
        byte[] descriptors = new byte[32 * 1024];
        var entries = new DirectoryCursor(proc, buffer);
        while (wanted.Count > 0 && entries.MoveNext())
        {
            if (!Utf8Parser.TryParse(entries.Name, out int pid, out int used) || used != entries.Name.Length || pid <= 0) continue;
            // Bound to this process and not to its number, which another may get meanwhile.
            using SafeFileHandle process = Libc.Open(proc, new NulPath(path).Append(entries.Name).Terminate(), Libc.OpenPath | Libc.OpenDirectory, out Errno error);
            if (error != Errno.None || !where(ProcNamespaceSource.ReadNamespaceLink(process, "ns/net\0"u8, out _))) continue;
            LookInto(process, pid, descriptors, wanted, owners);
        }
    }

    private static void LookInto(SafeFileHandle process, int pid, byte[] buffer, HashSet<uint> wanted, Dictionary<uint, (int, string)> owners)
    {
        using SafeFileHandle directory = Libc.Open(process, "fd\0"u8, Libc.OpenDirectory, out Errno error);
        if (error != Errno.None) return; // gone, or another user's: its sockets stay without a name
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        Span<byte> target = stackalloc byte[64];
        string? command = null;
        var entries = new DirectoryCursor(directory, buffer);
        while (wanted.Count > 0 && entries.MoveNext())
        {
            int length = Libc.ReadLink(directory, new NulPath(path).Append(entries.Name).Terminate(), target, out _);
            if (length < 9 || !target.StartsWith("socket:["u8)) continue;
            if (!Utf8Parser.TryParse(target[8..length], out uint inode, out _) || !wanted.Remove(inode)) continue;
            owners.Add(inode, (pid, command ??= ReadCommand(process)));
        }
    }

    private static string ReadCommand(SafeFileHandle process)
    {
        Span<byte> text = stackalloc byte[64];
        int length = Libc.ReadOnce(process, "comm\0"u8, text, out _);
        if (length <= 0) return string.Empty;
        ReadOnlySpan<byte> command = text[..length];
        return KernelText.Decode(command[^1] == (byte)'\n' ? command[..^1] : command);
    }
}
