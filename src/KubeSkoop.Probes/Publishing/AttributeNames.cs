namespace KubeSkoop.Probes;

/// <summary>The attribute names every row may carry.</summary>
public static class AttributeNames
{
    /// <summary>The node.</summary>
    public const string Node = "k8s.node.name";

    /// <summary>The pod's Kubernetes namespace.</summary>
    public const string PodNamespace = "k8s.namespace.name";

    /// <summary>The pod.</summary>
    public const string Pod = "k8s.pod.name";

    /// <summary>The pod's uid: where its name is not known, or where it is asked for.</summary>
    public const string PodUid = "k8s.pod.uid";

    /// <summary>The container.</summary>
    public const string Container = "k8s.container.name";

    /// <summary>Before the key of a pod's label.</summary>
    public const string PodLabelPrefix = "k8s.pod.label.";

    /// <summary>Before what is said of a flow's source: its <c>type</c>, <c>name</c>, <c>namespace</c>, <c>node.name</c>.</summary>
    public const string Source = "k8s.src";

    /// <summary>Before what is said of a flow's destination.</summary>
    public const string Destination = "k8s.dst";

    /// <summary>The inode number of the network namespace.</summary>
    public const string NamespaceInode = "network.namespace.inode";

    /// <summary>The network namespace's bound name, or what stands in for it.</summary>
    public const string NamespaceName = "network.namespace.name";

    /// <summary>The network device.</summary>
    public const string Interface = "network.interface.name";

    /// <summary><c>ipv4</c> or <c>ipv6</c>.</summary>
    public const string NetworkType = "network.type";

    /// <summary>The transport protocol.</summary>
    public const string Transport = "network.transport";

    /// <summary>The state of what is counted, for example of connections.</summary>
    public const string State = "state";

    /// <summary>The logical CPU's number.</summary>
    public const string Cpu = "cpu.logical_number";

    /// <summary>The probe a self-metric is about.</summary>
    public const string Probe = "probe";
}
