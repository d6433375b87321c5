using System.Net;
using KubeSkoop.Exporter.Configuration;

namespace KubeSkoop.Exporter.Http;

/// <summary><c>POST /probes/{name}/start</c> and <c>/stop</c>: hot plug by hand.</summary>
internal sealed class ControlEndpoint(IProbeManager manager, ExporterOptions options)
{
    /// <summary>The first part of the path.</summary>
    internal const string Prefix = "/probes/";

    internal Task AnswerAsync(HttpContext context, string rest)
    {
        int slash = rest.IndexOf('/', StringComparison.Ordinal);
        string verb = slash < 0 ? string.Empty : rest[(slash + 1)..];
        if (verb is not ("start" or "stop")) return Answer(context, StatusCodes.Status404NotFound, null, "There is only POST /probes/{name}/start and POST /probes/{name}/stop.");
        if (!HttpMethods.IsPost(context.Request.Method))
        {
            context.Response.Headers.Allow = "POST";
            return Answer(context, StatusCodes.Status405MethodNotAllowed, null, $"Use POST to {verb} a probe.");
        }
        if (Refusal(context.Request) is { } refusal) return Answer(context, StatusCodes.Status403Forbidden, null, refusal);
        if (manager.Find(rest[..slash]) is not { } probe)
            return Answer(context, StatusCodes.Status404NotFound, null, new UnknownProbeException(rest[..slash], manager.Probes.Select(static p => p.Descriptor.Name)).Message);
        if (context.Request.QueryString.HasValue || context.Request.ContentLength > 0 || context.Request.Headers.TransferEncoding.Count > 0)
            return Answer(context, StatusCodes.Status400BadRequest, probe, "Settings are not taken here: they come from the configuration of the exporter (--set, --config).");
        return verb == "start" ? StartAsync(context, probe) : StopAsync(context, probe);
    }

    // A page in a browser on this machine reaches loopback too: its requests carry an Origin, or a Host that is a name.
    private string? Refusal(HttpRequest request)
    {
        if (!options.ControlAllowed())
            return $"Probes can be started and stopped over HTTP only when the exporter listens on loopback, or when {ExporterOptions.SectionName}:{nameof(ExporterOptions.AllowControl)} is true.";
        if (request.Headers.Origin.Count > 0) return "Requests from web pages are not taken.";
        bool named = !IPAddress.TryParse(request.Host.Host.Trim('[', ']'), out _) && !string.Equals(request.Host.Host, "localhost", StringComparison.OrdinalIgnoreCase);
        return named && options.AllowControl is not true ? "Address the exporter as localhost or by its IP address." : null;
    }

    private async Task StartAsync(HttpContext context, IProbe probe)
    {
        string name = probe.Descriptor.Name;
        if (probe.Status.State == ProbeState.Running)
        {
            await Answer(context, StatusCodes.Status409Conflict, probe, $"The probe {name} runs already.");
            return;
        }
        try
        {
            // The lease is given back by stopping the probe, which ends all leases.
            _ = await manager.StartAsync(name, null, context.RequestAborted);
            await Answer(context, StatusCodes.Status200OK, probe, $"The probe {name} runs.");
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            await Answer(context, StatusCodes.Status503ServiceUnavailable, probe, e.Message);
        }
    }

    private async Task StopAsync(HttpContext context, IProbe probe)
    {
        string name = probe.Descriptor.Name;
        if (probe.Status.State == ProbeState.Stopped)
        {
            await Answer(context, StatusCodes.Status409Conflict, probe, $"The probe {name} does not run.");
            return;
        }
        await manager.StopAsync(name, context.RequestAborted);
        await Answer(context, StatusCodes.Status200OK, probe, $"The probe {name} is stopped.");
    }

    private static Task Answer(HttpContext context, int status, IProbe? probe, string message) =>
        context.Response.WriteJsonAsync(status, json =>
        {
            if (probe is not null)
            {
                json.WriteString("probe", probe.Descriptor.Name);
                json.WriteString("state", probe.Status.State.ToString());
            }
            json.WriteString("message", message);
        });
}
