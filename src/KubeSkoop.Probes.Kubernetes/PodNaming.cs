using System.Collections.Frozen;

namespace KubeSkoop.Probes.Kubernetes;

/// <summary>Makes the identity of a pod, with the attributes that were asked for, once.</summary>
internal sealed class PodNaming
{
    // What rows have by themselves, by OpenTelemetry's names and by upstream's, as they are in Prometheus.
    private static readonly FrozenSet<string> Taken = FrozenSet.Create(
        StringComparer.Ordinal,
        "k8s_node_name", "k8s_namespace_name", "k8s_pod_name", "k8s_pod_uid", "k8s_container_name", "network_namespace_inode", "network_namespace_name", "network_interface_name",
        "k8s_deployment_name", "k8s_replicaset_name", "k8s_statefulset_name", "k8s_daemonset_name", "k8s_job_name", "k8s_cronjob_name", "k8s_replicationcontroller_name",
        "k8s_src_type", "k8s_src_name", "k8s_src_namespace", "k8s_src_node_name", "k8s_dst_type", "k8s_dst_name", "k8s_dst_namespace", "k8s_dst_node_name",
        "network_type", "network_transport", "network_io_direction", "network_local_address", "network_local_port", "source_address", "source_port", "destination_address", "destination_port",
        "state", "cpu_logical_number", "probe", "tcp_congestion_control", "softirq_vector", "drop_reason", "drop_part", "system_device", "disk_io_operation",
        "qdisc_kind", "qdisc_handle", "qdisc_parent", "qdisc_class", "ipvs_service", "ipvs_server", "ipvs_scheduler", "ipvs_forwarding",
        "k8s_node", "k8s_namespace", "k8s_pod", "src", "dst", "sport", "dport", "protocol", "softirq_type",
        "src_type", "src_pod", "src_namespace", "src_node", "dst_type", "dst_pod", "dst_namespace", "dst_node",
        "le", "quantile");

    private readonly (string Key, string Attribute, string? Upstream)[] _labels;
    private readonly bool _uid;
    private readonly bool _owner;

    internal PodNaming(KubernetesOptions options)
    {
        _uid = options.PodUid;
        _owner = options.PodOwner;
        _labels = [.. options.PodLabels.Select(Parse)];
    }

    /// <summary>What is wrong with the labels that are asked for: no key, or a name that rows have already, which would be on them twice.</summary>
    internal static IEnumerable<string> Check(IEnumerable<string> labels)
    {
        var given = new HashSet<string>(StringComparer.Ordinal);
        foreach (string label in labels)
        {
            if (string.IsNullOrWhiteSpace(label) || label.StartsWith('=') || label.EndsWith('='))
            {
                yield return $"'{label}'; it must be a label's key, or name=key.";
                continue;
            }
            string attribute = Parse(label).Attribute, name = InPrometheus(attribute);
            if (Taken.Contains(name)) yield return $"'{label}'; rows have a {attribute} of their own: choose another name.";
            else if (!given.Add(name)) yield return $"'{label}'; another label is named {attribute} already, but for punctuation: choose another name.";
        }
    }

    private static (string Key, string Attribute, string? Upstream) Parse(string label)
    {
        int equals = label.IndexOf('=', StringComparison.Ordinal);
        if (equals < 0) return (label, AttributeNames.PodLabelPrefix + label, null);
        string name = label[..equals].Trim();
        return (label[(equals + 1)..].Trim(), name, IsLabelName(name) ? name : null);
    }

    private static string InPrometheus(string attribute) => string.Concat(attribute.Select(static c => char.IsAsciiLetterOrDigit(c) ? c : '_'));

    internal PodIdentity Of(string ns, string name, string uid, IReadOnlyDictionary<string, string> labels, PodOwner? owner = null)
    {
        var attributes = new List<SampleAttribute>();
        if (_uid) attributes.Add(new SampleAttribute(AttributeNames.PodUid, uid));
        if (_owner && owner is not null && AttributeOf(owner.Kind) is { } of) attributes.Add(new SampleAttribute(of, owner.Name));
        foreach (var (key, attribute, upstream) in _labels)
            if (labels.TryGetValue(key, out string? value) && value.Length > 0) attributes.Add(new SampleAttribute(attribute, value, upstream));
        return new PodIdentity(ns, name, uid) { Attributes = attributes };
    }

    // As OpenTelemetry names them; for others it has no name.
    private static string? AttributeOf(string kind) => kind switch
    {
        "Deployment" => "k8s.deployment.name",
        "ReplicaSet" => "k8s.replicaset.name",
        "StatefulSet" => "k8s.statefulset.name",
        "DaemonSet" => "k8s.daemonset.name",
        "Job" => "k8s.job.name",
        "CronJob" => "k8s.cronjob.name",
        "ReplicationController" => "k8s.replicationcontroller.name",
        _ => null,
    };

    // As Prometheus takes it, for upstream's way of naming, where names are not changed.
    private static bool IsLabelName(string name) =>
        name.Length > 0 && !char.IsAsciiDigit(name[0]) && name.All(static c => char.IsAsciiLetterOrDigit(c) || c == '_') && !name.StartsWith("__", StringComparison.Ordinal);
}
