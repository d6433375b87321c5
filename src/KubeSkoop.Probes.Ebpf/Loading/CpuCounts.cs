using System.Text;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>A per-CPU array whose values are nothing but 64-bit words, read whole, each CPU's apart. Reads into a buffer it keeps.</summary>
internal sealed unsafe class CpuCounts
{
    private const int PerCpuArray = 6; // enum bpf_map_type, include/uapi/linux/bpf.h
    private const int MostCpus = 16 * 1024;
    private const string CpuDirectory = "/sys/devices/system/cpu/";

    private readonly int _descriptor;
    private readonly uint _entries;
    private readonly int _words;
    private readonly int _cpus;
    private readonly Dictionary<int, int> _places = [];
    private readonly ulong[] _values;

    /// <summary>Reads the map of a loaded object.</summary>
    internal CpuCounts(nint map)
    {
        _descriptor = Libbpf.MapDescriptor(map);
        _entries = Libbpf.MapEntries(map);
        _cpus = Libbpf.PossibleCpus();
        uint value = Libbpf.MapValueSize(map);
        if (Libbpf.MapType(map) != PerCpuArray || value % sizeof(ulong) != 0 || _cpus < 1)
            throw new InvalidOperationException($"The map {Libbpf.MapName(map)} is no per-CPU array of words.");
        _words = (int)(value / sizeof(ulong));
        _values = new ulong[_entries * _cpus * _words];
        // The kernel writes the values of all CPUs there may ever be, one after the other; their numbers may have gaps.
        List<int> possible = Numbers("possible");
        for (int place = 0; place < _cpus; place++) _places[possible.Count == _cpus ? possible[place] : place] = place;
        Cpus = [.. _places.Keys.Order()];
        Online = [.. Numbers("online")];
    }

    /// <summary>The numbers of all CPUs this machine may ever have.</summary>
    internal IReadOnlyList<int> Cpus { get; }

    /// <summary>The numbers of those that were online when this was made.</summary>
    internal HashSet<int> Online { get; }

    /// <summary>The words of an element on one CPU, as the last <see cref="Read"/> found them.</summary>
    internal ReadOnlySpan<ulong> Of(uint element, int cpu) => _values.AsSpan((int)((element * _cpus + _places[cpu]) * _words), _words);

    /// <summary>Reads all elements.</summary>
    /// <exception cref="IOException">The kernel refuses.</exception>
    internal void Read()
    {
        fixed (ulong* values = _values)
        {
            for (uint key = 0; key < _entries; key++)
            {
                int error = -Libbpf.Lookup(_descriptor, &key, values + key * _cpus * _words);
                if (error != 0) throw new IOException($"A map of counters cannot be read: {Errors.Name(error)}");
            }
        }
    }

    private static List<int> Numbers(string file)
    {
        var numbers = new List<int>();
        try
        {
            CpuList.TryParse(Encoding.ASCII.GetBytes(File.ReadAllText(CpuDirectory + file)), numbers, MostCpus); // longer than it is, its size says
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Without it, CPUs are numbered from 0.
        }
        return numbers;
    }
}
