using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// One file of <c>/proc/PID/net</c>, of every namespace: kept open, read and parsed at most once per round for all probes
/// that take columns from it. Where a faster source has the same numbers, they come from there, and the file is not even opened.
/// </summary>
internal sealed class NetTable : IDisposable
{
    /// <summary>What a probe's status calls the files.</summary>
    internal const string FileSource = "procfs";

    /// <summary>What the probes of these tables say of the faster source.</summary>
    internal const string KernelSource = "with the eBPF package instead: the counters those files show (struct netns_mib), of all namespaces in one pass of a BPF program";

    /// <summary>When it is used.</summary>
    internal const string SourceNote =
        "The counters come from a BPF program where the package KubeSkoop.Probes.Ebpf is added and the kernel allows it (Linux 5.19 or later with BTF; CAP_BPF and CAP_PERFMON): the same numbers, many times faster, and no file is kept open. The probe's status says which source it has, and why not the other.";

    private readonly ProcNamespaceSource _source;
    private readonly NetTableGroup? _group;
    private readonly string _file;
    private readonly SampleAttribute? _key;
    private readonly ReadBuffer _buffer = new();
    private readonly PerNamespace<NetTableRow> _rows;
    private IDisposable? _lease;
    private int _users;

    /// <param name="source">The namespaces.</param>
    /// <param name="file">The file's name below <c>/proc/PID/net</c>.</param>
    /// <param name="layout">The file's format.</param>
    /// <param name="key">What rows carry beside the namespace, in tables of which there is one per IP version.</param>
    /// <param name="group">The tables that it has a faster source in common with.</param>
    internal NetTable(ProcNamespaceSource source, string file, ITableLayout layout, SampleAttribute? key = null, NetTableGroup? group = null)
    {
        _source = source;
        _group = group;
        _file = file;
        _key = key;
        Layout = layout;
        _rows = new PerNamespace<NetTableRow>(Make);
        group?.Add(this);
    }

    internal ITableLayout Layout { get; }

    internal ProcNamespaceSource Namespaces => _source;

    /// <summary>Held while rows are asked for and their slots are used.</summary>
    internal Lock Gate { get; } = new();

    /// <summary>Where its numbers come from, for a probe's status.</summary>
    internal string Describe() => _group?.Describe() ?? FileSource;

    /// <summary>Begins to use the table; the first user makes the namespaces be watched.</summary>
    internal void Acquire()
    {
        lock (Gate)
        {
            if (_users == 0) _lease = _source.Acquire();
            _users++;
        }
        _group?.Acquire();
    }

    /// <summary>Ends a use; the last one closes every file.</summary>
    internal void Release()
    {
        lock (Gate)
        {
            if (_users == 0) return;
            if (--_users == 0)
            {
                _rows.Dispose();
                _lease?.Dispose();
                _lease = null;
            }
        }
        _group?.Release();
    }

    /// <summary>A row of its own for a namespace, beside those that are kept.</summary>
    internal NetTableRow Make(NetworkNamespace ns) => new(new NetFile(_source, ns, _file), _key is { } key ? new SampleSubject(ns, key) : ns.Subject, Layout.SlotCount);

    /// <summary>A row for each namespace there is now; under <see cref="Gate"/>.</summary>
    internal ReadOnlySpan<NetTableRow> Rows => _rows.For(_source.Current);

    /// <summary>A row for each namespace of a snapshot, so that the rows of two tables stand in one order; under <see cref="Gate"/>.</summary>
    internal ReadOnlySpan<NetTableRow> RowsOf(IReadOnlyList<NetworkNamespace> snapshot) => _rows.For(snapshot);

    /// <summary>The row's slots as of this round; under <see cref="Gate"/>.</summary>
    internal bool TryRead<TRecord>(NetTableRow row, SampleBatch<TRecord> batch, out ReadOnlySpan<Reading> slots)
        where TRecord : struct
    {
        if (row.Round != batch.Round.Id)
        {
            row.Round = batch.Round.Id;
            row.Outcome = _group?.Source?.TryFill(this, row, row.Round) ?? Read(row);
        }
        slots = row.Slots;
        return batch.Note(row.Outcome, row.File);
    }

    /// <summary>Reads the row's file outside any round, to see whether it can be read; under <see cref="Gate"/>.</summary>
    internal NetFileOutcome Look(NetTableRow row)
    {
        row.Round = 0;
        return row.Outcome = Read(row);
    }

    public void Dispose()
    {
        while (true)
        {
            lock (Gate)
                if (_users == 0) return;
            Release();
        }
    }

    private NetFileOutcome Read(NetTableRow row)
    {
        NetFileOutcome outcome = row.File.Read(_buffer, singleRecord: true, out ReadOnlySpan<byte> text);
        if (outcome != NetFileOutcome.Ok) return outcome;
        if (!Layout.TryParse(text, row.Slots, out ParseFault fault)) return row.File.Malformed(fault);
        row.File.Understood();
        return NetFileOutcome.Ok;
    }
}

/// <summary>A table's file in one namespace. Disposed of on the watching thread when the namespace ends.</summary>
internal sealed class NetTableRow(NetFile file, SampleSubject subject, int slots) : IDisposable
{
    internal NetworkNamespace Namespace => file.Namespace;

    /// <summary>The namespace, and the table's IP version where it has one.</summary>
    internal SampleSubject Subject => subject;

    internal NetFile File => file;

    internal Reading[] Slots { get; } = new Reading[slots];

    internal long Round { get; set; }

    internal NetFileOutcome Outcome { get; set; }

    /// <summary>What a faster source knows the namespace by; inode numbers come round again.</summary>
    internal ulong Cookie { get; set; }

    public void Dispose() => file.Dispose();
}
