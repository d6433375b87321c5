using System.Text;
using System.Text.Json;

namespace KubeSkoop.Exporter.Cli;

/// <summary>One JSON object on the output, and a newline.</summary>
internal static class JsonOutput
{
    internal static void Write(TextWriter output, Action<Utf8JsonWriter> write)
    {
        using var memory = new MemoryStream();
        using (var json = new Utf8JsonWriter(memory, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }
        output.WriteLine(Encoding.UTF8.GetString(memory.GetBuffer().AsSpan(0, (int)memory.Length)));
    }
}
