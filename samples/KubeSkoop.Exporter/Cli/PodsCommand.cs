using System.Globalization;
using System.Text.Json;
using KubeSkoop.Probes.Kubernetes;

namespace KubeSkoop.Exporter.Cli;

/// <summary><c>pods</c>: the pods of this node, what is known of each, and who told.</summary>
internal static class PodsCommand
{
    private const int ShownProcesses = 4;

    internal static async Task<int> RunAsync(CliHost host, IConfiguration configuration, bool json, CancellationToken cancellationToken)
    {
        await using ServiceProvider services = ExporterServices.BuildForCommand(host, configuration);
        if (services.GetService<PodDirectory>() is not { } directory)
        {
            host.Errors.WriteLine("This exporter is built without Kubernetes.");
            return ExitCodes.Unavailable;
        }
        await directory.StartAsync(cancellationToken);
        PodDirectoryStatus status = directory.Status;
        IReadOnlyList<PodProcesses> pods = directory.Survey();
        DateTimeOffset now = host.Clock.GetUtcNow();
        if (json) WriteJson(host.Output, status, pods, now);
        else WriteTable(host, status, pods, now);
        if ((status.Problem ?? (status.LastAnswer is null ? "The container runtime has not answered yet." : null)) is { } problem) host.Errors.WriteLine(Metrics.SafeText.Clean(problem));
        if ((status.Cluster?.Problem ?? (status.Cluster is { LastAnswer: null } ? "The Kubernetes API has not answered yet." : null)) is { } missing) host.Errors.WriteLine(Metrics.SafeText.Clean(missing));
        return ExitCodes.Ok;
    }

    private static void WriteTable(CliHost host, PodDirectoryStatus status, IReadOnlyList<PodProcesses> pods, DateTimeOffset now)
    {
        bool owners = status.Cluster is not null;
        var table = new TextTable(["Pod", .. owners ? (string[])["Owner"] : [], "Network namespace", "Processes", "Addresses", "Containers", "Known by", "Age", "Stale"]);
        foreach (var (pod, processes) in pods)
        {
            table.Add([pod.Identity.ToString(), .. owners ? (string[])[pod.Owner is { } owner ? $"{owner.Kind} {owner.Name}" : "-"] : [],
                pod.IsHostNetwork ? "host" : pod.NamespaceInode?.ToString(CultureInfo.InvariantCulture) ?? "-",
                Few(processes),
                pod.Addresses.Count == 0 ? "-" : string.Join(' ', pod.Addresses),
                pod.Containers.Count == 0 ? "-" : string.Join(' ', pod.Containers.Where(static c => c.IsRunning).Select(static c => c.Name)),
                Source(pod.Source) + (pod.IsInApi && pod.Source != PodSource.Api ? ", api" : ""),
                Age(now - pod.Created),
                Age(now - StaleSince(pod, status))]);
        }
        table.Write(host);
    }

    private static DateTimeOffset? StaleSince(PodInfo pod, PodDirectoryStatus status) => pod.Source switch
    {
        PodSource.Runtime => status.StaleSince,
        PodSource.Api => status.Cluster?.StaleSince,
        _ => null,
    };

    private static void WriteJson(TextWriter output, PodDirectoryStatus status, IReadOnlyList<PodProcesses> pods, DateTimeOffset now) => JsonOutput.Write(output, json =>
    {
        json.WriteString("runtime", status.Runtime);
        json.WriteString("endpoint", status.Endpoint);
        json.WriteString("problem", status.Problem);
        Time(json, "last_answer", status.LastAnswer);
        Time(json, "stale_since", status.StaleSince);
        if (status.Cluster is { } cluster) WriteCluster(json, cluster);
        else json.WriteNull("api");
        json.WriteStartArray("pods");
        foreach (var (pod, processes) in pods)
        {
            json.WriteStartObject();
            json.WriteString("namespace", pod.Identity.IsNamed ? pod.Identity.Namespace : null);
            json.WriteString("name", pod.Identity.IsNamed ? pod.Identity.Name : null);
            json.WriteString("uid", pod.Identity.Uid);
            if (pod.NamespaceInode is { } inode) json.WriteNumber("netns", inode);
            else json.WriteNull("netns");
            json.WriteBoolean("host_network", pod.IsHostNetwork);
            json.WriteStartArray("pids");
            foreach (int process in processes) json.WriteNumberValue(process);
            json.WriteEndArray();
            json.WriteStartArray("addresses");
            foreach (System.Net.IPAddress address in pod.Addresses) json.WriteStringValue(address.ToString());
            json.WriteEndArray();
            json.WriteStartArray("containers");
            foreach (PodContainer container in pod.Containers)
            {
                json.WriteStartObject();
                json.WriteString("name", container.Name);
                json.WriteString("id", container.Id);
                json.WriteBoolean("running", container.IsRunning);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteStartObject("attributes");
            foreach (SampleAttribute attribute in pod.Identity.Attributes) json.WriteString(attribute.Name, attribute.Value);
            json.WriteEndObject();
            json.WriteString("sandbox", pod.SandboxId);
            json.WriteString("source", Source(pod.Source));
            json.WriteBoolean("in_api", pod.IsInApi);
            if (pod.Owner is { } owner)
            {
                json.WriteStartObject("owner");
                json.WriteString("kind", owner.Kind);
                json.WriteString("name", owner.Name);
                json.WriteEndObject();
            }
            else
            {
                json.WriteNull("owner");
            }
            Time(json, "created", pod.Created);
            if (pod.Created is { } created) json.WriteNumber("age_seconds", Math.Round((now - created).TotalSeconds, 3));
            else json.WriteNull("age_seconds");
            Time(json, "ended", pod.Ended);
            json.WriteBoolean("stale", StaleSince(pod, status) is not null);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    });

    /// <summary>What is known of the cluster, and how fresh it is.</summary>
    internal static void WriteCluster(Utf8JsonWriter json, ClusterStatus cluster)
    {
        json.WriteStartObject("api");
        json.WriteString("server", cluster.Server);
        json.WriteNumber("pods", cluster.Pods);
        json.WriteNumber("nodes", cluster.Nodes);
        json.WriteNumber("services", cluster.Services);
        json.WriteNumber("addresses", cluster.Addresses);
        json.WriteNumber("left_out", cluster.LeftOut);
        json.WriteNumber("lists", cluster.Lists);
        Time(json, "last_answer", cluster.LastAnswer);
        Time(json, "stale_since", cluster.StaleSince);
        json.WriteString("problem", cluster.Problem);
        json.WriteEndObject();
    }

    private static void Time(Utf8JsonWriter json, string name, DateTimeOffset? time)
    {
        if (time is { } known) json.WriteString(name, known);
        else json.WriteNull(name);
    }

    private static string Few(IReadOnlyList<int> processes) => processes.Count == 0 ? "-"
        : string.Join(' ', processes.Take(ShownProcesses).Select(static p => p.ToString(CultureInfo.InvariantCulture))) + (processes.Count > ShownProcesses ? string.Create(CultureInfo.InvariantCulture, $" +{processes.Count - ShownProcesses}") : "");

    private static string Source(PodSource source) => source switch
    {
        PodSource.Runtime => "runtime",
        PodSource.Api => "api",
        _ => "cgroup",
    };

    private static string Age(TimeSpan? age) => age switch
    {
        null => "-",
        { Ticks: < 0 } => "0s", // the runtime's clock and ours
        { TotalSeconds: < 120 } => string.Create(CultureInfo.InvariantCulture, $"{age.Value.TotalSeconds:0}s"),
        { TotalMinutes: < 120 } => string.Create(CultureInfo.InvariantCulture, $"{age.Value.TotalMinutes:0}m"),
        { TotalHours: < 48 } => string.Create(CultureInfo.InvariantCulture, $"{age.Value.TotalHours:0}h"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{age.Value.TotalDays:0}d"),
    };
}
