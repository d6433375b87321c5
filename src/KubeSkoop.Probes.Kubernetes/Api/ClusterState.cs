using System.Collections.Frozen;
using System.Net;
using KubeSkoop.Probes.Kubernetes.Cri;

namespace KubeSkoop.Probes.Kubernetes.Api;

/// <summary>What is followed in the cluster.</summary>
internal enum ApiKind
{
    Pods,
    Nodes,
    Services,
}

/// <summary>
/// What the API has told of the cluster: addresses and their owners, and more of this node's pods. Written by the watches,
/// one at a time; addresses are looked up without locks. Bounded.
/// </summary>
internal sealed class ClusterState
{
    private const int Kinds = 3;
    private const int MostAddresses = 64; // of one pod, node or service
    private const int MostLabels = 64;
    private const int MostContainers = 64;
    private const string TemplateHash = "pod-template-hash";
    private const string Headless = "None";
    private const int HashLength = 32; // of a static pod's configuration

    private readonly Lock _gate = new();
    private readonly TimeProvider _clock;
    private readonly TimeSpan _remember;
    private readonly string? _node;
    private readonly int _most;
    private readonly Dictionary<string, Held>[] _held = [new(StringComparer.Ordinal), new(StringComparer.Ordinal), new(StringComparer.Ordinal)];
    private readonly HashSet<string>?[] _listed = new HashSet<string>?[Kinds];
    private readonly HashSet<string>[] _leftOut = [new(StringComparer.Ordinal), new(StringComparer.Ordinal), new(StringComparer.Ordinal)];
    private readonly Dictionary<string, string> _images = new(StringComparer.Ordinal); // of static pods: the API's uid by the node's
    private readonly Dictionary<string, ApiPod> _ended = new(StringComparer.Ordinal); // this node's
    private volatile bool _isComplete = true;
    private volatile AddressRanges _podRanges = new([]);

    /// <param name="options">Bounds and times.</param>
    /// <param name="node">The name of this node.</param>
    /// <param name="clock">The clock of ends.</param>
    internal ClusterState(KubernetesOptions options, string? node, TimeProvider clock)
    {
        _most = options.MaxAddresses;
        _remember = options.RememberEnded;
        _node = node;
        _clock = clock;
        Addresses = new AddressBook(options.MaxAddresses, options.RememberEnded);
    }

    internal AddressBook Addresses { get; }

    /// <summary>Pods, nodes or services for which there was no room.</summary>
    internal int LeftOut
    {
        get
        {
            lock (_gate) return _leftOut.Sum(static l => l.Count);
        }
    }

    /// <summary>Whether there was room for everything. Asked without locks.</summary>
    internal bool IsComplete => _isComplete;

    /// <summary>Whether this node is one of the cluster's.</summary>
    internal bool HasNode
    {
        get
        {
            lock (_gate) return _held[(int)ApiKind.Nodes].Values.Any(h => h.Peer.Name == _node);
        }
    }

    /// <summary>Addresses known, those of a moment ago too.</summary>
    internal int AddressCount
    {
        get
        {
            lock (_gate) return Addresses.Count;
        }
    }

    internal int CountOf(ApiKind kind)
    {
        lock (_gate) return _held[(int)kind].Count;
    }

    /// <summary>Whether something of the kind was left out for which there may be room now.</summary>
    internal bool HasRoomAgain(ApiKind kind)
    {
        long enough = _most * 9L / 10;
        lock (_gate) return _leftOut[(int)kind].Count > 0 && Addresses.Count < enough && _held[(int)kind].Count < enough;
    }

    /// <summary>Whether the address is one that pods get.</summary>
    internal bool IsPodRange(UInt128 address) => _podRanges.Contains(address);

    /// <summary>The pod that the runtime knows by this uid.</summary>
    internal ApiPod? FindPod(string uid)
    {
        lock (_gate)
        {
            ApiPod? pod = _held[(int)ApiKind.Pods].GetValueOrDefault(_images.GetValueOrDefault(uid, uid))?.Pod;
            return pod?.Uid == uid ? pod : _ended.GetValueOrDefault(uid);
        }
    }

    /// <summary>This node's pods, those of a moment ago too.</summary>
    internal List<ApiPod> PodsOfNode()
    {
        lock (_gate)
        {
            DateTimeOffset limit = _clock.GetUtcNow() - _remember;
            return [.. _held[(int)ApiKind.Pods].Values.Select(static h => h.Pod!).Concat(_ended.Values).Where(p => p.IsOfNode && !(p.Ended <= limit))];
        }
    }

    /// <summary>A list begins: what it does not hold has ended.</summary>
    internal void BeginList(ApiKind kind)
    {
        lock (_gate) _listed[(int)kind] = new HashSet<string>(StringComparer.Ordinal);
    }

    /// <summary>The list is complete; whether this node's pods are others now.</summary>
    internal bool EndList(ApiKind kind)
    {
        lock (_gate)
        {
            if (_listed[(int)kind] is not { } listed) return false;
            _listed[(int)kind] = null;
            bool changed = false;
            foreach (string uid in _held[(int)kind].Keys.Concat(_leftOut[(int)kind]).Where(uid => !listed.Contains(uid)).ToArray()) changed |= Drop(kind, uid);
            if (kind == ApiKind.Nodes) LearnRanges();
            return changed;
        }
    }

    /// <summary>Takes over one object as it is now; whether this node's pods are others now.</summary>
    internal bool Set(ApiKind kind, ApiObject given)
    {
        if (given.Metadata is not { Uid.Length: > 0, Name.Length: > 0 } metadata) return false;
        lock (_gate)
        {
            Addresses.Prune(_clock.GetUtcNow());
            string uid = CriText.Bounded(metadata.Uid);
            _listed[(int)kind]?.Add(uid);
            Dictionary<string, Held> held = _held[(int)kind];
            if (!held.TryGetValue(uid, out Held? before) && held.Count >= _most)
            {
                LeaveOut(kind, uid);
                return false;
            }
            DateTimeOffset now = _clock.GetUtcNow();
            Held next = Understand(kind, uid, metadata, given, before, now);
            bool changed = next.Pod is { } pod && TakePlace(uid, pod, before?.Pod);
            held[uid] = next;
            foreach ((UInt128 address, AddressBook.Rank _) in before?.Addresses ?? [])
                if (!next.Addresses.Any(a => a.Address == address)) Addresses.Remove(address, uid, now);
            // Its first addresses may be as old as itself: it may have been made while nobody told of it.
            bool isFirst = before is null || (kind == ApiKind.Pods && before.Addresses.Length == 0);
            DateTimeOffset since = isFirst && metadata.CreationTimestamp is { } made && made < now ? made : now;
            bool complete = true;
            foreach ((UInt128 address, AddressBook.Rank rank) in next.Addresses) complete &= Addresses.Add(address, uid, next.Peer, rank, since);
            if (complete) TakeIn(kind, uid);
            else LeaveOut(kind, uid);
            if (kind == ApiKind.Nodes && !next.Ranges.SequenceEqual(before?.Ranges ?? [])) LearnRanges();
            return changed | ((next.Pod is { IsOfNode: true } || before?.Pod is { IsOfNode: true }) && !next.Pod!.SaysTheSame(before?.Pod));
        }
    }

    /// <summary>One object has ended; whether this node's pods are others now.</summary>
    internal bool Remove(ApiKind kind, ApiObject given)
    {
        if (given.Metadata is not { Uid.Length: > 0 } metadata) return false;
        lock (_gate) return Drop(kind, CriText.Bounded(metadata.Uid));
    }

    /// <summary>Forgets what has ended long ago; whether this node's pods are others now.</summary>
    internal bool Prune()
    {
        lock (_gate)
        {
            DateTimeOffset now = _clock.GetUtcNow();
            Addresses.Prune(now);
            bool changed = false;
            foreach ((string uid, ApiPod pod) in _ended)
                if (pod.Ended <= now - _remember) changed |= _ended.Remove(uid);
            return changed;
        }
    }

    private void LeaveOut(ApiKind kind, string uid)
    {
        if (_leftOut[(int)kind].Count < _most) _leftOut[(int)kind].Add(uid);
        _isComplete = false;
    }

    private void TakeIn(ApiKind kind, string uid)
    {
        if (_leftOut[(int)kind].Remove(uid)) _isComplete = Array.TrueForAll(_leftOut, static l => l.Count == 0);
    }

    private bool Drop(ApiKind kind, string uid)
    {
        TakeIn(kind, uid);
        if (!_held[(int)kind].Remove(uid, out Held? held)) return false;
        DateTimeOffset now = _clock.GetUtcNow();
        foreach ((UInt128 address, AddressBook.Rank _) in held.Addresses) Addresses.Remove(address, uid, now);
        if (held.Ranges.Length > 0) LearnRanges();
        if (held.Pod is not { } pod) return false;
        if (pod.Uid != uid) _images.Remove(pod.Uid);
        if (!pod.IsOfNode) return false;
        if (_ended.Count < _most) _ended[pod.Uid] = pod with { Ended = pod.Ended ?? now };
        return true;
    }

    /// <summary>The node's uid is this pod's now; whether this node's pods are others by that.</summary>
    private bool TakePlace(string uid, ApiPod pod, ApiPod? before)
    {
        if (before is not null && before.Uid != uid && before.Uid != pod.Uid) _images.Remove(before.Uid);
        bool changed = pod.Uid != uid && _images.TryGetValue(pod.Uid, out string? other) && other != uid && Drop(ApiKind.Pods, other); // it has gone without a word
        if (pod.Uid != uid) _images[pod.Uid] = uid;
        _ended.Remove(pod.Uid);
        return changed;
    }

    private void LearnRanges()
    {
        if (_listed[(int)ApiKind.Nodes] is null) _podRanges = new AddressRanges(_held[(int)ApiKind.Nodes].Values.SelectMany(static h => h.Ranges));
    }

    private Held Understand(ApiKind kind, string uid, ApiMetadata metadata, ApiObject given, Held? before, DateTimeOffset now)
    {
        string name = CriText.Bounded(metadata.Name!), ns = CriText.Bounded(metadata.Namespace ?? string.Empty);
        ApiSpec? spec = given.Spec;
        ApiObjectStatus? status = given.Status;
        switch (kind)
        {
            case ApiKind.Pods:
                bool over = status?.Phase is "Succeeded" or "Failed"; // its addresses may be another's
                bool hostNetwork = spec?.HostNetwork == true;
                IPAddress[] own = hostNetwork || over ? [] : Parse([.. (status?.PodIps ?? []).Select(static ip => ip?.Ip), status?.PodIp]);
                string? node = spec?.NodeName is { Length: > 0 } where ? CriText.Bounded(where) : null;
                bool isOfNode = node is not null && node == _node;
                var pod = new ApiPod
                {
                    Uid = UidOnNode(uid, ns, name, metadata),
                    Namespace = ns,
                    Name = name,
                    IsOfNode = isOfNode,
                    // When it was over before we have heard of it: long ago.
                    Ended = !over ? null : before is null ? metadata.CreationTimestamp ?? DateTimeOffset.UnixEpoch : before.Pod?.Ended ?? now,
                    IsHostNetwork = hostNetwork,
                    Owner = OwnerOf(metadata),
                    Created = metadata.CreationTimestamp,
                    Addresses = isOfNode ? own : [],
                    Labels = isOfNode ? LabelsOf(metadata) : FrozenDictionary<string, string>.Empty,
                    Containers = isOfNode ? ContainersOf(status) : [],
                };
                return new Held(new PeerIdentity(PeerKind.Pod, name, ns, node), Ranked(own, AddressBook.Rank.Pod)) { Pod = pod };
            case ApiKind.Nodes:
                IPAddress[] told = Parse([.. (status?.Addresses ?? []).Select(static a => a?.Address)]);
                IPNetwork[] ranges = [.. (spec?.PodCidrs ?? []).Append(spec?.PodCidr).Take(MostAddresses).Select(static c => c is { Length: <= 64 } && IPNetwork.TryParse(c, out IPNetwork range) ? range : default)
                    .Where(static r => r.PrefixLength > 0).Distinct()];
                // The first address of a node's range, and the one before it, are those of its own bridge or tunnel, where they are no pod's.
                IEnumerable<UInt128> concluded = ranges.Select(static r => ValueOf(r.BaseAddress)).SelectMany(static v => new[] { v, v + 1 }).Except(told.Select(ValueOf));
                return new Held(new PeerIdentity(PeerKind.Node, name, Node: name), [.. Ranked(told, AddressBook.Rank.Node), .. concluded.Select(static v => (v, AddressBook.Rank.Concluded))]) { Ranges = ranges };
            default:
                List<string?> cluster = spec?.ClusterIps is { Count: > 0 } several ? several : [spec?.ClusterIp];
                IPAddress[] assigned = Parse([.. cluster, .. (status?.LoadBalancer?.Ingress ?? []).Select(static i => i?.Ip)]);
                return new Held(new PeerIdentity(PeerKind.Service, name, ns), [.. Ranked(assigned, AddressBook.Rank.Service), .. Ranked([.. Parse(spec?.ExternalIps ?? []).Except(assigned)], AddressBook.Rank.Chosen)]);
        }
    }

    /// <summary>
    /// By what uid the node knows the pod. Of a static pod it is another than the API's: the hash of its configuration, which the API's image of it names. Anybody may write that
    /// annotation, so it is believed only of what looks like one, and never takes the place of another pod: only an image made anew, which has the name of the one before, does.
    /// </summary>
    private string UidOnNode(string uid, string ns, string name, ApiMetadata metadata)
    {
        if (metadata.Annotations?.MirrorOf is not { Length: HashLength } hash || !hash.All(char.IsAsciiHexDigitLower)
            || metadata.OwnerReferences?.Any(static o => o is { Kind: "Node" }) != true) return uid;
        if (!_images.TryGetValue(hash, out string? known) || known == uid) return hash;
        return _held[(int)ApiKind.Pods].GetValueOrDefault(known)?.Pod is { } other && (other.Namespace != ns || other.Name != name) ? uid : hash;
    }

    private static PodOwner? OwnerOf(ApiMetadata metadata)
    {
        if (metadata.OwnerReferences?.FirstOrDefault(static o => o is { Controller: true, Kind.Length: > 0, Name.Length: > 0 }) is not { } owner) return null;
        // A deployment makes replica sets and names them: its own name, and the hash that its pods carry as a label.
        if (owner.Kind == "ReplicaSet" && metadata.Labels is { } labels && labels.TryGetValue(TemplateHash, out string? hash) && hash is { Length: > 0 }
            && owner.Name is { } name && name.EndsWith(hash, StringComparison.Ordinal) && name.Length > hash.Length + 1 && name[^(hash.Length + 1)] == '-')
            return new PodOwner("Deployment", CriText.Bounded(name[..^(hash.Length + 1)]));
        return new PodOwner(CriText.Bounded(owner.Kind!), CriText.Bounded(owner.Name!));
    }

    private static FrozenDictionary<string, string> LabelsOf(ApiMetadata metadata) =>
        (metadata.Labels ?? []).Take(MostLabels).DistinctBy(static l => CriText.Bounded(l.Key)).ToFrozenDictionary(static l => CriText.Bounded(l.Key), static l => CriText.Bounded(l.Value ?? string.Empty), StringComparer.Ordinal);

    private static PodContainer[] ContainersOf(ApiObjectStatus? status) =>
        [.. (status?.ContainerStatuses ?? []).Take(MostContainers).Select(ContainerOf).OfType<PodContainer>()];

    private static PodContainer? ContainerOf(ApiContainer? given) => given is { Name: { Length: > 0 } name, ContainerId: { Length: > 0 } id }
        ? new PodContainer(CriText.Bounded(id[(id.LastIndexOf('/') + 1)..]), CriText.Bounded(name), given.State?.Running is not null)
        : null;

    private static IPAddress[] Parse(IEnumerable<string?> texts) =>
        [.. texts.Where(static t => t is not (null or Headless)).Select(static t => CriText.Address(t!)).OfType<IPAddress>().Distinct().Take(MostAddresses)];

    private static (UInt128 Address, AddressBook.Rank Rank)[] Ranked(IPAddress[] addresses, AddressBook.Rank rank) => [.. addresses.Select(a => (ValueOf(a), rank))];

    /// <summary>The number that <see cref="Endpoint.AddressValue"/> is of the same address.</summary>
    internal static UInt128 ValueOf(IPAddress address)
    {
        Span<byte> bytes = stackalloc byte[16];
        address.TryWriteBytes(bytes, out int written);
        return new Endpoint(bytes[..written], 0).AddressValue;
    }

    private sealed record Held(PeerIdentity Peer, (UInt128 Address, AddressBook.Rank Rank)[] Addresses)
    {
        internal IPNetwork[] Ranges { get; init; } = [];

        internal ApiPod? Pod { get; init; }
    }
}

/// <summary>What the API says of a pod.</summary>
internal sealed record ApiPod
{
    internal required string Uid { get; init; }

    internal required string Namespace { get; init; }

    internal required string Name { get; init; }

    /// <summary>Whether it runs on this node. Only then are labels, addresses and containers kept.</summary>
    internal bool IsOfNode { get; init; }

    internal bool IsHostNetwork { get; init; }

    internal PodOwner? Owner { get; init; }

    internal DateTimeOffset? Created { get; init; }

    /// <summary>When it was deleted, or all its containers had ended for good.</summary>
    internal DateTimeOffset? Ended { get; init; }

    internal IReadOnlyList<IPAddress> Addresses { get; init; } = [];

    internal IReadOnlyDictionary<string, string> Labels { get; init; } = FrozenDictionary<string, string>.Empty;

    internal IReadOnlyList<PodContainer> Containers { get; init; } = [];

    internal bool SaysTheSame(ApiPod? other) =>
        other is not null && Uid == other.Uid && IsOfNode == other.IsOfNode && IsHostNetwork == other.IsHostNetwork && Owner == other.Owner && Ended == other.Ended
        && Addresses.SequenceEqual(other.Addresses) && Containers.SequenceEqual(other.Containers)
        && Labels.Count == other.Labels.Count && Labels.All(label => other.Labels.TryGetValue(label.Key, out string? value) && value == label.Value);
}

/// <summary>Ranges of addresses; asked without allocating.</summary>
internal sealed class AddressRanges
{
    private readonly (UInt128 Mask, FrozenSet<UInt128> Bases)[] _byLength;

    internal AddressRanges(IEnumerable<IPNetwork> ranges)
    {
        _byLength = [.. ranges.GroupBy(static r => r.PrefixLength + (r.BaseAddress.AddressFamily == System.Net.Sockets.AddressFamily.InterNetwork ? 96 : 0))
            .Select(static length => (UInt128.MaxValue << (128 - length.Key), length.Select(static r => ClusterState.ValueOf(r.BaseAddress)).ToFrozenSet()))];
    }

    internal bool Contains(UInt128 address)
    {
        foreach (var (mask, bases) in _byLength)
            if (bases.Contains(address & mask)) return true;
        return false;
    }
}
