using System.Runtime.CompilerServices;
using System.Text;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>The numbers of <c>/proc/PID/io</c>, in the order of the record's fields.</summary>
[InlineArray(Count)]
internal struct IoNumbers
{
    internal const int Count = 7;

    private ulong _first;
}

/// <summary><c>/proc/PID/io</c>: a line a number, <c>rchar: 4292</c>. Lines of other names are passed over.</summary>
internal static class IoParser
{
    private const int MostLines = 64;

    private static readonly byte[][] Names = [.. IoRecord.Columns.Select(static c => Encoding.ASCII.GetBytes(c + ":"))];

    internal static FaultKind TryParse(ReadOnlySpan<byte> text, out IoNumbers numbers)
    {
        numbers = default;
        var line = new LineCursor(text);
        int found = 0;
        while (line.MoveNext())
        {
            if (line.Number > MostLines) return FaultKind.TooLarge;
            var field = new FieldCursor(line.Current);
            ReadOnlySpan<byte> name = field.Word();
            ulong number = field.UInt64();
            if (field.Fault != FaultKind.None) return field.Fault;
            if (!field.AtEnd) return FaultKind.FieldCount;
            for (int i = 0; i < Names.Length; i++)
            {
                if (!name.SequenceEqual(Names[i])) continue;
                numbers[i] = number;
                found |= 1 << i;
            }
        }
        if (line.Fault.Kind != FaultKind.None) return line.Fault.Kind;
        // All seven have been there since 2.6.20; with one missing, the file is not what it should be.
        return found == (1 << IoNumbers.Count) - 1 ? FaultKind.None : FaultKind.UnknownShape;
    }
}
