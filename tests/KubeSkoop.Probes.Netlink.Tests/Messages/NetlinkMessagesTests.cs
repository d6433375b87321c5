using System.Runtime.InteropServices;
using CsCheck;

namespace KubeSkoop.Probes.Netlink.Tests;

public class NetlinkMessagesTests
{
    private static readonly Gen<(ushort Type, byte[] Payload)[]> GoodMessages =
        Gen.Select(Gen.UShort, Gen.Byte.Array[0, 40]).Array[0, 8];

    [Fact]
    public void What_was_put_in_comes_out() => GoodMessages.Sample(messages =>
    {
        var walk = new NetlinkMessages(Datagram(messages));
        foreach ((ushort type, byte[] payload) in messages)
        {
            if (!walk.MoveNext() || walk.Current.Type != type || !walk.Current.Payload.SequenceEqual(payload)) return false;
            if (walk.Current.Sequence != 5 || walk.Current.Port != 6 || walk.Current.Flags != NetlinkFlags.Multipart) return false;
        }
        return !walk.MoveNext() && walk.Fault == NetlinkFault.None;
    });

    [Fact]
    public void Cut_anywhere_nothing_that_comes_out_is_wrong() => Gen.Select(GoodMessages, Gen.Int[0, 500]).Sample((messages, cut) =>
    {
        byte[] whole = Datagram(messages);
        cut = Math.Min(cut, whole.Length);
        var walk = new NetlinkMessages(whole.AsSpan(0, cut));
        int met = 0;
        while (walk.MoveNext())
        {
            if (walk.Current.Type != messages[met].Type || !walk.Current.Payload.SequenceEqual(messages[met].Payload)) return false;
            met++;
        }
        // A fault, unless the cut went between two messages or into the padding behind one.
        int end = 0;
        for (int i = 0; i < met; i++) end += NetlinkHeader.Size + ((messages[i].Payload.Length + 3) & ~3);
        return walk.Fault == NetlinkFault.None ? cut <= end : cut > end;
    });

    [Fact]
    public void Any_bytes_come_to_an_end() => Gen.Byte.Array[0, 600].Sample(bytes =>
    {
        var walk = new NetlinkMessages(bytes);
        int met = 0;
        int read = 0;
        while (walk.MoveNext())
        {
            met++;
            read += NetlinkHeader.Size + walk.Current.Payload.Length;
            walk.Current.TryRead(out ulong _, out NetlinkAttributes attributes);
            if (Walker.Walk(attributes) > bytes.Length) return false;
        }
        return met <= bytes.Length / NetlinkHeader.Size && read <= bytes.Length && !walk.MoveNext();
    });

    [Theory]
    [InlineData(0u)]
    [InlineData(15u)]
    [InlineData(17u)]
    [InlineData(0x80000010u)]
    [InlineData(uint.MaxValue)]
    public void A_length_that_lies_is_a_fault(uint length)
    {
        byte[] datagram = Datagram([(1, [])]);
        MemoryMarshal.Write(datagram, length);

        var walk = new NetlinkMessages(datagram);

        Assert.False(walk.MoveNext());
        Assert.Equal(NetlinkFault.Length, walk.Fault);
        Assert.False(walk.MoveNext());
    }

    [Fact]
    public void A_message_too_short_for_its_familys_header_is_refused()
    {
        var walk = new NetlinkMessages(Datagram([(1, [1, 2, 3])]));
        Assert.True(walk.MoveNext());
        Assert.False(walk.Current.TryRead(out uint _, out NetlinkAttributes attributes));
        Assert.False(attributes.MoveNext());
    }

    private static byte[] Datagram((ushort Type, byte[] Payload)[] messages) =>
        [.. messages.SelectMany(static m => FakeNetlink.Message(m.Type, NetlinkFlags.Multipart, 5, 6, m.Payload))];
}

/// <summary>Walks attributes as deep as they go.</summary>
internal static class Walker
{
    /// <summary>How many attributes there are, those inside others included; every value read in every way.</summary>
    internal static long Walk(NetlinkAttributes attributes)
    {
        long met = 0;
        while (attributes.MoveNext())
        {
            met++;
            _ = attributes.Text();
            // On a copy, so that a short value does not end the walk.
            NetlinkAttributes values = attributes;
            _ = values.UInt8();
            _ = values.UInt16();
            _ = values.UInt32();
            _ = values.UInt64();
            _ = values.BigEndian16();
            _ = values.BigEndian32();
            _ = values.BigEndian64();
            NetlinkAttributes inside = attributes;
            NetlinkAttributes nested = inside.Nested();
            if (inside.Fault == NetlinkFault.None) met += Walk(nested);
        }
        return met;
    }
}
