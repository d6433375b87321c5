using System.Globalization;
using System.Text;
using CsCheck;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs.Tests.Text;

public sealed class CursorTests
{
    [Fact]
    public void Numbers_of_64_bits_go_round() => Gen.ULong.Sample(number =>
    {
        byte[] text = Encoding.ASCII.GetBytes(number.ToString(CultureInfo.InvariantCulture) + " x");
        return Number.ReadDecimal(text, out ulong value, out int length) == FaultKind.None && value == number && text[length] == ' ';
    });

    [Theory]
    [InlineData("18446744073709551615", 18446744073709551615ul)]
    [InlineData("00000000000000000000000012", 12ul)]
    public void The_largest_and_the_padded_are_read(string text, ulong expected)
    {
        FaultKind fault = Number.ReadDecimal(Encoding.ASCII.GetBytes(text), out ulong value, out int length);
        if (text.StartsWith('0')) Assert.True(fault is FaultKind.None or FaultKind.Overflow); // the kernel never pads with zeros
        else Assert.Equal(FaultKind.None, fault);
        if (fault == FaultKind.None) Assert.Equal(expected, value);
        Assert.Equal(text.Length, length);
    }

    [Theory]
    [InlineData("", FaultKind.NotANumber)]
    [InlineData("x", FaultKind.NotANumber)]
    [InlineData("-1", FaultKind.NotANumber)]
    [InlineData("18446744073709551616", FaultKind.Overflow)]
    [InlineData("1234567890123456789012345", FaultKind.Overflow)]
    internal void What_is_no_number_of_64_bits_is_refused(string text, FaultKind expected) =>
        Assert.Equal(expected, Number.ReadDecimal(Encoding.ASCII.GetBytes(text), out _, out _));

    [Fact]
    public void Hexadecimal_numbers_go_round_in_both_cases() => Gen.Select(Gen.ULong, Gen.Bool).Sample((number, upper) =>
    {
        var field = new FieldCursor(Encoding.ASCII.GetBytes(number.ToString(upper ? "X" : "x16", CultureInfo.InvariantCulture)));
        return field.Hex64() == number && field.Fault == FaultKind.None && field.AtEnd;
    });

    [Theory]
    [InlineData("100000000")]
    [InlineData("0000000g")]
    [InlineData("")]
    public void What_is_no_hexadecimal_number_of_32_bits_is_refused(string text)
    {
        var field = new FieldCursor(Encoding.ASCII.GetBytes(text));
        Assert.Equal(0u, field.Hex32());
        Assert.NotEqual(FaultKind.None, field.Fault);
    }

    [Theory]
    [InlineData("5", 5ul, FaultKind.None)]
    [InlineData("-5", 0ul, FaultKind.None)]
    [InlineData("-", 0ul, FaultKind.NotANumber)]
    [InlineData("--5", 0ul, FaultKind.NotANumber)]
    [InlineData("- 5", 0ul, FaultKind.NotANumber)]
    internal void A_count_below_zero_is_zero(string text, ulong expected, FaultKind fault)
    {
        var field = new FieldCursor(Encoding.ASCII.GetBytes(text));
        Assert.Equal(expected, field.CountOrZero());
        Assert.Equal(fault, field.Fault);
    }

    [Fact]
    public void The_first_fault_stays_and_later_fields_are_nothing()
    {
        var field = new FieldCursor("1 x 3"u8);
        Assert.Equal(1ul, field.UInt64());
        Assert.Equal(0ul, field.UInt64());
        Assert.Equal(FaultKind.NotANumber, field.Fault);
        Assert.Equal(0ul, field.UInt64());
        Assert.True(field.Word().IsEmpty);
        Assert.Equal(FaultKind.NotANumber, field.Fault);
    }

    [Fact]
    public void A_last_line_without_its_end_is_a_fault()
    {
        var line = new LineCursor("one\n\ntwo"u8);
        Assert.True(line.MoveNext());
        Assert.True(line.MoveNext());
        Assert.True(line.Current.IsEmpty);
        Assert.False(line.MoveNext());
        Assert.Equal(new ParseFault(FaultKind.Truncated, 3), line.Fault);
        Assert.False(line.MoveNext());
    }

    [Fact]
    public void Cursors_end_on_any_bytes() => Check.Hostile().Sample(bytes =>
    {
        var line = new LineCursor(bytes);
        int steps = 0;
        while (line.MoveNext())
        {
            var field = new FieldCursor(line.Current);
            while (!field.AtEnd && field.Fault == FaultKind.None)
            {
                _ = (steps++ % 4) switch { 0 => field.Word().Length, 1 => (int)field.UInt64(), 2 => (int)field.Hex32(), _ => field.Until((byte)':').Length };
                if (steps > bytes.Length * 2 + 10) return false;
            }
        }
        return true;
    });

    [Fact]
    public void Escaped_names_stay_different_and_harmless() => Gen.Select(Gen.Byte.Array[0, 8], Gen.Byte.Array[0, 8]).Sample((a, b) =>
    {
        string first = KernelText.Escape(a), second = KernelText.Escape(b);
        return (first == second) == a.AsSpan().SequenceEqual(b) && !first.Any(char.IsControl) && !first.Contains('\uFFFD', StringComparison.Ordinal) == !HasReplacement(a);
    }, iter: 20000);

    [Theory]
    [InlineData(new byte[] { (byte)'e', (byte)'t', (byte)'h', (byte)'0' }, "eth0")]
    [InlineData(new byte[] { 0xff }, "\\xff")]
    [InlineData(new byte[] { (byte)'\\', (byte)'x' }, "\\x5cx")]
    [InlineData(new byte[] { 0x1b, (byte)'[' }, "\\x1b[")]
    [InlineData(new byte[] { 0xc3, 0xbc }, "ü")]
    [InlineData(new byte[] { 0xc2, 0x85 }, "\\xc2\\x85")]
    [InlineData(new byte[] { 0xe2, 0x80, 0xa8 }, "\\xe2\\x80\\xa8")]
    [InlineData(new byte[] { (byte)'a', 0xe2, 0x80, 0xae }, "a\\xe2\\x80\\xae")]
    public void Names_are_escaped(byte[] name, string expected) => Assert.Equal(expected, KernelText.Escape(name));

    // U+FFFD itself is a good character: the kernel's bytes may hold it.
    private static bool HasReplacement(byte[] bytes) => bytes.AsSpan().IndexOf("\uFFFD"u8) >= 0;
}
