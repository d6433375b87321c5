using System.Buffers.Text;

namespace KubeSkoop.Probes.Procfs.Text;

/// <summary>Decimal numbers as the kernel prints them.</summary>
internal static class Number
{
    /// <summary>So many digits fit 64 bits, whatever they are.</summary>
    internal const int SafeDigits = 19;

    /// <summary>Reads digits from the start of <paramref name="text"/> up to the first other byte.</summary>
    internal static FaultKind ReadDecimal(ReadOnlySpan<byte> text, out ulong value, out int length)
    {
        ulong number = 0;
        int i = 0;
        while ((uint)i < (uint)text.Length)
        {
            uint digit = (uint)text[i] - '0';
            if (digit > 9) break;
            number = number * 10 + digit;
            i++;
        }
        length = i;
        value = number;
        if (i == 0) return FaultKind.NotANumber;
        if (i <= SafeDigits) return FaultKind.None;
        // 20 digits may or may not fit; the kernel writes no leading zeros, so this is the rare path.
        return Utf8Parser.TryParse(text[..i], out value, out int used) && used == i ? FaultKind.None : FaultKind.Overflow;
    }
}
