using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Ebpf.Events;

/// <summary>struct ks_flow, bpf/include/kubeskoop/flow.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawFlow
{
    private const byte IPv4 = 2; // AF_INET, include/linux/socket.h
    private const byte IPv6 = 10;

    internal Address Local;
    internal Address Remote;
    internal ushort LocalPort;
    internal ushort RemotePort;
    internal byte Family;
    internal byte Protocol;
    private byte _pad1;
    private byte _pad2;

    /// <summary>The flow in socket view; <see langword="null"/> when it was none of IP.</summary>
    internal readonly FlowTuple? ToTuple()
    {
        int length = Family switch { IPv4 => 4, IPv6 => 16, _ => 0 };
        if (length == 0) return null;
        ReadOnlySpan<byte> local = Local, remote = Remote;
        return new FlowTuple(new Endpoint(local[..length], LocalPort), new Endpoint(remote[..length], RemotePort), Protocol);
    }

    [InlineArray(16)]
    internal struct Address
    {
        private byte _first;
    }
}

/// <summary>struct ks_event, bpf/include/kubeskoop/event.h: how every record of a ring begins.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawEvent
{
    internal ulong Time;
    internal ulong Cgroup;
    internal RawFlow Flow;
    internal uint NetworkNamespace;
    internal uint ProcessId;
    internal CommandBytes Command;

    /// <summary>The process's command, fit to be shown; <see langword="null"/> where no process has a part in it.</summary>
    internal readonly string? CommandText()
    {
        if (ProcessId == 0) return null;
        ReadOnlySpan<byte> bytes = Command;
        int end = bytes.IndexOf((byte)0);
        return KernelText.Decode(end < 0 ? bytes : bytes[..end]);
    }

    /// <summary>A name that the kernel took from somebody (a device, a disk), fit to be shown and to tell from all others.</summary>
    internal static string Text(ReadOnlySpan<byte> bytes)
    {
        int end = bytes.IndexOf((byte)0);
        return KernelText.Escape(end < 0 ? bytes : bytes[..end]);
    }

    /// <summary>A time that a program has measured.</summary>
    internal static TimeSpan Duration(ulong nanoseconds) => TimeSpan.FromTicks((long)(nanoseconds / TimeSpan.NanosecondsPerTick));

    [InlineArray(16)]
    internal struct CommandBytes
    {
        private byte _first;
    }
}
