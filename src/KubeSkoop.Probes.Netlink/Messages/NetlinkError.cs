using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using KubeSkoop.Probes.Procfs.Interop;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Netlink;

/// <summary>The kernel's refusal of a request: the error number, and its own words where it has any (extended acknowledgement).</summary>
/// <param name="Errno">The error number.</param>
/// <param name="Message">What the kernel says.</param>
/// <param name="Attribute">The type of the attribute it found wrong.</param>
/// <param name="Offset">Where that attribute stands in the request. Unit: bytes.</param>
/// <param name="MissingAttribute">The type of an attribute it wants and did not get.</param>
internal sealed record NetlinkError(Errno Errno, string? Message = null, ushort? Attribute = null, int? Offset = null, uint? MissingAttribute = null)
{
    private const ushort AttributeMessage = 1; // include/uapi/linux/netlink.h, enum nlmsgerr_attrs
    private const ushort AttributeOffset = 2;
    private const ushort AttributeMissingType = 5;

    /// <summary>
    /// Reads the end of a request or dump: NLMSG_ERROR (struct nlmsgerr) or NLMSG_DONE. <see langword="null"/> when all went well.
    /// </summary>
    /// <param name="message">The message.</param>
    /// <param name="request">The request, to tell which attribute it was.</param>
    /// <param name="last">The last error: given back when this one is the same, so that one that stays is not made again.</param>
    /// <param name="fault">Whether the message is too short.</param>
    internal static NetlinkError? Read(in NetlinkMessage message, ReadOnlySpan<byte> request, NetlinkError? last, out NetlinkFault fault)
    {
        fault = NetlinkFault.None;
        ReadOnlySpan<byte> payload = message.Payload;
        if (!MemoryMarshal.TryRead(payload, out int code))
        {
            // A dump's end without a result is an old kernel's; an acknowledgement without one is not one.
            if (message.Type != NetlinkMessageType.Done) fault = NetlinkFault.Short;
            return null;
        }
        if (code == 0) return null;
        // The kernel writes -errno. A positive number is nobody's (a dump may end with the bytes it has written).
        if (code > 0 && message.Type == NetlinkMessageType.Done) return null;
        var errno = (Errno)(code == int.MinValue ? int.MaxValue : Math.Abs(code));

        string? words = null;
        ushort? attribute = null;
        int? offset = null;
        uint? missing = null;
        if ((message.Flags & NetlinkFlags.AcknowledgeAttributes) != 0)
        {
            var attributes = new NetlinkAttributes(payload[Math.Min(Behind(message, payload), payload.Length)..]);
            while (attributes.MoveNext())
            {
                switch (attributes.Type)
                {
                    case AttributeMessage:
                        words = attributes.Text() is { IsEmpty: false } text ? Words(text, last) : null;
                        break;
                    case AttributeOffset:
                        offset = (int)Math.Min(attributes.UInt32(), int.MaxValue);
                        if (offset <= request.Length - 4) attribute = (ushort)(MemoryMarshal.Read<ushort>(request[(offset.Value + 2)..]) & 0x3fff);
                        break;
                    case AttributeMissingType:
                        missing = attributes.UInt32();
                        break;
                }
            }
        }
        return last is not null && last.Errno == errno && ReferenceEquals(last.Message, words) && last.Attribute == attribute && last.Offset == offset && last.MissingAttribute == missing
            ? last
            : new NetlinkError(errno, words, attribute, offset, missing);
    }

    /// <summary>For people.</summary>
    public override string ToString()
    {
        string text = Describe(Errno);
        if (Message is not null) text += $": \"{Message}\"";
        if (Attribute is { } attribute) text += string.Create(CultureInfo.InvariantCulture, $" (attribute {attribute} at byte {Offset})");
        else if (Offset is { } offset) text += string.Create(CultureInfo.InvariantCulture, $" (at byte {offset})");
        if (MissingAttribute is { } missing) text += string.Create(CultureInfo.InvariantCulture, $" (attribute {missing} is missing)");
        return text;
    }

    /// <summary>An error number as netlink means it.</summary>
    internal static string Describe(Errno errno) => errno switch
    {
        Errno.NotPermitted => "EPERM, CAP_NET_ADMIN is missing",
        Errno.NoEntry => "ENOENT, the kernel has no such thing",
        Errno.InvalidArgument => "EINVAL, the kernel does not understand the request",
        Errno.NotSupported => "EOPNOTSUPP, the kernel does not have this",
        Errno.ProtocolNotSupported => "EPROTONOSUPPORT, the kernel was built without this netlink family, or its module is not loaded",
        Errno.NoBuffers => "ENOBUFS, messages were lost",
        Errno.Busy => "EBUSY, a dump is still going on",
        _ => errno.Describe(),
    };

    // The acknowledged request stands before the attributes: whole, or, when capped, its header only.
    private static int Behind(in NetlinkMessage message, ReadOnlySpan<byte> payload)
    {
        if (message.Type == NetlinkMessageType.Done) return sizeof(int);
        int fixedPart = sizeof(int) + NetlinkHeader.Size;
        if ((message.Flags & NetlinkFlags.Capped) != 0 || payload.Length < fixedPart) return fixedPart;
        uint original = MemoryMarshal.Read<uint>(payload[sizeof(int)..]);
        return original < NetlinkHeader.Size || original > (uint)(payload.Length - sizeof(int)) ? payload.Length : (int)((sizeof(int) + original + 3) & ~3u);
    }

    // A refusal that stays is not decoded again.
    private static string Words(ReadOnlySpan<byte> text, NetlinkError? last)
    {
        if (last?.Message is { } known && Ascii.Equals(text, known)) return known;
        return KernelText.Decode(text);
    }
}
