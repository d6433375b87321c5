using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Sources;

namespace KubeSkoop.Probes.Ebpf.Loading;

/// <summary>struct ks_netns, bpf/include/kubeskoop/settings.h: a network namespace, by a number that may be another one's at once when it has ended, and a cookie that never is.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct NamespaceKey(uint Inode, uint Cookie);

/// <summary>Which network namespaces there are, by the kernel's own list. Shared by the probes that count by namespace; in the kernel only while one of them runs.</summary>
internal sealed unsafe class AliveNamespaces(EbpfPrograms programs)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<uint, uint> _cookies = [];
    private BpfObject? _object;
    private NamespaceKey* _results;
    private int _room;
    private int _list;
    private int _users;
    private bool _complete;

    /// <summary>Loads the program, unless it is there. Where the kernel cannot run it, nothing is known.</summary>
    internal void Acquire()
    {
        lock (_gate)
        {
            if (_users++ > 0 || SourcePrograms.Refusal(programs.Features) is not null) return;
            try
            {
                _object = SourcePrograms.Load(programs, "alive", ["list"]);
                _results = _object.Elements<NamespaceKey>("results", out _room);
                _list = _object.Descriptor("list");
            }
            catch (Exception e) when (e is ProbeUnavailableException or IOException)
            {
                Unload();
            }
        }
    }

    /// <summary>The counterpart of <see cref="Acquire"/>.</summary>
    internal void Release()
    {
        lock (_gate)
            if (--_users == 0) Unload();
    }

    /// <summary>Asks the kernel, and looks while it is not asked again.</summary>
    internal void Read<TState>(TState state, Action<AliveNamespaces, TState> look)
    {
        lock (_gate)
        {
            _cookies.Clear();
            int found = _object is null ? -1 : KernelCalls.RunProgram(_list);
            _complete = found > 0 && found < _room;
            for (int i = 0; i < found && i < _room; i++) _cookies[_results[i].Inode] = _results[i].Cookie;
            look(this, state);
        }
    }

    /// <summary>Whether it exists; <see langword="null"/> when that cannot be told.</summary>
    internal bool? Has(NamespaceKey key) =>
        _cookies.TryGetValue(key.Inode, out uint cookie) ? cookie == key.Cookie : _complete ? false : null;

    /// <summary>Whether a namespace with this number exists.</summary>
    internal bool? Has(uint inode) => _cookies.ContainsKey(inode) ? true : _complete ? false : null;

    /// <summary>The cookie of the namespace that has a number now.</summary>
    internal uint? CookieOf(uint inode) => _cookies.TryGetValue(inode, out uint cookie) ? cookie : null;

    private void Unload()
    {
        _object?.Dispose();
        _object = null;
        _results = null;
        _complete = false;
        _cookies.Clear();
    }
}
