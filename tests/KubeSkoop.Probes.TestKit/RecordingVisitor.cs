namespace KubeSkoop.Probes.TestKit;

/// <summary>A row as it was seen, kept after the sample.</summary>
/// <param name="Probe">The probe's name.</param>
/// <param name="Subject">Whom the row is about.</param>
/// <param name="Values">Its numbers by instrument name; absent ones are left out.</param>
public sealed record RecordedRow(string Probe, SampleSubject Subject, IReadOnlyDictionary<string, MetricValue> Values);

/// <summary>Keeps everything it is shown.</summary>
public sealed class RecordingVisitor : ISampleVisitor
{
    private readonly List<string> _probes = [];
    private readonly List<RecordedRow> _rows = [];

    /// <summary>The probes that were visited, in order, those without rows too.</summary>
    public IReadOnlyList<string> Probes => _probes;

    /// <summary>The rows in order.</summary>
    public IReadOnlyList<RecordedRow> Rows => _rows;

    /// <summary>The rows of one probe.</summary>
    public IReadOnlyList<RecordedRow> RowsOf(string probe) => [.. _rows.Where(r => r.Probe == probe)];

    /// <summary>The one value of a metric whose row has all the given attribute values.</summary>
    /// <exception cref="InvalidOperationException">No row or several rows have it.</exception>
    public MetricValue Value(string metric, params string[] attributes) => _rows.Single(r =>
        r.Values.ContainsKey(metric) && attributes.All(a => Array.Exists(r.Subject.Attributes.ToArray(), s => s.Value == a))).Values[metric];

    /// <inheritdoc />
    public void Visit<TRecord>(ProbeDescriptor probe, MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
        where TRecord : struct
    {
        ArgumentNullException.ThrowIfNull(probe);
        ArgumentNullException.ThrowIfNull(metrics);
        _probes.Add(probe.Name);
        foreach (ref readonly SampleRow<TRecord> row in rows)
        {
            var values = new Dictionary<string, MetricValue>();
            foreach (Metric<TRecord> metric in metrics)
                if (metric.Read?.Invoke(in row.Value) is { Kind: not MetricValueKind.Absent } value) values[metric.Name] = value;
            _rows.Add(new RecordedRow(probe.Name, row.Subject, values));
        }
    }

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        _probes.Clear();
        _rows.Clear();
    }
}
