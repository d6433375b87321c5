using System.Diagnostics;
using System.Globalization;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>A process that goes on after its first thread has ended: <c>/proc/PID</c> shows a zombie, and its threads are where they were.</summary>
public sealed class ThreadsLiveTests
{
    // The first thread leaves by the bare system call; the second waits for its input to end.
    private const string Program = """
        import ctypes, os, platform, sys, threading
        held = [open('/dev/null') for _ in range(40)]
        threading.Thread(target=lambda: (print('ready', flush=True), os.read(0, 1), os._exit(0))).start()
        ctypes.CDLL(None).syscall(93 if platform.machine() == 'aarch64' else 60, 0)
        """;

    [LiveFact(Needs.NetNs, "python3", "unshare")]
    public async Task A_process_without_its_first_thread_is_seen_with_its_namespace_descriptors_and_counters()
    {
        using Process process = Command.Start("unshare", ["--net", "python3", "-c", Program]);
        try
        {
            Assert.Equal("ready", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            string directory = string.Create(CultureInfo.InvariantCulture, $"/proc/{process.Id}");
            await Eventually.TrueAsync(() => File.ReadAllText($"{directory}/stat").Contains(") Z ", StringComparison.Ordinal), "the first thread to end");
            string thread = Path.GetFileName(Directory.GetDirectories($"{directory}/task").Single(t => Path.GetFileName(t) != Path.GetFileName(directory)));
            uint inode = TestNamespace.InodeOf($"/proc/{thread}/ns/net");
            Assert.NotEqual(TestNamespace.OwnInode, inode);

            await using LiveProbes probes = await LiveProbes.StartAsync("udp", "fd", "io");
            NetworkNamespace ns = Assert.Single(probes.Namespaces.Current, n => n.Inode == inode);
            UdpRecord[] udp = [.. probes.All<UdpRecord>("udp").Where(r => r.Namespace == ns).Select(static r => r.Value)];
            Assert.NotEmpty(udp);
            FdRecord fd = Assert.Single(probes.All<FdRecord>("fd"), r => r.Namespace == ns).Value;
            Assert.Equal(1ul, fd.Processes.Value);
            Assert.Equal((ulong)Directory.GetFileSystemEntries($"/proc/{thread}/fd").Length, fd.OpenDescriptors.Value);
            Assert.InRange(fd.OpenDescriptors.Value, 43ul, 60ul);
            Assert.Single(probes.All<IoRecord>("io"), r => r.Namespace == ns);

            // And it ends with its last thread.
            await process.StandardInput.WriteLineAsync();
            await process.WaitForExitAsync().WaitAsync(Eventually.DefaultTimeout);
            await Eventually.TrueAsync(
                () =>
                {
                    probes.Namespaces.Refresh();
                    return ns.Ended.IsCancellationRequested;
                },
                "the namespace to end");
        }
        finally
        {
            if (!process.HasExited) process.Kill();
            Command.Close(process);
        }
    }
}
