using System.Globalization;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.Procfs.Tests.Sources;

/// <summary>Processes and their files that come and go while they are looked at: between any two calls something may be gone.</summary>
public sealed class VanishingTests
{
    private const int Rounds = 150;
    private static readonly string[] AllProbes = ["sock", "tcp", "udp", "ip", "icmp", "tcpext", "mptcp", "netdev", "fd", "io"];
    private static readonly string[] Files = ["net/snmp", "net/netstat", "net/snmp6", "net/sockstat", "net/sockstat6", "net/dev", "io", "limits", "stat", "cgroup", "comm", "ns/net", "fd/0", "fd", "net", "ns", ""];

    [Fact]
    public async Task Whatever_vanishes_while_it_is_read_the_rest_is_whole_and_nothing_throws()
    {
        using var proc = new FakeProc();
        Add(proc, 1, 100);
        Add(proc, 500, 999); // this one stays
        proc.Link("self/ns/net", "net:[100]").Write("self/fd", "").Write("self/io", Fixture.Bytes("6.18-loaded/proc/pid/io"));
        await using ServiceProvider services = new ServiceCollection().AddKubeSkoopProbes().AddProcfs(o =>
        {
            o.HostProc = proc.Root;
            o.NamespaceDirectories.Clear();
            o.RefreshInterval = TimeSpan.FromHours(1);
        }).Services.BuildServiceProvider();
        var manager = services.GetRequiredService<IProbeManager>();
        var namespaces = services.GetRequiredService<INetworkNamespaceSource>();
        foreach (string probe in AllProbes) await manager.StartAsync(probe);

        using var stop = new CancellationTokenSource();
        Exception? failure = null;
        var breaker = new Thread(() =>
        {
            var random = new Random(7);
            try
            {
                while (!stop.IsCancellationRequested)
                {
                    int pid = random.Next(20, 40);
                    if (!Directory.Exists(Path.Combine(proc.Root, pid.ToString(CultureInfo.InvariantCulture)))) Add(proc, pid, (uint)random.Next(200, 215));
                    else proc.Remove(Path.Combine(pid.ToString(CultureInfo.InvariantCulture), Files[random.Next(Files.Length)]));
                }
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        breaker.Start();
        try
        {
            for (int round = 0; round < Rounds; round++)
            {
                if (round % 3 == 0) namespaces.Refresh();
                var seen = new RecordingVisitor();
                manager.Collect(seen);
                Assert.Equal(AllProbes, seen.Probes.Where(static p => AllProbes.Contains(p)).Order(Comparer<string>.Create(static (a, b) => Array.IndexOf(AllProbes, a) - Array.IndexOf(AllProbes, b))));
                foreach (string probe in AllProbes)
                {
                    IReadOnlyList<RecordedRow> rows = seen.RowsOf(probe);
                    Assert.Contains(rows, static r => r.Subject.Namespace?.Inode == 999 && r.Values.Count > 0);
                    // Nobody is there twice.
                    Assert.Equal(rows.Count, rows.Select(static r => (r.Subject.Namespace, r.Subject.Pod, string.Join(',', r.Subject.Attributes.ToArray()))).Distinct().Count());
                }
            }
        }
        finally
        {
            await stop.CancelAsync();
            breaker.Join();
        }
        Assert.Null(failure);
        Assert.All(AllProbes, probe =>
        {
            IProbe p = manager.Find(probe)!;
            Assert.Equal((ProbeState.Running, 0), (p.Status.State, p.Statistics.Errors));
            Assert.Equal(0, p.Statistics.Denied);
        });

        // And when all is quiet, what is there is seen whole.
        for (int pid = 20; pid < 40; pid++)
        {
            proc.Remove(pid.ToString(CultureInfo.InvariantCulture));
            Add(proc, pid, (uint)pid + 300);
        }
        await Eventually.TrueAsync(
            () =>
            {
                namespaces.Refresh();
                var seen = new RecordingVisitor();
                manager.Collect(seen);
                return AllProbes.All(p => Enumerable.Range(320, 20).All(inode => seen.RowsOf(p).Any(r => r.Subject.Namespace?.Inode == inode && r.Values.Count > 0)));
            },
            "all twenty to be seen by all probes");
    }

    [LiveFact(Needs.NetNs, "bash")]
    public async Task Processes_that_live_for_a_moment_disturb_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using Live.LiveProbes probes = await Live.LiveProbes.StartAsync("fd", "io", "tcp");
        using System.Diagnostics.Process process = ns.Start("bash", "-c", "echo ready; while read -t 0.001 line || [ $? -gt 128 ]; do true | true | true; unshare --net true; done; echo done");
        try
        {
            Assert.Equal("ready", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            ulong written = 0;
            for (int i = 0; i < 30; i++)
            {
                FdRecord fd = probes.Record<FdRecord>("fd", ns);
                Assert.InRange(fd.Processes.Value, 2ul, 20ul);
                Assert.True(fd.OpenDescriptors.Value > 0);
                IoRecord io = probes.Record<IoRecord>("io", ns);
                Assert.True(io.WrittenCharacters.Value >= written);
                written = io.WrittenCharacters.Value;
                probes.Record<TcpRecord>("tcp", ns);
            }
            Assert.All((string[])["fd", "io", "tcp"], name => Assert.Equal((ProbeState.Running, 0, 0), (probes.Manager.Find(name)!.Status.State, probes.Manager.Find(name)!.Statistics.Errors, probes.Manager.Find(name)!.Statistics.Malformed)));
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync();
            Command.Close(process);
        }
    }

    private static void Add(FakeProc proc, int pid, uint inode)
    {
        proc.AddProcess(pid, inode);
        foreach (string file in (string[])["snmp", "netstat", "snmp6", "sockstat", "sockstat6", "dev"])
            proc.Write(FakeProc.Of(pid, "net/" + file), Fixture.Bytes($"6.18-loaded/proc/net/{file}"));
        proc.Write(FakeProc.Of(pid, "io"), Fixture.Bytes("6.18-loaded/proc/pid/io"));
        proc.Write(FakeProc.Of(pid, "limits"), Fixture.Bytes("6.18-loaded/proc/pid/limits"));
        proc.Write(FakeProc.Of(pid, "fd/0"), "");
    }
}
