using System.Globalization;
using KubeSkoop.Probes.Procfs.Interop;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// One file of one network namespace: opened when it is first read, kept, closed on the watching thread when the
/// namespace ends. One that is absent or refused is tried again now and then.
/// </summary>
/// <param name="source">The namespaces.</param>
/// <param name="ns">The namespace.</param>
/// <param name="file">The file's path below <c>/proc/PID/net</c>, or, of a sysctl, below <c>/proc/sys</c>.</param>
/// <param name="sysctl">Whether it is a sysctl: opened inside the namespace, and bound to it without pinning it.</param>
internal sealed class NetFile(ProcNamespaceSource source, NetworkNamespace ns, string file, bool sysctl = false) : IDisposable
{
    private const int ReadsBetweenOpens = 32;

    private ProcFile? _open;
    private ParseFault _fault;
    private int _readsUntilOpen;
    private NetFileOutcome _outcome;
    private volatile bool _disposed;

    internal NetworkNamespace Namespace => ns;

    /// <summary>What is wrong, for people; made once per problem.</summary>
    internal string? Problem { get; private set; }

    /// <summary>Reads the file as it is now. The text lives in <paramref name="buffer"/>.</summary>
    internal NetFileOutcome Read(ReadBuffer buffer, bool singleRecord, out ReadOnlySpan<byte> text)
    {
        text = default;
        if (_open is null && !TryOpen()) return _outcome;
        ReadOutcome outcome = _open!.Read(buffer, singleRecord, out text, out Errno error);
        if (outcome == ReadOutcome.Ok) return NetFileOutcome.Ok;
        _open.Dispose();
        _open = null;
        if (outcome == ReadOutcome.Vanished) return NetFileOutcome.Vanished;
        Problem = Describe(outcome == ReadOutcome.TooLarge ? $"has more than {buffer.Limit} bytes" : error.Describe());
        return outcome == ReadOutcome.TooLarge ? NetFileOutcome.Malformed : NetFileOutcome.Denied;
    }

    /// <summary>Says that the text could not be understood.</summary>
    internal NetFileOutcome Malformed(ParseFault fault)
    {
        if (fault != _fault)
        {
            _fault = fault;
            Problem = Describe(fault.ToString());
        }
        return NetFileOutcome.Malformed;
    }

    /// <summary>Says that the text was understood.</summary>
    internal void Understood() => _fault = default;

    public void Dispose()
    {
        _disposed = true;
        Volatile.Read(ref _open)?.Dispose();
    }

    private bool TryOpen()
    {
        if (_readsUntilOpen > 0)
        {
            _readsUntilOpen--;
            return false;
        }
        ProcFile? opened = sysctl ? source.OpenSysctl(ns, file, out Errno why) : source.OpenNetFile(ns, file, out why);
        if (opened is not null)
        {
            Volatile.Write(ref _open, opened);
            Interlocked.MemoryBarrier();
            if (_disposed) opened.Dispose(); // ended while it was being opened
            return true;
        }
        if (ns.Ended.IsCancellationRequested || why == Errno.NoProcess)
        {
            _outcome = NetFileOutcome.Vanished;
            return false;
        }
        // Descriptors come back at any moment; what is absent or refused stays so for a while.
        _readsUntilOpen = why is Errno.TooManyOpen or Errno.TooManyInSystem ? 0 : ReadsBetweenOpens;
        _outcome = why == Errno.NoEntry ? NetFileOutcome.Absent : NetFileOutcome.Denied; // absent: IPv6 off, module not loaded
        Problem = why == Errno.NoEntry ? null : Describe(why == Errno.NotPermitted ? "EPERM, CAP_SYS_ADMIN is missing to enter it" : why.Describe());
        return false;
    }

    private string Describe(string why) => sysctl ? $"/proc/sys/{file} of {ns}: {why}"
        : ns.ProcessId is { } pid ? string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/net/{file} of {ns}: {why}")
        : $"/proc/net/{file} of {ns}: {why}";
}

internal enum NetFileOutcome : byte
{
    Ok,

    /// <summary>The namespace has no such file: nothing is wrong, and nothing is published.</summary>
    Absent,
    Vanished,
    Denied,
    Malformed,
}

internal static class NetFileSkips
{
    /// <summary>Notes a row that is missing; whether there is one.</summary>
    internal static bool Note<TRecord>(this SampleBatch<TRecord> batch, NetFileOutcome outcome, NetFile file)
        where TRecord : struct
    {
        switch (outcome)
        {
            case NetFileOutcome.Ok:
                return true;
            case NetFileOutcome.Absent:
                return false;
            case NetFileOutcome.Vanished:
                batch.Skip(SkipReason.Vanished);
                return false;
            case NetFileOutcome.Denied:
                batch.Skip(SkipReason.Denied, file.Problem);
                return false;
            default:
                batch.Skip(SkipReason.Malformed, file.Problem);
                return false;
        }
    }
}
