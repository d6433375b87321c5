using System.Diagnostics;
using KubeSkoop.Probes.Ebpf.Interop;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>
/// Has the kernel measure its programs' runs now and then: to measure all of them costs more than most of them do. What is seen in such a while stands for the time since the
/// last one.
/// </summary>
internal sealed class OverheadMeter(TimeSpan period, TimeSpan length) : IDisposable
{
    /// <summary>Why nothing is known where nobody wants to.</summary>
    internal const string Off = $"{EbpfOptions.SectionName}:{nameof(EbpfOptions.MeasureOverhead)} is off.";

    private readonly Lock _gate = new();
    private readonly List<Measured> _measured = [];
    private Timer? _timer;
    private SafeFileHandle? _measuring;
    private volatile string? _problem;

    /// <summary>A tenth of a second, every five seconds.</summary>
    internal OverheadMeter()
        : this(TimeSpan.FromSeconds(5), TimeSpan.FromMilliseconds(100))
    {
    }

    /// <summary>Why the kernel does not measure, for people; <see langword="null"/> when it does.</summary>
    internal string? Problem => _problem;

    /// <summary>Who is told when the kernel begins to refuse.</summary>
    internal ILogger Logger { get; init; } = NullLogger.Instance;

    /// <summary>Begins to measure an object's programs, with the next while.</summary>
    internal Measured Add(BpfObject programs)
    {
        lock (_gate)
        {
            var measured = new Measured(this, programs);
            _measured.Add(measured);
            if (_timer is null) _timer = new Timer(static state => ((OverheadMeter)state!).Turn(), this, First, Timeout.InfiniteTimeSpan);
            else if (_measuring is not null) measured.Begin();
            return measured;
        }
    }

    public void Dispose()
    {
        lock (_gate) End();
    }

    private TimeSpan First => (period - length) / 4; // a beginning is nothing to judge by

    private void Remove(Measured measured)
    {
        lock (_gate)
        {
            if (!_measured.Remove(measured)) return;
            if (_measuring is not null) measured.Take();
            if (_measured.Count == 0) End();
        }
    }

    /// <summary>The begin of a while, or its end.</summary>
    internal void Turn()
    {
        lock (_gate)
        {
            if (_timer is null) return;
            if (_measuring is null)
            {
                int descriptor = Libbpf.EnableStats(Libbpf.StatsRunTime);
                // Where the sysctl says so the kernel measures always, whoever may have it do so.
                if (descriptor < 0 && !IsAlwaysOn())
                {
                    bool isNew = _problem is null;
                    _problem = $"{Errors.Name(-descriptor)}: the kernel does not measure its programs for this process. That takes CAP_SYS_ADMIN and Linux 5.8, or the sysctl kernel.bpf_stats_enabled at 1.";
                    if (isNew) Log.CostUnknown(Logger, _problem);
                    _timer.Change(period, Timeout.InfiniteTimeSpan);
                    return;
                }
                _problem = null;
                _measuring = new SafeFileHandle(descriptor, ownsHandle: true);
                foreach (Measured measured in _measured) measured.Begin();
                _timer.Change(length, Timeout.InfiniteTimeSpan);
                return;
            }
            foreach (Measured measured in _measured) measured.Take();
            _measuring.Dispose();
            _measuring = null;
            _timer.Change(period - length, Timeout.InfiniteTimeSpan);
        }
    }

    private static bool IsAlwaysOn()
    {
        try
        {
            return File.ReadAllText("/proc/sys/kernel/bpf_stats_enabled").Trim() == "1";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private void End()
    {
        _timer?.Dispose();
        _timer = null;
        _measuring?.Dispose();
        _measuring = null;
    }

    /// <summary>What the programs of one object have cost, as far as it was measured.</summary>
    internal sealed class Measured(OverheadMeter meter, BpfObject programs) : IDisposable
    {
        private long _covered = Stopwatch.GetTimestamp();
        private long _begun;
        private (ulong Runs, ulong Nanoseconds, ulong Missed) _before;
        private bool _isKnown;
        private double _runs;
        private double _nanoseconds;

        /// <summary>Runs and their time, for all the time since the start; they only grow. None before the first while has passed.</summary>
        internal (long Runs, long Nanoseconds)? Estimate
        {
            get
            {
                lock (meter._gate) return _isKnown ? ((long)_runs, (long)_nanoseconds) : null;
            }
        }

        internal void Begin()
        {
            _before = programs.Cost();
            _begun = Stopwatch.GetTimestamp();
        }

        internal void Take()
        {
            if (_begun == 0) return;
            (ulong runs, ulong nanoseconds, _) = programs.Cost();
            long now = Stopwatch.GetTimestamp();
            double each = (double)(now - _covered) / Math.Max(1, now - _begun);
            _runs += (runs - _before.Runs) * each;
            _nanoseconds += (nanoseconds - _before.Nanoseconds) * each;
            _isKnown = true;
            _covered = now;
            _begun = 0;
        }

        public void Dispose() => meter.Remove(this);
    }
}
