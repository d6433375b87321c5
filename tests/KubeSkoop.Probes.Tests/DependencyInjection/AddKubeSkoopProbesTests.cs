using System.Diagnostics.Metrics;
using KubeSkoop.Probes.Lifecycle;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Tests.DependencyInjection;

public sealed class AddKubeSkoopProbesTests
{
    [Fact]
    public async Task A_strangers_probe_gets_everything_by_one_call()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Services.AddKubeSkoopProbes(o => o.Enable("strangers")).AddProbe<StrangersProbe>();
        using IHost host = builder.Build();
        await host.StartAsync();
        var manager = host.Services.GetRequiredService<IProbeManager>();
        IProbe probe = manager.Find("strangers")!;
        Assert.Equal(ProbeState.Running, probe.Status.State);

        // The direct path, self-metrics and hot plug.
        var seen = new RecordingVisitor();
        manager.Collect(seen);
        Assert.Equal((MetricValue)5ul, seen.Value("kubeskoop.test.opened"));
        Assert.Equal((MetricValue)2ul, seen.Value("kubeskoop.probe.state", "strangers"));

        // The meter path.
        long measured = 0;
        using var listener = new MeterListener
        {
            InstrumentPublished = (i, l) =>
            {
                if (i.Meter.Name == "KubeSkoop.Probes.strangers" && ReferenceEquals(i.Meter.Scope, host.Services.GetRequiredService<IMeterFactory>())) l.EnableMeasurementEvents(i);
            },
        };
        listener.SetMeasurementEventCallback<long>((_, v, _, _) => measured += v);
        listener.Start();
        listener.RecordObservableInstruments();
        Assert.Equal(5, measured);

        await manager.StopAsync("strangers");
        Assert.Equal(ProbeState.Stopped, probe.Status.State);
        await using (await manager.StartAsync("strangers")) Assert.Equal(ProbeState.Running, probe.Status.State);
        await host.StopAsync();
        Assert.All(manager.Probes, static p => Assert.Equal(ProbeState.Stopped, p.Status.State));
    }

    [Fact]
    public async Task Adding_twice_adds_once()
    {
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddKubeSkoopProbes(o => o.Enable("strangers")).AddProbe<StrangersProbe>();
        services.AddKubeSkoopProbes(o => o.Enable("other")).AddProbe<StrangersProbe>();
        await using ServiceProvider provider = services.BuildServiceProvider();
        var manager = provider.GetRequiredService<ProbeManager>();
        Assert.Equal(["strangers", "probe"], manager.Probes.Select(static p => p.Descriptor.Name));
        Assert.Empty(manager.ConfigurationProblems);
        Assert.Single(provider.GetServices<IHostedService>());
        Assert.Equal(["strangers", "other"], provider.GetRequiredService<IOptions<ProbesOptions>>().Value.Enabled);
        Assert.Same(manager, provider.GetRequiredService<IProbeManager>());
        Assert.Same(manager.Events, provider.GetRequiredService<EventHub>());
    }

    [Fact]
    public async Task What_a_host_registers_itself_is_used()
    {
        var clock = new FakeTimeProvider();
        var resolver = new NamedResolver();
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddSingleton<TimeProvider>(clock);
        services.AddSingleton<IPodResolver>(resolver);
        services.AddKubeSkoopProbes();
        await using ServiceProvider provider = services.BuildServiceProvider();
        Assert.Same(clock, provider.GetRequiredService<TimeProvider>());
        Assert.Same(resolver, provider.GetRequiredService<IPodResolver>());
        Assert.Equal(clock.GetUtcNow(), provider.GetRequiredService<IProbeManager>().Probes[0].Status.Since);
    }

    [Theory]
    [InlineData("RetryDelay", "00:00:00", "KubeSkoop:Probes:RetryDelay is 00:00:00; it must be longer than zero.")]
    [InlineData("MaxRetryDelay", "00:00:00.5", "KubeSkoop:Probes:MaxRetryDelay is 00:00:00.5000000; it must not be shorter than RetryDelay.")]
    [InlineData("MeterSampleReuse", "-00:00:01", "KubeSkoop:Probes:MeterSampleReuse is -00:00:01; it must not be negative.")]
    [InlineData("Enabled:0", " ", "KubeSkoop:Probes:Enabled is ''; it must hold probe names.")]
    public async Task A_wrong_setting_stops_the_host_at_its_start_and_names_the_key(string key, string value, string message)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { [$"KubeSkoop:Probes:{key}"] = value });
        builder.Services.AddKubeSkoopProbes();
        builder.Services.Configure<ProbesOptions>(builder.Configuration.GetSection(ProbesOptions.SectionName));
        using IHost host = builder.Build();
        var e = await Assert.ThrowsAsync<OptionsValidationException>(() => host.StartAsync());
        Assert.Equal(message, Assert.Single(e.Failures));
    }

    [Fact]
    public async Task A_probes_own_wrong_setting_stops_the_host_too()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["KubeSkoop:Probes:test:Threshold"] = "-3" });
        builder.Services.AddKubeSkoopProbes().AddProbeOptions<SettableOptions>("KubeSkoop:Probes:test", static (section, o) => section.Bind(o));
        using IHost host = builder.Build();
        var e = await Assert.ThrowsAsync<OptionsValidationException>(() => host.StartAsync());
        Assert.Equal("Threshold: -3 is negative.", Assert.Single(e.Failures));
    }

    [Fact]
    public void Settings_in_code_win_over_the_configuration()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["KubeSkoop:Probes:test:Threshold"] = "3", ["KubeSkoop:Probes:test:Other"] = "4" });
        builder.Services.AddKubeSkoopProbes().AddProbeOptions<SettableOptions>("KubeSkoop:Probes:test", static (section, o) => section.Bind(o), o => o.Threshold = 5);
        using IHost host = builder.Build();
        SettableOptions options = host.Services.GetRequiredService<IOptions<SettableOptions>>().Value;
        Assert.Equal((5, 4), (options.Threshold, options.Other));
    }

    [Fact]
    public async Task No_container_is_needed()
    {
        var probe = new TestProbe();
        await using (var manager = new ProbeManager([probe]))
        {
            await using ProbeLease lease = await manager.StartAsync("test");
            Assert.Equal(1ul, Assert.Single(probe.Sample().Rows.ToArray()).Value.Opened.Value);
        }
        Assert.Equal((ProbeState.Stopped, 0), (probe.Status.State, probe.Held));
        await using var alone = new TestProbe();
        await alone.StartAsync();
        Assert.Equal(1, alone.Sample().Count);
    }

    [Fact]
    public void The_nodes_name_is_what_was_set() => Assert.Equal("node-7", new ProbesOptions { NodeName = "node-7" }.ResolvedNodeName);

    public sealed class SettableOptions : ProbeOptions
    {
        public int Threshold { get; set; }

        public int Other { get; set; }

        public override IEnumerable<string> Validate()
        {
            if (Threshold < 0) yield return $"Threshold: {Threshold} is negative.";
        }
    }

    /// <summary>All a stranger writes.</summary>
    public sealed class StrangersProbe() : MetricProbe<TestRecord>(
        new ProbeDescriptor { Name = "strangers", Source = ProbeSource.Other, Overhead = OverheadClass.Low, Purpose = "A stranger's." })
    {
        public override MetricTable<TestRecord> Metrics => TestRecord.Metrics;

        protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken) => ValueTask.FromResult<string?>(null);

        protected override ValueTask OnStopAsync() => ValueTask.CompletedTask;

        protected override void Read(SampleBatch<TestRecord> batch) => batch.Add(SampleSubject.Node).Opened = 5;
    }

    private sealed class NamedResolver : IPodResolver
    {
        public PodIdentity? Resolve(NetworkNamespace networkNamespace) => new("shop", "web-1");

        public PodIdentity? ResolveCgroup(string cgroupPath) => null;
    }
}
