using System.Diagnostics;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>fd and io: processes with known descriptors and known I/O.</summary>
public sealed class ProcessesLiveTests
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
    public async Task Threads_multiply_neither_descriptors_nor_bytes()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("fd", "io");
        using Process process = ns.Start("python3", "-c",
            "import threading, sys\nstop = threading.Event()\n[threading.Thread(target=stop.wait).start() for _ in range(8)]\nprint('ready', flush=True)\nsys.stdin.readline()\nstop.set()");
        try
        {
            Assert.Equal("ready", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            Assert.True(Directory.GetDirectories($"/proc/{process.Id}/task").Length >= 9);
            FdRecord fd = probes.Record<FdRecord>("fd", ns);
            Assert.Equal(2ul, fd.Processes.Value);
            Assert.Equal((ulong)(TestNamespace.OpenDescriptors(process.Id) + TestNamespace.OpenDescriptors(ns.ProcessId)), fd.OpenDescriptors.Value);
            IoRecord io = probes.Record<IoRecord>("io", ns);
            Assert.Equal(Io(process.Id, "rchar") + Io(ns.ProcessId, "rchar"), io.ReadCharacters.Value);
            Assert.Equal(Io(process.Id, "syscr") + Io(ns.ProcessId, "syscr"), io.ReadCalls.Value);
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync();
            Command.Close(process);
        }
    }

    [LiveFact(Needs.NetNs, "bash")]
    public async Task Bytes_are_counted_exactly_and_outlive_their_process()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("io");
        string file = Path.GetTempFileName();
        try
        {
            // For each line: 100,000 bytes into a file, and an answer.
            using Process process = ns.Start("bash", "-c", "echo ready; while read line; do printf '%100000s' '' > \"$0\"; echo done; done", file);
            Assert.Equal("ready", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            IoRecord before = probes.Record<IoRecord>("io", ns);
            for (int i = 0; i < 3; i++)
            {
                await process.StandardInput.WriteAsync("x\n");
                await process.StandardInput.FlushAsync();
                Assert.Equal("done", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            }
            // The last answer was written before it was read, the line before it read byte by byte.
            IoRecord after = probes.Record<IoRecord>("io", ns);
            Assert.Equal(3ul * (100_000 + 5), after.WrittenCharacters.Value - before.WrittenCharacters.Value);
            Assert.Equal(3ul * 2, after.ReadCharacters.Value - before.ReadCharacters.Value);
            Assert.Equal(Io(process.Id, "syscw") + Io(ns.ProcessId, "syscw"), after.WriteCalls.Value);
            Assert.Equal(Io(process.Id, "write_bytes") + Io(ns.ProcessId, "write_bytes"), after.StorageWrittenBytes.Value);

            process.StandardInput.Close();
            await process.WaitForExitAsync().WaitAsync(Eventually.DefaultTimeout);
            Command.Close(process);
            for (int i = 0; i < 3; i++)
            {
                IoRecord ended = probes.Record<IoRecord>("io", ns);
                Assert.Equal(after.WrittenCharacters.Value, ended.WrittenCharacters.Value);
                Assert.Equal(after.WriteCalls.Value, ended.WriteCalls.Value);
            }
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static ulong Io(int pid, string key) =>
        ulong.Parse(File.ReadLines($"/proc/{pid}/io").Single(l => l.StartsWith(key + ":", StringComparison.Ordinal)).AsSpan(key.Length + 1), System.Globalization.CultureInfo.InvariantCulture);
}
