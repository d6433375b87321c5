using System.Diagnostics;
using System.Globalization;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>io: processes with known I/O, and what their own <c>/proc/PID/io</c> says.</summary>
public sealed class IoLiveTests
{
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
            Assert.Equal(Io(process.Id, "read_bytes") + Io(ns.ProcessId, "read_bytes"), after.StorageReadBytes.Value);
            Assert.Equal(Io(process.Id, "cancelled_write_bytes") + Io(ns.ProcessId, "cancelled_write_bytes"), after.CancelledWriteBytes.Value);

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

    [LiveFact(Needs.NetNs, "python3")]
    public async Task Threads_do_not_multiply_bytes()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("io");
        using Process process = ns.Start("python3", "-c",
            "import threading, sys\nstop = threading.Event()\n[threading.Thread(target=stop.wait).start() for _ in range(8)]\nprint('ready', flush=True)\nsys.stdin.readline()\nstop.set()");
        try
        {
            Assert.Equal("ready", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            Assert.True(Directory.GetDirectories($"/proc/{process.Id}/task").Length >= 9);
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
    public async Task Children_that_come_and_go_are_counted_once()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using LiveProbes probes = await LiveProbes.StartAsync("io");
        // A parent that waits for its children has all they did in its own numbers at the end, which is what we must have too.
        using Process process = ns.Start("bash", "-c", "echo ready; read line; for i in $(seq 1 30); do head -c 10000 /dev/zero > /dev/null; done; echo done; read line");
        try
        {
            Assert.Equal("ready", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            Task<string?> done = process.StandardOutput.ReadLineAsync();
            await process.StandardInput.WriteAsync("go\n");
            await process.StandardInput.FlushAsync();
            ulong last = 0;
            for (int samples = 0; !done.IsCompleted || samples == 0; samples++)
            {
                ulong now = probes.Record<IoRecord>("io", ns).WrittenCharacters.Value;
                Assert.True(now >= last, $"{now} after {last}");
                last = now;
            }
            Assert.Equal("done", await done);
            await Eventually.EqualAsync(
                (Io(process.Id, "wchar") + Io(ns.ProcessId, "wchar"), Io(process.Id, "syscr") + Io(ns.ProcessId, "syscr")),
                () => probes.Record<IoRecord>("io", ns) is var io ? (io.WrittenCharacters.Value, io.ReadCalls.Value) : default,
                "bytes and calls of all children");
            Assert.True(Io(process.Id, "wchar") >= 300_000);
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync();
            Command.Close(process);
        }
    }

    private static ulong Io(int pid, string key) =>
        ulong.Parse(File.ReadLines($"/proc/{pid}/io").Single(l => l.StartsWith(key + ":", StringComparison.Ordinal)).AsSpan(key.Length + 1), CultureInfo.InvariantCulture);
}
