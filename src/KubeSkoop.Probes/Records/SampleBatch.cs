using System.Runtime.CompilerServices;

namespace KubeSkoop.Probes;

/// <summary>One row of a sample: about whom, and what.</summary>
/// <typeparam name="TRecord">The record.</typeparam>
public struct SampleRow<TRecord>
    where TRecord : struct
{
    /// <summary>The network namespace, pod, device or CPU the record is about.</summary>
    public SampleSubject Subject;

    /// <summary>The record.</summary>
    public TRecord Value;

    /// <summary>The network namespace; <see langword="null"/> for a row about the node.</summary>
    public readonly NetworkNamespace? Namespace => Subject.Namespace;

    /// <summary>The pod, if known.</summary>
    public readonly PodIdentity? Pod => Subject.Pod;
}

/// <summary>Why a row is missing.</summary>
public enum SkipReason
{
    /// <summary>The process, namespace or device ended meanwhile. Normal.</summary>
    Vanished,

    /// <summary>The kernel refused access.</summary>
    Denied,

    /// <summary>The kernel's text or message could not be understood.</summary>
    Malformed,
}

/// <summary>How many rows of a sample are missing, and why.</summary>
public struct SampleSkips
{
    /// <summary>Ended meanwhile.</summary>
    public int Vanished { get; internal set; }

    /// <summary>Refused by the kernel.</summary>
    public int Denied { get; internal set; }

    /// <summary>Not understood.</summary>
    public int Malformed { get; internal set; }

    /// <summary>The last problem in words, other than vanishing.</summary>
    public string? LastProblem { get; internal set; }

    /// <summary>Whether any row is missing.</summary>
    public readonly bool Any => (Vanished | Denied | Malformed) != 0;
}

/// <summary>A reusable buffer of rows. Not safe for use by two threads at once.</summary>
/// <typeparam name="TRecord">The record.</typeparam>
public sealed class SampleBatch<TRecord>
    where TRecord : struct
{
    private SampleRow<TRecord>[] _rows = [];
    private SampleSkips _skips;

    /// <summary>Number of rows.</summary>
    public int Count { get; private set; }

    /// <summary>The collection this sample belongs to.</summary>
    public SampleRound Round { get; private set; }

    /// <summary>The rows. Valid until the batch is filled again.</summary>
    public ReadOnlySpan<SampleRow<TRecord>> Rows => _rows.AsSpan(0, Count);

    /// <summary>The rows that are missing.</summary>
    public ref readonly SampleSkips Skips => ref _skips;

    /// <summary>Appends a cleared record about <paramref name="subject"/> and returns it for filling in place.</summary>
    public ref TRecord Add(SampleSubject subject)
    {
        ArgumentNullException.ThrowIfNull(subject);
        if (Count == _rows.Length) Array.Resize(ref _rows, Math.Max(16, _rows.Length * 2));
        ref SampleRow<TRecord> row = ref _rows[Count++];
        row.Subject = subject;
        row.Value = default;
        return ref row.Value;
    }

    /// <summary>Takes the last row back: what was to fill it turned out to be missing.</summary>
    public void RemoveLast()
    {
        ArgumentOutOfRangeException.ThrowIfZero(Count);
        _rows[--Count] = default;
    }

    /// <summary>Notes that a row is missing. Nothing is lost silently.</summary>
    /// <param name="reason">Why.</param>
    /// <param name="problem">For people; make it only when it is new, not in a hot loop.</param>
    public void Skip(SkipReason reason, string? problem = null)
    {
        switch (reason)
        {
            case SkipReason.Vanished: _skips.Vanished++; break;
            case SkipReason.Denied: _skips.Denied++; break;
            default: _skips.Malformed++; break;
        }
        if (problem is not null) _skips.LastProblem = problem;
    }

    /// <summary>Enumerates the rows by reference.</summary>
    public ReadOnlySpan<SampleRow<TRecord>>.Enumerator GetEnumerator() => Rows.GetEnumerator();

    /// <summary>Clears the batch for a new sample. Rows keep no subject alive beyond the next sample of the same size.</summary>
    internal void Begin(SampleRound round)
    {
        // A shrinking batch must not keep the subjects of dead namespaces reachable for ever.
        if (RuntimeHelpers.IsReferenceOrContainsReferences<TRecord>()) _rows.AsSpan(0, Count).Clear();
        else foreach (ref SampleRow<TRecord> row in _rows.AsSpan(0, Count)) row.Subject = null!;
        Count = 0;
        Round = round;
        _skips = default;
    }
}
