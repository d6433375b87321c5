using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Netlink.Interop;

internal static partial class Libc
{
    private const uint SiocEthtool = 0x8946; // include/uapi/linux/sockios.h
    private const uint EthtoolGetSettings = 1; // include/uapi/linux/ethtool.h, ETHTOOL_GSET
    private const uint SpeedUnknown = uint.MaxValue; // SPEED_UNKNOWN

    /// <summary>
    /// The speed of a device in Mbit/s. Any socket will do: the kernel looks for the device in the socket's namespace. Needs no capability.
    /// </summary>
    /// <param name="socket">A socket of the device's namespace.</param>
    /// <param name="name">The device's name, NUL-padded.</param>
    /// <param name="megabits">The speed.</param>
    /// <returns>False when there is no such device, or it does not know its speed.</returns>
    internal static unsafe bool TryGetLinkSpeed(SafeFileHandle socket, UInt128 name, out uint megabits)
    {
        megabits = 0;
        var settings = new EthtoolSettings { Command = EthtoolGetSettings };
        var request = new InterfaceRequest { Data = &settings };
        BinaryPrimitives.WriteUInt128LittleEndian(new Span<byte>(request.Name, 16), name);
        try
        {
            if (IoControl(socket, SiocEthtool, &request) != 0) return false;
        }
        catch (ObjectDisposedException)
        {
            return false; // the namespace has just ended
        }
        megabits = (uint)settings.SpeedHigh << 16 | settings.Speed;
        // An unknown speed is -1, from some drivers in the lower half only; a device without carrier may say 0.
        return megabits is not (0 or SpeedUnknown or ushort.MaxValue);
    }

    // Variadic in C. On x86-64 and arm64 Linux a fixed third argument travels the same way.
    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static unsafe partial int IoControl(SafeFileHandle socket, nuint request, void* argument);

    /// <summary>struct ifreq.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 40)]
    private unsafe struct InterfaceRequest
    {
        internal fixed byte Name[16];
        internal void* Data;
    }

    /// <summary>struct ethtool_cmd.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 44)]
    private struct EthtoolSettings
    {
        [FieldOffset(0)] internal uint Command;
        [FieldOffset(12)] internal ushort Speed;
        [FieldOffset(28)] internal ushort SpeedHigh;
    }
}
