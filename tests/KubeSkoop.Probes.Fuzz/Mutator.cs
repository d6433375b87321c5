namespace KubeSkoop.Probes.Fuzz;

/// <summary>Makes bad texts out of good ones, the same for the same seed.</summary>
internal sealed class Mutator(IReadOnlyList<byte[]> corpus, int seed)
{
    private const int LargestText = 256 * 1024;

    private static readonly byte[][] Tokens =
    [
        "18446744073709551615"u8.ToArray(), "18446744073709551616"u8.ToArray(), "99999999999999999999999"u8.ToArray(), "-1"u8.ToArray(), "-"u8.ToArray(),
        "00"u8.ToArray(), " 0 0 0 0 0 0 0 0"u8.ToArray(), "\n"u8.ToArray(), "\n\n"u8.ToArray(), " "u8.ToArray(), "\t"u8.ToArray(), ":"u8.ToArray(),
        "|"u8.ToArray(), "\0"u8.ToArray(), "\u00ff\ufffd"u8.ToArray(), ")"u8.ToArray(), "ffffffffffffffff"u8.ToArray(), ","u8.ToArray(), "\r\n"u8.ToArray(),
    ];

    private readonly Random _random = new(seed);

    internal byte[] Next()
    {
        var text = new List<byte>(corpus[_random.Next(corpus.Count)]);
        for (int i = _random.Next(4); i >= 0; i--) Mutate(text);
        if (text.Count > LargestText) text.RemoveRange(LargestText, text.Count - LargestText);
        return [.. text];
    }

    private void Mutate(List<byte> text)
    {
        int at = _random.Next(text.Count + 1);
        int length = Math.Min(_random.Next(1, 1 << _random.Next(1, 10)), text.Count - at);
        switch (_random.Next(9))
        {
            case 0: // cut
                text.RemoveRange(at, text.Count - at);
                break;
            case 1: // leave something out
                text.RemoveRange(at, length);
                break;
            case 2: // say something twice
                text.InsertRange(_random.Next(text.Count + 1), text.GetRange(at, length));
                break;
            case 3:
                for (int i = 0; i < length; i++) text[at + i] = (byte)_random.Next(256);
                break;
            case 4:
                if (at < text.Count) text[at] ^= (byte)(1 << _random.Next(8));
                break;
            case 5: // a line in another place
                byte[] line = Line(text, at, out int began);
                text.RemoveRange(began, line.Length);
                text.InsertRange(_random.Next(text.Count + 1), line);
                break;
            case 6: // a part of another text
                byte[] other = corpus[_random.Next(corpus.Count)];
                int from = _random.Next(other.Length + 1);
                text.InsertRange(at, other.AsSpan(from, Math.Min(_random.Next(512), other.Length - from)).ToArray());
                break;
            case 7: // far too many lines
                byte[] repeated = Line(text, at, out _);
                for (int i = _random.Next(6000); i > 0 && repeated.Length > 0 && text.Count < LargestText; i--) text.AddRange(repeated);
                break;
            default:
                text.InsertRange(at, Tokens[_random.Next(Tokens.Length)]);
                break;
        }
    }

    private static byte[] Line(List<byte> text, int at, out int began)
    {
        began = at == 0 ? 0 : text.LastIndexOf((byte)'\n', at - 1) + 1;
        int end = at < text.Count ? text.IndexOf((byte)'\n', at) : -1;
        return [.. text.GetRange(began, (end < 0 ? text.Count : end + 1) - began)];
    }
}
