using KubeSkoop.Exporter.Metrics;

namespace KubeSkoop.Exporter.Cli;

/// <summary>A sample taken out of its probe's buffer, for printing.</summary>
internal sealed class SampleReading : ISampleVisitor
{
    private readonly List<Row> _rows = [];

    internal IReadOnlyList<Row> Rows => _rows;

    public void Visit<TRecord>(ProbeDescriptor probe, MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
        where TRecord : struct
    {
        string prefix = $"kubeskoop.{probe.Name}.";
        string[] names = [.. metrics.Select(m => m.Name.StartsWith(prefix, StringComparison.Ordinal) ? m.Name[prefix.Length..] : m.Name)];
        foreach (ref readonly SampleRow<TRecord> row in rows)
        {
            var values = new List<Value>(metrics.Count);
            for (int m = 0; m < names.Length; m++)
            {
                if (metrics[m].ReadHistogram is { } histogram)
                {
                    ref readonly Log2Histogram distribution = ref histogram(in row.Value);
                    if (!distribution.IsAbsent) values.Add(new Value(names[m], metrics[m].Unit, default, distribution, metrics[m].HistogramScale));
                    continue;
                }
                MetricValue number = metrics[m].Read!(in row.Value);
                // What is absent, or is no number, is left out: JSON has neither, and zero would be a lie.
                if (number.Kind != MetricValueKind.Absent && double.IsFinite(number.AsDouble())) values.Add(new Value(names[m], metrics[m].Unit, number, null, 1));
            }
            // Without the name of a pod the network namespace's name stands in for the Kubernetes namespace.
            _rows.Add(new Row(row.Namespace, row.Namespace?.Inode, PodText.Namespace(row.Pod, row.Namespace), PodText.Name(row.Pod), [.. row.Pod?.Attributes ?? [], .. row.Subject.Attributes], values));
        }
    }

    internal sealed record Row(NetworkNamespace? NetworkNamespace, uint? Inode, string? Namespace, string? Pod, IReadOnlyList<SampleAttribute> Attributes, IReadOnlyList<Value> Values);

    internal sealed record Value(string Name, string Unit, MetricValue Number, Log2Histogram? Histogram, double Scale);
}
