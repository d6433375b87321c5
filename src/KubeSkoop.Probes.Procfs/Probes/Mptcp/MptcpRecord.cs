using System.Runtime.CompilerServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// Multipath TCP counters of one network namespace (net/mptcp/mib.c). The kernel names all of them; their meaning moves
/// from release to release, so none has a field of its own.
/// </summary>
public struct MptcpRecord
{
    /// <summary>Columns that are kept; Linux 6.18 has 75.</summary>
    internal const int MostColumns = 160;

#pragma warning disable CS0649 // filled as a span of readings
    private Readings _columns;
#pragma warning restore CS0649

    /// <summary>No metric is known before the kernel has named it.</summary>
    public static MetricTable<MptcpRecord> Metrics { get; } = new();

    /// <summary>All columns of the section <c>MPTcpExt:</c>.</summary>
    internal static ColumnSet Columns { get; } = new("MPTcpExt:", [], others: MostColumns);

    /// <summary>A column; see <see cref="MptcpProbe.Columns"/> for their names.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There are not so many.</exception>
    public readonly Reading this[int index]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)MostColumns);
            return _columns[index];
        }
    }

    [InlineArray(MostColumns)]
    private struct Readings
    {
        private Reading _first;
    }
}
