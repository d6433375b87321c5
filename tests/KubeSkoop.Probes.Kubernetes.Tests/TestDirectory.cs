using KubeSkoop.Probes.Kubernetes.Tests.Cri;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Kubernetes.Tests;

/// <summary>Directories as the tests need them: quick, and of one runtime.</summary>
internal static class TestDirectory
{
    /// <summary>What the directories take this node to be called.</summary>
    internal const string Node = "node-a";

    internal static PodDirectory Of(string endpoint, Action<KubernetesOptions>? configure = null, string? hostProc = null, TimeProvider? clock = null)
    {
        var options = new KubernetesOptions { RuntimeEndpoint = endpoint, PollInterval = TimeSpan.FromMilliseconds(100) };
        configure?.Invoke(options);
        Assert.Empty(options.Validate());
        return new PodDirectory(Options.Create(options), hostProc is null ? null : Options.Create(new ProcfsOptions { HostProc = hostProc }), Options.Create(new ProbesOptions { NodeName = Node }), clock);
    }

    internal static async Task<PodDirectory> StartAsync(FakeCri cri, Action<KubernetesOptions>? configure = null, string? hostProc = null, TimeProvider? clock = null)
    {
        PodDirectory directory = Of(cri.Socket, configure, hostProc, clock);
        await directory.StartAsync(CancellationToken.None);
        return directory;
    }

    internal static PodInfo? Named(this PodDirectory directory, string name) => directory.Pods.FirstOrDefault(p => p.Identity.Name == name);

    /// <summary>Waits for a pod that is known with its details.</summary>
    internal static async Task<PodInfo> FindAsync(this PodDirectory directory, string name)
    {
        PodInfo? found = null;
        await Eventually.TrueAsync(() => (found = directory.Named(name)) is { } pod && (pod.NamespaceInode is not null || pod.IsHostNetwork), $"the pod {name}; known: {directory.Status}");
        return found!;
    }
}
