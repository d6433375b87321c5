using System.Net;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.Ebpf.Tests.Loading;

/// <summary>Hot plug, again and again, of every BPF probe there is, while there is traffic for all of them.</summary>
[Collection("alone")]
public sealed class CyclesTests
{
    [LiveFact(Needs.NetNs | Needs.SocketStorage | Needs.Native, "bpftool")]
    public async Task A_thousand_starts_and_stops_under_traffic_leave_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using ServiceProvider services = new ServiceCollection().AddKubeSkoopProbes().AddEbpf().Services.AddLogging().BuildServiceProvider();
        IProbeManager manager = services.GetRequiredService<IProbeManager>();
        List<string> running = [];
        foreach (IProbe probe in manager.Probes.Where(static p => p.Descriptor.Source == ProbeSource.Ebpf))
            if (await RunsHereAsync(manager, probe.Descriptor.Name)) running.Add(probe.Descriptor.Name);
        string[] names = [.. running];
        Assert.True(names.Length >= 7);
        using var stop = new CancellationTokenSource();
        Task traffic = Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                await ns.TcpConnectionsAsync(5, bytes: 2000);
                await ns.RefusedConnectionsAsync(5, new IPEndPoint(IPAddress.Loopback, 4711));
                await ns.SendUdpAsync(20, new IPEndPoint(IPAddress.IPv6Loopback, 4711));
                await Task.Delay(5);
            }
        });
        try
        {
            foreach (string name in names) await CycleAsync(manager, name); // what is made once is made by now
            string[] seen = await RunningAsync(manager, names);
            int objects = NoLeaksTests.KernelObjects();
            int cycles = names.Length;
            while (cycles < 1000)
            {
                foreach (string name in names) await CycleAsync(manager, name);
                cycles += names.Length;
            }
            await Eventually.TrueAsync(() => Task.FromResult(NoLeaksTests.KernelObjects() <= objects), () => $"{objects} kernel objects, not {NoLeaksTests.KernelObjects()}");
            Assert.Empty(NoLeaksTests.Ids());
            await Eventually.TrueAsync(async () => !(await NoLeaksTests.IdsOfTheKernelAsync()).Intersect(seen).Any(), "programs, maps and links to go");
        }
        finally
        {
            await stop.CancelAsync();
            await traffic;
        }
    }

    // Not every machine has what each looks at.
    private static async Task<bool> RunsHereAsync(IProbeManager manager, string name)
    {
        try
        {
            await using ProbeLease lease = await manager.StartAsync(name);
            return true;
        }
        catch (ProbeUnavailableException)
        {
            return false;
        }
    }

    // All at once, and all of them in the kernel.
    private static async Task<string[]> RunningAsync(IProbeManager manager, string[] names)
    {
        ProbeLease[] leases = await Task.WhenAll(names.Select(name => manager.StartAsync(name)));
        string[] ours = NoLeaksTests.Ids();
        Assert.True(ours.Count(static id => id.StartsWith("prog ", StringComparison.Ordinal)) >= names.Length);
        string[] there = await NoLeaksTests.IdsOfTheKernelAsync();
        Assert.All(ours, id => Assert.Contains(id, there));
        await Task.WhenAll(leases.Select(static l => l.DisposeAsync().AsTask()));
        return ours;
    }

    private static async Task CycleAsync(IProbeManager manager, string name)
    {
        await using ProbeLease lease = await manager.StartAsync(name);
        Assert.Equal(ProbeState.Running, lease.Probe.Status.State);
    }
}
