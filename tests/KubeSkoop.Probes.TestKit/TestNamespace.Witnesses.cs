using System.Globalization;
using System.Text.Json;

namespace KubeSkoop.Probes.TestKit;

// Others who read the same kernel and share no code with us.
public sealed partial class TestNamespace
{
    /// <summary>One absolute counter as <c>nstat -az</c> gives it, for example <c>TcpActiveOpens</c>.</summary>
    public async Task<ulong> NstatAsync(string counter)
    {
        IReadOnlyDictionary<string, ulong> all = await NstatAsync();
        return all.TryGetValue(counter, out ulong value)
            ? value
            : throw new InvalidOperationException($"nstat has no '{counter}' here; it has: {string.Join(' ', all.Keys)}.");
    }

    /// <summary>All absolute counters as <c>nstat</c> gives them.</summary>
    public async Task<IReadOnlyDictionary<string, ulong>> NstatAsync()
    {
        // -s: leave no history behind; -a and -z: absolute values, zeros too.
        using JsonDocument json = JsonDocument.Parse(await ExecuteAsync("nstat", "-a", "-s", "-z", "--json"));
        var counters = new Dictionary<string, ulong>();
        foreach (JsonProperty counter in json.RootElement.GetProperty("kernel").EnumerateObject())
            counters[counter.Name] = counter.Value.TryGetUInt64(out ulong value) ? value : unchecked((ulong)counter.Value.GetInt64());
        return counters;
    }

    /// <summary>The lines of <c>ss</c>, without its header.</summary>
    public async Task<string[]> SsAsync(params string[] arguments)
    {
        string output = await ExecuteAsync("ss", ["--no-header", .. arguments]);
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    /// <summary>Statistics per device as <c>ip -s -s -j link</c> gives them, keys like <c>rx.packets</c>.</summary>
    public async Task<IReadOnlyDictionary<string, IReadOnlyDictionary<string, ulong>>> IpLinkStatsAsync()
    {
        using JsonDocument json = JsonDocument.Parse(await IpAsync("-s", "-s", "-j", "link"));
        var devices = new Dictionary<string, IReadOnlyDictionary<string, ulong>>();
        foreach (JsonElement device in json.RootElement.EnumerateArray())
        {
            if (!device.TryGetProperty("ifname", out JsonElement name)) continue;
            JsonElement stats = device.TryGetProperty("stats64", out JsonElement wide) ? wide : device.GetProperty("stats");
            devices[name.GetString()!] = (
                from direction in stats.EnumerateObject()
                from number in direction.Value.EnumerateObject()
                select ($"{direction.Name}.{number.Name}", number.Value.GetUInt64())).ToDictionary();
        }
        return devices;
    }

    /// <summary>How many descriptors a process holds, by listing them.</summary>
    public static int OpenDescriptors(int processId) =>
        Directory.EnumerateFileSystemEntries(string.Create(CultureInfo.InvariantCulture, $"/proc/{processId}/fd")).Count();
}
