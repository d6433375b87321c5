using System.Globalization;
using System.Text;

namespace KubeSkoop.Exporter.Metrics;

/// <summary>
/// Text that pods had a hand in (commands, device and file names), made safe to show: what would break a line, a terminal
/// or an encoding becomes U+FFFD.
/// </summary>
internal static class SafeText
{
    private const char Replacement = '\uFFFD';

    /// <summary>The text without control characters, line separators and unpaired surrogates.</summary>
    internal static string Clean(string text)
    {
        int at = 0;
        while (at < text.Length && text[at] is >= ' ' and < '\x7f') at++;
        if (at == text.Length) return text;
        var clean = new StringBuilder(text.Length);
        Append(clean, text, '\0');
        return clean.ToString();
    }

    /// <summary>Appends a label's value between quotes, escaped as both text formats ask.</summary>
    internal static void AppendLabelValue(StringBuilder to, string value) => Append(to, value, '"');

    /// <summary>Appends a HELP text; OpenMetrics escapes quotes there, the older format does not.</summary>
    internal static void AppendHelp(StringBuilder to, string text, bool escapeQuotes) => Append(to, text, escapeQuotes ? '"' : '\\');

    // escape: '\0' nothing, '\\' backslash and newline, '"' quote as well.
    private static void Append(StringBuilder to, string text, char escape)
    {
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (c == '\n' && escape != '\0') to.Append("\\n");
            else if (c == '\\' && escape != '\0') to.Append("\\\\");
            else if (c == '"' && escape == '"') to.Append("\\\"");
            else if (c < '\x7f' && c >= ' ') to.Append(c);
            else if (char.IsSurrogate(c))
            {
                if (char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1])) to.Append(c).Append(text[++i]);
                else to.Append(Replacement);
            }
            else to.Append(IsBreaking(c) ? Replacement : c);
        }
    }

    // Bidirectional overrides are formatting characters: they would turn a terminal's line around.
    private static bool IsBreaking(char c) =>
        char.GetUnicodeCategory(c) is UnicodeCategory.Control or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
        || c is (>= '\u202A' and <= '\u202E') or (>= '\u2066' and <= '\u2069') or '\uFEFF';
}
