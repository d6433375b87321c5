using System.Runtime.InteropServices;
using System.Text;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Loading;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>Makes rows of what the programs count by disk and operation. A disk that is gone takes its rows with it.</summary>
/// <param name="map">The map 'disks'.</param>
/// <param name="clock">When it is time to look which disks there are.</param>
internal sealed class DiskCounts(nint map, TimeProvider clock)
{
    private const string Disks = "/sys/block";
    private static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(30);

    private readonly CountsMap<BioLatencyKey> _map = new(map);
    private readonly Dictionary<BioLatencyKey, SampleSubject> _subjects = [];
    private long _lookedAt = clock.GetTimestamp();

    /// <summary>Adds a row for each disk and operation.</summary>
    internal void Read(SampleBatch<BioLatencyRecord> batch)
    {
        if (clock.GetElapsedTime(_lookedAt) > LookEvery)
        {
            _lookedAt = clock.GetTimestamp();
            ForgetGone();
        }
        _map.Read();
        for (int i = 0; i < _map.Count; i++)
        {
            // struct biolatency_counts, bpf/biolatency.h
            ReadOnlySpan<ulong> counts = _map.Sums(i);
            ref BioLatencyRecord record = ref batch.Add(SubjectOf(_map.Keys[i]));
            record.Operations = counts[0];
            record.Bytes = counts[1];
            record.Errors = counts[2];
            counts = counts[3..];
            HistogramWords.Read(counts, 0, out record.Total);
            HistogramWords.Read(counts, HistogramWords.Length, out record.Queue);
            HistogramWords.Read(counts, HistogramWords.Length * 2, out record.Device);
        }
    }

    // A disk that comes back under the same name meanwhile goes on.
    private void ForgetGone()
    {
        HashSet<string> there;
        try
        {
            there = [.. Directory.EnumerateFileSystemEntries(Disks).Select(static path => Path.GetFileName(path))];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return; // without the list, nothing is known to be gone
        }
        _map.Read();
        for (int i = 0; i < _map.Count; i++)
        {
            BioLatencyKey key = _map.Keys[i];
            // A name with a slash has its directory under an exclamation mark.
            if (there.Contains(Encoding.UTF8.GetString(key.Name).Replace('/', '!'))) continue;
            _map.Delete(key);
            _subjects.Remove(key);
        }
    }

    private SampleSubject SubjectOf(in BioLatencyKey key)
    {
        if (_subjects.TryGetValue(key, out SampleSubject? subject)) return subject;
        subject = new SampleSubject(null, new SampleAttribute(BioLatencyProbe.DiskAttribute, RawEvent.Text(key.Name)),
            new SampleAttribute(BioLatencyProbe.OperationAttribute, BioLatencyEvent.Name((BioLatencyOperation)key.Operation)));
        _subjects.Add(key, subject);
        return subject;
    }
}

/// <summary>struct biolatency_key, bpf/biolatency.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct BioLatencyKey : IEquatable<BioLatencyKey>
{
    internal DiskName Disk;
    internal uint Operation;
    private uint _pad;

    /// <summary>The disk's name without what follows its end.</summary>
    [System.Diagnostics.CodeAnalysis.UnscopedRef]
    internal readonly ReadOnlySpan<byte> Name
    {
        get
        {
            ReadOnlySpan<byte> all = Disk;
            int end = all.IndexOf((byte)0);
            return end < 0 ? all : all[..end];
        }
    }

    public readonly bool Equals(BioLatencyKey other) => Operation == other.Operation && Name.SequenceEqual(other.Name);

    public override readonly bool Equals(object? obj) => obj is BioLatencyKey other && Equals(other);

    public override readonly int GetHashCode()
    {
        var hash = default(HashCode);
        hash.AddBytes(Name);
        hash.Add(Operation);
        return hash.ToHashCode();
    }
}

/// <summary>struct biolatency_settings, bpf/biolatency.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct BioLatencySettings
{
    internal uint FlushSequence;
    internal uint Statistics;
    internal uint StartsTold;
    private uint _pad;
}
