using System.Globalization;
using System.Reflection;
using System.Text;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Kernel;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>One way to hook into the kernel.</summary>
/// <param name="Name">What people call it: <c>tp_btf</c>, <c>fentry</c>, <c>kprobe</c>.</param>
/// <param name="Programs">The programs of the object that belong to it.</param>
/// <param name="Refusal">Why this kernel cannot have it, or <see langword="null"/>.</param>
internal sealed record HookVariant(string Name, string[] Programs, Func<KernelFeatures, string?> Refusal)
{
    /// <summary>Whether the kernel finds what it is on in type information of its own.</summary>
    internal bool NeedsKernelTypes => Name is "tp_btf" or "fentry";

    /// <summary>What the kernel said when its programs were to be attached, if that was tried and failed.</summary>
    internal string? AttachRefusal { get; init; }

    /// <summary>Why it cannot be taken, or <see langword="null"/>.</summary>
    internal string? WhyNot(KernelFeatures features) => AttachRefusal ?? Refusal(features);
}

/// <summary>A moment in the kernel a probe needs to see, and the ways to it, the best first.</summary>
internal sealed record Hook(string Name, params HookVariant[] Variants)
{
    /// <summary>What the probe cannot see where there is no way, if it can do without; <see langword="null"/> if it cannot.</summary>
    internal string? Without { get; init; }

    /// <summary>The same, after the kernel has refused to attach some programs, with what it said of each.</summary>
    internal Hook After(IReadOnlyDictionary<string, string> refused) =>
        this with { Variants = [.. Variants.Select(v => v with { AttachRefusal = v.Programs.Select(refused.GetValueOrDefault).FirstOrDefault(static said => said is not null) })] };
}

/// <summary>The way that was taken to a hook; none where the probe does without it.</summary>
/// <param name="Hook">The hook.</param>
/// <param name="Variant">The way.</param>
/// <param name="Refusal">Why there is none; or what the kernel said of better ways that it has loaded and not attached.</param>
internal sealed record ChosenHook(Hook Hook, HookVariant? Variant, string? Refusal = null);

/// <summary>
/// The programs and maps of one probe in the kernel: loaded, attached, and gone when disposed of. Nothing is pinned: they are gone too when the process dies.
/// </summary>
internal sealed unsafe class BpfObject : IDisposable
{
    private readonly BpfObjectHandle _handle;
    private readonly List<BpfLinkHandle> _links = [];
    private readonly List<SafeFileHandle> _bareLinks = [];
    private readonly List<nint> _programs = [];
    private readonly List<(nint Address, nuint Size)> _mapped = [];
    private readonly string _probe;
    private readonly ILogger _logger;
    private bool _disposed;

    private BpfObject(string probe, BpfObjectHandle handle, IReadOnlyList<ChosenHook> hooks, ILogger logger)
    {
        _probe = probe;
        _logger = logger;
        _handle = handle;
        Hooks = hooks;
    }

    /// <summary>The ways that were taken.</summary>
    internal IReadOnlyList<ChosenHook> Hooks { get; }

    /// <summary>Opens, chooses and loads; attaches nothing yet.</summary>
    /// <param name="shared">What this kernel can do, settings of all BPF probes, and who keeps what libbpf says.</param>
    /// <param name="probe">The probe's name, and its object's.</param>
    /// <param name="hooks">What it needs to see.</param>
    /// <param name="sizes">Sizes of maps, in entries (of rings in bytes), by name.</param>
    /// <exception cref="ProbeUnavailableException">This machine cannot run it.</exception>
    internal static BpfObject Load(EbpfPrograms shared, string probe, IReadOnlyList<Hook> hooks, params ReadOnlySpan<(string Map, uint Entries)> sizes) =>
        Load(probe, Image(probe), hooks, shared.Features, shared.Options, shared.Logger, sizes);

    /// <summary>The same with an object from elsewhere, or other settings.</summary>
    internal static BpfObject Load(string probe, byte[] image, IReadOnlyList<Hook> hooks, KernelFeatures features, EbpfOptions options, ILogger? logger, params ReadOnlySpan<(string Map, uint Entries)> sizes)
    {
        features.Require(probe, fileWillDo: hooks.All(static hook => hook.Without is not null || Array.Exists(hook.Variants, static v => !v.NeedsKernelTypes)));
        LibbpfResolver.Load(options.LibraryPath);
        ChosenHook[] chosen = Choose(probe, hooks, features, options.Hook);
        logger ??= NullLogger.Instance;
        Libbpf.Listen(logger);
        BpfObjectHandle? handle = null;
        try
        {
            handle = Open(probe, image, options.BtfPath, logger);
            var wanted = chosen.SelectMany(static c => c.Variant?.Programs ?? []).ToHashSet();
            for (nint program = Libbpf.NextProgram(handle, 0); program != 0; program = Libbpf.NextProgram(handle, program))
                _ = Libbpf.SetAutoload(program, wanted.Remove(Libbpf.ProgramName(program)));
            if (wanted.Count > 0) throw new InvalidOperationException($"The object of {probe} has no program {string.Join(", ", wanted)}.");
            foreach (var (map, entries) in sizes)
                if (Libbpf.FindMap(handle, map) is var found && found != 0) _ = Libbpf.SetMapEntries(found, entries);
            if (features.WantsRoomBeforehand && chosen.Any(static c => c.Variant?.Name == "kprobe")) Preallocate(handle);
            int error = Libbpf.ObjectLoad(handle);
            string said = Libbpf.StopListening(logger, probe, failed: error < 0);
            if (error < 0) throw Explain(probe, "the kernel does not take its programs", -error, said, features);
            var loaded = new BpfObject(probe, handle, chosen, logger);
            for (nint program = Libbpf.NextProgram(handle, 0); program != 0; program = Libbpf.NextProgram(handle, program))
                if (Libbpf.ProgramDescriptor(program) >= 0) loaded._programs.Add(program);
            return loaded;
        }
        catch
        {
            Libbpf.StopListening(logger, probe, failed: true);
            handle?.Dispose();
            throw;
        }
    }

    /// <summary>Attaches every program that was loaded.</summary>
    /// <returns>The first that the kernel refuses, and why; the object is then to be loaded anew, <see cref="Hook.After"/> that.</returns>
    internal (string Program, string Refusal)? Attach()
    {
        foreach (nint program in _programs)
        {
            Libbpf.Listen(_logger);
            BpfLinkHandle link = Libbpf.Attach(program);
            int error = System.Runtime.InteropServices.Marshal.GetLastPInvokeError();
            string said = Libbpf.StopListening(_logger, _probe, failed: link.IsInvalid);
            if (link.IsInvalid)
            {
                link.Dispose();
                string name = Libbpf.ProgramName(program);
                return (name, $"the program {name} cannot be attached ({Reason(error, said)})");
            }
            _links.Add(link);
        }
        return null;
    }

    /// <summary>Attaches a program to what <paramref name="target"/> stands for, for as long as this lives, or the process. The type: enum bpf_attach_type, include/uapi/linux/bpf.h.</summary>
    /// <exception cref="ProbeUnavailableException">The kernel refuses.</exception>
    internal void AttachTo(string program, SafeFileHandle target, uint attachType, KernelFeatures features)
    {
        int link = KernelCalls.CreateLink(Descriptor(program), (int)target.DangerousGetHandle(), attachType);
        if (link < 0) throw Explain(_probe, $"the program {program} cannot be attached", -link, string.Empty, features);
        _bareLinks.Add(new SafeFileHandle(link, ownsHandle: true));
    }

    /// <summary>A map by its name.</summary>
    internal nint Map(string name)
    {
        nint map = Libbpf.FindMap(_handle, name);
        return map != 0 ? map : throw new InvalidOperationException($"The object of {_probe} has no map {name}.");
    }

    /// <summary>A loaded program by its name.</summary>
    internal nint Program(string name) => _programs.Find(program => Libbpf.ProgramName(program) == name);

    /// <summary>A section of global data: the very memory the programs read, writable at any time until this is disposed of.</summary>
    /// <exception cref="IOException">The kernel does not map it.</exception>
    internal T* Data<T>(string section)
        where T : unmanaged
    {
        return Elements<T>(section, out _, exactly: false);
    }

    /// <summary>An array map made to be mapped, or a section of global data (which is one with a single element): its elements, as <see cref="Data"/>.</summary>
    /// <exception cref="IOException">The kernel does not map it.</exception>
    internal T* Elements<T>(string name, out int count, bool exactly = true)
        where T : unmanaged
    {
        nint map = Map(name);
        uint size = Libbpf.MapValueSize(map);
        count = (int)Libbpf.MapEntries(map);
        if (exactly ? size != (uint)sizeof(T) || size % 8 != 0 : size < (uint)sizeof(T)) throw new InvalidOperationException($"{name} of {_probe} has {size} bytes instead of {sizeof(T)}.");
        nuint bytes = size * (nuint)count;
        nint memory = KernelCalls.Map(0, bytes, KernelCalls.ProtectRead | KernelCalls.ProtectWrite, KernelCalls.MapShared, Libbpf.MapDescriptor(map), 0);
        if (memory == -1) throw new IOException($"{name} of {_probe} cannot be mapped: {Errors.Name(System.Runtime.InteropServices.Marshal.GetLastPInvokeError())}");
        _mapped.Add((memory, bytes));
        return (T*)memory;
    }

    /// <summary>A descriptor of a program by its name; it stays this object's.</summary>
    internal int Descriptor(string name)
    {
        foreach (nint program in _programs)
            if (Libbpf.ProgramName(program) == name) return Libbpf.ProgramDescriptor(program);
        throw new InvalidOperationException($"The object of {_probe} has no program {name} in the kernel.");
    }

    /// <summary>How often its programs have run and how long, while somebody had the kernel measure it; and how often one was left out.</summary>
    internal (ulong Runs, ulong Nanoseconds, ulong Missed) Cost()
    {
        ulong runs = 0, time = 0, missed = 0;
        if (_disposed) return (0, 0, 0);
        foreach (nint program in _programs)
        {
            var cost = CostOf(program);
            runs += cost.Runs;
            time += cost.Nanoseconds;
            missed += cost.Missed;
        }
        return (runs, time, missed);
    }

    /// <summary>The same of each program.</summary>
    internal IReadOnlyList<(string Program, ulong Runs, ulong Nanoseconds)> CostOfEach() =>
        _disposed ? [] : [.. _programs.Select(static program => (Libbpf.ProgramName(program), CostOf(program).Runs, CostOf(program).Nanoseconds))];

    private static (ulong Runs, ulong Nanoseconds, ulong Missed) CostOf(nint program)
    {
        const int RunTime = 192; // struct bpf_prog_info, include/uapi/linux/bpf.h: run_time_ns, run_cnt (5.1)
        const int RunCount = 200;
        const int RecursionMisses = 208; // 5.12
        byte* info = stackalloc byte[256];
        new Span<byte>(info, 256).Clear();
        uint length = 256;
        if (Libbpf.Info(Libbpf.ProgramDescriptor(program), info, &length) != 0 || length < RunCount + sizeof(ulong)) return default;
        return (*(ulong*)(info + RunCount), *(ulong*)(info + RunTime), length >= RecursionMisses + sizeof(ulong) ? *(ulong*)(info + RecursionMisses) : 0);
    }

    /// <summary>The ways that were taken, for people: <c>tp_btf</c>, or <c>tp_btf, kprobe (ready)</c> when they differ from the first; and what is not seen, and why.</summary>
    internal string Describe()
    {
        var words = new List<string>();
        string? first = null;
        foreach (ChosenHook hook in Hooks)
        {
            if (hook.Variant is not { } variant) words.Add($"without {hook.Hook.Without} ({hook.Refusal})");
            else if (hook.Refusal is { } refusal) words.Add($"{variant.Name} ({hook.Hook.Name}; {refusal})");
            else if (first is null) words.Add(variant.Name);
            else if (variant.Name != first) words.Add($"{variant.Name} ({hook.Hook.Name})");
            first ??= hook.Variant?.Name;
        }
        return string.Join(", ", words);
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        Libbpf.Listen(_logger);
        foreach (BpfLinkHandle link in _links) link.Dispose();
        _links.Clear();
        foreach (SafeFileHandle link in _bareLinks) link.Dispose();
        _bareLinks.Clear();
        _programs.Clear();
        foreach ((nint address, nuint size) in _mapped) _ = KernelCalls.Unmap(address, size);
        _mapped.Clear();
        _handle.Dispose();
        Libbpf.StopListening(_logger, _probe, failed: false);
    }

    /// <summary>The object of a probe, as compiled from <c>bpf/</c>.</summary>
    internal static byte[] Image(string probe)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream($"bpf/{probe}.bpf.o")
            ?? throw new InvalidOperationException($"The assembly holds no object bpf/{probe}.bpf.o.");
        byte[] image = new byte[stream.Length];
        stream.ReadExactly(image);
        return image;
    }

    /// <summary>Takes the first way to each hook that this kernel has. A kind that was asked for is taken where there is one of it, and must be somewhere.</summary>
    internal static ChosenHook[] Choose(string probe, IReadOnlyList<Hook> hooks, KernelFeatures features, string? wanted)
    {
        if (wanted is not null && !hooks.Any(hook => Array.Exists(hook.Variants, v => IsWanted(v))))
            throw new ProbeUnavailableException(probe, $"it has no way by {wanted}", "its ways are " + string.Join(", ", hooks.SelectMany(static h => h.Variants).Select(static v => v.Name).Distinct()), $"Leave {EbpfOptions.SectionName}:{nameof(EbpfOptions.Hook)} empty.");
        return [.. hooks.Select(Choice)];

        bool IsWanted(HookVariant variant) => variant.Name.Equals(wanted, StringComparison.OrdinalIgnoreCase);

        ChosenHook Choice(Hook hook)
        {
            bool only = Array.Exists(hook.Variants, IsWanted);
            var reasons = new List<string>();
            foreach (HookVariant variant in hook.Variants)
            {
                if (only && !IsWanted(variant))
                {
                    reasons.Add($"{variant.Name}: not the one asked for ({wanted})");
                    continue;
                }
                if (variant.WhyNot(features) is { } reason) reasons.Add($"{variant.Name}: {reason}");
                else return new ChosenHook(hook, variant, NotAttached(hook));
            }
            string why = string.Join("; ", reasons.Distinct());
            return hook.Without is not null && !only ? new ChosenHook(hook, null, why)
                : throw new ProbeUnavailableException(probe, $"this kernel has no way to see '{hook.Name}'", why, "Run 'kernel' in the exporter to see what this kernel can do.");
        }
    }

    // What programs at kprobes take must be there: see KernelFeatures.WantsRoomBeforehand.
    private static void Preallocate(BpfObjectHandle handle)
    {
        const int Hash = 1, PerCpuHash = 5; // enum bpf_map_type, include/uapi/linux/bpf.h
        const uint NoPreallocation = 1; // BPF_F_NO_PREALLOC
        for (nint map = Libbpf.NextMap(handle, 0); map != 0; map = Libbpf.NextMap(handle, map))
            if (Libbpf.MapType(map) is Hash or PerCpuHash) _ = Libbpf.SetMapFlags(map, Libbpf.MapFlags(map) & ~NoPreallocation);
    }

    private static string? NotAttached(Hook hook)
    {
        string[] tried = [.. hook.Variants.Where(static v => v.AttachRefusal is not null).Select(static v => $"{v.Name}: {v.AttachRefusal}")];
        return tried.Length > 0 ? string.Join("; ", tried) : null;
    }

    private static BpfObjectHandle Open(string probe, byte[] image, string? btf, ILogger logger)
    {
        fixed (byte* bytes = image)
        fixed (byte* name = Encoding.UTF8.GetBytes($"ks_{probe}\0"))
        fixed (byte* path = btf is null ? null : Encoding.UTF8.GetBytes(btf + "\0"))
        {
            var open = new Libbpf.OpenOptions { Size = (nuint)sizeof(Libbpf.OpenOptions), ObjectName = name, BtfCustomPath = path };
            BpfObjectHandle handle = Libbpf.ObjectOpen(bytes, (nuint)image.Length, &open);
            if (!handle.IsInvalid) return handle;
            int error = System.Runtime.InteropServices.Marshal.GetLastPInvokeError();
            handle.Dispose();
            throw new ProbeUnavailableException(probe, "its object cannot be opened", $"{Errors.Name(error)}: {Verifier.Shorten(Libbpf.StopListening(logger, probe, failed: true))}", "Use a libbpf of version 1.0 or later.");
        }
    }

    private static string Reason(int error, string said) => Verifier.Shorten(said) is { Length: > 0 } reason ? $"{Errors.Name(error)}: {reason}" : Errors.Name(error);

    private static ProbeUnavailableException Explain(string probe, string what, int error, string said, KernelFeatures features)
    {
        string remedy = error switch
        {
            1 or 13 when features.MissingCapabilities is { Length: > 0 } missing => $"Give the process {missing}.",
            1 when features.Lockdown is { } lockdown and not "none" => $"The kernel is locked down ({lockdown}); a kernel without lockdown takes it.",
            // Then programs may read nothing of the kernel's: the functions for it are not there (EINVAL).
            22 when features.Lockdown is "confidentiality" => "The kernel is locked down (confidentiality), which keeps programs from reading its memory; one that is not, or for integrity only, takes it.",
            12 => "The kernel is out of memory for maps; lower the size of rings and the number of namespaces.",
            _ => string.Create(CultureInfo.InvariantCulture, $"Please report it with the kernel's version, {features.Release}."),
        };
        return new ProbeUnavailableException(probe, what, Reason(error, said), remedy);
    }
}
