using System.Text.Json.Serialization;

namespace KubeSkoop.Probes.Kubernetes.Api;

// Of pods, nodes and services, what is asked of them and nothing else: everything else is skipped while reading. All of it
// may be missing.

/// <summary>A page of a list.</summary>
internal sealed class ApiList
{
    public ApiListMetadata? Metadata { get; set; }

    public List<ApiObject?>? Items { get; set; }
}

internal sealed class ApiListMetadata
{
    public string? ResourceVersion { get; set; }

    [JsonPropertyName("continue")]
    public string? Next { get; set; }
}

/// <summary>A line of a watch.</summary>
internal sealed class ApiEvent
{
    public string? Type { get; set; }

    public ApiObject? Object { get; set; }
}

/// <summary>A line of a watch that tells of an error.</summary>
internal sealed class ApiErrorEvent
{
    public ApiError? Object { get; set; }
}

/// <summary>What the server answers in place of what was asked for (kind Status).</summary>
internal sealed class ApiError
{
    public int Code { get; set; }

    public string? Reason { get; set; }

    public string? Message { get; set; }
}

internal sealed class ApiObject
{
    public ApiMetadata? Metadata { get; set; }

    public ApiSpec? Spec { get; set; }

    public ApiObjectStatus? Status { get; set; }
}

internal sealed class ApiMetadata
{
    public string? Name { get; set; }

    public string? Namespace { get; set; }

    public string? Uid { get; set; }

    public string? ResourceVersion { get; set; }

    public DateTimeOffset? CreationTimestamp { get; set; }

    public Dictionary<string, string?>? Labels { get; set; }

    public ApiAnnotations? Annotations { get; set; }

    public List<ApiOwner?>? OwnerReferences { get; set; }
}

internal sealed class ApiAnnotations
{
    /// <summary>Of the API's image of a static pod: the uid that the kubelet, the runtime and the cgroup know the pod by.</summary>
    [JsonPropertyName("kubernetes.io/config.mirror")]
    public string? MirrorOf { get; set; }
}

internal sealed class ApiOwner
{
    public string? Kind { get; set; }

    public string? Name { get; set; }

    public bool? Controller { get; set; }
}

internal sealed class ApiSpec
{
    // pods
    public string? NodeName { get; set; }

    public bool? HostNetwork { get; set; }

    // nodes
    [JsonPropertyName("podCIDR")]
    public string? PodCidr { get; set; }

    [JsonPropertyName("podCIDRs")]
    public List<string?>? PodCidrs { get; set; }

    // services
    [JsonPropertyName("clusterIP")]
    public string? ClusterIp { get; set; }

    [JsonPropertyName("clusterIPs")]
    public List<string?>? ClusterIps { get; set; }

    [JsonPropertyName("externalIPs")]
    public List<string?>? ExternalIps { get; set; }
}

internal sealed class ApiObjectStatus
{
    // pods
    public string? Phase { get; set; }

    [JsonPropertyName("podIP")]
    public string? PodIp { get; set; }

    [JsonPropertyName("podIPs")]
    public List<ApiPodIp?>? PodIps { get; set; }

    public List<ApiContainer?>? ContainerStatuses { get; set; }

    // nodes
    public List<ApiNodeAddress?>? Addresses { get; set; }

    // services
    public ApiLoadBalancer? LoadBalancer { get; set; }
}

internal sealed class ApiPodIp
{
    public string? Ip { get; set; }
}

internal sealed class ApiContainer
{
    public string? Name { get; set; }

    /// <summary>As in <c>containerd://64 digits</c>.</summary>
    [JsonPropertyName("containerID")]
    public string? ContainerId { get; set; }

    public ApiContainerState? State { get; set; }
}

internal sealed class ApiContainerState
{
    public ApiRunning? Running { get; set; }
}

internal sealed class ApiRunning;

internal sealed class ApiNodeAddress
{
    public string? Address { get; set; }
}

internal sealed class ApiLoadBalancer
{
    public List<ApiPodIp?>? Ingress { get; set; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ApiList))]
[JsonSerializable(typeof(ApiEvent))]
[JsonSerializable(typeof(ApiErrorEvent))]
[JsonSerializable(typeof(ApiError))]
internal sealed partial class ApiJson : JsonSerializerContext;
