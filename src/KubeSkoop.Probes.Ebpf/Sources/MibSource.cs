using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Ebpf.Interop;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Ebpf.Sources;

/// <summary>
/// The counters of <c>snmp</c>, <c>netstat</c> and <c>snmp6</c> of all namespaces in one pass: a program walks the kernel's list of network namespaces and adds up what each CPU
/// has counted. Nothing is attached: it costs nothing between samples.
/// </summary>
/// <remarks>
/// Before it is used, every column must have its place by name, and its numbers must agree with the files of one namespace; else the files stay the source.
/// </remarks>
internal sealed unsafe class MibSource(EbpfPrograms programs) : INetTableSource
{
    private const int Attempts = 5;

    // A run cannot be interrupted: about a millisecond's work.
    private const int SharesPerRun = 1024;

    private readonly Lock _gate = new(); // taken within a table's
    private readonly Dictionary<uint, int> _places = [];
    private readonly Dictionary<NetTable, Mapping> _mappings = [];
    private BpfObject? _object;
    private RawMibs* _results;
    private MibRequest* _request;
    private int _collect;
    private int _room;
    private int _perRun;
    private int _count;
    private uint[] _order = [];
    private int _ordered;
    private long _round;

    public string Name => "bpf";

    public string? TryStart(IReadOnlyList<NetTable> tables, NetworkNamespace witness)
    {
        if (!programs.Options.ReadCounters) return $"switched off by {EbpfOptions.SectionName}:{nameof(EbpfOptions.ReadCounters)}";
        try
        {
            string? why = SourcePrograms.Refusal(programs.Features) ?? Load() ?? Map(tables, witness) ?? Compare(tables, witness);
            if (why is not null) Stop();
            return why;
        }
        catch (Exception e) when (e is ProbeUnavailableException or IOException or UnauthorizedAccessException or FormatException)
        {
            Stop();
            return e.Message;
        }
    }

    public void Stop()
    {
        lock (_gate)
        {
            _object?.Dispose();
            _object = null;
            _mappings.Clear();
            _places.Clear();
            _round = 0;
            _count = _ordered = 0;
        }
    }

    public NetFileOutcome? TryFill(NetTable table, NetTableRow row, long round)
    {
        lock (_gate)
        {
            if (_object is null || !_mappings.TryGetValue(table, out Mapping? mapping)) return null;
            // A sample that is slower than another finds later numbers, not one pass for every row.
            if (round > _round)
            {
                _round = round;
                Collect();
            }
            if (!_places.TryGetValue(row.Namespace.Inode, out int place)) return null;
            ref RawMibs raw = ref _results[place];
            if ((raw.Present & mapping.Needs) != mapping.Needs) return null;
            if (row.Cookie == 0) row.Cookie = raw.Cookie;
            if (row.Cookie != raw.Cookie) return NetFileOutcome.Vanished; // its number is another namespace's by now
            mapping.Fill(raw, row.Slots);
            return NetFileOutcome.Ok;
        }
    }

    /// <summary>The CPUs of a list such as <c>0-3,8</c>.</summary>
    internal static IEnumerable<int> Cpus(string list)
    {
        foreach (string range in list.Trim().Split(','))
        {
            int dash = range.IndexOf('-', StringComparison.Ordinal);
            int first = int.Parse(dash < 0 ? range : range[..dash], CultureInfo.InvariantCulture);
            int last = dash < 0 ? first : int.Parse(range[(dash + 1)..], CultureInfo.InvariantCulture);
            for (int cpu = first; cpu <= last; cpu++) yield return cpu;
        }
    }

    private string? Load()
    {
        int[] cpus = [.. Cpus(File.ReadAllText("/sys/devices/system/cpu/possible")).Take(MibRequest.MostCpus + 1)];
        if (cpus.Length > MibRequest.MostCpus) return string.Create(CultureInfo.InvariantCulture, $"this machine may have more than {MibRequest.MostCpus} CPUs");
        _object = SourcePrograms.Load(programs, "mibs", ["collect", "cpu_offsets"], ("results", (uint)programs.Options.MaxNamespaces));
        _results = _object.Elements<RawMibs>("results", out _room);
        _request = _object.Data<MibRequest>(".data.request");
        _collect = _object.Descriptor("collect");
        _perRun = Math.Max(1, SharesPerRun / cpus.Length);
        _request->Cpus = (uint)cpus.Length;
        for (int i = 0; i < cpus.Length; i++) _request->Offsets[i] = (ulong)cpus[i];
        int found = KernelCalls.RunProgram(_object.Descriptor("cpu_offsets"));
        return found == cpus.Length ? null
            : found < 0 ? $"the kernel does not run its program: {Errors.Name(-found)}"
            : string.Create(CultureInfo.InvariantCulture, $"the counters of {found} of {cpus.Length} CPUs could be found");
    }

    private string? Map(IReadOnlyList<NetTable> tables, NetworkNamespace witness)
    {
        var columns = new MibColumns(programs.Features.Btf!.EnumerationWith);
        foreach (NetTable table in tables)
        {
            using NetTableRow row = table.Make(witness);
            if (Read(table, row) is not NetFileOutcome.Ok) continue; // IPv6 is off, and so is it everywhere
            var places = new List<(TableColumn Column, MibPlace Place)>();
            var unknown = new List<string>();
            foreach (TableColumn column in table.Layout.Columns)
            {
                if (columns.Find(column.Section, column.Name) is { } place && !places.Exists(p => p.Column.Section == column.Section && p.Place == place)) places.Add((column, place));
                else unknown.Add(Say(column));
            }
            if (unknown.Count > 0) return $"where this kernel keeps {Say(unknown)} does not follow from its types";
            _mappings.Add(table, new Mapping(places));
        }
        return _mappings.Count > 0 ? null : $"the files of {witness} cannot be read to compare them";
    }

    // A counter lies between what its file says before and after. A gauge may move meanwhile, so what agrees once agrees.
    private string? Compare(IReadOnlyList<NetTable> tables, NetworkNamespace witness)
    {
        var wrong = new List<string>();
        foreach (NetTable table in tables)
        {
            if (!_mappings.TryGetValue(table, out Mapping? mapping)) continue;
            using NetTableRow before = table.Make(witness), ours = table.Make(witness), after = table.Make(witness);
            var open = new HashSet<TableColumn>(mapping.Columns);
            for (int attempt = 1; attempt <= Attempts && open.Count > 0; attempt++)
            {
                NetFileOutcome first = Read(table, before);
                NetFileOutcome? mine = TryFill(table, ours, 1);
                NetFileOutcome last = Read(table, after);
                if (mine is not NetFileOutcome.Ok) return string.Create(CultureInfo.InvariantCulture, $"the program does not find {witness}, or not all of its counters");
                if (first != NetFileOutcome.Ok || last != NetFileOutcome.Ok) return $"the files of {witness} cannot be read to compare them";
                open.RemoveWhere(column => Lies(ours.Slots[column.Slot], before.Slots[column.Slot], after.Slots[column.Slot]));
                lock (_gate) _round = 0;
            }
            wrong.AddRange(open.Select(Say));
        }
        return wrong.Count == 0 ? null : $"what it reads is not what /proc shows for {Say(wrong)}";
    }

    private static bool Lies(Reading value, Reading before, Reading after) =>
        value.HasValue && before.HasValue && after.HasValue ? before.Value <= value.Value && value.Value <= after.Value : !value.HasValue && !before.HasValue && !after.HasValue;

    private static NetFileOutcome Read(NetTable table, NetTableRow row)
    {
        lock (table.Gate) return table.Look(row);
    }

    private static string Say(TableColumn column) => column.Section.EndsWith(':') ? $"{column.Section} {column.Name}" : column.Section + column.Name;

    private static string Say(List<string> columns) =>
        columns.Count <= 8 ? string.Join(", ", columns) : string.Create(CultureInfo.InvariantCulture, $"{string.Join(", ", columns.Take(8))} and {columns.Count - 8} others");

    private void Collect()
    {
        _count = 0;
        while (_count < _room)
        {
            _request->From = (uint)_count;
            _request->Most = (uint)Math.Min(_perRun, _room - _count);
            int found = KernelCalls.RunProgram(_collect);
            if (found <= 0) break; // no more; or refused, and then the files say what there is to say
            _count += Math.Min(found, (int)_request->Most);
            if (found < _request->Most) break;
        }
        if (Moved()) Order();
    }

    // Namespaces come and go seldom; the kernel's list keeps its order.
    private bool Moved()
    {
        if (_count != _ordered) return true;
        for (int i = 0; i < _count; i++)
            if (_results[i].NetworkNamespace != _order[i]) return true;
        return false;
    }

    private void Order()
    {
        if (_order.Length < _count) _order = new uint[Math.Min(_room, Math.Max(64, _count * 2))];
        _ordered = _count;
        _places.Clear();
        for (int i = 0; i < _count; i++)
        {
            _order[i] = _results[i].NetworkNamespace;
            _places[_order[i]] = i;
        }
    }

    /// <summary>Which words of a namespace's counters go into which slots of a table.</summary>
    private sealed class Mapping(List<(TableColumn Column, MibPlace Place)> places)
    {
        private readonly (int Slot, int Word)[] _copies = [.. places.Select(static p => (p.Column.Slot, p.Place.Word))];

        internal IEnumerable<TableColumn> Columns => places.Select(static p => p.Column);

        internal Mibs Needs { get; } = places.Aggregate(Mibs.None, static (all, p) => all | p.Place.Mib);

        internal void Fill(in RawMibs raw, Span<Reading> slots)
        {
            ReadOnlySpan<ulong> words = MemoryMarshal.Cast<RawMibs, ulong>(new ReadOnlySpan<RawMibs>(in raw));
            slots.Clear();
            foreach ((int slot, int word) in _copies) slots[slot] = new Reading(words[word]);
        }
    }
}
