using System.Globalization;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Exporter.Cli;

/// <summary>Finds the namespace a person means: by inode, bound name, <c>host</c>, or a process in it.</summary>
internal sealed class NamespaceChoice(INetworkNamespaceSource? source, IConfiguration configuration)
{
    // Inode numbers of namespaces begin here (PROC_DYNAMIC_FIRST in the kernel's fs/proc/generic.c); process ids end far below.
    private const uint FirstInode = 0xF000_0000;

    /// <exception cref="UsageException">There is no such namespace.</exception>
    internal uint Resolve(string text, IReadOnlyList<SampleReading.Row> rows)
    {
        NetworkNamespace[] known = [.. (source?.Current ?? []).Concat(rows.Select(static r => r.NetworkNamespace).OfType<NetworkNamespace>()).DistinctBy(static n => n.Inode)];
        if (known.FirstOrDefault(n => n.Name == text) is { } named) return named.Inode;
        if (text == "host" && known.FirstOrDefault(static n => n.IsHost) is { } host) return host.Inode;
        if (uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out uint number))
        {
            if (known.Any(n => n.Inode == number)) return number;
            if (number < FirstInode)
            {
                uint inode = InodeOf(number, known);
                if (known.Any(n => n.Inode == inode)) return inode;
                throw new UsageException($"Process {number} is in network namespace {inode}, which is not among those watched.{Known(known)}");
            }
        }
        throw new UsageException($"There is no network namespace '{text}'.{Known(known)}");
    }

    private uint InodeOf(uint pid, NetworkNamespace[] known)
    {
        string proc = configuration[$"{ProcfsOptions.SectionName}:{nameof(ProcfsOptions.HostProc)}"] is { Length: > 0 } mounted ? mounted : "/proc";
        string link = Path.Combine(proc, pid.ToString(CultureInfo.InvariantCulture), "ns/net");
        try
        {
            // The link's text is net:[4026531840].
            if (File.ResolveLinkTarget(link, returnFinalTarget: false) is { Name: var target }
                && target.IndexOf('[', StringComparison.Ordinal) is var open and >= 0
                && uint.TryParse(target.AsSpan(open + 1).TrimEnd(']'), NumberStyles.None, CultureInfo.InvariantCulture, out uint inode)) return inode;
        }
        catch (UnauthorizedAccessException)
        {
            throw new UsageException($"The network namespace of process {pid} may not be read ({link}): run as root, or with CAP_SYS_PTRACE.");
        }
        catch (IOException)
        {
        }
        throw new UsageException($"There is no process {pid}, nor a network namespace of that number.{Known(known)}");
    }

    private static string Known(NetworkNamespace[] known) =>
        known.Length == 0 ? " None is known." : $" Known: {string.Join(", ", known.Take(50).Select(static n => string.Create(CultureInfo.InvariantCulture, $"{n.DisplayName} ({n.Inode})")))}{(known.Length > 50 ? ", ..." : "")}.";
}
