namespace KubeSkoop.Probes;

/// <summary>Which pod something belongs to, and what else is said of that pod on every row.</summary>
/// <param name="Namespace">The Kubernetes namespace; empty while only the uid is known.</param>
/// <param name="Name">The pod's name; empty while only the uid is known.</param>
/// <param name="Uid">The pod's uid, if known.</param>
public sealed record PodIdentity(string Namespace, string Name, string? Uid = null)
{
    private readonly SampleAttribute[] _attributes = [];

    /// <summary>
    /// Further attributes of the pod's rows: chosen labels, the owner, the uid. Made once per pod. Two identities are equal
    /// when these are, too, so that labels are made anew when one of them changes.
    /// </summary>
    public IReadOnlyList<SampleAttribute> Attributes
    {
        get => _attributes;
        init => _attributes = [.. value];
    }

    /// <summary>Whether the name is known, and not only the uid.</summary>
    public bool IsNamed => Name.Length > 0;

    /// <summary>A pod of which only the uid is known (from a cgroup): it has no name, and its rows say <c>k8s.pod.uid</c> instead.</summary>
    public static PodIdentity OfUid(string uid)
    {
        ArgumentException.ThrowIfNullOrEmpty(uid);
        return new PodIdentity(string.Empty, string.Empty, uid) { Attributes = [new SampleAttribute(AttributeNames.PodUid, uid)] };
    }

    /// <summary>Equal in name, uid and every attribute.</summary>
    public bool Equals(PodIdentity? other) =>
        ReferenceEquals(this, other)
        || (other is not null && Name == other.Name && Namespace == other.Namespace && Uid == other.Uid && _attributes.AsSpan().SequenceEqual(other._attributes));

    /// <summary>Of the names and the uid.</summary>
    public override int GetHashCode() => HashCode.Combine(Namespace, Name, Uid);

    /// <summary><c>namespace/name</c>, or the uid where that is all there is.</summary>
    public override string ToString() => IsNamed ? $"{Namespace}/{Name}" : $"uid {Uid}";
}
