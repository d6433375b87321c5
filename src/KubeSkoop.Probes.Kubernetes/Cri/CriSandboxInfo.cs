using System.Text.Json;

namespace KubeSkoop.Probes.Kubernetes.Cri;

/// <summary>
/// What the verbose status of a sandbox says beyond the interface, in JSON of the runtime's own making. containerd and CRI-O
/// put it under <c>info</c>; CRI-O leaves the pid out for pods without a process of their own. All of it may be missing.
/// </summary>
/// <param name="ProcessId">The sandbox's process, as the runtime numbers processes.</param>
/// <param name="NetworkNamespacePath">Where the network namespace is bound, in the runtime's mount namespace.</param>
/// <param name="CgroupParent">The pod's own cgroup.</param>
internal sealed record CriSandboxInfo(int? ProcessId, string? NetworkNamespacePath, string? CgroupParent)
{
    private const string Key = "info";
    private const int Largest = 1024 * 1024;
    private const int LongestPath = 4096;
    private const int MostNamespaces = 64;

    private static readonly CriSandboxInfo Empty = new(null, null, null);

    /// <summary>Reads what is there; what is not, or is of another form, is left out.</summary>
    internal static CriSandboxInfo Parse(IReadOnlyDictionary<string, string> info) =>
        info.TryGetValue(Key, out string? json) ? Parse(json) : Empty;

    /// <summary>Reads what is there; what is not, or is of another form, is left out. Never throws.</summary>
    internal static CriSandboxInfo Parse(string json)
    {
        if (json.Length > Largest) return Empty;
        try
        {
            using JsonDocument document = JsonDocument.Parse(json);
            JsonElement root = document.RootElement;
            int? pid = Member(root, "pid") is { ValueKind: JsonValueKind.Number } number && number.TryGetInt32(out int value) && value > 0 ? value : null;
            return new CriSandboxInfo(pid, NetworkNamespace(root), PathOf(Member(Member(Member(root, "config"), "linux"), "cgroup_parent")));
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidOperationException) // not JSON; half a surrogate pair
        {
            return Empty;
        }
    }

    private static string? NetworkNamespace(JsonElement root)
    {
        if (Member(Member(Member(root, "runtimeSpec"), "linux"), "namespaces") is not { ValueKind: JsonValueKind.Array } namespaces) return null;
        foreach (JsonElement ns in namespaces.EnumerateArray().Take(MostNamespaces))
            if (Member(ns, "type") is { ValueKind: JsonValueKind.String } type && type.ValueEquals("network"u8)) return PathOf(Member(ns, "path"));
        return null;
    }

    private static JsonElement? Member(JsonElement? element, string name) =>
        element is { ValueKind: JsonValueKind.Object } parent && parent.TryGetProperty(name, out JsonElement member) ? member : null;

    private static string? PathOf(JsonElement? element) =>
        element is { ValueKind: JsonValueKind.String } text && text.GetString() is { Length: > 1 and <= LongestPath } path && path[0] == '/' && !path.Contains('\0', StringComparison.Ordinal) ? path : null;
}
