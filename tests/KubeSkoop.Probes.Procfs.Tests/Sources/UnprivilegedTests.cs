using System.Diagnostics;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Procfs.Tests.Sources;

/// <summary>Without rights: what is refused is counted, said with the right that is missing, and takes nothing from the rest.</summary>
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class UnprivilegedTests
{
    [LiveFact(Needs.NetNs)]
    public async Task Processes_of_others_are_counted_as_refused_and_our_own_namespace_is_read()
    {
        await using TestNamespace ns = await TestNamespace.CreateUnboundAsync();
        Unprivileged.Run(() =>
        {
            using var source = new ProcNamespaceSource(Options.Create(new ProcfsOptions()));
            using IDisposable lease = source.Acquire();
            Assert.True(source.DeniedProcesses > 0);
            Assert.DoesNotContain(source.Current, n => n.Inode == ns.Inode);
            Assert.Contains(source.Current, static n => n.Inode == TestNamespace.OwnInode);
        });
    }

    [LiveTheory(Needs.NetNs, "setpriv")]
    [InlineData("fd")]
    [InlineData("io")]
    public async Task A_probe_of_processes_shows_those_of_its_user_and_says_which_right_is_missing_for_others(string name)
    {
        await using TestNamespace ns = await TestNamespace.CreateUnboundAsync();
        using Process own = ns.Start("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat");
        try
        {
            await own.StandardInput.WriteAsync("x\n");
            await own.StandardInput.FlushAsync();
            Assert.Equal("x", await own.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout)); // it has arrived where it is to be
            Unprivileged.Run(() =>
            {
                IProbe probe = name == "fd" ? Now(FdProbe.StartNewAsync()) : Now(IoProbe.StartNewAsync());
                try
                {
                    if (probe is FdProbe fd)
                    {
                        FdRecord row = fd.Sample().Rows.ToArray().Single(r => r.Namespace!.Inode == ns.Inode).Value;
                        Assert.Equal((1ul, (ulong)TestNamespace.OpenDescriptors(own.Id)), (row.Processes.Value, row.OpenDescriptors.Value)); // root's is not seen
                    }
                    else
                    {
                        IoRecord row = ((IoProbe)probe).Sample().Rows.ToArray().Single(r => r.Namespace!.Inode == ns.Inode).Value;
                        Assert.InRange(row.WriteCalls.Value, 1ul, 100ul);
                    }
                    Assert.True(probe.Statistics.Denied > 0);
                    Assert.Equal((ProbeState.Running, 0), (probe.Status.State, probe.Statistics.Errors));
                    Assert.Contains("CAP_SYS_PTRACE", probe.Statistics.LastProblem, StringComparison.Ordinal);
                    Assert.Contains("/proc/<pid>/", probe.Statistics.LastProblem, StringComparison.Ordinal);
                }
                finally
                {
                    Now(probe.StopAsync());
                }
            });
        }
        finally
        {
            own.Kill();
            await own.WaitForExitAsync();
            Command.Close(own);
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_probe_of_namespaces_says_that_some_may_be_hidden()
    {
        await using TestNamespace ns = await TestNamespace.CreateUnboundAsync();
        Unprivileged.Run(() =>
        {
            var options = new ProcfsOptions();
            options.NamespaceDirectories.Clear();
            TcpProbe tcp = Now(TcpProbe.StartNewAsync(options));
            NetDevProbe netdev = Now(NetDevProbe.StartNewAsync(options));
            try
            {
                Assert.Equal((1, 1), (tcp.Sample().Skips.Denied, netdev.Sample().Skips.Denied));
                Assert.All((IProbe[])[tcp, netdev], static p => Assert.Matches("The network namespaces of [0-9]+ processes cannot be seen.*CAP_SYS_PTRACE", p.Statistics.LastProblem));
            }
            finally
            {
                Now(tcp.StopAsync());
                Now(netdev.StopAsync());
            }
        });
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_bound_namespace_that_may_not_be_entered_is_named_with_the_right_that_is_missing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.EndProcessAsync();
        Unprivileged.Run(() =>
        {
            TcpProbe probe = Now(TcpProbe.StartNewAsync());
            try
            {
                SampleBatch<TcpRecord> sample = probe.Sample();
                Assert.Contains(sample.Rows.ToArray(), static r => r.Namespace!.Inode == TestNamespace.OwnInode);
                Assert.DoesNotContain(sample.Rows.ToArray(), r => r.Namespace!.Inode == ns.Inode);
                Assert.True(sample.Skips.Denied > 0);
                // Which of several is named does not matter: tests beside this one bind theirs there too.
                Assert.Matches("^/proc/net/snmp of .*: EPERM, CAP_SYS_ADMIN is missing", sample.Skips.LastProblem);
            }
            finally
            {
                Now(probe.StopAsync());
            }
        });
    }

    [LiveFact(Needs.Root)]
    public void Files_that_may_not_be_read_cost_their_own_namespace_only()
    {
        using var proc = new FakeProc();
        byte[] snmp = Fixture.Bytes("6.18-loaded/proc/net/snmp");
        foreach (int pid in (int[])[1, 20, 30])
        {
            proc.AddProcess(pid, (uint)pid + 100);
            proc.Write(FakeProc.Of(pid, "net/snmp"), snmp).Write(FakeProc.Of(pid, "net/snmp6"), Fixture.Bytes("6.18-loaded/proc/net/snmp6"));
        }
        proc.Link("self/ns/net", "net:[101]");
        File.SetUnixFileMode(proc.Root, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute);
        File.SetUnixFileMode(Path.Combine(proc.Root, "20", "net", "snmp"), UnixFileMode.None);
        var options = new ProcfsOptions { HostProc = proc.Root };
        options.NamespaceDirectories.Clear();
        Unprivileged.Run(() =>
        {
            TcpProbe probe = Now(TcpProbe.StartNewAsync(options));
            try
            {
                for (int i = 0; i < 3; i++)
                {
                    SampleBatch<TcpRecord> sample = probe.Sample();
                    Assert.Equal([101u, 130u], sample.Rows.ToArray().Select(static r => r.Namespace!.Inode));
                    Assert.Equal(1, sample.Skips.Denied);
                    Assert.Contains("/20/net/snmp", sample.Skips.LastProblem, StringComparison.Ordinal);
                    Assert.Contains("EACCES", sample.Skips.LastProblem, StringComparison.Ordinal);
                }
            }
            finally
            {
                Now(probe.StopAsync());
            }
        });
    }

    // Nothing here waits for anything; and it must not, see Unprivileged.Run.
    private static T Now<T>(Task<T> task)
    {
        Assert.True(task.IsCompleted);
        return task.GetAwaiter().GetResult();
    }

    private static void Now(Task task)
    {
        Assert.True(task.IsCompleted);
        task.GetAwaiter().GetResult();
    }
}
