using KubeSkoop.Exporter.Metrics;
using Spectre.Console;

namespace KubeSkoop.Exporter.Cli;

/// <summary>Rows of text: framed on a terminal, plain aligned columns in a pipe. What pods named is made safe for both.</summary>
internal sealed class TextTable(params string[] columns)
{
    private const int Foldable = 24;

    private readonly List<string[]> _rows = [];

    internal void Add(params string[] cells) => _rows.Add([.. cells.Select(SafeText.Clean)]);

    internal void Write(CliHost host)
    {
        int[] widths = [.. columns.Select((c, i) => _rows.Select(r => r[i].Length).Append(c.Length).Max())];
        // A column of sentences is folded; a terminal without room for the others would fold every word and number.
        int framed = widths.Sum() - widths.Max() + Math.Min(widths.Max(), Foldable) + (3 * widths.Length) + 1;
        if (host.TerminalWidth is { } terminal && framed <= terminal) WriteFramed(host.Output, terminal);
        else WritePlain(host.Output, widths);
    }

    private void WriteFramed(TextWriter output, int terminal)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output) });
        console.Profile.Width = terminal;
        var table = new Table().Border(TableBorder.Rounded);
        foreach (string column in columns) table.AddColumn(new TableColumn(new Text(column, new Style(decoration: Decoration.Bold))));
        foreach (string[] row in _rows) table.AddRow(row.Select(static cell => new Text(cell)));
        console.Write(table);
    }

    private void WritePlain(TextWriter output, int[] widths)
    {
        foreach (string[] row in _rows.Prepend(columns))
            output.WriteLine(string.Join("  ", row.Select((cell, i) => cell.PadRight(widths[i]))).TrimEnd());
    }
}
