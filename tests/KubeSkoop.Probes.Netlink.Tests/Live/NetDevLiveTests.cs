using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;
using System.Text.Json;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>netdev from rtnetlink beside <c>/proc/net/dev</c> and <c>ip</c>.</summary>
public sealed class NetDevLiveTests
{
    [LiveFact(Needs.NetNs)]
    public async Task Both_sources_say_the_same_in_all_sixteen_columns()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await left.SendUdpAsync(10, new IPEndPoint(TestNamespace.RightIPv4, 9), size: 100);
            await right.IpAsync("link", "set", "eth0", "mtu", "600");
            await left.SendUdpAsync(4, new IPEndPoint(TestNamespace.RightIPv4, 9), size: 1000); // dropped on both sides
            await using QdiscBench bench = await QdiscBench.StartAsync(left, right);
            await using ServiceProvider services = Services(static probes => probes.AddProcfs());
            await using ProbeLease lease = await services.GetRequiredService<IProbeManager>().StartAsync("netdev");
            var files = (NetDevProbe)services.GetRequiredService<IProbeManager>().Find("netdev")!;
            Assert.Equal("procfs", files.Status.Source);

            foreach (TestNamespace ns in (TestNamespace[])[left, right])
            {
                Dictionary<string, NetDevRecord> rtnetlink = [], procfs = [];
                await Eventually.TrueAsync(
                    () =>
                    {
                        services.GetRequiredService<ProcNamespaceSource>().Refresh();
                        Dictionary<string, NetDevRecord> before = bench.Devices(ns);
                        procfs = files.Sample().Rows.ToArray().Where(r => r.Namespace?.Inode == ns.Inode).ToDictionary(static r => r.Subject.Attributes[0].Value, static r => r.Value);
                        rtnetlink = bench.Devices(ns);
                        return procfs.Count > 0 && before.All(d => Columns(d.Value).SequenceEqual(Columns(rtnetlink[d.Key])));
                    },
                    "the devices to be quiet");
                Assert.Equal(procfs.Keys, rtnetlink.Keys);
                foreach ((string name, NetDevRecord file) in procfs)
                {
                    Assert.Equal(Columns(file), Columns(rtnetlink[name]));
                    Assert.Equal(file.IsLoopback, rtnetlink[name].IsLoopback);
                    Assert.False(file.Mtu.HasValue);
                }
                // A late report of IPv6's groups may be dropped as well.
                Assert.InRange(ns == left ? rtnetlink["eth0"].SendDrops.Value : rtnetlink["eth0"].ReceiveDrops.Value, 4ul, 10ul);
                Assert.True(rtnetlink["eth0"].SentBytes.Value > 0);
            }
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task State_carrier_mtu_queue_and_speed_follow_the_device_at_once()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.AddPairAsync();
        await using QdiscBench bench = await QdiscBench.StartAsync(ns);
        await AssertLikeIpAsync(bench, ns);
        Assert.Equal((6ul, 1500ul, 1000ul), State(bench, ns));
        Assert.Equal(new Reading(10_000_000_000), bench.Devices(ns)["left"].Speed); // a veth says so
        Assert.False(bench.Devices(ns)["lo"].Speed.HasValue);
        ulong changes = bench.Devices(ns)["left"].CarrierChanges.Value;

        await ns.IpAsync("link", "set", "left", "mtu", "1400", "txqueuelen", "77");
        Assert.Equal((6ul, 1400ul, 77ul), State(bench, ns));
        await ns.IpAsync("link", "set", "right", "down");
        await Eventually.TrueAsync(() => State(bench, ns) == (3ul, 1400ul, 77ul), "the lower layer to be down");
        Assert.Equal(changes + 1, bench.Devices(ns)["left"].CarrierChanges.Value);
        await AssertLikeIpAsync(bench, ns);
        await ns.IpAsync("link", "set", "right", "up");
        await Eventually.TrueAsync(() => State(bench, ns) == (6ul, 1400ul, 77ul), "the device to be up again");
        Assert.Equal(changes + 2, bench.Devices(ns)["left"].CarrierChanges.Value);
        await ns.IpAsync("link", "set", "left", "down");
        Assert.Equal((2ul, 1400ul, 77ul), State(bench, ns));
        await AssertLikeIpAsync(bench, ns);
    }

    [LiveFact(Needs.NetNs)]
    public async Task The_speed_is_what_sysfs_shows()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.AddPairAsync();
        await using QdiscBench bench = await QdiscBench.StartAsync(ns);
        string megabits = await Command.OutputAsync("ip", "netns", "exec", ns.Name!, "cat", "/sys/class/net/left/speed");
        Assert.Equal(ulong.Parse(megabits.Trim(), CultureInfo.InvariantCulture) * 1_000_000, bench.Devices(ns)["left"].Speed.Value);
    }

    [LiveFact(Needs.NetNs)]
    public async Task With_the_netlink_package_the_probe_takes_rtnetlink_and_says_so()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using ServiceProvider services = Services(static probes => probes.AddProcfs().AddNetlink());
        IProbeManager manager = services.GetRequiredService<IProbeManager>();
        await using (await manager.StartAsync("netdev"))
        {
            var probe = (NetDevProbe)manager.Find("netdev")!;
            Assert.Equal("rtnetlink", probe.Status.Source);
            Assert.Equal(65536ul, Loopback(probe, ns).Mtu.Value);
        }
        // It can be started again.
        await using (await manager.StartAsync("netdev")) Assert.Equal(65536ul, Loopback((NetDevProbe)manager.Find("netdev")!, ns).Mtu.Value);
        Assert.Single(manager.Probes, static p => p.Descriptor.Name == "netdev");
    }

    [LiveFact(Needs.NetNs)]
    public async Task Without_the_right_to_enter_namespaces_it_falls_back_to_proc_and_says_why()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using ServiceProvider services = Services(static probes => probes.AddProcfs().AddNetlink());
        var probe = services.GetRequiredService<NetDevProbe>();
        await Capabilities.RunWithoutAsync(() => { probe.StartAsync().GetAwaiter().GetResult(); return true; }, Capability.SysAdmin);
        await using (probe)
        {
            Assert.Equal("procfs (rtnetlink: EPERM, CAP_SYS_ADMIN is missing to enter network namespaces)", probe.Status.Source);
            NetDevRecord loopback = Loopback(probe, ns);
            Assert.True(loopback.ReceivedBytes.HasValue);
            Assert.False(loopback.Mtu.HasValue);
        }
    }

    private static ServiceProvider Services(Action<IProbesBuilder> add)
    {
        var services = new ServiceCollection();
        add(services.AddKubeSkoopProbes());
        return services.BuildServiceProvider();
    }

    private static NetDevRecord Loopback(NetDevProbe probe, TestNamespace ns) =>
        Assert.Single(probe.Sample().Rows.ToArray(), r => r.Namespace?.Inode == ns.Inode && r.Value.IsLoopback).Value;

    private static (ulong, ulong, ulong) State(QdiscBench bench, TestNamespace ns)
    {
        NetDevRecord record = bench.Devices(ns)["left"];
        return (record.OperationalState.Value, record.Mtu.Value, record.TransmitQueueLength.Value);
    }

    private static Reading[] Columns(NetDevRecord record) => MemoryMarshal.CreateSpan(ref record.ReceivedBytes, NetDevRecord.Columns.Length).ToArray();

    private static async Task AssertLikeIpAsync(QdiscBench bench, TestNamespace ns)
    {
        string[] states = ["UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP"]; // RFC 2863
        Dictionary<string, NetDevRecord> ours = bench.Devices(ns);
        using JsonDocument json = JsonDocument.Parse(await ns.IpAsync("-s", "-s", "-j", "link"));
        foreach (JsonElement ip in json.RootElement.EnumerateArray())
        {
            if (!ip.TryGetProperty("ifname", out JsonElement name)) continue;
            NetDevRecord record = ours[name.GetString()!];
            Assert.Equal(ip.GetProperty("mtu").GetUInt64(), record.Mtu.Value);
            Assert.Equal(ip.GetProperty("txqlen").GetUInt64(), record.TransmitQueueLength.Value);
            Assert.Equal(ip.GetProperty("operstate").GetString(), states[record.OperationalState.Value]);
            JsonElement sent = ip.GetProperty("stats64").GetProperty("tx");
            if (sent.TryGetProperty("carrier_changes", out JsonElement changes)) Assert.Equal(changes.GetUInt64(), record.CarrierChanges.Value);
        }
    }
}
