namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>struct ks_histogram, bpf/include/kubeskoop/histogram.h, as it lies among the counters of a map.</summary>
internal static class HistogramWords
{
    /// <summary>How many 64-bit counters one takes up: its buckets, and the sum of what was observed in nanoseconds.</summary>
    internal const int Length = Log2Histogram.BucketCount + 1;

    /// <summary>The histogram that begins at a word, in microseconds.</summary>
    internal static void Read(ReadOnlySpan<ulong> words, int at, out Log2Histogram histogram)
    {
        words = words.Slice(at, Length);
        histogram = default;
        for (int i = 0; i < Log2Histogram.BucketCount; i++) histogram.AddToBucket(i, words[i]);
        histogram.Sum = words[Log2Histogram.BucketCount] / 1000;
    }
}
