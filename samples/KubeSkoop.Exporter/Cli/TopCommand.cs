using System.Globalization;
using System.Text.Json;
using KubeSkoop.Exporter.Metrics;
using KubeSkoop.Probes.Netlink;

namespace KubeSkoop.Exporter.Cli;

/// <summary><c>sample tcpsummary --top N</c>: the sockets with the fullest queues and whose they are.</summary>
internal static class TopCommand
{
    internal const int Most = 1000;

    internal static async Task<int> RunAsync(CliHost host, IConfiguration configuration, string name, int count, string? netns, bool json, CancellationToken cancellationToken)
    {
        if (count is < 1 or > Most) throw new UsageException($"--top {count}: it must be between 1 and {Most}.");
        await using ServiceProvider services = ExporterServices.BuildForCommand(host, configuration);
        await services.NamePodsAsync(cancellationToken);
        var manager = services.GetRequiredService<IProbeManager>();
        if (manager.Find(name) is not TcpSummaryProbe)
        {
            if (manager.Find(name) is null) throw new UnknownProbeException(name, manager.Probes.Select(static p => p.Descriptor.Name));
            throw new UsageException($"--top is for the probe {TcpSummaryProbe.About.Name}; the probe {name} has no single sockets to show.");
        }
        await using ProbeLease lease = await manager.StartAsync(name, null, cancellationToken);
        NetworkNamespace? only = null;
        var source = services.GetRequiredService<INetworkNamespaceSource>();
        if (netns is not null)
        {
            uint inode = new NamespaceChoice(source, configuration).Resolve(netns, []);
            only = source.Current.FirstOrDefault(n => n.Inode == inode);
        }
        DateTimeOffset taken = host.Clock.GetUtcNow();
        TcpTop top = ((TcpSummaryProbe)lease.Probe).Top(count, only);
        if (json) WriteJson(host.Output, taken, top);
        else WriteTables(host, top);
        if (lease.Probe.Statistics.LastProblem is { } problem && (only is null || problem != source.Problem)) host.Errors.WriteLine($"Some namespaces are missing: {SafeText.Clean(problem)}");
        return ExitCodes.Ok;
    }

    private static void WriteTables(CliHost host, TcpTop top)
    {
        if (top.Connections.Count == 0) host.Output.WriteLine("No connection has anything in its queues.");
        else Write(host, top.Connections, "Receive queue", "Send queue", static s => s.Remote.ToString());
        if (top.Listeners.Count == 0) return;
        host.Output.WriteLine();
        Write(host, top.Listeners, "Accept queue", "Limit", static _ => "-");
    }

    private static void Write(CliHost host, IReadOnlyList<TcpSocketInfo> sockets, string first, string second, Func<TcpSocketInfo, string> remote)
    {
        var table = new TextTable("Namespace", "Pod", "State", first, second, "Local", "Remote", "Process", "Command");
        foreach (TcpSocketInfo socket in sockets)
        {
            table.Add(PodText.Namespace(socket.Namespace.Pod, socket.Namespace)!, PodText.NameOrUid(socket.Namespace.Pod), NameOf(socket.State), Number(socket.ReceiveQueue), Number(socket.SendQueue),
                socket.Local.ToString(), remote(socket), socket.ProcessId?.ToString(CultureInfo.InvariantCulture) ?? "-", socket.Command ?? "-");
        }
        table.Write(host);
    }

    private static void WriteJson(TextWriter output, DateTimeOffset taken, TcpTop top) => JsonOutput.Write(output, json =>
    {
        json.WriteString("probe", TcpSummaryProbe.About.Name);
        json.WriteString("taken", taken);
        WriteJson(json, "connections", "receive_queue", "send_queue", top.Connections);
        WriteJson(json, "listeners", "accept_queue", "accept_queue_limit", top.Listeners);
    });

    private static void WriteJson(Utf8JsonWriter json, string key, string first, string second, IReadOnlyList<TcpSocketInfo> sockets)
    {
        json.WriteStartArray(key);
        foreach (TcpSocketInfo socket in sockets)
        {
            json.WriteStartObject();
            json.WriteNumber("netns", socket.Namespace.Inode);
            json.WriteString("namespace", PodText.Namespace(socket.Namespace.Pod, socket.Namespace));
            json.WriteString("pod", PodText.Name(socket.Namespace.Pod));
            json.WriteString("state", NameOf(socket.State));
            json.WriteNumber(first, socket.ReceiveQueue);
            json.WriteNumber(second, socket.SendQueue);
            json.WriteString("local", socket.Local.ToString());
            if (socket.State != TcpState.Listen) json.WriteString("remote", socket.Remote.ToString());
            json.WriteNumber("inode", socket.Inode);
            json.WriteNumber("uid", socket.UserId);
            if (socket.ProcessId is { } pid) json.WriteNumber("pid", pid);
            else json.WriteNull("pid");
            json.WriteString("command", socket.Command);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static string Number(uint number) => number.ToString(CultureInfo.InvariantCulture);

    // As the metrics have it: a handshake that is no socket yet counts as one.
    private static string NameOf(TcpState state) => state == TcpState.NewSynReceived ? TcpState.SynReceived.KernelName() : state.KernelName();
}
