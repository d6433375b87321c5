namespace KubeSkoop.Probes.Kubernetes;

/// <summary>Makes the identity of a pod, with the attributes that were asked for, once.</summary>
internal sealed class PodNaming
{
    private readonly (string Key, string Attribute, string? Upstream)[] _labels;
    private readonly bool _uid;
    private readonly bool _owner;

    internal PodNaming(KubernetesOptions options)
    {
        _uid = options.PodUid;
        _owner = options.PodOwner;
        _labels = [.. options.PodLabels.Select(static label =>
        {
            int equals = label.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0) return (label, AttributeNames.PodLabelPrefix + label, (string?)null);
            string name = label[..equals].Trim();
            return (label[(equals + 1)..].Trim(), name, IsLabelName(name) ? name : null);
        })];
    }

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
