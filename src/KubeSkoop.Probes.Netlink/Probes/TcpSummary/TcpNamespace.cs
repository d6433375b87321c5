using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Netlink;

/// <summary>The counters that tell, without a listing, whether there are connections and whether anything happened to them.</summary>
/// <param name="InUse">Sockets in the kernel's tables: listeners, and connections in every state but TIME_WAIT. Kernel: sockstat and sockstat6, inuse.</param>
/// <param name="TimeWait">Remainders: TIME_WAIT, and FIN_WAIT2 whose process has closed. Kernel: sockstat, tw.</param>
/// <param name="CurrentEstablished">ESTABLISHED and CLOSE_WAIT. Kernel: snmp, CurrEstab.</param>
/// <param name="ActiveOpens">Connections begun here. Kernel: snmp.</param>
/// <param name="PassiveOpens">Connections begun there. Kernel: snmp.</param>
/// <param name="InSegments">Segments received. Kernel: snmp.</param>
/// <param name="OutSegments">Segments sent. Kernel: snmp.</param>
/// <param name="Retransmitted">Segments sent again, answers to a SYN included. Kernel: snmp.</param>
internal readonly record struct TcpCounters(
    ulong InUse, ulong TimeWait, ulong CurrentEstablished, ulong ActiveOpens, ulong PassiveOpens, ulong InSegments, ulong OutSegments, ulong Retransmitted)
{
    /// <summary>Connections begun, here and there: without one, no socket has become a connection.</summary>
    internal ulong Opens => unchecked(ActiveOpens + PassiveOpens);
}

/// <summary>What a namespace's turn to be listed is worth.</summary>
internal enum ListingNeed
{
    /// <summary>The counters say all there is to say.</summary>
    None,

    /// <summary>There is no connection; but what the counters cannot tell apart has changed.</summary>
    Remainders,

    /// <summary>There are connections, and something happened, or they have not been looked at for long.</summary>
    Connections,
}

/// <summary>What is known about one namespace, from sample to sample.</summary>
/// <param name="ns">The namespace.</param>
/// <param name="devices">Its <c>/proc/PID/net/dev</c>.</param>
internal sealed class TcpNamespace(NetworkNamespace ns, NetFile devices) : IDisposable
{
    private byte[] _devices = [];
    private int _devicesLength;
    private readonly List<(UInt128 Name, SampleSubject Subject)> _congestionSubjects = [];
    private TcpCounters _atListing;
    private TcpCounters _atLook;
    private TcpTally _tally;
    private Log2Histogram _roundTripTime;
    private long _listedAt;
    private long _lookedAt;
    private bool _looked;
    private bool _counted;
    private ulong _cookie;
    private SampleSubject? _listenerSubject;
    private Endpoint _listenerNamed;

    internal NetworkNamespace Namespace => ns;

    /// <summary>The counters of this sample.</summary>
    internal TcpCounters Now { get; private set; }

    /// <summary>Whether this sample has counters, and where they were needed, listeners.</summary>
    internal bool IsKnown { get; set; }

    /// <summary>Whether connections have ever been listed, or been proven absent.</summary>
    internal bool IsListed { get; private set; }

    internal ListenerTally Listeners;

    internal ref readonly TcpTally Tally => ref _tally;

    /// <summary>How long the last listing took, in ticks of the clock.</summary>
    internal long LastCost { get; private set; }

    /// <summary>When the numbers were true, in ticks of the clock.</summary>
    internal long ListedAt => _listedAt;

    internal ref readonly Log2Histogram RoundTripTime => ref _roundTripTime;

    /// <summary>Sockets that are not listeners. CurrEstab is asked too, in case a listener has come for a connection meanwhile.</summary>
    internal bool HasConnections => Now.InUse != Listeners.Count || Now.CurrentEstablished > 0;

    /// <summary>
    /// Whether the counters of <c>snmp</c> may have moved since they were last taken. They have not where there is no TCP socket, or where there are only
    /// listeners and no device has seen a packet: <c>dev</c> takes a fifth of <c>snmp</c>'s time, and its text is the same as before. Connections may send
    /// what a rule drops before any device sees it. The host's devices are not asked: there are many, and drivers that count late.
    /// </summary>
    internal bool MayHaveMoved(ulong inUse, ulong timeWait, ReadBuffer buffer)
    {
        if (inUse == 0 && timeWait == 0) return false;
        if (ns.IsHost || inUse != Listeners.Count || devices.Read(buffer, singleRecord: false, out ReadOnlySpan<byte> text) != NetFileOutcome.Ok) return true;
        if (inUse == Now.InUse && text.SequenceEqual(_devices.AsSpan(0, _devicesLength))) return false;
        if (text.Length > _devices.Length) _devices = new byte[2 * text.Length];
        text.CopyTo(_devices);
        _devicesLength = text.Length;
        return true;
    }

    /// <summary>Makes <c>snmp</c> be read in any case next time.</summary>
    internal void ForgetDevices() => _devicesLength = 0;

    /// <summary>Takes this sample's counters; those of <c>snmp</c> have not moved.</summary>
    internal void Count(ulong inUse, ulong timeWait)
    {
        Now = Now with { InUse = inUse, TimeWait = timeWait, CurrentEstablished = inUse == 0 ? 0 : Now.CurrentEstablished };
        IsKnown = true;
    }

    /// <summary>Takes this sample's counters.</summary>
    internal void Count(in TcpCounters counters)
    {
        Now = counters;
        IsKnown = true;
        if (_counted) return;
        _counted = true;
        // Answers to a SYN that were repeated before are no news; all else may have come since the namespace was proven empty.
        _atListing = _atListing with { Retransmitted = counters.Retransmitted };
    }

    /// <summary>
    /// Whether the listeners have to be listed: their queues matter while there are connections, their number when it may have changed. Otherwise
    /// only a limit can have changed, or one listener come for another; so they are listed at the greatest age, a few in each sample.
    /// </summary>
    internal bool NeedsLook(long now, long maxAge, ref int ageing)
    {
        if (Now.InUse == 0)
        {
            Listeners = default;
            return false;
        }
        if (!_looked || HasConnections || Now.InUse != _atLook.InUse || Now.Opens != _atLook.Opens) return true;
        return now - _lookedAt >= maxAge && ageing-- > 0;
    }

    internal void Looked(in ListenerTally listeners, long now)
    {
        Listeners = listeners;
        _atLook = Now;
        _lookedAt = now;
        _looked = true;
    }

    /// <summary>Whether the connections have to be listed. Where not, what the counters prove is noted as of now.</summary>
    internal ListingNeed Need(long now, long maxAge)
    {
        // Remainders are counted: there cannot be more of them that are in FIN_WAIT2.
        if (_tally.ClosedFinWait2 > Now.TimeWait)
        {
            _tally.States[(int)TcpState.FinWait2] -= (uint)(_tally.ClosedFinWait2 - Now.TimeWait);
            _tally.ClosedFinWait2 = (uint)Now.TimeWait;
        }
        if (HasConnections)
            return !IsListed || Now != _atListing || now - _listedAt >= maxAge ? ListingNeed.Connections : ListingNeed.None;

        // No socket but listeners. What may be there beside: remainders, of which the number is known and not whether they
        // are in TIME_WAIT or FIN_WAIT2; and handshakes, which no counter counts, but whose SYN is answered again after a second.
        _tally = _tally.WithoutSockets();
        // Remainders come of segments or of sockets; that some of them have expired needs no listing.
        bool remaindersChanged = Now.TimeWait > 0 && (!IsListed || Now with { TimeWait = _atListing.TimeWait } != _atListing);
        bool answersRepeated = Now.Retransmitted != _atListing.Retransmitted && Listeners.Count > 0;
        bool mayHaveEnded = (_tally.NewSynReceived > 0 || _tally.ClosedFinWait2 > 0) && now - _listedAt >= maxAge;
        if (remaindersChanged || answersRepeated || mayHaveEnded) return ListingNeed.Remainders;
        if (_tally.NewSynReceived > 0 || _tally.ClosedFinWait2 > 0) return ListingNeed.None;
        _tally = default;
        _listedAt = now;
        _atListing = Now;
        IsListed = true;
        return ListingNeed.None;
    }

    /// <summary>Takes a listing.</summary>
    internal void Listed(in TcpTally tally, long began, long cost)
    {
        _tally = tally;
        _roundTripTime.Add(in tally.RoundTripTime);
        _atListing = Now;
        _listedAt = began;
        LastCost = cost;
        IsListed = true;
    }

    /// <summary>Takes what a source saw of all its sockets, which is as good as a listing; false when they are another namespace's, which has its number by now.</summary>
    internal bool TryTake(in TcpSums sums, long now)
    {
        if (_cookie == 0) _cookie = sums.Cookie;
        if (sums.Cookie != 0 && sums.Cookie != _cookie) return false;
        Listeners = sums.Listeners;
        Now = new TcpCounters(sums.Sockets + sums.Listeners.Count, sums.TimeWait + sums.Connections.ClosedFinWait2, 0, 0, 0, 0, 0, 0);
        _tally = sums.Connections;
        _listedAt = now;
        IsListed = IsKnown = true;
        // Should listings take over, they begin anew.
        _looked = _counted = false;
        _atListing = default;
        ForgetDevices();
        return true;
    }

    /// <summary>Of the remainders the counters count, those that are in TIME_WAIT as far as is known.</summary>
    internal ulong TimeWait => Now.TimeWait - Math.Min(Now.TimeWait, _tally.ClosedFinWait2);

    /// <summary>The subject of a congestion control's row.</summary>
    internal SampleSubject CongestionSubject(UInt128 name)
    {
        foreach ((UInt128 known, SampleSubject kept) in _congestionSubjects)
            if (known == name) return kept;
        var subject = new SampleSubject(ns, new SampleAttribute(TcpSummaryProbe.CongestionControlAttribute, NameOf(name)));
        if (_congestionSubjects.Count >= 4 * TcpTally.CongestionCounts.Most) _congestionSubjects.Clear();
        _congestionSubjects.Add((name, subject));
        return subject;
    }

    /// <summary>The subject of the row that names the fullest listener.</summary>
    internal SampleSubject ListenerSubject()
    {
        if (_listenerSubject is not null && _listenerNamed == Listeners.Fullest) return _listenerSubject;
        _listenerNamed = Listeners.Fullest;
        return _listenerSubject = new SampleSubject(ns,
            new SampleAttribute(TcpSummaryProbe.AddressAttribute, _listenerNamed.Address.ToString()),
            new SampleAttribute(TcpSummaryProbe.PortAttribute, _listenerNamed.Port.ToString(CultureInfo.InvariantCulture)));
    }

    public void Dispose() => devices.Dispose();

    private static string NameOf(UInt128 name)
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<UInt128>(in name));
        int end = bytes.IndexOf((byte)0);
        return KernelText.Decode(end < 0 ? bytes : bytes[..end]);
    }
}
