using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Netlink;

/// <summary>Virtual services of IPVS and their real servers per network namespace, from generic netlink.</summary>
/// <remarks>Makes a stopped probe that shares its sockets with the other probes of the package.</remarks>
public sealed class IpvsServicesProbe(NetlinkSockets sockets, IOptions<IpvsServicesOptions>? options = null, TimeProvider? clock = null)
    : MetricProbe<IpvsServicesRecord>(About, clock), IConfigurableProbe<IpvsServicesOptions>
{
    internal const string ServiceAttribute = "ipvs.service";
    internal const string SchedulerAttribute = "ipvs.scheduler";
    internal const string ServerAttribute = "ipvs.server";
    internal const string ForwardingAttribute = "ipvs.forwarding";
    private const string Loaded = "/proc/self/net/ip_vs";

    private readonly NetlinkTable _table = sockets.Generic;
    private readonly PerNamespace<IpvsNamespace> _namespaces = new(static ns => new IpvsNamespace(ns));
    private readonly List<IpvsService> _services = [];
    private readonly List<IpvsServer> _servers = [];
    private readonly HashSet<IpvsServiceKey> _serviceKeys = [];
    private readonly HashSet<IpvsServerKey> _serverKeys = [];
    private readonly byte[] _familyRequest = IpvsMessages.FamilyRequest();
    private readonly byte[] _serversRequest = new byte[128];
    private byte[] _servicesRequest = [];
    private ushort _family;
    private bool _acquired;
    private (int Most, string Text) _tooMany;

    /// <summary>What the probe is.</summary>
    public static ProbeDescriptor About { get; } = new()
    {
        Name = "ipvs_services",
        Source = ProbeSource.Netlink,
        Overhead = OverheadClass.Medium,
        Purpose = "Virtual services of IPVS and their real servers: connections, packets, bytes, open connections, weights.",
        Finds =
        [
            "A real server that gets no connections, or all of them.",
            "A service without real servers.",
            "Traffic that goes to a real server but does not come back.",
        ],
        KernelSources = ["generic netlink, family IPVS: IPVS_CMD_GET_SERVICE; IPVS_CMD_GET_DEST for each service"],
        Requirements =
        [
            "The kernel module ip_vs.",
            "CAP_NET_ADMIN; CAP_SYS_ADMIN to enter other network namespaces, CAP_SYS_PTRACE to see those of other users' processes.",
        ],
        Attributes =
        [
            new(ServiceAttribute, "the service as ipvsadm has it: TCP 10.96.0.1:443, or FWM 7 for a mark of the firewall"),
            new(SchedulerAttribute, "of a service: rr, lc, sh, ..."),
            new(ServerAttribute, "of a real server: its address and port"),
            new(ForwardingAttribute, "of a real server: masquerading, local, tunnel, route or bypass"),
        ],
        Metrics = IpvsServicesRecord.Metrics.Describe(),
        Options =
        [
            new(nameof(IpvsServicesOptions.Servers), "flag", "true", "Whether the real servers of each service have rows; each service is then one more question to the kernel."),
            new(nameof(IpvsServicesOptions.MaxServices), "number", "1000", "Most services of one namespace that have rows; the others are left out, which is said."),
        ],
        Notes =
        [
            "A row is about a service or about one of its real servers, and has the metrics of that only: each can be summed.",
            "Totals of a namespace are those of the probe ipvs; they count what services that are gone had counted.",
            "The kernel adds up connections, packets and bytes every two seconds (net.ipv4.vs.run_estimation): they are as old as that. The numbers of open connections are not.",
            "A service or real server that is removed takes its numbers with it; one that is set up again begins at zero.",
            "The kernel tells long lists in pieces. One that changes in between may lack another service or real server for a sample, and nothing shows it; none has two rows.",
            "Packets and bytes come back through IPVS only when it masquerades.",
        ],
    };

    /// <inheritdoc />
    public override MetricTable<IpvsServicesRecord> Metrics => IpvsServicesRecord.Metrics;

    /// <inheritdoc />
    public IpvsServicesOptions Options { get; private set; } = options?.Value ?? new IpvsServicesOptions();

    /// <inheritdoc />
    public Type OptionsType => typeof(IpvsServicesOptions);

    /// <summary>A started probe with sources of its own, for programs without a container.</summary>
    public static Task<IpvsServicesProbe> StartNewAsync(ProcfsOptions? options = null, CancellationToken cancellationToken = default) =>
        NetlinkSockets.StartAsync(options, static sockets => new IpvsServicesProbe(sockets), cancellationToken);

    /// <inheritdoc />
    public void Configure(ProbeOptions options)
    {
        if (options is not IpvsServicesOptions mine) throw new ArgumentException($"The probe 'ipvs_services' takes {nameof(IpvsServicesOptions)}.", nameof(options));
        string[] mistakes = [.. mine.Validate()];
        if (mistakes.Length > 0) throw new ArgumentException(string.Join(" ", mistakes), nameof(options));
        if (Status.State is ProbeState.Running or ProbeState.Starting) throw new InvalidOperationException("Stop the probe 'ipvs_services' before changing its settings.");
        Options = mine;
    }

    /// <inheritdoc />
    protected override ValueTask<string?> OnStartAsync(CancellationToken cancellationToken)
    {
        // To ask for the family would load the module.
        if (!IsLoaded()) throw IpvsAbsence.Explain(About.Name, "this kernel has no IPVS", "/proc");
        _family = 0;
        _table.Acquire();
        _acquired = true;
        return ValueTask.FromResult<string?>("generic netlink");
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        lock (_table.Gate) _namespaces.Dispose();
        if (_acquired) _table.Release();
        _acquired = false;
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override void Read(SampleBatch<IpvsServicesRecord> batch)
    {
        sockets.Namespaces.NoteProblem(batch);
        lock (_table.Gate)
        {
            ReadOnlySpan<NamespaceSocket> slots = _table.Current;
            ReadOnlySpan<IpvsNamespace> namespaces = _namespaces.For(_table.Snapshot);
            for (int i = 0; i < slots.Length; i++)
            {
                if (slots[i].TryOpen(out SkipReason reason) is not { } socket)
                {
                    batch.Skip(reason, slots[i].Problem);
                    continue;
                }
                NetlinkResult result = Read(batch, socket, namespaces[i]);
                if (result.IsComplete) continue;
                slots[i].Note(batch, result);
                if (result.Outcome == NetlinkOutcome.Refused) _family = 0; // the module may have been loaded anew, with another number
            }
        }
    }

    private static bool IsLoaded() => File.Exists(Loaded) || Directory.Exists("/sys/module/ip_vs");

    // All of a namespace's services, then the real servers of each. Of a service that is removed in between the kernel says that it has none.
    private NetlinkResult Read(SampleBatch<IpvsServicesRecord> batch, NetlinkSocket socket, IpvsNamespace ns)
    {
        NetlinkResult result = default;
        if (_family == 0)
        {
            if (!IsLoaded()) return default;
            var family = new IpvsFamilyVisitor();
            result = socket.Request(_table.Buffer, _familyRequest, ref family);
            if (!result.IsComplete) return result;
            _family = family.Family;
            _servicesRequest = IpvsMessages.ServicesRequest(_family);
        }
        var services = new IpvsServiceVisitor(_services, _serviceKeys, _family, Options.MaxServices);
        result = IpvsMessages.Ask(socket, sockets.Settings, _table.Buffer, _servicesRequest, ref services);
        if (!result.IsComplete) return result;
        bool isWhole = services.Surplus == 0 && result.Outcome == NetlinkOutcome.Ok;
        ns.Begin();
        foreach (ref readonly IpvsService service in CollectionsMarshal.AsSpan(_services))
        {
            ref IpvsServicesRecord record = ref batch.Add(ns.Meet(in service));
            record.Service = service.Counts;
            if (!Options.Servers) continue;
            var servers = new IpvsServerVisitor(_servers, _serverKeys, _family, service.Key);
            result = IpvsMessages.Ask(socket, sockets.Settings, _table.Buffer, IpvsMessages.ServersRequest(_serversRequest, _family, service.Key), ref servers);
            if (!result.IsComplete) return result;
            isWhole &= result.Outcome == NetlinkOutcome.Ok;
            record.Servers = (ulong)_servers.Count;
            foreach (ref readonly IpvsServer server in CollectionsMarshal.AsSpan(_servers)) batch.Add(ns.Meet(in server)) = server.Record;
        }
        if (isWhole) ns.End();
        if (services.Surplus > 0) batch.Skip(SkipReason.Denied, TooMany(services.Surplus));
        return default;
    }

    private string TooMany(int surplus)
    {
        if (_tooMany.Most != surplus)
            _tooMany = (surplus, string.Create(CultureInfo.InvariantCulture, $"a namespace has {surplus} services more than {nameof(IpvsServicesOptions.MaxServices)} ({Options.MaxServices}): they are left out"));
        return _tooMany.Text;
    }
}
