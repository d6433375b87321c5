using System.Text;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.Procfs.Tests.Probes;

/// <summary>Files no kernel should give, in one namespace of several: its rows are missing and counted, all others stay.</summary>
public sealed class BadFilesTests
{
    private static readonly (string File, string[] Probes)[] Files =
    [
        ("snmp", ["tcp", "udp", "ip", "icmp"]),
        ("netstat", ["tcpext", "mptcp"]),
        ("sockstat", ["sock"]),
        ("dev", ["netdev"]),
    ];

    public static TheoryData<string, string> Broken
    {
        get
        {
            var all = new TheoryData<string, string>();
            foreach ((string file, _) in Files)
                foreach (string how in (string[])["empty", "cut", "garbage", "binary", "huge", "letters for numbers", "number too large"]) all.Add(file, how);
            return all;
        }
    }

    [Theory]
    [MemberData(nameof(Broken))]
    public async Task A_broken_file_costs_its_own_namespace_only(string file, string how)
    {
        using var proc = new FakeProc();
        Add(proc, 1, 100);
        Add(proc, 20, 200);
        Add(proc, 30, 300);
        byte[] good = Fixture.Bytes($"6.18-loaded/proc/net/{file}");
        byte[] bad = how switch
        {
            "empty" => [],
            "cut" => good[..(good.Length / 2)],
            "garbage" => Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("lorem ipsum: 12 dolor\n", 50))),
            "binary" => [.. Enumerable.Range(0, 4096).Select(static i => (byte)(i * 7))],
            "huge" => [.. Enumerable.Repeat(good, (32 * 1024 * 1024 / good.Length) + 1).SelectMany(static b => b)],
            "letters for numbers" => Encoding.ASCII.GetBytes(Encoding.ASCII.GetString(good).Replace(" 0", " x", StringComparison.Ordinal)),
            _ => Encoding.ASCII.GetBytes(Encoding.ASCII.GetString(good).Replace(" 0", " 99999999999999999999999", StringComparison.Ordinal)),
        };
        proc.Write(FakeProc.Of(20, "net/" + file), bad);

        await using ServiceProvider services = Services(proc);
        var manager = services.GetRequiredService<IProbeManager>();
        foreach (string probe in Files.Single(f => f.File == file).Probes)
        {
            await using ProbeLease lease = await manager.StartAsync(probe);
            var seen = new RecordingVisitor();
            Assert.True(manager.Collect(probe, seen));
            Assert.All((uint[])[100, 300], inode => Assert.Contains(seen.Rows, r => r.Subject.Namespace?.Inode == inode && r.Values.Count > 0));
            IProbe broken = manager.Find(probe)!;
            Assert.Equal(ProbeState.Running, broken.Status.State);
            Assert.Equal(0, broken.Statistics.Errors);
            // IPv6 of that namespace has a file of its own, and is well.
            Assert.DoesNotContain(seen.Rows, r => r.Subject.Namespace?.Inode == 200 && !r.Subject.Attributes.ToArray().Any(static a => a.Value == "ipv6")
                && r.Values.Keys.Any(static k => k is "kubeskoop.tcp.in_segments" or "kubeskoop.udp.in_datagrams" or "kubeskoop.sock.tcp_in_use" or "kubeskoop.tcpext.listen_overflows"));
            Assert.True(broken.Statistics.Malformed > 0, $"{probe} counts nothing as malformed.");
            Assert.Contains("/20/net/" + file, broken.Statistics.LastProblem, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_missing_file_is_no_fault()
    {
        using var proc = new FakeProc();
        Add(proc, 1, 100);
        Add(proc, 20, 200);
        proc.Remove("20/net/snmp6").Remove("20/net/sockstat6"); // IPv6 is switched off in the kernel
        await using ServiceProvider services = Services(proc);
        var manager = services.GetRequiredService<IProbeManager>();
        foreach (string probe in (string[])["udp", "ip", "icmp", "sock"])
        {
            await using ProbeLease lease = await manager.StartAsync(probe);
            var seen = new RecordingVisitor();
            Assert.True(manager.Collect(probe, seen));
            Assert.Contains(seen.Rows, static r => r.Subject.Namespace?.Inode == 200 && r.Values.Count > 0); // IPv4 stays
            Assert.Equal((0, 0), (manager.Find(probe)!.Statistics.Malformed, manager.Find(probe)!.Statistics.Denied));
        }
    }

    [Fact]
    public async Task Processes_that_vanish_between_any_two_reads_are_counted_not_thrown()
    {
        using var proc = new FakeProc();
        Add(proc, 1, 100);
        for (int pid = 20; pid < 30; pid++) Add(proc, pid, (uint)pid + 200);
        proc.Remove("20/net").Remove("21/stat").Remove("22/fd").Remove("23/comm").Remove("24/io").Remove("25/limits").Remove("26/cgroup").Remove("27/ns");
        await using ServiceProvider services = Services(proc);
        var manager = services.GetRequiredService<IProbeManager>();
        string[] probes = ["sock", "tcp", "udp", "ip", "icmp", "tcpext", "netdev", "fd", "io"];
        foreach (string probe in probes) await manager.StartAsync(probe);
        services.GetRequiredService<INetworkNamespaceSource>().Refresh();
        for (int round = 0; round < 3; round++)
        {
            var seen = new RecordingVisitor();
            manager.Collect(seen);
            Assert.All(probes, probe => Assert.Contains(seen.RowsOf(probe), static r => r.Subject.Namespace?.Inode == 229));
            proc.Remove(FakeProc.Of(28, round == 0 ? "net" : round == 1 ? "ns" : "stat"));
        }
        Assert.All(probes, probe => Assert.Equal((ProbeState.Running, 0), (manager.Find(probe)!.Status.State, manager.Find(probe)!.Statistics.Errors)));
    }

    private static void Add(FakeProc proc, int pid, uint inode)
    {
        proc.AddProcess(pid, inode, "app");
        foreach (string file in (string[])["snmp", "netstat", "snmp6", "sockstat", "sockstat6", "dev"])
            proc.Write(FakeProc.Of(pid, "net/" + file), Fixture.Bytes($"6.18-loaded/proc/net/{file}"));
        proc.Write(FakeProc.Of(pid, "io"), Fixture.Bytes("6.18-loaded/proc/pid/io"));
        proc.Write(FakeProc.Of(pid, "limits"), Fixture.Bytes("6.18-loaded/proc/pid/limits"));
        proc.Write(FakeProc.Of(pid, "fd/0"), "");
        if (pid != 1) return;
        proc.Link("self/ns/net", "net:[100]").Link("self/fd/0", "/dev/null").Write("self/io", Fixture.Bytes("6.18-loaded/proc/pid/io"));
    }

    private static ServiceProvider Services(FakeProc proc) => new ServiceCollection().AddKubeSkoopProbes().AddProcfs(o =>
    {
        o.HostProc = proc.Root;
        o.NamespaceDirectories.Clear();
    }).Services.BuildServiceProvider();
}
