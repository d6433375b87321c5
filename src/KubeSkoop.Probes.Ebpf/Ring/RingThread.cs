using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf.Ring;

/// <summary>The one thread that reads the rings of all probes; there while one of them runs.</summary>
internal sealed class RingThread
{
    private volatile (ulong Id, RingReader Ring)[] _rings = []; // copied on change: the thread walks it without a lock
    private readonly Lock _gate = new();
    private Run? _run;
    private ulong _last;

    /// <summary>Begins to read a ring. The kernel drops it from the wait when its map is closed.</summary>
    internal IDisposable Add(SafeFileHandle map, RingReader ring)
    {
        lock (_gate)
        {
            ulong id = ++_last; // 0 is the wake-up
            _rings = [.. _rings, (id, ring)];
            try
            {
                if (_run is null)
                {
                    _run = new Run(this);
                    _run.Start();
                }
                if (!_run.Watch(map, id)) throw new IOException("A ring buffer cannot be waited for.");
            }
            catch
            {
                Remove(id);
                throw;
            }
            return new Registration(this, id);
        }
    }

    private void Remove(ulong id)
    {
        lock (_gate)
        {
            foreach ((ulong known, RingReader ring) in _rings)
                if (known == id) ring.Dispose();
            _rings = [.. _rings.Where(r => r.Id != id)];
            if (_rings.Length > 0 || _run is null) return;
            _run.Stop();
            _run = null;
        }
    }

    private sealed class Registration(RingThread owner, ulong id) : IDisposable
    {
        public void Dispose() => owner.Remove(id);
    }

    private sealed class Run(RingThread owner)
    {
        private const int LongestWait = 500; // a ring whose wake-up was lost is not lost

        private readonly SafeFileHandle _epoll = Libc.CreateEpoll();
        private readonly SafeFileHandle _wake = Libc.CreateEventFd();
        private readonly Lock _gate = new();
        private volatile bool _stopping;

        internal void Start()
        {
            Libc.WatchReadable(_epoll, _wake, 0);
            new Thread(Loop) { IsBackground = true, Name = "kubeskoop-rings" }.Start();
        }

        internal bool Watch(SafeFileHandle map, ulong id) => Libc.WatchReadable(_epoll, map, id);

        internal void Stop()
        {
            // The thread that sees one of the two waits here for the other, before it closes what is signalled.
            lock (_gate)
            {
                _stopping = true;
                Libc.Signal(_wake);
            }
        }

        private void Loop()
        {
            Span<ulong> ready = stackalloc ulong[64];
            while (!_stopping)
            {
                ReadOnlySpan<ulong> which = Libc.WaitReadable(_epoll, ready, LongestWait);
                if (_stopping) break;
                foreach ((ulong id, RingReader ring) in owner._rings)
                    if (which.IsEmpty || which.Contains(id)) ring.Drain();
            }
            lock (_gate)
            {
                _epoll.Dispose();
                _wake.Dispose();
            }
        }
    }
}
