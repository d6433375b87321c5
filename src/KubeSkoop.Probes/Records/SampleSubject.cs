namespace KubeSkoop.Probes;

/// <summary>An attribute of a row, beside namespace and pod: a device, a CPU, an IP version.</summary>
/// <param name="Name">The attribute's OpenTelemetry name.</param>
/// <param name="Value">Its value. May come from a pod: treat as hostile when writing it out.</param>
/// <param name="UpstreamName">The label upstream's metrics have for it; <see langword="null"/> when they have none, and are sums over its values.</param>
public readonly record struct SampleAttribute(string Name, string Value, string? UpstreamName = null);

/// <summary>
/// Who a row is about. Made once per namespace (or device, CPU, ...) and kept by the probe, so that neither labels nor
/// strings are made while sampling; writers hang their encoded labels on it.
/// </summary>
public sealed class SampleSubject
{
    private const int MostOwners = 4;

    private readonly SampleAttribute[] _attributes;
    private readonly PodIdentity? _pod;
    private volatile EncodedCache[] _encoded = [];

    /// <summary>A row about a network namespace, or about the node when <paramref name="networkNamespace"/> is null.</summary>
    /// <param name="networkNamespace">The namespace; <see langword="null"/> for the node as a whole.</param>
    /// <param name="attributes">What else the row is keyed by.</param>
    public SampleSubject(NetworkNamespace? networkNamespace, params ReadOnlySpan<SampleAttribute> attributes)
        : this(networkNamespace, null, attributes)
    {
    }

    /// <summary>A row about a pod that shares the host's network namespace, so that the namespace does not tell whose it is.</summary>
    public SampleSubject(NetworkNamespace? networkNamespace, PodIdentity? pod, params ReadOnlySpan<SampleAttribute> attributes)
    {
        Namespace = networkNamespace;
        _pod = pod;
        _attributes = attributes.ToArray();
    }

    /// <summary>A row about the node, without further key.</summary>
    public static SampleSubject Node { get; } = new(null);

    /// <summary>The network namespace; <see langword="null"/> for the node as a whole.</summary>
    public NetworkNamespace? Namespace { get; }

    /// <summary>The pod, if known.</summary>
    public PodIdentity? Pod => _pod ?? Namespace?.Pod;

    /// <summary>What else the row is keyed by.</summary>
    public ReadOnlySpan<SampleAttribute> Attributes => _attributes;

    /// <summary>Grows whenever what names the subject changes; a cache made at another version is stale.</summary>
    public int Version => Namespace?.Version ?? 0;

    /// <summary>
    /// Keeps one host's encoding of this subject, made anew by <paramref name="encode"/> when the subject's naming has
    /// changed. A few hosts (a text writer, a meter) may keep theirs side by side.
    /// </summary>
    public T Encoded<T, TOwner>(TOwner owner, Func<SampleSubject, TOwner, T> encode)
        where T : class
        where TOwner : class
    {
        ArgumentNullException.ThrowIfNull(encode);
        int version = Version;
        EncodedCache[] kept = _encoded;
        foreach (EncodedCache slot in kept)
            if (ReferenceEquals(slot.Owner, owner) && slot.Version == version && slot.Value is T value) return value;
        T made = encode(this, owner);
        Keep(new EncodedCache(version, owner, made), kept);
        return made;
    }

    /// <summary>The pod, or where none is known the network namespace, and the attributes, for people.</summary>
    public override string ToString()
    {
        string whose = Pod?.ToString() ?? Namespace?.ToString() ?? "node";
        return _attributes.Length == 0 ? whose : $"{whose} {string.Join(' ', _attributes.Select(static a => $"{a.Name}={a.Value}"))}";
    }

    // Oldest out first; a lost race only means that somebody encodes again. A method of its own: a closure over the
    // owner would be allocated in every call of the caller, also when the cache answers.
    private void Keep(EncodedCache made, EncodedCache[] kept) =>
        _encoded = [made, .. kept.Where(s => !ReferenceEquals(s.Owner, made.Owner)).Take(MostOwners - 1)];

    private sealed record EncodedCache(int Version, object Owner, object Value);
}
