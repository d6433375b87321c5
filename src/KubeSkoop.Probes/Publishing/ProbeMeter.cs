using System.Diagnostics.Metrics;

namespace KubeSkoop.Probes.Publishing;

/// <summary>
/// The meter of one probe: observable instruments over the probe's own samples. One kernel read serves all instruments
/// of a collection, also when two listeners collect. A stopped probe yields no measurement, hence no series.
/// </summary>
/// <remarks>
/// The runtime copies the tags of every measurement, so this path allocates; hosts that count allocations use the direct
/// path. Histograms appear as counters of buckets, count and sum, because a meter cannot be handed finished buckets.
/// </remarks>
internal sealed class ProbeMeter : ISampleVisitor
{
    /// <summary>Every meter is named this, a dot, and the probe's name.</summary>
    internal const string Prefix = "KubeSkoop.Probes.";

    private static readonly TimeSpan LongestCollection = TimeSpan.FromSeconds(5);

    private readonly IMetricProbe _probe;
    private readonly Action<IMetricProbe, ISampleVisitor> _collect;
    private readonly TimeProvider _clock;
    private readonly TimeSpan _reuse;
    private readonly Meter _meter;
    private readonly MeterTags _tags;
    private readonly Lock _gate = new();
    private readonly HashSet<string> _observed = [];
    private IKept? _kept;
    private long _readAt;

    internal ProbeMeter(IMetricProbe probe, Action<IMetricProbe, ISampleVisitor> collect, IMeterFactory factory,
        TimeProvider clock, TimeSpan reuse, MeterTags tags)
    {
        _probe = probe;
        _collect = collect;
        _clock = clock;
        _reuse = reuse;
        _tags = tags;
        _meter = factory.Create(new MeterOptions(Prefix + probe.Descriptor.Name)
        {
            Version = typeof(ProbeMeter).Assembly.GetName().Version?.ToString(3),
        });
    }

    private interface IKept
    {
        void Clear();
    }

    /// <summary>Receives a fresh sample, and on the first one creates the instruments.</summary>
    void ISampleVisitor.Visit<TRecord>(ProbeDescriptor probe, MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
    {
        if (_kept is not Kept<TRecord> kept) _kept = kept = new Kept<TRecord>(this);
        kept.Rows = rows.ToArray();
        kept.Publish(metrics);
    }

    /// <summary>Creates the instruments; called once the probe runs, because some columns are named by the kernel.</summary>
    internal void Publish()
    {
        lock (_gate) Read();
    }

    /// <summary>Lets go of the last sample; called once the probe has stopped.</summary>
    internal void Clear()
    {
        lock (_gate) Forget();
    }

    private void Forget()
    {
        _kept?.Clear();
        _readAt = 0;
    }

    private void Read()
    {
        _observed.Clear();
        _kept?.Clear();
        if (_probe.Status.State == ProbeState.Running) _collect(_probe, this);
        _readAt = _clock.GetTimestamp();
    }

    /// <summary>
    /// A new sample is due when a collection begins (an instrument comes round again, or is the first to be asked) and the
    /// last sample is older than the reuse time, or when it is older than any collection takes. A probe that does not run
    /// has no sample.
    /// </summary>
    private void ReadIfDue(string instrument)
    {
        if (_probe.Status.State != ProbeState.Running)
        {
            Forget();
            return;
        }
        TimeSpan age = _readAt == 0 ? TimeSpan.MaxValue : _clock.GetElapsedTime(_readAt);
        bool begins = _observed.Count == 0 || _observed.Contains(instrument);
        if (age > LongestCollection || (begins && age > _reuse)) Read();
        _observed.Add(instrument);
    }

    private sealed class Kept<TRecord>(ProbeMeter owner) : IKept
        where TRecord : struct
    {
        private readonly HashSet<string> _published = [];

        internal SampleRow<TRecord>[] Rows { get; set; } = [];

        public void Clear() => Rows = [];

        internal void Publish(MetricTable<TRecord> metrics)
        {
            foreach (Metric<TRecord> metric in metrics)
            {
                if (!_published.Add(metric.Name)) continue;
                string? unit = metric.Unit.Length == 0 ? null : metric.Unit;
                switch (metric.Kind)
                {
                    case MetricKind.Counter when metric.Unit == "s":
                        owner._meter.CreateObservableCounter(metric.Name, () => Observe(metric, static v => v.AsDouble()), unit, metric.Description);
                        break;
                    case MetricKind.Counter:
                        owner._meter.CreateObservableCounter(metric.Name, () => Observe(metric, AsInt64), unit, metric.Description);
                        break;
                    case MetricKind.Gauge:
                        owner._meter.CreateObservableGauge(metric.Name, () => Observe(metric, static v => v.AsDouble()), unit, metric.Description);
                        break;
                    default:
                        owner._meter.CreateObservableCounter(metric.Name + ".bucket", () => ObserveBuckets(metric), "{observation}", metric.Description + " Cumulative, by upper bound 'le'.");
                        owner._meter.CreateObservableCounter(metric.Name + ".count", () => ObserveHistogram(metric, ".count", static (h, _) => (long)(h.Count & long.MaxValue)), "{observation}", metric.Description);
                        owner._meter.CreateObservableCounter(metric.Name + ".sum", () => ObserveHistogram(metric, ".sum", static (h, scale) => h.Sum * scale), unit, metric.Description);
                        break;
                }
            }
        }

        // A meter counter is signed; kernel counters past 2^63 wrap there as they would at 2^64.
        private static long AsInt64(MetricValue value) =>
            value.Kind == MetricValueKind.UInt64 ? unchecked((long)(value.UInt64 & long.MaxValue)) : (long)value.AsDouble();

        private List<Measurement<T>> Observe<T>(Metric<TRecord> metric, Func<MetricValue, T> convert)
            where T : struct
        {
            lock (owner._gate)
            {
                owner.ReadIfDue(metric.Name);
                var measurements = new List<Measurement<T>>(Rows.Length);
                foreach (ref readonly SampleRow<TRecord> row in Rows.AsSpan())
                {
                    MetricValue value = metric.Read!(in row.Value);
                    if (value.Kind != MetricValueKind.Absent) measurements.Add(new Measurement<T>(convert(value), Tags(row.Subject)));
                }
                return measurements;
            }
        }

        private List<Measurement<T>> ObserveHistogram<T>(Metric<TRecord> metric, string suffix, Func<Log2Histogram, double, T> convert)
            where T : struct
        {
            lock (owner._gate)
            {
                owner.ReadIfDue(metric.Name + suffix);
                var measurements = new List<Measurement<T>>(Rows.Length);
                foreach (ref readonly SampleRow<TRecord> row in Rows.AsSpan())
                {
                    ref readonly Log2Histogram histogram = ref metric.ReadHistogram!(in row.Value);
                    if (!histogram.IsAbsent) measurements.Add(new Measurement<T>(convert(histogram, metric.HistogramScale), Tags(row.Subject)));
                }
                return measurements;
            }
        }

        private List<Measurement<long>> ObserveBuckets(Metric<TRecord> metric)
        {
            lock (owner._gate)
            {
                owner.ReadIfDue(metric.Name + ".bucket");
                var measurements = new List<Measurement<long>>(Rows.Length * Log2Histogram.BucketCount);
                foreach (ref readonly SampleRow<TRecord> row in Rows.AsSpan())
                {
                    ref readonly Log2Histogram histogram = ref metric.ReadHistogram!(in row.Value);
                    if (histogram.IsAbsent) continue;
                    KeyValuePair<string, object?>[] tags = Tags(row.Subject);
                    ulong cumulative = 0;
                    for (int i = 0; i < Log2Histogram.BucketCount; i++)
                    {
                        cumulative += histogram[i];
                        measurements.Add(new Measurement<long>((long)cumulative, [.. tags, new("le", Log2Histogram.UpperBound(i) * metric.HistogramScale)]));
                    }
                }
                return measurements;
            }
        }

        private KeyValuePair<string, object?>[] Tags(SampleSubject subject) => owner._tags.Of(subject);
    }
}

/// <summary>A subject as tags. One for all meters of a host: they share subjects, and so the encoding.</summary>
internal sealed class MeterTags(string nodeName)
{
    internal KeyValuePair<string, object?>[] Of(SampleSubject subject) => subject.Encoded(this, static (s, o) => o.Make(s));

    private KeyValuePair<string, object?>[] Make(SampleSubject subject)
    {
        var tags = new List<KeyValuePair<string, object?>>(8);
        if (nodeName.Length > 0) tags.Add(new(AttributeNames.Node, nodeName));
        if (subject.Pod is { } pod)
        {
            if (pod.IsNamed)
            {
                tags.Add(new(AttributeNames.PodNamespace, pod.Namespace));
                tags.Add(new(AttributeNames.Pod, pod.Name));
            }
            foreach (SampleAttribute attribute in pod.Attributes) tags.Add(new(attribute.Name, attribute.Value));
        }
        if (subject.Namespace is { } ns)
        {
            tags.Add(new(AttributeNames.NamespaceInode, (long)ns.Inode));
            tags.Add(new(AttributeNames.NamespaceName, ns.DisplayName));
        }
        foreach (SampleAttribute attribute in subject.Attributes) tags.Add(new(attribute.Name, attribute.Value));
        return [.. tags];
    }
}
