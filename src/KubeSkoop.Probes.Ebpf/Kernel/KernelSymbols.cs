using System.Buffers.Text;
using KubeSkoop.Probes.Procfs.Text;

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
/// Names places in the kernel's code by <c>/proc/kallsyms</c>, which is read once, when the first place is asked for, and again when modules have come or gone since. About four megabytes
/// while a probe that names places runs.
/// </summary>
internal sealed class KernelSymbols(string path = "/proc/kallsyms", string modules = "/proc/modules")
{
    private const ulong LargestFunction = 1 << 20; // beyond, a place is in nothing that has a name
    private const int MostKept = 65536;

    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, KernelSymbol> _known = [];
    private ulong[] _addresses = [];
    private int[] _lines = [];
    private byte[] _names = [];
    private string? _modules;

    /// <summary>Why there are no names, for people: the kernel hides addresses, or the file cannot be read.</summary>
    internal string? Problem { get; private set; }

    /// <summary>Names a place; without a name where the kernel does not tell.</summary>
    internal KernelSymbol Find(ulong address)
    {
        lock (_gate)
        {
            if (_known.TryGetValue(address, out KernelSymbol known)) return known;
            if (_known.Count >= MostKept) _known.Clear();
            if (Problem is null) Refresh();
            KernelSymbol found = Problem is null ? Look(address) : default;
            _known[address] = found;
            return found;
        }
    }

    private KernelSymbol Look(ulong address)
    {
        int at = Array.BinarySearch(_addresses, address);
        if (at < 0) at = ~at - 1;
        if (at < 0 || address - _addresses[at] > LargestFunction) return default;
        ReadOnlySpan<byte> line = _names.AsSpan(_lines[at]);
        line = line[..line.IndexOf((byte)'\n')];
        int tab = line.IndexOf((byte)'\t');
        return new KernelSymbol(KernelText.Decode(tab < 0 ? line : line[..tab]), address - _addresses[at], tab < 0 ? null : KernelText.Decode(line[(tab + 1)..].Trim("[]"u8)));
    }

    private void Refresh()
    {
        try
        {
            string now = File.Exists(modules) ? File.ReadAllText(modules) : string.Empty;
            if (now == _modules) return;
            Read(File.ReadAllBytes(path));
            _modules = now;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Problem = $"{path} cannot be read: {e.Message}";
        }
    }

    // ffffffff81000000 T name	[module]
    private void Read(ReadOnlySpan<byte> text)
    {
        var symbols = new List<(ulong Address, int Line)>(128 * 1024);
        var names = new MemoryStream();
        bool anything = false, shown = false;
        while (text.IndexOf((byte)'\n') is var end && end >= 0)
        {
            ReadOnlySpan<byte> line = text[..end];
            text = text[(end + 1)..];
            if (!Utf8Parser.TryParse(line, out ulong at, out int used, 'x') || used == 0 || line.Length < used + 4 || line[used] != (byte)' ') continue;
            anything = true;
            shown |= at != 0;
            if (at == 0 || line[used + 1] is not ((byte)'t' or (byte)'T' or (byte)'w' or (byte)'W')) continue;
            symbols.Add((at, (int)names.Position));
            names.Write(line[(used + 3)..]);
            names.WriteByte((byte)'\n');
        }
        if (!shown)
        {
            Problem = anything
                ? "the kernel hides the addresses of its functions (kernel.kptr_restrict, or CAP_SYSLOG is missing), so places in it have no names"
                : $"{path} is empty: this kernel was built without CONFIG_KALLSYMS, so places in it have no names";
            return;
        }
        // Of several names for one place the first is as good as any.
        (ulong Address, int Line)[] ordered = [.. symbols.OrderBy(static s => s.Address).DistinctBy(static s => s.Address)];
        _addresses = [.. ordered.Select(static s => s.Address)];
        _lines = [.. ordered.Select(static s => s.Line)];
        _names = names.ToArray();
        _known.Clear(); // what was named by a module that is gone
    }
}
