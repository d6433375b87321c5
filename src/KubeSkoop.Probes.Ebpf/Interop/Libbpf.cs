using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Extensions.Logging;

namespace KubeSkoop.Probes.Ebpf.Interop;

/// <summary>The part of libbpf that is used, and the bpf(2) calls it wraps. Integers are 0 or negative errno.</summary>
internal static unsafe partial class Libbpf
{
    internal const uint StatsRunTime = 0; // enum bpf_stats_type, include/uapi/linux/bpf.h

    private const int Debug = 2; // enum libbpf_print_level, tools/lib/bpf/libbpf.h; before it warnings (0) and information (1)

    /// <summary>What libbpf says while the calling thread works with it; libbpf calls back on the same thread.</summary>
    [ThreadStatic]
    private static List<(int Level, string Text)>? _said;

    [ThreadStatic]
    private static int _mostLevel;

    private static int _listening;

    /// <summary>Collects libbpf's words of this thread until <see cref="StopListening"/>.</summary>
    internal static void Listen(ILogger logger)
    {
        _said = [];
        _mostLevel = logger.IsEnabled(LogLevel.Trace) ? Debug : Debug - 1;
        if (Interlocked.Exchange(ref _listening, 1) == 0) SetPrint(&OnPrint);
    }

    /// <summary>What libbpf has said since <see cref="Listen"/>, for whoever has to explain a failure. The logger has had it too.</summary>
    /// <param name="logger">Who keeps it; what libbpf calls debugging is its trace.</param>
    /// <param name="probe">Whose object it is about.</param>
    /// <param name="failed">Whether it ends in an exception, which has the cause: warnings are no more than details then, at every new try.</param>
    internal static string StopListening(ILogger logger, string probe, bool failed)
    {
        if (_said is not { Count: > 0 } said)
        {
            _said = null;
            return string.Empty;
        }
        _said = null;
        var text = new StringBuilder();
        foreach ((int level, string words) in said)
        {
            if (level < Debug) text.Append(words);
            LogLevel at = level switch { 0 when !failed => LogLevel.Warning, < Debug => LogLevel.Debug, _ => LogLevel.Trace };
            if (logger.IsEnabled(at) && Loading.Verifier.Shorten(words) is { Length: > 0 } line) Log.LibbpfSays(logger, at, probe, line);
        }
        return text.ToString();
    }

    // int (enum libbpf_print_level, const char *, va_list): the last is a pointer, or passed like one, on x86-64 and arm64 alike.
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int OnPrint(int level, byte* format, nint arguments)
    {
        const int MostWords = 1000; // an object that loads has some hundred, with all that is for debugging
        if (level > _mostLevel || _said is not { Count: < MostWords } said) return 0;
        byte[] buffer = ArrayPool<byte>.Shared.Rent(64 * 1024);
        fixed (byte* p = buffer)
        {
            int length = VSNPrintF(p, (nuint)buffer.Length, format, arguments);
            if (length > 0) said.Add((level, Encoding.UTF8.GetString(buffer, 0, Math.Min(length, buffer.Length - 1))));
        }
        ArrayPool<byte>.Shared.Return(buffer);
        return 0;
    }

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "libbpf_set_print")]
    private static partial nint SetPrint(delegate* unmanaged[Cdecl]<int, byte*, nint, int> print);

    [LibraryImport("libc", EntryPoint = "vsnprintf")]
    private static partial int VSNPrintF(byte* buffer, nuint size, byte* format, nint arguments);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "libbpf_num_possible_cpus")]
    internal static partial int PossibleCpus();

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__open_mem", SetLastError = true)]
    internal static partial BpfObjectHandle ObjectOpen(byte* bytes, nuint size, OpenOptions* options);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__load")]
    internal static partial int ObjectLoad(BpfObjectHandle bpfObject);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__close")]
    internal static partial void ObjectClose(nint bpfObject);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__find_map_by_name", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial nint FindMap(BpfObjectHandle bpfObject, string name);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__next_map")]
    internal static partial nint NextMap(BpfObjectHandle bpfObject, nint map);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__name")]
    private static partial byte* MapNamePointer(nint map);

    internal static string MapName(nint map) => Marshal.PtrToStringUTF8((nint)MapNamePointer(map)) ?? string.Empty;

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__fd")]
    internal static partial int MapDescriptor(nint map);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__type")]
    internal static partial int MapType(nint map);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__max_entries")]
    internal static partial uint MapEntries(nint map);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__set_max_entries")]
    internal static partial int SetMapEntries(nint map, uint entries);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__map_flags")]
    internal static partial uint MapFlags(nint map);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__set_map_flags")]
    internal static partial int SetMapFlags(nint map, uint flags);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__key_size")]
    internal static partial uint MapKeySize(nint map);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__value_size")]
    internal static partial uint MapValueSize(nint map);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__next_program")]
    internal static partial nint NextProgram(BpfObjectHandle bpfObject, nint program);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_program__name")]
    private static partial byte* ProgramNamePointer(nint program);

    internal static string ProgramName(nint program) => Marshal.PtrToStringUTF8((nint)ProgramNamePointer(program)) ?? string.Empty;

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_program__set_autoload")]
    internal static partial int SetAutoload(nint program, [MarshalAs(UnmanagedType.U1)] bool autoload);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_program__fd")]
    internal static partial int ProgramDescriptor(nint program);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_program__attach", SetLastError = true)]
    internal static partial BpfLinkHandle Attach(nint program);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_link__destroy")]
    internal static partial int LinkDestroy(nint link);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map_lookup_elem")]
    internal static partial int Lookup(int map, void* key, void* value);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map_update_elem")]
    internal static partial int Update(int map, void* key, void* value, ulong flags);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map_delete_elem")]
    internal static partial int Delete(int map, void* key);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map_get_next_key")]
    internal static partial int NextKey(int map, void* key, void* next);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map_lookup_batch")]
    internal static partial int LookupBatch(int map, void* from, void* next, void* keys, void* values, uint* count, void* options);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_obj_get_info_by_fd")]
    internal static partial int Info(int descriptor, void* info, uint* length);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_enable_stats")]
    internal static partial int EnableStats(uint type);

    /// <summary>struct bpf_object_open_opts, tools/lib/bpf/libbpf.h; only the beginning, the size says so.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct OpenOptions
    {
        internal nuint Size;
        internal byte* ObjectName;
        internal byte RelaxedMaps;
        private readonly byte _reserved1;
        private readonly ushort _reserved2;
        private readonly uint _reserved3;
        internal byte* PinRootPath;
        private readonly nuint _reserved4;
        internal byte* Kconfig;
        internal byte* BtfCustomPath;
    }
}

/// <summary>A struct bpf_object; closing it unloads its programs and maps.</summary>
internal sealed class BpfObjectHandle() : SafeHandle(0, ownsHandle: true)
{
    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        Libbpf.ObjectClose(handle);
        return true;
    }
}

/// <summary>A struct bpf_link; closing it detaches the program.</summary>
internal sealed class BpfLinkHandle() : SafeHandle(0, ownsHandle: true)
{
    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle() => Libbpf.LinkDestroy(handle) == 0;
}
