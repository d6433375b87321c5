using Microsoft.Extensions.Hosting;

namespace KubeSkoop.Probes.Lifecycle;

/// <summary>Starts the enabled probes with the host and stops all of them with it.</summary>
internal sealed class ProbesHostedService(ProbeManager manager) : IHostedService
{
    public Task StartAsync(CancellationToken cancellationToken) => manager.StartEnabledAsync(cancellationToken);

    public Task StopAsync(CancellationToken cancellationToken) => manager.StopAllAsync(cancellationToken);
}
