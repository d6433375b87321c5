using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Kubernetes.Interop;

/// <summary>Directories of kernfs by their numbers, as the kernel's file handles name them (include/linux/exportfs.h, FILEID_KERNFS; Linux 5.5).</summary>
internal static partial class CgroupHandles
{
    private const int KernfsHandle = 0xfe;
    private const int PathOnly = 0x200000 | 0x80000; // O_PATH | O_CLOEXEC

    /// <summary>The path below <paramref name="root"/>; <see langword="null"/> when there is none, or CAP_DAC_READ_SEARCH is missing.</summary>
    internal static string? PathOf(string root, ulong id)
    {
        Span<byte> handle = stackalloc byte[16]; // struct file_handle: bytes, type, the number
        BinaryPrimitives.WriteUInt32LittleEndian(handle, sizeof(ulong));
        BinaryPrimitives.WriteInt32LittleEndian(handle[4..], KernfsHandle);
        BinaryPrimitives.WriteUInt64LittleEndian(handle[8..], id);
        try
        {
            // A real descriptor: the kernel takes none that is only a path for the mount.
            using SafeFileHandle mount = OpenDirectory(root, OpenDirectoryFlags);
            if (mount.IsInvalid) return null;
            using SafeFileHandle directory = OpenByHandle(mount, ref MemoryMarshal.GetReference(handle), PathOnly);
            if (directory.IsInvalid) return null;
            string? path = new FileInfo(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"/proc/self/fd/{directory.DangerousGetHandle()}")).LinkTarget;
            return path is not null && path.StartsWith(root, StringComparison.Ordinal) && path.Length > root.Length ? path[root.Length..] : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static readonly int OpenDirectoryFlags = 0x80000 | (RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000); // O_CLOEXEC | O_DIRECTORY

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle OpenDirectory(string path, int flags);

    [LibraryImport("libc", EntryPoint = "open_by_handle_at", SetLastError = true)]
    private static partial SafeFileHandle OpenByHandle(SafeFileHandle mount, ref byte handle, int flags);
}
