using System.Buffers;
using System.Text.Json;
using KubeSkoop.Exporter.Metrics;

namespace KubeSkoop.Exporter.Events;

/// <summary>An event as one line of JSON. Strings are escaped by the writer, whoever chose them.</summary>
internal sealed class EventJson : IEventFieldWriter, IDisposable
{
    private readonly ArrayBufferWriter<byte> _buffer = new(1024);
    private readonly Utf8JsonWriter _json;

    internal EventJson() => _json = new Utf8JsonWriter(_buffer);

    /// <summary>The event's JSON; lent until the next one.</summary>
    internal ReadOnlyMemory<byte> Write(ProbeEvent e)
    {
        _buffer.ResetWrittenCount();
        _json.Reset();
        _json.WriteStartObject();
        _json.WriteString("time", e.Timestamp);
        _json.WriteString("probe", e.Probe);
        _json.WriteString("event", e.Type);
        _json.WriteString("node", e.Node);
        if (e.Namespace is { } ns) _json.WriteNumber("netns", ns.Inode);
        else _json.WriteNull("netns");
        _json.WriteString("namespace", PodText.Namespace(e.Pod, e.Namespace));
        _json.WriteString("pod", PodText.Name(e.Pod));
        if (e.Pod is { Attributes.Count: > 0 } pod)
        {
            _json.WriteStartObject("pod_attributes");
            foreach (SampleAttribute attribute in pod.Attributes) _json.WriteString(attribute.Name, attribute.Value);
            _json.WriteEndObject();
        }
        _json.WriteString("message", e.Message);
        _json.WriteStartObject("fields");
        e.WriteFields(this);
        _json.WriteEndObject();
        _json.WriteEndObject();
        _json.Flush();
        return _buffer.WrittenMemory;
    }

    void IEventFieldWriter.Write(string name, string value) => _json.WriteString(name, value);

    void IEventFieldWriter.Write(string name, long value) => _json.WriteNumber(name, value);

    void IEventFieldWriter.Write(string name, ulong value) => _json.WriteNumber(name, value);

    void IEventFieldWriter.Write(string name, double value)
    {
        if (double.IsFinite(value)) _json.WriteNumber(name, value); // JSON has no other numbers
    }

    public void Dispose() => _json.Dispose();
}
