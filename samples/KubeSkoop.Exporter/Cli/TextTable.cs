using KubeSkoop.Exporter.Metrics;
using Spectre.Console;

namespace KubeSkoop.Exporter.Cli;

/// <summary>Rows of text: framed on a terminal, plain aligned columns in a pipe. What pods named is made safe for both.</summary>
internal sealed class TextTable(params string[] columns)
{
    private readonly List<string[]> _rows = [];

    internal void Add(params string[] cells) => _rows.Add([.. cells.Select(SafeText.Clean)]);

    internal void Write(CliHost host)
    {
        if (host.IsTerminal) WriteFramed(host.Output);
        else WritePlain(host.Output);
    }

    private void WriteFramed(TextWriter output)
    {
        var table = new Table().Border(TableBorder.Rounded);
        foreach (string column in columns) table.AddColumn(new TableColumn(new Text(column, new Style(decoration: Decoration.Bold))));
        foreach (string[] row in _rows) table.AddRow(row.Select(static cell => new Text(cell)));
        AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output) }).Write(table);
    }

    private void WritePlain(TextWriter output)
    {
        int[] widths = [.. columns.Select((c, i) => _rows.Select(r => r[i].Length).Append(c.Length).Max())];
        foreach (string[] row in _rows.Prepend(columns))
            output.WriteLine(string.Join("  ", row.Select((cell, i) => cell.PadRight(widths[i]))).TrimEnd());
    }
}
