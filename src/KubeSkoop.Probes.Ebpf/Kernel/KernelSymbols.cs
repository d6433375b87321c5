using System.Buffers.Text;

namespace KubeSkoop.Probes.Ebpf.Kernel;

/// <summary>A place in the kernel's code.</summary>
/// <param name="Name">The function, or <see langword="null"/> where the kernel does not tell.</param>
/// <param name="Offset">Bytes from its begin.</param>
/// <param name="Module">The module it is in; <see langword="null"/> for the kernel itself.</param>
internal readonly record struct KernelSymbol(string? Name, ulong Offset, string? Module)
{
    public override string ToString() => Name is null ? "?" : string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Name}+0x{Offset:x}{(Module is null ? "" : $" [{Module}]")}");
}

/// <summary>
/// Names places in the kernel's code by <c>/proc/kallsyms</c>. Only places that are asked for are kept: the file is read again for those that are new, which also finds modules that
/// were loaded since.
/// </summary>
internal sealed class KernelSymbols(string path = "/proc/kallsyms")
{
    private const ulong LargestFunction = 1 << 20; // beyond, a place is in nothing that has a name
    private const int MostKept = 65536;

    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, KernelSymbol> _known = [];

    /// <summary>Why there are no names, for people: the kernel hides addresses, or the file cannot be read.</summary>
    internal string? Problem { get; private set; }

    /// <summary>Names a place; without a name where the kernel does not tell.</summary>
    internal KernelSymbol Find(ulong address)
    {
        lock (_gate)
        {
            if (_known.TryGetValue(address, out KernelSymbol known)) return known;
            if (_known.Count >= MostKept) _known.Clear();
            KernelSymbol found = Problem is null ? Look(address) : default;
            _known[address] = found;
            return found;
        }
    }

    // One walk over some ten megabytes that the kernel makes up as they are read; the nearest function before the address is the one.
    private KernelSymbol Look(ulong address)
    {
        ulong nearest = 0, last = 0;
        bool anything = false, shown = false;
        Span<byte> name = stackalloc byte[256];
        Span<byte> module = stackalloc byte[64];
        int nameLength = 0, moduleLength = 0;
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            byte[] buffer = new byte[256 * 1024];
            int kept = 0;
            while (true)
            {
                int read = file.Read(buffer, kept, buffer.Length - kept);
                ReadOnlySpan<byte> text = buffer.AsSpan(0, kept + Math.Max(read, 0));
                while (text.IndexOf((byte)'\n') is var end && end >= 0)
                {
                    ReadOnlySpan<byte> line = text[..end];
                    text = text[(end + 1)..];
                    // ffffffff81000000 T name	[module]
                    if (!Utf8Parser.TryParse(line, out ulong at, out int used, 'x') || used == 0 || line.Length < used + 4 || line[used] != (byte)' ') continue;
                    anything = true;
                    shown |= at != 0;
                    if (line[used + 1] is not ((byte)'t' or (byte)'T' or (byte)'w' or (byte)'W') || at > address || at < nearest || at == 0) continue;
                    // Of several names for one place the first is as good as any.
                    if (at == nearest) continue;
                    nearest = at;
                    ReadOnlySpan<byte> rest = line[(used + 3)..];
                    int tab = rest.IndexOf((byte)'\t');
                    ReadOnlySpan<byte> symbol = tab < 0 ? rest : rest[..tab];
                    nameLength = Math.Min(symbol.Length, name.Length);
                    symbol[..nameLength].CopyTo(name);
                    ReadOnlySpan<byte> owner = tab < 0 ? default : rest[(tab + 1)..].Trim("[]"u8);
                    moduleLength = Math.Min(owner.Length, module.Length);
                    owner[..moduleLength].CopyTo(module);
                    last = at;
                }
                if (read <= 0 || text.Length == buffer.Length) break;
                kept = text.Length;
                text.CopyTo(buffer);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Problem = $"{path} cannot be read: {e.Message}";
            return default;
        }
        if (!anything || !shown)
        {
            Problem = anything
                ? "the kernel hides the addresses of its functions (kernel.kptr_restrict, or CAP_SYSLOG is missing), so places in it have no names"
                : $"{path} is empty: this kernel was built without CONFIG_KALLSYMS, so places in it have no names";
            return default;
        }
        if (nameLength == 0 || address - last > LargestFunction) return default;
        return new KernelSymbol(Procfs.Text.KernelText.Decode(name[..nameLength]), address - last, moduleLength == 0 ? null : Procfs.Text.KernelText.Decode(module[..moduleLength]));
    }
}
