using System.Collections.Concurrent;
using System.Net;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>Knows the owners of addresses that the test tells it, and what containers are called.</summary>
internal sealed class KnownAddresses : IPodResolver
{
    private readonly ConcurrentDictionary<UInt128, PeerIdentity> _owners = [];

    /// <summary>Whose every cgroup of version 2 is.</summary>
    internal PodIdentity? PodOfCgroups { get; set; }

    /// <summary>What the container of every cgroup of version 2 is called.</summary>
    internal string? Container { get; set; }

    internal void Set(string address, PeerIdentity? owner)
    {
        UInt128 value = new Endpoint(IPAddress.Parse(address).GetAddressBytes(), 0).AddressValue;
        if (owner is null) _owners.TryRemove(value, out _);
        else _owners[value] = owner;
    }

    public PodIdentity? Resolve(NetworkNamespace networkNamespace) => null;

    public PodIdentity? ResolveCgroup(string cgroupPath) => null;

    public PodIdentity? ResolveCgroup(ulong cgroupId) => PodOfCgroups;

    public string? ResolveContainer(ulong cgroupId) => Container;

    public PeerIdentity? ResolveAddress(in Endpoint endpoint, DateTimeOffset at) => _owners.GetValueOrDefault(endpoint.AddressValue);
}
