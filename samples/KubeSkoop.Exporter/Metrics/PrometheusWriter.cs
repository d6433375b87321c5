using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using KubeSkoop.Probes.Lifecycle;

namespace KubeSkoop.Exporter.Metrics;

/// <summary>
/// Writes one collection in a Prometheus text format. Names, labels and heads are encoded once and kept, so a scrape
/// copies bytes and formats numbers; nothing is allocated per series. For one thread at a time.
/// </summary>
internal sealed class PrometheusWriter : ISampleVisitor
{
    // A 64-bit number or a double, and the end of the line.
    private const int NumberRoom = 32;
    private const int SpanSize = 4096;

    private readonly MetricNaming _naming;
    private readonly TimeProvider _clock;
    private readonly LabelEncoder _ownLabels;
    private readonly LabelEncoder _upstreamLabels;
    private readonly ConditionalWeakTable<object, MetricFamily[]> _ownFamilies = [];
    private readonly ConditionalWeakTable<object, MetricFamily[]> _upstreamFamilies = [];
    private readonly Dictionary<string, int> _claimIds = new(StringComparer.Ordinal);
    private readonly HashSet<uint> _unattributed = [];
    private readonly SampleRow<ExporterRecord>[] _exporterRow = [new() { Subject = SampleSubject.Node }];
    private int[] _claimedIn = [];
    private int _scrape;
    private ulong _duplicates;
    private ulong _lastBytes;
    private ulong _faults;
    private volatile string? _lastFault;

    // Per visit: the distinct label blocks, which of them a row belongs to (-1: none), and where a block stands by hash.
    private LabelBlock[] _blocks = [];
    private int _blockCount;
    private int[] _blockOf = [];
    private int[] _slots = [];
    private int _slotMask;
    private MetricValue[] _sums = [];

    private IBufferWriter<byte> _output = null!;
    private bool _openMetrics;

    /// <summary>Makes a writer; it and what it has encoded are meant to live as long as the exporter.</summary>
    internal PrometheusWriter(MetricNaming naming, string nodeName, TimeProvider? clock = null)
    {
        _naming = naming;
        _clock = clock ?? TimeProvider.System;
        _ownLabels = new LabelEncoder(MetricNaming.OpenTelemetry, nodeName);
        _upstreamLabels = new LabelEncoder(MetricNaming.KubeSkoop, nodeName);
    }

    /// <summary>Collects every running probe and writes the whole answer.</summary>
    internal void Write(IProbeManager manager, IBufferWriter<byte> output, ExpositionFormat format)
    {
        long began = _clock.GetTimestamp();
        _output = output;
        _openMetrics = format == ExpositionFormat.OpenMetrics && _naming == MetricNaming.OpenTelemetry;
        _scrape++;
        _unattributed.Clear();
        try
        {
            manager.Collect(this);
            WriteExporter(began);
            if (_openMetrics) output.Write("# EOF\n"u8);
        }
        finally
        {
            _output = null!;
            // Subjects of dead namespaces must not stay reachable through their labels.
            Array.Clear(_blocks);
        }
    }

    /// <summary>The last metric that could not be written, and why; for people.</summary>
    internal string? LastFault => _lastFault;

    /// <summary>Tells the writer how long its last answer was, for its self-metric.</summary>
    internal void Wrote(long bytes) => _lastBytes = (ulong)bytes;

    /// <inheritdoc />
    public void Visit<TRecord>(ProbeDescriptor probe, MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
        where TRecord : struct
    {
        if (rows.IsEmpty) return;
        // The SDK's and the exporter's own metrics have no upstream name, and are wanted in either naming.
        bool own = _naming == MetricNaming.OpenTelemetry || typeof(TRecord) == typeof(ProbeSelfRecord) || typeof(TRecord) == typeof(ExporterRecord);
        if (own) WriteOwn(metrics, rows);
        else if (metrics.Upstream.Count > 0) WriteUpstream(metrics, rows);
    }

    // What stands in the span but was not advanced over is gone: only whole lines leave.
    private void Fault(string metric, Exception e)
    {
        _faults++;
        _lastFault = $"{metric}: {e.GetType().Name}: {e.Message}";
    }

    private void WriteExporter(long began)
    {
        ref ExporterRecord record = ref _exporterRow[0].Value;
        record.Scrapes = (ulong)_scrape;
        record.ScrapeSeconds = _clock.GetElapsedTime(began).TotalSeconds;
        record.ScrapeBytes = _lastBytes == 0 ? default(Reading) : _lastBytes;
        record.Duplicates = _duplicates;
        record.Faults = _faults;
        record.UnattributedNamespaces = _naming == MetricNaming.KubeSkoop ? (ulong)_unattributed.Count : default(Reading);
        WriteOwn<ExporterRecord>(ExporterRecord.Metrics, _exporterRow);
    }

    private void WriteOwn<TRecord>(MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
        where TRecord : struct
    {
        MetricFamily[] families = OwnFamilies(metrics);
        BeginRows(rows.Length);
        int dropped = 0;
        for (int r = 0; r < rows.Length; r++)
        {
            LabelBlock block = rows[r].Subject.Encoded(_ownLabels, LabelEncoder.Encode);
            int count = _blockCount;
            int at = Place(block);
            bool first = at == count;
            _blockOf[r] = first ? at : -1;
            if (!first) dropped++;
        }
        _duplicates += (ulong)((long)dropped * metrics.Count);

        for (int m = 0; m < families.Length; m++)
        {
            if (!Claim(families[m]))
            {
                _duplicates += (ulong)rows.Length;
                continue;
            }
            try
            {
                if (metrics[m].ReadHistogram is { } histogram) WriteHistogram(families[m], histogram, metrics[m].HistogramScale, rows);
                else WriteNumbers(families[m], metrics[m].Read!, rows);
            }
#pragma warning disable CA1031 // An accessor is somebody's code: one that throws must not cost the whole answer.
            catch (Exception e) when (e is not OutOfMemoryException)
#pragma warning restore CA1031
            {
                Fault(metrics[m].Name, e);
            }
        }
    }

    private void WriteNumbers<TRecord>(MetricFamily family, MetricAccessor<TRecord> read, ReadOnlySpan<SampleRow<TRecord>> rows)
        where TRecord : struct
    {
        ReadOnlySpan<byte> head = _openMetrics ? family.OpenMetricsHead : family.TextHead;
        byte[] name = family.SampleName;
        ReadOnlySpan<int> blockOf = _blockOf.AsSpan(0, rows.Length);
        LabelBlock[] blocks = _blocks;
        Span<byte> span = default;
        int at = 0;
        for (int r = 0; r < rows.Length; r++)
        {
            int block = blockOf[r];
            if (block < 0) continue;
            MetricValue value = read(in rows[r].Value);
            if (value.Kind == MetricValueKind.Absent) continue;
            byte[] labels = blocks[block].Bytes;
            int need = head.Length + name.Length + labels.Length + NumberRoom;
            if (span.Length - at < need) span = More(need, ref at);
            if (head.Length > 0)
            {
                head.CopyTo(span[at..]);
                at += head.Length;
                head = default;
            }
            name.CopyTo(span[at..]);
            at += name.Length;
            labels.CopyTo(span[at..]);
            at += labels.Length;
            at += WriteValue(span[at..], value);
        }
        _output.Advance(at);
    }

    private void WriteHistogram<TRecord>(MetricFamily family, HistogramAccessor<TRecord> read, double scale, ReadOnlySpan<SampleRow<TRecord>> rows)
        where TRecord : struct
    {
        ReadOnlySpan<byte> head = _openMetrics ? family.OpenMetricsHead : family.TextHead;
        byte[][] bounds = _openMetrics ? family.OpenMetricsBounds : family.TextBounds;
        for (int r = 0; r < rows.Length; r++)
        {
            if (_blockOf[r] < 0) continue;
            ref readonly Log2Histogram histogram = ref read(in rows[r].Value);
            if (histogram.IsAbsent) continue;
            WriteHistogram(family.SampleName, head, bounds, in histogram, scale, _blocks[_blockOf[r]].Bytes);
            head = default;
        }
    }

    private void WriteHistogram(byte[] name, ReadOnlySpan<byte> head, byte[][] bounds, in Log2Histogram histogram, double scale, byte[] labels)
    {
        ReadOnlySpan<byte> open = labels.Length > 1 ? labels.AsSpan(0, labels.Length - 2) : "{"u8;
        int line = name.Length + labels.Length + bounds[0].Length + NumberRoom + NumberRoom;
        int at = 0;
        Span<byte> span = More(head.Length + line, ref at);
        head.CopyTo(span);
        at += head.Length;
        ulong cumulative = 0;
        for (int i = 0; i < bounds.Length; i++)
        {
            if (span.Length - at < line) span = More(line, ref at);
            cumulative += histogram[i];
            Append(span, ref at, name);
            Append(span, ref at, "_bucket"u8);
            Append(span, ref at, open);
            Append(span, ref at, labels.Length > 1 ? bounds[i] : bounds[i].AsSpan(1));
            at += WriteValue(span[at..], cumulative);
        }
        if (span.Length - at < 2 * line) span = More(2 * line, ref at);
        Append(span, ref at, name);
        Append(span, ref at, "_sum"u8);
        Append(span, ref at, labels);
        at += scale == 1 ? WriteValue(span[at..], histogram.Sum) : WriteValue(span[at..], histogram.Sum * scale);
        Append(span, ref at, name);
        Append(span, ref at, "_count"u8);
        Append(span, ref at, labels);
        at += WriteValue(span[at..], cumulative);
        _output.Advance(at);
    }

    // Upstream has one series per pod: what several rows of a pod say is summed.
    private void WriteUpstream<TRecord>(MetricTable<TRecord> metrics, ReadOnlySpan<SampleRow<TRecord>> rows)
        where TRecord : struct
    {
        MetricFamily[] families = UpstreamFamilies(metrics);
        MetricRowFilter<TRecord>? filter = metrics.UpstreamRows;
        BeginRows(rows.Length);
        for (int r = 0; r < rows.Length; r++)
        {
            _blockOf[r] = -1;
            if (filter is not null && !filter(in rows[r].Value)) continue;
            LabelBlock block = rows[r].Subject.Encoded(_upstreamLabels, LabelEncoder.Encode);
            if (block.Known) _blockOf[r] = Place(block);
            else _unattributed.Add(rows[r].Subject.Namespace!.Inode);
        }
        if (_blockCount == 0) return;
        if (_sums.Length < _blockCount) _sums = new MetricValue[_blocks.Length];

        for (int m = 0; m < families.Length; m++)
        {
            if (!Claim(families[m]))
            {
                _duplicates += (ulong)_blockCount;
                continue;
            }
            if (metrics.Upstream[m].ReadUpstream is not { } read) continue;
            Span<MetricValue> sums = _sums.AsSpan(0, _blockCount);
            sums.Clear();
            try
            {
                for (int r = 0; r < rows.Length; r++)
                    if (_blockOf[r] is var block and >= 0) sums[block] = MetricValue.Add(sums[block], read(in rows[r].Value));
            }
#pragma warning disable CA1031 // As above.
            catch (Exception e)
#pragma warning restore CA1031
            {
                Fault(metrics.Upstream[m].UpstreamName!, e);
                continue;
            }
            WriteSums(families[m], sums);
        }
    }

    private void WriteSums(MetricFamily family, ReadOnlySpan<MetricValue> sums)
    {
        ReadOnlySpan<byte> head = family.TextHead;
        byte[] name = family.SampleName;
        Span<byte> span = default;
        int at = 0;
        for (int b = 0; b < sums.Length; b++)
        {
            if (sums[b].Kind == MetricValueKind.Absent) continue;
            byte[] labels = _blocks[b].Bytes;
            int need = head.Length + name.Length + labels.Length + NumberRoom;
            if (span.Length - at < need) span = More(need, ref at);
            Append(span, ref at, head);
            head = default;
            Append(span, ref at, name);
            Append(span, ref at, labels);
            at += WriteValue(span[at..], sums[b]);
        }
        _output.Advance(at);
    }

    private Span<byte> More(int need, scoped ref int at)
    {
        _output.Advance(at);
        at = 0;
        return _output.GetSpan(Math.Max(need, SpanSize));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Append(Span<byte> span, ref int at, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(span[at..]);
        at += bytes.Length;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int WriteValue(Span<byte> to, MetricValue value)
    {
        int written;
        if (value.Kind == MetricValueKind.UInt64) Utf8Formatter.TryFormat(value.UInt64, to, out written);
        else written = WriteDouble(to, value.AsDouble());
        to[written] = (byte)'\n';
        return written + 1;
    }

    private static int WriteDouble(Span<byte> to, double value)
    {
        if (double.IsFinite(value))
        {
            value.TryFormat(to, out int written, default, CultureInfo.InvariantCulture);
            return written;
        }
        ReadOnlySpan<byte> word = double.IsNaN(value) ? "NaN"u8 : value > 0 ? "+Inf"u8 : "-Inf"u8;
        word.CopyTo(to);
        return word.Length;
    }

    // ---- distinct label blocks of a visit -------------------------------------------------------------------------

    private void BeginRows(int rows)
    {
        _blockCount = 0;
        int size = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(rows, 64));
        if (_blockOf.Length < size)
        {
            _blockOf = new int[size];
            _blocks = new LabelBlock[size];
            _slots = new int[size * 2];
        }
        else
        {
            Array.Clear(_slots, 0, size * 2);
        }
        _slotMask = size * 2 - 1;
    }

    /// <summary>The place of a block; equal blocks share one. A new one gets the next place.</summary>
    private int Place(LabelBlock block)
    {
        for (int slot = block.Hash & _slotMask; ; slot = (slot + 1) & _slotMask)
        {
            int held = _slots[slot] - 1;
            if (held < 0)
            {
                _slots[slot] = _blockCount + 1;
                _blocks[_blockCount] = block;
                return _blockCount++;
            }
            LabelBlock other = _blocks[held];
            if (ReferenceEquals(other, block) || (other.Hash == block.Hash && other.Bytes.AsSpan().SequenceEqual(block.Bytes))) return held;
        }
    }

    // ---- families --------------------------------------------------------------------------------------------------

    private MetricFamily[] OwnFamilies<TRecord>(MetricTable<TRecord> metrics)
        where TRecord : struct
    {
        if (_ownFamilies.TryGetValue(metrics, out MetricFamily[]? kept) && kept.Length == metrics.Count) return kept;
        MetricFamily[] families = [.. metrics.Select(static m => MetricFamily.Own(m.Name, m.Kind, m.Unit, m.Description, m.HistogramScale))];
        return Keep(_ownFamilies, metrics, families);
    }

    private MetricFamily[] UpstreamFamilies<TRecord>(MetricTable<TRecord> metrics)
        where TRecord : struct
    {
        if (_upstreamFamilies.TryGetValue(metrics, out MetricFamily[]? kept) && kept.Length == metrics.Upstream.Count) return kept;
        MetricFamily[] families = [.. metrics.Upstream.Select(m => MetricFamily.Upstream(m.UpstreamName!, metrics.UpstreamKind, m.Description))];
        return Keep(_upstreamFamilies, metrics, families);
    }

    private MetricFamily[] Keep(ConditionalWeakTable<object, MetricFamily[]> cache, object metrics, MetricFamily[] families)
    {
        foreach (MetricFamily family in families)
        {
            family.ClaimIds = new int[family.Claims.Length];
            for (int i = 0; i < family.Claims.Length; i++)
            {
                if (!_claimIds.TryGetValue(family.Claims[i], out int id)) _claimIds.Add(family.Claims[i], id = _claimIds.Count);
                family.ClaimIds[i] = id;
            }
        }
        if (_claimedIn.Length < _claimIds.Count) Array.Resize(ref _claimedIn, Math.Max(256, _claimIds.Count * 2));
        cache.AddOrUpdate(metrics, families);
        return families;
    }

    /// <summary>Takes the family's names for this answer, unless one of them is taken: a family is written once.</summary>
    private bool Claim(MetricFamily family)
    {
        foreach (int id in family.ClaimIds)
            if (_claimedIn[id] == _scrape) return false;
        foreach (int id in family.ClaimIds) _claimedIn[id] = _scrape;
        return true;
    }
}
