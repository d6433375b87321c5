using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes;

/// <summary>
/// Finds the machine's network namespaces and notices their births and deaths while at least one lease is held;
/// without a lease it holds no descriptor and no thread.
/// </summary>
public interface INetworkNamespaceSource
{
    /// <summary>The namespaces known now, the host's first. A new array whenever the set changes, so it can be kept and compared.</summary>
    IReadOnlyList<NetworkNamespace> Current { get; }

    /// <summary>Keeps the source at work until the lease is disposed of. The first lease discovers before it returns.</summary>
    /// <exception cref="ProbeUnavailableException">The machine's processes cannot be seen.</exception>
    IDisposable Acquire();

    /// <summary>What kept the last look from seeing every namespace, and what to do, for people; <see langword="null"/> when nothing did.</summary>
    string? Problem { get; }

    /// <summary>Looks now, instead of at the next period. Returns when <see cref="Current"/> is up to date.</summary>
    void Refresh();

    /// <summary>
    /// Opens the namespace itself, for <c>setns</c>. The handle pins the namespace: dispose of it when
    /// <see cref="NetworkNamespace.Ended"/> fires at the latest.
    /// </summary>
    /// <returns>A handle, or <see langword="null"/> when the namespace has ended or access is refused.</returns>
    SafeFileHandle? Open(NetworkNamespace networkNamespace);

    /// <summary>
    /// Told, from the source's own thread, which namespaces are about to end: nobody is in them any more, but they are still in <see cref="Current"/> and can still be read.
    /// When it returns they end. While anybody listens, the source keeps every namespace from going before that.
    /// </summary>
    event Action<IReadOnlyList<NetworkNamespace>>? Ending
    {
        add { }
        remove { }
    }
}
