using System.Globalization;
using KubeSkoop.Probes.Procfs.Interop;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs.Sources;

/// <summary>
/// One file of <c>/proc/PID/net</c>, of every namespace: kept open, read and parsed at most once per round for all probes
/// that take columns from it.
/// </summary>
internal sealed class NetTable : IDisposable
{
    private const int RoundsBetweenOpens = 32;

    private readonly ProcNamespaceSource _source;
    private readonly string _file;
    private readonly ReadBuffer _buffer = new();
    private readonly PerNamespace<NetTableRow> _rows;
    private IDisposable? _lease;
    private int _users;

    /// <param name="source">The namespaces.</param>
    /// <param name="file">The file's name below <c>/proc/PID/net</c>.</param>
    /// <param name="key">What rows of probes that have one row per IP version carry beside the namespace.</param>
    /// <param name="layout">The file's format.</param>
    internal NetTable(ProcNamespaceSource source, string file, SampleAttribute key, ITableLayout layout)
    {
        _source = source;
        _file = file;
        Layout = layout;
        _rows = new PerNamespace<NetTableRow>(ns => new NetTableRow(ns, new SampleSubject(ns, key), layout.SlotCount));
    }

    internal ITableLayout Layout { get; }

    /// <summary>Held while rows are asked for and their slots are used.</summary>
    internal Lock Gate { get; } = new();

    /// <summary>Begins to use the table; the first user makes the namespaces be watched.</summary>
    internal void Acquire()
    {
        lock (Gate)
        {
            if (_users == 0) _lease = _source.Acquire();
            _users++;
        }
    }

    /// <summary>Ends a use; the last one closes every file.</summary>
    internal void Release()
    {
        lock (Gate)
        {
            if (_users == 0 || --_users > 0) return;
            _rows.Dispose();
            _lease?.Dispose();
            _lease = null;
        }
    }

    /// <summary>A row for each namespace there is now; under <see cref="Gate"/>.</summary>
    internal ReadOnlySpan<NetTableRow> Rows => _rows.For(_source.Current);

    /// <summary>The row's slots as of this round; under <see cref="Gate"/>.</summary>
    internal bool TryRead<TRecord>(NetTableRow row, SampleBatch<TRecord> batch, out ReadOnlySpan<Reading> slots)
        where TRecord : struct
    {
        if (row.Round != batch.Round.Id)
        {
            row.Round = batch.Round.Id;
            row.Outcome = Read(row);
        }
        slots = row.Slots;
        switch (row.Outcome)
        {
            case NetTableOutcome.Ok:
                return true;
            case NetTableOutcome.Absent:
                return false;
            case NetTableOutcome.Vanished:
                batch.Skip(SkipReason.Vanished);
                return false;
            case NetTableOutcome.Denied:
                batch.Skip(SkipReason.Denied, row.Problem);
                return false;
            default:
                batch.Skip(SkipReason.Malformed, row.Problem);
                return false;
        }
    }

    public void Dispose()
    {
        lock (Gate)
        {
            _users = Math.Min(_users, 1);
            Release();
        }
    }

    private NetTableOutcome Read(NetTableRow row)
    {
        if (row.File is null)
        {
            if (row.RoundsUntilOpen > 0)
            {
                row.RoundsUntilOpen--;
                return row.Outcome;
            }
            ProcFile? opened = _source.OpenNetFile(row.Namespace, _file, out Errno why);
            if (opened is null)
            {
                if (row.Namespace.Ended.IsCancellationRequested || why == Errno.NoProcess) return NetTableOutcome.Vanished;
                row.RoundsUntilOpen = RoundsBetweenOpens;
                if (why == Errno.NoEntry) return NetTableOutcome.Absent; // IPv6 off, module not loaded
                row.Problem = Problem(row, why.Describe());
                return NetTableOutcome.Denied;
            }
            row.Take(opened);
        }
        ReadOutcome outcome = row.File!.Read(_buffer, singleRecord: true, out ReadOnlySpan<byte> text, out Errno error);
        if (outcome != ReadOutcome.Ok)
        {
            row.CloseFile();
            if (outcome == ReadOutcome.Vanished) return NetTableOutcome.Vanished;
            row.Problem = Problem(row, outcome == ReadOutcome.TooLarge ? $"has more than {_buffer.Limit} bytes" : error.Describe());
            return outcome == ReadOutcome.TooLarge ? NetTableOutcome.Malformed : NetTableOutcome.Denied;
        }
        if (Layout.TryParse(text, row.Slots, out ParseFault fault))
        {
            row.Fault = default;
            return NetTableOutcome.Ok;
        }
        if (fault != row.Fault)
        {
            row.Fault = fault;
            row.Problem = Problem(row, fault.ToString());
        }
        return NetTableOutcome.Malformed;
    }

    private string Problem(NetTableRow row, string why) =>
        string.Create(CultureInfo.InvariantCulture, $"/proc/{row.Namespace.ProcessId}/net/{_file} of {row.Namespace}: {why}");
}

internal enum NetTableOutcome : byte
{
    Ok,

    /// <summary>The namespace has no such file: nothing is wrong, and nothing is published.</summary>
    Absent,
    Vanished,
    Denied,
    Malformed,
}

/// <summary>A table's file in one namespace. Disposed of on the watching thread when the namespace ends.</summary>
internal sealed class NetTableRow(NetworkNamespace ns, SampleSubject subject, int slots) : IDisposable
{
    private volatile bool _disposed;

    internal NetworkNamespace Namespace => ns;

    /// <summary>The namespace and the table's IP version.</summary>
    internal SampleSubject Subject => subject;

    internal ProcFile? File { get; private set; }

    internal Reading[] Slots { get; } = new Reading[slots];

    internal long Round { get; set; }

    internal NetTableOutcome Outcome { get; set; }

    internal ParseFault Fault { get; set; }

    internal string? Problem { get; set; }

    internal int RoundsUntilOpen { get; set; }

    internal void Take(ProcFile file)
    {
        File = file;
        if (_disposed) file.Dispose(); // ended while it was being opened
    }

    internal void CloseFile()
    {
        File?.Dispose();
        File = null;
    }

    public void Dispose()
    {
        _disposed = true;
        File?.Dispose();
    }
}
