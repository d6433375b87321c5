using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Kubernetes.Tests.Cri;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.DependencyInjection;
using Xunit.Abstractions;

namespace KubeSkoop.Probes.Kubernetes.Tests.Live;

/// <summary>Pods that come and go ten a second, each with traffic that only it has, against a ledger the test keeps.</summary>
[Collection(LiveGroup.Name)]
public sealed class ChurnTests(ITestOutputHelper output)
{
    private const int Alive = 110;
    private const int Total = 600;
    private const int FirstPort = 20_000;
    private static readonly TimeSpan Pace = TimeSpan.FromMilliseconds(100);

    [LiveFact(Needs.NetNs | Needs.UnifiedCgroup | Needs.Bpf)]
    public async Task Every_event_and_counter_is_on_the_right_pod()
    {
        await TestNamespace.RemoveStaleAsync();
        string root = string.Create(CultureInfo.InvariantCulture, $"/kubeskoop-churn-{Environment.ProcessId}/kubepods");
        string directory = Machine.UnifiedCgroup + root;
        await using FakeCri cri = await FakeCri.StartNewAsync();
        await using ServiceProvider services = new ServiceCollection().AddKubeSkoopProbes().AddProcfs().AddEbpf().AddKubernetes(o => o.RuntimeEndpoint = cri.Socket).Services.BuildServiceProvider();
        var namespaces = services.GetRequiredService<INetworkNamespaceSource>();
        var endings = new ConcurrentDictionary<NetworkNamespace, Ending>();
        namespaces.Ending += those => // before the probes are told, which ask later
        {
            foreach (NetworkNamespace ns in those)
            {
                var ending = new Ending(Stopwatch.GetTimestamp());
                if (endings.TryAdd(ns, ending)) ns.Ended.Register(() => ending.Until = Stopwatch.GetTimestamp());
            }
        };
        PodDirectory pods = services.GetRequiredService<PodDirectory>();
        var ledger = new ConcurrentDictionary<int, Entry>();
        var resets = new ConcurrentBag<(int Port, string? Pod, uint Inode)>();
        var readings = new List<Reading>();
        var reading = new ConcurrentBag<Task>();
        int before = 0, atOnce = 0, samples = 0;
        try
        {
            await pods.StartAsync(CancellationToken.None);
            var manager = services.GetRequiredService<IProbeManager>();
            await using (ProbeLease udp = await manager.StartAsync("udp"))
            await using (ProbeLease tcpreset = await manager.StartAsync("tcpreset"))
            {
                using var listening = new CancellationTokenSource();
                using EventSubscription<TcpResetEvent> events = ((IEventProbe<TcpResetEvent>)manager.Find("tcpreset")!).Subscribe(new EventSubscriptionOptions { Capacity = 10_000 });
                Task hearing = Task.Run(async () =>
                {
                    await foreach (TcpResetEvent e in events.Reader.ReadAllAsync(listening.Token))
                    {
                        int port = e.Flow?.Source.Port ?? 0, other = e.Flow?.Destination.Port ?? 0;
                        int ours = port is >= FirstPort and < FirstPort + Total ? port : other is >= FirstPort and < FirstPort + Total ? other : 0;
                        if (ours == 0 || e.NetworkNamespaceInode == TestNamespace.OwnInode) continue;
                        reading.Add(ReadAsync(e, ours));
                    }
                });
                before = Directory.GetFileSystemEntries("/proc/self/fd").Length;
                Task sampling = Task.Run(async () =>
                {
                    while (!listening.IsCancellationRequested)
                    {
                        long from = Stopwatch.GetTimestamp();
                        int first = readings.Count;
                        foreach (ref readonly SampleRow<UdpRecord> row in ((IMetricProbe<UdpRecord>)manager.Find("udp")!).Sample())
                            if (row.Namespace is { IsHost: false } ns && row.Value.Version == IpVersion.IPv4 && row.Value.OutDatagrams.Value > 0)
                                readings.Add(new Reading(row.Pod?.ToString(), ns, row.Value.OutDatagrams.Value, from));
                        long until = Stopwatch.GetTimestamp();
                        for (int i = first; i < readings.Count; i++) readings[i] = readings[i] with { Until = until };
                        Interlocked.Increment(ref samples);
                        await Task.Delay(250, listening.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                    }
                });

                var living = new Queue<Task<Pod>>();
                long began = Stopwatch.GetTimestamp();
                for (int i = 0; i < Total; i++)
                {
                    TimeSpan early = Pace * i - Stopwatch.GetElapsedTime(began);
                    if (early > TimeSpan.Zero) await Task.Delay(early);
                    living.Enqueue(BeginAsync(i));
                    if (living.Count > Alive) await EndAsync(await living.Dequeue());
                }
                TimeSpan took = Stopwatch.GetElapsedTime(began);
                await Task.Delay(TimeSpan.FromSeconds(4)); // the last ones live for a while, too
                while (living.TryDequeue(out Task<Pod>? pod)) await EndAsync(await pod);
                await Eventually.TrueAsync(() => namespaces.Current.All(static ns => ns.Pod?.Namespace != "shop"), "the end of the pods' namespaces");
                int until = Volatile.Read(ref samples) + 2; // one that began after it
                await Eventually.TrueAsync(() => Volatile.Read(ref samples) >= until, "their last numbers");
                await listening.CancelAsync();
                await Task.WhenAll(hearing, sampling).ContinueWith(static _ => { }, TaskScheduler.Default);
                await Task.WhenAll(reading);
                // Not all: the probe limits its events, other resets of the machine count too, and some kernels keep from BPF what interrupts process 1.
                Assert.InRange(resets.Select(static r => r.Port).Distinct().Count(), Total * 95 / 100, Total);

                Assert.Equal(Total, ledger.Count);
                int reused = Total - ledger.Values.Select(static e => e.Inode).Distinct().Count();
                int unnamed = resets.Count(static r => r.Pod is null);
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Total} pods in {took.TotalSeconds:0.0} s, {reused} with a number used before; {resets.Count} events, {atOnce} with the name at once, {unnamed} without after two seconds; {readings.Count} counters read"));
                foreach (var (port, pod, inode) in resets)
                {
                    Entry entry = ledger[port - FirstPort];
                    Assert.Equal((entry.Pod.Name, entry.Inode), (pod, inode));
                }
                // Whoever had the number while it was read: its name, or its uid while the runtime was not asked yet, and its count.
                ILookup<uint, Entry> owners = ledger.Values.ToLookup(static e => e.Inode);
                int named = 0, byUid = 0, nameless = 0;
                foreach (Reading seen in readings.Where(r => !r.IsLast(endings)))
                {
                    if (owners[seen.Namespace.Inode].SingleOrDefault(e => e.Ready != 0 && e.Ready < seen.From && (e.Ended == 0 || e.Ended > seen.Until)) is not { } owner) continue;
                    Assert.Equal((ulong)owner.Number + 1, seen.Datagrams);
                    if (seen.Pod is null) nameless++;
                    else if (seen.Pod == $"uid {owner.Pod.Uid}") byUid++;
                    else Assert.Equal($"shop/{owner.Pod.Name}", seen.Pod);
                    if (seen.Pod == $"shop/{owner.Pod.Name}") (owner.Read, named) = (true, named + 1);
                }
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"counters of pods: {named} with the name, {byUid} with the uid alone, {nameless} without"));
                // After its end, with what it did last, each pod is read once more, whoever has its number by then.
                Dictionary<string, Entry> byName = ledger.Values.ToDictionary(static e => $"shop/{e.Pod.Name}");
                Reading[] last = [.. readings.Where(r => r.Pod is not null && r.IsLast(endings) && r.From > byName[r.Pod].Over)]; // without a name: namespaces of others
                Assert.All(last, seen => Assert.Equal(((ulong)byName[seen.Pod!].Number + 2, byName[seen.Pod!].Inode), (seen.Datagrams, seen.Namespace.Inode)));
                Assert.Distinct(last.Where(r => r.From > endings[r.Namespace].Until).Select(static r => r.Pod));
                int after = last.Where(r => r.From > endings[r.Namespace].From).DistinctBy(static r => r.Pod).Count();
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{last.Length} last numbers, of {after} pods in a sample that began after they were read"));
                Assert.Empty(byName.Keys.Except(last.Select(static r => r.Pod!)));
                Assert.InRange(after, Total * 98 / 100, Total); // the others' were in a sample that had begun, and waited
                string[] unread = [.. ledger.Values.Where(static e => !e.Read).Select(static e => e.Pod.Name)];
                Assert.True(unread.Length <= Total / 100, $"never read under their names: {string.Join(' ', unread)}");
                Assert.Equal(0, nameless);
            }
            await Eventually.TrueAsync(() => pods.Pods.All(static p => p.Ended is not null), "the end of all pods");
            await Eventually.TrueAsync(() => Directory.GetFileSystemEntries("/proc/self/fd").Length <= before, "descriptors to be given back");
        }
        finally
        {
            foreach (string below in Directory.Exists(directory) ? Directory.EnumerateDirectories(directory, "*", SearchOption.AllDirectories).OrderDescending().Append(directory).Append(Path.GetDirectoryName(directory)!) : [])
                Directory.Delete(below);
        }

        // As a slow reader does: by then the runtime was asked once more.
        async Task ReadAsync(TcpResetEvent e, int port)
        {
            if (e.Pod is { IsNamed: true }) Interlocked.Increment(ref atOnce);
            await Task.Delay(TimeSpan.FromSeconds(2));
            resets.Add((port, e.Pod?.Name, e.NetworkNamespaceInode));
        }

        async Task<Pod> BeginAsync(int number)
        {
            FakePod pod = FakePod.Make(string.Create(CultureInfo.InvariantCulture, $"pod-{number}"));
            string cgroup = $"{directory}/burstable/pod{pod.Uid}/{pod.SandboxId}";
            Directory.CreateDirectory(cgroup);
            TestNamespace ns = await TestNamespace.CreateUnboundAsync(cgroup);
            pod = pod with { ProcessId = ns.ProcessId, CreatedAt = (TimeProvider.System.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * TimeSpan.NanosecondsPerTick };
            var entry = new Entry(number, pod, ns.Inode);
            Assert.True(ledger.TryAdd(number, entry));
            cri.Add(pod);
            await ns.SendUdpAsync(number + 1, new IPEndPoint(IPAddress.Loopback, 9), size: 1);
            await ns.RefusedConnectionsAsync(1, new IPEndPoint(IPAddress.Loopback, FirstPort + number));
            entry.Ready = Stopwatch.GetTimestamp();
            return new Pod(ns, entry, cgroup);
        }

        async Task EndAsync(Pod pod)
        {
            pod.Entry.Ended = Stopwatch.GetTimestamp();
            await pod.Namespace.SendUdpAsync(1, new IPEndPoint(IPAddress.Loopback, 9), size: 1);
            pod.Entry.Over = Stopwatch.GetTimestamp();
            await pod.Namespace.DisposeAsync();
            cri.Remove(pod.Entry.Pod.SandboxId);
            await Eventually.TrueAsync(() =>
            {
                try
                {
                    Directory.Delete(pod.Cgroup);
                    Directory.Delete(Path.GetDirectoryName(pod.Cgroup)!);
                    return true;
                }
                catch (IOException)
                {
                    return false; // its process is on its way out
                }
            }, "the cgroup to be empty");
        }
    }

    private sealed class Entry(int number, FakePod pod, uint inode)
    {
        internal int Number => number;

        internal FakePod Pod => pod;

        internal uint Inode => inode;

        /// <summary>When its datagrams were sent.</summary>
        internal long Ready { get; set; }

        internal long Ended { get; set; }

        /// <summary>When its last datagram was sent.</summary>
        internal long Over { get; set; } = long.MaxValue;

        internal bool Read { get; set; }
    }

    private sealed record Pod(TestNamespace Namespace, Entry Entry, string Cgroup);

    private sealed record Reading(string? Pod, NetworkNamespace Namespace, ulong Datagrams, long From)
    {
        internal long Until { get; init; }

        /// <summary>Whether the sample was not over when the last numbers were about to be read: it, or the next one, tells them.</summary>
        internal bool IsLast(ConcurrentDictionary<NetworkNamespace, Ending> endings) => endings.TryGetValue(Namespace, out Ending? ending) && Until >= ending.From;
    }

    private sealed class Ending(long from)
    {
        /// <summary>Just before the last numbers are read.</summary>
        internal long From => from;

        /// <summary>When no sample can find the namespace any more.</summary>
        internal long Until { get; set; } = long.MaxValue;
    }
}
