using System.Buffers.Text;
using System.Globalization;
using System.Text;
using BenchmarkDotNet.Attributes;
using KubeSkoop.Probes.Benchmarks.Comparisons;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Benchmarks.Parsing;

/// <summary>
/// Claim: a kernel table whose names are compared with the kept ones parses several times faster than one that is read
/// anew, and without allocation. Peers: the runtime's UTF-8 parser over spans, and Split with a dictionary.
/// </summary>
public class TableParsing
{
    private byte[] _text = [];
    private ITableLayout _layout = null!;
    private Reading[] _slots = [];

    /// <summary>The file of <c>/proc/net</c>, as it is on this machine.</summary>
    [Params("snmp", "netstat", "snmp6")]
    public string File { get; set; } = "";

    /// <summary>Reads the file and lets the layout learn it.</summary>
    [GlobalSetup]
    public void Setup()
    {
        _text = System.IO.File.ReadAllBytes("/proc/net/" + File);
        _layout = ParserComparison.LayoutOf(File);
        _slots = new Reading[_layout.SlotCount];
        if (!Ours()) throw new InvalidOperationException($"/proc/net/{File} was not understood.");
    }

    /// <summary>Names compared with the kept ones.</summary>
    [Benchmark(Baseline = true)]
    public bool Ours() => _layout.TryParse(_text, _slots, out _);

    /// <summary>All numbers through <see cref="Utf8Parser"/>, names skipped unread.</summary>
    [Benchmark]
    public ulong Utf8()
    {
        ulong sum = 0;
        ReadOnlySpan<byte> rest = _text;
        for (int line = 0; !rest.IsEmpty; line++)
        {
            int end = rest.IndexOf((byte)'\n');
            ReadOnlySpan<byte> row = rest[..end];
            rest = rest[(end + 1)..];
            if (File != "snmp6" && line % 2 == 0) continue;
            row = row[row.IndexOfAny((byte)' ', (byte)'\t')..];
            while (row.IndexOfAnyExcept((byte)' ', (byte)'\t') is var at and >= 0)
            {
                row = row[at..];
                if (!Utf8Parser.TryParse(row, out long value, out int used)) break;
                sum += (ulong)value;
                row = row[used..];
            }
        }
        return sum;
    }

    /// <summary>What one writes first.</summary>
    [Benchmark]
    public int Split()
    {
        var values = new Dictionary<string, long>();
        string[] lines = Encoding.UTF8.GetString(_text).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (File == "snmp6")
        {
            foreach (string line in lines)
            {
                string[] pair = line.Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
                values[pair[0]] = long.Parse(pair[1], CultureInfo.InvariantCulture);
            }
            return values.Count;
        }
        for (int i = 0; i + 1 < lines.Length; i += 2)
        {
            string[] names = lines[i].Split(' '), numbers = lines[i + 1].Split(' ');
            for (int c = 1; c < names.Length; c++) values[names[0] + names[c]] = long.Parse(numbers[c], CultureInfo.InvariantCulture);
        }
        return values.Count;
    }
}
