using System.Buffers.Binary;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs;

/// <summary>
/// The device file of one namespace and the subjects of its devices, made once per device. Devices are expected in the
/// order of the last sample, so that a look-up is one comparison; a table finds those that moved.
/// </summary>
internal sealed class NetDevices(NetFile file) : IDisposable
{
    private readonly Dictionary<UInt128, Device> _byName = [];
    private List<Device> _order = [];
    private List<Device> _next = [];
    private int _sample;
    private bool _moved;

    internal NetFile File => file;

    /// <summary>How many devices the last sample found.</summary>
    internal int Count => _order.Count;

    /// <summary>Begins a sample.</summary>
    internal void Begin()
    {
        _sample++;
        _moved = false;
        _next.Clear();
    }

    /// <summary>The device of this name; <see langword="null"/> if this sample has met it before.</summary>
    /// <param name="name">A name the kernel allows: 1 to 15 bytes.</param>
    internal Device? Meet(ReadOnlySpan<byte> name)
    {
        UInt128 key = KeyOf(name);
        int place = _next.Count;
        Device? device = place < _order.Count && _order[place].Key == key ? _order[place] : null;
        if (device is null)
        {
            _moved = true;
            if (!_byName.TryGetValue(key, out device))
            {
                var subject = new SampleSubject(file.Namespace, new SampleAttribute(AttributeNames.Interface, KernelText.Escape(name)));
                device = new Device(key, name.SequenceEqual("lo"u8), subject);
                _byName.Add(key, device);
            }
        }
        // While devices come and go, a file that takes several reads may show one twice.
        if (device.MetIn == _sample) return null;
        device.MetIn = _sample;
        _next.Add(device);
        return device;
    }

    /// <summary>Ends a sample: devices that were not met are forgotten.</summary>
    internal void End()
    {
        if (_moved || _next.Count != _order.Count)
        {
            foreach (Device device in _order)
                if (device.MetIn != _sample) _byName.Remove(device.Key);
        }
        (_order, _next) = (_next, _order);
    }

    /// <summary>Ends a sample that went wrong: forgets everything.</summary>
    internal void Abandon()
    {
        _byName.Clear();
        _order.Clear();
        _next.Clear();
    }

    public void Dispose() => file.Dispose();

    // The name and its length in 16 bytes.
    private static UInt128 KeyOf(ReadOnlySpan<byte> name)
    {
        Span<byte> padded = stackalloc byte[16];
        padded.Clear();
        name.CopyTo(padded);
        padded[15] = (byte)name.Length;
        return BinaryPrimitives.ReadUInt128LittleEndian(padded);
    }
}

/// <summary>A device of one namespace.</summary>
internal sealed class Device(UInt128 key, bool isLoopback, SampleSubject subject)
{
    internal UInt128 Key => key;

    internal bool IsLoopback => isLoopback;

    internal SampleSubject Subject => subject;

    internal int MetIn { get; set; }
}
