using System.Diagnostics;
using System.Globalization;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>fd: processes with known descriptors, and what listing <c>/proc/PID/fd</c> says.</summary>
public sealed class FdLiveTests
{
    [LiveFact(Needs.NetNs, "bash")]
    public async Task Descriptors_are_counted_one_by_one()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("fd");
        // The same file three times is three descriptors; two sockets that need nobody to listen.
        using Process process = ns.Start("bash", "-c", "ulimit -n 64; exec 3</dev/null 4</dev/null 5</dev/null 6<>/dev/udp/127.0.0.1/9 7<>/dev/udp/127.0.0.1/9; echo ready; read line");
        try
        {
            Assert.Equal("ready", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            FdRecord fd = probes.Record<FdRecord>("fd", ns);
            int listed = TestNamespace.OpenDescriptors(process.Id);
            Assert.InRange(listed, 8, 16); // the five and the three streams, at least
            Assert.Equal((ulong)(listed + TestNamespace.OpenDescriptors(ns.ProcessId)), fd.OpenDescriptors.Value);
            Assert.Equal((2ul, 2ul, 0ul), (fd.Processes.Value, fd.Sockets.Value, fd.UncountedProcesses.Value));
            Assert.Equal((64ul, (ulong)listed, process.Id), (fd.HighestLimit.Value, fd.HighestOpen.Value, fd.HighestProcessId));
            Assert.Equal(listed / 64.0, fd.HighestUsage);
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync();
            Command.Close(process);
        }
        FdRecord after = probes.Record<FdRecord>("fd", ns);
        Assert.Equal((1ul, 0ul, (ulong)TestNamespace.OpenDescriptors(ns.ProcessId)), (after.Processes.Value, after.Sockets.Value, after.OpenDescriptors.Value));
    }

    [LiveFact(Needs.NetNs, "python3")]
    public async Task Threads_do_not_multiply_descriptors()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("fd");
        using Process process = ns.Start("python3", "-c",
            "import threading, sys\nstop = threading.Event()\n[threading.Thread(target=stop.wait).start() for _ in range(8)]\nprint('ready', flush=True)\nsys.stdin.readline()\nstop.set()");
        try
        {
            Assert.Equal("ready", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            Assert.True(Directory.GetDirectories($"/proc/{process.Id}/task").Length >= 9);
            FdRecord fd = probes.Record<FdRecord>("fd", ns);
            Assert.Equal(2ul, fd.Processes.Value);
            Assert.Equal((ulong)(TestNamespace.OpenDescriptors(process.Id) + TestNamespace.OpenDescriptors(ns.ProcessId)), fd.OpenDescriptors.Value);
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync();
            Command.Close(process);
        }
    }

    [LiveFact(Needs.NetNs, "bash")]
    public async Task A_kernel_that_does_not_tell_how_many_has_them_listed()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using Process process = ns.Start("bash", "-c", "ulimit -n 99; exec 3</dev/null 4</dev/null 5</dev/null 6<>/dev/udp/127.0.0.1/9; echo ready; read line");
        try
        {
            Assert.Equal("ready", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            // The size of /proc/self/fd is 0 before Linux 6.2. All else is real.
            using var proc = new FakeProc();
            proc.Write("self/fd", "").Link("self/ns/net", "/proc/self/ns/net").Link("1", "/proc/1");
            foreach (int pid in (int[])[ns.ProcessId, process.Id]) proc.Link(pid.ToString(CultureInfo.InvariantCulture), string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}"));
            await using FdProbe probe = await FdProbe.StartNewAsync(new ProcfsOptions { HostProc = proc.Root });
            Assert.Contains("listing", probe.Status.Source, StringComparison.Ordinal);
            FdRecord fd = probe.Sample().Rows.ToArray().Single(r => r.Namespace!.Inode == ns.Inode).Value;
            int listed = TestNamespace.OpenDescriptors(process.Id);
            Assert.Equal(((ulong)(listed + TestNamespace.OpenDescriptors(ns.ProcessId)), 1ul, 2ul), (fd.OpenDescriptors.Value, fd.Sockets.Value, fd.Processes.Value));
            Assert.Equal(((ulong)listed, 99ul), (fd.HighestOpen.Value, fd.HighestLimit.Value));
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync();
            Command.Close(process);
        }
    }

    [LiveFact(Needs.NetNs, "bash")]
    public async Task Sockets_beyond_the_budget_are_counted_by_later_samples_and_never_guessed()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using Process process = ns.Start("bash", "-c", "for fd in $(seq 10 39); do eval \"exec $fd<>/dev/udp/127.0.0.1/9\"; done; echo ready; read line");
        try
        {
            Assert.Equal("ready", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            using var proc = new FakeProc();
            proc.Link("self", "/proc/self");
            foreach (int pid in (int[])[ns.ProcessId, process.Id]) proc.Link(pid.ToString(CultureInfo.InvariantCulture), string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}"));
            await using FdProbe probe = await FdProbe.StartNewAsync(new ProcfsOptions { HostProc = proc.Root }, new FdOptions { MaxLinksPerSample = 10 });
            ulong listed = (ulong)(TestNamespace.OpenDescriptors(process.Id) + TestNamespace.OpenDescriptors(ns.ProcessId));
            var waiting = new List<ulong>();
            for (int i = 0; i < 10; i++)
            {
                FdRecord fd = probe.Sample().Rows.ToArray().Single(r => r.Namespace!.Inode == ns.Inode).Value;
                Assert.Equal(listed, fd.OpenDescriptors.Value); // which costs nothing
                waiting.Add(fd.UncountedProcesses.Value);
                if (fd.Sockets.HasValue) Assert.Contains(fd.Sockets.Value, (ulong[])[0, 30]); // of the process that is done, or of both
            }
            Assert.Contains(waiting, static n => n > 0);
            await using FdProbe whole = await FdProbe.StartNewAsync(new ProcfsOptions { HostProc = proc.Root });
            FdRecord all = whole.Sample().Rows.ToArray().Single(r => r.Namespace!.Inode == ns.Inode).Value;
            Assert.Equal((30ul, 0ul), (all.Sockets.Value, all.UncountedProcesses.Value));
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync();
            Command.Close(process);
        }
    }

    [LiveFact(Needs.Root)]
    public async Task The_host_has_a_row_with_this_process_in_it()
    {
        await using LiveProbes probes = await LiveProbes.StartAsync("fd");
        FdRecord own = probes.All<FdRecord>("fd").Single(static r => r.Namespace!.Inode == TestNamespace.OwnInode && r.Pod is null).Value;
        Assert.True(own.Processes.Value >= 1 && own.OpenDescriptors.Value >= 10);
        Assert.True(own.Sockets.HasValue && own.HighestLimit.Value > 0);
    }
}
