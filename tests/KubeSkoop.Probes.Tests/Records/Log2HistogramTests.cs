using CsCheck;

namespace KubeSkoop.Probes.Tests.Records;

public sealed class Log2HistogramTests
{
    [Fact]
    public void Every_value_lies_within_its_buckets_bounds() => Gen.OneOf(Gen.ULong, Gen.Int[0, 63].Select(static b => 1ul << b), Gen.Int[0, 63].Select(static b => (1ul << b) + 1), Gen.Const(0ul)).Sample(static value =>
    {
        int bucket = Log2Histogram.BucketOf(value);
        return bucket is >= 0 and < Log2Histogram.BucketCount
            && value <= Log2Histogram.UpperBound(bucket)
            && (bucket == 0 || value > Log2Histogram.UpperBound(bucket - 1));
    });

    [Fact]
    public void Bounds_double_and_the_last_is_infinite()
    {
        Assert.Equal(1, Log2Histogram.UpperBound(0));
        for (int i = 1; i < Log2Histogram.BucketCount - 1; i++) Assert.Equal(2 * Log2Histogram.UpperBound(i - 1), Log2Histogram.UpperBound(i));
        Assert.Equal(double.PositiveInfinity, Log2Histogram.UpperBound(Log2Histogram.BucketCount - 1));
    }

    [Fact]
    public void Observations_are_counted_and_summed() => Gen.ULong[0, 1ul << 40].Array[0, 50].Sample(static values =>
    {
        var histogram = new Log2Histogram();
        ulong sum = 0;
        foreach (ulong value in values)
        {
            histogram.Observe(value);
            sum += value;
        }
        Log2Histogram copy = histogram; // a value: the copy stands alone
        histogram.AddToBucket(3, 5);
        bool counted = true;
        for (int i = 0; i < Log2Histogram.BucketCount; i++)
            counted &= copy[i] == (ulong)values.Count(v => Log2Histogram.BucketOf(v) == i);
        return counted && copy.Count == (ulong)values.Length && copy.Sum == sum && histogram.Count == copy.Count + 5 && histogram.Sum == sum;
    });

    [Fact]
    public void A_sum_of_two_has_the_observations_of_both() => Gen.ULong[0, 1ul << 40].Array[0, 20].Array[2].Sample(static values =>
    {
        var left = new Log2Histogram();
        var right = new Log2Histogram();
        var both = new Log2Histogram();
        foreach (ulong value in values[0]) left.Observe(value);
        foreach (ulong value in values[1]) right.Observe(value);
        foreach (ulong value in values[0].Concat(values[1])) both.Observe(value);
        left.Add(in right);
        return Enumerable.Range(0, Log2Histogram.BucketCount).All(i => left[i] == both[i]) && left.Sum == both.Sum;
    });

    [Fact]
    public void None_at_all_is_another_thing_than_one_without_observations()
    {
        Assert.False(default(Log2Histogram).IsAbsent);
        Assert.True(Log2Histogram.Absent.IsAbsent);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(Log2Histogram.BucketCount)]
    public void A_bucket_that_is_not_there_is_refused(int bucket)
    {
        var histogram = new Log2Histogram();
        Assert.Throws<ArgumentOutOfRangeException>(() => histogram[bucket]);
        Assert.Throws<ArgumentOutOfRangeException>(() => histogram.AddToBucket(bucket, 1));
    }
}
