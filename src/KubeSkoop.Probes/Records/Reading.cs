using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace KubeSkoop.Probes;

/// <summary>
/// A number the kernel gave, or none: absent is not zero. Eight bytes, and <see langword="default"/> is absent,
/// so a cleared record says nothing it was not told.
/// </summary>
public readonly struct Reading : IEquatable<Reading>, ISpanFormattable
{
    private readonly ulong _valuePlusOne;

    /// <summary>A reading with a value. <see cref="ulong.MaxValue"/> (the kernel's -1, "no limit") is absent.</summary>
    public Reading(ulong value) => _valuePlusOne = unchecked(value + 1);

    /// <summary>Whether this kernel published the number.</summary>
    public bool HasValue => _valuePlusOne != 0;

    /// <summary>The number.</summary>
    /// <exception cref="InvalidOperationException">It is absent.</exception>
    public ulong Value => HasValue ? _valuePlusOne - 1 : ThrowAbsent();

    /// <summary>The number, or 0 when absent.</summary>
    public ulong GetValueOrDefault() => HasValue ? _valuePlusOne - 1 : 0;

    /// <summary>The number, or <see langword="null"/>.</summary>
    public ulong? ToNullable() => HasValue ? _valuePlusOne - 1 : null;

    /// <summary>The number, or <see langword="null"/>.</summary>
    public static implicit operator ulong?(Reading reading) => reading.ToNullable();

    /// <summary>A reading with this value.</summary>
    public static implicit operator Reading(ulong value) => new(value);

    /// <summary>A reading with this value.</summary>
    public static Reading FromUInt64(ulong value) => new(value);

    /// <summary>The sum; absent when both are.</summary>
    public static Reading operator +(Reading left, Reading right) =>
        !left.HasValue ? right : !right.HasValue ? left : new Reading(unchecked(left.Value + right.Value));

    /// <summary>The sum; absent when both are.</summary>
    public static Reading Add(Reading left, Reading right) => left + right;

    /// <inheritdoc />
    public bool Equals(Reading other) => _valuePlusOne == other._valuePlusOne;

    /// <inheritdoc />
    public override bool Equals([NotNullWhen(true)] object? obj) => obj is Reading other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => _valuePlusOne.GetHashCode();

    /// <summary>Whether both are absent or both have the same value.</summary>
    public static bool operator ==(Reading left, Reading right) => left.Equals(right);

    /// <summary>Whether they differ.</summary>
    public static bool operator !=(Reading left, Reading right) => !left.Equals(right);

    /// <summary>The number in invariant digits; empty when absent.</summary>
    public override string ToString() => HasValue ? Value.ToString(CultureInfo.InvariantCulture) : string.Empty;

    /// <inheritdoc />
    public string ToString(string? format, IFormatProvider? formatProvider) =>
        HasValue ? Value.ToString(format, formatProvider) : string.Empty;

    /// <inheritdoc />
    public bool TryFormat(Span<char> destination, out int charsWritten, ReadOnlySpan<char> format, IFormatProvider? provider)
    {
        charsWritten = 0;
        return !HasValue || Value.TryFormat(destination, out charsWritten, format, provider);
    }

    [DoesNotReturn]
    private static ulong ThrowAbsent() => throw new InvalidOperationException("This kernel does not publish the number; ask HasValue first.");
}
