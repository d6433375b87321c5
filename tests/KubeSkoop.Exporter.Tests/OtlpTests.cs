using System.Net;
using System.Text;

namespace KubeSkoop.Exporter.Tests;

[Collection("listens to all meters of the process")] // would sample the probes of who counts samples
public class OtlpTests
{
    [Fact]
    public async Task The_same_numbers_reach_an_otlp_receiver()
    {
        using var receiver = new HttpListener();
        int port = FreePort();
        receiver.Prefixes.Add($"http://127.0.0.1:{port}/");
        receiver.Start();

        // A name of its own: OpenTelemetry hears the meters of every exporter in the process.
        var probe = new FakeProbe("otlp");
        probe.Rows.Add((new SampleSubject(Make.Namespace(4026532001, "blue", pod: new PodIdentity("shop", "web-0"))), Make.Record(4711)));
        await using TestExporter exporter = await TestExporter.StartAsync([probe],
            ("KubeSkoop:Exporter:Otlp", $"http://127.0.0.1:{port}"), ("KubeSkoop:Exporter:OtlpInterval", "00:00:00.200"));

        // On a slow machine the first export may come before the probe has started.
        var metrics = new Dictionary<string, List<Point>>();
        for (int export = 0; export < 50 && !metrics.ContainsKey("kubeskoop.otlp.active_opens"); export++)
        {
            HttpListenerContext context = await receiver.GetContextAsync().WaitAsync(TimeSpan.FromSeconds(30));
            using var body = new MemoryStream();
            await context.Request.InputStream.CopyToAsync(body);
            context.Response.Close();
            Assert.Equal("/v1/metrics", context.Request.Url!.AbsolutePath);
            Assert.Equal("application/x-protobuf", context.Request.ContentType);
            metrics = OtlpMetrics.Read(body.ToArray());
        }
        Point opens = metrics["kubeskoop.otlp.active_opens"].Single();
        Assert.Equal(4711, opens.Integer);
        Assert.Equal("web-0", opens.Attributes["k8s.pod.name"]);
        Assert.Equal("shop", opens.Attributes["k8s.namespace.name"]);
        Assert.Equal("node-1", opens.Attributes["k8s.node.name"]);
        Assert.Equal(0.25, metrics["kubeskoop.otlp.utilization"].Single().Number);
        Assert.Contains("kubeskoop.probe.state", metrics.Keys);
    }

    private static int FreePort()
    {
        using var socket = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        socket.Start();
        return ((IPEndPoint)socket.LocalEndpoint).Port;
    }

    internal sealed record Point(long? Integer, double? Number, Dictionary<string, string> Attributes);

    /// <summary>
    /// As much of opentelemetry/proto/metrics/v1/metrics.proto as is needed: names, numbers and string attributes of sums
    /// and gauges.
    /// </summary>
    private static class OtlpMetrics
    {
        internal static Dictionary<string, List<Point>> Read(byte[] request)
        {
            var metrics = new Dictionary<string, List<Point>>();
            foreach (var resource in Fields(request).Where(static f => f.Number == 1))
                foreach (var scope in Fields(resource.Bytes).Where(static f => f.Number == 2))
                    foreach (var metric in Fields(scope.Bytes).Where(static f => f.Number == 2))
                    {
                        var fields = Fields(metric.Bytes).ToList();
                        string name = Encoding.UTF8.GetString(fields.Single(static f => f.Number == 1).Bytes.Span);
                        // 5 gauge, 7 sum; in both the points are field 1.
                        metrics[name] = [.. fields.Where(static f => f.Number is 5 or 7).SelectMany(static f => Fields(f.Bytes)).Where(static f => f.Number == 1).Select(static f => ReadPoint(f.Bytes))];
                    }
            return metrics;
        }

        private static Point ReadPoint(ReadOnlyMemory<byte> bytes)
        {
            long? integer = null;
            double? number = null;
            var attributes = new Dictionary<string, string>();
            foreach (var field in Fields(bytes))
            {
                if (field.Number == 4) number = BitConverter.UInt64BitsToDouble(field.Value);
                if (field.Number == 6) integer = (long)field.Value;
                if (field.Number != 7) continue;
                var pair = Fields(field.Bytes).ToList();
                var text = Fields(pair.Single(static f => f.Number == 2).Bytes).FirstOrDefault(static f => f.Number == 1);
                attributes[Encoding.UTF8.GetString(pair.Single(static f => f.Number == 1).Bytes.Span)] = Encoding.UTF8.GetString(text.Bytes.Span);
            }
            return new Point(integer, number, attributes);
        }

        private static List<(int Number, ulong Value, ReadOnlyMemory<byte> Bytes)> Fields(ReadOnlyMemory<byte> message)
        {
            var fields = new List<(int, ulong, ReadOnlyMemory<byte>)>();
            int at = 0;
            while (at < message.Length)
            {
                ulong key = Varint(message, ref at);
                switch (key & 7)
                {
                    case 0: fields.Add(((int)(key >> 3), Varint(message, ref at), default)); break;
                    case 1: fields.Add(((int)(key >> 3), BitConverter.ToUInt64(message.Span[at..]), default)); at += 8; break;
                    case 2:
                        int length = (int)Varint(message, ref at);
                        fields.Add(((int)(key >> 3), 0, message.Slice(at, length)));
                        at += length;
                        break;
                    case 5: at += 4; break;
                    default: throw new FormatException("No protobuf.");
                }
            }
            return fields;
        }

        private static ulong Varint(ReadOnlyMemory<byte> message, ref int at)
        {
            ulong value = 0;
            for (int shift = 0; ; shift += 7)
            {
                byte b = message.Span[at++];
                value |= (ulong)(b & 0x7f) << shift;
                if (b < 0x80) return value;
            }
        }
    }
}
