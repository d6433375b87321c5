using System.Buffers.Binary;
using System.Runtime.InteropServices;
using CsCheck;

namespace KubeSkoop.Probes.Netlink.Tests;

public class NetlinkAttributesTests
{
    private sealed record Node(ushort Type, byte[]? Value, Node[] Children);

    private static readonly Gen<Node[]> Trees = Gen.Recursive<Node[]>((depth, inner) =>
    {
        Gen<Node> leaf = Gen.Select(Gen.UShort[0, 0x3fff], Gen.Byte.Array[0, 20]).Select(static (type, value) => new Node(type, value, []));
        if (depth >= 4) return leaf.Array[0, 3];
        Gen<Node> nest = Gen.Select(Gen.UShort[0, 0x3fff], inner).Select(static (type, children) => new Node(type, null, children));
        return Gen.OneOf(leaf, nest).Array[0, 4];
    });

    [Fact]
    public void A_tree_of_attributes_comes_out_as_it_was_written() => Trees.Sample(tree =>
    {
        var writer = new NetlinkWriter(new byte[64 * 1024], 1);
        Write(ref writer, tree);
        return Same(new NetlinkAttributes(writer.Finish()[NetlinkHeader.Size..]), tree);
    });

    [Fact]
    public void Any_bytes_come_to_an_end() => Gen.Byte.Array[0, 400].Sample(bytes =>
    {
        long met = Walker.Walk(new NetlinkAttributes(bytes));
        return met <= (long)bytes.Length * NetlinkAttributes.MaxDepth;
    });

    [Fact]
    public void Cut_anywhere_nothing_that_comes_out_is_wrong()
    {
        Gen.Select(Gen.Select(Gen.UShort[0, 0x3fff], Gen.Byte.Array[0, 12]).Array[1, 6], Gen.Int[0, 120]).Sample((attributes, cut) =>
        {
            var writer = new NetlinkWriter(new byte[1024], 1);
            foreach ((ushort type, byte[] value) in attributes) writer.Attribute(type, value);
            Span<byte> whole = writer.Finish()[NetlinkHeader.Size..];
            cut = Math.Min(cut, whole.Length);
            var walk = new NetlinkAttributes(whole[..cut]);
            int met = 0;
            int end = 0;
            while (walk.MoveNext())
            {
                if (walk.Type != attributes[met].Item1 || !walk.Value.SequenceEqual(attributes[met].Item2)) return false;
                end += 4 + ((attributes[met].Item2.Length + 3) & ~3);
                met++;
            }
            return walk.Fault == NetlinkFault.None ? cut <= end : cut > end;
        });
    }

    [Fact]
    public void Numbers_are_read_in_both_byte_orders_wherever_they_stand()
    {
        var writer = new NetlinkWriter(new byte[256], 1);
        writer.Attribute(1, (byte)0x12);
        writer.Attribute(2, (ushort)0x1234);
        writer.Attribute(3, 0x12345678u);
        writer.Attribute(4, 0x123456789abcdef0ul); // at an offset that is no multiple of eight
        writer.Attribute(5, BinaryPrimitives.ReverseEndianness((ushort)0x1234));
        writer.Attribute(6, BinaryPrimitives.ReverseEndianness(0x12345678u));
        writer.Attribute(7, BinaryPrimitives.ReverseEndianness(0x123456789abcdef0ul));
        writer.Attribute(8, "eth0\0\0\0"u8);
        writer.Attribute(9, []);
        var attributes = new NetlinkAttributes(writer.Finish()[NetlinkHeader.Size..]);

        Assert.True(attributes.MoveNext());
        Assert.Equal(0x12, attributes.UInt8());
        Assert.True(attributes.MoveNext());
        Assert.Equal(0x1234, attributes.UInt16());
        Assert.True(attributes.MoveNext());
        Assert.Equal(0x12345678u, attributes.UInt32());
        Assert.True(attributes.MoveNext());
        Assert.Equal(0x123456789abcdef0ul, attributes.UInt64());
        Assert.Equal(0x123456789abcdef0ul, attributes.Read<ulong>());
        Assert.True(attributes.MoveNext());
        Assert.Equal(0x1234, attributes.BigEndian16());
        Assert.True(attributes.MoveNext());
        Assert.Equal(0x12345678u, attributes.BigEndian32());
        Assert.True(attributes.MoveNext());
        Assert.Equal(0x123456789abcdef0ul, attributes.BigEndian64());
        Assert.True(attributes.MoveNext());
        Assert.Equal("eth0"u8, attributes.Text());
        Assert.True(attributes.MoveNext());
        Assert.True(attributes.Value.IsEmpty);
        Assert.False(attributes.MoveNext());
        Assert.Equal(NetlinkFault.None, attributes.Fault);
    }

    [Fact]
    public void A_value_that_is_too_short_is_a_fault_and_ends_the_walk()
    {
        var writer = new NetlinkWriter(new byte[64], 1);
        writer.Attribute(1, (ushort)5);
        writer.Attribute(2, 6u);
        var attributes = new NetlinkAttributes(writer.Finish()[NetlinkHeader.Size..]);

        Assert.True(attributes.MoveNext());
        Assert.Equal(0u, attributes.UInt32());
        Assert.Equal(NetlinkFault.Short, attributes.Fault);
        Assert.False(attributes.MoveNext());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(9)]
    [InlineData(0xffff)]
    public void A_length_that_lies_is_a_fault(int length)
    {
        byte[] bytes = [8, 0, 1, 0, 1, 2, 3, 4];
        MemoryMarshal.Write(bytes, (ushort)length);
        var attributes = new NetlinkAttributes(bytes);

        Assert.False(attributes.MoveNext());
        Assert.Equal(NetlinkFault.Length, attributes.Fault);
        Assert.False(attributes.MoveNext());
    }

    [Fact]
    public void Nesting_has_a_bound()
    {
        var writer = new NetlinkWriter(new byte[1024], 1);
        var starts = new Stack<int>();
        for (int i = 0; i < 100; i++) starts.Push(writer.BeginNested(1));
        while (starts.TryPop(out int start)) writer.EndNested(start);
        Assert.Equal(NetlinkFault.Depth, Deepest(new NetlinkAttributes(writer.Finish()[NetlinkHeader.Size..])));

        static NetlinkFault Deepest(NetlinkAttributes attributes)
        {
            while (attributes.MoveNext())
            {
                NetlinkAttributes nested = attributes.Nested();
                NetlinkFault fault = Deepest(nested);
                if (fault != NetlinkFault.None) attributes.Fail(fault);
            }
            return attributes.Fault;
        }
    }

    [Fact]
    public void A_fault_inside_is_taken_over()
    {
        var attributes = new NetlinkAttributes([12, 0, 1, 0x80, 99, 0, 1, 0, 0, 0, 0, 0, 4, 0, 2, 0]);
        Assert.True(attributes.MoveNext());
        NetlinkAttributes nested = attributes.Nested();
        Assert.False(nested.MoveNext());
        attributes.Join(nested);
        Assert.Equal(NetlinkFault.Length, attributes.Fault);
        Assert.False(attributes.MoveNext());
    }

    [Fact]
    public void Flag_bits_are_no_part_of_the_type()
    {
        var attributes = new NetlinkAttributes([4, 0, 3, 0xc0]);
        Assert.True(attributes.MoveNext());
        Assert.Equal(3, attributes.Type);
    }

    [Fact]
    public void A_request_that_does_not_fit_its_buffer_is_refused() =>
        Assert.Throws<ArgumentOutOfRangeException>(static () =>
        {
            var writer = new NetlinkWriter(new byte[20], 1);
            writer.Attribute(1, 1ul);
        });

    private static void Write(ref NetlinkWriter writer, Node[] nodes)
    {
        foreach (Node node in nodes)
        {
            if (node.Value is { } value)
            {
                writer.Attribute(node.Type, value);
                continue;
            }
            int start = writer.BeginNested(node.Type);
            Write(ref writer, node.Children);
            writer.EndNested(start);
        }
    }

    private static bool Same(NetlinkAttributes attributes, Node[] nodes)
    {
        foreach (Node node in nodes)
        {
            if (!attributes.MoveNext() || attributes.Type != node.Type) return false;
            if (node.Value is { } value ? !attributes.Value.SequenceEqual(value) : !Same(attributes.Nested(), node.Children)) return false;
        }
        return !attributes.MoveNext() && attributes.Fault == NetlinkFault.None;
    }
}
