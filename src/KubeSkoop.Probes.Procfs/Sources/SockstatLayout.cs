using System.Text;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// <c>/proc/net/sockstat</c> and <c>sockstat6</c> (net/ipv4/proc.c, sockstat_seq_show; net/ipv6/proc.c): lines of a name and
/// pairs, <c>TCP: inuse 5 orphan 0 ...</c>. A set's columns are called <c>TCP: inuse</c>. Lines and keys nobody wants are
/// passed over.
/// </summary>
internal sealed class SockstatLayout : ITableLayout
{
    private const int MostLines = 64;
    private const int MostPairs = 64;

    private readonly ColumnSet[] _sets;
    private readonly int[] _offsets;
    private readonly List<Column> _columns = [];

    internal SockstatLayout(params ReadOnlySpan<ColumnSet> sets)
    {
        _sets = sets.ToArray();
        _offsets = new int[sets.Length];
        for (int i = 0; i < sets.Length; i++)
        {
            _offsets[i] = SlotCount;
            foreach (string column in sets[i].Columns)
            {
                int blank = column.IndexOf(' ', StringComparison.Ordinal);
                _columns.Add(new Column(Encoding.ASCII.GetBytes(column[..blank]), Encoding.ASCII.GetBytes(column[(blank + 1)..])));
                SlotCount++;
            }
        }
    }

    public int SlotCount { get; }

    public int OffsetOf(ColumnSet columns)
    {
        int index = Array.IndexOf(_sets, columns);
        return index >= 0 ? _offsets[index] : throw new ArgumentException($"The section {columns.Section} is not part of this table.", nameof(columns));
    }

    public IReadOnlyList<string> OthersOf(ColumnSet columns) => [];

    public bool TryParse(ReadOnlySpan<byte> text, Span<Reading> slots, out ParseFault fault)
    {
        slots.Clear();
        var line = new LineCursor(text);
        while (line.MoveNext())
        {
            if (line.Number > MostLines)
            {
                fault = line.At(FaultKind.TooLarge);
                return false;
            }
            FaultKind kind = ParseLine(line.Current, slots);
            if (kind == FaultKind.None) continue;
            fault = line.At(kind);
            return false;
        }
        fault = line.Number == 0 ? new ParseFault(FaultKind.Truncated, 1) : line.Fault;
        return fault.Kind == FaultKind.None;
    }

    private FaultKind ParseLine(ReadOnlySpan<byte> line, Span<Reading> slots)
    {
        var field = new FieldCursor(line);
        ReadOnlySpan<byte> name = field.Word();
        if (name.Length < 2 || name[^1] != (byte)':') return FaultKind.UnknownShape;
        int pairs = 0;
        while (!field.AtEnd)
        {
            if (++pairs > MostPairs) return FaultKind.FieldCount;
            ReadOnlySpan<byte> key = field.Word();
            ulong number = field.CountOrZero();
            if (field.Fault != FaultKind.None) return field.Fault;
            for (int i = 0; i < _columns.Count; i++)
            {
                if (!key.SequenceEqual(_columns[i].Key) || !name.SequenceEqual(_columns[i].Line)) continue;
                slots[i] = new Reading(number);
                break;
            }
        }
        return pairs > 0 ? FaultKind.None : FaultKind.FieldCount;
    }

    private readonly record struct Column(byte[] Line, byte[] Key);
}
