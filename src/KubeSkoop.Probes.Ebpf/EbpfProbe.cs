using System.Diagnostics;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Ebpf.Ring;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf;

/// <summary>
/// Base of the BPF probes: loads and attaches their programs, reads their ring, tells their losses and their cost. Derived probes say which hooks they need
/// and what a record means.
/// </summary>
/// <typeparam name="TRecord">The typed record.</typeparam>
/// <typeparam name="TEvent">The event record.</typeparam>
/// <typeparam name="TOptions">The settings.</typeparam>
public abstract unsafe class EbpfProbe<TRecord, TEvent, TOptions> : MetricEventProbe<TRecord, TEvent>, IConfigurableProbe<TOptions>, IKernelProgramProbe, IHasPrograms
    where TRecord : struct
    where TEvent : ProbeEvent
    where TOptions : EbpfEventOptions, new()
{
    private readonly Lock _programsGate = new();
    private readonly RingSink _sink;
    private readonly HashSet<uint> _filtered = [];
    private HashSet<uint>? _wanted; // replaced, never changed: samples look into it without a lock
    private readonly Dictionary<string, string> _refused = [];
    private BpfObject? _object;
    private ProbeSettings* _settings;
    private int _tally;
    private RingReader? _ring;
    private IDisposable? _reading;
    private IDisposable? _lease;
    private OverheadMeter.Measured? _measured;
    private KernelProgramStatistics _before;
    private long _malformed;
    private long _malformedReported;

    private protected EbpfProbe(ProbeDescriptor descriptor, EbpfPrograms programs, TOptions? options, TimeProvider? clock)
        : base(descriptor, clock)
    {
        ArgumentNullException.ThrowIfNull(programs);
        Programs = programs;
        Options = options ?? new TOptions();
        _sink = new RingSink(this);
    }

    /// <inheritdoc />
    public TOptions Options { get; private set; }

    /// <inheritdoc />
    public Type OptionsType => typeof(TOptions);

    /// <inheritdoc />
    public bool CanConfigureWhileRunning(ProbeOptions options) => options is TOptions mine && !NeedsRestart(mine);

    /// <summary>What the BPF probes share.</summary>
    private protected EbpfPrograms Programs { get; }

    /// <summary>The network namespaces to look at, none for all; <see langword="null"/> for a probe that does not tell them apart.</summary>
    private IList<uint>? Namespaces => (Options as EbpfProbeOptions)?.NetworkNamespaces;

    /// <summary>Whether a namespace is one of those to look at. Others are not counted for: a number there, 0 or the last one, would say that nothing happens in them.</summary>
    private protected bool IsWanted(uint inode) => Volatile.Read(ref _wanted) is not { Count: > 0 } wanted || wanted.Contains(inode);

    /// <summary>Programs that the kernel has refused to attach since this start began, and what it said.</summary>
    private protected IReadOnlyDictionary<string, string> Refused => _refused;

    /// <summary>What the programs need to see, and the ways to it.</summary>
    private protected abstract IReadOnlyList<Hook> Hooks { get; }

    /// <summary>Sizes of maps besides those all probes have.</summary>
    private protected virtual (string Map, uint Entries)[] Sizes => [];

    /// <inheritdoc />
    public void Configure(ProbeOptions options)
    {
        if (options is not TOptions mine) throw new ArgumentException($"The probe '{Descriptor.Name}' takes {typeof(TOptions).Name}.", nameof(options));
        string[] mistakes = [.. mine.Validate()];
        if (mistakes.Length > 0) throw new ArgumentException(string.Join(" ", mistakes), nameof(options));
        lock (_programsGate)
        {
            if (_object is not null && NeedsRestart(mine)) throw new InvalidOperationException($"Stop the probe '{Descriptor.Name}' before changing which programs it runs.");
            TOptions before = Options;
            Options = mine;
            try
            {
                Apply();
            }
            catch
            {
                Options = before; // all of them or none
                Apply();
                throw;
            }
        }
    }

    /// <inheritdoc />
    public KernelProgramStatistics ReadKernelStatistics()
    {
        lock (_programsGate) return _before + Now();
    }

    /// <inheritdoc />
    protected sealed override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        if (Namespaces is not null) _lease = Programs.Namespaces.Acquire();
        _refused.Clear();
        BpfObject loaded = Load();
        while (loaded.Attach() is var (program, refusal))
        {
            _refused.Add(program, refusal);
            Unload();
            loaded = Load();
        }
        if (Programs.Options.MeasureOverhead) _measured = Programs.Overhead.Add(loaded);
        return ValueTask.FromResult<string?>(loaded.Describe());
    }

    /// <inheritdoc />
    protected sealed override ValueTask OnStopAsync()
    {
        try
        {
            _measured?.Dispose(); // and takes what it has seen until now
            Unload();
        }
        finally
        {
            _lease?.Dispose();
            _lease = null;
        }
        return ValueTask.CompletedTask;
    }

    // All but attached: with the first ways that are there, without those that could not be attached since the start began.
    private BpfObject Load()
    {
        BpfObject loaded = BpfObject.Load(Programs, Descriptor.Name, [.. Hooks.Select(h => h.After(_refused))],
            [("counts", (uint)Programs.Options.MaxNamespaces), ("events", (uint)Programs.Options.RingBytes), .. Namespaces is null ? [("namespaces", 1u)] : Array.Empty<(string, uint)>(), .. Sizes]);
        lock (_programsGate)
        {
            _object = loaded;
            _tally = Libbpf.MapDescriptor(loaded.Map("tally"));
            _settings = loaded.Data<ProbeSettings>(".data.settings");
            Loaded(loaded);
            Apply();
        }
        nint events = loaded.Map("events");
        int descriptor = Libbpf.MapDescriptor(events);
        _ring = new RingReader(descriptor, Libbpf.MapEntries(events), _sink);
        using (var map = new SafeFileHandle(descriptor, ownsHandle: false)) _reading = Programs.Rings.Add(map, _ring);
        return loaded;
    }

    private void Unload()
    {
        lock (_programsGate)
        {
            try
            {
                _before = (_before + Now()) with { CostProblem = null };
                _measured = null;
                _reading?.Dispose();
                _reading = null;
                _ring?.Dispose();
                _ring = null;
                Unloading();
            }
            finally // whatever goes wrong with the rest: a probe that is stopped has no programs
            {
                _settings = null;
                _filtered.Clear();
                _object?.Dispose();
                _object = null;
            }
        }
    }

    /// <summary>The programs are in the kernel, not attached yet: take their maps.</summary>
    private protected virtual void Loaded(BpfObject loaded)
    {
    }

    /// <summary>They are about to go: let go of their maps.</summary>
    private protected virtual void Unloading()
    {
    }

    /// <summary>Whether settings ask for other programs than those in force.</summary>
    private protected virtual bool NeedsRestart(TOptions next) => false;

    /// <summary>The settings are to be written where the programs read them; also while they run.</summary>
    /// <param name="thresholdNs">What events are told from, in nanoseconds, one for each kind the program knows.</param>
    private protected virtual void Apply(Span<ulong> thresholdNs)
    {
    }

    /// <summary>A time as the programs take it.</summary>
    private protected static ulong Nanoseconds(TimeSpan time) => (ulong)time.Ticks * TimeSpan.NanosecondsPerTick;

    /// <summary>A record of the ring, for an event; <see langword="null"/> when it is not what the program writes.</summary>
    private protected abstract TEvent? Understand(ReadOnlySpan<byte> record);

    /// <summary>Notes in a sample what could not be understood, and namespaces that cannot be seen.</summary>
    private protected void NoteProblems(SampleBatch<TRecord> batch)
    {
        if (Namespaces is not null && Programs.Namespaces.Problem is { } problem) batch.Skip(SkipReason.Denied, problem);
        long malformed = Volatile.Read(ref _malformed) + (_ring?.Malformed ?? 0);
        for (; _malformedReported < malformed; _malformedReported++) batch.Skip(SkipReason.Malformed, "a record of the ring buffer could not be understood");
    }

    /// <summary>When something happened, by the kernel's monotonic clock. Right also after the wall clock was set: both are read now.</summary>
    private protected DateTimeOffset TimeOf(ulong monotonicNanoseconds)
    {
        const int Looks = 4;
        long closest = long.MaxValue, then = 0;
        DateTimeOffset now = default;
        // A pause between the two clocks would be in every time that is calculated from them.
        for (int look = 0; look < Looks && closest > Stopwatch.Frequency / 20_000; look++)
        {
            long before = Stopwatch.GetTimestamp();
            DateTimeOffset between = Clock.GetUtcNow();
            long apart = Stopwatch.GetTimestamp() - before;
            if (apart < closest) (closest, then, now) = (apart, before, between);
        }
        long age = (long)(then * (1e9 / Stopwatch.Frequency)) - (long)monotonicNanoseconds;
        return now - TimeSpan.FromTicks(Math.Max(0, age) / TimeSpan.NanosecondsPerTick);
    }

    IReadOnlyList<(string Program, ulong Runs, ulong Nanoseconds)> IHasPrograms.CostOfEach()
    {
        lock (_programsGate) return _object?.CostOfEach() ?? [];
    }

    private KernelProgramStatistics Now()
    {
        if (_object is not { } loaded) return default;
        (long Runs, long Nanoseconds)? cost = _measured?.Estimate;
        ProbeTally tally = default;
        PerCpuElement.Read(_tally, MemoryMarshal.Cast<ProbeTally, ulong>(new Span<ProbeTally>(ref tally)));
        return new KernelProgramStatistics(cost?.Runs, cost is { } known ? TimeSpan.FromTicks(known.Nanoseconds / TimeSpan.NanosecondsPerTick) : null, (long)tally.Suppressed, (long)tally.Lost, (long)tally.Uncounted, (long)loaded.Cost().Missed)
        {
            CostProblem = Programs.Options.MeasureOverhead ? Programs.Overhead.Problem : OverheadMeter.Off,
        };
    }

    // Every value is one word, so a program sees the old or the new one. The filter closes after its namespaces are in, and opens before they go; those that leave a closed one
    // make room for those that come.
    private void Apply()
    {
        if (_settings is null) return;
        ulong interval = Options.EventsPerSecond == 0 ? 0 : 1_000_000_000ul / (ulong)Options.EventsPerSecond;
        Apply(_settings->ThresholdNs);
        _settings->EventBurstNs = interval * (ulong)(Options.EventBurst - 1);
        _settings->EventIntervalNs = interval;
        Filter();
        _settings->SendEvents = 1;
    }

    private void Filter()
    {
        if (Namespaces is not { } wanted) return;
        int namespaces = Libbpf.MapDescriptor(_object!.Map("namespaces"));
        HashSet<uint> those = [.. wanted];
        if (those.Count == 0) _settings->Filter = 0;
        _filtered.RemoveWhere(inode => !those.Contains(inode) && Libbpf.Delete(namespaces, &inode) == 0);
        foreach (uint inode in those)
        {
            uint key = inode;
            byte value = 1;
            if (!_filtered.Contains(inode) && Libbpf.Update(namespaces, &key, &value, 0) is var error && error < 0)
                throw new IOException($"The namespaces to look at cannot be told to the kernel: {Errors.Name(-error)}");
            _filtered.Add(inode);
        }
        if (those.Count > 0) _settings->Filter = 1;
        Volatile.Write(ref _wanted, those);
    }

    private void Take(ReadOnlySpan<byte> record)
    {
        if (!HasSubscribers) return;
        try
        {
            if (Understand(record) is { } e) Publish(e);
            else Interlocked.Increment(ref _malformed);
        }
#pragma warning disable CA1031 // An unhandled exception of the reading thread ends the host's process.
        catch (Exception)
#pragma warning restore CA1031
        {
            Interlocked.Increment(ref _malformed);
        }
    }

    private sealed class RingSink(EbpfProbe<TRecord, TEvent, TOptions> probe) : IRingConsumer
    {
        public void Take(ReadOnlySpan<byte> record) => probe.Take(record);
    }
}

/// <summary>The programs of a probe, whatever its record and events.</summary>
internal interface IHasPrograms
{
    /// <summary>How often each has run and how long, since this start, while somebody had the kernel measure it.</summary>
    IReadOnlyList<(string Program, ulong Runs, ulong Nanoseconds)> CostOfEach();
}
