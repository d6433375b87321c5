namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>ipvs on this kernel: its numbers where the module is loaded, and a plain word where it is not.</summary>
public sealed class IpvsLiveTests
{
    [LiveFact]
    public async Task Without_the_module_it_is_unavailable_and_with_it_the_host_has_a_row()
    {
        bool loaded = File.Exists("/proc/net/ip_vs_stats");
        if (!loaded)
        {
            await using LiveProbes none = await LiveProbes.StartAsync();
            ProbeUnavailableException e = await Assert.ThrowsAsync<ProbeUnavailableException>(() => none.Manager.StartAsync("ipvs"));
            Assert.Matches("modprobe ip_vs|built without IPVS", e.Message);
            Assert.True(File.Exists("/proc/modules") || !e.Message.Contains("modprobe", StringComparison.Ordinal), "a module for a kernel that takes none: " + e.Message);
            Assert.Equal((ProbeState.Unavailable, e.Message), (none.Manager.Find("ipvs")!.Status.State, none.Manager.Find("ipvs")!.Status.Reason));
            return;
        }
        await using LiveProbes probes = await LiveProbes.StartAsync("ipvs");
        Assert.Contains(probes.All<IpvsRecord>("ipvs"), static r => r.Namespace!.Inode == TestNamespace.OwnInode && r.Value.Connections.HasValue && r.Value.OutgoingBytes.HasValue);
    }
}
