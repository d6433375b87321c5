using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary><c>/proc/PID/limits</c> (fs/proc/base.c, proc_pid_limits): a header, then <c>"%-25s %-20s %-20s %-10s"</c>: name, soft limit, hard limit, unit.</summary>
internal static class LimitsParser
{
    private const int MostLines = 64;

    /// <summary>The soft limit of the line that begins with <paramref name="name"/>; absent for <c>unlimited</c>. False when there is no such line.</summary>
    internal static bool TryParse(ReadOnlySpan<byte> text, ReadOnlySpan<byte> name, out Reading soft)
    {
        soft = default;
        var line = new LineCursor(text);
        while (line.MoveNext() && line.Number <= MostLines)
        {
            if (!line.Current.StartsWith(name) || line.Current.Length == name.Length || line.Current[name.Length] != (byte)' ') continue;
            var field = new FieldCursor(line.Current[name.Length..]);
            if (line.Current[name.Length..].TrimStart((byte)' ').StartsWith("unlimited"u8)) return true;
            ulong value = field.UInt64();
            if (field.Fault != FaultKind.None) return false;
            soft = new Reading(value);
            return true;
        }
        return false;
    }
}
