namespace KubeSkoop.Probes.Procfs;

/// <summary>Names for columns that the kernel names.</summary>
internal static class MetricNames
{
    /// <summary>The kernel's own name behind a prefix; what no instrument name may hold becomes '_'.</summary>
    internal static string OfKernelColumn(string prefix, string column) =>
        string.Concat(prefix, string.Create(column.Length, column, static (name, source) =>
        {
            for (int i = 0; i < name.Length; i++) name[i] = char.IsAsciiLetterOrDigit(source[i]) ? source[i] : '_';
        }));
}
