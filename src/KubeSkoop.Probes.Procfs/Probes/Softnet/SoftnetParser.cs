using System.Runtime.CompilerServices;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>The columns of one line of <c>/proc/net/softnet_stat</c>.</summary>
[InlineArray(Count)]
internal struct SoftnetColumns
{
    internal const int Count = 15;
    internal const int Processed = 0;
    internal const int Dropped = 1;
    internal const int TimeSqueezed = 2;
    internal const int CpuCollisions = 8;
    internal const int ReceivedRps = 9;
    internal const int FlowLimited = 10;
    internal const int BacklogLength = 11;
    internal const int Cpu = 12;
    internal const int InputQueueLength = 13;
    internal const int ProcessQueueLength = 14;

    private uint _first;
}

/// <summary>
/// Walks <c>/proc/net/softnet_stat</c>: a line for each CPU that is online, columns of <c>%08x</c> and no header. Columns
/// were only ever added at the end: 9 at first, 10 since 2.6.35 (received_rps), 11 since 3.11 (flow_limit), 13 since 5.10 (backlog, CPU), 15 since
/// 6.4 (the two queues). Further ones are passed over.
/// </summary>
internal ref struct SoftnetCursor(ReadOnlySpan<byte> text)
{
    private const int FewestColumns = 9;
    private const int MostColumns = 64;

    private LineCursor _line = new(text);
    private SoftnetColumns _columns;

    /// <summary>The first fault.</summary>
    internal ParseFault Fault { get; private set; }

    /// <summary>How many columns the line has, as far as they are known.</summary>
    internal int ColumnCount { get; private set; }

    /// <summary>The line's place in the file, from 0.</summary>
    internal readonly int Index => _line.Number - 1;

    /// <summary>The line's columns.</summary>
    internal readonly SoftnetColumns Columns => _columns;

    internal bool MoveNext()
    {
        if (Fault.Kind != FaultKind.None) return false;
        if (!_line.MoveNext())
        {
            // An empty file is a short read: one CPU is always online.
            Fault = _line.Number == 0 ? new ParseFault(FaultKind.Truncated, 1) : _line.Fault;
            return false;
        }
        var field = new FieldCursor(_line.Current);
        int count = 0;
        while (!field.AtEnd)
        {
            uint value = field.Hex32();
            if (field.Fault != FaultKind.None) return Fail(field.Fault);
            if (count == MostColumns) return Fail(FaultKind.FieldCount);
            if (count < SoftnetColumns.Count) _columns[count] = value;
            count++;
        }
        if (count < FewestColumns) return Fail(FaultKind.FieldCount);
        ColumnCount = Math.Min(count, SoftnetColumns.Count);
        return true;
    }

    private bool Fail(FaultKind kind)
    {
        Fault = _line.At(kind);
        return false;
    }
}
