using System.Net;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Sources;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>The counters of all namespaces in one pass, beside the files they replace and beside <c>nstat</c>.</summary>
public sealed class MibSourceLiveTests
{
    [LiveFact(Needs.NetNs | Needs.BpfWalk, "nstat")]
    public async Task Every_column_is_what_the_files_and_nstat_say()
    {
        var (left, right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            using var kernel = new Counters();
            using var files = new Counters(kernel: false);
            await kernel.StartAsync();
            await files.StartAsync();
            Assert.All(kernel.Probes, static p => Assert.Equal("bpf", p.Status.Source));
            Assert.All(files.Probes, static p => Assert.Equal("procfs", p.Status.Source));
            await TrafficAsync(left);

            foreach (TestNamespace ns in (TestNamespace[])[left, right])
            {
                // Nothing in between: the files say the same before and after. Compared are all slots of the tables, so also what no record has a field for.
                IReadOnlyDictionary<string, ulong> witness = new Dictionary<string, ulong>();
                Dictionary<string, Reading> ours = [], theirs = [];
                await Eventually.TrueAsync(async () =>
                {
                    theirs = files.Columns(ns);
                    ours = kernel.Columns(ns);
                    witness = await ns.NstatAsync();
                    return Same(theirs, files.Columns(ns)) && Same(theirs, kernel.Columns(ns));
                }, "the namespace to be quiet and both sources to agree");
                Assert.Equal(theirs, ours);
                int both = 0;
                foreach ((string column, Reading value) in ours)
                {
                    if (!witness.TryGetValue(column, out ulong expected)) continue;
                    Assert.True(value.HasValue && value.Value == expected, $"{column} is {value}; nstat has {expected}.");
                    both++;
                }
                Assert.True(both > 200, $"nstat knows {both} of {ours.Count} columns.");
                Assert.True(ours.Count(static c => c.Value.GetValueOrDefault() > 0) > 20, "Hardly anything was counted.");
            }
            Dictionary<string, Reading> sent = kernel.Columns(left);
            Assert.Equal(4ul, sent["TcpActiveOpens"].Value);
            Assert.Equal(3ul, sent["TcpAttemptFails"].Value);
            Assert.True(sent["Udp6NoPorts"].Value + sent["Udp6OutDatagrams"].Value >= 6);
            Assert.True(sent["IcmpInEchoReps"].Value >= 2 && sent["Icmp6InEchoReplies"].Value >= 2);
            Assert.Equal(64ul, sent["IpDefaultTTL"].Value);

            // The records, too: the layout is the table's, whatever fills it.
            // Compared anew when a report of IPv6 falls in between.
            await Eventually.TrueAsync(() =>
                Same(files.Tcp, kernel.Tcp, left) && Same(files.Ip, kernel.Ip, left) && Same(files.Udp, kernel.Udp, left) && Same(files.Icmp, kernel.Icmp, left) && Same(files.TcpExt, kernel.TcpExt, left),
                "both sources to fill the same records");
            Assert.Equal(files.TcpExt.OtherColumns, kernel.TcpExt.OtherColumns);
            Assert.Equal(files.TcpExt.Metrics.Count, kernel.TcpExt.Metrics.Count);
        }
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task Sysctls_among_the_columns_are_followed()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using var kernel = new Counters();
        await kernel.StartAsync();
        await ns.ExecuteAsync("sysctl", "-q", "net.ipv4.ip_forward=0", "net.ipv4.ip_default_ttl=64");
        Assert.Equal((2ul, 64ul), Of(kernel.Columns(ns)));
        await ns.ExecuteAsync("sysctl", "-q", "net.ipv4.ip_forward=1", "net.ipv4.ip_default_ttl=200");
        Assert.Equal((1ul, 200ul), Of(kernel.Columns(ns)));

        static (ulong, ulong) Of(Dictionary<string, Reading> columns) => (columns["IpForwarding"].Value, columns["IpDefaultTTL"].Value);
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task Namespaces_come_and_go_and_one_without_a_process_is_there()
    {
        using var kernel = new Counters();
        await kernel.StartAsync();
        TestNamespace bound = await TestNamespace.CreateAsync(), unbound = await TestNamespace.CreateUnboundAsync();
        await using (bound)
        {
            await bound.SendUdpAsync(5, new IPEndPoint(IPAddress.Loopback, 4711));
            await using (unbound)
            {
                await unbound.SendUdpAsync(7, new IPEndPoint(IPAddress.Loopback, 4711));
                Assert.Equal(5ul, kernel.Columns(bound)["UdpNoPorts"].Value);
                Assert.Equal(7ul, kernel.Columns(unbound)["UdpNoPorts"].Value);
            }
            await Eventually.TrueAsync(() => kernel.Rows(kernel.Tcp, unbound) == 0, "the dead namespace's row to go");
            await bound.EndProcessAsync();
            await Eventually.TrueAsync(() => kernel.Find(bound)?.ProcessId is null, "the namespace to be known by its name only");
            int before = kernel.Served(bound);
            Assert.Equal(5ul, kernel.Columns(bound)["UdpNoPorts"].Value);
            Assert.Equal(before + 3, kernel.Served(bound)); // three tables, not one file
        }
        await Eventually.TrueAsync(() => kernel.Rows(kernel.Tcp, bound) == 0, "the removed namespace's row to go");
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task A_number_that_is_another_namespaces_by_now_gives_nothing()
    {
        using var kernel = new Counters();
        await kernel.StartAsync();
        await using TestNamespace first = await TestNamespace.CreateAsync(), second = await TestNamespace.CreateAsync();
        using NetTableRow row = kernel.Net.Snmp.Make(kernel.Find(first)!), other = kernel.Net.Snmp.Make(kernel.Find(second)!);
        Assert.Equal(NetFileOutcome.Ok, kernel.Source.TryFill(kernel.Net.Snmp, row, SampleRound.Next().Id));
        Assert.Equal(NetFileOutcome.Ok, kernel.Source.TryFill(kernel.Net.Snmp, other, SampleRound.Next().Id));
        // Two that are there at once have two cookies. When the kernel gives a number out again cannot be waited for, so the row is made one that knew another namespace by it.
        Assert.NotEqual(row.Cookie, other.Cookie);
        row.Slots.AsSpan().Clear();
        row.Cookie = other.Cookie;
        Assert.Equal(NetFileOutcome.Vanished, kernel.Source.TryFill(kernel.Net.Snmp, row, SampleRound.Next().Id));
        Assert.All(row.Slots, static slot => Assert.False(slot.HasValue));
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public async Task What_does_not_fit_is_read_from_its_files()
    {
        var made = new List<TestNamespace>();
        try
        {
            for (int i = 0; i < 20; i++) made.Add(await TestNamespace.CreateUnboundAsync());
            using var kernel = new Counters(new EbpfOptions { MaxNamespaces = 16 });
            await kernel.StartAsync();
            foreach (TestNamespace ns in made) await ns.SendUdpAsync(3, new IPEndPoint(IPAddress.Loopback, 4711));
            foreach (TestNamespace ns in made) Assert.Equal(3ul, kernel.Columns(ns)["UdpNoPorts"].Value);
            Assert.Contains(made, ns => kernel.Served(ns) == 0);
        }
        finally
        {
            foreach (TestNamespace ns in made) await ns.DisposeAsync();
        }
    }

    [LiveFact(Needs.BpfWalk)]
    public async Task It_refuses_in_words_and_the_files_stay()
    {
        using (var off = new Counters(new EbpfOptions { ReadCounters = false }))
        {
            await off.StartAsync();
            Assert.Equal("procfs (bpf: switched off by KubeSkoop:Probes:Ebpf:ReadCounters)", off.Tcp.Status.Source);
            Assert.True(off.Tcp.Sample().Count > 0);
        }
        uint own = TestNamespace.OwnInode;

        // A kernel that shows a column which its types do not explain.
        using var odd = new FakeProc();
        Mirror(odd, own, static snmp => snmp.Replace("Tcp: RtoAlgorithm ", "Tcp: FutureThing RtoAlgorithm ", StringComparison.Ordinal).Replace("Tcp: 1 ", "Tcp: 7 1 ", StringComparison.Ordinal),
            static netstat => netstat.Replace("TcpExt: SyncookiesSent ", "TcpExt: TCPFutureThing SyncookiesSent ", StringComparison.Ordinal).Replace("TcpExt: 0", "TcpExt: 7 0", StringComparison.Ordinal));
        await RefusesAsync(odd, "does not follow from its types", "TcpExt: TCPFutureThing");

        // A kernel that keeps a number elsewhere than its types say; and one whose counter runs between the two looks is none.
        using var wrong = new FakeProc();
        Mirror(wrong, own, static snmp => Changed(snmp, "Udp: ", 4, 987654321), static netstat => netstat);
        await RefusesAsync(wrong, "what it reads is not what /proc shows for", "Udp: OutDatagrams");

        // A namespace the kernel does not have.
        using var nowhere = new FakeProc();
        Mirror(nowhere, 12345, static snmp => snmp, static netstat => netstat);
        await RefusesAsync(nowhere, "the program does not find", "");

        async Task RefusesAsync(FakeProc proc, string why, string column)
        {
            using var kernel = new Counters(procfs: new ProcfsOptions { HostProc = proc.Root });
            await kernel.StartAsync();
            Assert.StartsWith("procfs (bpf: ", kernel.Tcp.Status.Source, StringComparison.Ordinal);
            Assert.Contains(why, kernel.Tcp.Status.Source, StringComparison.Ordinal);
            Assert.Contains(column, kernel.Tcp.Status.Source, StringComparison.Ordinal);
            Assert.Equal(1, kernel.Tcp.Sample().Count); // from the file
        }
    }

    [LiveFact(Needs.NetNs | Needs.BpfWalk)]
    public Task Sampling_allocates_nothing_and_opens_no_file() => Eventually.ExactlyOnceInFiveAsync(async () => // a pass the kernel does not finish is made up for by files
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.SendUdpAsync(3, new IPEndPoint(IPAddress.Loopback, 4711));
        using var kernel = new Counters();
        await kernel.StartAsync();
        var tcp = new SampleBatch<TcpRecord>();
        var ip = new SampleBatch<IpRecord>();
        var ext = new SampleBatch<TcpExtRecord>();
        for (int i = 0; i < 200; i++) One();
        // Namespaces of other tests come and go, and each that does is an object: most samples see none of them.
        long least = long.MaxValue;
        for (int i = 0; i < 50 && least > 0; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int sample = 0; sample < 20; sample++) One();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }
        Assert.Equal(0, least);
        Assert.Contains(tcp.Rows.ToArray(), r => r.Namespace?.Inode == ns.Inode);
        Assert.DoesNotContain(Directory.GetFileSystemEntries("/proc/self/fd"), f => Target(f)?.Contains($"/{ns.ProcessId}/net/snmp", StringComparison.Ordinal) == true);

        void One()
        {
            SampleRound round = SampleRound.Next();
            kernel.Tcp.Sample(tcp, round);
            kernel.Ip.Sample(ip, round);
            kernel.TcpExt.Sample(ext, round);
        }

        static string? Target(string link)
        {
            try
            {
                return File.ResolveLinkTarget(link, returnFinalTarget: false)?.FullName;
            }
            catch (IOException)
            {
                return null; // closed meanwhile
            }
        }
    });

    private static bool Same<TRecord>(IMetricProbe<TRecord> left, IMetricProbe<TRecord> right, TestNamespace ns)
        where TRecord : unmanaged
    {
        byte[][] theirs = Counters.Records(left, ns), ours = Counters.Records(right, ns);
        return ours.Length > 0 && ours.Length == theirs.Length && ours.Zip(theirs).All(static pair => pair.First.AsSpan().SequenceEqual(pair.Second));
    }

    private static bool Same(Dictionary<string, Reading> left, Dictionary<string, Reading> right) =>
        left.Count == right.Count && left.All(c => right.TryGetValue(c.Key, out Reading other) && other == c.Value);

    private static async Task TrafficAsync(TestNamespace left)
    {
        await left.TcpConnectionsAsync(1);
        await left.RefusedConnectionsAsync(3, new IPEndPoint(TestNamespace.RightIPv4, 4711));
        await left.SendUdpAsync(4, new IPEndPoint(TestNamespace.RightIPv4, 4711));
        await left.SendUdpAsync(2, new IPEndPoint(TestNamespace.RightIPv4, 4711), size: 4000);
        await left.PingAsync(2, TestNamespace.RightIPv4);
        if (Machine.Lacks(Needs.Ipv6) is not null) return;
        await left.SendUdpAsync(6, new IPEndPoint(TestNamespace.RightIPv6, 4711));
        await left.PingAsync(2, TestNamespace.RightIPv6);
    }

    private static void Mirror(FakeProc proc, uint inode, Func<string, string> snmp, Func<string, string> netstat)
    {
        proc.AddProcess(1, inode);
        proc.Link("self/ns/net", $"net:[{inode}]");
        proc.Write("1/net/snmp", snmp(File.ReadAllText("/proc/net/snmp")));
        proc.Write("1/net/netstat", netstat(File.ReadAllText("/proc/net/netstat")));
        if (File.Exists("/proc/net/snmp6")) proc.Write("1/net/snmp6", File.ReadAllText("/proc/net/snmp6"));
    }

    // Another number in a column of the second line of a section.
    private static string Changed(string text, string section, int column, ulong value)
    {
        string[] lines = text.Split('\n');
        int line = Array.FindLastIndex(lines, l => l.StartsWith(section, StringComparison.Ordinal));
        string[] fields = lines[line].Split(' ');
        fields[column] = value.ToString(System.Globalization.CultureInfo.InvariantCulture);
        lines[line] = string.Join(' ', fields);
        return string.Join('\n', lines);
    }

    /// <summary>The probes of counters, with or without the source.</summary>
    private sealed class Counters : IDisposable
    {
        private readonly CountingSource? _counting;

        internal Counters(EbpfOptions? options = null, ProcfsOptions? procfs = null, bool kernel = true)
        {
            IOptions<ProcfsOptions> wrapped = Options.Create(procfs ?? new ProcfsOptions());
            Namespaces = new Seen(new ProcNamespaceSource(wrapped));
            Source = new MibSource(new EbpfPrograms(Namespaces.Source, Options.Create(options ?? new EbpfOptions())));
            _counting = kernel ? new CountingSource(Source) : null;
            Net = new ProcNet(Namespaces.Source, wrapped, kernel ? [_counting!] : []);
            Tcp = new TcpProbe(Net);
            Udp = new UdpProbe(Net);
            Ip = new IpProbe(Net);
            Icmp = new IcmpProbe(Net);
            TcpExt = new TcpExtProbe(Net);
            Probes = [Tcp, Udp, Ip, Icmp, TcpExt];
        }

        internal Seen Namespaces { get; }

        internal MibSource Source { get; }

        internal ProcNet Net { get; }

        internal TcpProbe Tcp { get; }

        internal UdpProbe Udp { get; }

        internal IpProbe Ip { get; }

        internal IcmpProbe Icmp { get; }

        internal TcpExtProbe TcpExt { get; }

        internal Probe[] Probes { get; }

        /// <summary>Rows of tables that the source filled for a namespace.</summary>
        internal int Served(TestNamespace ns) => _counting!.Served.GetValueOrDefault(ns.Inode);

        internal async Task StartAsync()
        {
            foreach (Probe probe in Probes) await probe.StartAsync();
        }

        internal NetworkNamespace? Find(TestNamespace ns) => Namespaces.Refreshed().SingleOrDefault(n => n.Inode == ns.Inode);

        internal int Rows(TcpProbe probe, TestNamespace ns)
        {
            Namespaces.Refreshed();
            return probe.Sample().Rows.ToArray().Count(r => r.Namespace?.Inode == ns.Inode);
        }

        /// <summary>Every column of the three tables, by the names nstat has for them.</summary>
        internal Dictionary<string, Reading> Columns(TestNamespace ns)
        {
            var columns = new Dictionary<string, Reading>();
            IReadOnlyList<NetworkNamespace> snapshot = Namespaces.Refreshed();
            var batch = new SampleBatch<TcpRecord>();
            Tcp.Sample(batch, SampleRound.Next());
            foreach (NetTable table in (NetTable[])[Net.Snmp, Net.Netstat, Net.Snmp6])
            {
                lock (table.Gate)
                {
                    foreach (NetTableRow row in table.RowsOf(snapshot))
                    {
                        if (row.Namespace.Inode != ns.Inode || !table.TryRead(row, batch, out ReadOnlySpan<Reading> slots)) continue;
                        foreach (TableColumn column in table.Layout.Columns) columns.Add(column.Section.TrimEnd(':') + column.Name, slots[column.Slot]);
                    }
                }
            }
            return columns;
        }

        internal static byte[][] Records<TRecord>(IMetricProbe<TRecord> probe, TestNamespace ns)
            where TRecord : unmanaged =>
            [.. probe.Sample().Rows.ToArray().Where(r => r.Namespace?.Inode == ns.Inode).Select(static r => MemoryMarshal.AsBytes(new ReadOnlySpan<TRecord>(in r.Value)).ToArray())];

        public void Dispose()
        {
            foreach (Probe probe in Probes) probe.StopAsync().GetAwaiter().GetResult();
            Net.Dispose();
        }
    }

    private sealed class Seen(ProcNamespaceSource source)
    {
        internal ProcNamespaceSource Source => source;

        internal IReadOnlyList<NetworkNamespace> Refreshed()
        {
            source.Refresh();
            return source.Current;
        }
    }

    private sealed class CountingSource(MibSource source) : INetTableSource
    {
        internal Dictionary<uint, int> Served { get; } = [];

        public string Name => source.Name;

        public string? TryStart(IReadOnlyList<NetTable> tables, NetworkNamespace witness) => source.TryStart(tables, witness);

        public void Stop() => source.Stop();

        public NetFileOutcome? TryFill(NetTable table, NetTableRow row, long round)
        {
            NetFileOutcome? outcome = source.TryFill(table, row, round);
            if (outcome is not null) CollectionsMarshal.GetValueRefOrAddDefault(Served, row.Namespace.Inode, out _)++;
            return outcome;
        }
    }
}
