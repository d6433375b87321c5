namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// The columns of one record within one section of a kernel table, in the order of the record's fields. The table keeps
/// a slot for each; where the kernel puts them, and which others it has, does not matter.
/// </summary>
/// <param name="section">The section: <c>Tcp:</c>, or the common prefix of the names, <c>Udp6</c>.</param>
/// <param name="columns">The kernel's names; an empty one has no column in this section and stays absent.</param>
/// <param name="others">Slots for columns that are not named here; they are given out as the kernel shows them.</param>
internal sealed class ColumnSet(string section, string[] columns, int others = 0)
{
    internal string Section => section;

    internal ReadOnlySpan<string> Columns => columns;

    internal int Others => others;

    internal int SlotCount => columns.Length + others;
}
