using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>socketlatency: readers and writers that are late by a time the test knows from its own clock, and healthy ones.</summary>
public sealed partial class SocketLatencyLiveTests
{
    private static readonly TimeSpan Wait = TimeSpan.FromMilliseconds(150);

    [LiveTheory(Needs.NetNs | Needs.SocketStorage)]
    [InlineData(ProtocolType.Tcp, "127.0.0.1", false)]
    [InlineData(ProtocolType.Tcp, "::1", false)]
    [InlineData(ProtocolType.Tcp, "127.0.0.1", true)]
    [InlineData(ProtocolType.Udp, "127.0.0.1", false)]
    [InlineData(ProtocolType.Udp, "::1", false)]
    public async Task A_reader_that_lets_data_wait_is_late_by_just_that_time(ProtocolType protocol, string address, bool older)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe? probe = older ? null : await bench.StartAsync(static p => new SocketLatencyProbe(p));
        using Pair pair = await Pair.CreateAsync(ns, protocol, IPAddress.Parse(address));
        probe ??= await bench.StartAsync(static p => new SocketLatencyProbe(p)); // the connection was there before it
        using var heard = new Heard<SocketLatencyEvent>(probe, ns);

        (long earliest, long latest) = pair.Send(100);
        await Task.Delay(Wait);
        long before = Stopwatch.GetTimestamp();
        Assert.Equal(100, pair.Reader.Receive(new byte[1000]));
        long after = Stopwatch.GetTimestamp();

        SocketLatencyEvent e = Assert.Single(await heard.ExactlyAsync(1));
        Assert.InRange(e.Latency, Stopwatch.GetElapsedTime(latest, before), Stopwatch.GetElapsedTime(earliest, after));
        bool tcp = protocol == ProtocolType.Tcp;
        Assert.Equal((SocketLatencyKind.Read, 100u, 0u, tcp ? TcpState.Established : null, (SocketLatencyCause?)null), (e.Kind, e.Bytes, e.Waiting, e.State, e.Cause));
        Assert.Equal((Environment.ProcessId, ns.Inode, (byte)protocol), (e.ProcessId, e.NetworkNamespaceInode, e.Flow!.Value.Protocol));
        Assert.Equal((IPEndPoint)pair.Reader.LocalEndPoint!, new IPEndPoint(e.Flow.Value.Source.Address, e.Flow.Value.Source.Port));

        SocketLatencyRecord record = bench.Record(probe, ns);
        Assert.Equal((1ul, 1ul, 0ul, 0ul), (record.ReadOver1Ms.Value, record.ReadOver100Ms.Value, record.WriteOver1Ms.Value, record.WriteOver100Ms.Value));
        Log2Histogram histogram = tcp ? record.TcpRead : record.UdpRead;
        Assert.Equal(1ul, histogram.Count);
        Assert.Equal(1ul, histogram[Log2Histogram.BucketOf(histogram.Sum)]);
        Assert.Equal((ulong)(e.Latency.Ticks / TimeSpan.TicksPerMicrosecond), histogram.Sum);
        Assert.Equal(0ul, (tcp ? record.UdpRead : record.TcpRead).Count);
    }

    [LiveTheory(Needs.NetNs | Needs.SocketStorage)]
    [InlineData(ProtocolType.Tcp)]
    [InlineData(ProtocolType.Udp)]
    public async Task Time_before_a_read_that_found_no_data_waiting_is_nobodys_delay(ProtocolType protocol)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p, Options.Create(new SocketLatencyOptions { ReadThreshold = TimeSpan.FromMilliseconds(50), Sampling = 1 })));
        using var heard = new Heard<SocketLatencyEvent>(probe, ns);
        using Pair pair = await Pair.CreateAsync(ns, protocol, IPAddress.Loopback);

        pair.Send(10);
        Assert.Equal(10, pair.Reader.Receive(new byte[100]));
        await Task.Delay(Wait); // thinks
        pair.Reader.Blocking = false;
        Assert.Throws<SocketException>(() => pair.Reader.Receive(new byte[100])); // asks too early: nothing is there
        await Task.Delay(Wait);
        pair.Reader.Blocking = true;
        Task<int> asking = Task.Run(() => pair.Reader.Receive(new byte[100]));
        await Task.Delay(Wait); // blocks
        pair.Writer.Send(new byte[10]);
        Assert.Equal(10, await asking);

        await heard.ExactlyAsync(0);
        SocketLatencyRecord record = bench.Record(probe, ns);
        Assert.Equal((2ul, 0ul), ((protocol == ProtocolType.Tcp ? record.TcpRead : record.UdpRead).Count, record.ReadOver100Ms.Value));
    }

    [LiveTheory(Needs.NetNs | Needs.SocketStorage)]
    [InlineData(ProtocolType.Tcp)]
    [InlineData(ProtocolType.Udp)]
    public async Task The_oldest_unread_byte_counts_whatever_comes_after_it_and_each_read_takes_its_own(ProtocolType protocol)
    {
        const int Pieces = 6;
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p, Options.Create(new SocketLatencyOptions { ReadThreshold = TimeSpan.Zero, EventsPerSecond = 0 })));
        using var heard = new Heard<SocketLatencyEvent>(probe, ns);
        using Pair pair = await Pair.CreateAsync(ns, protocol, IPAddress.Loopback);

        var sent = new (long Earliest, long Latest)[Pieces];
        for (int i = 0; i < Pieces; i++)
        {
            sent[i] = pair.Send(10);
            await Task.Delay(20);
        }
        Assert.Equal(10, pair.Reader.Receive(new byte[10], SocketFlags.Peek)); // looks, and leaves it there
        var read = new (long Before, long After)[Pieces];
        for (int i = 0; i < Pieces; i++)
        {
            read[i].Before = Stopwatch.GetTimestamp();
            Assert.Equal(10, pair.Reader.Receive(new byte[10]));
            read[i].After = Stopwatch.GetTimestamp();
        }

        IReadOnlyList<SocketLatencyEvent> events = await heard.ExactlyAsync(Pieces);
        for (int i = 0; i < Pieces; i++)
        {
            Assert.InRange(events[i].Latency, Stopwatch.GetElapsedTime(sent[i].Latest, read[i].Before), Stopwatch.GetElapsedTime(sent[i].Earliest, read[i].After));
            int left = Pieces - 1 - i;
            Assert.Equal((uint)(protocol == ProtocolType.Tcp ? left * 10 : left), events[i].Waiting);
        }
    }

    [LiveFact(Needs.NetNs | Needs.SocketStorage)]
    public async Task With_more_moments_than_are_kept_no_read_is_told_younger_than_it_is_and_the_first_is_exact()
    {
        const int Pieces = 40;
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p, Options.Create(new SocketLatencyOptions { ReadThreshold = TimeSpan.Zero, EventsPerSecond = 0 })));
        using var heard = new Heard<SocketLatencyEvent>(probe, ns);
        using Pair pair = await Pair.CreateAsync(ns, ProtocolType.Tcp, IPAddress.Loopback);

        var sent = new (long Earliest, long Latest)[Pieces];
        for (int i = 0; i < Pieces; i++)
        {
            sent[i] = pair.Send(10);
            Assert.Equal((i + 1) * 10, pair.Reader.Available);
            await Task.Delay(5);
        }
        var read = new (long Before, long After)[Pieces];
        for (int i = 0; i < Pieces; i++)
        {
            read[i].Before = Stopwatch.GetTimestamp();
            Assert.Equal(10, pair.Reader.Receive(new byte[10]));
            read[i].After = Stopwatch.GetTimestamp();
        }

        IReadOnlyList<SocketLatencyEvent> events = await heard.ExactlyAsync(Pieces); // as they were read
        Assert.InRange(events[0].Latency, Stopwatch.GetElapsedTime(sent[0].Latest, read[0].Before), Stopwatch.GetElapsedTime(sent[0].Earliest, read[0].After));
        TimeSpan span = Stopwatch.GetElapsedTime(sent[0].Earliest, sent[^1].Latest);
        for (int i = 1; i < Pieces; i++)
            Assert.InRange(events[i].Latency, Stopwatch.GetElapsedTime(sent[i].Latest, read[i].Before), Stopwatch.GetElapsedTime(sent[i].Earliest, read[i].After) + (span / 2));
    }

    [LiveTheory(Needs.NetNs | Needs.SocketStorage)]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public async Task A_write_that_a_cork_holds_back_is_sent_late_by_just_that_time(string address)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p));
        using var heard = new Heard<SocketLatencyEvent>(probe, ns);
        using Pair pair = await Pair.CreateAsync(ns, ProtocolType.Tcp, IPAddress.Parse(address));
        SetCork(pair.Writer, true);

        long earliest = Stopwatch.GetTimestamp();
        pair.Writer.Send(new byte[100]);
        long latest = Stopwatch.GetTimestamp();
        Thread.Sleep(Wait); // the kernel sends it by itself after 200 ms: not to be late for want of a thread
        long before = Stopwatch.GetTimestamp();
        SetCork(pair.Writer, false);
        long after = Stopwatch.GetTimestamp();
        Assert.Equal(100, pair.Reader.Receive(new byte[1000]));

        SocketLatencyEvent e = Assert.Single(await heard.ExactlyAsync(1));
        Assert.InRange(e.Latency, Stopwatch.GetElapsedTime(latest, before), Stopwatch.GetElapsedTime(earliest, after));
        Assert.Equal((SocketLatencyKind.Write, SocketLatencyCause.Local, 100u, 0u, TcpState.Established), (e.Kind, e.Cause, e.Bytes, e.Waiting, e.State));
        Assert.Null(e.ProcessId);
        Assert.Equal((IPEndPoint)pair.Writer.LocalEndPoint!, new IPEndPoint(e.Flow!.Value.Source.Address, e.Flow.Value.Source.Port));
        SocketLatencyRecord record = bench.Record(probe, ns);
        Assert.Equal((1ul, 1ul, 1ul, 0ul, 0ul), (record.WriteOver1Ms.Value, record.WriteOver100Ms.Value, record.WriteForLocal.Value, record.WriteForPeerWindow.Value, record.WriteForCongestionWindow.Value));
        Assert.Equal(1ul, record.TcpWrite.Count);
        Assert.Equal((ulong)(e.Latency.Ticks / TimeSpan.TicksPerMicrosecond), record.TcpWrite.Sum);
    }

    [LiveFact(Needs.NetNs | Needs.SocketStorage)]
    public async Task A_write_that_waits_for_a_reader_that_does_not_read_waits_for_the_peers_window()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p));
        using var heard = new Heard<SocketLatencyEvent>(probe, ns);
        using Pair pair = await Pair.CreateAsync(ns, ProtocolType.Tcp, IPAddress.Loopback, receiveBuffer: 16384);
        pair.Writer.Blocking = false;
        int written = 0;
        try
        {
            while (written < 64 * 1024 * 1024) written += pair.Writer.Send(new byte[4096]);
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.WouldBlock)
        {
        }
        long latest = Stopwatch.GetTimestamp();
        await Task.Delay(Wait);
        long before = Stopwatch.GetTimestamp();
        byte[] buffer = new byte[65536];
        for (int left = written; left > 0;) left -= pair.Reader.Receive(buffer);

        await Eventually.TrueAsync(() => heard.Take().Exists(static e => e.Kind == SocketLatencyKind.Write), "a write that waited");
        SocketLatencyRecord record = bench.Record(probe, ns);
        Assert.Contains(heard.Take(), e => e is { Kind: SocketLatencyKind.Write, Cause: SocketLatencyCause.PeerWindow } && e.Latency >= Stopwatch.GetElapsedTime(latest, before));
        Assert.True(record.WriteForPeerWindow.Value > 0);
        Assert.True(record.WriteOver1Ms.Value == record.WriteForPeerWindow.Value + record.WriteForCongestionWindow.Value + record.WriteForLocal.Value);
        Assert.Contains(heard.Take(), e => e.Kind == SocketLatencyKind.Read && e.Latency >= Stopwatch.GetElapsedTime(latest, before)); // and the reader is late, of course
    }

    // Its packets come by the device layer twice, the second time within others. Where sequence numbers begin is left to chance, so one connection proves little.
    [LiveTheory(Needs.Vxlan | Needs.SocketStorage)]
    [InlineData("10.77.0.", "10.99.0.", "24")]
    [InlineData("fd77::", "fd99::", "64")]
    public async Task Writes_through_a_tunnel_wait_as_long_as_the_reader_does_not_read(string within, string outside, string prefix)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await TunnelAsync(left, "1", "2");
            await TunnelAsync(right, "2", "1");
            await using var bench = new EbpfBench();
            SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p, Options.Create(new SocketLatencyOptions { WriteThreshold = TimeSpan.FromMilliseconds(1), EventsPerSecond = 0 })));
            using var heard = new Heard<SocketLatencyEvent>(probe, left);
            for (int i = 0; i < 6; i++)
            {
                using Socket listener = await right.ListenAsync(new IPEndPoint(IPAddress.Parse(within + "2"), 0));
                listener.ReceiveBufferSize = 16384;
                using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
                client.NoDelay = true;
                using Socket server = listener.Accept();
                client.Blocking = false;
                int written = 0;
                try
                {
                    while (written < 64 * 1024 * 1024) written += client.Send(new byte[4096]);
                }
                catch (SocketException e) when (e.SocketErrorCode == SocketError.WouldBlock)
                {
                }
                long latest = Stopwatch.GetTimestamp();
                await Task.Delay(2 * Wait);
                long before = Stopwatch.GetTimestamp();
                byte[] buffer = new byte[65536];
                for (int rest = written; rest > 0;) rest -= server.Receive(buffer);
                int port = ((IPEndPoint)client.LocalEndPoint!).Port;
                bool IsOurs(SocketLatencyEvent e) => e.Kind == SocketLatencyKind.Write && e.Flow!.Value.Source.Port == port;
                await Eventually.TrueAsync(() => heard.Take().Exists(e => IsOurs(e) && e.Latency >= Stopwatch.GetElapsedTime(latest, before)), "a write that waited for the reader");
                Assert.All(heard.Take().Where(IsOurs), e => Assert.True(e.Bytes <= written && e.Waiting <= written, e.Message));
            }
        }

        async Task TunnelAsync(TestNamespace ns, string own, string peer)
        {
            await ns.IpAsync("link", "add", "vx0", "type", "vxlan", "id", "7", "local", outside + own, "remote", outside + peer, "dev", "eth0", "dstport", "4789");
            await ns.IpAsync("address", "add", within + own + "/" + prefix, "dev", "vx0", "nodad");
            await ns.IpAsync("link", "set", "vx0", "up");
        }
    }

    [LiveFact(Needs.NetNs | Needs.SocketStorage, "nft")]
    public async Task A_write_behind_unacknowledged_segments_waits_for_the_congestion_window()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p));
            using var heard = new Heard<SocketLatencyEvent>(probe, left);
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 0));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            using Socket server = listener.Accept();
            await right.ExecuteAsync("nft", "add", "table", "inet", "kst");
            await right.ExecuteAsync("nft", "add", "chain", "inet", "kst", "in", "{ type filter hook input priority 0; }");
            await right.ExecuteAsync("nft", "add", "rule", "inet", "kst", "in", "meta", "l4proto", "tcp", "drop");
            client.Blocking = false;
            Assert.Equal(14_480, client.Send(new byte[14_480])); // ten segments may be in flight; on a busy machine they take a moment to leave
            await Task.Delay(20);
            Assert.Equal(15_520, client.Send(new byte[15_520]));
            await Task.Delay(20);
            await right.ExecuteAsync("nft", "delete", "table", "inet", "kst");
            byte[] buffer = new byte[65536];
            for (int rest = 30_000; rest > 0;) rest -= server.Receive(buffer);

            SocketLatencyEvent e = Assert.Single(await heard.ExactlyAsync(1)); // after the retransmission timeout of 200 ms
            Assert.Equal((SocketLatencyKind.Write, SocketLatencyCause.CongestionWindow), (e.Kind, e.Cause));
            SocketLatencyRecord record = bench.Record(probe, left);
            Assert.Equal((1ul, 1ul), (record.WriteOver100Ms.Value, record.WriteForCongestionWindow.Value));
        }
    }

    [LiveTheory(Needs.NetNs | Needs.SocketStorage)]
    [InlineData(1)]
    [InlineData(8)]
    public async Task Healthy_traffic_is_counted_and_nothing_is_told(int sampling)
    {
        const int Rounds = 1000;
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe probe = await bench.StartAsync(p => new SocketLatencyProbe(p, Options.Create(new SocketLatencyOptions { Sampling = sampling })));
        using var heard = new Heard<SocketLatencyEvent>(probe, ns);
        using Pair tcp = await Pair.CreateAsync(ns, ProtocolType.Tcp, IPAddress.Loopback);
        using Pair udp = await Pair.CreateAsync(ns, ProtocolType.Udp, IPAddress.IPv6Loopback);
        byte[] buffer = new byte[100];
        for (int i = 0; i < Rounds; i++)
        {
            tcp.Writer.Send(new byte[10]);
            tcp.Reader.Receive(buffer);
            tcp.Reader.Send(new byte[10]);
            tcp.Writer.Receive(buffer);
            udp.Writer.Send(new byte[10]);
            udp.Reader.Receive(buffer);
        }
        await heard.ExactlyAsync(0);
        SocketLatencyRecord record = bench.Record(probe, ns);
        AssertStandsFor(2 * Rounds, record.TcpRead.Count, sampling);
        Assert.Equal((ulong)Rounds, record.UdpRead.Count); // each of them
        Assert.Equal((0ul, 0ul, 0ul), (record.ReadOver100Ms.Value, record.TcpWrite.Count, record.WriteOver1Ms.Value)); // all was sent at once
    }

    [LiveFact(Needs.NetNs | Needs.SocketStorage)]
    public async Task A_sample_does_not_follow_the_rhythm_of_the_reads()
    {
        const int Rounds = 1000;
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p));
        using Pair pair = await Pair.CreateAsync(ns, ProtocolType.Tcp, IPAddress.Loopback);
        byte[] buffer = new byte[100];
        for (int i = 0; i < 2 * Rounds; i++)
        {
            pair.Writer.Send(new byte[10]);
            if (i % 2 == 1) Spin(TimeSpan.FromMicroseconds(300)); // every second read is late by a time far below a tick
            pair.Reader.Receive(buffer);
        }
        SocketLatencyRecord record = bench.Record(probe, ns);
        ulong late = 0;
        for (int i = Log2Histogram.BucketOf(300); i < Log2Histogram.BucketCount; i++) late += record.TcpRead[i];
        AssertStandsFor(Rounds, late, 8);
        AssertStandsFor(Rounds, record.TcpRead.Count - late, 8);

        static void Spin(TimeSpan time)
        {
            for (long began = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(began) < time;) Thread.SpinWait(20);
        }
    }

    [LiveFact(Needs.NetNs | Needs.SocketStorage)]
    public async Task A_socket_that_is_connected_again_begins_anew()
    {
        const int Times = 8;
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p));
        using var heard = new Heard<SocketLatencyEvent>(probe, ns);
        var times = new (TimeSpan Least, TimeSpan Most)[Times];
        for (int i = 0; i < Times; i++)
        {
            using Pair first = await Pair.CreateAsync(ns, ProtocolType.Tcp, IPAddress.Loopback);
            for (int piece = 0; piece < 4; piece++) first.Reader.Send(new byte[10]); // the writer's side never reads them
            Assert.True(first.Writer.Poll(TimeSpan.FromSeconds(5), SelectMode.SelectRead));
            using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 0));
            Reconnect(first.Writer, (IPEndPoint)listener.LocalEndPoint!); // from another beginning of sequence numbers, which is left to chance
            using Socket second = listener.Accept();
            long sending = Stopwatch.GetTimestamp();
            second.Send(new byte[10]);
            Assert.True(first.Writer.Poll(TimeSpan.FromSeconds(5), SelectMode.SelectRead));
            long sent = Stopwatch.GetTimestamp();
            await Task.Delay(Wait);
            long reading = Stopwatch.GetTimestamp();
            Assert.Equal(10, first.Writer.Receive(new byte[100]));
            times[i] = (Stopwatch.GetElapsedTime(sent, reading), Stopwatch.GetElapsedTime(sending));
        }
        IReadOnlyList<SocketLatencyEvent> events = await heard.ExactlyAsync(Times);
        for (int i = 0; i < Times; i++) Assert.InRange(events[i].Latency, times[i].Least, times[i].Most);

        // connect(2) to AF_UNSPEC ends a connection; .NET has no call for it, nor one to connect again.
        static unsafe void Reconnect(Socket socket, IPEndPoint to)
        {
            const byte Inet = 2;
            byte* address = stackalloc byte[16]; // struct sockaddr_in
            new Span<byte>(address, 16).Clear();
            Assert.Equal(0, ConnectTo((int)socket.Handle, address, 16));
            address[0] = Inet;
            System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(new Span<byte>(address + 2, 2), (ushort)to.Port);
            to.Address.TryWriteBytes(new Span<byte>(address + 4, 4), out _);
            Assert.Equal(0, ConnectTo((int)socket.Handle, address, 16));
        }
    }

    [LiveFact(Needs.NetNs | Needs.SocketStorage)]
    public async Task Urgent_data_is_no_read_and_a_datagram_is_one_whatever_the_flags()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p));
        using var heard = new Heard<SocketLatencyEvent>(probe, ns);
        using Pair tcp = await Pair.CreateAsync(ns, ProtocolType.Tcp, IPAddress.Loopback);
        using Pair udp = await Pair.CreateAsync(ns, ProtocolType.Udp, IPAddress.Loopback);
        tcp.Send(10);
        tcp.Writer.Send(new byte[1], SocketFlags.OutOfBand);
        udp.Send(20);
        await Task.Delay(Wait);
        Assert.Equal(5, tcp.Reader.Receive(new byte[5]));
        Assert.Equal(1, tcp.Reader.Receive(new byte[1], SocketFlags.OutOfBand));
        Assert.Equal(5, tcp.Reader.Receive(new byte[100]));
        Assert.Equal(20, ReceiveAll((int)udp.Reader.Handle));
        IReadOnlyList<SocketLatencyEvent> events = await heard.ExactlyAsync(3);
        Assert.Equal([5u, 5u, 20u], events.Select(static e => e.Bytes).Order());

        static unsafe nint ReceiveAll(int socket)
        {
            const int WaitAll = 0x100; // MSG_WAITALL
            byte* buffer = stackalloc byte[100];
            return ReceiveFrom(socket, buffer, 100, WaitAll, null, null);
        }
    }

    [Fact]
    public void A_sampling_that_is_no_power_of_two_is_refused()
    {
        Assert.Single(new SocketLatencyOptions { Sampling = 7 }.Validate());
        Assert.Single(new SocketLatencyOptions { Sampling = 0 }.Validate());
        Assert.Single(new SocketLatencyOptions { Sampling = 1 << 20 }.Validate());
        Assert.Empty(new SocketLatencyOptions { Sampling = 1 }.Validate());
    }

    [System.Runtime.InteropServices.LibraryImport("libc", EntryPoint = "connect", SetLastError = true)]
    private static unsafe partial int ConnectTo(int socket, byte* address, uint length);

    [System.Runtime.InteropServices.LibraryImport("libc", EntryPoint = "recvfrom", SetLastError = true)]
    private static unsafe partial nint ReceiveFrom(int socket, byte* buffer, nint length, int flags, byte* address, uint* addressLength);

    // One in so many, at random, stands for all of them: six standard deviations. Late ones of a busy machine stand for themselves.
    private static void AssertStandsFor(int reads, ulong counted, int sampling)
    {
        if (sampling == 1)
        {
            Assert.Equal((ulong)reads, counted);
            return;
        }
        double off = 6 * Math.Sqrt((sampling - 1.0) * reads);
        Assert.InRange(counted, reads - off, reads + off);
    }

    [LiveFact(Needs.NetNs | Needs.SocketStorage)]
    public async Task Thresholds_and_namespaces_can_be_changed_while_it_runs()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using TestNamespace other = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        SocketLatencyProbe probe = await bench.StartAsync(static p => new SocketLatencyProbe(p));
        using var heard = new Heard<SocketLatencyEvent>(probe, ns);
        using Pair pair = await Pair.CreateAsync(ns, ProtocolType.Udp, IPAddress.Loopback);
        using Pair elsewhere = await Pair.CreateAsync(other, ProtocolType.Udp, IPAddress.Loopback);

        LateRead(pair);
        await heard.ExactlyAsync(0); // 5 ms, of 100
        probe.Configure(new SocketLatencyOptions { ReadThreshold = TimeSpan.FromMilliseconds(5) });
        LateRead(pair);
        await heard.ExactlyAsync(1);
        probe.Configure(new SocketLatencyOptions { ReadThreshold = TimeSpan.FromMilliseconds(5), NetworkNamespaces = { other.Inode } });
        LateRead(pair);
        LateRead(elsewhere);
        await heard.ExactlyAsync(1);
        probe.Configure(new SocketLatencyOptions { ReadThreshold = TimeSpan.FromMilliseconds(5), NetworkNamespaces = { ns.Inode } });
        LateRead(pair);
        LateRead(elsewhere);
        await heard.ExactlyAsync(2);
        probe.Configure(new SocketLatencyOptions());
        LateRead(elsewhere);

        Assert.Equal(ProbeState.Running, probe.Status.State);
        Assert.Equal((3ul, 2ul), (bench.Record(probe, ns).ReadOver1Ms.Value, bench.Record(probe, other).ReadOver1Ms.Value)); // while they were wanted
        ArgumentException refused = Assert.Throws<ArgumentException>(() => probe.Configure(new SocketLatencyOptions { ReadThreshold = TimeSpan.FromDays(1) }));
        Assert.Contains("ReadThreshold is 1.00:00:00", refused.Message, StringComparison.Ordinal);

        static void LateRead(Pair pair)
        {
            pair.Send(1);
            Thread.Sleep(6);
            pair.Reader.Receive(new byte[1]);
        }
    }

    private static void SetCork(Socket socket, bool on) => socket.SetRawSocketOption(6, 3, BitConverter.GetBytes(on ? 1 : 0)); // IPPROTO_TCP, TCP_CORK: include/uapi/linux/tcp.h

    /// <summary>Two connected sockets in a namespace.</summary>
    private sealed class Pair(Socket writer, Socket reader) : IDisposable
    {
        private const int SolSocket = 1, SoMemInfo = 55;

        internal Socket Writer => writer;

        internal Socket Reader => reader;

        internal static async Task<Pair> CreateAsync(TestNamespace ns, ProtocolType protocol, IPAddress address, int receiveBuffer = 0)
        {
            if (protocol == ProtocolType.Udp)
            {
                Socket reader = await ns.BindUdpAsync(new IPEndPoint(address, 0));
                Socket writer = await ns.BindUdpAsync(new IPEndPoint(address, 0));
                writer.Connect(reader.LocalEndPoint!);
                return new Pair(writer, reader);
            }
            using Socket listener = await ns.ListenAsync(new IPEndPoint(address, 0));
            if (receiveBuffer > 0) listener.ReceiveBufferSize = receiveBuffer;
            Socket client = await ns.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            client.NoDelay = true;
            Socket server = listener.Accept();
            server.NoDelay = true;
            return new Pair(client, server);
        }

        /// <summary>Sends, and says between which moments it came to the reader.</summary>
        internal (long Earliest, long Latest) Send(int bytes)
        {
            int before = Held();
            long earliest = Stopwatch.GetTimestamp();
            Assert.Equal(bytes, writer.Send(new byte[bytes]));
            // Also over loopback the receiving side may run later than the write returns.
            while (Held() == before) Assert.True(Stopwatch.GetElapsedTime(earliest) < TimeSpan.FromSeconds(5), "what was sent did not come");
            return (earliest, Stopwatch.GetTimestamp());

            // What waits to be read: bytes; of datagrams the memory, since of their bytes only the first one's are told.
            int Held()
            {
                if (reader.ProtocolType == ProtocolType.Tcp) return reader.Available;
                Span<byte> memory = stackalloc byte[sizeof(int)];
                Assert.Equal(sizeof(int), reader.GetRawSocketOption(SolSocket, SoMemInfo, memory));
                return BitConverter.ToInt32(memory); // SK_MEMINFO_RMEM_ALLOC
            }
        }

        public void Dispose()
        {
            writer.Dispose();
            reader.Dispose();
        }
    }
}
