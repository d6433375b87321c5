using System.Diagnostics;
using System.Globalization;
using System.Net;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Procfs.Tests.Sources;

/// <summary>A procfs that is mounted elsewhere, as in a container, or is that of other processes.</summary>
public sealed class HostProcTests
{
    [LiveFact(Needs.NetNs)]
    public async Task A_procfs_elsewhere_gives_the_same_numbers()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using TestNamespace empty = await TestNamespace.CreateAsync(); // bound, without a process
        await empty.SendUdpAsync(2, new IPEndPoint(IPAddress.Loopback, 9));
        await empty.EndProcessAsync();
        await ns.SendUdpAsync(5, new IPEndPoint(IPAddress.Loopback, 9));
        string elsewhere = Path.Combine(Directory.CreateTempSubdirectory("kubeskoop-proc-").FullName, "host");
        try
        {
            Directory.CreateSymbolicLink(elsewhere, "/proc");
            var options = new ProcfsOptions { HostProc = elsewhere };
            await using UdpProbe udp = await UdpProbe.StartNewAsync(options);
            UdpRecord Of(TestNamespace which) => udp.Sample().Rows.ToArray().Single(r => r.Namespace!.Inode == which.Inode && r.Value.Version == IpVersion.IPv4).Value;
            Assert.Equal((5ul, 2ul), (Of(ns).OutDatagrams.Value, Of(empty).OutDatagrams.Value));

            await using FdProbe fd = await FdProbe.StartNewAsync(options);
            Assert.Equal((ulong)TestNamespace.OpenDescriptors(ns.ProcessId), fd.Sample().Rows.ToArray().Single(r => r.Namespace!.Inode == ns.Inode).Value.OpenDescriptors.Value);
            await using IoProbe io = await IoProbe.StartNewAsync(options);
            Assert.Contains(io.Sample().Rows.ToArray(), r => r.Namespace!.Inode == ns.Inode && r.Value.ReadCalls.Value > 0);
            await using SoftnetProbe softnet = await SoftnetProbe.StartNewAsync(options);
            Assert.True(softnet.Sample().Rows.Length > 0);
            await using SockProbe sock = await SockProbe.StartNewAsync(options);
            Assert.Contains(sock.Sample().Rows.ToArray(), static r => r.Namespace is null && r.Value.TcpMemoryHigh.HasValue);
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(elsewhere)!, recursive: true);
        }
    }

    // Its numbers are not ours, so a pidfd by them would watch a stranger: deaths are found by looking.
    [LiveFact(Needs.NetNs, "unshare", "bash")]
    public async Task A_procfs_of_other_processes_is_read_by_their_numbers_and_deaths_are_found_by_looking()
    {
        using Process process = Command.Start("unshare", ["--net", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c",
            "ip link set lo up; unshare --net sleep 1000 & echo $!; read line; kill $!; wait; echo gone; read line"]);
        try
        {
            int inner = int.Parse((await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout))!, CultureInfo.InvariantCulture);
            int outside = int.Parse((await File.ReadAllTextAsync($"/proc/{process.Id}/task/{process.Id}/children")).Trim(), CultureInfo.InvariantCulture);
            var options = new ProcfsOptions { HostProc = $"/proc/{outside}/root/proc", RefreshInterval = TimeSpan.FromMilliseconds(50) };
            options.NamespaceDirectories.Clear();
            using var source = new ProcNamespaceSource(Options.Create(options));
            using IDisposable lease = source.Acquire();
            await Eventually.TrueAsync(() => source.Current.Count == 2, "the two namespaces of that procfs");
            NetworkNamespace host = source.Current[0], other = source.Current[1];
            Assert.Equal((true, 1, TestNamespace.InodeOf($"/proc/{outside}/ns/net")), (host.IsHost, host.ProcessId!.Value, host.Inode));
            await Eventually.EqualAsync((inner, "sleep"), () => (other.ProcessId ?? 0, other.Command ?? ""), "the other's process");

            await process.StandardInput.WriteAsync("x\n");
            await process.StandardInput.FlushAsync();
            Assert.Equal("gone", await process.StandardOutput.ReadLineAsync().WaitAsync(Eventually.DefaultTimeout));
            await Eventually.TrueAsync(() => other.Ended.IsCancellationRequested, "its end");
            Assert.Equal([host], source.Current);
            Assert.False(host.Ended.IsCancellationRequested);
        }
        finally
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync();
            Command.Close(process);
        }
    }
}
