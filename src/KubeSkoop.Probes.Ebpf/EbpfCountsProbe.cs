using KubeSkoop.Probes.Ebpf.Loading;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>Base of BPF probes whose numbers are 64-bit counters by network namespace, in a map called <c>counts</c>.</summary>
/// <typeparam name="TRecord">The typed record.</typeparam>
/// <typeparam name="TEvent">The event record.</typeparam>
/// <typeparam name="TOptions">The settings.</typeparam>
public abstract class EbpfCountsProbe<TRecord, TEvent, TOptions> : EbpfProbe<TRecord, TEvent, TOptions>
    where TRecord : struct
    where TEvent : ProbeEvent
    where TOptions : EbpfProbeOptions, new()
{
    private NamespaceCounts? _counts;

    private protected EbpfCountsProbe(ProbeDescriptor descriptor, EbpfPrograms programs, TOptions? options, TimeProvider? clock)
        : base(descriptor, programs, options, clock)
    {
    }

    private protected override void Loaded(BpfObject loaded) => _counts = new NamespaceCounts(loaded.Map("counts"), Programs.Alive);

    private protected override void Unloading()
    {
        _counts?.Dispose();
        _counts = null;
    }

    /// <summary>Fills a record with the counters of its namespace, in the order of the program's struct.</summary>
    private protected abstract void Write(ref TRecord record, ReadOnlySpan<ulong> counts);

    /// <inheritdoc />
    protected sealed override void Read(SampleBatch<TRecord> batch)
    {
        NoteProblems(batch);
        IReadOnlyList<NetworkNamespace> snapshot = Programs.Namespaces.Current;
        _counts!.Read(snapshot);
        for (int i = 0; i < snapshot.Count; i++) // an enumerator would be an object per sample
            if (IsWanted(snapshot[i].Inode) && _counts.TryGet(snapshot[i], out ReadOnlySpan<ulong> counts)) Write(ref batch.Add(snapshot[i].Subject), counts);
        if (_counts.Unattributed.ContainsAnyExcept(0ul)) Write(ref batch.Add(SampleSubject.Node), _counts.Unattributed);
    }
}
