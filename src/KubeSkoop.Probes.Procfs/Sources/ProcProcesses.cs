using System.Buffers.Text;
using System.Text;
using KubeSkoop.Probes.Procfs.Interop;
using KubeSkoop.Probes.Procfs.Text;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// The machine's processes and whose they are, walked at most once per round for all probes that look into processes.
/// Thread group leaders only: every thread shows the whole process's descriptors and I/O.
/// </summary>
/// <remarks>
/// The directory <c>/proc/PID</c> of each process is kept open (as a path, which pins nothing): whatever is opened below it belongs to this very process, also when its
/// number has been given to another one meanwhile. Who a process belongs to, its network namespace and in the host's its
/// cgroup, is read when it is found and looked at again now and then.
/// </remarks>
internal sealed class ProcProcesses : IDisposable
{
    private const int WalksBetweenLooks = 16;
    private const int LooksAtOnce = 3; // a process often moves (unshare, setns, exec) just after it was found
    private const int MostProcesses = 4 * 1024 * 1024; // PID_MAX_LIMIT

    private readonly ProcNamespaceSource _source;
    private readonly bool _byContainer;
    private readonly byte[] _directoryBuffer = new byte[32 * 1024];
    private readonly byte[] _threadBuffer = new byte[4 * 1024];
    private readonly byte[] _text = new byte[16 * 1024];
    private readonly Dictionary<int, ProcProcess> _byId = [];
    private readonly Dictionary<uint, ProcGroup> _byInode = [];
    private readonly Dictionary<PodIdentity, ProcGroup> _hostPods = [];
    private readonly Dictionary<(NetworkNamespace Namespace, PodIdentity? HostPod, string Container), ProcGroup> _containers = [];
    private readonly Dictionary<string, ProcCgroup> _cgroups = [];
    private readonly List<ProcGroup> _groups = [];
    private List<ProcProcess> _processes = [];
    private List<ProcProcess> _next = [];
    private IReadOnlyList<NetworkNamespace>? _snapshot;
    private IDisposable? _lease;
    private SafeFileHandle? _proc;
    private string? _deniedProblem;
    private long _round;
    private int _walk;
    private int _podsVersion;
    private int _denied;
    private int _vanished;
    private int _malformed;
    private int _users;

    /// <param name="source">The namespaces.</param>
    /// <param name="byContainer">Whether the containers of a pod, where they are known, are told apart.</param>
    internal ProcProcesses(ProcNamespaceSource source, bool byContainer)
    {
        _source = source;
        _byContainer = byContainer;
    }

    /// <summary>Held while the processes are used.</summary>
    internal Lock Gate { get; } = new();

    /// <summary>Who processes belong to, as of the last walk: a namespace, a pod in the host's, or a container of either.</summary>
    internal List<ProcGroup> Groups => _groups;

    internal void Acquire()
    {
        lock (Gate)
        {
            if (_users == 0)
            {
                _lease = _source.Acquire();
                _proc = _source.OpenProc();
            }
            _users++;
        }
    }

    internal void Release()
    {
        lock (Gate)
        {
            if (_users == 0 || --_users > 0) return;
            foreach (ProcProcess process in _byId.Values) process.Leave(); // threads of the kernel too, which are in no walk
            _processes.Clear();
            _next.Clear();
            _byId.Clear();
            _byInode.Clear();
            _hostPods.Clear();
            _containers.Clear();
            _cgroups.Clear();
            _groups.Clear();
            _snapshot = null;
            _round = 0;
            _proc?.Dispose();
            _proc = null;
            _lease?.Dispose();
            _lease = null;
        }
    }

    /// <summary>The user processes there are in this round, in the order of their numbers; under <see cref="Gate"/>.</summary>
    internal List<ProcProcess> Walk<TRecord>(SampleBatch<TRecord> batch)
        where TRecord : struct
    {
        if (_round != batch.Round.Id)
        {
            Walk();
            _round = batch.Round.Id;
        }
        for (int i = 0; i < _vanished; i++) batch.Skip(SkipReason.Vanished);
        for (int i = 0; i < _denied; i++) batch.Skip(SkipReason.Denied, _deniedProblem);
        for (int i = 0; i < _malformed; i++) batch.Skip(SkipReason.Malformed, "/proc/<pid>/stat has not the expected form");
        return _processes;
    }

    /// <summary>Reads <c>stat</c> again, for who needs it as of now; as it was where it cannot be read. False when the process is gone.</summary>
    internal bool TryReadStat(ProcProcess process, out ProcStat stat)
    {
        stat = process.Stat;
        if (!TryReadStat(process, out ProcStat? now, out _, out Errno error)) return error != Errno.None; // refused is not gone: it would be another process to us, and count anew
        stat = now ?? stat;
        return true;
    }

    /// <summary>Reads <c>stat</c> as it is now: null for what cannot be parsed. False when the process is gone (no error), or refused.</summary>
    private bool TryReadStat(ProcProcess process, out ProcStat? stat, out ReadOnlySpan<byte> command, out Errno error)
    {
        stat = null;
        command = default;
        // Without a thread, it was let go of while it was looked at; or its first thread has been replaced by the one that calls exec, which is found when it is opened again.
        for (int look = 0; look < 2; look++)
        {
            int length = Libc.ReadOnce(process.Directory, "stat\0"u8, _text, out error);
            if (length <= 0)
            {
                if (error.MeansVanished()) error = Errno.None;
                return false;
            }
            if (ProcStatParser.TryParse(_text.AsSpan(0, length), out ProcStat now, out command) != FaultKind.None) return true;
            if (now.StartTime != process.Stat.StartTime) return false;
            stat = now;
            if (now.Threads > 0) return true;
        }
        error = Errno.None;
        return false;
    }

    public void Dispose()
    {
        lock (Gate)
        {
            _users = Math.Min(_users, 1);
            Release();
        }
    }

    private void Walk()
    {
        _walk++;
        _denied = _vanished = _malformed = 0;
        FollowNamespaces();
        FollowPods();
        _next.Clear();
        bool ordered = true;
        int last = 0, seen = 0;
        var entries = new DirectoryCursor(_proc!, _directoryBuffer);
        while (entries.MoveNext() && _next.Count < MostProcesses)
        {
            if (!Utf8Parser.TryParse(entries.Name, out int pid, out int used) || used != entries.Name.Length || pid <= 0) continue;
            ProcProcess? process = Look(pid, entries.Name);
            if (process is null || process.SeenIn == _walk) continue;
            process.SeenIn = _walk;
            seen++;
            if (process.Stat.IsKernelThread) continue; // no descriptors, and no namespace of its own
            ordered &= pid > last;
            last = pid;
            _next.Add(process);
        }
        if (_byId.Count != seen && entries.Error == Errno.None)
        {
            foreach ((int id, ProcProcess process) in _byId)
            {
                // Not in the list is not gone: it may be hidden from us by now (hidepid).
                if (process.SeenIn == _walk || TryReadStat(process, out _)) continue;
                _byId.Remove(id);
                Forget(process);
            }
        }
        if (!ordered) _next.Sort(static (a, b) => a.Id.CompareTo(b.Id));
        (_processes, _next) = (_next, _processes);
        FollowGroups();
    }

    /// <summary>The process with this number, as of now; <see langword="null"/> for one that is gone or refused.</summary>
    private ProcProcess? Look(int pid, ReadOnlySpan<byte> name)
    {
        if (_byId.TryGetValue(pid, out ProcProcess? known))
        {
            if (Refresh(known)) return known;
            // Gone since the last walk, and the number belongs to another process, or to none.
            _byId.Remove(pid);
            Forget(known);
        }
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        SafeFileHandle directory = Libc.Open(_proc!, new NulPath(path).Append(name).Terminate(), Libc.OpenPath | Libc.OpenDirectory, out Errno error);
        if (error != Errno.None)
        {
            directory.Dispose();
            Missed(error);
            return null;
        }
        var process = new ProcProcess(pid, directory);
        int length = Libc.ReadOnce(directory, "stat\0"u8, _text, out error);
        if (length <= 0 || ProcStatParser.TryParse(_text.AsSpan(0, length), out ProcStat stat, out ReadOnlySpan<byte> command) != FaultKind.None)
        {
            directory.Dispose();
            if (length > 0) _malformed++;
            else Missed(error);
            return null;
        }
        process.Stat = stat;
        process.Named(command);
        FollowThreads(process);
        if (!stat.IsKernelThread) LookWhose(process);
        _byId.Add(pid, process);
        return process;
    }

    private bool Refresh(ProcProcess process)
    {
        if (process.Stat.IsKernelThread && process.WalksUntilLook-- > 0) return true; // there are thousands on large machines
        if (!TryReadStat(process, out ProcStat? now, out ReadOnlySpan<byte> command, out Errno error))
        {
            if (error == Errno.None) return false;
            Missed(error);
            return true;
        }
        // What cannot be parsed now could be at first: keep what is known.
        if (now is not { } stat) return true;
        process.Stat = stat;
        if (!stat.IsKernelThread) process.Named(command); // a worker's name is that of its work
        FollowThreads(process);
        if (stat.IsKernelThread) process.WalksUntilLook = WalksBetweenLooks;
        else if (process.WalksUntilLook-- <= 0 || process.Group is null || process.Cgroup?.PodChangedIn == _walk) LookWhose(process);
        else if (process.Denied) _denied++;
        return true;
    }

    // A first thread that has ended has no descriptors and no namespace, though the process goes on in its other threads.
    private void FollowThreads(ProcProcess process)
    {
        if (!process.Stat.LivesInOtherThreads) return;
        if (process.Thread is { } thread && ProcNamespaceSource.ReadNamespaceLink(thread, "ns/net\0"u8, out _) != 0) return;
        process.Thread = null;
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        if (ProcNamespaceSource.ReadNamespaceOfThreads(process.Directory, "task\0"u8, _threadBuffer, out int id) == 0) return;
        SafeFileHandle directory = Libc.Open(process.Directory, new NulPath(path).Append("task/"u8).Append(id).Terminate(), Libc.OpenPath | Libc.OpenDirectory, out Errno error);
        if (error == Errno.None) process.Thread = directory;
        else directory.Dispose();
    }

    private void LookWhose(ProcProcess process)
    {
        process.WalksUntilLook = process.Looks++ < LooksAtOnce ? 0 : WalksBetweenLooks - 1;
        uint inode = ProcNamespaceSource.ReadNamespaceLink(process.Living, "ns/net\0"u8, out Errno error);
        process.Denied = inode == 0 && error is Errno.AccessDenied or Errno.NotPermitted;
        if (process.Denied)
        {
            _denied++;
            _deniedProblem ??= $"{_source.HostProc}/<pid>/ns/net of other users' processes: {error.Describe()}";
        }
        if (inode == 0)
        {
            // Who ends leaves its namespace before it is a zombie, and its numbers are still the group's.
            if (process.Denied) process.Group = null;
            return;
        }
        if (!_byInode.TryGetValue(inode, out ProcGroup? group))
        {
            process.Group = null; // found at the source's next look
            return;
        }
        process.Group = group;
        if (!group.Namespace.IsHost && !_byContainer) return;
        ProcCgroup? cgroup = CgroupOf(process);
        PodIdentity? hostPod = group.Namespace.IsHost ? cgroup?.Pod : null;
        if (_byContainer && cgroup?.Container is { } container)
        {
            if (!_containers.TryGetValue((group.Namespace, hostPod, container), out ProcGroup? containerGroup))
            {
                containerGroup = new ProcGroup(group.Namespace, hostPod, container);
                _containers.Add((group.Namespace, hostPod, container), containerGroup);
                _groups.Add(containerGroup);
            }
            process.Group = containerGroup;
        }
        else if (hostPod is not null)
        {
            if (!_hostPods.TryGetValue(hostPod, out ProcGroup? podGroup))
            {
                podGroup = new ProcGroup(group.Namespace, hostPod);
                _hostPods.Add(hostPod, podGroup);
                _groups.Add(podGroup);
            }
            process.Group = podGroup;
        }
    }

    private ProcCgroup? CgroupOf(ProcProcess process)
    {
        int length = Libc.ReadOnce(process.Directory, "cgroup\0"u8, _text, out _);
        if (length <= 0 || length == _text.Length) return process.Cgroup;
        ReadOnlySpan<byte> file = _text.AsSpan(0, length);
        if (process.Cgroup is null || !file.SequenceEqual(process.Cgroup.File))
        {
            process.LeaveCgroup(_cgroups);
            string key = Encoding.Latin1.GetString(file);
            if (!_cgroups.TryGetValue(key, out ProcCgroup? cgroup))
            {
                cgroup = new ProcCgroup(key, file.ToArray());
                Ask(cgroup);
                _cgroups.Add(key, cgroup);
            }
            cgroup.Processes++;
            process.Cgroup = cgroup;
        }
        else if (process.Cgroup.Pod is null && _walk - process.Cgroup.AskedIn >= WalksBetweenLooks)
        {
            Ask(process.Cgroup); // a pod that was not known yet may be known now
        }
        return process.Cgroup;
    }

    private void Ask(ProcCgroup cgroup)
    {
        cgroup.AskedIn = _walk;
        (cgroup.Pod, cgroup.Container) = (null, null);
        foreach (string path in cgroup.Paths)
        {
            cgroup.Pod = _source.Resolver.ResolveCgroup(path);
            cgroup.Container = _byContainer ? _source.Resolver.ResolveContainer(path) : null;
            if (cgroup.Pod is not null || cgroup.Container is not null) return;
        }
    }

    // Pods become known, or get other names, after their processes were found.
    private void FollowPods()
    {
        int version = _source.PodsVersion;
        if (version == _podsVersion) return;
        _podsVersion = version;
        foreach (ProcCgroup cgroup in _cgroups.Values)
        {
            (PodIdentity? pod, string? container) = (cgroup.Pod, cgroup.Container);
            Ask(cgroup);
            cgroup.Pod ??= pod; // who has ended keeps its names
            cgroup.Container ??= container;
            if (cgroup.Pod != pod || cgroup.Container != container) cgroup.PodChangedIn = _walk;
        }
    }

    private void Forget(ProcProcess process)
    {
        process.LeaveCgroup(_cgroups);
        process.Leave();
    }

    private void FollowNamespaces()
    {
        IReadOnlyList<NetworkNamespace> current = _source.Current;
        if (ReferenceEquals(current, _snapshot)) return;
        _snapshot = current;
        foreach (ProcGroup group in _groups) group.Ended = true;
        foreach (NetworkNamespace ns in current)
        {
            if (_byInode.TryGetValue(ns.Inode, out ProcGroup? group) && group.Namespace == ns)
            {
                group.Ended = false;
                continue;
            }
            group = new ProcGroup(ns, null);
            _byInode[ns.Inode] = group;
            _groups.Add(group);
        }
        foreach (ProcGroup group in _hostPods.Values) group.Ended = group.Namespace.Ended.IsCancellationRequested;
        foreach (ProcGroup group in _containers.Values) group.Ended = !_byInode.TryGetValue(group.Namespace.Inode, out ProcGroup? all) || all.Namespace != group.Namespace || all.Ended;
    }

    // A pod in the host's namespace, and a container, have no end of their own: they end some walks after their last process.
    private void FollowGroups()
    {
        foreach (ProcGroup group in _groups) group.Processes = 0;
        foreach (ProcProcess process in _processes)
            if (process.Group is { } group) group.Processes++;
        for (int i = _groups.Count - 1; i >= 0; i--)
        {
            ProcGroup group = _groups[i];
            group.EmptyWalks = group.Processes > 0 ? 0 : group.EmptyWalks + 1;
            if (group.Processes > 0) group.Used = true;
            if ((group.Pod is not null || group.Container is not null) && group.EmptyWalks > WalksBetweenLooks) group.Ended = true;
            if (!group.Ended) continue;
            if (group.Container is { } container) _containers.Remove((group.Namespace, group.Pod, container));
            else if (group.Pod is { } pod) _hostPods.Remove(pod);
            else if (_byInode.TryGetValue(group.Namespace.Inode, out ProcGroup? now) && now == group) _byInode.Remove(group.Namespace.Inode);
            _groups.RemoveAt(i);
        }
        for (int i = 0; i < _groups.Count; i++) _groups[i].Index = i;
    }

    private void Missed(Errno error)
    {
        if (error.MeansVanished() || error == Errno.None)
        {
            _vanished++;
            return;
        }
        _denied++;
        _deniedProblem ??= $"{_source.HostProc}/<pid>: {error.Describe()}";
    }
}

/// <summary>Who processes belong to: a network namespace, or a pod that shares the host's; or one container of it.</summary>
internal sealed class ProcGroup(NetworkNamespace ns, PodIdentity? pod, string? container = null)
{
    internal NetworkNamespace Namespace => ns;

    /// <summary>The pod, where the namespace does not tell.</summary>
    internal PodIdentity? Pod => pod;

    /// <summary>The container, where containers are told apart.</summary>
    internal string? Container => container;

    internal SampleSubject Subject { get; } = container is not null ? new SampleSubject(ns, pod, new SampleAttribute(AttributeNames.Container, container))
        : pod is null ? ns.Subject : new SampleSubject(ns, pod);

    /// <summary>Its place in the list of groups, as of the last walk.</summary>
    internal int Index { get; set; }

    /// <summary>Living processes and zombies.</summary>
    internal int Processes { get; set; }

    /// <summary>Whether it ever had a process; a bound namespace may have none.</summary>
    internal bool Used { get; set; }

    internal int EmptyWalks { get; set; }

    internal bool Ended { get; set; }
}

/// <summary>What cgroups processes are in, of the host's network namespace or, where containers are told apart, of any: one in each hierarchy.</summary>
/// <param name="key">The text of the file, byte by byte.</param>
/// <param name="file">The file.</param>
internal sealed class ProcCgroup(string key, byte[] file)
{
    internal string Key => key;

    internal byte[] File => file;

    /// <summary>The different paths, in the order in which they are asked for.</summary>
    internal string[] Paths { get; } = PathsIn(file);

    internal PodIdentity? Pod { get; set; }

    internal string? Container { get; set; }

    internal int AskedIn { get; set; }

    internal int PodChangedIn { get; set; }

    internal int Processes { get; set; }

    private static string[] PathsIn(ReadOnlySpan<byte> file)
    {
        var paths = new List<string>();
        var cgroups = new CgroupCursor(file);
        while (cgroups.MoveNext())
        {
            string path = KernelText.Decode(cgroups.Current);
            if (!paths.Contains(path)) paths.Add(path);
        }
        return [.. paths];
    }
}

/// <summary>One process for its whole life.</summary>
internal sealed class ProcProcess(int id, SafeFileHandle directory)
{
    private byte[] _name = [];
    private ProcGroup? _group;
    private SafeFileHandle? _thread;

    internal int Id => id;

    /// <summary>The directory <c>/proc/PID</c>, bound to this process and not to its number.</summary>
    internal SafeFileHandle Directory => directory;

    /// <summary>A living thread's directory below it, where the first thread has ended before the process.</summary>
    internal SafeFileHandle? Thread
    {
        get => _thread;
        set
        {
            _thread?.Dispose();
            _thread = value;
        }
    }

    /// <summary>Where to read what belongs to a thread: namespaces and descriptors.</summary>
    internal SafeFileHandle Living => _thread ?? directory;

    internal ProcStat Stat { get; set; }

    /// <summary>The command (comm). Chosen by the process: hostile.</summary>
    internal string Command { get; private set; } = string.Empty;

    /// <summary>Whose it is; <see langword="null"/> while that is not known.</summary>
    internal ProcGroup? Group
    {
        get => _group is { Ended: false } ? _group : null;
        set => _group = value;
    }

    internal ProcCgroup? Cgroup { get; set; }

    internal int SeenIn { get; set; }

    internal int Looks { get; set; }

    internal int WalksUntilLook { get; set; }

    internal bool Denied { get; set; }

    /// <summary>It has been reaped.</summary>
    internal bool Gone { get; private set; }

    internal void Named(ReadOnlySpan<byte> command)
    {
        if (command.SequenceEqual(_name)) return;
        _name = command.ToArray();
        Command = KernelText.Decode(command);
    }

    internal void LeaveCgroup(Dictionary<string, ProcCgroup> cgroups)
    {
        if (Cgroup is { } cgroup && --cgroup.Processes == 0) cgroups.Remove(cgroup.Key);
        Cgroup = null;
    }

    internal void Leave()
    {
        Gone = true;
        Thread = null;
        directory.Dispose();
    }
}
