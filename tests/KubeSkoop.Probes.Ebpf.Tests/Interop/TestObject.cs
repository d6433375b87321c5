using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Interop;

namespace KubeSkoop.Probes.Ebpf.Tests.Interop;

/// <summary>An object of this assembly's own programs, loaded, and run by the kernel on given input.</summary>
internal sealed unsafe partial class TestObject : IDisposable
{
    private const uint RunOnCpu = 1; // BPF_F_TEST_RUN_ON_CPU

    private readonly nint _object;

    static TestObject() => NativeLibrary.SetDllImportResolver(typeof(TestObject).Assembly,
        static (name, _, _) => name == LibbpfResolver.Name ? LibbpfResolver.Load().Handle : 0);

    internal TestObject(string name, params (string Map, uint Entries)[] sizes)
    {
        byte[] bytes = Image(name);
        fixed (byte* p = bytes) _object = Open(p, (nuint)bytes.Length, null);
        Assert.NotEqual(0, _object);
        foreach (var (map, entries) in sizes) Assert.Equal(0, SetMaxEntries(FindMap(_object, map), entries));
        int error = Load(_object);
        if (error == 0) return;
        Dispose();
        Assert.Fail($"The kernel refuses {name}.bpf.o: error {error}; libbpf wrote the reason to standard error.");
    }

    public void Dispose() => Close(_object);

    /// <summary>The object as it was compiled.</summary>
    internal static byte[] Image(string name)
    {
        using Stream resource = typeof(TestObject).Assembly.GetManifestResourceStream($"bpf/{name}.bpf.o")!;
        byte[] bytes = new byte[resource.Length];
        resource.ReadExactly(bytes);
        return bytes;
    }

    /// <summary>What each program of an object is on, as its section says.</summary>
    internal static IReadOnlyDictionary<string, string> Sections(byte[] image)
    {
        var sections = new Dictionary<string, string>();
        fixed (byte* p = image)
        {
            using BpfObjectHandle opened = Libbpf.ObjectOpen(p, (nuint)image.Length, null);
            Assert.False(opened.IsInvalid);
            for (nint program = Libbpf.NextProgram(opened, 0); program != 0; program = Libbpf.NextProgram(opened, program))
                sections.Add(Libbpf.ProgramName(program), Marshal.PtrToStringUTF8(SectionName(program))!);
        }
        return sections;
    }

    /// <summary>Runs a program on a packet.</summary>
    internal int RunOnPacket(string program, ReadOnlySpan<byte> packet)
    {
        fixed (byte* p = packet) return Run(program, new TestRun { DataIn = p, DataSizeIn = (uint)packet.Length, Repeat = 1 });
    }

    /// <summary>Runs a raw tracepoint program on the first CPU.</summary>
    internal int RunWith(string program, params ReadOnlySpan<ulong> arguments)
    {
        fixed (ulong* p = arguments) return Run(program, new TestRun { ContextIn = p, ContextSizeIn = (uint)(arguments.Length * sizeof(ulong)), Flags = RunOnCpu });
    }

    /// <summary>Attaches a program to what its section names, until it is disposed of.</summary>
    internal IDisposable Attach(string program)
    {
        nint link = AttachProgram(FindProgram(_object, program));
        Assert.NotEqual(0, link);
        return new Link(link);
    }

    /// <summary>A map's value, of every CPU where it is kept per CPU; null when the key is not there.</summary>
    internal byte[]? Read(string map, uint key)
    {
        byte[] value = new byte[64 * 1024];
        fixed (byte* p = value) return Lookup(Descriptor(map), &key, p) == 0 ? value : null;
    }

    internal void Write<T>(string map, uint key, T value)
        where T : unmanaged => Assert.Equal(0, Update(Descriptor(map), &key, &value, 0));

    internal void Remove(string map, uint key) => Assert.Equal(0, Delete(Descriptor(map), &key));

    private int Run(string program, TestRun run)
    {
        nint found = FindProgram(_object, program);
        Assert.NotEqual(0, found);
        run.Size = (nuint)sizeof(TestRun);
        int error = RunProgram(ProgramDescriptor(found), &run);
        Assert.True(error == 0, $"The kernel does not run '{program}': error {error}.");
        return (int)run.Result;
    }

    private int Descriptor(string map)
    {
        nint found = FindMap(_object, map);
        Assert.NotEqual(0, found);
        return MapDescriptor(found);
    }

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__open_mem")]
    private static partial nint Open(byte* bytes, nuint size, void* options);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__load")]
    private static partial int Load(nint bpfObject);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__close")]
    private static partial void Close(nint bpfObject);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__find_map_by_name", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint FindMap(nint bpfObject, string name);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__fd")]
    private static partial int MapDescriptor(nint map);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map__set_max_entries")]
    private static partial int SetMaxEntries(nint map, uint entries);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_object__find_program_by_name", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint FindProgram(nint bpfObject, string name);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_program__section_name")]
    private static partial nint SectionName(nint program);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_program__fd")]
    private static partial int ProgramDescriptor(nint program);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_program__attach")]
    private static partial nint AttachProgram(nint program);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_link__destroy")]
    private static partial int Detach(nint link);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_prog_test_run_opts")]
    private static partial int RunProgram(int program, TestRun* options);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map_lookup_elem")]
    private static partial int Lookup(int map, void* key, void* value);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map_update_elem")]
    private static partial int Update(int map, void* key, void* value, ulong flags);

    [LibraryImport(LibbpfResolver.Name, EntryPoint = "bpf_map_delete_elem")]
    private static partial int Delete(int map, void* key);

    private sealed class Link(nint link) : IDisposable
    {
        public void Dispose() => Assert.Equal(0, Detach(link));
    }

    // struct bpf_test_run_opts, tools/lib/bpf/bpf.h
    [StructLayout(LayoutKind.Sequential)]
    private struct TestRun
    {
        internal nuint Size;
        internal byte* DataIn;
        internal byte* DataOut;
        internal uint DataSizeIn;
        internal uint DataSizeOut;
        internal ulong* ContextIn;
        internal ulong* ContextOut;
        internal uint ContextSizeIn;
        internal uint ContextSizeOut;
        internal uint Result;
        internal int Repeat;
        internal uint Duration;
        internal uint Flags;
        internal uint Cpu;
        internal uint BatchSize;
    }
}
