using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Netlink;

/// <summary>The sockets with the fullest queues, for people. The fullest first.</summary>
/// <param name="Connections">Connections whose larger queue holds most. Those with empty queues are left out.</param>
/// <param name="Listeners">Listeners closest to the limit of their accept queue. Those for whom nobody waits are left out.</param>
public sealed record TcpTop(IReadOnlyList<TcpSocketInfo> Connections, IReadOnlyList<TcpSocketInfo> Listeners);

/// <summary>One TCP socket.</summary>
/// <param name="Namespace">The network namespace it is in.</param>
/// <param name="State">Its state.</param>
/// <param name="Local">Its own address and port.</param>
/// <param name="Remote">The other side's.</param>
/// <param name="ReceiveQueue">Data not yet read by the process, in bytes; of a listener, connections not yet accepted.</param>
/// <param name="SendQueue">Data not yet acknowledged by the other side, in bytes; of a listener, the limit of its accept queue.</param>
/// <param name="Inode">The socket's inode number, as in <c>/proc/PID/fd</c>; 0 for one that no process holds.</param>
/// <param name="UserId">The user who made it.</param>
/// <param name="ProcessId">A process that holds it, as numbered in the host's pid namespace; <see langword="null"/> when none was found.</param>
/// <param name="Command">That process's command (comm). Chosen by the process: hostile.</param>
public sealed record TcpSocketInfo(
    NetworkNamespace Namespace, TcpState State, Endpoint Local, Endpoint Remote, uint ReceiveQueue, uint SendQueue, uint Inode, uint UserId, int? ProcessId, string? Command);

/// <summary>Keeps the first few of all sockets it is shown, by rank.</summary>
/// <param name="count">How many.</param>
/// <param name="listeners">Whether it is shown listeners.</param>
internal sealed class TopSockets(int count, bool listeners)
{
    private readonly List<(NetworkNamespace Namespace, InetDiagnosticMessage Socket)> _kept = [];
    private readonly List<InetDiagnosticMessage> _fresh = [];

    internal IReadOnlyList<(NetworkNamespace Namespace, InetDiagnosticMessage Socket)> Kept => _kept;

    /// <summary>Forgets what a listing that begins anew had shown.</summary>
    internal void Begin() => _fresh.Clear();

    internal void Show(in InetDiagnosticMessage socket)
    {
        if (listeners ? socket.ReceiveQueue == 0 : Fullness(in socket) == 0) return;
        if (_fresh.Count == count && !IsFuller(in socket, CollectionsMarshal.AsSpan(_fresh)[^1])) return;
        int at = _fresh.Count;
        while (at > 0 && IsFuller(in socket, CollectionsMarshal.AsSpan(_fresh)[at - 1])) at--;
        _fresh.Insert(at, socket);
        if (_fresh.Count > count) _fresh.RemoveAt(count);
    }

    /// <summary>Takes over what a whole listing has shown.</summary>
    internal void End(NetworkNamespace ns)
    {
        foreach (InetDiagnosticMessage socket in _fresh)
        {
            int at = _kept.Count;
            while (at > 0 && IsFuller(in socket, _kept[at - 1].Socket)) at--;
            if (at < count) _kept.Insert(at, (ns, socket));
            if (_kept.Count > count) _kept.RemoveAt(count);
        }
        _fresh.Clear();
    }

    private bool IsFuller(in InetDiagnosticMessage socket, in InetDiagnosticMessage other) => listeners
        ? ListenerVisitor.IsFuller(socket.ReceiveQueue, socket.SendQueue, other.ReceiveQueue, other.SendQueue)
        : Fullness(in socket) > Fullness(in other);

    private static uint Fullness(in InetDiagnosticMessage socket) => Math.Max(socket.ReceiveQueue, socket.SendQueue);
}

/// <summary>Shows sockets one by one.</summary>
internal readonly struct TopVisitor(TopSockets top) : INetlinkVisitor
{
    public void Begin() => top.Begin();

    public bool Visit(in NetlinkMessage message)
    {
        if (message.Type != SocketDiagnostics.GetTcpSockets || message.Payload.Length < Unsafe.SizeOf<InetDiagnosticMessage>()) return false;
        top.Show(in MemoryMarshal.AsRef<InetDiagnosticMessage>(message.Payload));
        return true;
    }
}
