using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;

namespace KubeSkoop.Probes.Ebpf.Sources;

/// <summary>Programs that walk the kernel's tables when they are run, and are attached to nothing.</summary>
internal static class SourcePrograms
{
    /// <summary>Why this kernel cannot run them, or <see langword="null"/>.</summary>
    internal static string? Refusal(KernelFeatures features) =>
        features.Btf is null || features.Btf.Enumerators("bpf_func_id")?.ContainsValue("BPF_FUNC_map_lookup_percpu_elem") == true ? null // without types, loading says so
            : "this kernel's BPF programs cannot walk its tables: that takes bpf_loop and bpf_map_lookup_percpu_elem, Linux 5.19";

    /// <summary>Loads them. Which kind of hook is to be tried (<see cref="EbpfOptions.Hook"/>) is no matter to them.</summary>
    internal static BpfObject Load(EbpfPrograms shared, string name, string[] programs, params ReadOnlySpan<(string Map, uint Entries)> sizes)
    {
        var options = new EbpfOptions { LibraryPath = shared.Options.LibraryPath, BtfPath = shared.Options.BtfPath };
        return BpfObject.Load(name, BpfObject.Image(name), [new Hook(name, new HookVariant("run", programs, static _ => null))], shared.Features, options, shared.Logger, sizes);
    }
}
