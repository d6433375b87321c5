using System.Text;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs.Sources;

/// <summary>
/// <c>/proc/net/snmp6</c> (net/ipv6/proc.c): a line a column, <c>"%-32s\t%lu"</c>. Lines of wanted columns are expected in the order they were
/// last seen in; lines that nobody wants, such as those the kernel adds per ICMPv6 type, are passed over.
/// </summary>
internal sealed class Snmp6Layout : ITableLayout
{
    private const int MostLines = 4096;

    private readonly ColumnSet[] _sets;
    private readonly int[] _offsets;
    private readonly List<(byte[] Name, ushort Slot)> _wanted = [];
    private readonly List<(byte[] Prefix, ushort Slot)> _order = [];
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

    public bool TryParse(ReadOnlySpan<byte> text, Span<Reading> slots, out ParseFault fault)
    {
        slots.Clear();
        ReadOnlySpan<byte> rest = text;
        int expected = 0;
        int line = 0;
        while (!rest.IsEmpty)
        {
            if (++line > MostLines) return Failed(FaultKind.TooLarge, line, out fault);
            if ((uint)expected < (uint)_order.Count && rest.StartsWith(_order[expected].Prefix))
            {
                (byte[] prefix, ushort slot) = _order[expected++];
                rest = rest[prefix.Length..];
                FaultKind kind = Number.ReadDecimal(rest, out ulong number, out int digits);
                if ((uint)digits >= (uint)rest.Length) return Failed(FaultKind.Truncated, line, out fault);
                if (kind != FaultKind.None) return Failed(kind, line, out fault);
                if (rest[digits] != (byte)'\n') return Failed(FaultKind.NotANumber, line, out fault);
                slots[slot] = new Reading(number);
                rest = rest[(digits + 1)..];
                continue;
            }
            int end = rest.IndexOf((byte)'\n');
            if (end < 0) return Failed(FaultKind.Truncated, line, out fault);
            if (Learn(rest[..end], ref expected)) continue; // now it is the expected line
            rest = rest[(end + 1)..];
        }
        fault = line == 0 ? new ParseFault(FaultKind.Truncated, 1) : ParseFault.None;
        return line != 0;
    }

    private static bool Failed(FaultKind kind, int line, out ParseFault fault)
    {
        fault = new ParseFault(kind, line);
        return false;
    }

    /// <summary>Makes a wanted line the expected one; false for a line nobody wants.</summary>
    private bool Learn(ReadOnlySpan<byte> line, ref int expected)
    {
        int end = line.IndexOfAny((byte)' ', (byte)'\t');
        if (end <= 0) return false;
        ReadOnlySpan<byte> name = line[..end];
        int number = end + line[end..].IndexOfAnyExcept((byte)' ', (byte)'\t');
        if (number < end) return false;
        foreach ((byte[] wanted, ushort slot) in _wanted)
        {
            if (!name.SequenceEqual(wanted)) continue;
            ReadOnlySpan<byte> prefix = line[..number];
            int place = _order.FindIndex(o => o.Slot == slot);
            if (place >= expected && prefixIs(_order[place].Prefix, prefix))
            {
                expected = place; // columns in between are absent now
                return true;
            }
            if (place >= 0) _order.RemoveAt(place);
            if (place >= 0 && place < expected) expected--;
            _order.Insert(expected, (prefix.ToArray(), slot));
            return true;
        }
        return false;

        static bool prefixIs(byte[] known, ReadOnlySpan<byte> seen) => seen.SequenceEqual(known);
    }
}
