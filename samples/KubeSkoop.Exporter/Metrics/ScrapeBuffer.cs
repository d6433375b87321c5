using System.Buffers;

namespace KubeSkoop.Exporter.Metrics;

/// <summary>
/// Memory for one whole answer, in segments that are kept from scrape to scrape. An answer is built here and sent
/// afterwards, so that a slow client never holds a probe's lock.
/// </summary>
internal sealed class ScrapeBuffer : IBufferWriter<byte>
{
    private const int SegmentSize = 64 * 1024;

    private readonly List<byte[]> _segments = [];
    private readonly List<int> _used = [];
    private int _current = -1;
    private int _at;

    /// <summary>Bytes written.</summary>
    internal long Length { get; private set; }

    /// <summary>Number of segments that hold something.</summary>
    internal int SegmentCount => _current + 1;

    /// <summary>What stands in one segment.</summary>
    internal ReadOnlyMemory<byte> Segment(int index) =>
        _segments[index].AsMemory(0, index == _current ? _at : _used[index]);

    /// <inheritdoc />
    public void Advance(int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        if (count == 0) return;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, _segments[_current].Length - _at);
        _at += count;
        Length += count;
    }

    /// <inheritdoc />
    public Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;

    /// <inheritdoc />
    public Memory<byte> GetMemory(int sizeHint = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(sizeHint);
        int need = Math.Max(sizeHint, 1);
        if (_current < 0 || _segments[_current].Length - _at < need) Next(need);
        return _segments[_current].AsMemory(_at);
    }

    /// <summary>Forgets the content. Keeps the memory the last answer used, gives back what it left unused.</summary>
    internal void Reset()
    {
        int keep = SegmentCount + 1;
        if (_segments.Count > keep)
        {
            _segments.RemoveRange(keep, _segments.Count - keep);
            _used.RemoveRange(keep, _used.Count - keep);
        }
        _current = -1;
        _at = 0;
        Length = 0;
    }

    private void Next(int need)
    {
        if (_current >= 0) _used[_current] = _at;
        _current++;
        _at = 0;
        if (_current == _segments.Count)
        {
            _segments.Add(new byte[Math.Max(need, SegmentSize)]);
            _used.Add(0);
        }
        else if (_segments[_current].Length < need)
        {
            _segments[_current] = new byte[need];
        }
    }
}

/// <summary>Keeps a few buffers for scrapes that overlap; more are made when needed and not kept.</summary>
internal sealed class ScrapeBufferPool
{
    private const int Kept = 2;

    private readonly Stack<ScrapeBuffer> _idle = new(Kept);

    internal ScrapeBuffer Rent()
    {
        lock (_idle) return _idle.TryPop(out ScrapeBuffer? buffer) ? buffer : new ScrapeBuffer();
    }

    internal void Return(ScrapeBuffer buffer)
    {
        buffer.Reset();
        lock (_idle)
            if (_idle.Count < Kept) _idle.Push(buffer);
    }
}
