using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace KubeSkoop.Probes.Ebpf.Kernel;

/// <summary>BTF that cannot be read: where and why.</summary>
internal sealed class BtfException(string message) : Exception(message);

/// <summary>
/// Type information of a kernel, a module or a BPF object (BTF): names of enumerators, arguments of tracepoints, layout of structs. Documentation/bpf/btf.rst.
/// </summary>
/// <remarks>
/// Everything is checked once, when it is taken over; what is asked for later cannot run out of the bytes. Types are found by a walk over an index
/// of their offsets: questions are few, and an index by name would cost more than all of them.
/// </remarks>
internal sealed class Btf
{
    internal const string KernelPath = "/sys/kernel/btf/vmlinux";

    private const ushort Magic = 0xeb9f;
    private const int HeaderSize = 24;
    private const int TypeSize = 12;
    private const int MostBytes = 256 * 1024 * 1024;
    private const int MostSteps = 64; // through typedefs, pointers and the like; real chains have a handful

    private readonly byte[] _bytes;
    private readonly int _strings;
    private readonly int _stringsEnd;
    private readonly int[] _offsets;

    private Btf(byte[] bytes, int strings, int stringsEnd, int[] offsets)
    {
        _bytes = bytes;
        _strings = strings;
        _stringsEnd = stringsEnd;
        _offsets = offsets;
    }

    private enum Kind
    {
        Integer = 1,
        Pointer,
        Array,
        Struct,
        Union,
        Enum,
        Forward,
        Typedef,
        Volatile,
        Const,
        Restrict,
        Function,
        FunctionPrototype,
        Variable,
        Section,
        Float,
        DeclarationTag,
        TypeTag,
        Enum64,
    }

    /// <summary>A member of a struct, in bytes from its begin.</summary>
    internal readonly record struct Member(string Name, int Offset, int Size);

    /// <summary>Types there are.</summary>
    internal int Count => _offsets.Length;

    /// <summary>The running kernel's, or <see langword="null"/> where it publishes none.</summary>
    /// <exception cref="BtfException">It cannot be read.</exception>
    internal static Btf? OfKernel(string path = KernelPath)
    {
        try
        {
            return Parse(File.ReadAllBytes(path));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BtfException($"{path}: {e.Message}");
        }
    }

    /// <summary>Takes over the bytes of a whole BTF.</summary>
    /// <exception cref="BtfException">They are no BTF, or end in the middle.</exception>
    internal static Btf Parse(byte[] bytes)
    {
        ReadOnlySpan<byte> all = bytes;
        if (all.Length is < HeaderSize or > MostBytes) throw new BtfException($"BTF of {all.Length} bytes");
        if (BinaryPrimitives.ReadUInt16LittleEndian(all) != Magic) throw new BtfException("no BTF of this byte order");
        uint header = U32(all, 4), typesAt = U32(all, 8), typesSize = U32(all, 12), stringsAt = U32(all, 16), stringsSize = U32(all, 20);
        if (header < HeaderSize || (ulong)header + typesAt + typesSize > (ulong)all.Length || (ulong)header + stringsAt + stringsSize > (ulong)all.Length)
            throw new BtfException("BTF with sections outside of it");
        int strings = (int)(header + stringsAt), stringsEnd = (int)(strings + stringsSize);
        if (stringsSize == 0 || all[stringsEnd - 1] != 0) throw new BtfException("BTF whose strings have no end");

        var offsets = new List<int>((int)(typesSize / 24));
        int at = (int)(header + typesAt), end = (int)(at + typesSize);
        while (at < end)
        {
            int rest = end - at;
            int size = rest < TypeSize ? -1 : SizeOf(all[at..end]);
            if (size < 0 || size > rest) throw new BtfException(string.Create(CultureInfo.InvariantCulture, $"BTF with a broken type {offsets.Count + 1}"));
            if (U32(all, at) >= stringsSize) throw new BtfException(string.Create(CultureInfo.InvariantCulture, $"BTF with a nameless type {offsets.Count + 1}"));
            offsets.Add(at);
            at += size;
        }
        return new Btf(bytes, strings, stringsEnd, [.. offsets]);
    }

    /// <summary>The names of an enumeration by value; <see langword="null"/> when there is no such.</summary>
    internal Dictionary<long, string>? Enumerators(string name)
    {
        int type = Find(name, Kind.Enum, Kind.Enum64);
        if (type == 0) return null;
        var names = new Dictionary<long, string>();
        bool wide = KindOf(type) == Kind.Enum64, signed = (Info(type) & 0x80000000) != 0;
        int at = _offsets[type - 1] + TypeSize;
        for (int i = 0; i < CountOf(type); i++, at += wide ? 12 : 8)
        {
            long value = wide ? (long)(U32(_bytes, at + 4) | (ulong)U32(_bytes, at + 8) << 32) : signed ? (int)U32(_bytes, at + 4) : U32(_bytes, at + 4);
            names.TryAdd(value, StringAt(U32(_bytes, at)));
        }
        return names;
    }

    /// <summary>The values, by name, of the enumeration that has an enumerator of this name, for enumerations without a name of their own; <see langword="null"/> when there is no such.</summary>
    internal Dictionary<string, long>? EnumerationWith(string enumerator)
    {
        byte[] wanted = Encoding.UTF8.GetBytes(enumerator + "\0");
        for (int type = 1; type <= _offsets.Length; type++)
        {
            if (KindOf(type) != Kind.Enum) continue;
            int at = _offsets[type - 1] + TypeSize;
            for (int i = 0; i < CountOf(type); i++)
            {
                uint name = U32(_bytes, at + 8 * i);
                if (name >= (uint)(_stringsEnd - _strings) || !_bytes.AsSpan(_strings + (int)name, _stringsEnd - _strings - (int)name).StartsWith(wanted)) continue;
                var values = new Dictionary<string, long>();
                for (int other = 0; other < CountOf(type); other++) values.TryAdd(StringAt(U32(_bytes, at + 8 * other)), (int)U32(_bytes, at + 8 * other + 4));
                return values;
            }
        }
        return null;
    }

    /// <summary>How many arguments a tracepoint has, its own context not counted; <see langword="null"/> when there is no such.</summary>
    internal int? TracepointArguments(string name)
    {
        int type = Find($"btf_trace_{name}", Kind.Typedef);
        for (int steps = 0; type != 0 && steps < MostSteps; steps++)
        {
            if (KindOf(type) == Kind.FunctionPrototype) return Math.Max(0, CountOf(type) - 1);
            if (KindOf(type) is not (Kind.Typedef or Kind.Pointer or Kind.Const or Kind.Volatile)) break;
            type = Reference(type);
        }
        return null;
    }

    /// <summary>Whether there is a function of this name that can be hooked.</summary>
    internal bool HasFunction(string name) => FunctionId(name) != 0;

    /// <summary>The number of a function, or 0.</summary>
    internal int FunctionId(string name) => Find(name, Kind.Function);

    /// <summary>The number of a tracepoint's type, or 0.</summary>
    internal int TracepointId(string name) => Find($"btf_trace_{name}", Kind.Typedef);

    /// <summary>Size and members of a struct, the unnamed ones opened up; <see langword="null"/> when there is no such.</summary>
    internal (int Size, IReadOnlyList<Member> Members)? Struct(string name)
    {
        int type = Find(name, Kind.Struct);
        if (type == 0) return null;
        var members = new List<Member>();
        AddMembers(type, 0, members, 0);
        return ((int)U32(_bytes, _offsets[type - 1] + 8), members);
    }

    private void AddMembers(int type, int offset, List<Member> members, int depth)
    {
        if (depth > 8) return;
        bool bits = (Info(type) & 0x80000000) != 0; // the upper byte of a member's offset is then the size of its bit field
        int at = _offsets[type - 1] + TypeSize;
        for (int i = 0; i < CountOf(type); i++, at += TypeSize)
        {
            string name = StringAt(U32(_bytes, at));
            int member = (int)U32(_bytes, at + 4);
            int begins = offset + (int)((bits ? U32(_bytes, at + 8) & 0xffffff : U32(_bytes, at + 8)) / 8);
            if (name.Length == 0 && member > 0 && member <= Count && KindOf(member) is Kind.Struct or Kind.Union) AddMembers(member, begins, members, depth + 1);
            else members.Add(new Member(name, begins, SizeOf(member)));
        }
    }

    private int SizeOf(int type)
    {
        long elements = 1;
        for (int steps = 0; type > 0 && type <= Count && steps < MostSteps; steps++)
        {
            switch (KindOf(type))
            {
                case Kind.Integer or Kind.Struct or Kind.Union or Kind.Enum or Kind.Enum64 or Kind.Float:
                    return (int)Math.Min(int.MaxValue, elements * U32(_bytes, _offsets[type - 1] + 8));
                case Kind.Pointer:
                    return (int)Math.Min(int.MaxValue, elements * 8);
                case Kind.Array:
                    elements = Math.Min(int.MaxValue, elements * U32(_bytes, _offsets[type - 1] + TypeSize + 8));
                    type = (int)U32(_bytes, _offsets[type - 1] + TypeSize);
                    break;
                default:
                    type = Reference(type);
                    break;
            }
        }
        return 0;
    }

    private int Find(string name, Kind kind, Kind or = 0)
    {
        byte[] wanted = Encoding.UTF8.GetBytes(name + "\0");
        for (int type = 1; type <= _offsets.Length; type++)
        {
            Kind found = KindOf(type);
            if ((found != kind && found != or) || found == 0) continue;
            if (_bytes.AsSpan(_strings + (int)U32(_bytes, _offsets[type - 1]), _stringsEnd - _strings - (int)U32(_bytes, _offsets[type - 1])).StartsWith(wanted)) return type;
        }
        return 0;
    }

    private uint Info(int type) => U32(_bytes, _offsets[type - 1] + 4);

    private Kind KindOf(int type) => (Kind)(Info(type) >> 24 & 0x1f);

    private int CountOf(int type) => (int)(Info(type) & 0xffff);

    // The type a pointer points to, a typedef stands for, and so on; 0 when it lies outside.
    private int Reference(int type)
    {
        uint to = U32(_bytes, _offsets[type - 1] + 8);
        return to <= (uint)Count ? (int)to : 0;
    }

    private string StringAt(uint offset)
    {
        if (offset >= (uint)(_stringsEnd - _strings)) return string.Empty;
        ReadOnlySpan<byte> text = _bytes.AsSpan(_strings + (int)offset, _stringsEnd - _strings - (int)offset);
        return Encoding.UTF8.GetString(text[..text.IndexOf((byte)0)]);
    }

    private static int SizeOf(ReadOnlySpan<byte> type)
    {
        uint info = U32(type, 4);
        int count = (int)(info & 0xffff);
        return TypeSize + (Kind)(info >> 24 & 0x1f) switch
        {
            Kind.Integer or Kind.Variable or Kind.DeclarationTag => 4,
            Kind.Array => 12,
            Kind.Struct or Kind.Union or Kind.Section or Kind.Enum64 => 12 * count,
            Kind.Enum or Kind.FunctionPrototype => 8 * count,
            Kind.Pointer or Kind.Forward or Kind.Typedef or Kind.Volatile or Kind.Const or Kind.Restrict or Kind.Function or Kind.Float or Kind.TypeTag => 0,
            _ => -TypeSize - 1, // a kind of a later kernel: its size is not known, nor what follows it
        };
    }

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);
}
