namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>Makes one sentence of what libbpf and the kernel's verifier say about a program they refuse.</summary>
internal static class Verifier
{
    private const int MostCharacters = 400;

    /// <summary>The last words of the verifier before its statistics, and the program they are about; else libbpf's last line.</summary>
    internal static string Shorten(string said)
    {
        string[] lines = said.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        int begin = Array.FindIndex(lines, static l => l.Contains("BEGIN PROG LOAD LOG", StringComparison.Ordinal));
        int end = begin < 0 ? -1 : Array.FindIndex(lines, begin, static l => l.Contains("END PROG LOAD LOG", StringComparison.Ordinal));
        string text;
        if (end > begin + 1)
        {
            text = $"{Program(lines[begin])}{Cause(lines.AsSpan((begin + 1)..end))}";
        }
        else
        {
            // libbpf ends with what follows from the first failure; the first line is the cause.
            text = lines.FirstOrDefault(static l => l.StartsWith("libbpf:", StringComparison.Ordinal)) ?? lines.FirstOrDefault() ?? string.Empty;
            if (text.StartsWith("libbpf: ", StringComparison.Ordinal)) text = text["libbpf: ".Length..];
        }
        return Clean(text.Length > MostCharacters ? text[..MostCharacters] : text);
    }

    private static string Cause(ReadOnlySpan<string> log)
    {
        // Linux 7.3 explains at length what it has said just before.
        for (int i = 0; i < log.Length; i++)
        {
            if (!log[i].StartsWith("Verification failed:", StringComparison.Ordinal)) continue;
            if (i > 0 && !IsProgramText(log[i - 1])) return log[i - 1];
            int reason = log[i..].IndexOf("Reason:");
            return reason >= 0 && i + reason + 1 < log.Length ? log[i + reason + 1] : log[i];
        }
        int last = log.Length - 1;
        while (last > 0 && (log[last].StartsWith("processed ", StringComparison.Ordinal) || log[last].StartsWith("verification time", StringComparison.Ordinal)
            || log[last].StartsWith("stack depth", StringComparison.Ordinal))) last--;
        return log[last];
    }

    // "; a line of the source", "12: an instruction", "from 3 to 12: state"
    private static bool IsProgramText(string line) => line[0] == ';' || char.IsAsciiDigit(line[0]) || line.StartsWith("from ", StringComparison.Ordinal);

    // libbpf: prog 'send_reset': -- BEGIN PROG LOAD LOG --
    private static string Program(string line)
    {
        int open = line.IndexOf('\'', StringComparison.Ordinal);
        int close = open < 0 ? -1 : line.IndexOf('\'', open + 1);
        return close > open ? $"program {line[(open + 1)..close]}: " : string.Empty;
    }

    private static string Clean(string text) => string.Create(text.Length, text, static (span, source) =>
    {
        for (int i = 0; i < span.Length; i++) span[i] = char.IsControl(source[i]) ? ' ' : source[i];
    });
}

/// <summary>Error numbers of bpf(2) and perf_event_open(2), by name.</summary>
internal static class Errors
{
    internal static string Name(int errno) => errno switch
    {
        1 => "EPERM",
        2 => "ENOENT",
        3 => "ESRCH",
        7 => "E2BIG",
        12 => "ENOMEM",
        13 => "EACCES",
        16 => "EBUSY",
        17 => "EEXIST",
        22 => "EINVAL",
        24 => "EMFILE",
        28 => "ENOSPC",
        38 => "ENOSYS",
        95 => "EOPNOTSUPP",
        524 => "ENOTSUPP",
        _ => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"errno {errno}"),
    };
}
