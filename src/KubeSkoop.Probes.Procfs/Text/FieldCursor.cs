namespace KubeSkoop.Probes.Procfs.Text;

/// <summary>Walks the fields of a line, divided by blanks or tabs, and remembers the first fault.</summary>
internal ref struct FieldCursor(ReadOnlySpan<byte> line)
{
    private ReadOnlySpan<byte> _rest = line;

    /// <summary>The first fault; everything read after it is 0.</summary>
    internal FaultKind Fault { get; private set; }

    /// <summary>Whether only blanks are left.</summary>
    internal bool AtEnd
    {
        get
        {
            SkipBlanks();
            return _rest.IsEmpty;
        }
    }

    /// <summary>The next field; empty (and a fault) at the end of the line.</summary>
    internal ReadOnlySpan<byte> Word()
    {
        SkipBlanks();
        if (Fault != FaultKind.None || _rest.IsEmpty)
        {
            Fail(FaultKind.FieldCount);
            return default;
        }
        int end = _rest.IndexOfAny((byte)' ', (byte)'\t');
        if (end < 0) end = _rest.Length;
        ReadOnlySpan<byte> word = _rest[..end];
        _rest = _rest[end..];
        return word;
    }

    /// <summary>Everything up to and without <paramref name="delimiter"/>, which is consumed; for names that may hold blanks.</summary>
    internal ReadOnlySpan<byte> Until(byte delimiter)
    {
        SkipBlanks();
        int end = Fault == FaultKind.None ? _rest.IndexOf(delimiter) : -1;
        if (end < 0)
        {
            Fail(FaultKind.UnknownShape);
            return default;
        }
        ReadOnlySpan<byte> text = _rest[..end];
        _rest = _rest[(end + 1)..];
        return text;
    }

    /// <summary>The next field as an unsigned decimal number.</summary>
    internal ulong UInt64()
    {
        SkipBlanks();
        if (Fault != FaultKind.None || _rest.IsEmpty)
        {
            Fail(FaultKind.FieldCount);
            return 0;
        }
        FaultKind fault = Number.ReadDecimal(_rest, out ulong value, out int length);
        if (fault != FaultKind.None || (length < _rest.Length && _rest[length] is not ((byte)' ' or (byte)'\t')))
        {
            Fail(fault != FaultKind.None ? fault : FaultKind.NotANumber);
            return 0;
        }
        _rest = _rest[length..];
        return value;
    }

    /// <summary>
    /// The next field as a count that the kernel prints signed (%d, %ld): a sum over CPUs can be below zero for a moment,
    /// which is shown as 0, as newer kernels do themselves.
    /// </summary>
    internal ulong CountOrZero()
    {
        SkipBlanks();
        if (Fault != FaultKind.None || _rest is not [(byte)'-', ..]) return UInt64();
        _rest = _rest[1..];
        if (_rest is not [>= (byte)'0' and <= (byte)'9', ..]) Fail(FaultKind.NotANumber);
        _ = UInt64();
        return 0;
    }

    /// <summary>The next field as a hexadecimal number of at most 32 bits.</summary>
    internal uint Hex32() => (uint)Hex(8);

    /// <summary>The next field as a hexadecimal number of at most 64 bits.</summary>
    internal ulong Hex64() => Hex(16);

    private ulong Hex(int digits)
    {
        ReadOnlySpan<byte> word = Word();
        if (Fault != FaultKind.None) return 0;
        ulong value = 0;
        if (word.Length > digits) Fail(FaultKind.Overflow);
        foreach (byte b in word)
        {
            int digit = b switch
            {
                >= (byte)'0' and <= (byte)'9' => b - '0',
                >= (byte)'a' and <= (byte)'f' => b - 'a' + 10,
                >= (byte)'A' and <= (byte)'F' => b - 'A' + 10,
                _ => -1,
            };
            if (digit < 0)
            {
                Fail(FaultKind.NotANumber);
                break;
            }
            value = (value << 4) | (uint)digit;
        }
        return Fault == FaultKind.None ? value : 0;
    }

    private void Fail(FaultKind kind)
    {
        if (Fault == FaultKind.None) Fault = kind;
    }

    private void SkipBlanks()
    {
        int i = 0;
        while (i < _rest.Length && _rest[i] is ((byte)' ' or (byte)'\t')) i++;
        _rest = _rest[i..];
    }
}
