using System.Diagnostics.CodeAnalysis;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Xunit;

namespace KubeSkoop.Probes.TestKit;

/// <summary>What a live test needs of its machine.</summary>
[Flags]
public enum Needs
{
    /// <summary>Linux.</summary>
    None = 0,

    /// <summary>The root user.</summary>
    Root = 1,

    /// <summary>Root, and a kernel that lets it make network namespaces with veth pairs.</summary>
    NetNs = 2 | Root,

    /// <summary>IPv6 in the kernel.</summary>
    Ipv6 = 4,

    /// <summary>The repository the tests were built from, and the SDK.</summary>
    Sources = 8,

    /// <summary>The sources as a git checkout.</summary>
    Checkout = 16 | Sources,

    /// <summary>Root, and a kernel that loads BPF programs and has its types (BTF).</summary>
    Bpf = 32 | Root,

    /// <summary>As <see cref="Bpf"/>, and a kernel whose programs can walk its tables (Linux 5.19).</summary>
    BpfWalk = 128 | Bpf,

    /// <summary>Tap devices.</summary>
    Tap = 64 | Root,

    /// <summary>At least two CPUs.</summary>
    TwoCpus = 1024,

    /// <summary>Loop devices.</summary>
    Loop = 256 | Root,

    /// <summary>Control groups of the io controller, of either version.</summary>
    IoCgroup = 512 | Root,

    /// <summary>As <see cref="Bpf"/>, and a kernel that says why it drops a packet (5.18).</summary>
    DropReasons = 2048 | Bpf,

    /// <summary>As <see cref="Bpf"/>, and a kernel whose tracing programs may keep something in sockets (5.11).</summary>
    SocketStorage = 4096 | Bpf,

    /// <summary>As <see cref="Bpf"/>, and a kernel whose programs for packets see the kernel's own structure of one (6.2).</summary>
    PacketPrograms = 8192 | Bpf,

    /// <summary>A machine that is not emulated: what is measured, or repeated often, takes too long on one.</summary>
    Native = 16384,

    /// <summary>A container runtime of its own: containerd with runc, CNI plugins and a busybox without libraries.</summary>
    Containerd = 32768 | NetNs,

    /// <summary>Control groups of version 2, alone or beside those of version 1.</summary>
    UnifiedCgroup = 65536 | Root,

    /// <summary>A machine that is the tests' own: what they do concerns all of it.</summary>
    OwnMachine = 131072 | Root,

    /// <summary>As <see cref="Bpf"/>, a virtio network device, and a kernel that lets programs hook its driver's functions.</summary>
    VirtioDevice = 262144 | Bpf,

    /// <summary>A kernel that has IPVS, loaded.</summary>
    Ipvs = 524288 | Root,

    /// <summary>As <see cref="NetNs"/>, and a kernel that has the qdisc netem.</summary>
    Netem = 1048576 | NetNs,

    /// <summary>A kernel that has null_blk and dm-delay, disks of a known slowness, as modules that may be loaded.</summary>
    SlowDisks = 2097152 | OwnMachine,

    /// <summary>A kernel that counts Multipath TCP (5.6, CONFIG_MPTCP).</summary>
    Mptcp = 4194304,

    /// <summary>As <see cref="Bpf"/>, and a kernel that lets programs hook its functions. Those that do have kprobes, too.</summary>
    Functions = 8388608 | Bpf,

    /// <summary>As <see cref="Bpf"/>, and a kernel that tells when a socket has data (6.3).</summary>
    DataReady = 16777216 | Bpf,

    /// <summary>As <see cref="NetNs"/>, and a kernel that has VXLAN tunnels.</summary>
    Vxlan = 33554432 | NetNs,

    /// <summary>As <see cref="IoCgroup"/>, and a kernel that knows whose the pages are that it writes back.</summary>
    WriterCgroup = 67108864 | IoCgroup,

    /// <summary>As <see cref="NetNs"/>, and veth pairs that do not take every packet (6.16).</summary>
    VethPushback = 134217728 | NetNs,

    /// <summary>As <see cref="Bpf"/>, and a kernel that tells the start of a request to a disk (6.5).</summary>
    RequestStarts = 268435456 | Bpf,
}

/// <summary>A fact that is skipped, with its reason, where the machine lacks what it needs.</summary>
[AttributeUsage(AttributeTargets.Method)]
public class LiveFactAttribute : FactAttribute
{
    /// <summary>A fact that needs <paramref name="needs"/> and the programs <paramref name="tools"/>.</summary>
    public LiveFactAttribute(Needs needs = Needs.None, params string[] tools)
    {
        TestNeeds = needs;
        Tools = tools;
        if (Machine.Lacks(needs, tools) is { } reason) Skip = reason;
    }

    /// <summary>What the test needs.</summary>
    public Needs TestNeeds { get; }

    /// <summary>Programs the test needs.</summary>
    [SuppressMessage("Performance", "CA1819:Properties should not return arrays", Justification = "An attribute's argument.")]
    public string[] Tools { get; }
}

/// <summary>A theory that is skipped, with its reason, where the machine lacks what it needs.</summary>
[AttributeUsage(AttributeTargets.Method)]
public class LiveTheoryAttribute : TheoryAttribute
{
    /// <summary>A theory that needs <paramref name="needs"/> and the programs <paramref name="tools"/>.</summary>
    public LiveTheoryAttribute(Needs needs = Needs.None, params string[] tools)
    {
        TestNeeds = needs;
        Tools = tools;
        if (Machine.Lacks(needs, tools) is { } reason) Skip = reason;
    }

    /// <summary>What the test needs.</summary>
    public Needs TestNeeds { get; }

    /// <summary>Programs the test needs.</summary>
    [SuppressMessage("Performance", "CA1819:Properties should not return arrays", Justification = "An attribute's argument.")]
    public string[] Tools { get; }
}

/// <summary>What this machine can do.</summary>
public static class Machine
{
    private const string KernelTypesFile = "/sys/kernel/btf/vmlinux";
    private const string VirtioDriver = "/sys/bus/virtio/drivers/virtio_net";

    private static readonly Lazy<byte[]> KernelTypes = new(static () => File.Exists(KernelTypesFile) ? File.ReadAllBytes(KernelTypesFile) : []);
    private static readonly Lazy<string?> NetNsProblem = new(TryNetNs);
    private static readonly Lazy<string?> NetemProblem = new(TryNetem);
    private static readonly Lazy<string?> VxlanProblem = new(TryVxlan);
    private static readonly Lazy<string?> BpfProblem = new(TryBpf);
    private static readonly Lazy<string?> BpfWalkProblem = new(TryBpfWalk);
    private static readonly Lazy<string?> FoundVirtioFunction = new(static () => Array.Find(["virtnet_send_command_reply", "virtnet_send_command"],
        static name => File.ReadLines("/proc/kallsyms").Any(line => line.EndsWith(" " + name, StringComparison.Ordinal) || line.Contains($" {name}\t", StringComparison.Ordinal))));

    /// <summary>Why a test with these needs cannot run here; <see langword="null"/> when it can.</summary>
    public static string? Lacks(Needs needs, params string[] tools)
    {
        if (!OperatingSystem.IsLinux()) return "Needs Linux.";
        if (needs.HasFlag(Needs.Root) && !Environment.IsPrivilegedProcess) return "Needs root: run the tests with sudo.";
        foreach (string tool in tools)
            if (!Command.Exists(tool)) return $"Needs the program '{tool}', which is not installed.";
        if (needs.HasFlag(Needs.Sources) && (Repository.Find() is null || !Command.Exists("dotnet"))) return "Needs the sources and the .NET SDK, which are not here.";
        if (needs.HasFlag(Needs.Checkout) && !(Command.Exists("git") && Path.Exists(Path.Combine(Repository.Root, ".git")))) return "Needs git and a checkout.";
        if (needs.HasFlag(Needs.NetNs) && NetNsProblem.Value is { } problem) return problem;
        if (needs.HasFlag(Needs.Bpf) && BpfProblem.Value is { } refusal) return refusal;
        if (needs.HasFlag(Needs.BpfWalk) && BpfWalkProblem.Value is { } lacking) return lacking;
        if (needs.HasFlag(Needs.DropReasons) && !Knows("SKB_DROP_REASON_NETFILTER_DROP")) return "Needs a kernel that says why it drops a packet, 5.18 or later.";
        if (needs.HasFlag(Needs.SocketStorage) && !Knows("bpf_sk_storage_get_tracing")) return "Needs a kernel whose tracing programs may keep something in sockets, 5.11 or later.";
        if (needs.HasFlag(Needs.PacketPrograms) && !Knows("bpf_cast_to_kern_ctx")) return "Needs a kernel that has bpf_cast_to_kern_ctx, 6.2 or later.";
        if (needs.HasFlag(Needs.DataReady) && !Knows("btf_trace_sk_data_ready")) return "Needs a kernel that has the tracepoint sk_data_ready, 6.3 or later.";
        if (needs.HasFlag(Needs.RequestStarts) && !Knows("btf_trace_block_io_start")) return "Needs a kernel that has the tracepoint block_io_start, 6.5 or later.";
        if (needs.HasFlag(Needs.Functions) && !File.Exists("/sys/bus/event_source/devices/kprobe/type")) return "Needs a kernel that lets programs hook its functions; this one has no kprobes.";
        if (needs.HasFlag(Needs.Native) && IsEmulated) return "Needs a machine that is not emulated.";
        if (needs.HasFlag(Needs.OwnMachine) && !IsEmulated) return "Needs a machine of its own: './test.sh --kernels' makes them.";
        if (needs.HasFlag(Needs.VirtioDevice) && (VirtioDevice is null || VirtioFunction is null || !Directory.Exists("/sys/bus/event_source/devices/kprobe")))
            return "Needs a network device of virtio_net, and a kernel with kprobes.";
        if (needs.HasFlag(Needs.Ipvs) && !File.Exists("/proc/net/ip_vs_stats")) return "Needs IPVS in the kernel: the module ip_vs is not loaded.";
        if (needs.HasFlag(Needs.Netem) && NetemProblem.Value is { } missing) return missing;
        if (needs.HasFlag(Needs.Vxlan) && VxlanProblem.Value is { } tunnels) return tunnels;
        if (needs.HasFlag(Needs.SlowDisks) && !HasModule("null_blk")) return "Needs the kernel module null_blk.";
        if (needs.HasFlag(Needs.Mptcp) && !File.ReadLines("/proc/net/netstat").Any(static line => line.StartsWith("MPTcpExt:", StringComparison.Ordinal))) return "Needs a kernel with Multipath TCP.";
        if (needs.HasFlag(Needs.Tap) && !File.Exists("/dev/net/tun")) return "Needs tap devices: /dev/net/tun is missing.";
        if (needs.HasFlag(Needs.TwoCpus) && Environment.ProcessorCount < 2) return "Needs two CPUs.";
        if (needs.HasFlag(Needs.Loop) && !File.Exists("/dev/loop-control")) return "Needs loop devices: /dev/loop-control is missing.";
        if (needs.HasFlag(Needs.IoCgroup) && IoCgroup.Root is null) return "Needs control groups of the io controller: neither blkio (version 1) nor io (version 2) is mounted below /sys/fs/cgroup.";
        if (needs.HasFlag(Needs.VethPushback) && Environment.OSVersion.Version < new Version(6, 16)) return "Needs a veth device that pushes packets back, as of Linux 6.16.";
        if (needs.HasFlag(Needs.WriterCgroup) && !IoCgroup.KnowsWriters) return "Needs control groups of version 2 that have the controllers io and memory.";
        if (needs.HasFlag(Needs.UnifiedCgroup) && UnifiedCgroup is null) return "Needs control groups of version 2: they are not mounted below /sys/fs/cgroup.";
        if (needs.HasFlag(Needs.Containerd) && MissingOfContainerd() is { } part) return $"Needs a container runtime: {part} is missing (Debian packages containerd, runc, containernetworking-plugins, busybox-static).";
        if (needs.HasFlag(Needs.Ipv6) && !(Socket.OSSupportsIPv6 && File.Exists("/proc/net/if_inet6"))) return "Needs IPv6, which this kernel lacks or has switched off.";
        return null;
    }

    /// <summary>Whether the tests run in the emulated machine that <c>./test.sh --kernels</c> makes.</summary>
    public static bool IsEmulated => Environment.GetEnvironmentVariable("KUBESKOOP_EMULATED") is { Length: > 0 };

    /// <summary>Whether the running kernel's type information has a name: of a type, an enumerator, or a function.</summary>
    public static bool Knows(string name)
    {
        byte[] types = KernelTypes.Value;
        return types.AsSpan().IndexOf(System.Text.Encoding.UTF8.GetBytes($"\0{name}\0")) >= 0;
    }

    /// <summary>Where the hierarchy of version 2 is mounted.</summary>
    public static string? UnifiedCgroup { get; } = Array.Find(["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], static d => File.Exists(Path.Combine(d, "cgroup.controllers")));

    /// <summary>A network device of the driver virtio_net in this namespace.</summary>
    public static string? VirtioDevice => Directory.Exists(VirtioDriver)
        ? Directory.GetDirectories(VirtioDriver, "virtio*").Select(static d => d + "/net").Where(Directory.Exists).SelectMany(Directory.GetDirectories).Select(Path.GetFileName).FirstOrDefault()
        : null;

    /// <summary>The function of that driver that all commands to devices go through.</summary>
    public static string? VirtioFunction => FoundVirtioFunction.Value;

    private static string? MissingOfContainerd() =>
        Array.Find(["containerd", "ctr", "runc", "busybox"], static tool => !Command.Exists(tool))
        ?? (File.Exists("/usr/lib/cni/bridge") ? null : "/usr/lib/cni/bridge");

    // Asked once by trying: capabilities, seccomp and kernel options all have a say, and only the kernel knows the sum.
    private static string? TryNetNs()
    {
        foreach (string tool in (string[])["ip", "unshare"])
            if (!Command.Exists(tool)) return $"Needs the program '{tool}', which is not installed.";
        CommandResult result = Command
            .RunAsync("unshare", ["-n", "ip", "link", "add", "name", "kst0", "type", "veth", "peer", "name", "kst1"])
            .GetAwaiter().GetResult();
        return result.ExitCode == 0 ? null : $"Needs network namespaces with veth pairs, which this machine refuses: {result.Error.Trim()}";
    }

    private static bool HasModule(string name)
    {
        string list = $"/lib/modules/{File.ReadAllText("/proc/sys/kernel/osrelease").Trim()}/modules.dep";
        return File.Exists(list) && File.ReadLines(list).Any(line => line.Contains($"/{name}.ko", StringComparison.Ordinal));
    }

    private static string? TryNetem()
    {
        if (!Command.Exists("tc")) return "Needs the program 'tc', which is not installed.";
        CommandResult result = Command.RunAsync("unshare", ["-n", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]).GetAwaiter().GetResult();
        return result.ExitCode == 0 ? null : "Needs the qdisc netem, which this kernel does not have.";
    }

    private static string? TryVxlan()
    {
        CommandResult result = Command.RunAsync("unshare", ["-n", "ip", "link", "add", "vx0", "type", "vxlan", "id", "7", "dstport", "4789"]).GetAwaiter().GetResult();
        return result.ExitCode == 0 ? null : "Needs VXLAN tunnels, which this kernel does not have.";
    }

    private static string? TryBpf()
    {
        if (!File.Exists(KernelTypesFile)) return $"Needs a kernel that shows its types in {KernelTypesFile}.";
        int error = Libc.LoadEmptyProgram();
        return error == 0 ? null : $"Needs a kernel that loads BPF programs; this one refuses: {Marshal.GetPInvokeErrorMessage(error)}";
    }

    // The later of the two helpers they call, in the enumeration of all helpers.
    private static string? TryBpfWalk() => Knows("BPF_FUNC_map_lookup_percpu_elem") ? null
        : "Needs a kernel that has the BPF helpers bpf_loop and bpf_map_lookup_percpu_elem, 5.19 or later.";
}
