using System.Runtime.CompilerServices;

namespace KubeSkoop.Probes;

/// <summary>What a <see cref="MetricValue"/> holds.</summary>
public enum MetricValueKind : byte
{
    /// <summary>Nothing: the kernel does not publish it, and so neither do we.</summary>
    Absent = 0,

    /// <summary>An unsigned 64-bit number.</summary>
    UInt64 = 1,

    /// <summary>A double.</summary>
    Double = 2,
}

/// <summary>One number on its way out: unsigned, double, or absent.</summary>
public readonly struct MetricValue : IEquatable<MetricValue>
{
    private readonly ulong _bits;

    private MetricValue(ulong bits, MetricValueKind kind)
    {
        _bits = bits;
        Kind = kind;
    }

    /// <summary>No number.</summary>
    public static MetricValue Absent => default;

    /// <summary>What this holds.</summary>
    public MetricValueKind Kind { get; }

    /// <summary>The number when <see cref="Kind"/> is <see cref="MetricValueKind.UInt64"/>.</summary>
    public ulong UInt64 => _bits;

    /// <summary>The number as a double; NaN when absent.</summary>
    public double AsDouble() => Kind switch
    {
        MetricValueKind.UInt64 => _bits,
        MetricValueKind.Double => BitConverter.UInt64BitsToDouble(_bits),
        _ => double.NaN,
    };

    /// <summary>Takes an unsigned number.</summary>
    public static implicit operator MetricValue(ulong value) => new(value, MetricValueKind.UInt64);

    /// <summary>Takes a double.</summary>
    public static implicit operator MetricValue(double value) => new(BitConverter.DoubleToUInt64Bits(value), MetricValueKind.Double);

    /// <summary>Takes a reading; absent stays absent.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static implicit operator MetricValue(Reading reading) =>
        reading.HasValue ? new(reading.GetValueOrDefault(), MetricValueKind.UInt64) : default;

    /// <summary>Takes a number or nothing.</summary>
    public static implicit operator MetricValue(ulong? value) => value is { } v ? new(v, MetricValueKind.UInt64) : default;

    /// <summary>Takes a number or nothing.</summary>
    public static implicit operator MetricValue(double? value) => value is { } v ? v : default(MetricValue);

    /// <summary>Takes an unsigned number.</summary>
    public static MetricValue FromUInt64(ulong value) => value;

    /// <summary>Takes a double.</summary>
    public static MetricValue FromDouble(double value) => value;

    /// <summary>The sum of two, for rows that share a label set; absent when both are.</summary>
    public static MetricValue Add(MetricValue left, MetricValue right) => (left.Kind, right.Kind) switch
    {
        (MetricValueKind.Absent, _) => right,
        (_, MetricValueKind.Absent) => left,
        (MetricValueKind.UInt64, MetricValueKind.UInt64) => unchecked(left._bits + right._bits),
        _ => left.AsDouble() + right.AsDouble(),
    };

    /// <inheritdoc />
    public bool Equals(MetricValue other) => Kind == other.Kind && _bits == other._bits;

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is MetricValue other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(_bits, Kind);

    /// <summary>Whether both hold the same.</summary>
    public static bool operator ==(MetricValue left, MetricValue right) => left.Equals(right);

    /// <summary>Whether they differ.</summary>
    public static bool operator !=(MetricValue left, MetricValue right) => !left.Equals(right);

    /// <inheritdoc />
    public override string ToString() => Kind switch
    {
        MetricValueKind.UInt64 => _bits.ToString(System.Globalization.CultureInfo.InvariantCulture),
        MetricValueKind.Double => AsDouble().ToString("R", System.Globalization.CultureInfo.InvariantCulture),
        _ => string.Empty,
    };
}
