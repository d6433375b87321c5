using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// <c>/proc/net/ip_vs_stats</c>: two lines of names, one above the other, a line of hexadecimal totals, an empty line, a line of the
/// rates' names and a line of rates. What stands above a column, in the first line and in its own, names it.
/// </summary>
/// <remarks>
/// <code>
///    Total Incoming Outgoing         Incoming         Outgoing
///    Conns  Packets  Packets            Bytes            Bytes
///       5E       1C       19              8B0              A1F
///
///  Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
///        0        0        0                0                0
/// </code>
/// </remarks>
internal sealed class IpvsLayout(ColumnSet columns) : ITableLayout
{
    private const int MostColumns = 32;

    private readonly byte[][][] _names = [.. columns.Columns.ToArray().Select(static c => c.Split(' ').Select(System.Text.Encoding.ASCII.GetBytes).ToArray())];

    public int SlotCount => columns.SlotCount;

    public int OffsetOf(ColumnSet set) =>
        ReferenceEquals(set, columns) ? 0 : throw new ArgumentException($"The section {set.Section} is not part of this table.", nameof(set));

    public IReadOnlyList<string> OthersOf(ColumnSet set) => [];

    public bool TryParse(ReadOnlySpan<byte> text, Span<Reading> slots, out ParseFault fault)
    {
        slots.Clear();
        var line = new LineCursor(text);
        if (!line.MoveNext()) return Failed(line, FaultKind.Truncated, out fault);
        ReadOnlySpan<byte> directions = line.Current;
        int blocks = 0;
        while (line.MoveNext())
        {
            if (line.Current.Trim((byte)' ').IsEmpty) continue;
            ReadOnlySpan<byte> names = line.Current;
            if (blocks == 2) return Failed(line, FaultKind.UnknownShape, out fault);
            if (!line.MoveNext()) return Failed(line, FaultKind.Truncated, out fault);
            FaultKind kind = ParseBlock(directions, names, line.Current, slots);
            if (kind != FaultKind.None) return Failed(line, kind, out fault);
            blocks++;
        }
        if (line.Fault.Kind != FaultKind.None || blocks < 2) return Failed(line, FaultKind.Truncated, out fault);
        fault = ParseFault.None;
        return true;
    }

    private FaultKind ParseBlock(ReadOnlySpan<byte> directions, ReadOnlySpan<byte> names, ReadOnlySpan<byte> numbers, Span<Reading> slots)
    {
        var direction = new FieldCursor(directions);
        var name = new FieldCursor(names);
        var number = new FieldCursor(numbers);
        int count = 0;
        while (!name.AtEnd)
        {
            if (++count > MostColumns) return FaultKind.FieldCount;
            ReadOnlySpan<byte> above = direction.Word(), own = name.Word();
            if (direction.Fault != FaultKind.None) return direction.Fault;
            ulong value = number.Hex64();
            if (number.Fault != FaultKind.None) return number.Fault;
            for (int i = 0; i < _names.Length; i++)
                if (own.SequenceEqual(_names[i][1]) && above.SequenceEqual(_names[i][0])) slots[i] = new Reading(value);
        }
        return count > 0 && number.AtEnd && direction.AtEnd ? FaultKind.None : FaultKind.FieldCount;
    }

    private static bool Failed(LineCursor line, FaultKind kind, out ParseFault fault)
    {
        fault = line.Fault.Kind != FaultKind.None ? line.Fault : new ParseFault(kind, Math.Max(line.Number, 1));
        return false;
    }
}
