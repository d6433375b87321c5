using System.Buffers.Binary;
using System.Globalization;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Netlink;

/// <summary>
/// What the probe remembers of one namespace: who its rows are about, made once per qdisc, and totals that outlive devices. Used under
/// the lock of the rtnetlink sockets.
/// </summary>
internal sealed class QdiscNamespace(NetworkNamespace ns, TimeProvider clock) : IDisposable
{
    private readonly Dictionary<QdiscKey, Qdisc> _byKey = [];
    private List<Qdisc> _order = [];
    private List<Qdisc> _next = [];
    private QdiscCounters _rootTotals;
    private uint _sample;
    private bool _moved;
    private bool _incomplete;

    /// <summary>Its devices.</summary>
    internal NamespaceLinks Links { get; } = new(ns, clock);

    /// <summary>Begins a sample.</summary>
    internal void Begin()
    {
        _sample++;
        _moved = false;
        _next.Clear();
    }

    /// <summary>The qdisc or class of an entry; <see langword="null"/> if this sample has met it before, or its device is not known.</summary>
    internal Qdisc? Meet(in QdiscEntry entry)
    {
        // They are expected in the order of the last sample, so that a look-up is one comparison.
        int place = _next.Count;
        Qdisc? qdisc = place < _order.Count && _order[place].Key == entry.Key ? _order[place] : null;
        if (qdisc is null)
        {
            _moved = true;
            if (!_byKey.TryGetValue(entry.Key, out qdisc))
            {
                qdisc = new Qdisc(entry.Key);
                _byKey.Add(entry.Key, qdisc);
            }
        }
        if (qdisc.MetIn == _sample) return null;
        qdisc.MetIn = _sample;
        _next.Add(qdisc);
        QdiscCounters growth = qdisc.Count(entry.Record);
        if (entry.Key.IsRoot) _rootTotals.Add(growth);
        if (Links.Find(entry.Key.Device) is not { } link) return null;
        if (!ReferenceEquals(link, qdisc.Link)) qdisc.BelongsTo(ns, link);
        return qdisc;
    }

    /// <summary>Ends a sample.</summary>
    /// <param name="isComplete">Whether it had everything there is; otherwise what was not met is not forgotten.</param>
    /// <param name="isFull">Whether there was more than is looked at: the totals then end, for they could count twice.</param>
    internal void End(bool isComplete, bool isFull)
    {
        _incomplete |= isFull;
        if (!isComplete && !isFull)
        {
            // Their order is not worth remembering either: all of them are still in the table.
            _order.Clear();
            return;
        }
        if (_moved || _next.Count != _order.Count || _byKey.Count != _next.Count)
        {
            foreach ((QdiscKey key, Qdisc qdisc) in _byKey)
                if (qdisc.MetIn != _sample) _byKey.Remove(key);
        }
        (_order, _next) = (_next, _order);
    }

    /// <summary>The counters of all root qdiscs there have been since the first sample.</summary>
    internal void WriteTotals(ref QdiscRecord record, ulong queueLength, ulong backlog)
    {
        if (_incomplete) return;
        record.RootBytes = _rootTotals.Bytes;
        record.RootPackets = _rootTotals.Packets;
        record.RootDrops = _rootTotals.Drops;
        record.RootOverlimits = _rootTotals.Overlimits;
        record.RootRequeues = _rootTotals.Requeues;
        record.RootQueueLength = queueLength;
        record.RootBacklog = backlog;
    }

    public void Dispose()
    {
    }
}

/// <summary>A qdisc or class of one namespace.</summary>
internal sealed class Qdisc(QdiscKey key)
{
    private QdiscCounters _published;
    private QdiscCounters _last;
    private bool _counted;

    internal QdiscKey Key => key;

    internal uint MetIn { get; set; }

    /// <summary>Its device.</summary>
    internal Link? Link { get; private set; }

    /// <summary>Who its row is about.</summary>
    internal SampleSubject? Subject { get; private set; }

    /// <summary>Says which device it is on: a new one, or one with another name.</summary>
    internal void BelongsTo(NetworkNamespace ns, Link link)
    {
        Link = link;
        var device = new SampleAttribute(AttributeNames.Interface, link.Name);
        var kind = new SampleAttribute(QdiscProbe.KindAttribute, KindName(key.Kind));
        var parent = new SampleAttribute(QdiscProbe.ParentAttribute, ParentName(key.Parent));
        Subject = key.IsClass
            ? new SampleSubject(ns, device, kind, new(QdiscProbe.HandleAttribute, HandleName(key.Handle)), parent, new(QdiscProbe.ClassAttribute, ClassName(key.Handle)))
            : new SampleSubject(ns, device, kind, new(QdiscProbe.HandleAttribute, HandleName(key.Handle)), parent);
    }

    /// <summary>Takes over the kernel's counters and returns by how much they have grown; at first sight that is all of them.</summary>
    /// <remarks>
    /// The queue's counters have 32 bits and wrap. A counter that has fallen otherwise has begun anew (another qdisc with the same number), or is the sum
    /// of children of which one was replaced (mq): it is published as it is, and has not grown.
    /// </remarks>
    internal QdiscCounters Count(in QdiscRecord record)
    {
        var now = new QdiscCounters
        {
            Bytes = record.Bytes.GetValueOrDefault(),
            Packets = record.Packets.GetValueOrDefault(),
            Drops = record.Drops.GetValueOrDefault(),
            Overlimits = record.Overlimits.GetValueOrDefault(),
            Requeues = record.Requeues.GetValueOrDefault(),
        };
        QdiscCounters growth = now;
        if (_counted)
        {
            growth = new QdiscCounters
            {
                Bytes = now.Bytes >= _last.Bytes ? now.Bytes - _last.Bytes : 0,
                Packets = now.Packets >= _last.Packets ? now.Packets - _last.Packets : 0,
                Drops = Follow(ref _published.Drops, _last.Drops, now.Drops),
                Overlimits = Follow(ref _published.Overlimits, _last.Overlimits, now.Overlimits),
                Requeues = Follow(ref _published.Requeues, _last.Requeues, now.Requeues),
            };
        }
        else
        {
            _published = now;
        }
        _counted = true;
        _last = now;
        return growth;
    }

    /// <summary>Puts the counters that go on over a wrap in place of the kernel's.</summary>
    internal void Write(ref QdiscRecord record)
    {
        if (record.Drops.HasValue) record.Drops = _published.Drops;
        if (record.Overlimits.HasValue) record.Overlimits = _published.Overlimits;
        if (record.Requeues.HasValue) record.Requeues = _published.Requeues;
    }

    private static ulong Follow(ref ulong published, ulong last, ulong now)
    {
        uint growth = unchecked((uint)(now - last));
        // More than half the range in one sample is no growth but a fall.
        if (now < last && growth > int.MaxValue)
        {
            published = now;
            return 0;
        }
        published += growth;
        return growth;
    }

    // As tc prints them. A kind's name comes from the kernel's modules; it is written as safely as a device's.
    private static string KindName(UInt128 kind)
    {
        Span<byte> bytes = stackalloc byte[16];
        BinaryPrimitives.WriteUInt128LittleEndian(bytes, kind);
        return KernelText.Escape(bytes.TrimEnd((byte)0));
    }

    private static string HandleName(uint handle) => string.Create(CultureInfo.InvariantCulture, $"{handle >> 16:x}:");

    private static string ClassName(uint handle) => string.Create(CultureInfo.InvariantCulture, $"{handle >> 16:x}:{handle & 0xffff:x}");

    private static string ParentName(uint parent) => parent switch
    {
        QdiscKey.RootParent => "root",
        _ when parent >> 16 == 0 => string.Create(CultureInfo.InvariantCulture, $":{parent:x}"),
        _ when (parent & 0xffff) == 0 => HandleName(parent),
        _ => ClassName(parent),
    };
}

/// <summary>The counters every qdisc has.</summary>
internal struct QdiscCounters
{
    internal ulong Bytes;
    internal ulong Packets;
    internal ulong Drops;
    internal ulong Overlimits;
    internal ulong Requeues;

    internal void Add(in QdiscCounters other)
    {
        Bytes += other.Bytes;
        Packets += other.Packets;
        Drops += other.Drops;
        Overlimits += other.Overlimits;
        Requeues += other.Requeues;
    }
}
