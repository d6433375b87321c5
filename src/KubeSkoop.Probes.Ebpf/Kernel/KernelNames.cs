namespace KubeSkoop.Probes.Ebpf.Kernel;

/// <summary>Names of enumerators as the running kernel has them.</summary>
internal static class KernelNames
{
    /// <summary>The names without their common prefix; empty when the kernel has no such enumeration.</summary>
    internal static Dictionary<long, string> Of(Dictionary<long, string>? names, string prefix)
    {
        var without = new Dictionary<long, string>();
        foreach ((long value, string name) in names ?? []) without[value] = name.StartsWith(prefix, StringComparison.Ordinal) ? name[prefix.Length..] : name;
        return without;
    }
}
