using System.Diagnostics;

namespace KubeSkoop.Probes.Kubernetes.Tests.Live;

/// <summary>The sample exporter, run as people run it.</summary>
internal static class ExporterRun
{
    internal static string Exporter { get; } = Path.Combine(AppContext.BaseDirectory, "../../../../../samples/KubeSkoop.Exporter/bin", Repository.Configuration, "net10.0/KubeSkoop.Exporter.dll");

    internal static Task<string> OutputAsync(ContainerdNode node, params string[] arguments) =>
        Command.OutputAsync("dotnet", [Exporter, .. arguments, .. (arguments.Contains("KubeSkoop:Probes:Kubernetes:RuntimeEndpoint=none") ? Array.Empty<string>() : Setting(node))]);

    internal static Process Start(ContainerdNode node, params string[] arguments) => Command.Start("dotnet", [Exporter, .. arguments, .. Setting(node)]);

    internal static async Task EndAsync(Process serving)
    {
        serving.Kill();
        await serving.WaitForExitAsync();
        Command.Close(serving);
    }

    /// <summary>Where it says that it listens.</summary>
    internal static async Task<string> AddressOfAsync(Process serving)
    {
        _ = serving.StandardOutput.ReadToEndAsync();
        while (await serving.StandardError.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(20)) is { } line)
        {
            int at = line.IndexOf("http://", StringComparison.Ordinal);
            if (at < 0) continue;
            _ = serving.StandardError.ReadToEndAsync();
            return line[at..line.IndexOf("/metrics", at, StringComparison.Ordinal)];
        }
        throw new InvalidOperationException("The exporter did not say where it listens.");
    }

    private static string[] Setting(ContainerdNode node) => ["--set", $"KubeSkoop:Probes:Kubernetes:RuntimeEndpoint={node.Socket}"];
}
