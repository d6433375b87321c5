using System.Numerics;
using System.Runtime.CompilerServices;

namespace KubeSkoop.Probes;

/// <summary>
/// A histogram as the kernel keeps it: bucket <c>i</c> counts values up to and including <c>2^i</c> units, the last one
/// everything above. A value type, copied with its record.
/// </summary>
public struct Log2Histogram
{
    /// <summary>Number of buckets, the overflow bucket included.</summary>
    public const int BucketCount = 28;

    private Slots _buckets;

    /// <summary>No histogram: writers leave it out. A row whose record has one, but which is about something else, says so.</summary>
    public static Log2Histogram Absent => new() { IsAbsent = true };

    /// <summary>Whether this is none at all, rather than one without observations.</summary>
    public bool IsAbsent { readonly get; private set; }

    /// <summary>Sum of all observed values, in units.</summary>
    public ulong Sum { readonly get; set; }

    /// <summary>Observations per bucket, not cumulative.</summary>
    public readonly ulong this[int bucket]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)bucket, (uint)BucketCount);
            return _buckets[bucket];
        }
    }

    /// <summary>All observations.</summary>
    public readonly ulong Count
    {
        get
        {
            ulong count = 0;
            for (int i = 0; i < BucketCount; i++) count += _buckets[i];
            return count;
        }
    }

    /// <summary>Adds one value.</summary>
    public void Observe(ulong value)
    {
        _buckets[BucketOf(value)]++;
        Sum += value;
    }

    /// <summary>Adds already counted observations to one bucket (the sum is set apart).</summary>
    public void AddToBucket(int bucket, ulong count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)bucket, (uint)BucketCount);
        _buckets[bucket] += count;
    }

    /// <summary>Adds all observations of another one.</summary>
    public void Add(in Log2Histogram other)
    {
        for (int i = 0; i < BucketCount; i++) _buckets[i] += other._buckets[i];
        Sum += other.Sum;
    }

    /// <summary>The bucket a value falls into: the smallest <c>i</c> with <c>value &lt;= 2^i</c>.</summary>
    public static int BucketOf(ulong value) =>
        value <= 1 ? 0 : Math.Min(64 - BitOperations.LeadingZeroCount(value - 1), BucketCount - 1);

    /// <summary>The inclusive upper bound of a bucket in units; infinity for the last.</summary>
    public static double UpperBound(int bucket) => bucket >= BucketCount - 1 ? double.PositiveInfinity : (double)(1UL << bucket);

    [InlineArray(BucketCount)]
    private struct Slots
    {
        private ulong _first;
    }
}
