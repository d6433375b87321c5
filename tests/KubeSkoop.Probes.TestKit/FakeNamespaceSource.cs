using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.TestKit;

/// <summary>A namespace source that says what the test tells it.</summary>
public sealed class FakeNamespaceSource : INetworkNamespaceSource
{
    private volatile NetworkNamespace[] _current = [];
    private int _leases;
    private int _refreshes;

    /// <inheritdoc />
    public IReadOnlyList<NetworkNamespace> Current => _current;

    /// <summary>Leases held now.</summary>
    public int Leases => Volatile.Read(ref _leases);

    /// <summary>Calls of <see cref="Refresh"/>.</summary>
    public int Refreshes => Volatile.Read(ref _refreshes);

    /// <summary>What <see cref="Open"/> answers.</summary>
    public Func<NetworkNamespace, SafeFileHandle?> Opener { get; set; } = static _ => null;

    /// <summary>Adds a namespace.</summary>
    public NetworkNamespace Add(uint inode, string? name = null, int? processId = null, string? command = null, PodIdentity? pod = null, bool isHost = false)
    {
        var born = new NetworkNamespace(inode, isHost, new NamespaceFacts(name, processId, command, pod));
        Add(born);
        return born;
    }

    /// <summary>Adds a namespace of the test's own.</summary>
    public void Add(NetworkNamespace born) => _current = [.. _current.Append(born).OrderByDescending(n => n.IsHost)];

    /// <summary>Takes a namespace away and ends it.</summary>
    public void Remove(NetworkNamespace dead)
    {
        ArgumentNullException.ThrowIfNull(dead);
        _current = [.. _current.Where(n => !ReferenceEquals(n, dead))];
        dead.End();
    }

    /// <inheritdoc />
    public event Action<IReadOnlyList<NetworkNamespace>>? Ending;

    /// <summary>Says that namespaces are about to end, then takes them away and ends them.</summary>
    public void EndWithNotice(params NetworkNamespace[] ending)
    {
        Ending?.Invoke(ending);
        foreach (NetworkNamespace ns in ending) Remove(ns);
    }

    /// <inheritdoc />
    public string? Problem { get; set; }

    /// <inheritdoc />
    public IDisposable Acquire()
    {
        Interlocked.Increment(ref _leases);
        return new Lease(this);
    }

    /// <inheritdoc />
    public void Refresh() => Interlocked.Increment(ref _refreshes);

    /// <inheritdoc />
    public SafeFileHandle? Open(NetworkNamespace networkNamespace) => Opener(networkNamespace);

    private sealed class Lease(FakeNamespaceSource source) : IDisposable
    {
        private int _ended;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _ended, 1) == 0) Interlocked.Decrement(ref source._leases);
        }
    }
}
