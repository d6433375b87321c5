using KubeSkoop.Probes.Lifecycle;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace KubeSkoop.Probes.Tests.Lifecycle;

public sealed class HealthCheckTests
{
    private static readonly Func<CancellationToken, ValueTask<string?>> Broken = static _ => throw new IOException("no such file");

    [Fact]
    public async Task All_running_is_healthy()
    {
        HealthReportEntry entry = await CheckAsync([new TestProbe("a"), new TestProbe("b"), new TestProbe("idle")], "a", "b");
        Assert.Equal((HealthStatus.Healthy, "2 probes run."), (entry.Status, entry.Description));
        Assert.Equal("Running", entry.Data["a"]);
        Assert.DoesNotContain("idle", entry.Data.Keys);
    }

    [Fact]
    public async Task One_that_fails_is_degraded_and_the_data_says_why()
    {
        HealthReportEntry entry = await CheckAsync([new TestProbe("a"), new TestProbe("b") { Starting = Broken }], "a", "b");
        Assert.Equal((HealthStatus.Degraded, "1 of 2 probes do not run."), (entry.Status, entry.Description));
        Assert.Equal("Failed: no such file", entry.Data["b"]);
    }

    [Fact]
    public async Task One_that_is_unavailable_is_degraded_too()
    {
        var absent = new TestProbe("b") { Starting = static _ => throw new ProbeUnavailableException("b", "load", "refused", "Allow it.") };
        HealthReportEntry entry = await CheckAsync([new TestProbe("a"), absent], "a", "b");
        Assert.Equal(HealthStatus.Degraded, entry.Status);
        Assert.Equal("Unavailable: b: load: refused. Allow it.", entry.Data["b"]);
    }

    [Fact]
    public async Task None_running_is_unhealthy()
    {
        HealthReportEntry entry = await CheckAsync([new TestProbe("a") { Starting = Broken }, new TestProbe("idle")], "a");
        Assert.Equal((HealthStatus.Unhealthy, "No probe runs."), (entry.Status, entry.Description));
    }

    [Fact]
    public async Task An_unknown_name_in_the_configuration_is_degraded()
    {
        HealthReportEntry entry = await CheckAsync([new TestProbe("a")], "a", "tpc");
        Assert.Equal(HealthStatus.Degraded, entry.Status);
        Assert.Contains(entry.Data.Values, static v => v.ToString()!.Contains("There is no probe 'tpc'", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Nothing_enabled_is_nothing_wrong() =>
        Assert.Equal((HealthStatus.Healthy, "0 probes run."), await CheckAsync([new TestProbe("a")]) is var e ? (e.Status, e.Description) : default);

    private static async Task<HealthReportEntry> CheckAsync(IProbe[] probes, params string[] enabled)
    {
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddKubeSkoopProbes(o => o.Enable(enabled));
        foreach (IProbe probe in probes) services.AddSingleton(probe);
        services.AddHealthChecks().AddKubeSkoopProbes();
        await using ServiceProvider provider = services.BuildServiceProvider();
        await provider.GetRequiredService<ProbeManager>().StartEnabledAsync();
        HealthReport report = await provider.GetRequiredService<HealthCheckService>().CheckHealthAsync();
        return report.Entries["kubeskoop_probes"];
    }
}
