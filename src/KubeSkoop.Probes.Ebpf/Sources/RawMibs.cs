using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Ebpf.Sources;

/// <summary>struct mibs, bpf/mibs.h: the counters of one namespace.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawMibs
{
    internal ulong Cookie;
    internal uint NetworkNamespace;
    internal Mibs Present;
    internal ulong Forwarding;
    internal ulong DefaultTtl;
    internal Words64 Ip;
    internal Words32 Tcp;
    internal Words256 Linux;
    internal Words16 Udp;
    internal Words32 Icmp;
    internal Words20 IcmpIn;
    internal Words20 IcmpOut;
    internal Words64 IPv6;
    internal Words16 UdpV6;
    internal Words16 IcmpV6;
    internal Words8 IcmpV6InErrors;
    internal Words8 IcmpV6OutErrors;
    internal Words16 IcmpV6In;
    internal Words16 IcmpV6Out;

    [InlineArray(8)]
    internal struct Words8
    {
        private ulong _first;
    }

    [InlineArray(16)]
    internal struct Words16
    {
        private ulong _first;
    }

    [InlineArray(20)]
    internal struct Words20
    {
        private ulong _first;
    }

    [InlineArray(32)]
    internal struct Words32
    {
        private ulong _first;
    }

    [InlineArray(64)]
    internal struct Words64
    {
        private ulong _first;
    }

    [InlineArray(256)]
    internal struct Words256
    {
        private ulong _first;
    }
}

/// <summary>enum mibs_kind, bpf/mibs.h: the groups of counters a namespace has.</summary>
[Flags]
internal enum Mibs : uint
{
    None = 0,
    Ip = 1 << 0,
    Tcp = 1 << 1,
    Linux = 1 << 2,
    Udp = 1 << 3,
    Icmp = 1 << 4,
    IcmpTypes = 1 << 5,
    IPv6 = 1 << 6,
    UdpV6 = 1 << 7,
    IcmpV6 = 1 << 8,
    IcmpV6Types = 1 << 9,
}

/// <summary>struct mibs_request, bpf/mibs.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MibRequest
{
    internal const int MostCpus = 1024;

    internal uint From;
    internal uint Most;
    internal uint Cpus;
    private readonly uint _pad;
    internal CpuOffsets Offsets;

    [InlineArray(MostCpus)]
    internal struct CpuOffsets
    {
        private ulong _first;
    }
}
