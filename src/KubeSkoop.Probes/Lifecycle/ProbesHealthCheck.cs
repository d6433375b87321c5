using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace KubeSkoop.Probes.Lifecycle;

/// <summary>
/// Healthy: every started probe runs. Degraded: one failed or is unavailable, or a configured name is unknown; the reason
/// stands in the data. Unhealthy: probes were started and not one of them runs.
/// </summary>
internal sealed class ProbesHealthCheck(IProbeManager manager) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        var data = new Dictionary<string, object>();
        int running = 0, broken = 0;
        foreach (IProbe probe in manager.Probes)
        {
            ProbeStatus status = probe.Status;
            if (status.State == ProbeState.Stopped) continue;
            bool own = probe is SelfProbe;
            if (status.State == ProbeState.Running && !own) running++;
            if (status.State is ProbeState.Failed or ProbeState.Unavailable) broken++;
            data[probe.Descriptor.Name] = status.Reason is { } reason ? $"{status.State}: {reason}" : status.State.ToString();
        }
        foreach (string problem in manager.ConfigurationProblems) data[$"configuration {data.Count}"] = problem;

        HealthCheckResult result =
            running == 0 && (broken > 0 || manager.ConfigurationProblems.Count > 0) ? new(context.Registration.FailureStatus, "No probe runs.", data: data)
            : broken > 0 ? HealthCheckResult.Degraded($"{broken} of {broken + running} probes do not run.", data: data)
            : manager.ConfigurationProblems.Count > 0 ? HealthCheckResult.Degraded("The configuration names unknown probes.", data: data)
            : HealthCheckResult.Healthy($"{running} probes run.", data);
        return Task.FromResult(result);
    }
}
