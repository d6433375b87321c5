using KubeSkoop.Probes.Procfs.Interop;

namespace KubeSkoop.Probes.Netlink;

/// <summary>How a request or dump ended.</summary>
internal enum NetlinkOutcome : byte
{
    /// <summary>Complete.</summary>
    Ok,

    /// <summary>Complete, but the kernel's table changed during every try (NLM_F_DUMP_INTR): something may be missing or twice.</summary>
    Inconsistent,

    /// <summary>The kernel said no; <see cref="NetlinkResult.Error"/> says why.</summary>
    Refused,

    /// <summary>Messages were lost (ENOBUFS, or larger than the buffer) in every try.</summary>
    Overrun,

    /// <summary>The time limit passed.</summary>
    TimedOut,

    /// <summary>The answer could not be understood.</summary>
    Malformed,

    /// <summary>The socket was closed: its namespace has ended.</summary>
    Closed,
}

/// <summary>The end of a request or dump. A problem is no exception here: one of a thousand namespaces may always have one.</summary>
/// <param name="Outcome">How it ended.</param>
/// <param name="Error">The kernel's refusal, or the failure of a system call.</param>
internal readonly record struct NetlinkResult(NetlinkOutcome Outcome, NetlinkError? Error = null)
{
    /// <summary>Whether the visitor has seen an answer to the end.</summary>
    internal bool IsComplete => Outcome is NetlinkOutcome.Ok or NetlinkOutcome.Inconsistent;

    /// <summary>The error number of a refusal.</summary>
    internal Errno Errno => Error?.Errno ?? Errno.None;

    /// <summary>What went wrong, for people.</summary>
    internal string Describe() => Outcome switch
    {
        NetlinkOutcome.Ok => "complete",
        NetlinkOutcome.Inconsistent => "the kernel's table changed during every try",
        NetlinkOutcome.Overrun => "messages were lost in every try (ENOBUFS)",
        NetlinkOutcome.TimedOut => "the kernel did not answer in time",
        NetlinkOutcome.Malformed => "the answer could not be understood",
        NetlinkOutcome.Closed => "the namespace has ended",
        _ => Error?.ToString() ?? "refused",
    };

    /// <summary>For where a failure has to stop the caller.</summary>
    /// <param name="what">What was asked of the kernel.</param>
    internal NetlinkException ToException(string what) => new(what, this);
}

/// <summary>The kernel refused a netlink request, or did not answer it. The message names what, why and where.</summary>
public sealed class NetlinkException : IOException
{
    internal NetlinkException(string what, NetlinkResult result)
        : base($"{what}: {result.Describe()}.")
    {
        ErrorNumber = (int)result.Errno;
        KernelMessage = result.Error?.Message;
        Attribute = result.Error?.Attribute;
        AttributeOffset = result.Error?.Offset;
    }

    /// <summary>The error number (errno); 0 when the kernel did not answer, or not understandably.</summary>
    public int ErrorNumber { get; }

    /// <summary>The kernel's own words (extended acknowledgement), where it has any.</summary>
    public string? KernelMessage { get; }

    /// <summary>The type of the attribute the kernel found wrong.</summary>
    public int? Attribute { get; }

    /// <summary>Where it stands in the request. Unit: bytes.</summary>
    public int? AttributeOffset { get; }
}
