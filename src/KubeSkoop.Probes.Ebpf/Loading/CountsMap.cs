using KubeSkoop.Probes.Ebpf.Interop;

namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>
/// A hash map whose values are nothing but 64-bit counters, read whole, and summed over CPUs where each has its own. Reads in batches, into buffers it keeps.
/// </summary>
/// <typeparam name="TKey">The key, as in the program's header.</typeparam>
internal sealed unsafe class CountsMap<TKey>
    where TKey : unmanaged
{
    private const int PerCpuHash = 5; // enum bpf_map_type, include/uapi/linux/bpf.h
    private const int NoEntry = 2;
    private const int NoSpace = 28;
    private const int TokenBytes = 64; // at least a key

    private readonly int _descriptor;
    private readonly int _cpus;
    private readonly int _words;
    private readonly byte[] _token = new byte[TokenBytes];
    private readonly byte[] _next = new byte[TokenBytes];
    private TKey[] _batchKeys;
    private ulong[] _batchValues;
    private TKey[] _keys;
    private ulong[] _sums;

    /// <summary>Reads the map of a loaded object.</summary>
    internal CountsMap(nint map)
    {
        _descriptor = Libbpf.MapDescriptor(map);
        _cpus = Libbpf.MapType(map) == PerCpuHash ? Libbpf.PossibleCpus() : 1;
        uint value = Libbpf.MapValueSize(map);
        if (Libbpf.MapKeySize(map) != (uint)sizeof(TKey) || value % sizeof(ulong) != 0 || sizeof(TKey) > TokenBytes || _cpus < 1)
            throw new InvalidOperationException($"The map {Libbpf.MapName(map)} has other keys or values than this reader.");
        _words = (int)(value / sizeof(ulong));
        int entries = (int)Libbpf.MapEntries(map);
        Room = entries;
        _keys = new TKey[Math.Min(entries, 64)];
        _sums = new ulong[_keys.Length * _words];
        _batchKeys = new TKey[Math.Min(entries, 64)];
        _batchValues = new ulong[_batchKeys.Length * _cpus * _words];
    }

    /// <summary>Keys found by the last <see cref="Read"/>.</summary>
    internal ReadOnlySpan<TKey> Keys => _keys.AsSpan(0, Count);

    /// <summary>Counters of each key.</summary>
    internal int Words => _words;

    /// <summary>How many keys there may be.</summary>
    internal int Room { get; }

    /// <summary>How many.</summary>
    internal int Count { get; private set; }

    /// <summary>The counters of a key, by its place in <see cref="Keys"/>.</summary>
    internal ReadOnlySpan<ulong> Sums(int index) => _sums.AsSpan(index * _words, _words);

    /// <summary>Reads the whole map.</summary>
    /// <exception cref="IOException">The kernel refuses.</exception>
    internal void Read()
    {
        Count = 0;
        bool first = true;
        while (true)
        {
            uint count = (uint)_batchKeys.Length;
            int error;
            fixed (byte* from = _token, next = _next)
            fixed (TKey* keys = _batchKeys)
            fixed (ulong* values = _batchValues)
                error = -Libbpf.LookupBatch(_descriptor, first ? null : from, next, keys, values, &count, null);
            if (error == NoSpace && _batchKeys.Length < 1 << 20)
            {
                // One bucket of the hash holds more than a batch.
                _batchKeys = new TKey[_batchKeys.Length * 2];
                _batchValues = new ulong[_batchKeys.Length * _cpus * _words];
                continue;
            }
            if (error is not (0 or NoEntry)) throw new IOException($"A map of counters cannot be read: {Errors.Name(error)}");
            Take((int)Math.Min(count, (uint)_batchKeys.Length));
            if (error == NoEntry) return;
            _next.CopyTo(_token, 0);
            first = false;
        }
    }

    /// <summary>Forgets a key.</summary>
    internal void Delete(TKey key) => _ = Libbpf.Delete(_descriptor, &key);

    private void Take(int count)
    {
        if (Count + count > _keys.Length)
        {
            int size = Math.Max(_keys.Length * 2, Count + count);
            Array.Resize(ref _keys, size);
            Array.Resize(ref _sums, size * _words);
        }
        for (int i = 0; i < count; i++)
        {
            _keys[Count] = _batchKeys[i];
            Span<ulong> sums = _sums.AsSpan(Count * _words, _words);
            sums.Clear();
            ReadOnlySpan<ulong> values = _batchValues.AsSpan(i * _cpus * _words, _cpus * _words);
            for (int cpu = 0; cpu < _cpus; cpu++)
                for (int word = 0; word < _words; word++) sums[word] += values[cpu * _words + word];
            Count++;
        }
    }
}

/// <summary>A per-CPU array with one element, summed over CPUs.</summary>
internal static unsafe class PerCpuElement
{
    /// <summary>Fills <paramref name="sums"/>; leaves zeros when the kernel does not answer.</summary>
    internal static void Read(int descriptor, Span<ulong> sums)
    {
        int cpus = Libbpf.PossibleCpus();
        sums.Clear();
        if (cpus < 1) return;
        Span<ulong> values = cpus * sums.Length <= 1024 ? stackalloc ulong[cpus * sums.Length] : new ulong[cpus * sums.Length];
        uint key = 0;
        fixed (ulong* p = values)
            if (Libbpf.Lookup(descriptor, &key, p) != 0) return;
        for (int cpu = 0; cpu < cpus; cpu++)
            for (int word = 0; word < sums.Length; word++) sums[word] += values[cpu * sums.Length + word];
    }
}
