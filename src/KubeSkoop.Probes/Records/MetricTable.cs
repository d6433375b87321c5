using System.Collections;
using System.Text.RegularExpressions;

namespace KubeSkoop.Probes;

/// <summary>What a metric is.</summary>
public enum MetricKind
{
    /// <summary>Only grows while its row lives.</summary>
    Counter,

    /// <summary>Goes up and down.</summary>
    Gauge,

    /// <summary>A distribution.</summary>
    Histogram,
}

/// <summary>Reads one metric out of a record.</summary>
public delegate MetricValue MetricAccessor<TRecord>(in TRecord record)
    where TRecord : struct;

/// <summary>Reads one histogram out of a record.</summary>
public delegate ref readonly Log2Histogram HistogramAccessor<TRecord>(in TRecord record)
    where TRecord : struct;

/// <summary>One metric of a record.</summary>
/// <typeparam name="TRecord">The record.</typeparam>
public sealed class Metric<TRecord>
    where TRecord : struct
{
    internal Metric(string name, MetricKind kind, string unit, string description, MetricAccessor<TRecord>? read,
        HistogramAccessor<TRecord>? readHistogram, double scale, string? upstreamName, MetricAccessor<TRecord>? readUpstream)
    {
        Name = name;
        Kind = kind;
        Unit = unit;
        Description = description;
        Read = read;
        ReadHistogram = readHistogram;
        HistogramScale = scale;
        UpstreamName = upstreamName;
        ReadUpstream = readUpstream ?? read;
    }

    /// <summary>The instrument's name; empty for a metric that only upstream's naming has.</summary>
    public string Name { get; }

    /// <summary>Counter, gauge or histogram.</summary>
    public MetricKind Kind { get; }

    /// <summary>The OpenTelemetry (UCUM) unit.</summary>
    public string Unit { get; }

    /// <summary>What it counts.</summary>
    public string Description { get; }

    /// <summary>Reads the value; <see langword="null"/> for a histogram.</summary>
    public MetricAccessor<TRecord>? Read { get; }

    /// <summary>Reads the histogram; <see langword="null"/> otherwise.</summary>
    public HistogramAccessor<TRecord>? ReadHistogram { get; }

    /// <summary>What one unit of the histogram is in <see cref="Unit"/> (1e-6 for microseconds shown as seconds).</summary>
    public double HistogramScale { get; }

    /// <summary>The name KubeSkoop's own exporter has for it.</summary>
    public string? UpstreamName { get; }

    /// <summary>Reads the value in upstream's unit.</summary>
    public MetricAccessor<TRecord>? ReadUpstream { get; }
}

/// <summary>
/// The metrics of a record: one readable list from which meters, the text formats, the CLI and the docs are made.
/// </summary>
/// <typeparam name="TRecord">The record.</typeparam>
public sealed partial class MetricTable<TRecord> : IReadOnlyList<Metric<TRecord>>
    where TRecord : struct
{
    private readonly List<Metric<TRecord>> _metrics = [];
    private readonly List<Metric<TRecord>> _upstream = [];

    /// <summary>Makes an empty table, to be filled by a collection initializer.</summary>
    /// <param name="upstreamRows">Which rows take part in upstream's metrics; <see langword="null"/> for all.</param>
    /// <param name="upstreamKind">The type upstream gives its metrics; most of its counters are gauges.</param>
    public MetricTable(MetricRowFilter<TRecord>? upstreamRows = null, MetricKind upstreamKind = MetricKind.Gauge)
    {
        UpstreamRows = upstreamRows;
        UpstreamKind = upstreamKind;
    }

    /// <summary>Which rows take part in upstream's metrics; upstream sums several rows of a pod into one series.</summary>
    public MetricRowFilter<TRecord>? UpstreamRows { get; }

    /// <summary>The type upstream gives its metrics.</summary>
    public MetricKind UpstreamKind { get; }

    /// <summary>The metrics under their own names.</summary>
    public int Count => _metrics.Count;

    /// <summary>The metrics that have an upstream name, in order.</summary>
    public IReadOnlyList<Metric<TRecord>> Upstream => _upstream;

    /// <inheritdoc />
    public Metric<TRecord> this[int index] => _metrics[index];

    /// <summary>Adds a counter or gauge.</summary>
    /// <param name="name">For example <c>kubeskoop.tcp.active_opens</c>.</param>
    /// <param name="kind">Counter or gauge.</param>
    /// <param name="unit">UCUM: <c>By</c>, <c>s</c>, <c>1</c>, <c>{packet}</c>.</param>
    /// <param name="description">What it counts, one sentence.</param>
    /// <param name="read">Reads it from the record.</param>
    /// <param name="upstream">Upstream's name, if it has one.</param>
    /// <param name="readUpstream">Reads it in upstream's unit, where that differs.</param>
    public void Add(string name, MetricKind kind, string unit, string description, MetricAccessor<TRecord> read,
        string? upstream = null, MetricAccessor<TRecord>? readUpstream = null)
    {
        ArgumentNullException.ThrowIfNull(read);
        if (kind == MetricKind.Histogram) throw new ArgumentException("Use AddHistogram.", nameof(kind));
        CheckNew(name);
        Append(new Metric<TRecord>(name, kind, unit, description, read, null, 1, upstream, readUpstream));
    }

    /// <summary>Adds a histogram.</summary>
    /// <param name="name">For example <c>kubeskoop.socketlatency.read</c>.</param>
    /// <param name="unit">The unit it is published in.</param>
    /// <param name="scale">What one unit of the kernel's buckets is in <paramref name="unit"/>.</param>
    /// <param name="description">What it measures, one sentence.</param>
    /// <param name="read">Reads it from the record.</param>
    public void AddHistogram(string name, string unit, double scale, string description, HistogramAccessor<TRecord> read)
    {
        ArgumentNullException.ThrowIfNull(read);
        CheckNew(name);
        Append(new Metric<TRecord>(name, MetricKind.Histogram, unit, description, null, read, scale, null, null));
    }

    /// <summary>Adds a metric that exists under upstream's name only.</summary>
    public void AddUpstream(string upstream, string description, MetricAccessor<TRecord> read)
    {
        ArgumentException.ThrowIfNullOrEmpty(upstream);
        ArgumentNullException.ThrowIfNull(read);
        _upstream.Add(new Metric<TRecord>(string.Empty, UpstreamKind, string.Empty, description, read, null, 1, upstream, null));
    }

    /// <summary>The same table with more metrics at its end; for columns the kernel names at run time.</summary>
    public MetricTable<TRecord> With(IEnumerable<(string Name, MetricKind Kind, string Unit, string Description, MetricAccessor<TRecord> Read)> more)
    {
        ArgumentNullException.ThrowIfNull(more);
        var table = new MetricTable<TRecord>(UpstreamRows, UpstreamKind);
        table._metrics.AddRange(_metrics);
        table._upstream.AddRange(_upstream);
        foreach (var (name, kind, unit, description, read) in more) table.Add(name, kind, unit, description, read);
        return table;
    }

    /// <summary>The table for people.</summary>
    public IReadOnlyList<MetricDescriptor> Describe() =>
        [.. _metrics.Select(static m => new MetricDescriptor(m.Name, m.Kind, m.Unit, m.Description, m.UpstreamName))];

    /// <inheritdoc />
    public IEnumerator<Metric<TRecord>> GetEnumerator() => _metrics.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private void Append(Metric<TRecord> metric)
    {
        _metrics.Add(metric);
        if (metric.UpstreamName is not null) _upstream.Add(metric);
    }

    private void CheckNew(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (!NamePattern().IsMatch(name)) throw new ArgumentException($"'{name}' is no instrument name.", nameof(name));
        if (_metrics.Exists(m => m.Name == name)) throw new ArgumentException($"'{name}' is in the table already.", nameof(name));
    }

    [GeneratedRegex("^[a-z][a-z0-9_]*(\\.[A-Za-z0-9_]+)+\\z")]
    private static partial Regex NamePattern();
}

/// <summary>Picks rows.</summary>
public delegate bool MetricRowFilter<TRecord>(in TRecord record)
    where TRecord : struct;
