using System.Globalization;
using System.Text;

namespace KubeSkoop.Probes.Procfs.Text;

/// <summary>What is wrong with a kernel text.</summary>
internal enum FaultKind : byte
{
    None,

    /// <summary>The file ends in the middle: a short read, or a file that is not what it should be.</summary>
    Truncated,

    /// <summary>A number was expected.</summary>
    NotANumber,

    /// <summary>A number does not fit its field.</summary>
    Overflow,

    /// <summary>A row has fewer or more fields than its header, or than the kernel writes.</summary>
    FieldCount,

    /// <summary>A header or key was expected.</summary>
    UnknownShape,

    /// <summary>More than the largest buffer.</summary>
    TooLarge,
}

/// <summary>A fault and the line it is in.</summary>
internal readonly record struct ParseFault(FaultKind Kind, int Line)
{
    internal static ParseFault None => default;

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"line {Line}: {Kind switch
    {
        FaultKind.Truncated => "the text ends in the middle",
        FaultKind.NotANumber => "a number was expected",
        FaultKind.Overflow => "a number is too large",
        FaultKind.FieldCount => "too few or too many fields",
        FaultKind.UnknownShape => "not the expected form",
        FaultKind.TooLarge => "the file is larger than the reader's limit",
        _ => "no fault",
    }}");
}

/// <summary>Kernel and pod strings, made safe for people and formats.</summary>
internal static class KernelText
{
    /// <summary>Decodes bytes that should be UTF-8; invalid ones and control characters become U+FFFD.</summary>
    internal static string Decode(ReadOnlySpan<byte> bytes)
    {
        string text = Encoding.UTF8.GetString(bytes);
        return text.AsSpan().ContainsAnyInRange('\0', '\u001f') || text.AsSpan().ContainsAnyInRange('\u007f', '\u009f')
            ? string.Create(text.Length, text, static (span, source) =>
            {
                for (int i = 0; i < span.Length; i++) span[i] = char.IsControl(source[i]) ? '\uFFFD' : source[i];
            })
            : text;
    }

    /// <summary>
    /// As <see cref="Decode"/>, but two different names never become the same: what is not printable UTF-8, what breaks or turns around a
    /// line (line separators, bidirectional controls), and the backslash, is written as <c>\xNN</c>. For names that tell rows apart.
    /// </summary>
    internal static string Escape(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder(bytes.Length);
        while (!bytes.IsEmpty)
        {
            bool valid = Rune.DecodeFromUtf8(bytes, out Rune rune, out int length) == System.Buffers.OperationStatus.Done;
            if (valid && rune.Value != '\\' && !IsBreaking(rune))
            {
                text.Append(rune);
            }
            else
            {
                foreach (byte b in bytes[..length]) text.Append(CultureInfo.InvariantCulture, $"\\x{b:x2}");
            }
            bytes = bytes[length..];
        }
        return text.ToString();
    }

    private static bool IsBreaking(Rune rune) =>
        Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
        || rune.Value is (>= 0x202A and <= 0x202E) or (>= 0x2066 and <= 0x2069) or 0xFEFF;
}
