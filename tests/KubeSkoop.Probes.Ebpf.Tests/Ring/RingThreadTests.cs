using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Ebpf.Ring;
using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf.Tests.Ring;

/// <summary>The thread that reads the rings, through its end.</summary>
public sealed class RingThreadTests
{
    [LiveFact(Needs.Bpf | Needs.Native)]
    public void A_thread_that_is_busy_when_its_last_ring_goes_ends_without_a_word()
    {
        var options = new EbpfOptions();
        using BpfObject programs = BpfObject.Load("tcpreset", BpfObject.Image("tcpreset"), [], KernelFeatures.Of(options), options, logger: null, ("events", (uint)Environment.SystemPageSize));
        nint events = programs.Map("events");
        // What is always readable keeps the thread from sleeping: it looks whether it shall end all the time.
        using SafeFileHandle busy = Libc.CreateEventFd();
        Libc.Signal(busy);
        var rings = new RingThread();
        for (int i = 0; i < 5000; i++)
        {
            using var ring = new RingReader(Libbpf.MapDescriptor(events), Libbpf.MapEntries(events), new Nobody());
            IDisposable reading = rings.Add(busy, ring);
            if (i % 2 == 0) Thread.Yield();
            reading.Dispose();
        }
    }

    private sealed class Nobody : IRingConsumer
    {
        public void Take(ReadOnlySpan<byte> record)
        {
        }
    }
}
