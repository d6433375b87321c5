using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Open descriptors and sockets per network namespace (and per pod in the host's), beside the limit of the process closest to it.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class FdProbe(ProcNet net, IOptions<FdOptions>? options = null, TimeProvider? clock = null)
    : MetricProbe<FdRecord>(About, clock), IConfigurableProbe<FdOptions>
{
    private const int SamplesBetweenLimits = 16;

    private readonly ProcProcesses _processes = net.Processes;
    private readonly Dictionary<ProcProcess, Counted> _counted = [];
    private readonly byte[] _directoryBuffer = new byte[32 * 1024];
    private readonly byte[] _text = new byte[8 * 1024];
    private FdRecord[] _rows = [];
    private SafeFileHandle? _slot;
    private bool _sizeTells;
    private int _sample;
    private int _firstId;
    private string? _deniedProblem;
    private bool _acquired;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "fd",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.High,
        Purpose = "Open descriptors and sockets of processes, and how close they are to their limit.",
        Finds =
        [
            "Descriptors that leak.",
            "Sockets that are never closed, and use up TCP memory in the end.",
            "A process about to fail with 'too many open files'.",
        ],
        KernelSources = ["/proc/<pid>/fd", "/proc/<pid>/limits", "/proc/<pid>/stat", "/proc/<pid>/cgroup"],
        Requirements = ["CAP_SYS_PTRACE to see the namespaces and descriptors of other users' processes."],
        Metrics = FdRecord.Metrics.Describe(),
        Options =
        [
            new(nameof(FdOptions.CountSockets), "boolean", "true", "Whether sockets are told from other descriptors, which takes a system call for each descriptor. Without, the probe costs little."),
            new(nameof(FdOptions.MaxLinksPerSample), "number", "100000", "Most descriptors looked at in one sample to find sockets. The rest follows in the next samples; kubeskoop.fd.uncounted_processes tells how many processes wait."),
        ],
        Notes =
        [
            "A descriptor that several processes share counts in each of them.",
            "Processes are attributed by network namespace; in the host's, by cgroup to their pod, where one is known.",
            "Threads of the kernel are left out; they have no descriptors.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<FdRecord> Metrics => FdRecord.Metrics;

    /// <inheritdoc />
    public FdOptions Options { get; private set; } = options?.Value ?? new FdOptions();

    /// <inheritdoc />
    public Type OptionsType => typeof(FdOptions);

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<FdProbe> StartNewAsync(ProcfsOptions? options = null, FdOptions? fd = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, net =>
        {
            var probe = new FdProbe(net);
            if (fd is not null) probe.Configure(fd);
            return probe;
        }, cancellationToken);

    /// <inheritdoc />
    public void Configure(ProbeOptions options)
    {
        if (options is not FdOptions fd) throw new ArgumentException($"The probe 'fd' takes {nameof(FdOptions)}.", nameof(options));
        string[] mistakes = [.. fd.Validate()];
        if (mistakes.Length > 0) throw new ArgumentException(string.Join(" ", mistakes), nameof(options));
        if (Status.State is ProbeState.Running or ProbeState.Starting) throw new InvalidOperationException("Stop the probe 'fd' before changing its settings.");
        Options = fd;
    }

    /// <inheritdoc />
    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        _processes.Acquire();
        _acquired = true;
        _slot = net.Namespaces.OpenProc();
        // We always have descriptors of our own: a size of 0 is a kernel before 6.2, which does not tell.
        _sizeTells = Libc.Stat(_slot, "self/fd\0"u8, out Libc.FileStatus status, out _) && status.Size > 0;
        return ValueTask.FromResult<string?>(_sizeTells ? "procfs, counts from the kernel" : "procfs, counts by listing");
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        if (_acquired) _processes.Release();
        _acquired = false;
        _slot?.Dispose();
        _slot = null;
        _counted.Clear();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<FdRecord> batch)
    {
        lock (_processes.Gate)
        {
            _sample++;
            List<ProcProcess> processes = _processes.Walk(batch);
            List<ProcGroup> groups = _processes.Groups;
            if (_rows.Length < groups.Count) _rows = new FdRecord[Math.Max(groups.Count, _rows.Length * 2)];
            _rows.AsSpan().Clear();

            foreach (ProcProcess process in processes) Count(process, batch);
            if (Options.CountSockets) CountSockets(processes, batch);
            foreach (ProcProcess process in processes) AddSockets(process);

            for (int i = 0; i < groups.Count; i++)
                if (groups[i].Used) batch.Add(groups[i].Subject) = Complete(_rows[i]);
            ForgetTheGone(processes.Count);
        }
    }

    private FdRecord Complete(in FdRecord row)
    {
        FdRecord record = row;
        record.Processes += 0;
        record.OpenDescriptors += 0;
        if (!Options.CountSockets) return record;
        if (!record.UncountedProcesses.HasValue) record.Sockets += 0; // else nobody knows
        record.UncountedProcesses += 0;
        return record;
    }

    private void Count(ProcProcess process, SampleBatch<FdRecord> batch)
    {
        if (process.Group is not { } group || process.Stat.HasEnded) return;
        ref Counted? known = ref CollectionsMarshal.GetValueRefOrAddDefault(_counted, process, out _);
        Counted counted = known ??= new Counted();
        if (!TryCount(process, counted, out Errno error))
        {
            Skip(batch, error);
            return;
        }
        if (counted.SamplesUntilLimit-- <= 0)
        {
            counted.SamplesUntilLimit = SamplesBetweenLimits - 1;
            int length = Libc.ReadOnce(process.Directory, "limits\0"u8, _text, out _);
            if (length > 0 && LimitsParser.TryParse(_text.AsSpan(0, length), "Max open files"u8, out Reading soft)) counted.Limit = soft;
        }
        counted.SeenIn = _sample;
        ref FdRecord row = ref _rows[group.Index];
        row.Processes += 1;
        row.OpenDescriptors += counted.Open;
        if (!counted.Limit.HasValue || (row.HighestLimit.HasValue && IsFarther(counted, row))) return;
        row.HighestOpen = counted.Open;
        row.HighestLimit = counted.Limit;
        row.HighestProcessId = process.Id;
        row.HighestCommand = process.Command;
    }

    // open / limit <= open' / limit', without a division.
    private static bool IsFarther(Counted process, in FdRecord highest) =>
        (UInt128)process.Open * highest.HighestLimit.Value <= (UInt128)highest.HighestOpen.Value * process.Limit.Value;

    private bool TryCount(ProcProcess process, Counted counted, out Errno error)
    {
        if (_sizeTells)
        {
            if (!Libc.Stat(process.Living, "fd\0"u8, out Libc.FileStatus status, out error)) return false;
            counted.Open = status.Size;
            return true;
        }
        if (!Libc.Reopen(_slot!, process.Living, "fd\0"u8, Libc.OpenDirectory, out error)) return false;
        ulong open = 0;
        var entries = new DirectoryCursor(_slot!, _directoryBuffer);
        while (entries.MoveNext())
            if (IsNumber(entries.Name)) open++;
        error = entries.Error;
        if (error != Errno.None) return false;
        counted.Open = open;
        return true;
    }

    /// <summary>Looks for sockets, from where the last sample had to stop, until all processes are done or the budget is used up.</summary>
    private void CountSockets(List<ProcProcess> processes, SampleBatch<FdRecord> batch)
    {
        int budget = Options.MaxLinksPerSample;
        int first = 0;
        while (first < processes.Count && processes[first].Id < _firstId) first++;
        for (int n = 0; n < processes.Count; n++)
        {
            ProcProcess process = processes[(first + n) % processes.Count];
            if (!_counted.TryGetValue(process, out Counted? counted) || counted.SeenIn != _sample) continue;
            if (!Libc.Reopen(_slot!, process.Living, "fd\0"u8, Libc.OpenDirectory, out Errno error))
            {
                Skip(batch, error);
                continue;
            }
            if (!LookForSockets(counted, ref budget))
            {
                _firstId = process.Id;
                return;
            }
        }
        _firstId = 0;
    }

    /// <summary>Goes on with one process's descriptors; false when the budget is used up before their end.</summary>
    private bool LookForSockets(Counted counted, ref int budget)
    {
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        Span<byte> target = stackalloc byte[8];
        var entries = new DirectoryCursor(_slot!, _directoryBuffer, counted.Position);
        while (true)
        {
            if (budget <= 0) return false;
            if (!entries.MoveNext()) break;
            counted.Position = entries.Position;
            if (!IsNumber(entries.Name)) continue;
            budget--;
            // A descriptor that was closed meanwhile is none.
            int length = Libc.ReadLink(_slot!, new NulPath(path).Append(entries.Name).Terminate(), target, out _);
            if (length == 8 && target.SequenceEqual("socket:["u8)) counted.SocketsSoFar++;
        }
        counted.Sockets = new Reading(counted.SocketsSoFar);
        counted.SocketsSoFar = 0;
        counted.Position = 0;
        counted.SocketsIn = _sample;
        return true;
    }

    private void AddSockets(ProcProcess process)
    {
        if (!Options.CountSockets || process.Group is not { } group || !_counted.TryGetValue(process, out Counted? counted) || counted.SeenIn != _sample) return;
        ref FdRecord row = ref _rows[group.Index];
        row.Sockets += counted.Sockets;
        if (counted.SocketsIn != _sample) row.UncountedProcesses += 1;
    }

    private void ForgetTheGone(int living)
    {
        if (_counted.Count <= living) return;
        foreach (ProcProcess process in _counted.Keys)
            if (process.Gone) _counted.Remove(process);
    }

    private void Skip(SampleBatch<FdRecord> batch, Errno error)
    {
        if (error.MeansVanished()) batch.Skip(SkipReason.Vanished);
        else batch.Skip(SkipReason.Denied, _deniedProblem ??= $"{net.Namespaces.HostProc}/<pid>/fd of other users' processes: {error.Describe()}");
    }

    private static bool IsNumber(ReadOnlySpan<byte> name) => name is [>= (byte)'0' and <= (byte)'9', ..];

    /// <summary>What is known of one process.</summary>
    private sealed class Counted
    {
        internal ulong Open { get; set; }

        internal Reading Limit { get; set; }

        internal int SamplesUntilLimit { get; set; }

        internal int SeenIn { get; set; }

        /// <summary>Sockets, as of the last time all descriptors had been looked at.</summary>
        internal Reading Sockets { get; set; }

        internal ulong SocketsSoFar { get; set; }

        /// <summary>Where to go on looking.</summary>
        internal long Position { get; set; }

        internal int SocketsIn { get; set; }
    }
}
