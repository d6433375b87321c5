using System.Runtime.CompilerServices;
using KubeSkoop.Probes.Ebpf.Interop;

namespace KubeSkoop.Probes.Ebpf.Ring;

/// <summary>Takes the records of one ring. Called on one thread, with bytes that are only lent.</summary>
internal interface IRingConsumer
{
    void Take(ReadOnlySpan<byte> record);
}

/// <summary>
/// A BPF ring buffer, read straight from its mapped pages (kernel/bpf/ringbuf.c): no call into the kernel or a library per record, and no copy.
/// </summary>
internal sealed unsafe class RingReader : IDisposable
{
    private const uint Busy = 1u << 31; // include/uapi/linux/bpf.h
    private const uint Discarded = 1u << 30;
    private const int HeaderSize = 8;
    private const int RecordsPerRelease = 64; // room is given back now and then: the kernel looks at it with every record

    private readonly nuint _page = (nuint)Environment.SystemPageSize;
    private readonly nuint _size;
    private readonly nint _consumerPage;
    private readonly nint _producerPages;
    private readonly IRingConsumer _consumer;
    private readonly Lock _gate = new();
    private bool _disposed;

    /// <summary>Maps a ring.</summary>
    /// <exception cref="IOException">The kernel refuses.</exception>
    internal RingReader(int descriptor, uint size, IRingConsumer consumer)
    {
        _size = size;
        _consumer = consumer;
        _consumerPage = KernelCalls.Map(0, _page, KernelCalls.ProtectRead | KernelCalls.ProtectWrite, KernelCalls.MapShared, descriptor, 0);
        if (_consumerPage == -1) throw Refused();
        // The data is mapped twice in a row, so that a record that wraps is in one piece.
        _producerPages = KernelCalls.Map(0, _page + 2 * _size, KernelCalls.ProtectRead, KernelCalls.MapShared, descriptor, (nint)_page);
        if (_producerPages != -1) return;
        IOException e = Refused();
        _ = KernelCalls.Unmap(_consumerPage, _page);
        throw e;
    }

    /// <summary>Records that could not be what the kernel writes; the ring was given up from there to its end.</summary>
    internal long Malformed { get; private set; }

    /// <summary>Hands over what is there.</summary>
    /// <returns>How many records.</returns>
    internal long Drain()
    {
        lock (_gate)
        {
            if (_disposed) return 0;
            ref ulong consumer = ref Unsafe.AsRef<ulong>((void*)_consumerPage);
            ref ulong producer = ref Unsafe.AsRef<ulong>((void*)_producerPages);
            byte* data = (byte*)_producerPages + _page;
            ulong at = Volatile.Read(ref consumer);
            long records = 0;
            // As many as there were at the beginning, and those that came meanwhile up to a ring's worth: others wait for their turn.
            ulong limit = at + _size;
            ulong end;
            while (at < (end = Math.Min(Volatile.Read(ref producer), limit)))
            {
                do
                {
                    byte* header = data + (at & (_size - 1));
                    uint length = Volatile.Read(ref Unsafe.AsRef<uint>(header));
                    if ((length & Busy) != 0)
                    {
                        Volatile.Write(ref consumer, at);
                        return records;
                    }
                    uint bytes = length & ~(Busy | Discarded);
                    ulong step = ((ulong)bytes + HeaderSize + 7) & ~7ul;
                    if (at + step > end && (step > _size || at + step > Volatile.Read(ref producer)))
                    {
                        Malformed++;
                        Volatile.Write(ref consumer, Volatile.Read(ref producer));
                        return records;
                    }
                    if ((length & Discarded) == 0)
                    {
                        _consumer.Take(new ReadOnlySpan<byte>(header + HeaderSize, (int)bytes));
                        if (++records % RecordsPerRelease == 0) Volatile.Write(ref consumer, at + step);
                    }
                    at += step;
                }
                while (at < end);
                Volatile.Write(ref consumer, at);
            }
            return records;
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed) return;
            _disposed = true;
            _ = KernelCalls.Unmap(_consumerPage, _page);
            _ = KernelCalls.Unmap(_producerPages, _page + 2 * _size);
        }
    }

    private static IOException Refused() => new($"A ring buffer cannot be mapped: {Loading.Errors.Name(System.Runtime.InteropServices.Marshal.GetLastPInvokeError())}");
}
