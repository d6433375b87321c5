namespace KubeSkoop.Probes.Netlink;

/// <summary>
/// Connection tracking of one network namespace; with <see cref="ConntrackOptions.Entries"/> also rows by protocol and state, in which
/// the flows alone are there.
/// </summary>
public struct ConntrackRecord
{
    /// <summary>Lookups that found an entry; little used by current kernels. Unit: lookups. Kernel: ip_conntrack_stat.found.</summary>
    public Reading Found;

    /// <summary>Packets that could not be tracked. Unit: packets. Kernel: ip_conntrack_stat.invalid.</summary>
    public Reading Invalid;

    /// <summary>Packets that were not to be tracked; absent on 5.10 and later, which do not count them. Unit: packets. Kernel: ip_conntrack_stat.ignore.</summary>
    public Reading Ignored;

    /// <summary>Entries inserted; many kernels do not count here. Unit: entries. Kernel: ip_conntrack_stat.insert.</summary>
    public Reading Inserted;

    /// <summary>Entries that could not be inserted, so that their packet was dropped. Unit: entries. Kernel: ip_conntrack_stat.insert_failed.</summary>
    public Reading InsertFailed;

    /// <summary>Packets dropped because they could not be tracked: the table is full, or an insertion failed. Unit: packets. Kernel: ip_conntrack_stat.drop.</summary>
    public Reading Dropped;

    /// <summary>Entries thrown out early to make room in a full table. Unit: entries. Kernel: ip_conntrack_stat.early_drop.</summary>
    public Reading DroppedEarly;

    /// <summary>ICMP errors that match no entry, or are broken. Unit: packets. Kernel: ip_conntrack_stat.error.</summary>
    public Reading Errors;

    /// <summary>Lookups begun anew because the table was resized. Unit: lookups. Kernel: ip_conntrack_stat.search_restart.</summary>
    public Reading SearchRestarts;

    /// <summary>Packets that raced for the same entry, and got it. Unit: packets. Kernel: ip_conntrack_stat.clash_resolve, 5.10 and later.</summary>
    public Reading ClashesResolved;

    /// <summary>Insertions that failed because a hash chain was too long. Unit: entries. Kernel: ip_conntrack_stat.chaintoolong, 5.15 and later.</summary>
    public Reading ChainsTooLong;

    /// <summary>Entries now. Unit: entries. Kernel: nf_conntrack_net.count.</summary>
    public Reading Entries;

    /// <summary>Most entries a namespace may have; 0 for no limit. Unit: entries. Kernel: nf_conntrack_max.</summary>
    public Reading Maximum;

    /// <summary>Notices the kernel could not deliver for want of room; absent unless events are on. Unit: events. Kernel: sk_drops of the netlink socket.</summary>
    public Reading LostEvents;

    /// <summary>How old the flows' numbers are; absent unless entries are counted. Unit: milliseconds.</summary>
    public Reading FlowsAge;

    /// <summary>Tracked flows of the row's protocol and state. Unit: flows. Kernel: a dump, IPCTNL_MSG_CT_GET.</summary>
    public Reading Flows;

    /// <summary>Of those, flows without an answer yet. Unit: flows. Kernel: IPS_SEEN_REPLY not set.</summary>
    public Reading FlowsUnreplied;

    /// <summary>Of those, flows that are not thrown out early. Unit: flows. Kernel: IPS_ASSURED.</summary>
    public Reading FlowsAssured;

    /// <summary>Of those, flows whose source address is translated. Unit: flows. Kernel: IPS_SRC_NAT.</summary>
    public Reading FlowsSourceNat;

    /// <summary>Of those, flows whose destination address is translated. Unit: flows. Kernel: IPS_DST_NAT.</summary>
    public Reading FlowsDestinationNat;

    /// <summary>Of those, flows on the flow table's fast path, in software or hardware. Unit: flows. Kernel: IPS_OFFLOAD, IPS_HW_OFFLOAD.</summary>
    public Reading FlowsOffloaded;

    /// <summary>Names, kinds and units of the metrics, and how to read them. Rows by protocol and state are no part of upstream's.</summary>
    public static MetricTable<ConntrackRecord> Metrics { get; } = Table();

    private static MetricTable<ConntrackRecord> Table()
    {
        var table = new MetricTable<ConntrackRecord>(static (in ConntrackRecord r) => r.Entries.HasValue)
        {
            { "kubeskoop.conntrack.found", MetricKind.Counter, "{lookup}", "Lookups that found an entry; little used by current kernels.", static (in ConntrackRecord r) => r.Found, "kubeskoop_conntrack_found" },
            { "kubeskoop.conntrack.invalid", MetricKind.Counter, "{packet}", "Packets that could not be tracked.", static (in ConntrackRecord r) => r.Invalid, "kubeskoop_conntrack_invalid" },
            { "kubeskoop.conntrack.ignored", MetricKind.Counter, "{packet}", "Packets that were not to be tracked; kernels before 5.10 only.", static (in ConntrackRecord r) => r.Ignored },
            { "kubeskoop.conntrack.inserted", MetricKind.Counter, "{entry}", "Entries inserted; many kernels do not count here.", static (in ConntrackRecord r) => r.Inserted, "kubeskoop_conntrack_insert" },
            { "kubeskoop.conntrack.insert_failed", MetricKind.Counter, "{entry}", "Entries that could not be inserted, so that their packet was dropped.", static (in ConntrackRecord r) => r.InsertFailed, "kubeskoop_conntrack_insertfailed" },
            { "kubeskoop.conntrack.dropped", MetricKind.Counter, "{packet}", "Packets dropped because they could not be tracked: the table is full, or an insertion failed.", static (in ConntrackRecord r) => r.Dropped, "kubeskoop_conntrack_drop" },
            { "kubeskoop.conntrack.dropped_early", MetricKind.Counter, "{entry}", "Entries thrown out early to make room in a full table.", static (in ConntrackRecord r) => r.DroppedEarly, "kubeskoop_conntrack_earlydrop" },
            { "kubeskoop.conntrack.errors", MetricKind.Counter, "{packet}", "ICMP errors that match no entry, or are broken.", static (in ConntrackRecord r) => r.Errors, "kubeskoop_conntrack_error" },
            { "kubeskoop.conntrack.search_restarts", MetricKind.Counter, "{lookup}", "Lookups begun anew because the table was resized.", static (in ConntrackRecord r) => r.SearchRestarts, "kubeskoop_conntrack_searchrestart" },
            { "kubeskoop.conntrack.clashes_resolved", MetricKind.Counter, "{packet}", "Packets that raced for the same entry, and got it.", static (in ConntrackRecord r) => r.ClashesResolved },
            { "kubeskoop.conntrack.chains_too_long", MetricKind.Counter, "{entry}", "Insertions that failed because a hash chain was too long.", static (in ConntrackRecord r) => r.ChainsTooLong },
            { "kubeskoop.conntrack.entries", MetricKind.Gauge, "{entry}", "Entries of the namespace.", static (in ConntrackRecord r) => r.Entries, "kubeskoop_conntrack_entries" },
            { "kubeskoop.conntrack.maximum", MetricKind.Gauge, "{entry}", "Most entries a namespace may have (nf_conntrack_max); 0 for no limit.", static (in ConntrackRecord r) => r.Maximum, "kubeskoop_conntrack_maxentries" },
            { "kubeskoop.conntrack.usage", MetricKind.Gauge, "1", "Entries as a part of the most there may be.", static (in ConntrackRecord r) => r.Usage },
            { "kubeskoop.conntrack.lost_events", MetricKind.Counter, "{event}", "Notices of the kernel that were lost for want of room.", static (in ConntrackRecord r) => r.LostEvents },
            { "kubeskoop.conntrack.flows_age", MetricKind.Gauge, "s", "How old the numbers of flows are.", static (in ConntrackRecord r) => r.FlowsAge.HasValue ? r.FlowsAge.Value / 1e3 : MetricValue.Absent },
            { "kubeskoop.conntrack.flows", MetricKind.Gauge, "{flow}", "Tracked flows by protocol and TCP state.", static (in ConntrackRecord r) => r.Flows },
            { "kubeskoop.conntrack.flows_unreplied", MetricKind.Gauge, "{flow}", "Of those, flows without an answer yet.", static (in ConntrackRecord r) => r.FlowsUnreplied },
            { "kubeskoop.conntrack.flows_assured", MetricKind.Gauge, "{flow}", "Of those, flows that are not thrown out early.", static (in ConntrackRecord r) => r.FlowsAssured },
            { "kubeskoop.conntrack.flows_source_nat", MetricKind.Gauge, "{flow}", "Of those, flows whose source address is translated.", static (in ConntrackRecord r) => r.FlowsSourceNat },
            { "kubeskoop.conntrack.flows_destination_nat", MetricKind.Gauge, "{flow}", "Of those, flows whose destination address is translated.", static (in ConntrackRecord r) => r.FlowsDestinationNat },
            { "kubeskoop.conntrack.flows_offloaded", MetricKind.Gauge, "{flow}", "Of those, flows on the flow table's fast path.", static (in ConntrackRecord r) => r.FlowsOffloaded },
        };
        // Upstream shows 0 where the kernel no longer counts.
        table.AddUpstream("kubeskoop_conntrack_ignore", "Packets that were not to be tracked; 0 on 5.10 and later.", static (in ConntrackRecord r) => r.Ignored.GetValueOrDefault());
        return table;
    }

    /// <summary><see cref="Entries"/> as a part of <see cref="Maximum"/>; <see langword="null"/> when there is no limit.</summary>
    public readonly double? Usage => Entries.HasValue && Maximum is { HasValue: true, Value: > 0 } ? (double)Entries.Value / Maximum.Value : null;
}
