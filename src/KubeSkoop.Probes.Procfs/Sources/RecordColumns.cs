using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Copies slots into a record whose first fields are <see cref="Reading"/>s in the order of a column set.</summary>
internal static class RecordColumns
{
    /// <param name="record">The record.</param>
    /// <param name="slots">A table's slots.</param>
    /// <param name="offset">Where the set begins in them.</param>
    /// <param name="columns">The set.</param>
    /// <param name="firstField">The index of the record's field that the set's first column belongs to.</param>
    internal static void Fill<TRecord>(ref TRecord record, ReadOnlySpan<Reading> slots, int offset, ColumnSet columns, int firstField = 0)
        where TRecord : unmanaged
    {
        Span<Reading> fields = MemoryMarshal.Cast<TRecord, Reading>(new Span<TRecord>(ref record));
        slots.Slice(offset, columns.SlotCount).CopyTo(fields[firstField..]);
    }

    /// <summary>Copies readings into a record's fields, beginning with <paramref name="firstField"/>.</summary>
    internal static void Put<TRecord>(ref TRecord record, ReadOnlySpan<Reading> values, int firstField)
        where TRecord : unmanaged =>
        values.CopyTo(MemoryMarshal.Cast<TRecord, Reading>(new Span<TRecord>(ref record))[firstField..]);
}
