using System.Text.Json;

namespace KubeSkoop.Exporter.Http;

internal static class JsonAnswer
{
    private static readonly JsonWriterOptions Indented = new() { Indented = true };

    /// <summary>Answers with what <paramref name="write"/> writes. Strings are escaped by the writer, whoever chose them.</summary>
    internal static async Task WriteJsonAsync(this HttpResponse response, int status, Action<Utf8JsonWriter> write)
    {
        response.StatusCode = status;
        response.ContentType = "application/json; charset=utf-8";
        response.Headers.CacheControl = "no-store";
        var json = new Utf8JsonWriter(response.BodyWriter, Indented);
        await using (json)
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
            json.Flush();
        }
        await response.BodyWriter.FlushAsync(response.HttpContext.RequestAborted);
    }
}
