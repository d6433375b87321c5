using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Ebpf.Sources;

/// <summary>struct tcpsockets, bpf/tcpsockets.h: the TCP sockets of one namespace, added up.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawTcpSockets
{
    internal ulong Address;
    internal ulong Cookie;
    internal ulong Receive;
    internal ulong Send;
    internal ulong Waiting;
    internal ulong Limit;
    internal uint NetworkNamespace;
    internal StateCounts States;
    internal uint ClosedFinWait2;
    internal uint LargestReceive;
    internal uint LargestSend;
    internal uint ReceiveAbove;
    internal uint SendAbove;
    internal uint FullestWaiting;
    internal uint FullestLimit;
    internal AddressBytes FullestAddress;
    internal ushort FullestPort;
    internal ushort FullestFamily;

    [InlineArray(16)]
    internal struct StateCounts
    {
        private uint _first;
    }

    [InlineArray(16)]
    internal struct AddressBytes
    {
        private byte _first;
    }
}

/// <summary>struct tcpsockets_request, bpf/tcpsockets.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TcpSocketsRequest
{
    internal ulong Table;
    internal uint Threshold;
    internal uint Listeners;
    internal uint Bucket;
    internal uint Found;
    internal uint Private;
    internal uint Broken;
    internal uint Full;
    private readonly uint _pad;
}
