using System.Globalization;
using KubeSkoop.Probes.Procfs.Interop;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>The receive softirq of each CPU, once for the node, from <c>/proc/net/softnet_stat</c>.</summary>
/// <remarks>Makes a stopped probe that looks where the other probes of the package do.</remarks>
public sealed class SoftnetProbe(ProcNet net, TimeProvider? clock = null) : MetricProbe<SoftnetRecord>(About, clock)
{
    private const int MostCpus = 16 * 1024;
    private const string OnlineFile = "/sys/devices/system/cpu/online";

    private readonly ProcfsOptions _options = net.Options;
    private readonly ReadBuffer _buffer = new();
    private readonly ReadBuffer _onlineBuffer = new();
    private readonly List<Cpu?> _cpus = [];
    private readonly List<int> _online = [];
    private ProcFile? _file;
    private int _sample;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "softnet",
        Source = ProbeSource.Procfs,
        Overhead = OverheadClass.Low,
        Purpose = "Packets processed and dropped by the receive softirq of each CPU, and how often its budget was used up.",
        Finds =
        [
            "A CPU whose backlog overflows (net.core.netdev_max_backlog).",
            "Softirqs that run out of budget (net.core.netdev_budget): latency.",
            "Load that is not spread over the CPUs.",
        ],
        KernelSources = ["/proc/net/softnet_stat", OnlineFile + " on kernels before 5.10"],
        Attributes = [new(AttributeNames.Cpu, "the CPU's number")],
        Metrics = SoftnetRecord.Metrics.Describe(),
        Notes =
        [
            "The kernel counts per CPU for the whole machine, not per network namespace; so the rows are about the node.",
            "The kernel's columns have 32 bits and wrap. The counters begin with what they show at the first sample and go on over a wrap.",
            "A CPU that goes offline keeps its last totals.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<SoftnetRecord> Metrics => SoftnetRecord.Metrics;

    /// <summary>A started probe, for programs without a container.</summary>
    public static Task<SoftnetProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        ProcNet.StartAsync(options, static net => new SoftnetProbe(net), cancellationToken);

    /// <inheritdoc />
    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        _file = Open("/net/softnet_stat", out Errno error)
            ?? throw new ProbeUnavailableException(About.Name, $"cannot open {_options.HostProc}/net/softnet_stat", error.Describe(),
                $"Mount the host's procfs there, or set {ProcfsOptions.SectionName}:{nameof(ProcfsOptions.HostProc)}.");
        return ValueTask.FromResult<string?>("procfs");
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        _file?.Dispose();
        _file = null;
        _cpus.Clear();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<SoftnetRecord> batch)
    {
        ReadOutcome outcome = _file!.Read(_buffer, singleRecord: false, out ReadOnlySpan<byte> text, out Errno error);
        if (outcome != ReadOutcome.Ok) throw new IOException($"{_options.HostProc}/net/softnet_stat cannot be read any more: {error.Describe()}.");
        if (!Fold(text, out ParseFault fault))
        {
            batch.Skip(SkipReason.Malformed, $"{_options.HostProc}/net/softnet_stat: {fault}");
            return;
        }
        foreach (Cpu? cpu in _cpus)
            if (cpu is not null) batch.Add(cpu.Subject) = cpu.Record;
    }

    /// <summary>What is known of each CPU that was ever online, in the order of their numbers.</summary>
    internal IEnumerable<SoftnetRecord> Known => _cpus.OfType<Cpu>().Select(static c => c.Record);

    /// <summary>Adds a text to what is known of each CPU; on a fault nothing has changed.</summary>
    internal bool Fold(ReadOnlySpan<byte> text, out ParseFault fault)
    {
        var line = new SoftnetCursor(text);
        int lines = 0;
        while (line.MoveNext())
        {
            if (++lines > MostCpus || (line.ColumnCount > SoftnetColumns.Cpu && line.Columns[SoftnetColumns.Cpu] >= MostCpus))
            {
                fault = new ParseFault(FaultKind.TooLarge, lines);
                return false;
            }
        }
        fault = line.Fault;
        if (fault.Kind != FaultKind.None) return false;

        _sample++;
        line = new SoftnetCursor(text);
        bool numbered = false;
        while (line.MoveNext())
        {
            if (line.Index == 0)
            {
                numbered = line.ColumnCount > SoftnetColumns.Cpu;
                if (!numbered) ReadOnline(lines);
            }
            int number = numbered && line.ColumnCount > SoftnetColumns.Cpu ? (int)line.Columns[SoftnetColumns.Cpu]
                : !numbered && line.Index < _online.Count ? _online[line.Index]
                : line.Index;
            CpuOf(number).Fold(line.Columns, line.ColumnCount, _sample);
        }
        foreach (Cpu? cpu in _cpus) cpu?.WentOfflineBefore(_sample);
        return true;
    }

    private Cpu CpuOf(int number)
    {
        while (_cpus.Count <= number) _cpus.Add(null);
        return _cpus[number] ??= new Cpu(number);
    }

    // Before 5.10 a line does not say whose it is: the n-th line is the n-th CPU that is online.
    private void ReadOnline(int lines)
    {
        _online.Clear();
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        using ProcFile? file = ProcFile.TryOpen(new NulPath(path).Append(OnlineFile).Terminate(), out _);
        if (file?.Read(_onlineBuffer, singleRecord: true, out ReadOnlySpan<byte> text, out _) != ReadOutcome.Ok) return;
        // One went offline between the two files: the next sample knows better.
        if (!CpuList.TryParse(text, _online, MostCpus) || _online.Count != lines) _online.Clear();
    }

    private ProcFile? Open(string file, out Errno error)
    {
        Span<byte> path = stackalloc byte[NulPath.MaxLength];
        return ProcFile.TryOpen(new NulPath(path).Append(_options.HostProc).Append(file).Terminate(), out error);
    }

    private sealed class Cpu(int number)
    {
        private SoftnetRecord _record;
        private SoftnetColumns _last;
        private bool _seen;
        private int _sample;

        internal SampleSubject Subject { get; } =
            new(null, new SampleAttribute(AttributeNames.Cpu, number.ToString(CultureInfo.InvariantCulture)));

        internal ref readonly SoftnetRecord Record => ref _record;

        internal void Fold(in SoftnetColumns columns, int count, int sample)
        {
            _sample = sample;
            Extend(ref _record.Processed, columns, SoftnetColumns.Processed, count);
            Extend(ref _record.Dropped, columns, SoftnetColumns.Dropped, count);
            Extend(ref _record.TimeSqueezed, columns, SoftnetColumns.TimeSqueezed, count);
            Extend(ref _record.CpuCollisions, columns, SoftnetColumns.CpuCollisions, count);
            Extend(ref _record.ReceivedRps, columns, SoftnetColumns.ReceivedRps, count);
            Extend(ref _record.FlowLimited, columns, SoftnetColumns.FlowLimited, count);
            _record.BacklogLength = Gauge(columns, SoftnetColumns.BacklogLength, count);
            _record.InputQueueLength = Gauge(columns, SoftnetColumns.InputQueueLength, count);
            _record.ProcessQueueLength = Gauge(columns, SoftnetColumns.ProcessQueueLength, count);
            _last = columns;
            _seen = true;
        }

        internal void WentOfflineBefore(int sample)
        {
            if (_sample == sample) return;
            _record.BacklogLength = default;
            _record.InputQueueLength = default;
            _record.ProcessQueueLength = default;
        }

        private void Extend(ref Reading total, in SoftnetColumns columns, int column, int count)
        {
            if (column >= count) return;
            // The kernel never resets these, so what is lower than before has wrapped.
            total = new Reading(_seen && total.HasValue ? total.Value + unchecked(columns[column] - _last[column]) : columns[column]);
        }

        private static Reading Gauge(in SoftnetColumns columns, int column, int count) =>
            column < count ? new Reading(columns[column]) : default;
    }
}

/// <summary>A list of CPU numbers, <c>0-3,8,10-11</c> (lib/vsprintf.c, bitmap_list_string).</summary>
internal static class CpuList
{
    internal static bool TryParse(ReadOnlySpan<byte> text, List<int> numbers, int limit)
    {
        numbers.Clear();
        ReadOnlySpan<byte> rest = text.TrimEnd((byte)'\n');
        while (!rest.IsEmpty)
        {
            if (!TryRead(ref rest, limit, out int first)) return false;
            int last = first;
            if (rest is [(byte)'-', ..])
            {
                rest = rest[1..];
                if (!TryRead(ref rest, limit, out last) || last < first) return false;
            }
            for (int number = first; number <= last; number++) numbers.Add(number);
            if (numbers.Count > limit) return false;
            if (rest.IsEmpty) break;
            if (rest[0] != (byte)',') return false;
            rest = rest[1..];
            if (rest.IsEmpty) return false;
        }
        return numbers.Count > 0;
    }

    private static bool TryRead(ref ReadOnlySpan<byte> rest, int limit, out int number)
    {
        number = 0;
        if (Number.ReadDecimal(rest, out ulong value, out int length) != FaultKind.None || value >= (ulong)limit) return false;
        number = (int)value;
        rest = rest[length..];
        return true;
    }
}
