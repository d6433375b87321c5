using System.Collections.Concurrent;

namespace KubeSkoop.Probes.Kubernetes.Api;

/// <summary>
/// Whose an address is, now and a while ago. Written by one thread at a time; looked up by any, without locks and without
/// allocating. Bounded: what finds no room is refused.
/// </summary>
internal sealed class AddressBook(int most, TimeSpan remember)
{
    /// <summary>How long packets of an owner that has ended may still come, when nobody else has its address.</summary>
    private static readonly long Aftermath = TimeSpan.FromSeconds(2).Ticks;

    private readonly ConcurrentDictionary<UInt128, Claim> _claims = new();
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

    /// <summary>Says that the address is the owner's from now on; whether there was room.</summary>
    internal bool Add(UInt128 address, string owner, PeerIdentity peer, Rank rank)
    {
        _claims.TryGetValue(address, out Claim? newest);
        for (Claim? claim = newest; claim is not null; claim = claim.Older)
        {
            if (claim.Owner != owner || !claim.IsLiving) continue;
            claim.Peer = peer;
            return true;
        }
        if (Count >= most && !ForgetOne()) return false;
        _claims.TryGetValue(address, out newest);
        _claims[address] = new Claim(owner, peer, rank, newest);
        Count++;
        return true;
    }

    /// <summary>Says that the address is the owner's no more.</summary>
    internal void Remove(UInt128 address, string owner, DateTimeOffset now)
    {
        if (!_claims.TryGetValue(address, out Claim? claim)) return;
        for (; claim is not null; claim = claim.Older)
        {
            if (claim.Owner != owner || !claim.IsLiving) continue;
            claim.Ended = now.UtcTicks;
            _ended.Enqueue((claim.Ended, address));
            return;
        }
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
        if (!_claims.TryGetValue(address, out Claim? claim)) return null;
        long then = at.UtcTicks;
        Claim? living = null, past = null, last = null;
        for (; claim is not null; claim = claim.Older)
        {
            long ended = claim.Ended;
            if (ended == Claim.Living)
            {
                if (living is null || claim.Rank < living.Rank) living = claim; // of equals the newest
            }
            else if (then <= ended)
            {
                if (past is null || ended <= past.Ended) past = claim;
            }
            else if (then <= ended + Aftermath && (last is null || ended > last.Ended))
            {
                last = claim;
            }
        }
        return (past ?? living ?? last)?.Peer;
    }

    private bool ForgetOne()
    {
        if (!_ended.TryDequeue(out var oldest)) return false;
        if (!_claims.TryGetValue(oldest.Address, out Claim? newest)) return true;
        Claim? rest = Without(newest, oldest.Ended);
        if (rest is null) _claims.TryRemove(oldest.Address, out _);
        else _claims[oldest.Address] = rest;
        Count--;
        return true;
    }

    // Those who look meanwhile keep the chain they began with: what they see of it does not change.
    private static Claim? Without(Claim? claim, long ended)
    {
        if (claim is null) return null;
        if (claim.Ended == ended) return claim.Older;
        Claim? rest = Without(claim.Older, ended);
        return ReferenceEquals(rest, claim.Older) ? claim : new Claim(claim.Owner, claim.Peer, claim.Rank, rest) { Ended = claim.Ended };
    }

    private sealed class Claim(string owner, PeerIdentity peer, Rank rank, Claim? older)
    {
        internal const long Living = long.MaxValue;

        private PeerIdentity _peer = peer;
        private long _ended = Living;

        internal string Owner => owner;

        internal Rank Rank => rank;

        internal Claim? Older => older;

        internal bool IsLiving => Ended == Living;

        internal PeerIdentity Peer
        {
            get => Volatile.Read(ref _peer);
            set => Volatile.Write(ref _peer, value);
        }

        internal long Ended
        {
            get => Volatile.Read(ref _ended);
            set => Volatile.Write(ref _ended, value);
        }
    }
}
