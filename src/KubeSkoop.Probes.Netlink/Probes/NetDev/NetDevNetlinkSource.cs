using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs;
using KubeSkoop.Probes.Procfs.Interop;

namespace KubeSkoop.Probes.Netlink;

/// <summary>
/// Devices from rtnetlink, for the probe netdev: statistics by RTM_GETSTATS in every sample; name, state and the rest, which seldom change, by
/// RTM_GETLINK when the kernel says so (<see cref="NamespaceLinks"/>).
/// </summary>
#pragma warning disable CA1001 // Stop releases what it holds; a source starts again.
internal sealed class NetDevNetlinkSource(NetlinkSockets sockets, TimeProvider? clock = null) : ISampleSource<NetDevRecord>
#pragma warning restore CA1001
{
    private static readonly TimeSpan LongestSpeedAge = TimeSpan.FromMinutes(1);

    private readonly NetlinkTable _table = sockets.Route;
    private readonly TimeProvider _clock = clock ?? TimeProvider.System;
    private readonly PerNamespace<NamespaceLinks> _links = new(ns => new NamespaceLinks(ns, clock ?? TimeProvider.System));
    private readonly byte[] _request = NetDevStatistics.Request();
    private readonly List<NetDevStatistics> _rows = [];

    public string Name => "rtnetlink";

    public string? TryStart()
    {
        // Without this right the sockets of other namespaces cannot be opened, and /proc still can.
        if (!NamespaceSocket.MayEnter(out Errno error))
            return error == Errno.NotPermitted ? "EPERM, CAP_SYS_ADMIN is missing to enter network namespaces" : $"network namespaces cannot be entered: {error.Describe()}";
        _table.Acquire();
        return null;
    }

    public void Stop()
    {
        lock (_table.Gate) _links.Dispose();
        _table.Release();
    }

    public void Read(SampleBatch<NetDevRecord> batch)
    {
        lock (_table.Gate)
        {
            ReadOnlySpan<NamespaceSocket> slots = _table.Current;
            ReadOnlySpan<NamespaceLinks> links = _links.For(_table.Snapshot);
            for (int i = 0; i < slots.Length; i++) Read(batch, slots[i], links[i]);
        }
    }

    private void Read(SampleBatch<NetDevRecord> batch, NamespaceSocket slot, NamespaceLinks links)
    {
        if (slot.TryOpen(out SkipReason reason) is not { } socket)
        {
            batch.Skip(reason, slot.Problem);
            return;
        }
        var visitor = new NetDevStatisticsVisitor(_rows);
        NetlinkResult result = socket.Dump(_table.Buffer, _request, ref visitor);
        if (result.IsComplete && (links.IsOutdated(socket) || !AllKnown(links))) result = links.Read(socket, _table.Buffer);
        if (!result.IsComplete)
        {
            slot.Note(batch, result);
            return;
        }
        foreach (ref readonly NetDevStatistics row in CollectionsMarshal.AsSpan(_rows))
        {
            if (links.Find(row.Index) is not { } link)
            {
                batch.Skip(SkipReason.Vanished);
                continue;
            }
            ref NetDevRecord record = ref batch.Add(link.Subject);
            row.Write(ref record);
            record.IsLoopback = link.Facts.IsLoopback;
            record.OperationalState = link.Facts.OperationalState;
            record.CarrierChanges = link.Facts.CarrierChanges;
            record.Mtu = link.Facts.Mtu;
            record.TransmitQueueLength = link.Facts.TransmitQueueLength;
            record.Speed = link.Speed(socket, _clock, LongestSpeedAge);
        }
    }

    private bool AllKnown(NamespaceLinks links)
    {
        foreach (ref readonly NetDevStatistics row in CollectionsMarshal.AsSpan(_rows))
            if (links.Find(row.Index) is null) return false;
        return true;
    }
}
