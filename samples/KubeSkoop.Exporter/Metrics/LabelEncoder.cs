using System.Globalization;
using System.Text;

namespace KubeSkoop.Exporter.Metrics;

/// <summary>The labels of a row as they stand in the answer, made once per subject.</summary>
/// <param name="Bytes"><c>{a="b",c="d"} </c> with the space before the value; one space when there is no label.</param>
/// <param name="Hash">Of the bytes.</param>
/// <param name="Known">False for a namespace that is neither the host's nor a known pod's, where upstream's naming leaves it out.</param>
internal sealed record LabelBlock(byte[] Bytes, int Hash, bool Known);

/// <summary>Encodes the labels of subjects. One object is one way of encoding: subjects keep what it made by its identity.</summary>
internal sealed class LabelEncoder(MetricNaming naming, string nodeName)
{
    internal static LabelBlock Encode(SampleSubject subject, LabelEncoder encoder) => encoder.Encode(subject);

    private LabelBlock Encode(SampleSubject subject) => naming == MetricNaming.KubeSkoop ? EncodeUpstream(subject) : EncodeOwn(subject);

    private LabelBlock EncodeOwn(SampleSubject subject)
    {
        var labels = new List<(string Name, string Value)>(8);
        Add(labels, AttributeNames.Node, nodeName);
        if (subject.Pod is { } pod)
        {
            Add(labels, AttributeNames.PodNamespace, pod.Namespace);
            Add(labels, AttributeNames.Pod, pod.Name);
            foreach (SampleAttribute attribute in pod.Attributes) Add(labels, attribute.Name, attribute.Value);
        }
        if (subject.Namespace is { } ns)
        {
            Add(labels, AttributeNames.NamespaceInode, ns.Inode.ToString(CultureInfo.InvariantCulture));
            Add(labels, AttributeNames.NamespaceName, ns.DisplayName);
        }
        foreach (SampleAttribute attribute in subject.Attributes) Add(labels, attribute.Name, attribute.Value);
        return Block(labels, known: true);
    }

    // The host's row has empty labels, not missing ones; host-network pods are part of it, and so is what counts for the node.
    // A pod of which only the uid is known would be taken for the host.
    private LabelBlock EncodeUpstream(SampleSubject subject)
    {
        bool host = subject.Namespace is null or { IsHost: true };
        PodIdentity? pod = host || subject.Pod is { IsNamed: false } ? null : subject.Pod;
        List<(string Name, string Value)> labels = [("k8s_node", nodeName), ("k8s_namespace", pod?.Namespace ?? string.Empty), ("k8s_pod", pod?.Name ?? string.Empty)];
        foreach (SampleAttribute attribute in pod?.Attributes ?? [])
            if (attribute.UpstreamName is { } label) Add(labels, label, attribute.Value);
        foreach (SampleAttribute attribute in subject.Attributes)
            if (attribute.UpstreamName is { } label) Add(labels, label, attribute.Value);
        return Block(labels, known: host || pod is not null);
    }

    // A label without value is a label that is not there. Names that become equal share one label, so nothing is lost or doubled.
    private static void Add(List<(string Name, string Value)> labels, string attribute, string value)
    {
        if (string.IsNullOrEmpty(value)) return;
        string name = PrometheusNames.Label(attribute);
        int at = labels.FindIndex(l => l.Name == name);
        if (at < 0) labels.Add((name, value));
        else labels[at] = (name, $"{labels[at].Value};{value}");
    }

    private static LabelBlock Block(List<(string Name, string Value)> labels, bool known)
    {
        var text = new StringBuilder(128);
        foreach (var (name, value) in labels)
        {
            text.Append(text.Length == 0 ? '{' : ',').Append(name).Append("=\"");
            SafeText.AppendLabelValue(text, value);
            text.Append('"');
        }
        text.Append(labels.Count == 0 ? " " : "} ");
        string block = text.ToString();
        return new LabelBlock(Encoding.UTF8.GetBytes(block), block.GetHashCode(StringComparison.Ordinal), known);
    }
}
