using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Netlink;

/// <summary>What tells a virtual service from the others of its namespace: protocol, address and port, or a mark of the firewall and the family.</summary>
/// <param name="Address">The address as the kernel has it: 16 bytes, of which four are IPv4's; 0 for a mark.</param>
/// <param name="Port">The port; 0 for a mark.</param>
/// <param name="Mark">The mark; 0 for none.</param>
/// <param name="Family">AF_INET or AF_INET6.</param>
/// <param name="Protocol">The IP protocol; 0 for a mark.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct IpvsServiceKey(UInt128 Address, ushort Port, uint Mark, ushort Family, ushort Protocol)
{
    internal const ushort IPv4 = 2; // AF_INET, include/linux/socket.h
    internal const ushort IPv6 = 10;

    /// <summary>As ipvsadm says it.</summary>
    public override string ToString() => Mark != 0
        ? string.Create(CultureInfo.InvariantCulture, $"FWM {Mark}{(Family == IPv6 ? " IPv6" : string.Empty)}")
        : $"{ProtocolName} {IpvsMessages.EndpointOf(Family, Address, Port)}";

    private string ProtocolName => Protocol switch
    {
        6 => "TCP",
        17 => "UDP",
        132 => "SCTP",
        _ => Protocol.ToString(CultureInfo.InvariantCulture),
    };
}

/// <summary>What tells a real server from the others of its service.</summary>
/// <param name="Service">Its service.</param>
/// <param name="Address">Its address, as of a service.</param>
/// <param name="Port">Its port.</param>
/// <param name="Family">AF_INET or AF_INET6; need not be the service's.</param>
/// <param name="Forwarding">How packets come to it.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct IpvsServerKey(IpvsServiceKey Service, UInt128 Address, ushort Port, ushort Family, IpvsForwarding Forwarding)
{
    /// <summary>As ipvsadm says it.</summary>
    public override string ToString() => IpvsMessages.EndpointOf(Family, Address, Port).ToString();
}

/// <summary>How packets come to a real server: IP_VS_CONN_F_*, include/uapi/linux/ip_vs.h.</summary>
internal enum IpvsForwarding : byte
{
    Masquerade,
    Local,
    Tunnel,
    Route,
    Bypass,
}

/// <summary>A service as the kernel has just described it.</summary>
internal struct IpvsService
{
    internal IpvsServiceKey Key;
    internal IpvsCounts Counts;

    /// <summary>The scheduler's name, NUL-padded.</summary>
    internal UInt128 Scheduler;
}

/// <summary>A real server as the kernel has just described it.</summary>
internal struct IpvsServer
{
    internal IpvsServerKey Key;
    internal IpvsServicesRecord Record;
}

/// <summary>Generic netlink as IPVS speaks it: struct genlmsghdr with the attributes of include/uapi/linux/ip_vs.h.</summary>
internal static class IpvsMessages
{
    private const ushort Control = 16; // GENL_ID_CTRL, include/uapi/linux/genetlink.h
    private const byte GetFamily = 3;
    private const ushort FamilyId = 1;
    private const ushort FamilyName = 2;

    private const byte GetService = 4;
    private const byte GetServer = 8;
    private const byte Version = 1;
    private const ushort CommandService = 1;
    private const ushort CommandServer = 2;

    private const ushort ServiceFamily = 1;
    private const ushort ServiceProtocol = 2;
    private const ushort ServiceAddress = 3;
    private const ushort ServicePort = 4;
    private const ushort ServiceMark = 5;
    private const ushort ServiceScheduler = 6;
    private const ushort ServiceStats = 10;
    private const ushort ServiceStats64 = 12;

    private const ushort ServerAddress = 1;
    private const ushort ServerPort = 2;
    private const ushort ServerForwarding = 3;
    private const ushort ServerWeight = 4;
    private const ushort ServerActive = 7;
    private const ushort ServerInactive = 8;
    private const ushort ServerPersistent = 9;
    private const ushort ServerStats = 10;
    private const ushort ServerFamily = 11;
    private const ushort ServerStats64 = 12;
    private const uint ForwardingMask = 7;

    private const int LongestScheduler = 15; // IP_VS_SCHEDNAME_MAXLEN - 1
    private const int AddressLength = 16;

    private static ReadOnlySpan<byte> UnusedAddress => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// <summary>Asks for the number of the family IPVS. The kernel would load the module to answer: ask only where it is there.</summary>
    internal static byte[] FamilyRequest()
    {
        var request = new NetlinkWriter(new byte[64], Control);
        request.Header(new GenericHeader { Command = GetFamily, Version = 1 });
        request.Attribute(FamilyName, "IPVS\0"u8);
        return request.Finish().ToArray();
    }

    /// <summary>Reads the family's number; false when the message is not what it should be.</summary>
    internal static bool TryReadFamily(in NetlinkMessage message, out ushort family)
    {
        family = 0;
        if (message.Type != Control || !message.TryRead(out GenericHeader _, out NetlinkAttributes attribute)) return false;
        while (attribute.MoveNext())
            if (attribute.Type == FamilyId) family = attribute.UInt16();
        return attribute.Fault == NetlinkFault.None && family != 0;
    }

    /// <summary>Asks for all services.</summary>
    internal static byte[] ServicesRequest(ushort family)
    {
        var request = new NetlinkWriter(new byte[64], family);
        request.Header(new GenericHeader { Command = GetService, Version = Version });
        return request.Finish().ToArray();
    }

    /// <summary>Asks for the real servers of a service.</summary>
    internal static Span<byte> ServersRequest(Span<byte> buffer, ushort family, in IpvsServiceKey service)
    {
        var request = new NetlinkWriter(buffer, family);
        request.Header(new GenericHeader { Command = GetServer, Version = Version });
        int nested = request.BeginNested(CommandService);
        request.Attribute(ServiceFamily, service.Family);
        if (service.Mark != 0)
        {
            request.Attribute(ServiceMark, service.Mark);
        }
        else
        {
            request.Attribute(ServiceProtocol, service.Protocol);
            request.Attribute(ServiceAddress, service.Address);
            request.Attribute(ServicePort, BinaryPrimitives.ReverseEndianness(service.Port));
        }
        request.EndNested(nested);
        return request.Finish();
    }

    /// <summary>
    /// Asks for a list. After each datagram the kernel counts its way back to where it was, and does not mark the answer when that has become another place
    /// (ip_vs_genl_dump_services): what was put in before comes with a repetition, and is asked for again. What was taken out leaves no trace.
    /// </summary>
    internal static NetlinkResult Ask<TVisitor>(NetlinkSocket socket, NetlinkSettings settings, NetlinkBuffer buffer, Span<byte> request, ref TVisitor visitor)
        where TVisitor : struct, IIpvsListVisitor
    {
        for (int attempt = 0; attempt < settings.Attempts; attempt++)
        {
            NetlinkResult result = socket.Dump(buffer, request, ref visitor);
            if (result.Outcome != NetlinkOutcome.Ok || !visitor.Repeats) return result;
            settings.Counts.WasInterrupted();
        }
        return new NetlinkResult(NetlinkOutcome.Inconsistent);
    }

    /// <summary>Reads a service; false when the message is not what it should be.</summary>
    internal static bool TryRead(in NetlinkMessage message, ushort family, out IpvsService service)
    {
        service = default;
        if (!TryOpen(message, family, CommandService, out NetlinkAttributes outer, out NetlinkAttributes attribute)) return false;
        ushort addressFamily = 0, protocol = 0, port = 0;
        uint mark = 0;
        scoped ReadOnlySpan<byte> address = default, scheduler = default;
        bool has64 = false;
        while (attribute.MoveNext())
        {
            switch (attribute.Type)
            {
                case ServiceFamily: addressFamily = attribute.UInt16(); break;
                case ServiceProtocol: protocol = attribute.UInt16(); break;
                case ServiceAddress: address = attribute.Value; break;
                case ServicePort: port = attribute.BigEndian16(); break;
                case ServiceMark: mark = attribute.UInt32(); break;
                case ServiceScheduler: scheduler = attribute.Text(); break;
                case ServiceStats when !has64: service.Counts = ReadCounts(ref attribute, wide: false); break;
                case ServiceStats64:
                    has64 = true;
                    service.Counts = ReadCounts(ref attribute, wide: true);
                    break;
            }
        }
        outer.Join(attribute);
        if (outer.Fault != NetlinkFault.None || scheduler.Length > LongestScheduler) return false;
        if (!TryAddress(addressFamily, mark == 0 ? address : UnusedAddress, out UInt128 number)) return false;
        service.Key = mark != 0 ? new IpvsServiceKey(0, 0, mark, addressFamily, 0) : new IpvsServiceKey(number, port, 0, addressFamily, protocol);
        service.Scheduler = Link.KeyOf(scheduler);
        return true;
    }

    /// <summary>Reads a real server; false when the message is not what it should be.</summary>
    /// <param name="message">The message.</param>
    /// <param name="family">The number of the family IPVS.</param>
    /// <param name="service">The service that was asked about.</param>
    /// <param name="server">The server.</param>
    internal static bool TryRead(in NetlinkMessage message, ushort family, in IpvsServiceKey service, out IpvsServer server)
    {
        server = default;
        if (!TryOpen(message, family, CommandServer, out NetlinkAttributes outer, out NetlinkAttributes attribute)) return false;
        ushort addressFamily = service.Family, port = 0; // kernels before 4.0 do not repeat the family
        var forwarding = IpvsForwarding.Masquerade;
        scoped ReadOnlySpan<byte> address = default;
        bool has64 = false;
        ref IpvsServicesRecord record = ref server.Record;
        while (attribute.MoveNext())
        {
            switch (attribute.Type)
            {
                case ServerFamily: addressFamily = attribute.UInt16(); break;
                case ServerAddress: address = attribute.Value; break;
                case ServerPort: port = attribute.BigEndian16(); break;
                case ServerForwarding: forwarding = (IpvsForwarding)(attribute.UInt32() & ForwardingMask); break;
                case ServerWeight: record.Weight = attribute.UInt32(); break;
                case ServerActive: record.ActiveConnections = attribute.UInt32(); break;
                case ServerInactive: record.InactiveConnections = attribute.UInt32(); break;
                case ServerPersistent: record.PersistentConnections = attribute.UInt32(); break;
                case ServerStats when !has64: record.Server = ReadCounts(ref attribute, wide: false); break;
                case ServerStats64:
                    has64 = true;
                    record.Server = ReadCounts(ref attribute, wide: true);
                    break;
            }
        }
        outer.Join(attribute);
        if (outer.Fault != NetlinkFault.None || !TryAddress(addressFamily, address, out UInt128 number)) return false;
        server.Key = new IpvsServerKey(service, number, port, addressFamily, forwarding);
        return true;
    }

    /// <summary>How packets come to a real server, as ipvsadm's options have it.</summary>
    internal static string Name(IpvsForwarding forwarding) => forwarding switch
    {
        IpvsForwarding.Masquerade => "masquerading",
        IpvsForwarding.Local => "local",
        IpvsForwarding.Tunnel => "tunnel",
        IpvsForwarding.Route => "route",
        _ => "bypass",
    };

    /// <summary>A scheduler's name, fit to be shown.</summary>
    internal static string NameOf(UInt128 scheduler)
    {
        Span<byte> bytes = stackalloc byte[16];
        MemoryMarshal.Write(bytes, in scheduler);
        int end = bytes.IndexOf((byte)0);
        return KernelText.Escape(end < 0 ? bytes : bytes[..end]);
    }

    private static bool TryOpen(in NetlinkMessage message, ushort family, ushort what, out NetlinkAttributes outer, out NetlinkAttributes inner)
    {
        inner = default;
        outer = default;
        if (message.Type != family || !message.TryRead(out GenericHeader _, out outer)) return false;
        while (outer.MoveNext())
        {
            if (outer.Type != what) continue;
            inner = outer.Nested();
            return true;
        }
        return false;
    }

    /// <summary>An address as the kernel has it, and a port.</summary>
    internal static Endpoint EndpointOf(ushort family, UInt128 address, ushort port)
    {
        Span<byte> bytes = stackalloc byte[AddressLength];
        MemoryMarshal.Write(bytes, in address);
        return new Endpoint(family == IpvsServiceKey.IPv4 ? bytes[..4] : bytes, port);
    }

    // The address is always 16 bytes long (union nf_inet_addr); of IPv4 the first four count.
    private static bool TryAddress(ushort family, ReadOnlySpan<byte> address, out UInt128 number)
    {
        number = default;
        int length = family switch { IpvsServiceKey.IPv4 => 4, IpvsServiceKey.IPv6 => AddressLength, _ => 0 };
        if (length == 0 || address.Length < length) return false;
        Span<byte> bytes = stackalloc byte[AddressLength];
        bytes.Clear();
        address[..length].CopyTo(bytes);
        number = MemoryMarshal.Read<UInt128>(bytes);
        return true;
    }

    private static IpvsCounts ReadCounts(scoped ref NetlinkAttributes stats, bool wide)
    {
        IpvsCounts counts = default;
        NetlinkAttributes attribute = stats.Nested();
        while (attribute.MoveNext())
        {
            switch (attribute.Type)
            {
                case 1: counts.Connections = wide ? attribute.UInt64() : attribute.UInt32(); break;
                case 2: counts.IncomingPackets = wide ? attribute.UInt64() : attribute.UInt32(); break;
                case 3: counts.OutgoingPackets = wide ? attribute.UInt64() : attribute.UInt32(); break;
                case 4: counts.IncomingBytes = attribute.UInt64(); break;
                case 5: counts.OutgoingBytes = attribute.UInt64(); break;
            }
        }
        stats.Join(attribute);
        return counts;
    }

    /// <summary>struct genlmsghdr.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct GenericHeader
    {
        internal byte Command;
        internal byte Version;
        private ushort _reserved;
    }
}

/// <summary>Takes the family's number.</summary>
internal struct IpvsFamilyVisitor : INetlinkVisitor
{
    internal ushort Family { get; private set; }

    public void Begin() => Family = 0;

    public bool Visit(in NetlinkMessage message)
    {
        bool understood = IpvsMessages.TryReadFamily(message, out ushort family);
        Family = family;
        return understood;
    }
}

/// <summary>Takes a list of IPVS.</summary>
internal interface IIpvsListVisitor : INetlinkVisitor
{
    /// <summary>Whether something has come twice.</summary>
    bool Repeats { get; }
}

/// <summary>Collects services, up to a number.</summary>
internal struct IpvsServiceVisitor(List<IpvsService> services, HashSet<IpvsServiceKey> keys, ushort family, int most) : IIpvsListVisitor
{
    /// <summary>Those that were too many.</summary>
    internal int Surplus { get; private set; }

    public bool Repeats { get; private set; }

    public void Begin()
    {
        services.Clear();
        keys.Clear();
        Surplus = 0;
        Repeats = false;
    }

    public bool Visit(in NetlinkMessage message)
    {
        if (!IpvsMessages.TryRead(message, family, out IpvsService service)) return false;
        if (!keys.Add(service.Key)) Repeats = true;
        else if (services.Count < most) services.Add(service);
        else Surplus++;
        return true;
    }
}

/// <summary>Collects the real servers of a service.</summary>
internal struct IpvsServerVisitor(List<IpvsServer> servers, HashSet<IpvsServerKey> keys, ushort family, IpvsServiceKey service) : IIpvsListVisitor
{
    public bool Repeats { get; private set; }

    public void Begin()
    {
        servers.Clear();
        keys.Clear();
        Repeats = false;
    }

    public bool Visit(in NetlinkMessage message)
    {
        if (!IpvsMessages.TryRead(message, family, service, out IpvsServer server)) return false;
        if (keys.Add(server.Key)) servers.Add(server);
        else Repeats = true;
        return true;
    }
}
