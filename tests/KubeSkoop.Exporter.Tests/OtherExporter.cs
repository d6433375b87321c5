using System.Diagnostics;
using System.Text.Json;

namespace KubeSkoop.Exporter.Tests;

/// <summary>An exporter in a process of its own, which has fewer rights than the test, or sees another machine.</summary>
internal sealed class OtherExporter(string program, string[] before, string[] serve) : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private readonly Process _process = new() { StartInfo = new ProcessStartInfo(program, [.. before, "serve", "--port", "0", .. serve]) { RedirectStandardError = true, RedirectStandardOutput = true } };
    private readonly StringWriter _said = new();
    private readonly HttpClient _client = new();

    internal Uri Address { get; private set; } = null!;

    /// <summary>Its log.</summary>
    internal string Said
    {
        get
        {
            lock (_said) return _said.ToString();
        }
    }

    /// <summary>Waits until it listens.</summary>
    internal async Task StartAsync()
    {
        var listens = new TaskCompletionSource<string?>(TaskCreationOptions.RunContinuationsAsynchronously);
        _process.ErrorDataReceived += (_, e) =>
        {
            lock (_said) _said.WriteLine(e.Data);
            if (e.Data is null || e.Data.StartsWith("Listening on ", StringComparison.Ordinal)) listens.TrySetResult(e.Data);
        };
        Assert.True(_process.Start());
        _process.BeginErrorReadLine();
        _process.BeginOutputReadLine();
        string? line = await listens.Task.WaitAsync(Patience);
        Assert.True(line is not null, Said);
        Address = new Uri(line.Split(' ')[2].Replace("/metrics.", "/", StringComparison.Ordinal));
    }

    /// <summary>Its probes by their names, as <c>/status</c> has them.</summary>
    internal async Task<Dictionary<string, JsonElement>> ProbesAsync()
    {
        using var status = JsonDocument.Parse(await _client.GetStringAsync(new Uri(Address, "/status")));
        return status.RootElement.GetProperty("probes").EnumerateArray().ToDictionary(static p => p.GetProperty("name").GetString()!, static p => p.Clone());
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        try
        {
            _process.Kill(entireProcessTree: true);
            await _process.WaitForExitAsync();
        }
        catch (InvalidOperationException)
        {
            // It was never started.
        }
        _process.Dispose();
        _said.Dispose();
    }
}
