using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.Conntrack;

public sealed class ConntrackOptionsTests
{
    [Fact]
    public async Task Settings_come_from_the_configuration()
    {
        IConfiguration configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["KubeSkoop:Probes:conntrack:Events"] = "New, Destroy",
            ["KubeSkoop:Probes:conntrack:Entries"] = "true",
            ["KubeSkoop:Probes:conntrack:EntriesProtocol"] = "6",
            ["KubeSkoop:Probes:conntrack:EntriesInterval"] = "00:05:00",
        }).Build();
        await using ServiceProvider services = Services(configuration);

        var probe = (ConntrackProbe)services.GetRequiredService<IProbeManager>().Find("conntrack")!;

        Assert.Equal(ConntrackNotices.New | ConntrackNotices.Destroy, probe.Options.Events);
        Assert.True(probe.Options.Entries);
        Assert.Equal((6, TimeSpan.FromMinutes(5)), (probe.Options.EntriesProtocol, probe.Options.EntriesInterval));
        Assert.Equal(new ConntrackOptions().CheckInterval, probe.Options.CheckInterval);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Namespaces_are_found_as_the_procfs_settings_say_in_any_order_of_packages(bool netlinkFirst)
    {
        var services = new ServiceCollection();
        services.AddSingleton<IConfiguration>(new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["KubeSkoop:Probes:Procfs:HostProc"] = "/host/proc",
            ["KubeSkoop:Probes:Procfs:NamespaceDirectories:0"] = "/host/netns",
            ["KubeSkoop:Probes:Procfs:MaxNamespaces"] = "7",
        }).Build());
        IProbesBuilder builder = services.AddKubeSkoopProbes();
        if (netlinkFirst) builder.AddNetlink();
        builder.AddProcfs(static o => o.MaxNamespaces = 8);
        if (!netlinkFirst) builder.AddNetlink();
        await using ServiceProvider provider = services.BuildServiceProvider();

        ProcfsOptions options = provider.GetRequiredService<IOptions<ProcfsOptions>>().Value;

        Assert.Equal(("/host/proc", 8), (options.HostProc, options.MaxNamespaces));
        Assert.Equal(["/run/netns", "/host/netns"], options.NamespaceDirectories);
        Assert.Same(provider.GetRequiredService<INetworkNamespaceSource>(), provider.GetRequiredService<NetlinkSockets>().Namespaces);
        Assert.Single(provider.GetServices<IProbe>(), static p => p.Descriptor.Name == "conntrack");
    }

    [Fact]
    public async Task Mistakes_are_named_by_their_key()
    {
        IConfiguration configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["KubeSkoop:Probes:conntrack:Events"] = "64",
            ["KubeSkoop:Probes:conntrack:EventBufferBytes"] = "100",
            ["KubeSkoop:Probes:conntrack:CheckInterval"] = "60",
            ["KubeSkoop:Probes:conntrack:EntriesInterval"] = "0",
            ["KubeSkoop:Probes:conntrack:EntriesTimeBudget"] = "-1",
            ["KubeSkoop:Probes:conntrack:EntriesProtocol"] = "256",
        }).Build();
        await using ServiceProvider services = Services(configuration);

        var e = Assert.Throws<OptionsValidationException>(() => services.GetRequiredService<IOptions<ConntrackOptions>>().Value);

        foreach (string key in (string[])["Events", "EventBufferBytes", "CheckInterval", "EntriesInterval", "EntriesTimeBudget", "EntriesProtocol"])
            Assert.Contains(e.Failures, f => f.StartsWith($"KubeSkoop:Probes:conntrack:{key} is ", StringComparison.Ordinal));
    }

    [Fact]
    public void A_probe_takes_its_own_settings_only_and_none_that_are_wrong()
    {
        using var sockets = new NetlinkSockets(new FakeNamespaceSource());
        var probe = new ConntrackProbe(sockets);
        Assert.Throws<ArgumentException>(() => probe.Configure(new OtherOptions()));
        Assert.Throws<ArgumentException>(() => probe.Configure(new ConntrackOptions { EventBufferBytes = 1 }));
        probe.Configure(new ConntrackOptions { Entries = true });
        Assert.True(probe.Options.Entries);
    }

    [Fact]
    public async Task A_machine_without_namespaces_is_no_failure()
    {
        var source = new FakeNamespaceSource();
        using var sockets = new NetlinkSockets(source);
        await using var probe = new ConntrackProbe(sockets);
        await probe.StartAsync();
        Assert.Equal("ctnetlink", probe.Status.Source);
        Assert.Equal(0, probe.Sample().Count);
        Assert.Throws<InvalidOperationException>(() => probe.Configure(new ConntrackOptions()));
        await probe.StopAsync();
        Assert.Equal(0, source.Leases);
    }

    private static ServiceProvider Services(IConfiguration configuration)
    {
        var services = new ServiceCollection();
        services.AddSingleton(configuration);
        services.AddKubeSkoopProbes().AddNetlink();
        return services.BuildServiceProvider();
    }

    private sealed class OtherOptions : ProbeOptions;
}
