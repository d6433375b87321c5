using System.Globalization;
using KubeSkoop.Probes.Procfs;
using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Extensions.Options;
using Microsoft.Win32.SafeHandles;
using SetNs = KubeSkoop.Probes.Procfs.Interop.Libc;

namespace KubeSkoop.Probes.Netlink;

/// <summary>What the netlink probes share: one socket per network namespace and netlink family.</summary>
public sealed class NetlinkSockets : IDisposable
{
    private const int LinkGroup = 1; // RTNLGRP_LINK, include/uapi/linux/rtnetlink.h

    /// <summary>Makes the shared sockets; none is opened before a probe asks for it.</summary>
    public NetlinkSockets(INetworkNamespaceSource namespaces, TimeProvider? clock = null)
        : this(namespaces, new NetlinkSettings { Clock = clock ?? TimeProvider.System })
    {
    }

    internal NetlinkSockets(INetworkNamespaceSource namespaces, NetlinkSettings settings)
    {
        ArgumentNullException.ThrowIfNull(namespaces);
        Namespaces = namespaces;
        Settings = settings;
        // Notices of devices only say that something has changed: see NamespaceLinks.
        Route = new NetlinkTable(namespaces, NetlinkProtocol.Route, settings, static socket => socket.TryJoin(LinkGroup, out Errno error) ? Errno.None : error);
        SocketDiagnostics = new NetlinkTable(namespaces, NetlinkProtocol.SocketDiagnostics, settings);
        Netfilter = new NetlinkTable(namespaces, NetlinkProtocol.Netfilter, settings);
        Generic = new NetlinkTable(namespaces, NetlinkProtocol.Generic, settings);
    }

    /// <summary>The namespaces of this machine.</summary>
    public INetworkNamespaceSource Namespaces { get; }

    /// <summary>What the sockets have done and met so far.</summary>
    public NetlinkStatistics Statistics =>
        new(Settings.Counts.Opened, Settings.Counts.Requests, Settings.Counts.Interrupted, Settings.Counts.Overruns, Settings.Counts.Oversized, Settings.Counts.Strangers);

    internal NetlinkSettings Settings { get; }

    /// <summary>rtnetlink.</summary>
    internal NetlinkTable Route { get; }

    /// <summary>sock_diag.</summary>
    internal NetlinkTable SocketDiagnostics { get; }

    /// <summary>nfnetlink.</summary>
    internal NetlinkTable Netfilter { get; }

    /// <summary>Generic netlink.</summary>
    internal NetlinkTable Generic { get; }

    /// <summary>Starts a probe with sources of its own; they end with the probe's last lease on them.</summary>
    internal static async Task<TProbe> StartAsync<TProbe>(ProcfsOptions? options, Func<NetlinkSockets, TProbe> make, CancellationToken cancellationToken)
        where TProbe : Probe
    {
        options ??= new ProcfsOptions();
        string[] mistakes = [.. options.Validate()];
        if (mistakes.Length > 0) throw new ArgumentException(string.Join(" ", mistakes), nameof(options));
        TProbe probe = make(new NetlinkSockets(new ProcNamespaceSource(Options.Create(options))));
        await probe.StartAsync(cancellationToken).ConfigureAwait(false);
        return probe;
    }

    /// <summary>Closes every socket.</summary>
    public void Dispose()
    {
        Route.Dispose();
        SocketDiagnostics.Dispose();
        Netfilter.Dispose();
        Generic.Dispose();
    }
}

/// <summary>The sockets of one netlink family, one per namespace, and the buffer they are read with.</summary>
internal sealed class NetlinkTable : IDisposable
{
    private readonly INetworkNamespaceSource _source;
    private readonly PerNamespace<NamespaceSocket> _sockets;
    private NetlinkBuffer? _buffer;
    private IDisposable? _lease;
    private int _users;

    internal NetlinkTable(INetworkNamespaceSource source, NetlinkProtocol protocol, NetlinkSettings settings, Func<NetlinkSocket, Errno>? prepare = null)
    {
        _source = source;
        _sockets = new PerNamespace<NamespaceSocket>(ns => new NamespaceSocket(source, ns, protocol, settings, prepare));
    }

    /// <summary>Held while sockets are asked for and used.</summary>
    internal Lock Gate { get; } = new();

    /// <summary>Where datagrams are received; under <see cref="Gate"/>, while the table is in use.</summary>
    internal NetlinkBuffer Buffer => _buffer ??= new NetlinkBuffer();

    /// <summary>A socket, perhaps not open yet, for each namespace there is now; under <see cref="Gate"/>.</summary>
    internal ReadOnlySpan<NamespaceSocket> Current => Of(_source.Current);

    /// <summary>The namespaces of which sockets were last asked for, in their order; under <see cref="Gate"/>.</summary>
    internal IReadOnlyList<NetworkNamespace> Snapshot { get; private set; } = [];

    /// <summary>The sockets of a snapshot, in its order; under <see cref="Gate"/>. It is to be the latest: sockets of others are closed.</summary>
    internal ReadOnlySpan<NamespaceSocket> Of(IReadOnlyList<NetworkNamespace> snapshot) => _sockets.For(Snapshot = snapshot);

    /// <summary>Begins to use the table; the first user makes the namespaces be watched.</summary>
    internal void Acquire()
    {
        lock (Gate)
        {
            if (_users == 0) _lease = _source.Acquire();
            _users++;
        }
    }

    /// <summary>Ends a use; the last one closes every socket.</summary>
    internal void Release()
    {
        lock (Gate)
        {
            if (_users == 0 || --_users > 0) return;
            _sockets.Dispose();
            Snapshot = [];
            _buffer = null;
            _lease?.Dispose();
            _lease = null;
        }
    }

    public void Dispose()
    {
        lock (Gate)
        {
            _users = Math.Min(_users, 1);
            Release();
        }
    }
}

/// <summary>
/// A namespace's socket of one family: opened when it is first asked for, by a thread that enters the namespace and ends; kept;
/// closed on the watching thread when the namespace ends. One that cannot be opened is tried again now and then.
/// </summary>
/// <param name="source">The namespaces.</param>
/// <param name="ns">The namespace.</param>
/// <param name="protocol">The netlink family.</param>
/// <param name="settings">Limits and counts.</param>
/// <param name="prepare">What else is to be done with a socket before it is used, such as joining groups.</param>
internal sealed class NamespaceSocket(INetworkNamespaceSource source, NetworkNamespace ns, NetlinkProtocol protocol, NetlinkSettings settings,
    Func<NetlinkSocket, Errno>? prepare = null) : IDisposable
{
    private const int AsksBetweenOpens = 32;

    private NetlinkSocket? _open;
    private int _asksUntilOpen;
    private bool _passes;
    private SkipReason _reason;
    private volatile bool _disposed;

    internal NetworkNamespace Namespace => ns;

    /// <summary>What is wrong, for people; made once per try to open.</summary>
    internal string? Problem { get; private set; }

    /// <summary>The open socket; otherwise why there is none, for <see cref="SampleBatch{TRecord}.Skip"/> together with <see cref="Problem"/>.</summary>
    internal NetlinkSocket? TryOpen(out SkipReason reason)
    {
        reason = SkipReason.Vanished;
        if (_disposed) return null;
        NetlinkSocket? socket = _open;
        if (socket is { IsBroken: false }) return socket;
        if (socket is not null)
        {
            socket.Dispose();
            Volatile.Write(ref _open, null);
        }
        if (_asksUntilOpen > 0)
        {
            _asksUntilOpen--;
            reason = _reason;
            return null;
        }
        socket = Open(out reason);
        _reason = reason;
        if (socket is null)
        {
            _asksUntilOpen = reason == SkipReason.Vanished || _passes ? 0 : AsksBetweenOpens;
            return null;
        }
        Problem = null;
        Volatile.Write(ref _open, socket);
        Interlocked.MemoryBarrier();
        if (_disposed) socket.Dispose(); // ended while it was being opened
        return socket;
    }

    /// <summary>Notes in a batch that this namespace has no row because of a result, and why.</summary>
    internal void Note<TRecord>(SampleBatch<TRecord> batch, in NetlinkResult result)
        where TRecord : struct
    {
        switch (result.Outcome)
        {
            case NetlinkOutcome.Closed:
                batch.Skip(SkipReason.Vanished);
                break;
            case NetlinkOutcome.Malformed:
                batch.Skip(SkipReason.Malformed, Describe(result));
                break;
            default:
                batch.Skip(SkipReason.Denied, Describe(result));
                break;
        }
    }

    /// <summary>A result for people, with the namespace it is about.</summary>
    internal string Describe(in NetlinkResult result) => Describe(result.Describe());

    public void Dispose()
    {
        _disposed = true;
        Volatile.Read(ref _open)?.Dispose();
    }

    private NetlinkSocket? Open(out SkipReason reason)
    {
        reason = SkipReason.Vanished;
        _passes = false;
        if (ns.Ended.IsCancellationRequested) return null;
        using SafeFileHandle? handle = source.Open(ns);
        if (handle is null)
        {
            if (ns.Ended.IsCancellationRequested) return null;
            reason = SkipReason.Denied;
            Problem = Describe("its namespace cannot be opened; it has just ended, or CAP_SYS_PTRACE is missing");
            return null;
        }

        NetlinkSocket? opened = null;
        bool entered = false;
        Errno error = Errno.None;
        // setns is per thread, so this thread ends with the opening and never returns to a pool.
        var thread = new Thread(() =>
        {
            entered = IsWithin(handle) || SetNs.SetNetworkNamespace(handle, out error);
            if (entered) opened = NetlinkSocket.TryOpen(protocol, settings, out error);
        })
        {
            IsBackground = true,
            Name = "kubeskoop-netlink",
        };
        thread.Start();
        thread.Join();
        if (opened is not null && prepare is not null)
        {
            error = prepare(opened);
            if (error != Errno.None)
            {
                opened.Dispose();
                opened = null;
            }
        }
        if (opened is not null) return opened;
        if (ns.Ended.IsCancellationRequested) return null;
        reason = SkipReason.Denied;
        _passes = error is Errno.TooManyOpen or Errno.TooManyInSystem; // descriptors come back at any moment
        Problem = Describe(entered
            ? NetlinkError.Describe(error)
            : error == Errno.NotPermitted ? "the namespace cannot be entered: EPERM, CAP_SYS_ADMIN is missing" : $"the namespace cannot be entered: {error.Describe()}");
        return null;
    }

    /// <summary>Whether this process may enter network namespaces: entering the one it is in asks for the same rights.</summary>
    internal static bool MayEnter(out Errno error)
    {
        Errno result = Errno.None;
        var thread = new Thread(() =>
        {
            using SafeFileHandle own = OpenOwn(out result);
            if (result == Errno.None) SetNs.SetNetworkNamespace(own, out result);
        })
        {
            IsBackground = true,
            Name = "kubeskoop-netlink",
        };
        thread.Start();
        thread.Join();
        error = result;
        return result == Errno.None;
    }

    private static SafeFileHandle OpenOwn(out Errno error) =>
        SetNs.Open(SetNs.AtCurrentDirectory, "/proc/thread-self/ns/net\0"u8, SetNs.OpenReadOnly, out error);

    // A thread that is there already needs no capability to enter.
    private static bool IsWithin(SafeFileHandle namespaceHandle)
    {
        using SafeFileHandle own = OpenOwn(out Errno error);
        return error == Errno.None
            && SetNs.Stat(own, out SetNs.FileStatus here) && SetNs.Stat(namespaceHandle, out SetNs.FileStatus there)
            && here.Inode == there.Inode && here.DeviceMinor == there.DeviceMinor && here.DeviceMajor == there.DeviceMajor;
    }

    private string Describe(string why) => string.Create(CultureInfo.InvariantCulture, $"netlink {protocol} socket of {ns}: {why}");
}
