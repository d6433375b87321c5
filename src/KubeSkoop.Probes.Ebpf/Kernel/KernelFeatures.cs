using System.Globalization;
using KubeSkoop.Probes.Ebpf.Interop;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf.Kernel;

/// <summary>What the running kernel can do for BPF probes, found out by trying, not by version.</summary>
internal sealed unsafe class KernelFeatures
{
    private const int ProgLoad = 5; // enum bpf_cmd, include/uapi/linux/bpf.h
    private const int RawTracepointOpen = 17;
    private const int ProgTypeTracing = 26;
    private const int AttachRawTracepoint = 23;
    private const int AttachFunctionEntry = 24;
    private const int LoadAttributesSize = 128;
    private const string LockdownPath = "/sys/kernel/security/lockdown";
    private const int AttachAttributesSize = 16;
    private const string KprobeSource = "/sys/bus/event_source/devices/kprobe/type";

    private static readonly (int Bit, string Name)[] Capabilities = [(39, "CAP_BPF"), (38, "CAP_PERFMON")];
    private static readonly Lock Gate = new();
    private static KernelFeatures? _current;

    private readonly BpfCall _bpf;

    private KernelFeatures(string? btfPath, string kernelBtf, string lockdown, BpfCall bpf)
    {
        _bpf = bpf;
        Release = Read("/proc/sys/kernel/osrelease") ?? "unknown";
        Lockdown = LockdownOf(Read(lockdown));
        MissingCapabilities = Missing(File.Exists("/proc/thread-self/status") ? File.ReadLines("/proc/thread-self/status") : []);
        try
        {
            Btf = Btf.OfKernel(btfPath ?? kernelBtf);
            BtfProblem = Btf is null ? $"the kernel publishes no type information ({btfPath ?? kernelBtf}); it was built without CONFIG_DEBUG_INFO_BTF" : null;
        }
        catch (BtfException e)
        {
            BtfProblem = e.Message;
        }
        // What such a hook is on, the kernel looks up in type information of its own, by a number in it. A file says where fields lie, no more.
        string? ownProblem = BtfProblem ?? (File.Exists(kernelBtf) ? null
            : $"the kernel publishes no type information of its own ({kernelBtf}), which this way needs; the file of {EbpfOptions.SectionName}:{nameof(EbpfOptions.BtfPath)} cannot stand for it");
        TracepointRefusal = ownProblem ?? Try(AttachRawTracepoint, Btf!.TracepointId("sched_switch"));
        FunctionRefusal = ownProblem ?? Try(AttachFunctionEntry, Btf!.FunctionId("tcp_connect"));
        KprobeRefusal = File.Exists(KprobeSource) ? null : "this kernel has no kprobes (CONFIG_KPROBES)";
    }

    /// <summary>The kernel's version.</summary>
    internal string Release { get; }

    /// <summary>none, integrity or confidentiality; <see langword="null"/> when the kernel does not tell.</summary>
    internal string? Lockdown { get; }

    /// <summary>Capabilities that BPF needs and this process lacks, for people; empty for none.</summary>
    internal string MissingCapabilities { get; }

    /// <summary>The kernel's type information.</summary>
    internal Btf? Btf { get; }

    /// <summary>Why there is none.</summary>
    internal string? BtfProblem { get; }

    /// <summary>Why BTF tracepoints cannot be had, or <see langword="null"/>.</summary>
    internal string? TracepointRefusal { get; }

    /// <summary>Why functions cannot be hooked with fentry, or <see langword="null"/>.</summary>
    internal string? FunctionRefusal { get; }

    /// <summary>Why functions cannot be hooked with kprobes, or <see langword="null"/>.</summary>
    internal string? KprobeRefusal { get; }

    /// <summary>
    /// Whether programs at kprobes may only use hash maps whose entries are allocated beforehand. Before 6.1 a kprobe may lie within the allocator itself; the kernel warns, and refuses it where it is preemptible everywhere.
    /// Since then programs have an allocator of their own.
    /// </summary>
    internal bool WantsRoomBeforehand => Btf?.Struct("bpf_mem_alloc") is null;

    /// <summary>Found out once; the kernel does not change under a process.</summary>
    internal static KernelFeatures Of(EbpfOptions options)
    {
        lock (Gate) return _current ??= Probe(options.BtfPath);
    }

    /// <summary>Finds out anew.</summary>
    /// <param name="btfPath">Type information from a file, as in the settings.</param>
    /// <param name="kernelBtf">Where the kernel publishes its own.</param>
    /// <param name="lockdown">Where it says whether it is locked down.</param>
    /// <param name="bpf">Whom to ask; <see langword="null"/>: the kernel.</param>
    internal static KernelFeatures Probe(string? btfPath = null, string kernelBtf = Btf.KernelPath, string lockdown = LockdownPath, BpfCall? bpf = null) => new(btfPath, kernelBtf, lockdown, bpf ?? KernelCalls.Bpf);

    /// <summary>Says plainly what no probe could do without.</summary>
    /// <param name="probe">Who asks.</param>
    /// <param name="fileWillDo">Whether type information from a file would do: no hook it needs is one by the kernel's own.</param>
    /// <exception cref="ProbeUnavailableException">Rights or type information are missing.</exception>
    internal void Require(string probe, bool fileWillDo)
    {
        if (MissingCapabilities.Length > 0)
            throw new ProbeUnavailableException(probe, "BPF programs may not be loaded", $"{MissingCapabilities} missing", "Give the process CAP_BPF and CAP_PERFMON (before Linux 5.8: CAP_SYS_ADMIN).");
        if (BtfProblem is { } problem)
            throw new ProbeUnavailableException(probe, "BPF programs cannot be fitted to this kernel", problem, fileWillDo ? $"Use a kernel with BTF, or set {EbpfOptions.SectionName}:{nameof(EbpfOptions.BtfPath)} to a file with this kernel's."
                : $"Use a kernel with BTF. For this probe a file ({nameof(EbpfOptions.BtfPath)}) does not do: its hooks are in the kernel's own.");
    }

    /// <summary>A hook on a tracepoint, if it is there with as many arguments as the program reads.</summary>
    internal string? Tracepoint(string name, int least, int most = int.MaxValue) =>
        TracepointRefusal ?? (Btf!.TracepointArguments(name) is not { } arguments ? $"there is no tracepoint {name}"
            : arguments < least || arguments > most ? string.Create(CultureInfo.InvariantCulture, $"the tracepoint {name} has {arguments} arguments") : null);

    /// <summary>A hook on a function, if it is there.</summary>
    internal string? Function(string name) => FunctionRefusal ?? (Btf!.HasFunction(name) ? null : $"there is no function {name}");

    /// <summary>A kprobe on a function. Those that the compiler has inlined are in no list of functions.</summary>
    internal string? Kprobe(string name) => KprobeRefusal ?? (Btf?.HasFunction(name) == true ? null : $"there is no function {name}");

    /// <summary>A kprobe on a function that may be a module's. Which of those there are only the list of symbols tells.</summary>
    internal string? KprobeInModule(string name, string module) =>
        KprobeRefusal ?? (HasSymbol(name) ? null : Directory.Exists("/sys/module/" + module) ? $"there is no function {name}" : $"there is no function {name}, and the module {module} is not loaded");

    /// <summary>Whether programs that trace may keep something in sockets.</summary>
    internal string? SocketStorage() => Btf!.HasFunction("bpf_sk_storage_get_tracing") ? null : "programs that trace may keep nothing in sockets (5.11)";

    /// <summary>The mode between brackets: <c>none [integrity] confidentiality</c>.</summary>
    internal static string? LockdownOf(string? text)
    {
        int open = text?.IndexOf('[', StringComparison.Ordinal) ?? -1;
        int close = open < 0 ? -1 : text!.IndexOf(']', open);
        return close > open ? text![(open + 1)..close] : null;
    }

    /// <summary>Capabilities of BPF that are not in the effective set of a <c>/proc/PID/status</c>. CAP_SYS_ADMIN includes them.</summary>
    internal static string Missing(IEnumerable<string> status)
    {
        const int SysAdmin = 21;
        string? line = status.FirstOrDefault(static l => l.StartsWith("CapEff:", StringComparison.Ordinal));
        if (line is null || !ulong.TryParse(line.AsSpan("CapEff:".Length).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out ulong effective)) return string.Empty;
        if ((effective >> SysAdmin & 1) != 0) return string.Empty;
        return string.Join(" and ", Capabilities.Where(c => (effective >> c.Bit & 1) == 0).Select(static c => c.Name));
    }

    // A program that returns 0, loaded and attached once: arm64 before 6.4 loads those for functions, and attaches none (ENOTSUPP).
    private string? Try(int attachType, int typeId)
    {
        if (typeId == 0) return "the kernel's type information has nothing to attach to";
        ulong* instructions = stackalloc ulong[2];
        instructions[0] = 0xb7; // r0 = 0
        instructions[1] = 0x95; // exit
        byte* attributes = stackalloc byte[LoadAttributesSize];
        new Span<byte>(attributes, LoadAttributesSize).Clear();
        fixed (byte* license = "GPL\0"u8)
        {
            *(uint*)attributes = ProgTypeTracing;
            *(uint*)(attributes + 4) = 2;
            *(ulong**)(attributes + 8) = instructions;
            *(byte**)(attributes + 16) = license;
            *(int*)(attributes + 68) = attachType; // expected_attach_type
            *(int*)(attributes + 108) = typeId; // attach_btf_id
            int loaded = _bpf(ProgLoad, attributes, LoadAttributesSize);
            if (loaded < 0) return Refusal(-loaded, "the kernel refuses it");
            using var program = new SafeFileHandle(loaded, ownsHandle: true);
            new Span<byte>(attributes, AttachAttributesSize).Clear(); // no name: the program knows to what
            *(int*)(attributes + 8) = loaded;
            int attached = _bpf(RawTracepointOpen, attributes, AttachAttributesSize);
            if (attached < 0) return Refusal(-attached, "the kernel loads it, but does not attach it");
            new SafeFileHandle(attached, ownsHandle: true).Dispose();
            return null;
        }
    }

    private string Refusal(int error, string what) => error switch
    {
        1 when MissingCapabilities.Length > 0 => $"EPERM: {MissingCapabilities} missing",
        1 when Lockdown is "integrity" or "confidentiality" => $"EPERM: the kernel is locked down ({Lockdown})",
        1 when Lockdown is null => $"EPERM: {what}; it may be locked down, which it does not tell here (/sys/kernel/security/lockdown)",
        _ => $"{Loading.Errors.Name(error)}: {what}",
    };

    // ffffffff81000000 t name	[module]. The names are there for everyone, the addresses need not be.
    private static bool HasSymbol(string name)
    {
        try
        {
            return File.ReadLines("/proc/kallsyms").Any(line => line.AsSpan(line.IndexOf(' ', StringComparison.Ordinal) + 3) is var symbol
                && symbol.StartsWith(name, StringComparison.Ordinal) && (symbol.Length == name.Length || symbol[name.Length] == '\t'));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static string? Read(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
