using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs.Interop;
using KubeSkoop.Probes.Procfs.Text;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Procfs;

/// <summary>I/O of processes per network namespace (and per pod in the host's), from <c>/proc/PID/io</c>; ended processes stay counted.</summary>
/// <remarks>Makes a stopped probe that shares its sources with the other probes of the package.</remarks>
public sealed class IoProbe(ProcNet net, TimeProvider? clock = null) : MetricProbe<IoRecord>(About, clock), IIoReader
{
    private readonly ProcProcesses _processes = net.Processes;
    private readonly IoLedger _ledger = new();
    private readonly byte[] _text = new byte[4 * 1024];
    private string? _deniedProblem;
    private int _denied;
    private int _malformed;
    private bool _acquired;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "io",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Medium,
        Purpose = "Bytes and system calls of file and other I/O, and what of it reaches storage.",
        Finds =
        [
            "The pod whose heavy I/O slows the node.",
            "Chatty I/O: many calls for few bytes.",
            "Reads that miss the page cache.",
        ],
        KernelSources = ["/proc/<pid>/io", "/proc/<pid>/stat", "/proc/<pid>/cgroup"],
        Requirements =
        [
            "CAP_SYS_PTRACE to see the namespaces and I/O of other users' processes.",
            "A kernel with CONFIG_TASK_IO_ACCOUNTING.",
        ],
        Metrics = IoRecord.Metrics.Describe(),
        Notes =
        [
            "A process that ends stays counted. What it did after its last sample is seen if its parent waits for it, and goes to the parent's row then.",
            "The kernel adds a process's numbers to those of the parent that waits for it; they are not counted twice. Exceptions: a parent that may not be read, and an orphan of a command sent into a container (exec), when both end between two samples.",
            "A row begins with what its processes have done so far, children they have waited for included.",
            "Processes are attributed by network namespace; in the host's, by cgroup to their pod, where one is known.",
            "Threads of the kernel are left out.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<IoRecord> Metrics => IoRecord.Metrics;

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<IoProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new IoProbe(net), cancellationToken);

    /// <inheritdoc />
    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        _processes.Acquire();
        _acquired = true;
        using SafeFileHandle proc = net.Namespaces.OpenProc();
        // Refused is not absent: a process with capabilities from its file may not even read its own, and yet others'.
        if (Libc.ReadOnce(proc, "self/io\0"u8, _text, out Errno error) > 0 || error != Errno.NoEntry) return ValueTask.FromResult<string?>("procfs");
        throw new ProbeUnavailableException(About.Name, $"cannot read {net.Namespaces.HostProc}/self/io", error.Describe(),
            "Use a kernel with CONFIG_TASK_IO_ACCOUNTING, or disable this probe.");
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        if (_acquired) _processes.Release();
        _acquired = false;
        _ledger.Clear();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<IoRecord> batch)
    {
        lock (_processes.Gate)
        {
            _denied = _malformed = 0;
            _ledger.Take(_processes.Walk(batch), this);
            for (int i = 0; i < _denied; i++) batch.Skip(SkipReason.Denied, _deniedProblem);
            for (int i = 0; i < _malformed; i++) batch.Skip(SkipReason.Malformed, "/proc/<pid>/io has not the expected form");
            foreach (ProcGroup group in _processes.Groups)
            {
                if (_ledger.Of(group) is not { } account) continue;
                account.Publish();
                Span<Reading> fields = MemoryMarshal.CreateSpan(ref batch.Add(group.Subject).ReadCharacters, IoNumbers.Count);
                for (int i = 0; i < IoNumbers.Count; i++) fields[i] = new Reading(account.Published[i]);
            }
        }
    }

    bool IIoReader.TryRead(ProcProcess process, out IoNumbers numbers)
    {
        numbers = default;
        int length = Libc.ReadOnce(process.Directory, "io\0"u8, _text, out Errno error);
        if (length <= 0)
        {
            if (error.MeansVanished() || error == Errno.None) return false;
            _denied++;
            _deniedProblem ??= $"{net.Namespaces.HostProc}/<pid>/io of other users' processes: {error.Describe()}";
            return false;
        }
        if (IoParser.TryParse(_text.AsSpan(0, length), out numbers) == FaultKind.None) return true;
        _malformed++;
        return false;
    }

    bool IIoReader.TryReadStat(ProcProcess process, out ProcStat stat) => _processes.TryReadStat(process, out stat);
}
