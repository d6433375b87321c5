using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Devices from <c>/proc/PID/net/dev</c>: statistics only, and without a right to enter namespaces.</summary>
#pragma warning disable CA1001 // Stop releases what it holds; a source starts again.
internal sealed class NetDevFileSource(ProcNet net) : ISampleSource<NetDevRecord>
#pragma warning restore CA1001
{
    private readonly PerNamespace<NetDevices> _namespaces = new(ns => new NetDevices(new NetFile(net.Namespaces, ns, "dev")));
    private readonly NetDevHeader _header = new();
    private readonly ReadBuffer _buffer = new();
    private readonly Reading[] _fields = new Reading[NetDevRecord.Columns.Length];
    private IDisposable? _lease;

    public string Name => "procfs";

    public string? TryStart()
    {
        _lease = net.Namespaces.Acquire();
        return null;
    }

    public void Stop()
    {
        _namespaces.Dispose();
        _lease?.Dispose();
        _lease = null;
    }

    public void Read(SampleBatch<NetDevRecord> batch)
    {
        foreach (NetDevices devices in _namespaces.For(net.Namespaces.Current))
        {
            NetFileOutcome outcome = devices.File.Read(_buffer, singleRecord: false, out ReadOnlySpan<byte> text);
            if (outcome == NetFileOutcome.Ok) outcome = Read(batch, devices, text);
            batch.Note(outcome, devices.File);
        }
    }

    private NetFileOutcome Read(SampleBatch<NetDevRecord> batch, NetDevices devices, ReadOnlySpan<byte> text)
    {
        int before = batch.Count;
        var line = new NetDevCursor(text, _header);
        devices.Begin();
        while (line.MoveNext(_fields))
        {
            if (devices.Meet(line.Name) is not { } device) continue;
            ref NetDevRecord record = ref batch.Add(device.Subject);
            _fields.CopyTo(MemoryMarshal.CreateSpan(ref record.ReceivedBytes, _fields.Length));
            record.IsLoopback = device.IsLoopback;
        }
        if (line.Fault.Kind == Text.FaultKind.None)
        {
            devices.End();
            devices.File.Understood();
            return NetFileOutcome.Ok;
        }
        devices.Abandon();
        while (batch.Count > before) batch.RemoveLast();
        return devices.File.Malformed(line.Fault);
    }
}
