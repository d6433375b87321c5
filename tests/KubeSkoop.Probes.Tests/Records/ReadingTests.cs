using CsCheck;

namespace KubeSkoop.Probes.Tests.Records;

public sealed class ReadingTests
{
    private static readonly Gen<ulong?> Numbers = Gen.OneOf(Gen.ULong.Where(static v => v != ulong.MaxValue).Select(static v => (ulong?)v), Gen.Const((ulong?)null));

    [Fact]
    public void Absent_is_not_zero()
    {
        Assert.False(default(Reading).HasValue);
        Assert.NotEqual(default, new Reading(0));
        Assert.Equal(0ul, new Reading(0).Value);
        Assert.Null(default(Reading).ToNullable());
        Assert.Equal(string.Empty, default(Reading).ToString());
        Assert.Contains("HasValue", Assert.Throws<InvalidOperationException>(() => default(Reading).Value).Message, StringComparison.Ordinal);
        Assert.Equal(MetricValueKind.Absent, ((MetricValue)default(Reading)).Kind);
        Assert.Equal(8, System.Runtime.CompilerServices.Unsafe.SizeOf<Reading>());
    }

    [Fact]
    public void The_kernels_minus_one_is_absent() => Assert.False(new Reading(ulong.MaxValue).HasValue);

    [Fact]
    public void Values_come_out_as_they_went_in() => Numbers.Sample(static number =>
    {
        Reading reading = number is { } v ? v : default(Reading);
        Span<char> text = stackalloc char[20];
        return reading.ToNullable() == number
            && (ulong?)reading == number
            && reading.GetValueOrDefault() == number.GetValueOrDefault()
            && reading.TryFormat(text, out int length, default, null)
            && text[..length].SequenceEqual(reading.ToString())
            && ((MetricValue)reading).Equals((MetricValue)number)
            && ((MetricValue)reading).ToString() == reading.ToString();
    });

    [Fact]
    public void Sums_commute_and_ignore_what_is_absent() => Gen.Select(Numbers, Numbers).Sample(static (left, right) =>
    {
        Reading a = left is { } l ? l : default(Reading);
        Reading b = right is { } r ? r : default(Reading);
        Reading sum = a + b;
        MetricValue metric = MetricValue.Add(a, b);
        bool whole = left is null || right is null || left.Value + right.Value != ulong.MaxValue; // a sum of 2^64-1 is "absent" again
        return sum == b + a
            && (left is not null || sum == b)
            && (right is not null || sum == a)
            && (!whole || left is null || right is null || sum.Value == unchecked(left.Value + right.Value))
            && metric == MetricValue.Add(b, a)
            && (left is null || right is null || metric.UInt64 == unchecked(left.Value + right.Value));
    });

    [Fact]
    public void A_metric_value_holds_doubles_too()
    {
        Gen.Double.Sample(static d => ((MetricValue)d).Kind == MetricValueKind.Double && ((MetricValue)d).AsDouble().Equals(d) && (MetricValue)d == MetricValue.FromDouble(d));
        Assert.Equal(3.5, MetricValue.Add(1ul, 2.5).AsDouble());
        Assert.Equal("0.1", ((MetricValue)0.1).ToString());
        Assert.True(double.IsNaN(MetricValue.Absent.AsDouble()));
        Assert.Equal(MetricValue.Absent, (MetricValue)(double?)null);
        Assert.NotEqual((MetricValue)0ul, (MetricValue)0.0);
    }
}
