using System.Collections.Concurrent;

namespace KubeSkoop.Probes.Kubernetes.Api;

/// <summary>
/// Whose an address is, now and a while ago. Written by one thread at a time; looked up by any, without locks and without
/// allocating. Bounded: what finds no room is refused, and of many who say that one address is theirs only a few are looked at.
/// </summary>
internal sealed class AddressBook(int most, TimeSpan remember)
{
    /// <summary>How many owners of one address are looked at, of the living and of the ended each.</summary>
    internal const int MostOwners = 8;

    /// <summary>How long packets of an owner may come before anybody tells of him: a pod's node says its address some seconds after the pod has it.</summary>
    private static readonly long Foretime = TimeSpan.FromSeconds(10).Ticks;

    /// <summary>How long packets of an owner that has ended may still come, when nobody else has its address.</summary>
    private static readonly long Aftermath = TimeSpan.FromSeconds(2).Ticks;

    private static readonly Comparer<(Rank Rank, string Owner)> InTurn = Comparer<(Rank Rank, string Owner)>.Create(static (a, b) => a.Rank != b.Rank ? a.Rank - b.Rank : string.CompareOrdinal(a.Owner, b.Owner));

    private readonly ConcurrentDictionary<UInt128, Claim[]> _claims = new(); // the newest last; an array does not change
    private readonly Dictionary<UInt128, SortedDictionary<(Rank Rank, string Owner), Claim>> _waiting = []; // the living beyond those that are looked at
    private readonly Queue<(long Ended, UInt128 Address)> _ended = new(); // in the order of their ends

    /// <summary>Whose word counts more, where several say that an address is theirs; the first counts most.</summary>
    internal enum Rank : byte
    {
        /// <summary>A pod's own address, which its node has set.</summary>
        Pod,

        /// <summary>A node's.</summary>
        Node,

        /// <summary>One that the cluster has given to a service.</summary>
        Service,

        /// <summary>One that can be concluded to be a node's.</summary>
        Concluded,

        /// <summary>One that whoever made a service has chosen: any at all.</summary>
        Chosen,
    }

    /// <summary>Addresses and their owners, ended ones that are still remembered too.</summary>
    internal int Count { get; private set; }

    /// <summary>Says that the address is the owner's; whether there was room.</summary>
    /// <param name="address">The address.</param>
    /// <param name="owner">Who says so.</param>
    /// <param name="peer">What is answered.</param>
    /// <param name="rank">How much it counts.</param>
    /// <param name="since">When it may have become the owner's.</param>
    internal bool Add(UInt128 address, string owner, PeerIdentity peer, Rank rank, DateTimeOffset since)
    {
        Claim[] claims = _claims.GetValueOrDefault(address) ?? [];
        if (LivingOf(claims, owner) is >= 0 and var own)
        {
            _claims[address] = [.. claims[..own], claims[own] with { Peer = peer, Rank = rank }, .. claims[(own + 1)..]];
            return true;
        }
        if (TakeWaiting(address, owner) is { } waiting)
        {
            Place(address, waiting with { Peer = peer, Rank = rank });
            return true;
        }
        if (Count >= most && !ForgetOne()) return false;
        Count++;
        Place(address, new Claim(owner, peer, rank, since.UtcTicks, Claim.Living));
        return true;
    }

    /// <summary>Says that the address is the owner's no more.</summary>
    internal void Remove(UInt128 address, string owner, DateTimeOffset now)
    {
        if (TakeWaiting(address, owner) is not null)
        {
            Count--; // nobody was ever told that it was his
            return;
        }
        if (!_claims.TryGetValue(address, out Claim[]? claims) || LivingOf(claims, owner) is not (>= 0 and var own)) return;
        Claim ended = claims[own] with { Ended = now.UtcTicks };
        _ended.Enqueue((ended.Ended, address));
        claims = [.. claims[..own], .. claims[(own + 1)..], ended];
        if (claims.Count(static c => !c.IsLiving) > MostOwners)
        {
            Claim least = claims.Where(static c => !c.IsLiving).OrderByDescending(static c => c.Rank).ThenBy(static c => c.Ended).First();
            claims = [.. claims.Where(c => c != least)]; // it counts until it would have been forgotten
        }
        _claims[address] = claims;
        if (_waiting.TryGetValue(address, out var waiting)) Place(address, TakeWaiting(address, waiting.First().Key.Owner)!.Value);
    }

    /// <summary>Forgets the owners that have ended long ago.</summary>
    internal void Prune(DateTimeOffset now)
    {
        long limit = (now - remember).UtcTicks;
        while (_ended.TryPeek(out var oldest) && oldest.Ended <= limit) ForgetOne();
    }

    /// <summary>Whose the address was; <see langword="null"/> if nobody's.</summary>
    internal PeerIdentity? Find(UInt128 address, DateTimeOffset at)
    {
        if (!_claims.TryGetValue(address, out Claim[]? claims)) return null;
        long then = at.UtcTicks;
        int best = -1;
        for (int i = claims.Length - 1; i >= 0; i--)
        {
            ref readonly Claim claim = ref claims[i];
            if (then < claim.Begun - Foretime || then > claim.Ended + Aftermath) continue;
            if (best < 0 || claim.IsBetterThan(in claims[best], then)) best = i;
        }
        return best < 0 ? null : claims[best].Peer;
    }

    private static int LivingOf(Claim[] claims, string owner) => Array.FindIndex(claims, c => c.IsLiving && c.Owner == owner);

    private Claim? TakeWaiting(UInt128 address, string owner)
    {
        if (!_waiting.TryGetValue(address, out var waiting)) return null;
        for (Rank rank = Rank.Pod; rank <= Rank.Chosen; rank++)
        {
            if (!waiting.Remove((rank, owner), out Claim claim)) continue;
            if (waiting.Count == 0) _waiting.Remove(address);
            return claim;
        }
        return null;
    }

    // Those who look meanwhile keep the array they began with.
    private void Place(UInt128 address, Claim claim)
    {
        Claim[] claims = _claims.GetValueOrDefault(address) ?? [];
        int living = 0, least = -1;
        for (int i = 0; i < claims.Length; i++)
        {
            if (!claims[i].IsLiving) continue;
            living++;
            if (least < 0 || claims[i].Rank >= claims[least].Rank) least = i;
        }
        Claim? waits = living < MostOwners ? null : claims[least].Rank > claim.Rank ? claims[least] : claim;
        if (waits is { } one)
        {
            if (!_waiting.TryGetValue(address, out var waiting)) _waiting.Add(address, waiting = new(InTurn));
            waiting.Add((one.Rank, one.Owner), one);
            if (one == claim) return;
            claims = [.. claims[..least], .. claims[(least + 1)..]];
        }
        _claims[address] = [.. claims, claim];
    }

    private bool ForgetOne()
    {
        if (!_ended.TryDequeue(out var oldest)) return false;
        Count--;
        if (!_claims.TryGetValue(oldest.Address, out Claim[]? claims)) return true;
        int ended = Array.FindIndex(claims, c => c.Ended == oldest.Ended);
        if (ended < 0) return true;
        if (claims.Length == 1) _claims.TryRemove(oldest.Address, out _);
        else _claims[oldest.Address] = [.. claims[..ended], .. claims[(ended + 1)..]];
        return true;
    }

    private readonly record struct Claim(string Owner, PeerIdentity Peer, Rank Rank, long Begun, long Ended)
    {
        internal static readonly long Living = DateTimeOffset.MaxValue.UtcTicks;

        internal bool IsLiving => Ended == Living;

        /// <summary>Whether it rather than the other, which is newer, was the owner's at that time: either may be.</summary>
        internal bool IsBetterThan(in Claim other, long then)
        {
            bool isOver = Ended < then, isOtherOver = other.Ended < then;
            if (isOver != isOtherOver) return isOtherOver;
            if (Rank != other.Rank) return Rank < other.Rank;
            bool hasBegun = Begun <= then, hasOtherBegun = other.Begun <= then;
            if (hasBegun != hasOtherBegun) return hasBegun;
            return Math.Abs(Ended - then) < Math.Abs(other.Ended - then); // who has it still came later
        }
    }
}
