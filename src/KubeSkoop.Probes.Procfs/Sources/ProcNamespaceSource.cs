using System.Buffers.Text;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs.Interop;
using KubeSkoop.Probes.Procfs.Text;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// Finds network namespaces through the processes in <c>/proc</c> and the bind mounts in <c>/run/netns</c>. A pidfd per
/// namespace tells at once when the process it is known by has ended; the namespace is then looked for in the other
/// processes, and if none is left it ends, so that whoever pins it lets go. Until then a namespace with a pidfd is held by a descriptor, for the kernel gives the number of one that is gone to the next.
/// While somebody listens to <see cref="Ending"/>, the others are held, too, and all go half a second later: those that end within that time are read together.
/// </summary>
public sealed class ProcNamespaceSource : INetworkNamespaceSource, IDisposable
{
    private const int CommandLookups = 3; // a process often takes its final name (exec) just after it was found
    private const int BurstMilliseconds = 20;
    private const int LastReadingMilliseconds = 500;

    private readonly ProcfsOptions _options;
    private readonly IPodResolver _resolver;
    private readonly Lock _gate = new();
    private readonly Dictionary<uint, Known> _known = [];
    private readonly Dictionary<uint, Sighting> _sightings = [];
    private readonly byte[] _directoryBuffer = new byte[32 * 1024];
    private readonly byte[] _threadBuffer = new byte[4 * 1024];
    private NetworkNamespace[] _current = [];
    private SafeFileHandle? _proc;
    private Watch? _watch;
    private uint _hostInode;
    private bool _pidNumbersAreOurs;
    private uint _ownInode;
    private int _leases;
    private volatile string? _fault; // of the last look
    private volatile string? _missing; // what the last look could not see, for people
    private (int Denied, int LeftOut) _missingCounts;
    private int _podsVersion;
    private Action<IReadOnlyList<NetworkNamespace>>? _ending;

    /// <summary>Makes a source that does nothing until <see cref="Acquire"/>.</summary>
    public ProcNamespaceSource(IOptions<ProcfsOptions>? options = null, IPodResolver? resolver = null)
    {
        _options = options?.Value ?? new ProcfsOptions();
        _resolver = resolver ?? NoPodResolver.Instance;
    }

    /// <inheritdoc />
    public IReadOnlyList<NetworkNamespace> Current => Volatile.Read(ref _current);

    /// <inheritdoc />
    public event Action<IReadOnlyList<NetworkNamespace>>? Ending
    {
        add
        {
            lock (_gate) _ending += value;
        }
        remove
        {
            lock (_gate) _ending -= value;
        }
    }

    /// <summary>Processes whose namespace the kernel would not tell, at the last look: CAP_SYS_PTRACE is missing.</summary>
    public int DeniedProcesses { get; private set; }

    /// <summary>Namespaces left out at the last look because there are more than <see cref="ProcfsOptions.MaxNamespaces"/>.</summary>
    public int LeftOut { get; private set; }

    /// <inheritdoc />
    public string? Problem => _fault ?? _missing;

    /// <summary>The host's procfs.</summary>
    internal string HostProc => _options.HostProc;

    /// <summary>Names the pods.</summary>
    internal IPodResolver Resolver => _resolver;

    /// <summary>Grows when the resolver may know more, or something else, than before.</summary>
    internal int PodsVersion => Volatile.Read(ref _podsVersion);

    /// <inheritdoc />
    public IDisposable Acquire()
    {
        lock (_gate)
        {
            if (_leases == 0)
            {
                _proc = OpenProc();
                _ownInode = ReadNamespaceLink(_proc, "self/ns/net\0"u8, out _);
                _hostInode = HostInode(_proc);
                _pidNumbersAreOurs = SelfIn(_proc) == Environment.ProcessId;
                try
                {
                    Look();
                    if (_known.Count == 0 && DeniedProcesses == 0)
                    {
                        throw new ProbeUnavailableException("procfs", $"no process with a network namespace is in {HostProc}", "it seems to be no procfs",
                            $"Mount the host's procfs there, or set {ProcfsOptions.SectionName}:{nameof(ProcfsOptions.HostProc)}.");
                    }
                    _watch = new Watch(this, _options.RefreshInterval);
                }
                catch
                {
                    foreach (Known known in _known.Values) known.Dispose();
                    _known.Clear();
                    _proc.Dispose();
                    _proc = null;
                    Volatile.Write(ref _current, []);
                    throw;
                }
                foreach (Known known in _known.Values) _watch.Add(known);
                _resolver.Changed += AskForPods;
                _resolver.NamespaceTold += LookFor;
            }
            _leases++;
        }
        return new LeaseOf(this);
    }

    /// <inheritdoc />
    public void Refresh() => Refresh(null);

    // A watch that was replaced meanwhile has nothing to say any more.
    private void Refresh(Watch? by)
    {
        List<NetworkNamespace>? ended;
        lock (_gate)
        {
            if (_leases == 0 || (by is not null && by != _watch)) return;
            _fault = null;
            ended = Look();
        }
        // Outside the lock: what is registered on the end takes locks of its own.
        if (ended is not null)
            foreach (NetworkNamespace ns in ended) End(ns);
    }

    // On the watching thread only: whoever listens takes locks that others hold while they ask for a look.
    private void EndThoseDue(Watch by)
    {
        List<NetworkNamespace>? due = null;
        Action<IReadOnlyList<NetworkNamespace>>? ending;
        lock (_gate)
        {
            if (_leases == 0 || by != _watch) return;
            ending = _ending;
            foreach (Known known in _known.Values)
                if (known.IsDue(Environment.TickCount64)) (due ??= []).Add(known.Namespace);
        }
        if (due is null) return;
        try
        {
            ending?.Invoke(due);
        }
#pragma warning disable CA1031 // What it costs others must not end the watching.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _fault = $"The last reading of {due[0]} failed: {e.Message}";
        }
        lock (_gate)
        {
            if (_leases == 0 || by != _watch) return; // all have ended
            for (int i = due.Count - 1; i >= 0; i--)
            {
                if (_known.TryGetValue(due[i].Inode, out Known? known) && known.Namespace == due[i] && known.EmptySince is not null)
                {
                    known.Dispose();
                    _known.Remove(due[i].Inode);
                }
                else
                {
                    due.RemoveAt(i); // somebody has come into it meanwhile
                }
            }
            Publish();
        }
        foreach (NetworkNamespace ns in due) End(ns);
    }

    // When the next last numbers are due.
    private long? NextDue()
    {
        long? due = null;
        lock (_gate)
        {
            foreach (Known known in _known.Values)
                if (known.EmptySince is { } since && !(due <= since + LastReadingMilliseconds)) due = since + LastReadingMilliseconds;
        }
        return due;
    }

    // A pod's namespace that nobody has found yet: the next look may come when the pod has ended already.
    private void LookFor(uint inode)
    {
        lock (_gate)
        {
            if (_known.ContainsKey(inode)) return;
        }
        Refresh();
    }

    // A pod that is known later than its namespace: nothing is looked for, only the names are asked for again.
    private void AskForPods()
    {
        lock (_gate)
        {
            if (_leases == 0) return;
            foreach (Known known in _known.Values) AskForPod(known);
            Interlocked.Increment(ref _podsVersion);
        }
    }

    // What others have registered on the end must not end the watching, and with it the host's process.
    private void End(NetworkNamespace ns)
    {
        try
        {
            ns.End();
        }
#pragma warning disable CA1031 // Whatever it is: it is somebody else's.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _fault = $"What was registered on the end of {ns} failed: {e.InnerException?.Message ?? e.Message}";
        }
    }

    /// <inheritdoc />
    public SafeFileHandle? Open(NetworkNamespace networkNamespace)
    {
        ArgumentNullException.ThrowIfNull(networkNamespace);
        NamespaceFacts facts = networkNamespace.Facts;
        Span<byte> buffer = stackalloc byte[NulPath.MaxLength];
        if (facts.ProcessId is { } pid)
        {
            SafeFileHandle handle = Libc.Open(Libc.AtCurrentDirectory,
                new NulPath(buffer).Append(_options.HostProc).Append("/"u8).Append(pid).Append("/ns/net"u8).Terminate(), Libc.OpenReadOnly, out Errno error);
            if (error == Errno.None && Is(handle, networkNamespace.Inode)) return handle;
            handle.Dispose();
        }
        if (facts.Name is not null && BindingOf(networkNamespace) is { } name)
        {
            foreach (string directory in _options.NamespaceDirectories)
            {
                SafeFileHandle handle = Libc.Open(Libc.AtCurrentDirectory,
                    new NulPath(buffer).Append(directory).Append("/"u8).Append(name).Terminate(), Libc.OpenReadOnly, out Errno error);
                if (error == Errno.None && Is(handle, networkNamespace.Inode)) return handle;
                handle.Dispose();
            }
        }
        return Reopen(networkNamespace, buffer);
    }

    // The descriptor that holds a namespace nobody is in any more, for its last numbers.
    private SafeFileHandle? Reopen(NetworkNamespace ns, Span<byte> buffer)
    {
        lock (_gate)
        {
            if (!_known.TryGetValue(ns.Inode, out Known? known) || known.Namespace != ns || known.Hold is not { } hold || _ending is null) return null;
            SafeFileHandle handle = Libc.Open(Libc.AtCurrentDirectory,
                new NulPath(buffer).Append("/proc/self/fd/"u8).Append((int)hold.DangerousGetHandle()).Terminate(), Libc.OpenReadOnly, out Errno error);
            if (error == Errno.None) return handle;
            handle.Dispose();
            return null;
        }
    }

    /// <summary>Opens <c>/proc/PID/net/FILE</c> of a namespace, or, where no process is in it, enters it for the opening.</summary>
    internal ProcFile? OpenNetFile(NetworkNamespace ns, string file, out Errno error)
    {
        Span<byte> buffer = stackalloc byte[NulPath.MaxLength];
        if (ns.Facts.ProcessId is { } pid)
        {
            SafeFileHandle handle = Libc.Open(Libc.AtCurrentDirectory,
                new NulPath(buffer).Append(_options.HostProc).Append("/"u8).Append(pid).Append("/net/"u8).Append(file).Terminate(), Libc.OpenReadOnly, out error);
            // The pid may have been reused, or have moved, since it was last seen: the file is right if the pid still is.
            if (error == Errno.None && InodeOf(pid) == ns.Inode) return new ProcFile(handle);
            handle.Dispose();
            if (error == Errno.None || (error == Errno.NoEntry && InodeOf(pid) != ns.Inode)) error = Errno.NoProcess;
            if (error is not (Errno.NoProcess or Errno.NoEntry) || ns.Facts.Name is null) return null;
        }
        return OpenInside(ns, "/proc/thread-self/net/", file, out error);
    }

    /// <summary>Opens a file below <c>/proc/sys</c> as the namespace sees it. The file stays bound to the namespace, and does not pin it.</summary>
    internal ProcFile? OpenSysctl(NetworkNamespace ns, string file, out Errno error)
    {
        string directory = HostProc + "/sys/";
        if (ns.Inode != _ownInode) return OpenInside(ns, directory, file, out error);
        Span<byte> buffer = stackalloc byte[NulPath.MaxLength];
        return ProcFile.TryOpen(new NulPath(buffer).Append(directory).Append(file).Terminate(), out error);
    }

    /// <summary>Releases everything, whoever still holds a lease.</summary>
    public void Dispose() => Release(all: true);

    // What is shown as the name may have lost bytes that nobody could print.
    private byte[]? BindingOf(NetworkNamespace ns)
    {
        lock (_gate) return _known.TryGetValue(ns.Inode, out Known? known) && known.Namespace == ns ? known.Binding : null;
    }

    private static bool Is(SafeFileHandle namespaceHandle, uint inode) =>
        Libc.Stat(namespaceHandle, out Libc.FileStatus status) && status.Inode == inode;

    // setns is per thread, so this thread ends with the opening and never returns to a pool.
    private ProcFile? OpenInside(NetworkNamespace ns, string directory, string file, out Errno error)
    {
        using SafeFileHandle? handle = Open(ns);
        if (handle is null)
        {
            error = Errno.NoEntry;
            return null;
        }
        ProcFile? opened = null;
        Errno result = Errno.None;
        var thread = new Thread(() =>
        {
            if (!Libc.SetNetworkNamespace(handle, out result)) return;
            Span<byte> buffer = stackalloc byte[NulPath.MaxLength];
            opened = ProcFile.TryOpen(new NulPath(buffer).Append(directory).Append(file).Terminate(), out result);
        })
        {
            IsBackground = true,
            Name = "kubeskoop-setns",
        };
        try
        {
            thread.Start();
        }
        catch (OutOfMemoryException)
        {
            error = Errno.TooManyOpen; // what the runtime makes of a thread that cannot be started: here descriptors or threads are used up
            return null;
        }
        thread.Join();
        error = result;
        return opened;
    }

    /// <summary>Whether a namespace's number may be another's by now: the process it is known by has ended, or there is none, and neither is it held nor does its name still lead to it.</summary>
    internal bool MayBeAnother(NetworkNamespace ns)
    {
        lock (_gate)
        {
            if (ns.IsHost || !_known.TryGetValue(ns.Inode, out Known? known) || known.Namespace != ns) return false;
            if (known.IsAnother) return true;
            if (known.Hold is not null || !(known.Anchor is { } anchor ? Libc.IsReadable(anchor) : ns.ProcessId is null)) return false;
        }
        using SafeFileHandle? bound = Open(ns);
        return bound is null;
    }

    /// <summary>Opens the host's procfs.</summary>
    internal SafeFileHandle OpenProc()
    {
        Span<byte> buffer = stackalloc byte[NulPath.MaxLength];
        SafeFileHandle proc = Libc.Open(Libc.AtCurrentDirectory, new NulPath(buffer).Append(_options.HostProc).Terminate(), Libc.OpenDirectory, out Errno error);
        if (error == Errno.None) return proc;
        proc.Dispose();
        throw new ProbeUnavailableException("procfs", $"cannot open {_options.HostProc}", error.Describe(),
            $"Mount the host's procfs there, or set {ProcfsOptions.SectionName}:{nameof(ProcfsOptions.HostProc)}.");
    }

    // The namespace of the first process is the host's; where it is hidden, our own must stand in.
    private static uint HostInode(SafeFileHandle proc)
    {
        uint inode = ReadNamespaceLink(proc, "1/ns/net\0"u8, out _);
        return inode != 0 ? inode : ReadNamespaceLink(proc, "self/ns/net\0"u8, out _);
    }

    // A procfs of another pid namespace numbers processes otherwise, and pidfd_open would take its numbers for ours. Ends
    // are then noticed by the next look only.
    private static int SelfIn(SafeFileHandle proc)
    {
        Span<byte> target = stackalloc byte[16];
        int length = Libc.ReadLink(proc, "self\0"u8, target, out _);
        return length > 0 && Utf8Parser.TryParse(target[..length], out int pid, out int used) && used == length ? pid : 0;
    }

    private uint InodeOf(int pid)
    {
        Span<byte> buffer = stackalloc byte[NulPath.MaxLength];
        SafeFileHandle? proc = _proc;
        if (proc is null || proc.IsClosed) return 0;
        try
        {
            return ReadNamespaceLink(proc, new NulPath(buffer).Append(pid).Append("/ns/net"u8).Terminate(), out _);
        }
        catch (ObjectDisposedException)
        {
            return 0;
        }
    }

    /// <summary>The number in <c>net:[4026531840]</c>, or 0.</summary>
    internal static uint ReadNamespaceLink(SafeFileHandle proc, ReadOnlySpan<byte> path, out Errno error)
    {
        Span<byte> target = stackalloc byte[64];
        int length = Libc.ReadLink(proc, path, target, out error);
        if (length == 0) error = Errno.AccessDenied; // 5.10 refuses so: with a link that leads nowhere
        if (length <= 0) return 0;
        ReadOnlySpan<byte> link = target[..length];
        return link.StartsWith("net:["u8) && Utf8Parser.TryParse(link[5..], out uint inode, out int used) && link[(5 + used)..].SequenceEqual("]"u8) ? inode : 0;
    }

    /// <summary>The namespace of the first thread in a <c>task</c> directory that is still in one, or 0. Such a thread has a directory below <c>/proc</c> too, which is not listed.</summary>
    internal static uint ReadNamespaceOfThreads(SafeFileHandle directory, ReadOnlySpan<byte> nulTerminatedPath, Span<byte> buffer, out int thread)
    {
        thread = 0;
        using SafeFileHandle tasks = Libc.Open(directory, nulTerminatedPath, Libc.OpenDirectory, out Errno error);
        if (error != Errno.None) return 0;
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        var entries = new DirectoryCursor(tasks, buffer);
        while (entries.MoveNext())
        {
            if (!Utf8Parser.TryParse(entries.Name, out thread, out int used) || used != entries.Name.Length || thread <= 0) continue;
            uint inode = ReadNamespaceLink(tasks, new NulPath(path).Append(entries.Name).Append("/ns/net"u8).Terminate(), out _);
            if (inode != 0) return inode;
        }
        return 0;
    }

    /// <summary>Looks through processes and bind mounts; under the lock. Returns the namespaces that have ended.</summary>
    private List<NetworkNamespace>? Look()
    {
        List<NetworkNamespace>? ended = null;
        bool changed = false;
        for (int passes = 3; passes > 0 && LookOnce(ref ended, ref changed); passes--)
        {
        }
        DescribeMissing();
        if (changed) Publish();
        return ended;
    }

    // True when a process ended between being seen and being watched: who is left in its namespace takes another look.
    private bool LookOnce(ref List<NetworkNamespace>? ended, ref bool changed)
    {
        _sightings.Clear();
        LookAtProcesses(_proc!);
        foreach (string directory in _options.NamespaceDirectories) LookAtMounts(directory);

        foreach ((uint inode, Known known) in _known)
        {
            if (_sightings.ContainsKey(inode)) continue;
            if (known.Hold is not null && _ending is not null && !known.IsAnother)
            {
                if (known.EmptySince is not null) continue;
                known.EmptySince = Environment.TickCount64;
                known.ReleaseAnchor();
                known.Namespace.Update(known.Namespace.Facts with { ProcessId = null });
                continue;
            }
            known.Dispose();
            _known.Remove(inode);
            (ended ??= []).Add(known.Namespace);
            changed = true;
        }

        LeftOut = 0;
        bool vanished = false;
        foreach ((uint inode, Sighting seen) in _sightings)
        {
            if (!_known.TryGetValue(inode, out Known? known))
            {
                if (_known.Count >= _options.MaxNamespaces && inode != _hostInode)
                {
                    LeftOut++;
                    continue;
                }
                known = new Known(new NetworkNamespace(inode, inode == _hostInode, new NamespaceFacts(null, null, null, null)));
                _known.Add(inode, known);
                changed = true;
            }
            vanished |= !Learn(known, seen);
            if (!known.IsAnother) continue;
            known.Dispose();
            (ended ??= []).Add(known.Namespace);
            known = new Known(new NetworkNamespace(inode, false, new NamespaceFacts(null, null, null, null)));
            _known[inode] = known;
            changed = true;
            vanished |= !Learn(known, seen);
        }
        return vanished;
    }

    // The host's first; then by inode, which is the order of their creation.
    private void Publish() =>
        Volatile.Write(ref _current, [.. _known.Values.Select(static k => k.Namespace).OrderByDescending(static n => n.IsHost).ThenBy(static n => n.Inode)]);

    private void DescribeMissing()
    {
        if (_missingCounts == (DeniedProcesses, LeftOut)) return;
        _missingCounts = (DeniedProcesses, LeftOut);
        string? hidden = DeniedProcesses == 0 ? null
            : DeniedProcesses == 1 ? "The network namespace of 1 process cannot be seen, and is missing if no other is in it: run with CAP_SYS_PTRACE."
            : $"The network namespaces of {DeniedProcesses} processes cannot be seen, and those that no other is in are missing: run with CAP_SYS_PTRACE.";
        string? many = LeftOut == 0 ? null
            : $"{LeftOut} network namespaces are left out: raise {ProcfsOptions.SectionName}:{nameof(ProcfsOptions.MaxNamespaces)}, which is {_options.MaxNamespaces}.";
        _missing = hidden is null ? many : many is null ? hidden : $"{hidden} {many}";
    }

    // False, and nothing learnt, when the process it was seen by has ended meanwhile.
    private bool Learn(Known known, Sighting seen)
    {
        NamespaceFacts before = known.Namespace.Facts;
        known.EmptySince = null; // held, so that the number cannot be another's yet
        // A pidfd that is readable belongs to a dead process, even when its number is in use again.
        bool alive = seen.AnchorSeen && (known.Anchor is { } held ? !Libc.IsReadable(held) : !_pidNumbersAreOurs);
        int? pid = alive ? before.ProcessId : seen.LowestPid;
        string? command = before.Command;
        if (!alive)
        {
            SafeFileHandle? next = null;
            if (pid is { } process && _pidNumbersAreOurs)
            {
                next = Libc.OpenPidFd(process, out Errno error);
                if (error != Errno.None)
                {
                    next.Dispose();
                    next = null;
                    // The anchor that was is kept: it wakes again. Other errors: a kernel before 5.3, a thread that is not its process's first.
                    if (error == Errno.NoProcess) return false;
                    if (error is Errno.TooManyOpen or Errno.TooManyInSystem) _fault ??= $"The end of {known.Namespace} cannot be waited for, only looked for: {error.Describe()}";
                }
            }
            known.ReleaseAnchor();
            known.Anchor = next;
            _watch?.Add(known);
            known.CommandLookups = 0;
            if (pid is null) command = null;
        }
        if (pid is { } anchor && known.CommandLookups < CommandLookups)
        {
            known.CommandLookups++;
            command = ReadCommand(anchor) ?? command;
        }
        // The kernel gives the number of an ended namespace to the next one at once.
        known.IsAnother |= !alive && known.Hold is null && known.Binding is not null && seen.Binding is not null && seen.Binding != known.Binding;
        if (known.IsAnother) return true;
        string? name = seen.Binding is null ? null : seen.Binding == known.Binding ? before.Name : KernelText.Decode(seen.Binding);
        known.Binding = seen.Binding;
        known.Namespace.Update(before with { Name = name, ProcessId = pid, Command = command });
        // Held until its end is noticed, which the anchor tells at once, its number is nobody else's.
        if ((_ending is not null || known.Anchor is not null) && !known.Namespace.IsHost) known.Hold ??= Open(known.Namespace);
        else if (pid is null) known.ReleaseHold();
        AskForPod(known);
        return true;
    }

    private void AskForPod(Known known)
    {
        NetworkNamespace ns = known.Namespace;
        PodIdentity? pod = null;
        try
        {
            pod = _resolver.Resolve(ns);
        }
#pragma warning disable CA1031 // A resolver is the host's own; it must not end the watching of all namespaces.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _fault ??= $"The pod resolver {_resolver.GetType().Name} failed: {e.Message}";
        }
        if (pod is null) return;
        // No namespace goes from one pod to another: it is a new one with an ended one's number, and ends at the next look.
        if (!ns.IsHost && ns.Pod?.Uid is { } uid && pod.Uid is { } other && uid != other) known.IsAnother = true;
        else ns.Update(ns.Facts with { Pod = pod });
    }

    private string? ReadCommand(int pid)
    {
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        using SafeFileHandle file = Libc.Open(_proc!, new NulPath(path).Append(pid).Append("/comm"u8).Terminate(), Libc.OpenReadOnly, out Errno error);
        if (error != Errno.None) return null;
        Span<byte> text = stackalloc byte[64];
        int length = Libc.ReadAt(file, text, 0, out _);
        if (length <= 0) return null;
        ReadOnlySpan<byte> command = text[..length];
        if (command[^1] == (byte)'\n') command = command[..^1];
        return KernelText.Decode(command);
    }

    private void LookAtProcesses(SafeFileHandle proc)
    {
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        int denied = 0;
        var entries = new DirectoryCursor(proc, _directoryBuffer);
        while (entries.MoveNext())
        {
            if (!Utf8Parser.TryParse(entries.Name, out int pid, out int used) || used != entries.Name.Length || pid <= 0) continue;
            uint inode = ReadNamespaceLink(proc, new NulPath(path).Append(entries.Name).Append("/ns/net"u8).Terminate(), out Errno error);
            // A first thread that has ended has left the namespace; its process may go on in other threads, which are still there.
            if (inode == 0 && error == Errno.NoEntry)
            {
                inode = ReadNamespaceOfThreads(proc, new NulPath(path).Append(entries.Name).Append("/task"u8).Terminate(), _threadBuffer, out int thread);
                if (inode == 0) continue;
                pid = thread;
            }
            if (inode == 0)
            {
                if (error is not (Errno.AccessDenied or Errno.NotPermitted)) continue;
                denied++;
                continue;
            }
            ref Sighting seen = ref CollectionsMarshal.GetValueRefOrAddDefault(_sightings, inode, out _);
            if (seen.LowestPid is null || pid < seen.LowestPid) seen.LowestPid = pid;
            if (_known.TryGetValue(inode, out Known? known) && known.Namespace.ProcessId == pid) seen.AnchorSeen = true;
        }
        DeniedProcesses = denied;
    }

    private void LookAtMounts(string directory)
    {
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        using SafeFileHandle handle = Libc.Open(Libc.AtCurrentDirectory, new NulPath(path).Append(directory).Terminate(), Libc.OpenDirectory, out Errno error);
        if (error == Errno.NoEntry) return; // no directory, no bound namespaces
        if (error != Errno.None)
        {
            // Cannot be looked into just now: what was bound there is taken to be there still.
            _fault = $"{directory}: {error.Describe()}";
            foreach ((uint inode, Known bound) in _known)
                if (bound.Binding is { } binding) CollectionsMarshal.GetValueRefOrAddDefault(_sightings, inode, out _).Binding ??= binding;
            return;
        }
        if (!Libc.Stat(_proc!, "self/ns/net\0"u8, out Libc.FileStatus nsfs, out _)) return;
        var entries = new DirectoryCursor(handle, _directoryBuffer);
        while (entries.MoveNext())
        {
            if (entries.Name is [(byte)'.'] or [(byte)'.', (byte)'.']) continue;
            // A name whose mount is gone is an ordinary file of another file system.
            ReadOnlySpan<byte> name = new NulPath(path).Append(entries.Name).Terminate();
            if (!Libc.Stat(handle, name, out Libc.FileStatus status, out _)
                || status.DeviceMajor != nsfs.DeviceMajor || status.DeviceMinor != nsfs.DeviceMinor) continue;
            uint inode = (uint)status.Inode;
            Known? known = _known.GetValueOrDefault(inode);
            if (known is null && !_sightings.ContainsKey(inode) && !IsNetworkNamespace(handle, name)) continue;
            ref Sighting seen = ref CollectionsMarshal.GetValueRefOrAddDefault(_sightings, inode, out _);
            if (known?.Binding is { } before && entries.Name.SequenceEqual(before)) seen.Binding = before;
            else seen.Binding ??= entries.Name.ToArray();
        }
    }

    private static bool IsNetworkNamespace(SafeFileHandle directory, ReadOnlySpan<byte> nulTerminatedName)
    {
        using SafeFileHandle file = Libc.Open(directory, nulTerminatedName, Libc.OpenReadOnly, out Errno error);
        return error == Errno.None && Libc.IsNetworkNamespace(file);
    }

    private void Release(bool all)
    {
        NetworkNamespace[] ended;
        lock (_gate)
        {
            if (_leases == 0) return;
            _leases = all ? 0 : _leases - 1;
            if (_leases > 0) return;
            _resolver.Changed -= AskForPods;
            _resolver.NamespaceTold -= LookFor;
            _watch?.Stop();
            _watch = null;
            foreach (Known known in _known.Values) known.Dispose();
            _known.Clear();
            _proc?.Dispose();
            _proc = null;
            ended = _current;
            Volatile.Write(ref _current, []);
        }
        // Nobody watches them any more, so nobody may go on pinning them.
        foreach (NetworkNamespace ns in ended) End(ns);
    }

    private struct Sighting
    {
        internal int? LowestPid;
        internal bool AnchorSeen;
        internal byte[]? Binding;
    }

    private sealed class Known(NetworkNamespace ns) : IDisposable
    {
        internal NetworkNamespace Namespace => ns;

        /// <summary>The name it is bound to, byte by byte.</summary>
        internal byte[]? Binding { get; set; }

        /// <summary>A pidfd of the process the namespace is known by.</summary>
        internal SafeFileHandle? Anchor { get; set; }

        /// <summary>Keeps the namespace from going before its end is noticed, and its last numbers are read.</summary>
        internal SafeFileHandle? Hold { get; set; }

        /// <summary>Since when nobody is in it, while it is held.</summary>
        internal long? EmptySince { get; set; }

        internal int CommandLookups { get; set; }

        /// <summary>Found to be another namespace than the one it was, with the same number.</summary>
        internal bool IsAnother { get; set; }

        internal void ReleaseAnchor()
        {
            Anchor?.Dispose();
            Anchor = null;
        }

        internal void ReleaseHold()
        {
            Hold?.Dispose();
            Hold = null;
        }

        internal bool IsDue(long now) => EmptySince + LastReadingMilliseconds <= now;

        public void Dispose()
        {
            ReleaseAnchor();
            ReleaseHold();
        }
    }

    private sealed class LeaseOf(ProcNamespaceSource source) : IDisposable
    {
        private int _disposed;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0) source.Release(all: false);
        }
    }

    /// <summary>The thread that waits for processes to end and for the next period.</summary>
    private sealed class Watch
    {
        private readonly ProcNamespaceSource _source;
        private readonly SafeFileHandle _epoll = Libc.CreateEpoll();
        private readonly SafeFileHandle _wakeOnly = Libc.CreateEpoll();
        private readonly SafeFileHandle _wake = Libc.CreateEventFd();
        private readonly LookSchedule _schedule;
        private volatile bool _stopping;

        internal Watch(ProcNamespaceSource source, TimeSpan period)
        {
            _source = source;
            _schedule = new LookSchedule((int)Math.Min(period.TotalMilliseconds, int.MaxValue), Environment.TickCount64);
            Libc.WatchReadable(_epoll, _wake, 0);
            Libc.WatchReadable(_wakeOnly, _wake, 0);
            new Thread(Run) { IsBackground = true, Name = "kubeskoop-netns" }.Start();
        }

        internal void Add(Known known)
        {
            if (known.Anchor is { IsInvalid: false, IsClosed: false } anchor) Libc.WatchReadable(_epoll, anchor, known.Namespace.Inode);
        }

        internal void Stop()
        {
            _stopping = true;
            Libc.Signal(_wake);
        }

        private void Run()
        {
            while (!_stopping)
            {
                int ready = Libc.WaitReadable(_epoll, _schedule.Sleep(Environment.TickCount64, _source.NextDue()));
                if (_stopping) break;
                if (ready != 0)
                {
                    // Pods die in groups: one look for all that end within a moment, and a bound on looks per second.
                    _ = Libc.WaitReadable(_wakeOnly, BurstMilliseconds);
                }
                try
                {
                    if (ready != 0 || _schedule.IsDue(Environment.TickCount64))
                    {
                        _source.Refresh(this);
                        _schedule.Looked(Environment.TickCount64);
                    }
                    _source.EndThoseDue(this);
                }
#pragma warning disable CA1031 // An unhandled exception of a thread ends the host's process.
                catch (Exception e)
#pragma warning restore CA1031
                {
                    _source._fault = $"Looking for namespaces failed: {e.Message}";
                    _schedule.Looked(Environment.TickCount64);
                    _ = Libc.WaitReadable(_wakeOnly, _schedule.Period);
                }
            }
            _wakeOnly.Dispose();
            _epoll.Dispose();
            _wake.Dispose();
        }
    }
}

internal static class NamespaceProblems
{
    /// <summary>Notes, once for a sample, that namespaces are missing: for who looks at a probe and not at the source of namespaces.</summary>
    internal static void NoteProblem<TRecord>(this INetworkNamespaceSource namespaces, SampleBatch<TRecord> batch)
        where TRecord : struct
    {
        if (namespaces.Problem is { } problem) batch.Skip(SkipReason.Denied, problem);
    }
}
