using System.IO.Compression;
using System.IO.Pipelines;
using KubeSkoop.Exporter.Metrics;

namespace KubeSkoop.Exporter.Http;

/// <summary><c>/metrics</c>: one collection, built in memory, then sent.</summary>
internal sealed class MetricsEndpoint(IProbeManager manager, PrometheusWriter writer, MetricNaming naming) : IDisposable
{
    // Below this the gzip header and the client's work outweigh what is saved on the wire.
    private const int SmallestToCompress = 1024;

    private const int LargestPart = 1024 * 1024;

    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly ScrapeBufferPool _buffers = new();

    internal async Task AnswerAsync(HttpContext context)
    {
        HttpRequest request = context.Request;
        // Upstream's counters do not end in _total, which OpenMetrics demands: that naming is served as text only.
        ExpositionFormat format = naming == MetricNaming.KubeSkoop ? ExpositionFormat.PrometheusText : Negotiation.Format(request.Headers.Accept);
        ScrapeBuffer buffer = _buffers.Rent();
        try
        {
            // Scrapes take turns: they would wait for each other's probes anyway, and one writer's memory serves them all.
            await _turn.WaitAsync(context.RequestAborted);
            try
            {
                writer.Write(manager, buffer, format);
                writer.Wrote(buffer.Length);
            }
            finally
            {
                _turn.Release();
            }
            await SendAsync(context, buffer, format);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // The client has gone.
        }
        finally
        {
            _buffers.Return(buffer);
        }
    }

    public void Dispose() => _turn.Dispose();

    private static async Task SendAsync(HttpContext context, ScrapeBuffer buffer, ExpositionFormat format)
    {
        HttpResponse response = context.Response;
        CancellationToken aborted = context.RequestAborted;
        response.ContentType = format == ExpositionFormat.OpenMetrics ? Negotiation.OpenMetricsContentType : Negotiation.TextContentType;
        bool body = !HttpMethods.IsHead(context.Request.Method);
        if (buffer.Length >= SmallestToCompress && Negotiation.AcceptsGzip(context.Request.Headers.AcceptEncoding))
        {
            response.Headers.ContentEncoding = "gzip";
            if (!body) return;
            await using var gzip = new GZipStream(response.Body, CompressionLevel.Fastest, leaveOpen: true);
            for (int i = 0; i < buffer.SegmentCount; i++) await gzip.WriteAsync(buffer.Segment(i), aborted);
            return;
        }
        response.ContentLength = buffer.Length;
        if (!body) return;
        await response.StartAsync(aborted);
        for (int i = 0; i < buffer.SegmentCount;)
        {
            i = Copy(buffer, i, response.BodyWriter);
            await response.BodyWriter.FlushAsync(aborted);
        }
    }

    // The server copies smaller parts into blocks of 4 KB and sends those with lists that it makes anew each time; a part
    // as large as this goes into one array of the shared pool and out in one call.
    private static int Copy(ScrapeBuffer buffer, int segment, PipeWriter to)
    {
        int length = 0;
        int end = segment;
        while (end < buffer.SegmentCount && (length == 0 || length + buffer.Segment(end).Length <= LargestPart)) length += buffer.Segment(end++).Length;
        Span<byte> part = to.GetSpan(length);
        for (; segment < end; segment++)
        {
            buffer.Segment(segment).Span.CopyTo(part);
            part = part[buffer.Segment(segment).Length..];
        }
        to.Advance(length);
        return end;
    }
}
