using System.Buffers.Binary;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>Makes entries through ctnetlink, fast enough to fill a table.</summary>
internal static class ConntrackFiller
{
    private const NetlinkFlags CreateNew = (NetlinkFlags)0x600; // NLM_F_CREATE | NLM_F_EXCL

    /// <summary>Makes UDP entries in the calling thread's namespace: 10.x.y.z:1000 to 10.255.255.254:53, each its own source.</summary>
    internal static void Fill(int count, ConntrackStatus status, int first = 1)
    {
        using NetlinkSocket socket = LiveSocketTests.Open(NetlinkProtocol.Netfilter);
        var buffer = new NetlinkBuffer(4096);
        byte[] bytes = new byte[512];
        var nothing = new MessageCounter();
        for (uint i = 0; i < count; i++)
        {
            NetlinkWriter writer = ConntrackMessages.Write(bytes, ConntrackMessages.New, ConntrackMessages.FamilyIPv4, CreateNew);
            uint source = 0x0a000000 + (uint)first + i;
            Tuple(ref writer, ConntrackMessages.TupleOriginal, source, 0x0afffffe, 1000, 53);
            Tuple(ref writer, ConntrackMessages.TupleReply, 0x0afffffe, source, 53, 1000);
            writer.Attribute(ConntrackMessages.Timeout, BinaryPrimitives.ReverseEndianness(600u));
            writer.Attribute(ConntrackMessages.Status, BinaryPrimitives.ReverseEndianness((uint)status));
            NetlinkResult result = socket.Request(buffer, writer.Finish(), ref nothing);
            Assert.True(result.IsComplete, $"entry {i}: {result.Describe()}");
        }
    }

    private static void Tuple(ref NetlinkWriter writer, ushort type, uint source, uint destination, ushort sourcePort, ushort destinationPort)
    {
        int tuple = writer.BeginNested(type);
        int addresses = writer.BeginNested(ConntrackMessages.TupleIp);
        writer.Attribute(ConntrackMessages.SourceV4, BinaryPrimitives.ReverseEndianness(source));
        writer.Attribute(ConntrackMessages.DestinationV4, BinaryPrimitives.ReverseEndianness(destination));
        writer.EndNested(addresses);
        int protocol = writer.BeginNested(ConntrackMessages.TupleProtocol);
        writer.Attribute(ConntrackMessages.ProtocolNumber, (byte)17);
        writer.Attribute(ConntrackMessages.SourcePort, BinaryPrimitives.ReverseEndianness(sourcePort));
        writer.Attribute(ConntrackMessages.DestinationPort, BinaryPrimitives.ReverseEndianness(destinationPort));
        writer.EndNested(protocol);
        writer.EndNested(tuple);
    }
}
