using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// Which column of <c>/proc/net/dev</c> belongs to which field, learned from its two header lines; afterwards they are only compared.
/// </summary>
internal sealed class NetDevHeader
{
    private const int MostColumns = 64;

    private byte[] _text = [];
    private byte[] _fields = [];

    /// <summary>The field of each column, or <see cref="Unwanted"/>.</summary>
    internal ReadOnlySpan<byte> Fields => _fields;

    internal const byte Unwanted = byte.MaxValue;

    /// <summary>The length of the header at the start of <paramref name="text"/>; 0 and a fault otherwise.</summary>
    internal int Read(ReadOnlySpan<byte> text, out ParseFault fault)
    {
        fault = default;
        if (_text.Length > 0 && text.StartsWith(_text)) return _text.Length;
        int first = text.IndexOf((byte)'\n') + 1;
        int second = first == 0 ? 0 : text[first..].IndexOf((byte)'\n') + 1;
        if (second == 0)
        {
            fault = new ParseFault(FaultKind.Truncated, first == 0 ? 1 : 2);
            return 0;
        }
        if (!TryLearn(text.Slice(first, second - 1)))
        {
            fault = new ParseFault(FaultKind.UnknownShape, 2);
            return 0;
        }
        _text = text[..(first + second)].ToArray();
        return _text.Length;
    }

    // " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed"
    private bool TryLearn(ReadOnlySpan<byte> names)
    {
        int receive = names.IndexOf((byte)'|');
        int send = names.LastIndexOf((byte)'|');
        if (receive < 0 || send == receive) return false;
        var fields = new List<byte>();
        if (!TryLearn(names[(receive + 1)..send], fields, 0, NetDevRecord.ReceiveColumns)
            || !TryLearn(names[(send + 1)..], fields, NetDevRecord.ReceiveColumns, NetDevRecord.Columns.Length)) return false;
        _fields = [.. fields];
        return true;
    }

    private static bool TryLearn(ReadOnlySpan<byte> names, List<byte> fields, int first, int end)
    {
        var name = new FieldCursor(names);
        int began = fields.Count;
        while (!name.AtEnd)
        {
            if (fields.Count == MostColumns) return false;
            string text = KernelText.Decode(name.Word());
            int field = Array.IndexOf(NetDevRecord.Columns, text, first, end - first);
            if (field >= 0 && fields.IndexOf((byte)field) >= 0) return false; // the same name twice
            fields.Add(field < 0 ? Unwanted : (byte)field);
        }
        return fields.Count > began;
    }
}

/// <summary>Walks the devices of <c>/proc/net/dev</c>: <c>"%6s: %7llu ..."</c>, a line a device.</summary>
internal ref struct NetDevCursor
{
    private const int LongestName = 15; // IFNAMSIZ - 1

    private readonly NetDevHeader _header;
    private ReadOnlySpan<byte> _rest;
    private int _line = 2;

    internal NetDevCursor(ReadOnlySpan<byte> text, NetDevHeader header)
    {
        _header = header;
        int length = header.Read(text, out ParseFault fault);
        Fault = fault;
        _rest = text[length..];
    }

    /// <summary>The first fault.</summary>
    internal ParseFault Fault { get; private set; }

    /// <summary>The device's name, as bytes: anything but '/' and white space, not necessarily UTF-8.</summary>
    internal ReadOnlySpan<byte> Name { get; private set; }

    /// <summary>The next device; its numbers go to <paramref name="fields"/>, in the order of the record's fields.</summary>
    internal bool MoveNext(Span<Reading> fields)
    {
        if (_rest.IsEmpty || Fault.Kind != FaultKind.None) return false;
        _line++;
        int end = _rest.IndexOf((byte)'\n');
        if (end < 0) return Fail(FaultKind.Truncated);
        ReadOnlySpan<byte> line = _rest[..end];
        _rest = _rest[(end + 1)..];
        // Kernels before 4.4 let a name hold a ':' as well; the numbers never do.
        int colon = line.LastIndexOf((byte)':');
        if (colon < 0) return Fail(FaultKind.UnknownShape);
        Name = line[..colon].TrimStart((byte)' ');
        if (Name.IsEmpty || Name.Length > LongestName) return Fail(FaultKind.UnknownShape);
        var number = new FieldCursor(line[(colon + 1)..]);
        fields.Clear();
        foreach (byte field in _header.Fields)
        {
            ulong value = number.UInt64();
            if (field < fields.Length) fields[field] = new Reading(value);
        }
        if (number.Fault != FaultKind.None) return Fail(number.Fault);
        return number.AtEnd || Fail(FaultKind.FieldCount);
    }

    private bool Fail(FaultKind kind)
    {
        Fault = new ParseFault(kind, _line);
        return false;
    }
}
