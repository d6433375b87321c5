using KubeSkoop.Probes.Ebpf.Interop;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>
/// The root of the control groups of version 2: programs attached there see the sockets of the whole machine. Every kernel with control groups has it, also where only version 1 is used.
/// </summary>
internal static class CgroupRoot
{
    // The host's own view first: a container's may begin at the container's group.
    private static readonly string[] Places = ["/proc/1/root/sys/fs/cgroup", "/proc/1/root/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

    /// <summary>Opens it where it is mounted, else mounts it where nobody sees it.</summary>
    /// <exception cref="ProbeUnavailableException">It cannot be had.</exception>
    internal static SafeFileHandle Open(string probe)
    {
        foreach (string place in Places)
        {
            if (!IsRoot(place)) continue;
            SafeFileHandle mounted = KernelCalls.OpenDirectory(place);
            if (!mounted.IsInvalid) return mounted;
            mounted.Dispose();
        }
        return OpenDetached(probe);
    }

    /// <summary>Mounts it where nobody sees it; it is gone with the handle.</summary>
    /// <exception cref="ProbeUnavailableException">It cannot be had.</exception>
    internal static SafeFileHandle OpenDetached(string probe)
    {
        SafeFileHandle detached = KernelCalls.MountDetached("cgroup2");
        int error = System.Runtime.InteropServices.Marshal.GetLastPInvokeError();
        if (!detached.IsInvalid && IsRoot(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"/proc/self/fd/{detached.DangerousGetHandle()}"))) return detached;
        string why = detached.IsInvalid ? $"mounting it gives {Errors.Name(error)}" : "what this process sees begins at its own group";
        detached.Dispose();
        throw new ProbeUnavailableException(probe, "the root of the control groups (version 2) cannot be opened", $"it is mounted neither below /sys/fs/cgroup nor below /proc/1/root/sys/fs/cgroup, and {why}",
            "Run with the host's pid namespace and CAP_SYS_PTRACE, or in the host's cgroup namespace.");
    }

    // The root has no type, for it cannot be changed.
    private static bool IsRoot(string directory) => File.Exists(directory + "/cgroup.controllers") && !File.Exists(directory + "/cgroup.type");
}
