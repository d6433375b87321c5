using System.Runtime.InteropServices;
using CsCheck;
using KubeSkoop.Probes.Procfs.Interop;

namespace KubeSkoop.Probes.Netlink.Tests;

public class NetlinkErrorTests
{
    private static readonly byte[] Request = [.. FakeNetlink.Message(18, NetlinkFlags.Request, 5, 6, [8, 0, 33, 0x80, 1, 2, 3, 4])];

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_kernels_words_and_the_attribute_are_found_behind_a_capped_and_a_whole_request(bool capped)
    {
        NetlinkError error = Read(Answer(-22, capped, static (ref writer) =>
        {
            writer.Attribute(1, "Unknown attribute type\0"u8);
            writer.Attribute(2, (uint)NetlinkHeader.Size);
            writer.Attribute(5, 9u);
        }))!;

        Assert.Equal(new NetlinkError(Errno.InvalidArgument, "Unknown attribute type", 33, 16, 9), error);
        Assert.Equal("EINVAL, the kernel does not understand the request: \"Unknown attribute type\" (attribute 33 at byte 16) (attribute 9 is missing)", error.ToString());
        var exception = new NetlinkResult(NetlinkOutcome.Refused, error).ToException("RTM_GETLINK");
        Assert.Equal((22, "Unknown attribute type", 33, 16), (exception.ErrorNumber, exception.KernelMessage, exception.Attribute, exception.AttributeOffset));
        Assert.StartsWith("RTM_GETLINK: EINVAL", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_acknowledgement_is_no_error() => Assert.Null(Read(Answer(0, true, static (ref _) => { })));

    [Fact]
    public void A_dumps_end_may_say_why_it_ends()
    {
        byte[] done = FakeNetlink.Message(NetlinkMessageType.Done, NetlinkFlags.AcknowledgeAttributes, 5, 6, [0xea, 0xff, 0xff, 0xff, 12, 0, 1, 0, .. "no such"u8, 0]);
        Assert.Equal(new NetlinkError(Errno.InvalidArgument, "no such"), Read(done));
    }

    [Fact]
    public void An_offset_beyond_the_request_names_no_attribute()
    {
        NetlinkError error = Read(Answer(-22, true, static (ref writer) => writer.Attribute(2, uint.MaxValue)))!;
        Assert.Null(error.Attribute);
        Assert.Equal(int.MaxValue, error.Offset);
    }

    [Fact]
    public void Words_that_would_break_a_line_are_made_safe()
    {
        NetlinkError error = Read(Answer(-22, true, static (ref writer) => writer.Attribute(1, [(byte)'a', 10, 27, 0xff, (byte)'b'])))!;
        Assert.Equal("a\uFFFD\uFFFD\uFFFDb", error.Message);
    }

    [Fact]
    public void The_same_error_again_is_the_same_object_and_allocates_nothing()
    {
        byte[] answer = Answer(-22, true, static (ref writer) => writer.Attribute(1, "Invalid"u8));
        NetlinkError? last = Read(answer);
        Assert.Same(last, Read(answer, last));
        Check.Quiet(() =>
        {
            var walk = new NetlinkMessages(answer);
            walk.MoveNext();
            NetlinkError.Read(walk.Current, Request, last, out _);
        });
    }

    [Theory]
    [InlineData(NetlinkMessageType.Error, 3, NetlinkFault.Short)]
    [InlineData(NetlinkMessageType.Error, 0, NetlinkFault.Short)]
    [InlineData(NetlinkMessageType.Done, 0, NetlinkFault.None)]
    public void An_end_without_a_result(ushort type, int length, object fault)
    {
        var walk = new NetlinkMessages(FakeNetlink.Message(type, NetlinkFlags.None, 5, 6, new byte[length]));
        Assert.True(walk.MoveNext());
        Assert.Null(NetlinkError.Read(walk.Current, Request, null, out NetlinkFault found));
        Assert.Equal(fault, found);
    }

    [Fact]
    public void Any_bytes_give_an_answer() => Gen.Select(Gen.Byte.Array[0, 120], Gen.UShort, Gen.Bool, Gen.Bool).Sample((payload, flags, done, minimum) =>
    {
        if (minimum && payload.Length >= 4) MemoryMarshal.Write(payload, int.MinValue);
        var walk = new NetlinkMessages(FakeNetlink.Message(done ? NetlinkMessageType.Done : NetlinkMessageType.Error, (NetlinkFlags)flags, 5, 6, payload));
        if (!walk.MoveNext()) return false;
        NetlinkError? error = NetlinkError.Read(walk.Current, Request, null, out NetlinkFault fault);
        return error is null || (fault == NetlinkFault.None && (int)error.Errno > 0 && error.ToString().Length > 0);
    });

    private delegate void Writing(ref NetlinkWriter writer);

    private static byte[] Answer(int code, bool capped, Writing write)
    {
        var writer = new NetlinkWriter(new byte[512], 1);
        write(ref writer);
        Span<byte> attributes = writer.Finish()[NetlinkHeader.Size..];
        NetlinkFlags flags = NetlinkFlags.AcknowledgeAttributes | (capped ? NetlinkFlags.Capped : NetlinkFlags.None);
        return FakeNetlink.Message(NetlinkMessageType.Error, flags, 5, 6,
            [.. MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in code)), .. capped ? Request[..NetlinkHeader.Size] : Request, .. attributes]);
    }

    private static NetlinkError? Read(byte[] datagram, NetlinkError? last = null)
    {
        var walk = new NetlinkMessages(datagram);
        Assert.True(walk.MoveNext());
        NetlinkError? error = NetlinkError.Read(walk.Current, Request, last, out NetlinkFault fault);
        Assert.Equal(NetlinkFault.None, fault);
        return error;
    }
}
