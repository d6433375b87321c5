using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Netlink;

namespace KubeSkoop.Probes.Ebpf.Sources;

/// <summary>
/// The TCP sockets of all namespaces, added up in one walk over the kernel's tables by a program. Nothing is attached: it costs nothing between samples. What sock_diag takes a
/// walk over the same tables for is one namespace's sockets, each as a message.
/// </summary>
internal sealed unsafe class TcpSocketSource(EbpfPrograms programs) : ITcpSocketSource
{
    private const ushort FamilyIPv6 = 10; // AF_INET6
    private const int NewSynReceived = 12; // TCP_NEW_SYN_RECV, include/net/tcp_states.h
    private const int Attempts = 3;
    private const int MostRuns = 1 << 20; // a table has at most 2^32 buckets

    private readonly Dictionary<uint, int> _places = [];
    private BpfObject? _object;
    private RawTcpSockets* _results;
    private TcpSocketsRequest* _request;
    private int _begin;
    private int _walk;

    public string Name => "bpf";

    public string? TryStart()
    {
        if (!programs.Options.ReadSockets) return $"switched off by {EbpfOptions.SectionName}:{nameof(EbpfOptions.ReadSockets)}";
        try
        {
            if (SourcePrograms.Refusal(programs.Features) is { } refusal) return refusal;
            uint room = (uint)programs.Options.MaxNamespaces;
            _object = SourcePrograms.Load(programs, "tcpsockets", ["begin", "walk_tables"], ("results", room), ("places", room));
            _results = _object.Elements<RawTcpSockets>("results", out _);
            _request = _object.Data<TcpSocketsRequest>(".data.request");
            _begin = _object.Descriptor("begin");
            _walk = _object.Descriptor("walk_tables");
            int found = KernelCalls.RunProgram(_begin);
            if (found == 1) return null;
            Stop();
            return found < 0 ? $"the kernel does not run its program: {Errors.Name(-found)}" : "the kernel's table of TCP sockets cannot be found";
        }
        catch (Exception e) when (e is ProbeUnavailableException or IOException)
        {
            Stop();
            return e.Message;
        }
    }

    public void Stop()
    {
        _object?.Dispose();
        _object = null;
        _places.Clear();
    }

    public bool TryCollect(uint queueThreshold)
    {
        if (_object is null) return false;
        _request->Threshold = queueThreshold;
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            if (KernelCalls.RunProgram(_begin) != 1 || _request->Private > 0) return false;
            if (!Walk(listeners: true) || !Walk(listeners: false) || _request->Full > 0) return false;
            if (_request->Broken > 0) continue; // sockets moved under the walk: once more
            _places.Clear();
            for (int i = 0; i < _request->Found; i++) _places[_results[i].NetworkNamespace] = i;
            return true;
        }
        return false;
    }

    public TcpSums Get(uint inode)
    {
        var sums = new TcpSums();
        if (_object is null || !_places.TryGetValue(inode, out int place)) return sums;
        ref RawTcpSockets raw = ref _results[place];
        sums.Cookie = raw.Cookie;
        sums.TimeWait = raw.States[(int)TcpState.TimeWait];
        ref TcpTally connections = ref sums.Connections;
        for (int state = 0; state < NewSynReceived; state++)
            if (state is not ((int)TcpState.TimeWait or (int)TcpState.Listen)) connections.States[state] = raw.States[state];
        connections.NewSynReceived = raw.States[NewSynReceived];
        connections.ClosedFinWait2 = raw.ClosedFinWait2;
        connections.ReceiveQueue = raw.Receive;
        connections.SendQueue = raw.Send;
        connections.LargestReceiveQueue = raw.LargestReceive;
        connections.LargestSendQueue = raw.LargestSend;
        connections.ReceiveQueuesAbove = raw.ReceiveAbove;
        connections.SendQueuesAbove = raw.SendAbove;
        ref ListenerTally listeners = ref sums.Listeners;
        listeners.Count = raw.States[(int)TcpState.Listen];
        if (listeners.Count == 0) return sums;
        listeners.Waiting = raw.Waiting;
        listeners.Limit = raw.Limit;
        listeners.FullestWaiting = raw.FullestWaiting;
        listeners.FullestLimit = raw.FullestLimit;
        listeners.Fullest = new Endpoint(((ReadOnlySpan<byte>)raw.FullestAddress)[..(raw.FullestFamily == FamilyIPv6 ? 16 : 4)], raw.FullestPort);
        return sums;
    }

    // Each run goes on where the last one has ended; between two, others may use the CPU.
    private bool Walk(bool listeners)
    {
        _request->Listeners = listeners ? 1u : 0;
        _request->Bucket = 0;
        for (int run = 0; run < MostRuns; run++)
        {
            int more = KernelCalls.RunProgram(_walk);
            if (more <= 0) return more == 0;
        }
        return false;
    }
}
