using System.Buffers.Binary;
using KubeSkoop.Probes.Procfs.Interop;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>Holds packets that a rule sends to a queue (NFQUEUE) until they are released, in their order.</summary>
internal sealed class PacketQueue : IDisposable
{
    private const ushort Packet = 3 << 8; // NFNL_SUBSYS_QUEUE, include/uapi/linux/netfilter/nfnetlink_queue.h
    private const ushort Verdict = Packet | 1;
    private const ushort Config = Packet | 2;

    private readonly NetlinkSocket _socket = LiveSocketTests.Open(NetlinkProtocol.Netfilter);
    private readonly NetlinkBuffer _buffer = new();
    private readonly ushort _number;

    /// <summary>Binds to a queue of the calling thread's namespace.</summary>
    internal PacketQueue(ushort number)
    {
        _number = number;
        Ask(Config, 1, [1, 0, 0, 2]);                 // NFQA_CFG_CMD: bind
        Ask(Config, 2, [0, 0, 0, 0, 1]);              // NFQA_CFG_PARAMS: copy no packets, NFQNL_COPY_META
    }

    /// <summary>Waits until so many packets wait, then lets them go one after the other.</summary>
    internal async Task ReleaseAsync(int count)
    {
        var ids = new List<uint>();
        await Eventually.TrueAsync(
            () =>
            {
                while (_socket.TryReceive(_buffer, out ReadOnlySpan<byte> datagram) == NetlinkReceive.Datagram)
                {
                    var messages = new NetlinkMessages(datagram);
                    while (messages.MoveNext())
                    {
                        if (messages.Current.Type != Packet || !messages.Current.TryRead(out uint _, out NetlinkAttributes attributes)) continue;
                        while (attributes.MoveNext())
                            if (attributes.Type == 1) ids.Add(attributes.BigEndian32()); // NFQA_PACKET_HDR begins with the packet's id
                    }
                }
                return ids.Count == count;
            },
            "packets to wait in the queue");
        foreach (uint id in ids)
        {
            byte[] verdict = [0, 0, 0, 1, 0, 0, 0, 0]; // NF_ACCEPT
            BinaryPrimitives.WriteUInt32BigEndian(verdict.AsSpan(4), id);
            Ask(Verdict, 2, verdict); // NFQA_VERDICT_HDR
        }
    }

    public void Dispose() => _socket.Dispose();

    private void Ask(ushort type, ushort attribute, byte[] value)
    {
        var writer = new NetlinkWriter(new byte[64], type);
        writer.Header((uint)BinaryPrimitives.ReverseEndianness(_number) << 16); // struct nfgenmsg: the queue is its resource
        writer.Attribute(attribute, value);
        var nothing = new MessageCounter();
        NetlinkResult result = _socket.Request(_buffer, writer.Finish(), ref nothing);
        Assert.Equal((NetlinkOutcome.Ok, Errno.None), (result.Outcome, result.Errno));
    }
}
