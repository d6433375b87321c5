namespace KubeSkoop.Probes.Procfs;

/// <summary>The version of the Internet Protocol a row is about; as wide as a <see cref="Reading"/>, so that a record has no holes.</summary>
public enum IpVersion : ulong
{
    /// <summary>Not said.</summary>
    None = 0,

    /// <summary>IPv4.</summary>
    IPv4 = 4,

    /// <summary>IPv6.</summary>
    IPv6 = 6,
}
