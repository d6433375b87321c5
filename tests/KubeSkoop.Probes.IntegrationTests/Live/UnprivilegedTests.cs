namespace KubeSkoop.Probes.IntegrationTests.Live;

/// <summary>What an ordinary user gets: his own namespaces, and a sentence about the rest.</summary>
public sealed class UnprivilegedTests
{
    [LiveFact(Needs.NetNs, "setpriv")]
    public async Task Hidden_namespaces_are_said_with_what_to_do()
    {
        // Of this very build, where anybody may read it.
        string exporter = Path.Combine(Repository.Root, "samples/KubeSkoop.Exporter/bin/Release/net10.0/KubeSkoop.Exporter");
        if (!File.Exists(exporter)) exporter = exporter.Replace("/Release/", "/Debug/", StringComparison.Ordinal);
        DirectoryInfo copy = Directory.CreateTempSubdirectory("kubeskoop-user-");
        await using TestNamespace hidden = await TestNamespace.CreateUnboundAsync();
        try
        {
            await Command.OutputAsync("cp", "-r", Path.GetDirectoryName(exporter) + "/.", copy.FullName);
            await Command.OutputAsync("chmod", "-R", "a+rX", copy.FullName);
            CommandResult result = await Command.RunAsync("setpriv",
                ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--", Path.Combine(copy.FullName, "KubeSkoop.Exporter"), "sample", "tcp", "--json"]);
            Assert.Equal(0, result.ExitCode);
            Assert.Matches(@"The network namespaces of \d+ processes cannot be seen.*CAP_SYS_PTRACE", result.Error);
            Assert.DoesNotContain($"{hidden.Inode}", result.Output, StringComparison.Ordinal);
            Assert.Contains($"\"netns\": {TestNamespace.OwnInode}", result.Output, StringComparison.Ordinal);
        }
        finally
        {
            copy.Delete(recursive: true);
        }
    }
}
