using System.Runtime.CompilerServices;

namespace KubeSkoop.Probes.Netlink;

/// <summary>What the probe remembers of one namespace; used under the lock of the family's sockets.</summary>
/// <param name="ns">The namespace.</param>
/// <param name="hasHistory">Whether it was there before the probe looked: what its counters say at first happened earlier, and is not told.</param>
internal sealed class ConntrackNamespace(NetworkNamespace ns, bool hasHistory = true) : IDisposable
{
    private ConntrackStatistics _totals;
    private ConntrackStatistics _last;
    private Trouble _told;
    private bool _folded;

    internal NetworkNamespace Namespace => ns;

    /// <summary>Its flows, once they were counted.</summary>
    internal ConntrackFlows? Flows { get; set; }

    /// <summary>When they were counted, as a time stamp of the clock.</summary>
    internal long FlowsCounted { get; set; }

    /// <summary>Why they could not be counted the last time.</summary>
    internal string? FlowsProblem { get; set; }

    /// <summary>
    /// Takes over sums of the kernel's 32-bit per-CPU counters. Modulo 2^32 the sum of counters that wrap is the sum that wraps, so one
    /// difference serves for all CPUs.
    /// </summary>
    internal void Fold(in ConntrackStatistics sums)
    {
        for (int i = 0; i < ConntrackStatistics.Length; i++)
        {
            if (!sums.Has(i)) continue;
            if (_totals.Has(i)) _totals.Add(i, unchecked((uint)(sums[i] - _last[i])));
            else _totals.Add(i, sums[i]);
        }
        _last = sums;
        if (!_folded && hasHistory) _told = TroubleSoFar();
        _folded = true;
    }

    /// <summary>The counters as of the last <see cref="Fold"/>.</summary>
    internal void Write(ref ConntrackRecord record)
    {
        record.Found = _totals.Reading(2); // enum ctattr_stats_cpu
        record.Invalid = _totals.Reading(4);
        record.Ignored = _totals.Reading(5);
        record.Inserted = _totals.Reading(8);
        record.InsertFailed = _totals.Reading(9);
        record.Dropped = _totals.Reading(10);
        record.DroppedEarly = _totals.Reading(11);
        record.Errors = _totals.Reading(12);
        record.SearchRestarts = _totals.Reading(13);
        record.ClashesResolved = _totals.Reading(14);
        record.ChainsTooLong = _totals.Reading(15);
    }

    /// <summary>What has gone wrong since the last time this was asked, or since the first <see cref="Fold"/>; false when nothing has.</summary>
    internal bool TryTakeTrouble(out Trouble since)
    {
        Trouble all = TroubleSoFar();
        since = new Trouble(all.Dropped - _told.Dropped, all.DroppedEarly - _told.DroppedEarly, all.InsertFailed - _told.InsertFailed, all.ChainsTooLong - _told.ChainsTooLong);
        _told = all;
        return since != default;
    }

    private Trouble TroubleSoFar() => new(_totals[10], _totals[11], _totals[9], _totals[15]);

    public void Dispose()
    {
    }

    /// <summary>Counters that tell of trouble.</summary>
    internal readonly record struct Trouble(ulong Dropped, ulong DroppedEarly, ulong InsertFailed, ulong ChainsTooLong)
    {
        /// <summary>Packets that were refused for want of room. An insertion that failed is counted as a drop, too; one that failed for a long hash chain is not (net/netfilter/nf_conntrack_core.c).</summary>
        internal ulong Refused => Dropped - Math.Min(Dropped, InsertFailed - Math.Min(InsertFailed, ChainsTooLong));

        internal bool IsTableFull => DroppedEarly > 0 || Refused > 0;
    }
}

/// <summary>Per-CPU counters, summed; by attribute type (enum ctattr_stats_cpu).</summary>
internal struct ConntrackStatistics
{
    internal const int Length = 16;

    private Numbers _sums;
    private ushort _present;

    internal readonly ulong this[int type] => _sums[type];

    internal readonly bool Has(int type) => (_present & (1 << type)) != 0;

    internal readonly Reading Reading(int type) => Has(type) ? new Reading(_sums[type]) : default;

    internal void Add(int type, ulong number)
    {
        _sums[type] += number;
        _present |= (ushort)(1 << type);
    }

    [InlineArray(Length)]
    private struct Numbers
    {
        private ulong _first;
    }
}

/// <summary>Sums IPCTNL_MSG_CT_GET_STATS_CPU: a message per CPU.</summary>
internal struct ConntrackStatisticsVisitor : INetlinkVisitor
{
    internal ConntrackStatistics Sums;

    public void Begin() => Sums = default;

    public bool Visit(in NetlinkMessage message)
    {
        if (message.Type != ConntrackMessages.GetStatsCpu || !message.TryRead(out uint _, out NetlinkAttributes attributes)) return false;
        while (attributes.MoveNext())
            if (attributes.Type is > 0 and < ConntrackStatistics.Length) Sums.Add(attributes.Type, attributes.BigEndian32());
        return attributes.Fault == NetlinkFault.None;
    }
}

/// <summary>Reads IPCTNL_MSG_CT_GET_STATS: entries and their limit.</summary>
internal struct ConntrackGlobalVisitor : INetlinkVisitor
{
    internal Reading Entries;
    internal Reading Maximum;

    public void Begin() => this = default;

    public bool Visit(in NetlinkMessage message)
    {
        if (message.Type != ConntrackMessages.GetStats || !message.TryRead(out uint _, out NetlinkAttributes attributes)) return false;
        while (attributes.MoveNext())
        {
            if (attributes.Type == ConntrackMessages.GlobalEntries) Entries = new Reading(attributes.BigEndian32());
            else if (attributes.Type == ConntrackMessages.GlobalMaximum) Maximum = new Reading(attributes.BigEndian32());
        }
        return attributes.Fault == NetlinkFault.None;
    }
}
