using System.Globalization;
using System.Text;
using KubeSkoop.Exporter.Events;
using KubeSkoop.Exporter.Metrics;
using KubeSkoop.Probes.Ebpf;

namespace KubeSkoop.Exporter.Cli;

/// <summary><c>watch</c>: starts probes and prints their events as they happen, until stopped.</summary>
internal static class WatchCommand
{
    internal static async Task<int> RunAsync(CliHost host, IConfiguration configuration, string[] names, string? netns, bool json, int? count, CancellationToken cancellationToken)
    {
        uint? only = null;
        if (netns is not null) (configuration, only) = await OnlyAsync(host, configuration, names, netns);
        await using ServiceProvider services = ExporterServices.BuildForCommand(host, configuration);
        await services.NamePodsAsync(cancellationToken);
        var manager = services.GetRequiredService<IProbeManager>();
        // Conntrack's flows are asked for by name: each connection makes several. So is what disks do: they are always slower than a network ought to be.
        IProbe[] wanted = names.Length == 0 ? [.. manager.Probes.Where(p => p is IEventProbe && p.Descriptor.Source == ProbeSource.Ebpf && p.Descriptor.Name != BioLatencyProbe.About.Name && (netns is null || CanChoose(p)))] : [.. names.Select(n => Find(manager, n))];
        using EventSubscription<ProbeEvent> events = manager.Events.Subscribe<ProbeEvent>(new EventSubscriptionOptions { Capacity = 16384 });
        var leases = new List<ProbeLease>();
        try
        {
            var refused = new List<(string Probe, string Why)>();
            foreach (IProbe probe in wanted)
            {
                try
                {
                    leases.Add(await manager.StartAsync(probe.Descriptor.Name, null, cancellationToken));
                }
                catch (ProbeUnavailableException e) when (wanted.Length > 1)
                {
                    refused.Add((probe.Descriptor.Name, e.Message.StartsWith($"{probe.Descriptor.Name}: ", StringComparison.Ordinal) ? e.Message[(probe.Descriptor.Name.Length + 2)..] : e.Message));
                }
            }
            // What all of them lack is said once.
            foreach (IGrouping<string, string> same in refused.GroupBy(static r => r.Why, static r => r.Probe)) host.Errors.WriteLine(SafeText.Clean($"{string.Join(", ", same)}: {same.Key}"));
            if (leases.Count == 0)
            {
                host.Errors.WriteLine("No probe that has events can run here.");
                return ExitCodes.Unavailable;
            }
            host.Errors.WriteLine($"Watching {string.Join(", ", leases.Select(static l => l.Probe.Descriptor.Name))}. Stop with Ctrl-C.");
            foreach (ProbeLease lease in leases)
                if (WhatIsMissing(lease.Probe) is { } missing) host.Errors.WriteLine(missing);
            await PrintAsync(host, events, new LeftOut(host, leases), only, json, count, cancellationToken);
        }
        finally
        {
            foreach (ProbeLease lease in leases) await lease.DisposeAsync();
        }
        new LeftOut(host, leases).Tell();
        if (events.Dropped > 0) host.Errors.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{events.Dropped} events came faster than they could be printed, and were dropped."));
        return ExitCodes.Ok;
    }

    private static async Task PrintAsync(CliHost host, EventSubscription<ProbeEvent> events, LeftOut leftOut, uint? only, bool json, int? count, CancellationToken cancellationToken)
    {
        using var writer = new EventJson();
        long printed = 0;
        try
        {
            await foreach (ProbeEvent e in events.Reader.ReadAllAsync(cancellationToken))
            {
                if (only is not null && only != ((e as EbpfEvent)?.NetworkNamespaceInode ?? e.Namespace?.Inode)) continue;
                host.Output.WriteLine(json ? Encoding.UTF8.GetString(writer.Write(e).Span) : Line(e));
                await host.Output.FlushAsync(cancellationToken); // whoever reads from a pipe wants it now
                if (++printed >= count) return;
                leftOut.TellNowAndThen();
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
        }
    }

    // The kernel's programs leave the others out, so that the limit on events is this namespace's alone.
    private static async Task<(IConfiguration Configuration, uint Inode)> OnlyAsync(CliHost host, IConfiguration configuration, string[] names, string netns)
    {
        await using ServiceProvider services = ExporterServices.BuildForCommand(host, configuration);
        var manager = services.GetRequiredService<IProbeManager>();
        foreach (string name in names)
        {
            if (Find(manager, name) is { Descriptor.Source: ProbeSource.Ebpf } probe && !CanChoose(probe))
                throw new UsageException($"The probe {probe.Descriptor.Name} tells of the whole node, not of a namespace; leave out --netns.");
        }
        var source = services.GetRequiredService<INetworkNamespaceSource>();
        using IDisposable lease = source.Acquire();
        uint inode = new NamespaceChoice(source, configuration).Resolve(netns, []);
        var chosen = manager.Probes.Where(CanChoose).Select(p => KeyValuePair.Create($"{ProbesOptions.SectionName}:{p.Descriptor.Name}:{nameof(EbpfProbeOptions.NetworkNamespaces)}:0", (string?)inode.ToString(CultureInfo.InvariantCulture)));
        return (new ConfigurationBuilder().AddConfiguration(configuration).AddInMemoryCollection(chosen).Build(), inode);
    }

    /// <summary>What a probe that runs cannot see on this kernel, and why; <see langword="null"/> for nothing.</summary>
    internal static string? WhatIsMissing(IProbe probe) =>
        probe.Status.Source is { } way && way.Contains("without ", StringComparison.Ordinal) ? SafeText.Clean($"{probe.Descriptor.Name}: {way[way.IndexOf("without ", StringComparison.Ordinal)..]}") : null;

    private static bool CanChoose(IProbe probe) => probe.Descriptor.Options.Any(static o => o.Name == nameof(EbpfProbeOptions.NetworkNamespaces));

    private static string Line(ProbeEvent e)
    {
        string who = e.Pod?.ToString() ?? e.Namespace?.DisplayName ?? "-";
        return SafeText.Clean(string.Create(CultureInfo.InvariantCulture, $"{e.Timestamp.ToLocalTime():HH:mm:ss.ffffff} {e.Probe} {who}: {e.Message}"));
    }

    /// <summary>What is not printed because there was too much of it: on standard error, so that JSON stays JSON.</summary>
    private sealed class LeftOut(CliHost host, IReadOnlyList<ProbeLease> leases)
    {
        private static readonly TimeSpan Now = TimeSpan.FromSeconds(2);
        private readonly Dictionary<string, long> _told = [];
        private long _last = host.Clock.GetTimestamp();

        internal void TellNowAndThen()
        {
            if (host.Clock.GetElapsedTime(_last) < Now) return;
            _last = host.Clock.GetTimestamp();
            Tell();
        }

        internal void Tell()
        {
            foreach (IKernelProgramProbe probe in leases.Select(static l => l.Probe).OfType<IKernelProgramProbe>())
            {
                KernelProgramStatistics k = probe.ReadKernelStatistics();
                long all = k.EventsSuppressed + k.EventsLost;
                if (all <= _told.GetValueOrDefault(probe.Descriptor.Name)) continue;
                _told[probe.Descriptor.Name] = all;
                host.Errors.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{probe.Descriptor.Name}: {k.EventsSuppressed} events were suppressed by its limit (EventsPerSecond), {k.EventsLost} lost for want of room. The counters have all."));
            }
        }
    }

    private static IProbe Find(IProbeManager manager, string name) => EventProbes.Refusal(manager, name) is { } refusal ? throw new UsageException(refusal) : manager.Find(name)!;
}
