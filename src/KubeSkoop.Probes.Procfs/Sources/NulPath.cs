using System.Buffers.Text;
using System.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Builds a NUL-terminated path on the stack: file names are bytes to the kernel, and no string is made.</summary>
internal ref struct NulPath(Span<byte> buffer)
{
    private readonly Span<byte> _buffer = buffer;
    private int _length;

    internal const int MaxLength = 512;

    internal NulPath Append(scoped ReadOnlySpan<byte> text)
    {
        if (text.Length > _buffer.Length - _length - 1) throw new PathTooLongException("A path below /proc has more than 512 bytes.");
        text.CopyTo(_buffer[_length..]);
        _length += text.Length;
        return this;
    }

    internal NulPath Append(string text)
    {
        Span<byte> bytes = stackalloc byte[MaxLength];
        return Append(bytes[..Encoding.UTF8.GetBytes(text, bytes)]);
    }

    internal NulPath Append(int number)
    {
        Span<byte> digits = stackalloc byte[11];
        _ = Utf8Formatter.TryFormat(number, digits, out int written);
        return Append(digits[..written]);
    }

    internal readonly ReadOnlySpan<byte> Terminate()
    {
        _buffer[_length] = 0;
        return _buffer[..(_length + 1)];
    }
}
