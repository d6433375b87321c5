using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Reads one process's numbers as of now.</summary>
internal interface IIoReader
{
    /// <summary>The process's I/O; false when it is gone or refused.</summary>
    bool TryRead(ProcProcess process, out IoNumbers numbers);

    /// <summary>The process's <c>stat</c>; false when it is gone.</summary>
    bool TryReadStat(ProcProcess process, out ProcStat stat);
}

/// <summary>
/// Adds up the I/O of processes per group so that a process's end takes nothing away, and nothing is counted twice.
/// </summary>
/// <remarks>
/// <para>
/// The kernel counts per process, and a process's numbers never go down. When a process is waited for, the kernel adds all
/// its numbers, and those of the children it had waited for itself, to its parent's (kernel/exit.c, wait_task_zombie, in one critical section: signal-&gt;ioac together
/// with cmin_flt). When nobody waits, because the parent ignores SIGCHLD, they are lost. A sum over living processes would
/// therefore fall at the end of the second kind, and move from one group to another at the end of the first
/// kind when the parent is in another group, as the runtime's shim is.
/// </para>
/// <para>
/// So a group's account gets the differences of each of its processes between two samples. What a departed process was
/// last seen with stays in its group's account. If a parent has absorbed it, the parent's difference holds it once more, and it is
/// taken from the account of the parent's group. Whether it was absorbed is told by the parent's count of its children's page faults (cmin_flt), which
/// grows by at least the faults the process was last seen with in the very moment its I/O is absorbed, and which the parent's own work does not move.
/// The living ancestors of departed processes are read again after all others, their I/O between two equal
/// readings of cmin_flt, so that both are of one moment; and then who of their children has gone meanwhile. A child that is marked as dead
/// (X in <c>stat</c>) has departed though it can be read: the kernel marks it, adds its numbers to the parent's, and only then lets go of it.
/// </para>
/// <para>
/// What remains: I/O between a process's last sample and its end goes to the group of the parent that waits for it, and is
/// not seen when nobody waits. Processes that begin and end between two samples are seen in the parent that waits
/// for them. Where the namespace of a process cannot be read for a while, its I/O goes where it went before. An account can be ahead for
/// one sample, when a process ends and is waited for while its family is read (one of 1,000 samples in the torture test, where processes do far more than that
/// between any two readings); what is published stands still until the account has caught up, and never goes down. When a parent ends in the same
/// interval as its children, whether an ancestor has absorbed them is a guess by their faults and by what the ancestor has gained, such that as many of them fit as can be. Of a parent that was read in that interval, what it
/// gained until then may be what it had absorbed, and its own end is seen in who absorbed it. A wrong guess stays in the account: at
/// most one of 1,000 torture runs, off by less than 10 percent, where parents that ignore SIGCHLD go on. Not seen are children that were absorbed by a parent that
/// may not be read, or by a process that is no ancestor (the first of a container, for what was started in it from outside).
/// </para>
/// </remarks>
internal sealed class IoLedger
{
    private const int ReadsUntilStill = 3;
    private const int MostAncestors = 64;
    private const int MostTries = 3;
    private const int MostRounds = 4;
    private const int MostMoved = 3; // guesses changed for the sake of one
    private const int MostLooks = 100_000; // at guesses that may be changed, in one sample

    private readonly Dictionary<ProcGroup, IoAccount> _accounts = [];
    private readonly Dictionary<int, Entry> _entries = [];
    private readonly Dictionary<int, Entry> _departedById = [];
    private readonly List<Entry> _departed = [];
    private readonly HashSet<int> _readBefore = [];
    private int _reading; // counts the rounds in which processes are read again
    private int _looks; // left in this sample

    /// <summary>A group's account; <see langword="null"/> for one without a process so far.</summary>
    internal IoAccount? Of(ProcGroup group) => _accounts.GetValueOrDefault(group);

    /// <summary>Forgets everything.</summary>
    internal void Clear()
    {
        _accounts.Clear();
        _entries.Clear();
        _departed.Clear();
    }

    /// <summary>Takes a sample: <paramref name="processes"/> in the order of their numbers. Parents are read before their children.</summary>
    internal void Take(List<ProcProcess> processes, IIoReader reader)
    {
        _reading++;
        _departed.RemoveAll(static e => e.Settled || (e.Process.Gone && ++e.Tries == MostTries));
        _departedById.Clear();
        foreach (Entry entry in _departed)
        {
            entry.Marked = IsMarked(entry, reader);
            _departedById.TryAdd(entry.Process.Id, entry);
        }
        foreach ((int id, Entry entry) in _entries)
        {
            if (!entry.Process.Gone) continue;
            _entries.Remove(id);
            Depart(entry, reader);
        }
        _readBefore.Clear();
        foreach (ProcProcess process in processes)
            if (_readBefore.Count == 0 || !_readBefore.Contains(process.Id)) Read(process, processes, reader, 0);
        _looks = MostLooks;
        for (int round = 0; _departed.Count > 0 && round < MostRounds; round++)
        {
            SettleDeparted(reader);
            if (!FindDeparted(reader)) break;
        }
        foreach (Entry departed in _departed)
        {
            if (departed.Settled || departed.Parent != ParentState.Lives || !TryFindLiving(departed.ParentId, out _)) continue;
            departed.Settled = TryTakeBackFromCarried(departed) || !departed.Marked; // who lives and has not waited for it: nobody has
        }
        foreach (Entry departed in _departed)
            if (!departed.Settled && departed.Parent == ParentState.Ended) TryTakeBackFromCarried(departed); // if not, the next sample may know: an ancestor may be about to go as well
        foreach (Entry entry in _entries.Values) entry.EndSample();
        ForgetEnded();
    }

    private void Read(ProcProcess process, List<ProcProcess> processes, IIoReader reader, int depth)
    {
        // Numbers begin again when they have come to their end: then a child has the lower one.
        int parentId = process.Stat.ParentId;
        if (parentId > process.Id && depth < MostAncestors && Find(processes, parentId) is { } parent && _readBefore.Add(parentId)) Read(parent, processes, reader, depth + 1);

        _entries.TryGetValue(process.Id, out Entry? entry);
        IoAccount? account = process.Group is { } group ? AccountOf(group) : entry?.Account;
        if (account is null) return;
        if (!process.Stat.IsReaped && reader.TryRead(process, out IoNumbers now) && (!process.Stat.HasEnded || IsThere(process, reader)))
        {
            if (entry is null) _entries.Add(process.Id, entry = new Entry(process));
            Learn(entry, account, now, process.Stat);
        }
        else if (entry is not null && !IsThere(process, reader)) // if it is, it was refused
        {
            _entries.Remove(process.Id);
            Depart(entry, reader);
        }
    }

    private static ProcProcess? Find(List<ProcProcess> processes, int id)
    {
        int from = 0, to = processes.Count;
        while (from < to)
        {
            int middle = (from + to) / 2;
            if (processes[middle].Id == id) return processes[middle];
            if (processes[middle].Id < id) from = middle + 1;
            else to = middle;
        }
        return null;
    }

    private static bool IsThere(ProcProcess process, IIoReader reader) => reader.TryReadStat(process, out ProcStat stat) && !stat.IsReaped;

    /// <summary>Whoever was read again may have absorbed more by then than has been seen to be gone: children, and those of children that have ended.</summary>
    private bool FindDeparted(IIoReader reader)
    {
        bool found = false, goOn = true;
        for (int depth = 0; goOn && depth < MostAncestors; depth++)
        {
            goOn = false;
            foreach ((int id, Entry entry) in _entries)
            {
                if (entry.CheckedIn == _reading) continue;
                bool failed = entry.TriedIn == _reading && entry.StillIn < _reading; // to be read again
                if (!failed && (_entries.TryGetValue(entry.ParentId, out Entry? parent) ? !parent.HasEnded && parent.StillIn < _reading : !_departedById.ContainsKey(entry.ParentId))) continue;
                entry.CheckedIn = _reading;
                if (!reader.TryReadStat(entry.Process, out ProcStat stat) || stat.IsReaped)
                {
                    _entries.Remove(id);
                    Depart(entry, reader);
                    found = goOn = true;
                }
                else
                {
                    entry.ParentId = stat.ParentId; // an orphan has another one by now
                    goOn |= stat.HasEnded && !entry.HasEnded;
                    entry.HasEnded = stat.HasEnded;
                }
            }
        }
        if (found) _reading++;
        return found;
    }

    private static bool IsMarked(Entry entry, IIoReader reader) => !entry.Process.Gone && reader.TryReadStat(entry.Process, out _);

    private void Depart(Entry entry, IIoReader reader)
    {
        entry.Marked = IsMarked(entry, reader);
        _departed.Add(entry);
        _departedById.TryAdd(entry.Process.Id, entry);
    }

    private static void Learn(Entry entry, IoAccount account, in IoNumbers now, in ProcStat stat, bool again = false)
    {
        account.Add(now, entry.Last);
        entry.Gain(now);
        entry.Account = account;
        entry.Last = now;
        entry.ParentId = stat.ParentId;
        entry.HasEnded = stat.HasEnded;
        entry.Faults = stat.MinorFaults + stat.ChildMinorFaults;
        if (entry.Known && stat.ChildMinorFaults > entry.ChildFaults)
        {
            entry.Budget += stat.ChildMinorFaults - entry.ChildFaults;
            if (again) entry.Late += stat.ChildMinorFaults - entry.ChildFaults;
        }
        entry.ChildFaults = Math.Max(entry.ChildFaults, stat.ChildMinorFaults);
        entry.Known = true;
    }

    /// <summary>Takes the I/O of departed processes back from who has absorbed it.</summary>
    private void SettleDeparted(IIoReader reader)
    {
        _departed.Sort(static (a, b) => b.Faults.CompareTo(a.Faults));
        // Who was found to be gone since the round before may change what was guessed then: also of guesses at who has gone himself since.
        foreach (Entry departed in _departed)
        {
            if (departed.Parent != ParentState.Ended || departed.AbsorbedBy is not { } by) continue;
            GiveBack(departed);
            departed.WasAbsorbedByDeparted = !TryFindLiving(by.Process.Id, out Entry? living) || living != by;
        }
        // The surest first: a parent that is still there, or was until it ended.
        foreach (Entry departed in _departed)
        {
            departed.Settled |= departed.Account is null;
            if (departed.Settled) continue;
            departed.Parent = ParentOf(departed, reader, out Entry? parent);
            if (departed.Parent == ParentState.Lives) TryTakeBack(departed, parent!);
        }
        foreach (Entry departed in _departed)
            if (!departed.Settled && departed.Parent == ParentState.Ended && TryFindLiving(departed.ParentId, out Entry? parent)) TryTakeBack(departed, parent);
        foreach (Entry departed in _departed)
            if (!departed.Settled && departed.Parent == ParentState.Ended && !departed.WasAbsorbedByDeparted) Place(departed, reader, MostMoved);
        bool goOn = true;
        for (int pass = 0; goOn && pass < MostRounds; pass++)
        {
            goOn = false;
            foreach (Entry departed in _departed)
                if (!departed.Settled && departed.Parent == ParentState.Ended) goOn |= TryTakeBackFromDeparted(departed);
        }
        // Who was taken for absorbed by one that has gone since is that one's first, and only then of those who absorbed that one.
        foreach (Entry departed in _departed)
            if (!departed.Settled && departed.Parent == ParentState.Ended && departed.WasAbsorbedByDeparted) Place(departed, reader, MostMoved);
    }

    private ParentState ParentOf(Entry departed, IIoReader reader, out Entry? parent)
    {
        if (!TryFindLiving(departed.ParentId, out parent)) return ParentState.Ended;
        bool read = ReadStill(parent, reader);
        return parent.HasEnded ? ParentState.Ended : read ? ParentState.Lives : ParentState.Unknown;
    }

    // Of those who can have absorbed it, the one whose children's faults fit best. If none does, one of them may have been taken for who absorbed
    // another that a second can have absorbed as well: then that guess is changed.
    private bool Place(Entry departed, IIoReader reader, int mayMove)
    {
        Entry? best = null;
        int n = 0;
        for (Entry? ancestor = NextAbove(departed, null, ref n); ancestor is not null; ancestor = NextAbove(departed, ancestor, ref n))
            if (ReadStill(ancestor, reader) && HasAbsorbed(ancestor, departed) && (best is null || ancestor.Budget < best.Budget)) best = ancestor;
        if (best is not null) return TryTakeBack(departed, best);
        if (mayMove == 0) return false;

        n = 0;
        for (Entry? ancestor = NextAbove(departed, null, ref n); ancestor is not null; ancestor = NextAbove(departed, ancestor, ref n))
        {
            if (ancestor.Budget + ancestor.Spent < departed.Faults) continue;
            foreach (Entry other in _departed)
            {
                if (--_looks < 0) return false;
                if (other.AbsorbedBy != ancestor || other.Parent != ParentState.Ended || other.PaidFor > 0) continue;
                GiveBack(other);
                if (TryTakeBack(departed, ancestor))
                {
                    if (Place(other, reader, mayMove - 1) || TryTakeBackFromDeparted(other)) return true;
                    GiveBack(departed);
                }
                TakeBack(other, ancestor, ancestor);
            }
        }
        return false;
    }

    // A parent that was read for the last time after it had absorbed a child, and has ended since: what it was last seen with holds the child's.
    // The child's faults are the parent's, or came with the parent's to who absorbed that, after the parent was read.
    private bool TryTakeBackFromDeparted(Entry departed)
    {
        int id = departed.ParentId;
        for (int n = 0; n < MostAncestors && _departedById.TryGetValue(id, out Entry? parent) && parent != departed && parent.ParentId != id; n++)
        {
            id = parent.ParentId;
            if (parent.Account is null || !parent.HasGainedNow(departed.Last)) continue;
            Entry? payer = parent;
            if (!CanPay(parent, departed))
            {
                if (!parent.Settled) return false; // in the next pass, when it is known who pays
                payer = parent.PaidBy;
                if (payer is null || payer.Late < departed.Faults || !CanPay(payer, departed)) continue;
            }
            TakeBack(departed, parent, payer);
            return true;
        }
        return false;
    }

    // A child that was read before its parent was read again, and gone by then, may not be missed before the next sample.
    private bool TryTakeBackFromCarried(Entry departed)
    {
        Entry? best = null;
        int n = 0;
        for (Entry? ancestor = NextAbove(departed, null, ref n); ancestor is not null; ancestor = NextAbove(departed, ancestor, ref n))
            if (HasAbsorbed(ancestor, departed, ancestor.Carried) && (best is null || ancestor.Budget + ancestor.Carried < best.Budget + best.Carried)) best = ancestor;
        if (best is null) return false;
        ulong carried = Math.Max(best.Budget, departed.Faults) - best.Budget;
        best.Carried -= carried;
        best.Budget += carried;
        TakeBack(departed, best, best);
        return true;
    }

    /// <summary>Who can have absorbed it, one after the other: its parent, if that lives; if not, any ancestor may have waited for it before the parent ended or after.</summary>
    private Entry? NextAbove(Entry departed, Entry? ancestor, ref int n)
    {
        if (n++ == MostAncestors) return null;
        if (ancestor is null) return Above(departed.ParentId);
        return departed.Parent == ParentState.Lives || ancestor.ParentId == ancestor.Process.Id ? null : Above(ancestor.ParentId);
    }

    /// <summary>The first ancestor that can still be read, from the process of that number on.</summary>
    private Entry? Above(int id)
    {
        for (int n = 0; n < MostAncestors; n++)
        {
            if (TryFindLiving(id, out Entry? ancestor)) return ancestor;
            if (!_departedById.TryGetValue(id, out ancestor) || ancestor.ParentId == id) break;
            id = ancestor.ParentId;
        }
        return null;
    }

    private bool TryFindLiving(int id, [NotNullWhen(true)] out Entry? entry)
    {
        entry = null;
        // A number that was given away in this interval stands for who had it before.
        return !_departedById.ContainsKey(id) && _entries.TryGetValue(id, out entry);
    }

    // By the faults, and by its I/O: nobody has absorbed more than he has gained.
    private static bool HasAbsorbed(Entry ancestor, Entry departed, ulong carried = 0) =>
        ancestor.Account is not null && CanPay(ancestor, departed, carried) && ancestor.HasGained(departed.Last);

    // Whose faults were seen before the child was cannot have its faults among them.
    private static bool CanPay(Entry payer, Entry departed, ulong carried = 0)
    {
        ulong faults = Math.Max(1, departed.Faults);
        return payer.Budget + carried >= faults && (!departed.WasSeen || payer.Process.Id > departed.Process.Id || payer.Late >= faults);
    }

    private static bool TryTakeBack(Entry departed, Entry ancestor)
    {
        if (!HasAbsorbed(ancestor, departed)) return false;
        TakeBack(departed, ancestor, ancestor);
        return true;
    }

    private static void TakeBack(Entry departed, Entry ancestor, Entry payer)
    {
        payer.Budget -= departed.Faults;
        payer.Spent += departed.Faults;
        departed.PaidLate = departed.WasSeen || payer != ancestor ? Math.Min(payer.Late, departed.Faults) : 0;
        payer.Late -= departed.PaidLate;
        ancestor.Spend(departed.Last);
        ancestor.Account!.TakeBack(departed.Last);
        if (payer != ancestor) ancestor.PaidFor++;
        departed.AbsorbedBy = ancestor;
        departed.PaidBy = payer;
        departed.Settled = true;
    }

    private static void GiveBack(Entry departed)
    {
        Entry ancestor = departed.AbsorbedBy!, payer = departed.PaidBy!;
        departed.AbsorbedBy = departed.PaidBy = null;
        departed.Settled = false;
        payer.Budget += departed.Faults;
        payer.Spent -= departed.Faults;
        payer.Late += departed.PaidLate;
        if (payer != ancestor) ancestor.PaidFor--;
        ancestor.GiveBack(departed.Last);
        ancestor.Account!.Add(departed.Last, default);
    }

    /// <summary>Reads a process again, its I/O and its children's faults as of one moment; false when it has gone.</summary>
    private bool ReadStill(Entry entry, IIoReader reader)
    {
        if (entry.TriedIn == _reading) return entry.StillIn == _reading;
        entry.TriedIn = _reading;
        if (entry.Account is null || !reader.TryReadStat(entry.Process, out ProcStat before)) return false;
        for (int i = 0; i < ReadsUntilStill; i++)
        {
            if (!reader.TryRead(entry.Process, out IoNumbers numbers) || !reader.TryReadStat(entry.Process, out ProcStat after)) return false;
            bool still = before.ChildMinorFaults == after.ChildMinorFaults;
            if (still || i == ReadsUntilStill - 1)
            {
                Learn(entry, entry.Account, numbers, after, again: true);
                entry.StillIn = _reading;
                break;
            }
            before = after;
        }
        return true;
    }

    private IoAccount AccountOf(ProcGroup group)
    {
        ref IoAccount? account = ref CollectionsMarshal.GetValueRefOrAddDefault(_accounts, group, out _);
        return account ??= new IoAccount();
    }

    private void ForgetEnded()
    {
        foreach (ProcGroup group in _accounts.Keys)
            if (group.Ended) _accounts.Remove(group);
    }

    private enum ParentState
    {
        /// <summary>Not looked at, refused, or just going: a later round or sample knows.</summary>
        Unknown,

        /// <summary>It is there and no zombie: nobody else can have absorbed it.</summary>
        Lives,

        /// <summary>Any ancestor may have absorbed it.</summary>
        Ended,
    }

    /// <summary>What is known of one process.</summary>
    private sealed class Entry(ProcProcess process)
    {
        internal ProcProcess Process => process;

        /// <summary>The walk found it, and nobody had waited for it: who absorbed it did so after that.</summary>
        internal bool WasSeen => !process.Gone && !process.Stat.IsReaped;

        internal bool Known { get; set; }

        internal IoAccount? Account { get; set; }

        internal IoNumbers Last;
        private IoNumbers _gained; // its I/O, own and absorbed, that no departed child accounts for yet
        private IoNumbers _new; // of that, in this sample

        internal int ParentId { get; set; }

        /// <summary>A zombie.</summary>
        internal bool HasEnded { get; set; }

        /// <summary>Page faults it had when its I/O was last read, or before.</summary>
        internal ulong Faults { get; set; }

        internal ulong ChildFaults { get; set; }

        /// <summary>Its children's faults of this sample that no departed child accounts for yet.</summary>
        internal ulong Budget { get; set; }

        /// <summary>The ones that departed children account for.</summary>
        internal ulong Spent { get; set; }

        /// <summary>Those of them that came after the walk, and that nobody who was there until then accounts for yet.</summary>
        internal ulong Late { get; set; }

        /// <summary>What was left of them at the end of the sample before; most often of children that came and went unseen.</summary>
        internal ulong Carried { get; set; }

        internal void Gain(in IoNumbers now)
        {
            for (int i = 0; i < IoNumbers.Count; i++)
            {
                ulong more = Known && now[i] > Last[i] ? now[i] - Last[i] : 0;
                _gained[i] += more;
                _new[i] += more;
            }
        }

        internal bool HasGained(in IoNumbers absorbed)
        {
            for (int i = 0; i < IoNumbers.Count; i++)
                if (_gained[i] < absorbed[i]) return false;
            return true;
        }

        /// <summary>Whether it has gained as much in this sample.</summary>
        internal bool HasGainedNow(in IoNumbers absorbed)
        {
            ulong all = 0;
            for (int i = 0; i < IoNumbers.Count; i++)
            {
                if (Math.Min(_gained[i], _new[i]) < absorbed[i]) return false;
                all |= absorbed[i];
            }
            return all != 0; // who has done nothing is nobody's
        }

        internal void Spend(in IoNumbers absorbed)
        {
            for (int i = 0; i < IoNumbers.Count; i++) _gained[i] -= absorbed[i];
        }

        internal void GiveBack(in IoNumbers absorbed)
        {
            for (int i = 0; i < IoNumbers.Count; i++) _gained[i] += absorbed[i];
        }

        internal void EndSample()
        {
            Carried = Budget;
            Budget = Spent = Late = 0;
            for (int i = 0; i < IoNumbers.Count; i++) _gained[i] = Math.Min(_gained[i], _new[i]);
            _new = default;
        }

        /// <summary>Samples in which nobody was found who has absorbed it.</summary>
        internal int Tries { get; set; }

        /// <summary>It can still be read: whoever waits for it may not have its numbers yet.</summary>
        internal bool Marked { get; set; }

        /// <summary>Of a departed process: whether it is a guess who has absorbed it.</summary>
        internal ParentState Parent { get; set; }

        /// <summary>Whether it is known, or past knowing, who has absorbed it.</summary>
        internal bool Settled { get; set; }

        /// <summary>Who is taken for the one that has absorbed it.</summary>
        internal Entry? AbsorbedBy { get; set; }

        /// <summary>Who was taken for that in the round before has gone since.</summary>
        internal bool WasAbsorbedByDeparted { get; set; }

        /// <summary>Whose children's faults account for it: those of who is taken for the one that has absorbed it, or of who has absorbed that one.</summary>
        internal Entry? PaidBy { get; set; }

        /// <summary>How many of its faults are among those that came late.</summary>
        internal ulong PaidLate { get; set; }

        /// <summary>For how many that it has absorbed another pays.</summary>
        internal int PaidFor { get; set; }

        /// <summary>The last of the readings again in which it was read for the sake of departed processes.</summary>
        internal int StillIn { get; set; }

        /// <summary>The last of them in which that was tried.</summary>
        internal int TriedIn { get; set; }

        /// <summary>The last of them after which it was looked whether it is still there.</summary>
        internal int CheckedIn { get; set; }
    }
}

/// <summary>The I/O of one group.</summary>
internal sealed class IoAccount
{
    private IoNumbers _exact;
    private IoNumbers _published;

    /// <summary>What the account holds; may be ahead or behind for a sample.</summary>
    internal ref readonly IoNumbers Exact => ref _exact;

    /// <summary>What is published: what the account has ever reached, so that it never goes down.</summary>
    internal ref readonly IoNumbers Published => ref _published;

    internal void Add(in IoNumbers now, in IoNumbers before)
    {
        for (int i = 0; i < IoNumbers.Count; i++) _exact[i] = unchecked(_exact[i] + now[i] - before[i]);
    }

    internal void TakeBack(in IoNumbers absorbed)
    {
        for (int i = 0; i < IoNumbers.Count; i++) _exact[i] = unchecked(_exact[i] - absorbed[i]);
    }

    /// <summary>Ends a sample.</summary>
    internal void Publish()
    {
        for (int i = 0; i < IoNumbers.Count; i++)
        {
            // Taken back before it was seen added, an account may be below zero for a moment.
            if ((long)_exact[i] > (long)_published[i]) _published[i] = _exact[i];
        }
    }
}
