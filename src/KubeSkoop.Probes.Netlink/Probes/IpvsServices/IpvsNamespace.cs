namespace KubeSkoop.Probes.Netlink;

/// <summary>Who the rows of one namespace are about, made once for each service and real server. Used under the lock of the generic netlink sockets.</summary>
internal sealed class IpvsNamespace(NetworkNamespace ns) : IDisposable
{
    private readonly Dictionary<IpvsServiceKey, Known> _services = [];
    private readonly Dictionary<IpvsServerKey, Known> _servers = [];
    private uint _sample;
    private int _met;

    /// <summary>Begins a sample.</summary>
    internal void Begin()
    {
        _sample++;
        _met = 0;
    }

    /// <summary>The subject of a service. One with another scheduler than before is about somebody else.</summary>
    internal SampleSubject Meet(in IpvsService service)
    {
        if (!_services.TryGetValue(service.Key, out Known? known) || known.Scheduler != service.Scheduler)
        {
            known = new Known(new SampleSubject(ns, new SampleAttribute(IpvsServicesProbe.ServiceAttribute, service.Key.ToString()),
                new SampleAttribute(IpvsServicesProbe.SchedulerAttribute, IpvsMessages.NameOf(service.Scheduler))), service.Scheduler);
            _services[service.Key] = known;
        }
        return Met(known);
    }

    /// <summary>The subject of a real server.</summary>
    internal SampleSubject Meet(in IpvsServer server)
    {
        if (!_servers.TryGetValue(server.Key, out Known? known))
        {
            known = new Known(new SampleSubject(ns, new SampleAttribute(IpvsServicesProbe.ServiceAttribute, server.Key.Service.ToString()),
                new SampleAttribute(IpvsServicesProbe.ServerAttribute, server.Key.ToString()), new SampleAttribute(IpvsServicesProbe.ForwardingAttribute, IpvsMessages.Name(server.Key.Forwarding))), default);
            _servers.Add(server.Key, known);
        }
        return Met(known);
    }

    /// <summary>Ends a sample that had everything there is: what was not met is gone.</summary>
    internal void End()
    {
        if (_met == _services.Count + _servers.Count) return;
        foreach ((IpvsServiceKey key, Known known) in _services)
            if (known.MetIn != _sample) _services.Remove(key);
        foreach ((IpvsServerKey key, Known known) in _servers)
            if (known.MetIn != _sample) _servers.Remove(key);
    }

    public void Dispose()
    {
    }

    private SampleSubject Met(Known known)
    {
        if (known.MetIn != _sample) _met++;
        known.MetIn = _sample;
        return known.Subject;
    }

    private sealed class Known(SampleSubject subject, UInt128 scheduler)
    {
        internal SampleSubject Subject => subject;

        internal UInt128 Scheduler => scheduler;

        internal uint MetIn { get; set; }
    }
}
