using System.Globalization;
using System.Text;
using KubeSkoop.Exporter.Events;

namespace KubeSkoop.Exporter.Http;

/// <summary><c>/events</c>: the events of the probes that run, as server-sent events, until the client goes.</summary>
internal sealed class EventsEndpoint(IProbeManager manager, IHostApplicationLifetime lifetime, TimeProvider clock)
{
    private const int MostClients = 32;
    private static readonly byte[] End = "\n\n"u8.ToArray();
    private static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(15);

    private int _clients;

    internal async Task AnswerAsync(HttpContext context)
    {
        string[] wanted = [.. context.Request.Query["probe"].SelectMany(static v => (v ?? string.Empty).Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))];
        foreach (string name in wanted)
        {
            if (EventProbes.Refusal(manager, name) is not { } refusal) continue;
            await RefuseAsync(context, StatusCodes.Status404NotFound, refusal);
            return;
        }
        if (Interlocked.Increment(ref _clients) > MostClients)
        {
            Interlocked.Decrement(ref _clients);
            await RefuseAsync(context, StatusCodes.Status503ServiceUnavailable, string.Create(CultureInfo.InvariantCulture, $"{MostClients} clients are reading events already."));
            return;
        }
        try
        {
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, lifetime.ApplicationStopping);
            await SendAsync(context.Response, [.. wanted.Select(n => manager.Find(n)!.Descriptor.Name)], stop.Token);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
        }
        finally
        {
            Interlocked.Decrement(ref _clients);
        }
    }

    private async Task SendAsync(HttpResponse response, HashSet<string> probes, CancellationToken cancellationToken)
    {
        response.ContentType = "text/event-stream; charset=utf-8";
        response.Headers.CacheControl = "no-store";
        using EventSubscription<ProbeEvent> events = manager.Events.Subscribe<ProbeEvent>(new EventSubscriptionOptions { Capacity = 4096 });
        using var json = new EventJson();
        long told = 0;
        long written = clock.GetTimestamp();
        await response.WriteAsync(": events of probes that run\n\n", cancellationToken);
        await response.BodyWriter.FlushAsync(cancellationToken);
        while (true)
        {
            using (var beat = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken))
            {
                TimeSpan left = Heartbeat - clock.GetElapsedTime(written);
                using ITimer timer = clock.CreateTimer(static state => ((CancellationTokenSource)state!).Cancel(), beat, left > TimeSpan.Zero ? left : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
                try
                {
                    if (!await events.Reader.WaitToReadAsync(beat.Token)) return;
                }
                catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
                {
                }
            }
            while (events.Reader.TryRead(out ProbeEvent? e))
            {
                if (probes.Count > 0 && !probes.Contains(e.Probe)) continue;
                await response.WriteAsync($"event: {e.Probe}\ndata: ", cancellationToken);
                await response.BodyWriter.WriteAsync(json.Write(e), cancellationToken);
                await response.BodyWriter.WriteAsync(End, cancellationToken);
                written = clock.GetTimestamp();
            }
            // A connection that is gone is noticed by writing to it; events that this client did not ask for write nothing.
            if (clock.GetElapsedTime(written) >= Heartbeat)
            {
                await response.WriteAsync(": still here\n\n", cancellationToken);
                written = clock.GetTimestamp();
            }
            if (events.Dropped is var dropped && dropped > told)
            {
                told = dropped;
                await response.WriteAsync(string.Create(CultureInfo.InvariantCulture, $"event: dropped\ndata: {{\"dropped\":{dropped}}}\n\n"), cancellationToken);
            }
            await response.BodyWriter.FlushAsync(cancellationToken);
        }
    }

    private static Task RefuseAsync(HttpContext context, int status, string message)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "text/plain; charset=utf-8";
        return context.Response.WriteAsync(Metrics.SafeText.Clean(message) + "\n", Encoding.UTF8, context.RequestAborted);
    }
}
