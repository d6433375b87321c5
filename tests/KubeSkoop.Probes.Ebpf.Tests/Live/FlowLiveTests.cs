using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using KubeSkoop.Probes.Ebpf.Loading;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>flow: what was sent and what came is what is counted, to the byte, on both sides; and nothing is lost when rows end or there are too few.</summary>
public sealed class FlowLiveTests
{
    private const int IPv4Header = 20;
    private const int IPv6Header = 40;
    private const int UdpHeader = 8;
    private const int EthernetHeader = 14;
    private const int TcpHeaderWithTimestamps = 32;
    private const int TcpHeaderOfSynAck = 40;
    private static readonly TimeSpan AfterRun = TimeSpan.FromSeconds(2); // longer than any program runs

    [LiveTheory(Needs.NetNs | Needs.Bpf)]
    [InlineData("10.99.0.1", "10.99.0.2", IPv4Header)]
    [InlineData("fd99::1", "fd99::2", IPv6Header)]
    public async Task Datagrams_count_where_they_are_sent_and_where_they_are_received(string from, string to, int header)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            FlowProbe probe = await bench.StartAsync(static p => new FlowProbe(p));
            using Socket client = await left.BindUdpAsync(new IPEndPoint(IPAddress.Parse(from), 0));
            using Socket server = await right.BindUdpAsync(new IPEndPoint(IPAddress.Parse(to), 4711));
            byte[] buffer = new byte[2000];
            for (int i = 0; i < 100; i++)
            {
                client.SendTo(buffer.AsSpan(0, 1000), server.LocalEndPoint!);
                Assert.Equal(1000, server.Receive(buffer));
            }
            for (int i = 0; i < 30; i++)
            {
                server.SendTo(buffer.AsSpan(0, 10), client.LocalEndPoint!);
                Assert.Equal(10, client.Receive(buffer));
            }

            var there = (100ul, 100ul * (ulong)(1000 + header + UdpHeader));
            var back = (30ul, 30ul * (ulong)(10 + header + UdpHeader));
            Dictionary<string, (ulong Packets, ulong Bytes)> rows = Rows(bench, probe, left);
            Assert.Equal(there, rows[$"{from} > {to} udp transmit"]);
            Assert.Equal(back, rows[$"{to} > {from} udp receive"]);
            rows = Rows(bench, probe, right);
            Assert.Equal(there, rows[$"{from} > {to} udp receive"]);
            Assert.Equal(back, rows[$"{to} > {from} udp transmit"]);
        }
    }

    [LiveTheory(Needs.NetNs | Needs.Bpf, "nstat", "tc")]
    [InlineData("10.99.0.1", "10.99.0.2", IPv4Header)]
    [InlineData("fd99::1", "fd99::2", IPv6Header)]
    public async Task A_stream_counts_as_its_segments_with_their_headers(string from, string to, int header)
    {
        const int Length = 8 * 1024 * 1024;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            FlowProbe probe = await bench.StartAsync(static p => new FlowProbe(p));
            // A queue counts a large packet as the segments and bytes that it will be on a wire.
            await left.ExecuteAsync("tc", "qdisc", "add", "dev", "eth0", "root", "pfifo", "limit", "10000");
            // Of one moment: a packet to a group between two readings would be in one of them only.
            IReadOnlyDictionary<string, ulong> before = new Dictionary<string, ulong>();
            (ulong Packets, ulong Bytes) queuedBefore = default;
            await Eventually.TrueAsync(async () =>
            {
                before = await left.NstatAsync();
                queuedBefore = await QueuedAsync(left);
                return (await left.NstatAsync()).GetValueOrDefault("Ip6OutMcastPkts") == before.GetValueOrDefault("Ip6OutMcastPkts");
            }, "a moment without packets to groups");
            using (Socket listener = await right.ListenAsync(new IPEndPoint(IPAddress.Parse(to), 0)))
            using (Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!))
            using (Socket server = listener.Accept())
            {
                Task<int> receive = Task.Run(() =>
                {
                    byte[] buffer = new byte[65536];
                    int all = 0;
                    for (int one; (one = server.Receive(buffer)) > 0;) all += one;
                    return all;
                });
                byte[] chunk = new byte[65536];
                for (int sent = 0; sent < Length; sent += chunk.Length) client.Send(chunk);
                client.Shutdown(SocketShutdown.Send);
                Assert.Equal(Length, await receive.WaitAsync(TimeSpan.FromSeconds(60)));
                server.Shutdown(SocketShutdown.Both);
                Assert.Equal(0, client.Receive(chunk));
            }

            (ulong Packets, ulong Bytes) sentRow = default, receivedRow = default;
            (ulong Packets, ulong Bytes) queued = default;
            ulong segments = 0, large = 0, octets = 0;
            await Eventually.TrueAsync(async () =>
            {
                sentRow = Rows(bench, probe, left)[$"{from} > {to} tcp transmit"];
                receivedRow = Rows(bench, probe, right)[$"{from} > {to} tcp receive"];
                queued = await QueuedAsync(left);
                IReadOnlyDictionary<string, ulong> after = await left.NstatAsync();
                segments = Counted("TcpOutSegs") + Counted("TcpRetransSegs");
                large = segments - (Counted("IpOutRequests") + Counted("Ip6OutRequests") - Counted("Icmp6OutMsgs")); // IP sees a large packet as one
                octets = Counted("IpExtOutOctets") + (large * (IPv4Header + TcpHeaderWithTimestamps)); // and counts its headers once
                // Beside the stream IPv6 says which groups it is in.
                queued = (queued.Packets - queuedBefore.Packets - Counted("Ip6OutMcastPkts"), queued.Bytes - queuedBefore.Bytes - Counted("Ip6OutMcastOctets"));
                queued.Bytes -= (queued.Packets + Counted("Ip6OutMcastPkts")) * EthernetHeader;
                return sentRow.Packets == segments && queued.Packets == segments;

                ulong Counted(string name) => after.GetValueOrDefault(name) - before.GetValueOrDefault(name);
            }, () => $"{sentRow} and, queued, {queued} to be {segments} segments");
            Assert.True(segments > Length / 1500 && large > segments / 2, $"{segments} segments, {large} of them in others' packets"); // large packets, or this test tries nothing
            Assert.True(sentRow.Bytes > Length + sentRow.Packets * (ulong)(header + IPv4Header));
            Assert.Equal(queued, sentRow);
            if (header == IPv4Header) Assert.Equal(octets, sentRow.Bytes);
            Assert.Equal(sentRow, receivedRow);
            (ulong Packets, ulong Bytes) answered = Rows(bench, probe, right)[$"{to} > {from} tcp transmit"], heard = Rows(bench, probe, left)[$"{to} > {from} tcp receive"];
            // Older kernels show no program the SYN-ACK that they send over IPv6.
            if (header == IPv6Header && heard.Packets == answered.Packets + 1) answered = (heard.Packets, answered.Bytes + IPv6Header + TcpHeaderOfSynAck);
            Assert.Equal(heard, answered);
        }
    }

    // As the host has with kube-proxy, and a pod with a sidecar.
    [LiveFact(Needs.NetNs | Needs.Bpf, "nft")]
    public async Task What_the_namespace_translates_itself_is_sent_with_the_new_addresses_and_received_with_the_old()
    {
        const string Service = "10.96.0.1", Masked = "10.99.0.77";
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await left.IpAsync("address", "add", Masked + "/24", "dev", "eth0");
            await left.IpAsync("route", "add", Service, "via", "10.99.0.2");
            await left.ExecuteAsync(
                "nft",
                $$"""
                table ip translate {
                  chain out { type nat hook output priority -100; ip daddr {{Service}} dnat to 10.99.0.2; }
                  chain post { type nat hook postrouting priority 100; ip daddr 10.99.0.2 snat to {{Masked}}; }
                }
                """);
            await using var bench = new EbpfBench();
            FlowProbe probe = await bench.StartAsync(static p => new FlowProbe(p));
            using Socket server = await right.BindUdpAsync(new IPEndPoint(TestNamespace.RightIPv4, 4711));
            using Socket client = await left.BindUdpAsync(new IPEndPoint(TestNamespace.LeftIPv4, 0));
            byte[] buffer = new byte[100];
            EndPoint from = new IPEndPoint(IPAddress.Any, 0);
            for (int i = 0; i < 3; i++)
            {
                client.SendTo(buffer.AsSpan(0, 10), new IPEndPoint(IPAddress.Parse(Service), 4711));
                Assert.Equal(10, server.ReceiveFrom(buffer, ref from));
                server.SendTo(buffer.AsSpan(0, 20), from);
                Assert.Equal(20, client.Receive(buffer));
            }
            var there = (3ul, 3ul * (10 + IPv4Header + UdpHeader));
            var back = (3ul, 3ul * (20 + IPv4Header + UdpHeader));
            Dictionary<string, (ulong Packets, ulong Bytes)> rows = Rows(bench, probe, left);
            Assert.Equal([$"{Service} > 10.99.0.1 udp receive", $"{Masked} > 10.99.0.2 udp transmit"], rows.Keys.Where(static k => k.Contains("udp", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
            Assert.Equal((there, back), (rows[$"{Masked} > 10.99.0.2 udp transmit"], rows[$"{Service} > 10.99.0.1 udp receive"]));
            rows = Rows(bench, probe, right);
            Assert.Equal((there, back), (rows[$"{Masked} > 10.99.0.2 udp receive"], rows[$"10.99.0.2 > {Masked} udp transmit"]));
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_datagram_in_fragments_is_one_and_fragments_of_a_raw_socket_have_no_ports_but_the_first()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            FlowProbe probe = await bench.StartAsync(static p => new FlowProbe(p, Options.Create(new FlowOptions { Ports = true })));
            using Socket client = await left.BindUdpAsync(new IPEndPoint(TestNamespace.LeftIPv4, 4001));
            using Socket server = await right.BindUdpAsync(new IPEndPoint(TestNamespace.RightIPv4, 4711));
            byte[] buffer = new byte[9000];
            client.SendTo(buffer.AsSpan(0, 5000), server.LocalEndPoint!);
            Assert.Equal(5000, server.Receive(buffer));
            var whole = (1ul, 5000ul + IPv4Header + UdpHeader);
            Assert.Equal(whole, Rows(bench, probe, left)["10.99.0.1:4001 > 10.99.0.2:4711 udp transmit"]);
            Assert.Equal(whole, Rows(bench, probe, right)["10.99.0.1:4001 > 10.99.0.2:4711 udp receive"]);

            // A datagram of 1,016 bytes in two: its first 512 with the header, and the rest.
            byte[] datagram = new byte[UdpHeader + 1016];
            BinaryPrimitives.WriteUInt16BigEndian(datagram, 4002);
            BinaryPrimitives.WriteUInt16BigEndian(datagram.AsSpan(2), 4711);
            BinaryPrimitives.WriteUInt16BigEndian(datagram.AsSpan(4), (ushort)datagram.Length);
            await left.RunAsync(() =>
            {
                using var raw = new Socket(AddressFamily.InterNetwork, SocketType.Raw, ProtocolType.Raw);
                raw.SetSocketOption(SocketOptionLevel.IP, SocketOptionName.HeaderIncluded, true);
                foreach (byte[] frame in (byte[][])[
                    Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, datagram.AsSpan(0, 512), fragment: 0x2000),
                    Frames.Packet(TestNamespace.LeftIPv4, TestNamespace.RightIPv4, 17, datagram.AsSpan(512), fragment: 512 / 8)])
                {
                    raw.SendTo(frame.AsSpan(Frames.HeaderOffset), new IPEndPoint(TestNamespace.RightIPv4, 0));
                }
            });
            Assert.Equal(1016, server.Receive(buffer));
            Dictionary<string, (ulong Packets, ulong Bytes)> rows = Rows(bench, probe, left);
            Assert.Equal((1ul, 512ul + IPv4Header), rows["10.99.0.1:4002 > 10.99.0.2:4711 udp transmit"]);
            Assert.Equal((1ul, 512ul + IPv4Header), rows["10.99.0.1 > 10.99.0.2 udp transmit"]);
            Assert.Equal(1ul, Rows(bench, probe, right)["10.99.0.1:4002 > 10.99.0.2:4711 udp receive"].Packets);
        }
    }

    [LiveTheory(Needs.NetNs | Needs.Bpf)]
    [InlineData("10.99.0.1", "10.99.0.2", "icmp")]
    [InlineData("fd99::1", "fd99::2", "icmpv6")]
    public async Task Echoes_count_where_they_have_a_socket(string from, string to, string protocol)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            FlowProbe probe = await bench.StartAsync(static p => new FlowProbe(p));
            Dictionary<string, (ulong Packets, ulong Bytes)> first = Rows(bench, probe, left);
            await left.PingAsync(5, IPAddress.Parse(to));
            Dictionary<string, (ulong Packets, ulong Bytes)> rows = Rows(bench, probe, left);
            ulong neighbours = protocol == "icmp" ? 0ul : 3; // solicitations and advertisements between the two, now and then
            Assert.InRange(rows[$"{from} > {to} {protocol} transmit"].Packets - first.GetValueOrDefault($"{from} > {to} {protocol} transmit").Packets, 5ul, 5ul + neighbours);
            Assert.InRange(rows[$"{to} > {from} {protocol} receive"].Packets - first.GetValueOrDefault($"{to} > {from} {protocol} receive").Packets, 5ul, 5ul + neighbours);
            // Requests are answered without a socket, answers are sent by one of the kernel's.
            rows = Rows(bench, probe, right);
            Assert.DoesNotContain($"{from} > {to} icmp receive", rows.Keys);
            Assert.InRange(rows[$"{to} > {from} {protocol} transmit"].Packets, 5ul, 5ul + neighbours);
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task What_finds_no_row_is_counted_as_other()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        FlowProbe probe = await bench.StartAsync(static p => new FlowProbe(p, Options.Create(new FlowOptions { Ports = true, MaxRows = 16 })));
        var receivers = new List<Socket>(); // or else ICMP errors would be sent, too
        for (int port = 0; port < 60; port++) receivers.Add(await ns.BindUdpAsync(new IPEndPoint(IPAddress.Loopback, 5000 + port)));
        for (int port = 0; port < 60; port++) await ns.SendUdpAsync(2, new IPEndPoint(IPAddress.Loopback, 5000 + port), size: 100);
        Dictionary<string, (ulong Packets, ulong Bytes)> rows = Rows(bench, probe, ns);
        Assert.True(rows["other > other other transmit"].Packets >= 2 * (60 - 16));
        Assert.Equal((120ul, 120ul * (100 + IPv4Header + UdpHeader)), Sum(rows.Where(static r => r.Key.EndsWith("transmit", StringComparison.Ordinal)).ToDictionary(), "udp", "other"));
        Assert.Equal(0, probe.ReadKernelStatistics().Uncounted);
        foreach (Socket receiver in receivers) receiver.Dispose();
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_row_that_ends_leaves_what_it_counted_and_makes_room()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        var clock = new FakeTimeProvider();
        FlowProbe probe = await bench.StartAsync(p => new FlowProbe(p, null, clock));
        var to = new IPEndPoint(IPAddress.Loopback, 4711);
        const string Row = "127.0.0.1 > 127.0.0.1 udp transmit";
        const ulong Length = 100 + IPv4Header + UdpHeader;
        using Socket server = await ns.BindUdpAsync(to);
        await ns.SendUdpAsync(3, to, size: 100);
        Assert.Equal((3ul, 3 * Length), Rows(bench, probe, ns)[Row]);
        clock.Advance(probe.Options.IdleTimeout - TimeSpan.FromSeconds(1));
        Assert.Equal((3ul, 3 * Length), Rows(bench, probe, ns)[Row]);
        await ns.SendUdpAsync(1, to, size: 100);
        Assert.Equal((4ul, 4 * Length), Rows(bench, probe, ns)[Row]);
        clock.Advance(probe.Options.IdleTimeout);
        Assert.DoesNotContain(Row, Rows(bench, probe, ns).Keys);
        clock.Advance(AfterRun);
        FlowRecord totals = Totals(probe, ns);
        Assert.Equal((0ul, 2ul, 8ul, 8 * Length), (totals.Rows.Value, totals.EndedRows.Value, totals.EndedPackets.Value, totals.EndedBytes.Value)); // sent and received
        await ns.SendUdpAsync(2, to, size: 100);
        Assert.Equal((2ul, 2 * Length), Rows(bench, probe, ns)[Row]);
        Assert.Equal(8ul, Totals(probe, ns).EndedPackets.Value);
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Nothing_is_lost_or_counted_twice_while_rows_come_and_go()
    {
        const int Senders = 4;
        const int Each = 20_000;
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        var clock = new FakeTimeProvider();
        FlowProbe probe = await bench.StartAsync(p => new FlowProbe(p, Options.Create(new FlowOptions { Ports = true, MaxRows = 64, IdleTimeout = TimeSpan.FromSeconds(1) }), clock));
        var receivers = new List<Socket>();
        for (int port = 0; port < 40; port++) receivers.Add(await ns.BindUdpAsync(new IPEndPoint(IPAddress.Loopback, 6000 + port)));
        Task[] sending = [.. Enumerable.Range(0, Senders).Select(sender => ns.RunAsync(() =>
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            var random = new Random(sender);
            byte[] payload = new byte[32];
            for (int i = 0; i < Each; i++) socket.SendTo(payload, new IPEndPoint(IPAddress.Loopback, 6000 + i / 1000 % 5 * 8 + random.Next(0, 8)));
        }))];
        Task all = Task.WhenAll(sending);
        int samples = 0;
        for (; !all.IsCompleted; samples++)
        {
            clock.Advance(AfterRun);
            probe.Sample();
            await Task.Delay(1);
        }
        await all;
        const ulong Both = 2 * Senders * Each; // sent, and received also where there was no room for it, which may be a while later
        FlowRecord totals = default;
        ulong packets = 0, bytes = 0;
        await Eventually.TrueAsync(
            () =>
            {
                clock.Advance(AfterRun);
                (packets, bytes) = Sum(Rows(bench, probe, ns), "other");
                totals = Totals(probe, ns);
                packets += totals.EndedPackets.Value;
                bytes += totals.EndedBytes.Value;
                return Task.FromResult(totals.Rows.Value == 0 && packets == Both);
            },
            () => $"all rows to end with {Both} packets; {totals.Rows.Value} are left, {packets} counted");
        Assert.True(totals.EndedRows.Value > 40, $"{totals.EndedRows.Value} rows ended in {samples} samples");
        Assert.Equal(Both * (32 + IPv4Header + UdpHeader), bytes);
        foreach (Socket receiver in receivers) receiver.Dispose();
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task A_namespace_that_ends_takes_its_rows_with_it_and_the_next_begins_at_0()
    {
        await using var bench = new EbpfBench();
        FlowProbe probe = await bench.StartAsync(static p => new FlowProbe(p));
        for (int round = 1; round <= 5; round++)
        {
            await using TestNamespace ns = await TestNamespace.CreateAsync();
            await ns.SendUdpAsync(round, new IPEndPoint(IPAddress.Loopback, 4711), size: 10);
            Dictionary<string, (ulong Packets, ulong Bytes)> rows = Rows(bench, probe, ns);
            Assert.Equal(((ulong)round, (ulong)round * (10 + IPv4Header + UdpHeader)), rows["127.0.0.1 > 127.0.0.1 udp transmit"]);
            uint inode = ns.Inode;
            await ns.DisposeAsync();
            await Eventually.TrueAsync(() =>
            {
                bench.Programs.Namespaces.Refresh();
                return !probe.Sample().Rows.ToArray().Any(r => r.Namespace?.Inode == inode);
            }, "its rows to go");
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Ports_are_switched_on_while_it_runs()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await using var bench = new EbpfBench();
        FlowProbe probe = await bench.StartAsync(static p => new FlowProbe(p));
        using Socket socket = await ns.BindUdpAsync(new IPEndPoint(IPAddress.Loopback, 4001));
        socket.SendTo([1], new IPEndPoint(IPAddress.Loopback, 4711));
        var next = new FlowOptions { Ports = true };
        Assert.True(probe.CanConfigureWhileRunning(next));
        probe.Configure(next);
        socket.SendTo([1, 2], new IPEndPoint(IPAddress.Loopback, 4711));
        Dictionary<string, (ulong Packets, ulong Bytes)> rows = Rows(bench, probe, ns);
        Assert.Equal((1ul, 1ul + IPv4Header + UdpHeader), rows["127.0.0.1 > 127.0.0.1 udp transmit"]);
        Assert.Equal((1ul, 2ul + IPv4Header + UdpHeader), rows["127.0.0.1:4001 > 127.0.0.1:4711 udp transmit"]);
        Assert.False(probe.CanConfigureWhileRunning(new FlowOptions { MaxRows = 17 }));
        Assert.Throws<InvalidOperationException>(() => probe.Configure(new FlowOptions { MaxRows = 17 }));
    }

    [LiveFact(Needs.Bpf)]
    public void The_root_of_the_control_groups_is_found_also_where_it_is_not_mounted()
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle root = CgroupRoot.OpenDetached("flow");
        Assert.True(File.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{root.DangerousGetHandle()}/cgroup.procs")));
        using Microsoft.Win32.SafeHandles.SafeFileHandle mounted = CgroupRoot.Open("flow");
        Assert.True(File.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{mounted.DangerousGetHandle()}/cgroup.procs")));
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Rows_say_whose_both_ends_are_and_nothing_counts_for_another()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            var pods = new KnownAddresses();
            await using var bench = new EbpfBench(pods: pods);
            FlowProbe probe = await bench.StartAsync(static p => new FlowProbe(p));
            NetworkNamespace ns = bench.Of(left);
            ns.Update(ns.Facts with { Pod = new PodIdentity("shop", "client") });
            using Socket client = await left.BindUdpAsync(new IPEndPoint(IPAddress.Parse("10.99.0.1"), 0));
            using Socket server = await right.BindUdpAsync(new IPEndPoint(IPAddress.Parse("10.99.0.2"), 4711));
            byte[] buffer = new byte[100];
            Send();
            Send();
            server.SendTo(buffer, client.LocalEndPoint!);
            client.Receive(buffer);

            Assert.Equal("pod shop/client here > unknown - -: 2", Row("transmit"));
            Assert.Equal("unknown - - > pod shop/client here: 1", Row("receive"));
            pods.Set("10.99.0.2", new PeerIdentity(PeerKind.Pod, "server", "shop", "there")); // known now: they were his all the time
            Assert.Equal("pod shop/client here > pod shop/server there: 2", Row("transmit"));
            Assert.Equal("pod shop/server there > pod shop/client here: 1", Row("receive"));
            pods.Set("10.99.0.2", null); // it has ended, and nobody else has the address
            Assert.Equal("pod shop/client here > pod shop/server there: 2", Row("transmit"));
            ns.Update(ns.Facts with { Pod = new PodIdentity("shop", "client-1") });
            Assert.Equal("pod shop/client-1 here > pod shop/server there: 2", Row("transmit"));
            ns.Update(ns.Facts with { Pod = new PodIdentity("shop", "client") });

            pods.Set("10.99.0.2", new PeerIdentity(PeerKind.Pod, "heir", "shop", "there"));
            Assert.Null(Row("transmit")); // what was counted is not his
            Send();
            Assert.Equal("pod shop/client here > pod shop/heir there: 1", Row("transmit"));
            FlowRecord totals = Totals(probe, left);
            await Task.Delay(AfterRun);
            probe.Sample();
            totals = Totals(probe, left);
            Assert.Equal((2ul, 3ul), (totals.EndedRows.Value, totals.EndedPackets.Value)); // nothing is lost

            void Send()
            {
                client.SendTo(buffer, server.LocalEndPoint!);
                Assert.Equal(100, server.Receive(buffer));
            }

            string? Row(string direction)
            {
                foreach (SampleRow<FlowRecord> row in probe.Sample().Rows.ToArray())
                {
                    if (row.Namespace?.Inode != left.Inode || !row.Value.Packets.HasValue) continue;
                    var attributes = row.Subject.Attributes.ToArray().ToDictionary(static a => a.Name, static a => a.Value);
                    if (attributes["network.io.direction"] != direction || attributes["network.transport"] != "udp") continue; // the kernel looks for routers
                    return string.Create(CultureInfo.InvariantCulture, $"{End("src")} > {End("dst")}: {row.Value.Packets.Value}");

                    string End(string which) => $"{attributes[$"k8s.{which}.type"]} {attributes.GetValueOrDefault($"k8s.{which}.namespace")}{(attributes.TryGetValue($"k8s.{which}.name", out string? name) ? "/" + name : "-")} {attributes.GetValueOrDefault($"k8s.{which}.node.name", "-")}";
                }
                return null;
            }
        }
    }

    [LiveFact(Needs.NetNs | Needs.Bpf)]
    public async Task Without_anybody_who_knows_addresses_rows_do_not_speak_of_owners()
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await using var bench = new EbpfBench();
            FlowProbe probe = await bench.StartAsync(static p => new FlowProbe(p));
            using Socket client = await left.BindUdpAsync(new IPEndPoint(IPAddress.Parse("10.99.0.1"), 0));
            client.SendTo(new byte[10], new IPEndPoint(IPAddress.Parse("10.99.0.2"), 4711));
            bench.Programs.Namespaces.Refresh();
            SampleRow<FlowRecord> row = probe.Sample().Rows.ToArray().First(r => r.Namespace?.Inode == left.Inode && r.Value.Packets.HasValue);
            Assert.DoesNotContain(row.Subject.Attributes.ToArray(), static a => a.Name.StartsWith("k8s.", StringComparison.Ordinal));
        }
    }

    // What has gone through the queue of eth0, with Ethernet headers.
    private static async Task<(ulong Packets, ulong Bytes)> QueuedAsync(TestNamespace ns)
    {
        using JsonDocument json = JsonDocument.Parse(await ns.ExecuteAsync("tc", "-s", "-j", "qdisc", "show", "dev", "eth0"));
        JsonElement root = json.RootElement.EnumerateArray().Single();
        return (root.GetProperty("packets").GetUInt64(), root.GetProperty("bytes").GetUInt64());
    }

    private static Dictionary<string, (ulong Packets, ulong Bytes)> Rows(EbpfBench bench, FlowProbe probe, TestNamespace ns)
    {
        bench.Programs.Namespaces.Refresh();
        return probe.Sample().Rows.ToArray().Where(r => r.Namespace?.Inode == ns.Inode && r.Value.Packets.HasValue).ToDictionary(static r =>
        {
            var attributes = r.Subject.Attributes.ToArray().ToDictionary(static a => a.Name, static a => a.Value);
            return $"{End("source")} > {End("destination")} {attributes["network.transport"]} {attributes["network.io.direction"]}";

            string End(string which) => attributes[which + ".address"] + (attributes.TryGetValue(which + ".port", out string? port) ? ":" + port : "");
        }, static r => (r.Value.Packets.Value, r.Value.Bytes.Value));
    }

    private static FlowRecord Totals(FlowProbe probe, TestNamespace ns) =>
        Assert.Single(probe.Sample().Rows.ToArray(), r => r.Namespace?.Inode == ns.Inode && r.Value.EndedRows.HasValue).Value;

    private static (ulong Packets, ulong Bytes) Sum(Dictionary<string, (ulong Packets, ulong Bytes)> rows, params string[] protocols)
    {
        (ulong packets, ulong bytes) = (0ul, 0ul);
        foreach (var (name, counted) in rows)
        {
            if (!protocols.Any(p => name.Contains($" {p} ", StringComparison.Ordinal))) continue;
            packets += counted.Packets;
            bytes += counted.Bytes;
        }
        return (packets, bytes);
    }
}
