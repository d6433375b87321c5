using System.Buffers.Binary;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Netlink.Interop;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Netlink;

/// <summary>
/// The devices of one namespace by their index, as its own kernel tables have them. They are asked for (RTM_GETLINK) when the namespace has told of
/// a change, when an index is unknown, and once a minute for what changes without a notice; not in every sample. Used under the
/// lock of the rtnetlink sockets.
/// </summary>
internal sealed class NamespaceLinks(NetworkNamespace ns, TimeProvider clock) : IDisposable
{
    private const ushort GetLink = 18; // include/uapi/linux/rtnetlink.h
    private const ushort NewLink = 16;
    private const ushort ExtensionMask = 29; // include/uapi/linux/if_link.h, IFLA_EXT_MASK
    private const uint SkipStatistics = 8;   // RTEXT_FILTER_SKIP_STATS

    private static readonly TimeSpan LongestAge = TimeSpan.FromMinutes(1);

    private readonly Dictionary<int, Link> _byIndex = [];
    private readonly byte[] _request = MakeRequest();
    private NetlinkSocket? _socket;
    private uint _notices;
    private long _readAt;
    private uint _reading;

    /// <summary>How often the devices were asked for.</summary>
    internal int Dumps { get; private set; }

    /// <summary>The device with this index; <see langword="null"/> when there was none when they were last asked for.</summary>
    internal Link? Find(int index) => _byIndex.GetValueOrDefault(index);

    /// <summary>The devices, by index.</summary>
    internal Dictionary<int, Link>.ValueCollection All => _byIndex.Values;

    /// <summary>
    /// Whether the devices have to be asked for. After a dump on the same socket: what the namespace told before the dump has then been
    /// received with it.
    /// </summary>
    internal bool IsOutdated(NetlinkSocket socket) =>
        !ReferenceEquals(socket, _socket) || socket.Notices != _notices || clock.GetElapsedTime(_readAt) >= LongestAge;

    /// <summary>Asks for the devices. A device with another name than before is another object.</summary>
    internal NetlinkResult Read(NetlinkSocket socket, NetlinkBuffer buffer)
    {
        uint notices = socket.Notices; // those received meanwhile may be older than the answer or younger: looked at again next time
        Dumps++;
        _socket = null;
        var visitor = new LinkVisitor(this);
        NetlinkResult result = socket.Dump(buffer, _request, ref visitor);
        if (!result.IsComplete) return result;
        foreach ((int index, Link link) in _byIndex)
            if (link.MetIn != _reading) _byIndex.Remove(index);
        if (result.Outcome == NetlinkOutcome.Ok) _socket = socket;
        _notices = notices;
        _readAt = clock.GetTimestamp();
        return result;
    }

    public void Dispose()
    {
    }

    /// <summary>Asks for all devices.</summary>
    internal static byte[] MakeRequest()
    {
        var request = new NetlinkWriter(new byte[64], GetLink);
        request.Header(new InterfaceMessage());
        request.Attribute(ExtensionMask, SkipStatistics);
        return request.Finish().ToArray();
    }

    /// <summary>Takes over one device: struct ifinfomsg with the attributes of enum IFLA_*. False when the message is not what it should be.</summary>
    internal bool Learn(in NetlinkMessage message)
    {
        if (message.Type != NewLink || !message.TryRead(out InterfaceMessage header, out NetlinkAttributes attribute)) return false;
        ReadOnlySpan<byte> name = default;
        var facts = new LinkFacts { IsLoopback = (header.Flags & InterfaceMessage.Loopback) != 0 };
        while (attribute.MoveNext())
        {
            switch (attribute.Type)
            {
                case 3: name = attribute.Text(); break;                                    // IFLA_IFNAME
                case 4: facts.Mtu = attribute.UInt32(); break;                             // IFLA_MTU
                case 13: facts.TransmitQueueLength = attribute.UInt32(); break;            // IFLA_TXQLEN
                case 16: facts.OperationalState = attribute.UInt8(); break;                // IFLA_OPERSTATE
                case 35: facts.CarrierChanges = attribute.UInt32(); break;                 // IFLA_CARRIER_CHANGES
            }
        }
        if (attribute.Fault != NetlinkFault.None || name.IsEmpty || name.Length > Link.LongestName) return false;
        UInt128 key = Link.KeyOf(name);
        ref Link? link = ref CollectionsMarshal.GetValueRefOrAddDefault(_byIndex, header.Index, out _);
        if (link is null || link.NameKey != key) link = new Link(header.Index, key, new SampleSubject(ns, new SampleAttribute(AttributeNames.Interface, KernelText.Escape(name))));
        link.Facts = facts;
        link.MetIn = _reading;
        return true;
    }

    private readonly struct LinkVisitor(NamespaceLinks links) : INetlinkVisitor
    {
        public void Begin() => links._reading++;

        public bool Visit(in NetlinkMessage message) => links.Learn(message);
    }

    /// <summary>struct ifinfomsg.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 16)]
    private struct InterfaceMessage
    {
        internal const uint Loopback = 8; // IFF_LOOPBACK

        [FieldOffset(4)] internal int Index;
        [FieldOffset(8)] internal uint Flags;
    }
}

/// <summary>A device under one name.</summary>
/// <param name="index">Its number within the namespace.</param>
/// <param name="nameKey">Its name.</param>
/// <param name="subject">Who rows about it are about.</param>
internal sealed class Link(int index, UInt128 nameKey, SampleSubject subject)
{
    internal const int LongestName = 15; // IFNAMSIZ - 1

    private Reading _speed;
    private Reading _speedCarrier;
    private long _speedAskedAt;
    private bool _speedAsked;

    internal int Index => index;

    internal UInt128 NameKey => nameKey;

    internal SampleSubject Subject => subject;

    /// <summary>The name as rows show it.</summary>
    internal string Name => subject.Attributes[0].Value;

    internal LinkFacts Facts;

    internal uint MetIn { get; set; }

    /// <summary>Up to 15 bytes and a NUL, in one number.</summary>
    internal static UInt128 KeyOf(ReadOnlySpan<byte> name)
    {
        Span<byte> padded = stackalloc byte[16];
        padded.Clear();
        name.CopyTo(padded);
        return BinaryPrimitives.ReadUInt128LittleEndian(padded);
    }

    /// <summary>
    /// The device's speed in bits per second, absent where the driver does not know it. A driver may have to ask its hardware for it, so it is
    /// asked when the device is new, after a change of its carrier, and once in a while.
    /// </summary>
    internal Reading Speed(NetlinkSocket socket, TimeProvider clock, TimeSpan longestAge)
    {
        if (_speedAsked && _speedCarrier == Facts.CarrierChanges && clock.GetElapsedTime(_speedAskedAt) < longestAge) return _speed;
        _speed = Libc.TryGetLinkSpeed(socket.Handle, nameKey, out uint megabits) ? new Reading(megabits * 1_000_000ul) : default;
        _speedAsked = true;
        _speedCarrier = Facts.CarrierChanges;
        _speedAskedAt = clock.GetTimestamp();
        return _speed;
    }
}

/// <summary>What RTM_NEWLINK says of a device, beside its name.</summary>
internal struct LinkFacts
{
    internal bool IsLoopback;
    internal Reading Mtu;
    internal Reading TransmitQueueLength;
    internal Reading OperationalState;
    internal Reading CarrierChanges;
}
