using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs.Interop;
using KubeSkoop.Probes.TestKit;

namespace KubeSkoop.Probes.LiveRunner;

/// <summary>
/// Records what this kernel says of some known traffic, byte for byte, and beside it what other programs say of the same: for <c>tests/Fixtures</c>, so that the
/// parsers are tried against each kernel everywhere.
/// </summary>
internal static class Recorder
{
    private static readonly string[] Files = ["snmp", "snmp6", "netstat", "sockstat", "sockstat6", "dev", "softnet_stat", "ip_vs_stats"];

    /// <summary>Writes <c>VERSION-recorded</c> below a folder.</summary>
    internal static async Task RecordAsync(string folder)
    {
        string release = File.ReadAllText("/proc/sys/kernel/osrelease").Trim();
        string root = Path.Combine(folder, string.Join('.', release.Split('.')[..2]) + "-recorded");
        string files = Directory.CreateDirectory(Path.Combine(root, "proc", "net")).FullName, messages = Directory.CreateDirectory(Path.Combine(root, "netlink")).FullName;
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await TrafficAsync(left);
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 8000), backlog: 5);
            using Socket listener6 = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv6, 8001), backlog: 9);
            var sockets = new List<Socket>();
            for (int i = 0; i < 3; i++) sockets.Add(await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!)); // nobody accepts
            Socket client = await left.ConnectTcpAsync((IPEndPoint)listener6.LocalEndPoint!);
            client.Send(new byte[777]);
            sockets.Add(client);
            sockets.Add(listener6.Accept()); // nobody reads
            client.Shutdown(SocketShutdown.Send);
            await Task.Delay(1000); // until all is quiet

            foreach (string file in Files)
                if (File.Exists($"/proc/{left.ProcessId}/net/{file}")) File.Copy($"/proc/{left.ProcessId}/net/{file}", Path.Combine(files, file));
            await File.WriteAllTextAsync(Path.Combine(files, "nstat.json"), await left.ExecuteAsync("nstat", "-a", "-s", "-z", "--json"));
            string process = Directory.CreateDirectory(Path.Combine(root, "proc", "pid")).FullName;
            foreach (string file in (string[])["stat", "io", "limits"]) File.Copy($"/proc/{left.ProcessId}/{file}", Path.Combine(process, file));

            await DumpAsync(right, NetlinkProtocol.SocketDiagnostics, SocketDiagnostics.Request(SocketDiagnostics.Connections, info: false), messages, "tcp-connections.bin");
            await DumpAsync(right, NetlinkProtocol.SocketDiagnostics, SocketDiagnostics.Request(SocketDiagnostics.Connections, info: true), messages, "tcp-connections-info.bin");
            await DumpAsync(right, NetlinkProtocol.SocketDiagnostics, SocketDiagnostics.Request(1 << 10, info: false), messages, "tcp-listeners.bin");
            await File.WriteAllTextAsync(Path.Combine(messages, "ss.txt"), await right.ExecuteAsync("ss", "-tanO"));
            await DumpAsync(left, NetlinkProtocol.Route, NetDevStatistics.Request(), messages, "link-stats.bin");
            await DumpAsync(left, NetlinkProtocol.Route, NamespaceLinks.MakeRequest(), messages, "link.bin");
            await File.WriteAllTextAsync(Path.Combine(messages, "link.json"), await left.IpAsync("-s", "-s", "-j", "link"));
            foreach (Socket socket in sockets) socket.Dispose();
        }
        await ConntrackAsync(messages);
        if (Machine.Lacks(Needs.Ipvs, "ipvsadm") is { } lacking) throw new InvalidOperationException($"The fixtures would be without IPVS: {lacking}");
        await IpvsAsync(messages);
        await File.WriteAllTextAsync(Path.Combine(root, "origin.md"),
            $"Recorded on Linux {release}, {System.Runtime.InteropServices.RuntimeInformation.OSArchitecture.ToString().ToLowerInvariant()}, by `./test.sh --record`: files of `/proc` and netlink messages as the kernel wrote them\n"
            + "(messages one behind the other), and what `nstat`, `ss`, `ip`, `conntrack` and `ipvsadm` said of the same.\n");
        Console.Out.WriteLine($"@\trecorded\t{Path.GetFileName(root)}");
    }

    private static async Task TrafficAsync(TestNamespace ns)
    {
        await ns.TcpConnectionsAsync(5);
        await ns.RefusedConnectionsAsync(2, new IPEndPoint(IPAddress.Loopback, 9));
        await ns.SendUdpAsync(3, new IPEndPoint(IPAddress.Loopback, 9));
        await ns.SendUdpAsync(3, new IPEndPoint(IPAddress.IPv6Loopback, 9));
        await ns.SendUdpAsync(7, new IPEndPoint(TestNamespace.RightIPv4, 9), size: 3000);
        await ns.PingAsync(2, TestNamespace.RightIPv4);
    }

    private static async Task ConntrackAsync(string folder)
    {
        (TestNamespace left, TestNamespace right) = await TestNamespace.CreatePairAsync();
        await using (left)
        await using (right)
        {
            await left.ExecuteAsync("nft", "add table inet t; add chain inet t o { type filter hook output priority 0; }; add rule inet t o ct state new accept");
            await left.ExecuteAsync("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1");
            using Socket listener = await right.ListenAsync(new IPEndPoint(TestNamespace.RightIPv4, 8000));
            using Socket client = await left.ConnectTcpAsync((IPEndPoint)listener.LocalEndPoint!);
            await left.SendUdpAsync(2, new IPEndPoint(TestNamespace.RightIPv4, 53));
            await left.SendUdpAsync(1, new IPEndPoint(TestNamespace.RightIPv6, 53));
            await left.PingAsync(1, TestNamespace.RightIPv4);
            await DumpAsync(left, NetlinkProtocol.Netfilter, ConntrackMessages.Request(ConntrackMessages.Get), folder, "conntrack-dump.bin");
            await File.WriteAllTextAsync(Path.Combine(folder, "conntrack.txt"), await left.ExecuteAsync("conntrack", "-L", "-f", "ipv4") + await left.ExecuteAsync("conntrack", "-L", "-f", "ipv6"));
            await DumpAsync(left, NetlinkProtocol.Netfilter, ConntrackMessages.Request(ConntrackMessages.GetStatsCpu), folder, "conntrack-stats-cpu.bin");
            await File.WriteAllTextAsync(Path.Combine(folder, "conntrack-S.txt"), await left.ExecuteAsync("conntrack", "-S"));
        }
    }

    private static async Task IpvsAsync(string folder)
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        foreach (string command in (string[])
            ["-A -t 127.0.0.1:80 -s rr", "-a -t 127.0.0.1:80 -r 127.0.0.1:8000 -m -w 3", "-a -t 127.0.0.1:80 -r 127.0.0.1:8001 -m -w 0", "-A -t [::1]:80 -s lc", "-a -t [::1]:80 -r [::1]:8000 -m", "-A -f 7 -s wrr", "-a -f 7 -r 10.0.0.1:0 -i"])
            await ns.ExecuteAsync("ipvsadm", command.Split(' '));
        using Socket listener = await ns.ListenAsync(new IPEndPoint(IPAddress.Loopback, 8000));
        var sockets = new List<Socket>();
        for (int i = 0; i < 3; i++) sockets.Add(await ns.ConnectTcpAsync(new IPEndPoint(IPAddress.Loopback, 80)));
        sockets[0].Send(new byte[100]);
        await Task.Delay(4500); // the kernel adds up every two seconds
        var family = new IpvsFamilyVisitor();
        await ns.RunAsync(() =>
        {
            using NetlinkSocket socket = Open(NetlinkProtocol.Generic);
            if (!socket.Request(new NetlinkBuffer(), IpvsMessages.FamilyRequest(), ref family).IsComplete) throw new InvalidOperationException("The family IPVS has no number.");
        });
        await DumpAsync(ns, NetlinkProtocol.Generic, IpvsMessages.ServicesRequest(family.Family), folder, "ipvs-services.bin");
        var service = new IpvsServiceKey(BinaryPrimitives.ReadUInt32LittleEndian(IPAddress.Loopback.GetAddressBytes()), 80, 0, IpvsServiceKey.IPv4, 6);
        await DumpAsync(ns, NetlinkProtocol.Generic, IpvsMessages.ServersRequest(new byte[128], family.Family, service).ToArray(), folder, "ipvs-servers.bin");
        await File.WriteAllTextAsync(Path.Combine(folder, "ipvsadm.txt"), await ns.ExecuteAsync("ipvsadm", "-Ln") + "\n" + await ns.ExecuteAsync("ipvsadm", "-Ln", "--stats", "--exact"));
        foreach (Socket socket in sockets) socket.Dispose();
    }

    private static NetlinkSocket Open(NetlinkProtocol protocol) =>
        NetlinkSocket.TryOpen(protocol, new NetlinkSettings(), out Errno error) ?? throw new InvalidOperationException($"netlink {protocol}: {error}");

    private static Task DumpAsync(TestNamespace ns, NetlinkProtocol protocol, byte[] request, string folder, string file) => ns.RunAsync(() =>
    {
        using NetlinkSocket socket = Open(protocol);
        using var bytes = new MemoryStream();
        var visitor = new Copier(bytes);
        NetlinkResult result = socket.Dump(new NetlinkBuffer(), request, ref visitor);
        if (result.Outcome != NetlinkOutcome.Ok) throw new InvalidOperationException($"{file}: {result.Describe()}");
        File.WriteAllBytes(Path.Combine(folder, file), bytes.ToArray());
    });

    /// <summary>Writes messages down as they came; the one that ends a dump is not among them.</summary>
    private readonly struct Copier(MemoryStream bytes) : INetlinkVisitor
    {
        public void Begin() => bytes.SetLength(0);

        public bool Visit(in NetlinkMessage message)
        {
            Span<byte> header = stackalloc byte[NetlinkHeader.Size];
            BinaryPrimitives.WriteInt32LittleEndian(header, NetlinkHeader.Size + message.Payload.Length);
            BinaryPrimitives.WriteUInt16LittleEndian(header[4..], message.Type);
            BinaryPrimitives.WriteUInt16LittleEndian(header[6..], (ushort)message.Flags);
            BinaryPrimitives.WriteUInt32LittleEndian(header[8..], message.Sequence);
            BinaryPrimitives.WriteUInt32LittleEndian(header[12..], message.Port);
            bytes.Write(header);
            bytes.Write(message.Payload);
            while (bytes.Length % 4 != 0) bytes.WriteByte(0);
            return true;
        }
    }
}
