using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace KubeSkoop.Probes.IntegrationTests.Live;

/// <summary>What is attached to something that outlives the process must not.</summary>
public sealed class KilledTests
{
    private static readonly string[] Kinds = ["prog", "link", "map"];

    [LiveFact(Needs.NetNs | Needs.Bpf | Needs.Native, "bpftool")]
    public async Task A_process_that_is_killed_leaves_nothing_at_the_root_of_the_control_groups()
    {
        string exporter = Path.Combine(Repository.Root, "samples/KubeSkoop.Exporter/bin/Release/net10.0/KubeSkoop.Exporter");
        if (!File.Exists(exporter)) exporter = exporter.Replace("/Release/", "/Debug/", StringComparison.Ordinal);
        using Process process = Process.Start(new ProcessStartInfo(exporter, ["serve", "--port", "0", "--enable", "flow"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        try
        {
            process.BeginOutputReadLine(); // so that it never waits for its reader
            process.BeginErrorReadLine();
            await Eventually.TrueAsync(() => IdsOf(process.Id).Count(static id => id.StartsWith("link ", StringComparison.Ordinal)) >= 2, "its programs to be attached", TimeSpan.FromSeconds(30));
            string[] ours = IdsOf(process.Id);
            string[] there = await IdsOfTheKernelAsync();
            Assert.All(ours, id => Assert.Contains(id, there)); // so the next look would see them
            process.Kill(); // SIGKILL
            await process.WaitForExitAsync();
            await Eventually.TrueAsync(async () => !(await IdsOfTheKernelAsync()).Intersect(ours).Any(), "programs, maps and links to go");
        }
        finally
        {
            if (!process.HasExited) process.Kill();
        }
    }

    // fdinfo of programs, maps and links has lines such as "prog_id:	17".
    private static string[] IdsOf(int process)
    {
        var ids = new HashSet<string>();
        foreach (string file in Directory.GetFiles(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/fdinfo")))
        {
            try
            {
                foreach (string line in File.ReadAllLines(file))
                    foreach (string kind in Kinds)
                        if (line.StartsWith(kind + "_id:", StringComparison.Ordinal)) ids.Add(line.Replace("_id:\t", " ", StringComparison.Ordinal));
            }
            catch (IOException)
            {
                // closed meanwhile
            }
        }
        return [.. ids];
    }

    private static async Task<string[]> IdsOfTheKernelAsync()
    {
        var ids = new List<string>();
        foreach (string kind in Kinds)
        {
            CommandResult listed = null!;
            // It gives up on one that somebody else is just making.
            await Eventually.TrueAsync(async () => (listed = await Command.RunAsync("bpftool", ["-j", kind, "list"])).ExitCode == 0, () => $"bpftool to list every {kind}: {listed.Output}");
            using var list = JsonDocument.Parse(listed.Output);
            ids.AddRange(list.RootElement.EnumerateArray().Select(e => $"{kind} {e.GetProperty("id").GetInt32()}"));
        }
        return [.. ids];
    }
}
