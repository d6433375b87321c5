namespace KubeSkoop.Probes.Procfs.Text;

/// <summary>Walks lines. A last line without '\n' is a short read: a fault, not a row.</summary>
internal ref struct LineCursor(ReadOnlySpan<byte> text)
{
    private ReadOnlySpan<byte> _rest = text;

    /// <summary>The line, without its '\n'.</summary>
    internal ReadOnlySpan<byte> Current { get; private set; }

    /// <summary>The line's number, from 1.</summary>
    internal int Number { get; private set; }

    /// <summary>The first fault.</summary>
    internal ParseFault Fault { get; private set; }

    internal bool MoveNext()
    {
        if (_rest.IsEmpty || Fault.Kind != FaultKind.None) return false;
        Number++;
        int end = _rest.IndexOf((byte)'\n');
        if (end < 0)
        {
            Fault = At(FaultKind.Truncated);
            return false;
        }
        Current = _rest[..end];
        _rest = _rest[(end + 1)..];
        return true;
    }

    /// <summary>A fault in the present line.</summary>
    internal readonly ParseFault At(FaultKind kind) => new(kind, Number);
}
