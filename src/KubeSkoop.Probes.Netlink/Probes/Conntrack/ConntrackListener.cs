using KubeSkoop.Probes.Procfs;
using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Win32.SafeHandles;
using Libc = KubeSkoop.Probes.Procfs.Interop.Libc;

namespace KubeSkoop.Probes.Netlink;

/// <summary>Takes one notice of the kernel.</summary>
internal delegate void ConntrackNotice(NetworkNamespace ns, in NetlinkMessage message);

/// <summary>
/// Listens to the notices of all namespaces: a socket each, one thread for all. Namespaces born later are followed; a socket that broke, or could not
/// be opened, is tried again.
/// </summary>
internal sealed class ConntrackListener : IDisposable
{
    private const int LookMilliseconds = 500;
    private const int DatagramsPerTurn = 256; // a busy namespace must not starve the others

    private readonly INetworkNamespaceSource _source;
    private readonly ConntrackNotice _notice;
    private readonly PerNamespace<Subscription> _subscriptions;
    private readonly Dictionary<ulong, Subscription> _byId = []; // of the thread
    private readonly Dictionary<NetworkNamespace, Subscription> _byNamespace = [];
    private readonly NetlinkBuffer _buffer = new();
    private readonly SafeFileHandle _epoll = Libc.CreateEpoll();
    private readonly SafeFileHandle _wake = Libc.CreateEventFd();
    private readonly Lock _gate = new();
    private readonly ulong[] _ready = new ulong[64];
    private readonly Action<Action> _account;
    private readonly Thread _thread;
    private int _readyCount;
    private long _looked = Environment.TickCount64;
    private IReadOnlyList<NetworkNamespace>? _followed;
    private ulong _lastId;
    private long _malformed;
    private volatile bool _stopping;

    internal ConntrackListener(INetworkNamespaceSource source, NetlinkSettings settings, ConntrackOptions options, ConntrackNotice notice, Action<Action>? account = null)
    {
        _account = account ?? (static work => work());
        _source = source;
        _notice = notice;
        int[] groups = GroupsOf(options.Events);
        int room = options.EventBufferBytes;
        _subscriptions = new PerNamespace<Subscription>(ns => new Subscription(++_lastId, ns, new NamespaceSocket(
            source, ns, NetlinkProtocol.Netfilter, settings, socket => Prepare(socket, groups, room))));
        Libc.WatchReadable(_epoll, _wake, 0);
        Follow(); // whoever waited for the start shall miss nothing after it
        _thread = new Thread(Run) { IsBackground = true, Name = "kubeskoop-conntrack" };
        _thread.Start();
    }

    /// <summary>Datagrams that could not be understood.</summary>
    internal long Malformed => Volatile.Read(ref _malformed);

    /// <summary>What was lost in a namespace so far, and why nothing is heard from it, if so; absent when it is not followed yet.</summary>
    internal Reading LostIn(NetworkNamespace ns, out string? problem)
    {
        problem = null;
        lock (_gate)
        {
            if (!_byNamespace.TryGetValue(ns, out Subscription? subscription)) return default;
            problem = subscription.Problem;
            return subscription.Lost;
        }
    }

    /// <summary>Ends the thread and closes every socket.</summary>
    public void Dispose()
    {
        _stopping = true;
        Libc.Signal(_wake);
        _thread.Join();
        lock (_gate) _subscriptions.Dispose();
        _epoll.Dispose();
        _wake.Dispose();
    }

    private static int[] GroupsOf(ConntrackNotices events)
    {
        var groups = new List<int>();
        if (events.HasFlag(ConntrackNotices.New)) groups.Add(ConntrackMessages.GroupNew);
        if (events.HasFlag(ConntrackNotices.Update)) groups.Add(ConntrackMessages.GroupUpdate);
        if (events.HasFlag(ConntrackNotices.Destroy)) groups.Add(ConntrackMessages.GroupDestroy);
        if (events.HasFlag(ConntrackNotices.Expectation))
            groups.AddRange([ConntrackMessages.GroupExpectationNew, ConntrackMessages.GroupExpectationUpdate, ConntrackMessages.GroupExpectationDestroy]);
        return [.. groups];
    }

    private static Errno Prepare(NetlinkSocket socket, int[] groups, int room)
    {
        socket.TrySetReceiveBuffer(room);
        foreach (int group in groups)
            if (!socket.TryJoin(group, out Errno error)) return error;
        return Errno.None;
    }

    private void Run()
    {
        Action turn = Turn;
        while (!_stopping)
        {
            _readyCount = Libc.WaitReadable(_epoll, _ready, LookMilliseconds).Length;
            if (_stopping) return;
            _account(turn);
        }
    }

    private void Turn()
    {
        foreach (ulong id in _ready.AsSpan(0, _readyCount))
            if (_byId.TryGetValue(id, out Subscription? subscription)) Take(subscription);
        if (ReferenceEquals(_followed, _source.Current) && Environment.TickCount64 - _looked < LookMilliseconds) return;
        _looked = Environment.TickCount64;
        Follow();
    }

    private void Follow()
    {
        IReadOnlyList<NetworkNamespace> snapshot = _source.Current;
        lock (_gate)
        {
            bool changed = !ReferenceEquals(snapshot, _followed);
            _followed = snapshot;
            ReadOnlySpan<Subscription> subscriptions = _subscriptions.For(snapshot);
            if (changed)
            {
                _byId.Clear();
                _byNamespace.Clear();
            }
            foreach (Subscription subscription in subscriptions)
            {
                if (changed)
                {
                    _byId.Add(subscription.Id, subscription);
                    _byNamespace.Add(subscription.Namespace, subscription);
                }
                if (subscription.TryOpen(out SafeFileHandle? opened)) Watch(opened, subscription.Id);
            }
        }
    }

    // It leaves the set by itself when it is closed, and it may be closed already: its namespace has ended.
    private void Watch(SafeFileHandle socket, ulong id)
    {
        try
        {
            Libc.WatchReadable(_epoll, socket, id);
        }
        catch (ObjectDisposedException)
        {
        }
    }

    private void Take(Subscription subscription)
    {
        if (subscription.Socket is not { } socket) return;
        for (int i = 0; i < DatagramsPerTurn; i++)
        {
            switch (socket.TryReceive(_buffer, out ReadOnlySpan<byte> datagram))
            {
                case NetlinkReceive.Datagram:
                    var messages = new NetlinkMessages(datagram);
                    while (messages.MoveNext()) _notice(subscription.Namespace, messages.Current);
                    if (messages.Fault != NetlinkFault.None) Interlocked.Increment(ref _malformed);
                    break;
                case NetlinkReceive.Oversized or NetlinkReceive.Stranger:
                    Interlocked.Increment(ref _malformed);
                    break;
                case NetlinkReceive.Overrun: // the kernel counts what is lost
                    break;
                default:
                    return;
            }
        }
    }

    /// <summary>A namespace's notices.</summary>
    private sealed class Subscription(ulong id, NetworkNamespace ns, NamespaceSocket slot) : IDisposable
    {
        private NetlinkSocket? _socket;
        private ulong _lost;
        private uint _drops;

        internal ulong Id => id;

        internal NetworkNamespace Namespace => ns;

        internal NetlinkSocket? Socket => _socket;

        /// <summary>Why nothing is heard.</summary>
        internal string? Problem => slot.Problem;

        /// <summary>Notices lost, over all its sockets.</summary>
        internal Reading Lost
        {
            get
            {
                if (_socket is null) return default;
                uint drops = _socket.ReadDrops();
                if (!_socket.Handle.IsClosed)
                {
                    _lost += unchecked(drops - _drops);
                    _drops = drops;
                }
                return _lost;
            }
        }

        /// <summary>Sees to it that there is a socket; true when it is a new one.</summary>
        internal bool TryOpen([System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out SafeFileHandle? opened)
        {
            NetlinkSocket? socket = slot.TryOpen(out _);
            opened = null;
            if (socket is null || ReferenceEquals(socket, _socket)) return false;
            _ = Lost; // of the old one, as far as it still tells
            _socket = socket;
            _drops = 0;
            opened = socket.Handle;
            return true;
        }

        public void Dispose() => slot.Dispose();
    }
}
