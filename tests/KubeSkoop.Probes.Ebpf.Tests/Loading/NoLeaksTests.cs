using System.Net;
using KubeSkoop.Probes.Ebpf.Sources;
using KubeSkoop.Probes.Ebpf.Tests.Live;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Ebpf.Tests.Loading;

/// <summary>Looks at everything this process has in the kernel, so nothing may run beside it.</summary>
[CollectionDefinition("alone", DisableParallelization = true)]
public sealed class AloneDefinition;

[Collection("alone")]
public sealed class NoLeaksTests
{
    [LiveTheory(Needs.NetNs | Needs.Bpf | Needs.Native, "bpftool")]
    [InlineData("tcpreset", 2)]
    [InlineData("net_softirq", 3)]
    [InlineData("biolatency", 3)]
    public async Task Starting_and_stopping_leaves_nothing_in_the_kernel_and_no_descriptor(string name, int programs)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        Probe probe = name switch
        {
            "net_softirq" => new NetSoftirqProbe(bench.Programs),
            "biolatency" => new BioLatencyProbe(bench.Programs),
            _ => new TcpResetProbe(bench.Programs),
        };
        for (int i = 0; i < 3; i++) await CycleAsync(probe, ns); // what is made once is made by now
        int descriptors = KernelObjects();
        for (int i = 0; i < 60; i++) await CycleAsync(probe, ns);
        await Eventually.TrueAsync(() => KernelObjects() <= descriptors, "descriptors to be closed");
        await probe.StartAsync();
        string[] ours = Ids();
        Assert.True(ours.Count(static id => id.StartsWith("prog ", StringComparison.Ordinal)) >= programs && ours.Count(static id => id.StartsWith("map ", StringComparison.Ordinal)) >= 5
            && ours.Count(static id => id.StartsWith("link ", StringComparison.Ordinal)) >= programs, string.Join(", ", ours));
        string[] there = await IdsOfTheKernelAsync();
        Assert.All(ours, id => Assert.Contains(id, there)); // so the next look would see them
        await probe.StopAsync();
        await Eventually.TrueAsync(async () => !(await IdsOfTheKernelAsync()).Intersect(ours).Any(), "programs, maps and links to go");
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk | Needs.Native)]
    public async Task Sources_that_start_and_stop_with_their_probes_leave_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var namespaces = new ProcNamespaceSource();
        using var net = new ProcNet(namespaces, null, [new MibSource(new EbpfPrograms(namespaces))]);
        var tcp = new TcpProbe(net);
        var ip = new IpProbe(net);
        using var sockets = new NetlinkSockets(namespaces);
        var summary = new TcpSummaryProbe(sockets, net, null, null, [new TcpSocketSource(new EbpfPrograms(namespaces))]);
        for (int i = 0; i < 3; i++) await CycleAsync();
        int before = KernelObjects();
        for (int i = 0; i < 20; i++) await CycleAsync();
        await Eventually.TrueAsync(() => KernelObjects() <= before, "descriptors to be closed"); // those of threads that end, too
        Assert.Empty(Ids());

        async Task CycleAsync()
        {
            await tcp.StartAsync();
            await ip.StartAsync();
            Assert.Equal("bpf", tcp.Status.Source);
            Assert.True(tcp.Sample().Count > 1 && ip.Sample().Count > 1);
            await tcp.StopAsync();
            Assert.True(ip.Sample().Count > 1); // the source goes with the last
            Assert.NotEmpty(Ids());
            await ip.StopAsync();
            await summary.StartAsync();
            Assert.Equal("bpf", summary.Status.Source);
            Assert.True(summary.Sample().Count > 1);
            await summary.StopAsync();
        }
    }

    // fdinfo of programs, maps and links has lines such as "prog_id:	17".
    internal static string[] Ids() => [.. Directory.GetFiles("/proc/self/fdinfo").SelectMany(static f =>
    {
        try
        {
            return File.ReadAllLines(f).Where(static l => l.StartsWith("prog_id:", StringComparison.Ordinal) || l.StartsWith("map_id:", StringComparison.Ordinal) || l.StartsWith("link_id:", StringComparison.Ordinal))
                .Select(static l => l.Replace("_id:\t", " ", StringComparison.Ordinal));
        }
        catch (IOException)
        {
            return []; // closed meanwhile
        }
    }).Distinct()];

    internal static async Task<string[]> IdsOfTheKernelAsync()
    {
        var ids = new List<string>();
        foreach (string what in (string[])["prog", "map", "link"])
        {
            CommandResult listed = null!;
            // It gives up on one that somebody else is just making.
            await Eventually.TrueAsync(async () => (listed = await Command.RunAsync("bpftool", ["-j", what, "list"])).ExitCode == 0, () => $"bpftool to list every {what}: {listed.Output}");
            using var list = System.Text.Json.JsonDocument.Parse(listed.Output);
            ids.AddRange(list.RootElement.EnumerateArray().Select(e => $"{what} {e.GetProperty("id").GetInt32()}"));
        }
        return [.. ids];
    }

    private static async Task CycleAsync(Probe probe, TestNamespace ns)
    {
        await probe.StartAsync();
        await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, 4711));
        Assert.StartsWith("tp_btf", probe.Status.Source, StringComparison.Ordinal);
        await probe.StopAsync();
        Assert.Equal(ProbeState.Stopped, probe.Status.State);
    }

    // Programs, maps, links, epoll sets and the like; not files, which the runtime opens as it goes.
    internal static int KernelObjects() => Directory.GetFileSystemEntries("/proc/self/fd").Count(static f =>
    {
        try
        {
            return File.ResolveLinkTarget(f, returnFinalTarget: false)?.Name.StartsWith("anon_inode:", StringComparison.Ordinal) == true;
        }
        catch (IOException)
        {
            return false; // closed meanwhile
        }
    });
}
