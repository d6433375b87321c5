using System.IO.Compression;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Why this kernel has no IPVS: it was built without, or the module is not loaded. To load it helps only the second.</summary>
internal static class IpvsAbsence
{
    private const string Option = "CONFIG_IP_VS";

    /// <summary>Says it, and what to do.</summary>
    /// <param name="probe">The probe that cannot run.</param>
    /// <param name="what">What it has not found.</param>
    /// <param name="proc">Where procfs is.</param>
    internal static ProbeUnavailableException Explain(string probe, string what, string proc) => WhyNever(proc) is { } never
        ? new ProbeUnavailableException(probe, what, never, $"Use a kernel with {Option} if this node is to use IPVS, or disable this probe.")
        : new ProbeUnavailableException(probe, what, "the kernel module ip_vs is not loaded", "Load it with 'modprobe ip_vs' if this node is to use IPVS, or disable this probe.");

    // The kernel's own settings, where it shows them (CONFIG_IKCONFIG_PROC); else there is a module to be loaded unless it takes none.
    private static string? WhyNever(string proc)
    {
        try
        {
            using var settings = new StreamReader(new GZipStream(File.OpenRead(Path.Combine(proc, "config.gz")), CompressionMode.Decompress));
            while (settings.ReadLine() is { } line)
                if (line.StartsWith(Option + "=", StringComparison.Ordinal)) return null;
            return $"this kernel was built without IPVS ({Option} is not set)";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            return File.Exists(Path.Combine(proc, "modules")) ? null : $"this kernel was built without IPVS ({Option}), and takes no modules";
        }
    }
}
