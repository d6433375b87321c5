namespace KubeSkoop.Probes.Netlink;

/// <summary>A virtual service of IPVS, or one of its real servers: a row has the numbers of one of the two.</summary>
public struct IpvsServicesRecord
{
    /// <summary>Real servers the service has. Unit: servers.</summary>
    public Reading Servers;

    /// <summary>What the service counts. Absent in rows about real servers. Kernel: IPVS_CMD_GET_SERVICE.</summary>
    public IpvsCounts Service;

    /// <summary>What the real server counts for this service. Absent in rows about services. Kernel: IPVS_CMD_GET_DEST.</summary>
    public IpvsCounts Server;

    /// <summary>Connections to the real server that are open: TCP established, everything of UDP. Unit: connections. Kernel: IPVS_DEST_ATTR_ACTIVE_CONNS.</summary>
    public Reading ActiveConnections;

    /// <summary>Connections to the real server that are begun, ended, or rest. Unit: connections. Kernel: IPVS_DEST_ATTR_INACT_CONNS.</summary>
    public Reading InactiveConnections;

    /// <summary>Templates that keep clients with the real server. Unit: templates. Kernel: IPVS_DEST_ATTR_PERSIST_CONNS.</summary>
    public Reading PersistentConnections;

    /// <summary>The real server's share of new connections; 0: none. Kernel: IPVS_DEST_ATTR_WEIGHT.</summary>
    public Reading Weight;

    /// <summary>Names, kinds and units of the metrics, and how to read them.</summary>
    public static MetricTable<IpvsServicesRecord> Metrics { get; } = new()
    {
        { "kubeskoop.ipvs_services.connections", MetricKind.Counter, "{connection}", "Connections to the service that were scheduled.", static (in IpvsServicesRecord r) => r.Service.Connections },
        { "kubeskoop.ipvs_services.incoming_packets", MetricKind.Counter, "{packet}", "Packets from the service's clients.", static (in IpvsServicesRecord r) => r.Service.IncomingPackets },
        { "kubeskoop.ipvs_services.outgoing_packets", MetricKind.Counter, "{packet}", "Packets to the service's clients that came back through IPVS.", static (in IpvsServicesRecord r) => r.Service.OutgoingPackets },
        { "kubeskoop.ipvs_services.incoming_bytes", MetricKind.Counter, "By", "Bytes from the service's clients.", static (in IpvsServicesRecord r) => r.Service.IncomingBytes },
        { "kubeskoop.ipvs_services.outgoing_bytes", MetricKind.Counter, "By", "Bytes to the service's clients that came back through IPVS.", static (in IpvsServicesRecord r) => r.Service.OutgoingBytes },
        { "kubeskoop.ipvs_services.servers", MetricKind.Gauge, "{server}", "Real servers of the service.", static (in IpvsServicesRecord r) => r.Servers },
        { "kubeskoop.ipvs_services.server.connections", MetricKind.Counter, "{connection}", "Connections to the service that were given to the real server.", static (in IpvsServicesRecord r) => r.Server.Connections },
        { "kubeskoop.ipvs_services.server.incoming_packets", MetricKind.Counter, "{packet}", "Packets to the real server.", static (in IpvsServicesRecord r) => r.Server.IncomingPackets },
        { "kubeskoop.ipvs_services.server.outgoing_packets", MetricKind.Counter, "{packet}", "Packets from the real server that came back through IPVS.", static (in IpvsServicesRecord r) => r.Server.OutgoingPackets },
        { "kubeskoop.ipvs_services.server.incoming_bytes", MetricKind.Counter, "By", "Bytes to the real server.", static (in IpvsServicesRecord r) => r.Server.IncomingBytes },
        { "kubeskoop.ipvs_services.server.outgoing_bytes", MetricKind.Counter, "By", "Bytes from the real server that came back through IPVS.", static (in IpvsServicesRecord r) => r.Server.OutgoingBytes },
        { "kubeskoop.ipvs_services.server.active", MetricKind.Gauge, "{connection}", "Connections to the real server that are open.", static (in IpvsServicesRecord r) => r.ActiveConnections },
        { "kubeskoop.ipvs_services.server.inactive", MetricKind.Gauge, "{connection}", "Connections to the real server that are begun, ended, or rest.", static (in IpvsServicesRecord r) => r.InactiveConnections },
        { "kubeskoop.ipvs_services.server.persistent", MetricKind.Gauge, "{template}", "Templates that keep clients with the real server.", static (in IpvsServicesRecord r) => r.PersistentConnections },
        { "kubeskoop.ipvs_services.server.weight", MetricKind.Gauge, "1", "The real server's share of new connections; 0 for none.", static (in IpvsServicesRecord r) => r.Weight },
    };
}

/// <summary>What IPVS counts of a service or a real server (include/uapi/linux/ip_vs.h, IPVS_STATS_ATTR_*).</summary>
public struct IpvsCounts
{
    /// <summary>Connections scheduled. Unit: connections.</summary>
    public Reading Connections;

    /// <summary>Packets from clients. Unit: packets.</summary>
    public Reading IncomingPackets;

    /// <summary>Packets to clients that came back through IPVS (masquerading). Unit: packets.</summary>
    public Reading OutgoingPackets;

    /// <summary>Bytes from clients. Unit: bytes.</summary>
    public Reading IncomingBytes;

    /// <summary>Bytes to clients that came back through IPVS (masquerading). Unit: bytes.</summary>
    public Reading OutgoingBytes;
}

/// <summary>Settings of the probe <c>ipvs_services</c>.</summary>
public sealed class IpvsServicesOptions : ProbeOptions
{
    /// <summary>Where hosts keep these settings in their configuration.</summary>
    public const string SectionName = ProbesOptions.SectionName + ":ipvs_services";

    /// <summary>Whether the real servers of each service have rows; each service is then one more question to the kernel. Default: yes.</summary>
    public bool Servers { get; set; } = true;

    /// <summary>Most services of one namespace that have rows; the others are left out, which is said. Default: 1000.</summary>
    public int MaxServices { get; set; } = 1000;

    /// <inheritdoc />
    public override IEnumerable<string> Validate()
    {
        if (MaxServices is < 1 or > 65536) yield return $"{SectionName}:{nameof(MaxServices)} is {MaxServices}; it must lie between 1 and 65536.";
    }
}
