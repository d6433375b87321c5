using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>The benchmarks' own BPF programs.</summary>
internal static class BenchObject
{
    internal static BpfObject Load(string name, params string[] programs)
    {
        using Stream resource = typeof(BenchObject).Assembly.GetManifestResourceStream($"bpf/{name}.bpf.o")!;
        byte[] image = new byte[resource.Length];
        resource.ReadExactly(image);
        var options = new EbpfOptions();
        return BpfObject.Load(name, image, [new Hook(name, new HookVariant("tp_btf", programs, static _ => null))], KernelFeatures.Of(options), options, logger: null);
    }

    internal static void Attach(BpfObject loaded)
    {
        if (loaded.Attach() is var (_, refusal)) throw new InvalidOperationException(refusal);
    }
}
