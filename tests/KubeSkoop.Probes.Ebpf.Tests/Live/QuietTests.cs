using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>Quiet means quiet: where nothing is wrong, nothing is told.</summary>
[Collection("alone")]
public sealed class QuietTests
{
    [LiveFact(Needs.NetNs | Needs.SocketStorage | Needs.Native | Needs.Loop, "losetup", "dd")]
    public async Task An_idle_namespace_and_a_minute_of_healthy_load_give_no_event()
    {
        TimeSpan duration = TimeSpan.FromSeconds(60);
        // IPv6 as it comes: link-local addresses, solicitations and reports to groups.
        await using TestNamespace idle = await TestNamespace.CreateAsync();
        await idle.IpAsync("link", "add", "eth0", "type", "veth", "peer", "name", "eth1");
        await idle.IpAsync("link", "set", "eth0", "up");
        await idle.IpAsync("link", "set", "eth1", "up");
        // A device is up a moment before it has its qdisc, and what IPv6 sends in between is lost.
        await Eventually.TrueAsync(async () => (await idle.IpAsync("-o", "link", "show")).Split("state UP", StringSplitOptions.None).Length == 3, "both devices to be up");
        (TestNamespace client, TestNamespace server) = await TestNamespace.CreatePairAsync();
        await using (client)
        await using (server)
        {
            await using LoopDevice disk = await LoopDevice.CreateAsync(16 * 1024 * 1024);
            await using var bench = new EbpfBench();
            using var reset = new Told<TcpResetEvent>(await bench.StartAsync(static p => new TcpResetProbe(p)));
            using var retransmitted = new Told<TcpRetransEvent>(await bench.StartAsync(static p => new TcpRetransProbe(p)));
            using var lost = new Told<PacketLossEvent>(await bench.StartAsync(static p => new PacketLossProbe(p)));
            using var waited = new Told<SocketLatencyEvent>(await bench.StartAsync(static p => new SocketLatencyProbe(p)));
            using var left = new Told<NetifTxLatencyEvent>(await bench.StartAsync(static p => new NetifTxLatencyProbe(p)));
            using var passed = new Told<KernelLatencyEvent>(await bench.StartAsync(static p => new KernelLatencyProbe(p, Options.Create(new KernelLatencyOptions { Threshold = TimeSpan.FromMilliseconds(100) }))));
            using var delayed = new Told<NetSoftirqEvent>(await bench.StartAsync(static p => new NetSoftirqProbe(p)));
            using var slow = new Told<BioLatencyEvent>(await bench.StartAsync(static p => new BioLatencyProbe(p)));
            for (int minute = 1; ; minute++)
            {
                using var stop = new CancellationTokenSource(duration);
                Task<TimeSpan> watching = LongestPauseAsync(stop.Token);
                await Task.WhenAll(
                    ChatAsync(client, server, new IPEndPoint(TestNamespace.RightIPv4, 4711), stop.Token),
                    ChatAsync(client, server, new IPEndPoint(TestNamespace.RightIPv6, 4711), stop.Token),
                    ComeAndGoAsync(client, stop.Token),
                    ReadAsync(disk, stop.Token));
                uint[] ours = [idle.Inode, client.Inode, server.Inode];
                string told = string.Join("\n", reset.About(ours).Concat(retransmitted.About(ours)).Concat(lost.About(ours)).Concat(waited.About(ours)).Concat(left.About(ours)).Concat(passed.About(ours)));
                // Softirqs are the whole machine's, and a disk's requests pass through workers of the kernel: told from 10 ms on, as long as anybody may have to wait
                // for a CPU here. What waits longer than this very process has had to is not the machine's doing.
                TimeSpan pause = await watching;
                string toldOfMachine = string.Join("\n", delayed.All(e => e.Latency > pause).Concat(slow.All(e => e.Disk == disk.Name && e.Latency > pause)));
                if (told.Length == 0 && toldOfMachine.Length == 0) break;
                // Where this very process did not come to run for so long, it is right to say that it read late.
                Assert.True(pause > TimeSpan.FromMilliseconds(50) && minute < 3, $"the machine paused for {pause.TotalMilliseconds:0} ms, and was told:\n{told}\n{toldOfMachine}");
            }
        }
    }

    private static async Task<TimeSpan> LongestPauseAsync(CancellationToken stop)
    {
        TimeSpan longest = TimeSpan.Zero;
        while (!stop.IsCancellationRequested)
        {
            long began = System.Diagnostics.Stopwatch.GetTimestamp();
            await Task.Delay(5, CancellationToken.None);
            TimeSpan took = System.Diagnostics.Stopwatch.GetElapsedTime(began);
            if (took > longest) longest = took;
        }
        return longest;
    }

    // A connection on which question and answer follow each other, and datagrams beside it.
    private static async Task ChatAsync(TestNamespace client, TestNamespace server, IPEndPoint to, CancellationToken stop)
    {
        using Socket listener = await server.ListenAsync(to);
        using Socket asking = await client.ConnectTcpAsync(to);
        using Socket answering = await listener.AcceptAsync(CancellationToken.None);
        using Socket datagrams = await server.BindUdpAsync(to);
        using Socket sender = await client.BindUdpAsync(new IPEndPoint(to.AddressFamily == AddressFamily.InterNetwork ? TestNamespace.LeftIPv4 : TestNamespace.LeftIPv6, 0));
        byte[] buffer = new byte[4096];
        long rounds = 0;
        while (!stop.IsCancellationRequested)
        {
            await asking.SendAsync(buffer.AsMemory(0, 100), CancellationToken.None);
            await answering.ReceiveAsync(buffer, CancellationToken.None);
            await answering.SendAsync(buffer.AsMemory(0, 4000), CancellationToken.None);
            for (int got = 0; got < 4000;) got += await asking.ReceiveAsync(buffer, CancellationToken.None);
            await sender.SendToAsync(buffer.AsMemory(0, 50), to, CancellationToken.None);
            await datagrams.ReceiveAsync(buffer, CancellationToken.None);
            rounds++;
            await Task.Delay(2, CancellationToken.None);
        }
        Assert.True(rounds > 1000);
    }

    // Connections that end in good order.
    private static async Task ComeAndGoAsync(TestNamespace ns, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            await ns.TcpConnectionsAsync(5, bytes: 1000);
            await Task.Delay(20, CancellationToken.None);
        }
    }

    private static async Task ReadAsync(LoopDevice disk, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            await Command.OutputAsync("dd", $"if={disk.Path}", "of=/dev/null", "bs=4096", "count=100", "iflag=direct");
            await Task.Delay(200, CancellationToken.None);
        }
    }

    private sealed class Told<TEvent>(IEventProbe<TEvent> probe) : IDisposable
        where TEvent : EbpfEvent
    {
        private readonly EventSubscription<TEvent> _subscription = probe.Subscribe(new EventSubscriptionOptions { Capacity = 65536 });

        internal IEnumerable<string> About(uint[] namespaces) => All(e => namespaces.Contains(e.NetworkNamespaceInode));

        internal IEnumerable<string> All(Func<TEvent, bool> isOurs)
        {
            while (_subscription.Reader.TryRead(out TEvent? e))
                if (isOurs(e)) yield return $"{e.Probe}: {e.Message}";
        }

        public void Dispose() => _subscription.Dispose();
    }
}
