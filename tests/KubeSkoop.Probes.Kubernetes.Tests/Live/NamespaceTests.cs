using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using KubeSkoop.Probes.Kubernetes.Tests.Cri;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Kubernetes.Tests.Live;

/// <summary>Pods as the kernel shows them, without a runtime that has made them.</summary>
[Collection(LiveGroup.Name)]
public sealed class NamespaceTests
{
    [LiveFact(Needs.UnifiedCgroup | Needs.Sources, "unshare", "sh", "sleep", "cat")]
    public async Task From_a_cgroup_namespace_of_its_own_the_exporter_knows_the_other_pods()
    {
        string root = Path.Combine(Machine.UnifiedCgroup!, string.Create(CultureInfo.InvariantCulture, $"kubeskoop-cgroupns-{Environment.ProcessId}"));
        string own = Path.Combine(root, $"kubepods/besteffort/pod{FakePod.UidOf(1)}/{FakePod.Id(1)}");
        string[] classes = ["besteffort/", "burstable/", ""];
        var processes = new List<(string Uid, Process Process)>();
        try
        {
            Directory.CreateDirectory(own);
            for (int i = 0; i < classes.Length; i++)
            {
                string uid = FakePod.UidOf(10 + i), cgroup = Path.Combine(root, $"kubepods/{classes[i]}pod{uid}/{FakePod.Id(10 + i)}");
                Directory.CreateDirectory(cgroup);
                Process process = Command.Start("sleep", ["600"]);
                processes.Add((uid, process));
                await File.WriteAllTextAsync(Path.Combine(cgroup, "cgroup.procs"), process.Id.ToString(CultureInfo.InvariantCulture));
            }
            string seen = await InsideAsync("cat", [.. processes.Select(static p => string.Create(CultureInfo.InvariantCulture, $"/proc/{p.Process.Id}/cgroup"))]);
            Assert.Equal([$"0::/../../pod{FakePod.UidOf(10)}/{FakePod.Id(10)}", $"0::/../../../burstable/pod{FakePod.UidOf(11)}/{FakePod.Id(11)}", $"0::/../../../pod{FakePod.UidOf(12)}/{FakePod.Id(12)}"],
                seen.Split('\n').Where(static l => l.StartsWith("0::", StringComparison.Ordinal)));

            using JsonDocument json = JsonDocument.Parse(await InsideAsync("dotnet", ExporterRun.Exporter, "pods", "--json", "--set", "KubeSkoop:Probes:Kubernetes:RuntimeEndpoint=none"));
            JsonElement[] pods = [.. json.RootElement.GetProperty("pods").EnumerateArray()];
            foreach (var (uid, process) in processes)
            {
                JsonElement pod = Assert.Single(pods, p => p.GetProperty("uid").GetString() == uid);
                Assert.Equal([process.Id], pod.GetProperty("pids").EnumerateArray().Select(static p => p.GetInt32()));
            }
        }
        finally
        {
            foreach (var (_, process) in processes)
            {
                process.Kill();
                await process.WaitForExitAsync();
                Command.Close(process);
            }
            string[] left = Directory.Exists(root) ? [.. Directory.EnumerateDirectories(root, "*", SearchOption.AllDirectories).OrderDescending(), root] : [];
            foreach (string cgroup in left) Directory.Delete(cgroup);
        }

        // As a runtime starts a container: in its cgroup, which is then the root of what it sees.
        Task<string> InsideAsync(string program, params string[] arguments) =>
            Command.OutputAsync("sh", ["-c", "echo $$ > \"$0/cgroup.procs\" && exec unshare --cgroup \"$@\"", own, Command.PathOf(program) ?? program, .. arguments]);
    }

    [LiveFact(Needs.NetNs, "ip")]
    public async Task A_pod_without_a_process_has_its_namespace_whenever_it_is_watched()
    {
        string name = string.Create(CultureInfo.InvariantCulture, $"kst-{Environment.ProcessId}-anew");
        await Command.OutputAsync("ip", "netns", "add", name);
        try
        {
            await using FakeCri cri = await FakeCri.StartNewAsync();
            cri.Add(FakePod.Make("bound") with { NetnsPath = $"/run/netns/{name}" });
            await using PodDirectory directory = await TestDirectory.StartAsync(cri);
            await directory.FindAsync("bound");
            IOptions<ProcfsOptions> options = Options.Create(new ProcfsOptions { RefreshInterval = TimeSpan.FromHours(1) });
            using var source = new ProcNamespaceSource(options, directory);
            using var another = new ProcNamespaceSource(options, directory);
            using IDisposable lease = another.Acquire();
            for (int i = 0; i < 3; i++)
            {
                using (source.Acquire()) Assert.Equal("bound", PodOf(source));
                Assert.Equal("bound", PodOf(another));
                another.Refresh();
            }
        }
        finally
        {
            await Command.RunAsync("ip", ["netns", "delete", name]);
        }

        string? PodOf(ProcNamespaceSource source) => source.Current.Single(n => n.Name == name).Pod?.Name;
    }
}
