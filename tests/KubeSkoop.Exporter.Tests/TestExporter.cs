using Microsoft.Extensions.Configuration;

namespace KubeSkoop.Exporter.Tests;

/// <summary>A whole exporter on a free loopback port.</summary>
internal sealed class TestExporter : IAsyncDisposable
{
    private readonly ExporterApp _app;

    private TestExporter(ExporterApp app, StringWriter errors)
    {
        _app = app;
        Errors = errors;
        Client = new HttpClient(new SocketsHttpHandler { AutomaticDecompression = System.Net.DecompressionMethods.None }) { BaseAddress = app.Address };
    }

    internal HttpClient Client { get; }

    internal StringWriter Errors { get; }

    internal Uri Address => _app.Address;

    internal IProbeManager Manager => _app.Manager;

    internal static Task<TestExporter> StartAsync(IProbe[] probes, params (string Key, string Value)[] settings) => StartAsync(probes, clock: null, settings);

    internal static async Task<TestExporter> StartAsync(IProbe[] probes, TimeProvider? clock, params (string Key, string Value)[] settings)
    {
        IConfigurationRoot configuration = new ConfigurationBuilder()
            .AddInMemoryCollection([
                new("KubeSkoop:Exporter:Port", "0"),
                new("KubeSkoop:Probes:NodeName", "node-1"),
                new("KubeSkoop:Probes:Enabled", string.Join(',', probes.Select(static p => p.Descriptor.Name))),
            ])
            .AddInMemoryCollection(settings.Select(static s => new KeyValuePair<string, string?>(s.Key, s.Value)))
            .Build();
        var errors = new StringWriter();
        ExporterApp app = ExporterApp.Create(configuration, TextWriter.Synchronized(errors), Make.Probes(probes), clock);
        try
        {
            await app.StartAsync(CancellationToken.None);
        }
        catch
        {
            await app.DisposeAsync();
            throw;
        }
        return new TestExporter(app, errors);
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await _app.DisposeAsync();
    }
}
