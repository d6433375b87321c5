using System.Text;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// <c>/proc/net/snmp6</c> (net/ipv6/proc.c): a line a column, <c>"%-32s\t%lu"</c>. Lines are expected in the order they were
/// last seen in, so that a name is compared once, with the right one. The kernel adds lines as it goes, such as those per
/// ICMPv6 type, and not in every namespace the same: the order kept is that of all of them.
/// </summary>
internal sealed class Snmp6Layout : ITableLayout
{
    private const int MostLines = 4096;
    private const int MostKept = 512;
    private const ushort Unwanted = ushort.MaxValue;

    private readonly ColumnSet[] _sets;
    private readonly int[] _offsets;
    private readonly List<(byte[] Name, ushort Slot)> _wanted = [];
    private Line[] _order = [];
    private readonly int _slotCount;

    internal Snmp6Layout(params ReadOnlySpan<ColumnSet> sets)
    {
        _sets = sets.ToArray();
        _offsets = new int[sets.Length];
        for (int i = 0; i < sets.Length; i++)
        {
            _offsets[i] = _slotCount;
            ReadOnlySpan<string> columns = sets[i].Columns;
            for (int c = 0; c < columns.Length; c++)
                if (columns[c].Length > 0) _wanted.Add((Encoding.ASCII.GetBytes(sets[i].Section + columns[c]), (ushort)(_slotCount + c)));
            _slotCount += sets[i].SlotCount;
        }
    }

    public int SlotCount => _slotCount;

    public int OffsetOf(ColumnSet columns)
    {
        int index = Array.IndexOf(_sets, columns);
        return index >= 0 ? _offsets[index] : throw new ArgumentException($"The section {columns.Section} is not part of this table.", nameof(columns));
    }

    public IReadOnlyList<string> OthersOf(ColumnSet columns) => [];

    public IEnumerable<TableColumn> Columns
    {
        get
        {
            foreach (Line line in _order)
            {
                int set = _offsets.Length - 1;
                while (line.Slot != Unwanted && line.Slot < _offsets[set]) set--;
                if (line.Slot != Unwanted) yield return new TableColumn(_sets[set].Section, _sets[set].Columns[line.Slot - _offsets[set]], line.Slot);
            }
        }
    }

    public bool TryParse(ReadOnlySpan<byte> text, Span<Reading> slots, out ParseFault fault)
    {
        slots.Clear();
        Line[] order = _order;
        int expected = 0;
        int line = 0;
        int at = 0;
        bool any = false;
        while (at < text.Length)
        {
            if (++line > MostLines) return Failed(FaultKind.TooLarge, line, out fault);
            if ((uint)expected >= (uint)order.Length || !order[expected].Begins(text[at..]))
            {
                int end = text[at..].IndexOf((byte)'\n');
                if (end < 0) return Failed(FaultKind.Truncated, line, out fault);
                bool kept = Find(text.Slice(at, end), ref expected);
                order = _order;
                if (!kept)
                {
                    at += end + 1; // no name, or too many of them: nobody wants it
                    continue;
                }
            }
            ref readonly Line known = ref order[expected++];
            at += known.Prefix.Length;
            int began = at;
            ulong number = 0;
            uint digit;
            while ((uint)at < (uint)text.Length && (digit = (uint)text[at] - '0') <= 9)
            {
                number = number * 10 + digit;
                at++;
            }
            if ((uint)at >= (uint)text.Length) return Failed(FaultKind.Truncated, line, out fault);
            if (text[at] != (byte)'\n' || at == began)
            {
                if (at == began && text[at] is (byte)' ' or (byte)'\t')
                {
                    // More blanks than when the line was learned: it is learned again.
                    at -= known.Prefix.Length;
                    expected--;
                    line--;
                    _order = order = [.. order[..expected], .. order[(expected + 1)..]];
                    continue;
                }
                if (known.Slot != Unwanted) return Failed(FaultKind.NotANumber, line, out fault);
                int end = text[at..].IndexOf((byte)'\n');
                if (end < 0) return Failed(FaultKind.Truncated, line, out fault);
                at += end;
            }
            else if (known.Slot != Unwanted)
            {
                if (at - began > Number.SafeDigits && Number.ReadDecimal(text[began..], out number, out _) is var kind and not FaultKind.None)
                    return Failed(kind, line, out fault);
                slots[known.Slot] = new Reading(number);
                any = true;
            }
            at++;
        }
        // Lines of other names are another kernel's; nothing but such lines are another file's.
        fault = any ? ParseFault.None : new ParseFault(line == 0 ? FaultKind.Truncated : FaultKind.UnknownShape, 1);
        return any;
    }

    private static bool Failed(FaultKind kind, int line, out ParseFault fault)
    {
        fault = new ParseFault(kind, line);
        return false;
    }

    /// <summary>Makes a line the expected one, learning it when it is new (which alone allocates); false for a line that is not kept.</summary>
    private bool Find(ReadOnlySpan<byte> line, ref int expected)
    {
        for (int i = expected + 1; i < _order.Length; i++)
        {
            if (!_order[i].Begins(line)) continue;
            expected = i; // the lines in between are absent in this namespace
            return true;
        }
        return TryLearn(line, ref expected);
    }

    private bool TryLearn(ReadOnlySpan<byte> line, ref int expected)
    {
        int end = line.IndexOfAny((byte)' ', (byte)'\t');
        if (end <= 0) return false;
        int number = end + line[end..].IndexOfAnyExcept((byte)' ', (byte)'\t');
        if (number < end) return false;
        ushort slot = SlotOf(line[..end]);
        if (slot == Unwanted && _order.Length >= MostKept) return false;

        Place(line[..number].ToArray(), slot, ref expected);
        return true;
    }

    // The line may stand earlier in the order, or with other blanks: it has one place, this one.
    private void Place(byte[] prefix, ushort slot, ref int expected)
    {
        var order = new List<Line>(_order);
        int before = order.FindIndex(l => Same(l, slot, prefix));
        if (before >= 0) order.RemoveAt(before);
        if (before >= 0 && before < expected) expected--;
        order.Insert(expected, new Line(prefix, slot));
        _order = [.. order];
    }

    private static bool Same(Line line, ushort slot, byte[] prefix) =>
        slot == Unwanted ? line.Prefix.AsSpan().SequenceEqual(prefix) : line.Slot == slot;

    private ushort SlotOf(ReadOnlySpan<byte> name)
    {
        foreach ((byte[] wanted, ushort slot) in _wanted)
            if (name.SequenceEqual(wanted)) return slot;
        return Unwanted;
    }

    /// <summary>A line's beginning up to the number, and where the number goes.</summary>
    private readonly record struct Line(byte[] Prefix, ushort Slot)
    {
        /// <summary>Whether the line is this one: no further blank before the number, and a number at all.</summary>
        internal bool Begins(ReadOnlySpan<byte> text) =>
            text.StartsWith(Prefix) && (uint)Prefix.Length < (uint)text.Length && text[Prefix.Length] is not ((byte)' ' or (byte)'\t' or (byte)'\n');
    }
}
