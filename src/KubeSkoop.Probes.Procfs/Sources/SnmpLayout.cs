using System.Text;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Turns the text of a kernel table into slots. Knows the format and no I/O.</summary>
internal interface ITableLayout
{
    /// <summary>All slots of all column sets.</summary>
    int SlotCount { get; }

    /// <summary>Where a column set begins.</summary>
    int OffsetOf(ColumnSet columns);

    /// <summary>The kernel's names in a set's slots for others, as far as given out.</summary>
    IReadOnlyList<string> OthersOf(ColumnSet columns);

    /// <summary>Every column that has a slot and was in a text so far.</summary>
    IEnumerable<TableColumn> Columns => [];

    /// <summary>
    /// Fills <paramref name="slots"/>; columns the text does not have stay absent. On a fault no slot is to be used.
    /// </summary>
    bool TryParse(ReadOnlySpan<byte> text, Span<Reading> slots, out ParseFault fault);
}

/// <summary>A column of a table: the section and name the kernel gives it, and where its number goes.</summary>
internal readonly record struct TableColumn(string Section, string Name, int Slot);

/// <summary>
/// <c>/proc/net/snmp</c> and <c>/proc/net/netstat</c> (net/ipv4/proc.c): pairs of lines, <c>Tcp: names</c> and
/// <c>Tcp: numbers</c>. The names are read once and from then on only compared, which costs less than reading them;
/// when they differ (another kernel module, a new ICMP type) the section is learned again.
/// </summary>
internal sealed class SnmpLayout : ITableLayout
{
    private const int MostColumns = 512;
    private const int MostSections = 64;

    private readonly Section[] _wanted;
    private readonly List<Section> _order = [];
    private readonly int _slotCount;

    internal SnmpLayout(params ReadOnlySpan<ColumnSet> sets)
    {
        _wanted = new Section[sets.Length];
        for (int i = 0; i < sets.Length; i++)
        {
            _wanted[i] = new Section(sets[i], Encoding.ASCII.GetBytes(sets[i].Section), _slotCount);
            _slotCount += sets[i].SlotCount;
        }
    }

    public int SlotCount => _slotCount + 1; // the last one receives the columns nobody wants

    public int OffsetOf(ColumnSet columns) => Find(columns).Offset;

    public IReadOnlyList<string> OthersOf(ColumnSet columns) => Find(columns).OtherNames;

    public IEnumerable<TableColumn> Columns => _wanted.SelectMany(static s => s.Named);

    public bool TryParse(ReadOnlySpan<byte> text, Span<Reading> slots, out ParseFault fault)
    {
        slots.Clear();
        int line = 1;
        int expected = 0;
        ReadOnlySpan<byte> rest = text;
        while (!rest.IsEmpty)
        {
            Section? section = Expect(rest, ref expected);
            if (section is { Wanted: true })
            {
                rest = rest[section.Header.Length..];
            }
            else
            {
                int end = rest.IndexOf((byte)'\n');
                if (end < 0) return Failed(FaultKind.Truncated, line, out fault);
                if (section is null && !TryLearn(rest[..(end + 1)], ref expected, out section)) return Failed(FaultKind.UnknownShape, line, out fault);
                rest = rest[(end + 1)..];
            }

            if (!rest.StartsWith(section!.Name)) return Failed(rest.IndexOf((byte)'\n') < 0 ? FaultKind.Truncated : FaultKind.UnknownShape, line + 1, out fault);
            FaultKind kind = !section.Wanted ? SkipLine(ref rest) : ParseNumbers(ref rest, section, slots);
            if (kind != FaultKind.None) return Failed(kind, line + 1, out fault);
            line += 2;
        }
        fault = line == 1 ? new ParseFault(FaultKind.Truncated, 1) : ParseFault.None; // an empty table is a short read
        return line != 1;
    }

    private static bool Failed(FaultKind kind, int line, out ParseFault fault)
    {
        fault = new ParseFault(kind, line);
        return false;
    }

    private static FaultKind SkipLine(ref ReadOnlySpan<byte> rest)
    {
        int end = rest.IndexOf((byte)'\n');
        if (end < 0) return FaultKind.Truncated;
        rest = rest[(end + 1)..];
        return FaultKind.None;
    }

    private static FaultKind ParseNumbers(ref ReadOnlySpan<byte> rest, Section section, Span<Reading> slots)
    {
        int newline = rest.IndexOf((byte)'\n');
        if (newline < 0) return FaultKind.Truncated;
        ReadOnlySpan<byte> line = rest[..(newline + 1)];
        ReadOnlySpan<ushort> columns = section.Slots;
        int at = section.Name.Length;
        // Nothing below passes the '\n' at the end: it is neither a blank, nor a digit, nor a minus.
        for (int i = 0; i < columns.Length; i++)
        {
            // Most counters of most namespaces are zero. A digit behind the eighth is found out by the next look for a blank.
            while (line.Length - at > 16 && columns.Length - i > 8 && line.Slice(at, 16).SequenceEqual(" 0 0 0 0 0 0 0 0"u8))
            {
                foreach (ushort slot in columns.Slice(i, 8)) slots[slot] = new Reading(0);
                at += 16;
                i += 8;
            }
            if (line[at] != (byte)' ') return FaultKind.FieldCount;
            int began = ++at;
            ulong number = 0;
            uint digit;
            while ((digit = (uint)line[at] - '0') <= 9)
            {
                number = number * 10 + digit;
                at++;
            }
            if (at - began > Number.SafeDigits)
            {
                FaultKind kind = Number.ReadDecimal(line[began..], out number, out _);
                if (kind != FaultKind.None) return kind;
            }
            else if (at == began)
            {
                if (!line[at..].StartsWith("-1"u8)) return FaultKind.NotANumber;
                at += 2; // "no limit": absent
                number = ulong.MaxValue;
            }
            slots[columns[i]] = new Reading(number);
        }
        if (line[at] != (byte)'\n') return line[at] == (byte)' ' ? FaultKind.FieldCount : FaultKind.NotANumber;
        rest = rest[line.Length..];
        return FaultKind.None;
    }

    private Section Find(ColumnSet columns)
    {
        foreach (Section section in _wanted)
            if (ReferenceEquals(section.Set, columns)) return section;
        throw new ArgumentException($"The section {columns.Section} is not part of this table.", nameof(columns));
    }

    /// <summary>The section whose header stands here, if it is known; usually the one that followed last time.</summary>
    private Section? Expect(ReadOnlySpan<byte> rest, ref int expected)
    {
        if ((uint)expected < (uint)_order.Count && rest.StartsWith(_order[expected].Header)) return _order[expected++];
        for (int i = 0; i < _order.Count; i++)
        {
            if (!rest.StartsWith(_order[i].Header)) continue;
            expected = i + 1; // a section in between is absent in this namespace
            return _order[i];
        }
        return null;
    }

    /// <summary>Learns a header line (with its '\n') and remembers it as the one expected at this place.</summary>
    private bool TryLearn(ReadOnlySpan<byte> header, ref int expected, out Section? section)
    {
        section = null;
        int end = header.IndexOf((byte)':');
        if (end <= 0 || header[..end].ContainsAny((byte)' ', (byte)'\n')) return false;
        ReadOnlySpan<byte> name = header[..(end + 1)];
        foreach (Section wanted in _wanted)
            if (name.SequenceEqual(wanted.Name)) section = wanted;
        section ??= new Section(null, name.ToArray(), 0);
        if (!section.TryLearn(header, (ushort)(SlotCount - 1))) return false;
        _order.Remove(section);
        expected = Math.Min(expected, _order.Count);
        if (_order.Count < MostSections) _order.Insert(expected++, section);
        return true;
    }

    private sealed class Section(ColumnSet? set, byte[] name, int offset)
    {
        private readonly List<string> _others = [];

        internal ColumnSet? Set => set;

        internal int Offset => offset;

        internal byte[] Name => name;

        internal bool Wanted => set is not null;

        /// <summary>The header line with its '\n'; of an unwanted section only the name, since its columns may differ by namespace.</summary>
        internal byte[] Header { get; private set; } = [];

        /// <summary>The slot of each column, in the kernel's order.</summary>
        internal ushort[] Slots { get; private set; } = [];

        internal IReadOnlyList<string> OtherNames => _others;

        /// <summary>The columns that have a slot of their own.</summary>
        internal IReadOnlyList<TableColumn> Named { get; private set; } = [];

        internal bool TryLearn(ReadOnlySpan<byte> header, ushort unwantedSlot)
        {
            if (set is null)
            {
                Header = name;
                return true;
            }
            var slots = new List<ushort>();
            var named = new List<TableColumn>();
            ReadOnlySpan<byte> columns = header[name.Length..^1];
            while (!columns.IsEmpty)
            {
                if (columns[0] != (byte)' ' || slots.Count == MostColumns) return false;
                columns = columns[1..];
                int end = columns.IndexOf((byte)' ');
                ReadOnlySpan<byte> column = end < 0 ? columns : columns[..end];
                columns = end < 0 ? default : columns[end..];
                if (column.IsEmpty) return false;
                ushort slot = SlotOf(column, unwantedSlot);
                slots.Add(slot);
                if (slot != unwantedSlot) named.Add(new TableColumn(set.Section, KernelText.Decode(column), slot));
            }
            Header = header.ToArray();
            Slots = [.. slots];
            Named = named;
            return true;
        }

        private ushort SlotOf(ReadOnlySpan<byte> column, ushort unwantedSlot)
        {
            string text = KernelText.Decode(column);
            int index = set!.Columns.IndexOf(text);
            if (index >= 0) return (ushort)(offset + index);
            if (set.Others == 0) return unwantedSlot;
            index = _others.IndexOf(text);
            if (index < 0)
            {
                if (_others.Count == set.Others) return unwantedSlot;
                index = _others.Count;
                _others.Add(text);
            }
            return (ushort)(offset + set.Columns.Length + index);
        }
    }
}
