using System.Net;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Procfs.Tests.Sources;

/// <summary>Namespaces that are bound to a name, whatever the name is and whatever lies beside it.</summary>
public sealed class NamespaceMountTests
{
    [LiveTheory(Needs.NetNs, "mount", "umount", "bash")]
    [InlineData("plain", "plain")]
    [InlineData(@"we\""b\nl \x1b[31m", "we\"b\ufffdl \ufffd[31m")]
    [InlineData(@"\xff\xfe%s\x80", "\ufffd\ufffd%s\ufffd")]
    public async Task A_bound_namespace_without_a_process_is_read_whatever_its_name_is(string name, string shown)
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("kubeskoop-netns-");
        TestNamespace ns = await TestNamespace.CreateUnboundAsync();
        try
        {
            await ns.SendUdpAsync(3, new IPEndPoint(IPAddress.Loopback, 9));
            await Command.OutputAsync("bash", "-c", $"touch \"$0/\"$'{name}' && mount --bind /proc/{ns.ProcessId}/ns/net \"$0/\"$'{name}'", directory.FullName);
            await ns.EndProcessAsync();
            await File.WriteAllTextAsync(Path.Combine(directory.FullName, "a name whose mount is gone"), "");
            directory.CreateSubdirectory("a directory");

            var options = new ProcfsOptions();
            options.NamespaceDirectories.Clear();
            options.NamespaceDirectories.Add(directory.FullName);
            options.NamespaceDirectories.Add(directory.FullName + "/that is not there");
            await using UdpProbe udp = await UdpProbe.StartNewAsync(options);
            SampleBatch<UdpRecord> sample = udp.Sample();
            SampleRow<UdpRecord> row = sample.Rows.ToArray().Single(r => r.Namespace!.Inode == ns.Inode && r.Value.Version == IpVersion.IPv4);
            Assert.Equal((shown, shown, null), (row.Namespace!.Name, row.Namespace.DisplayName, row.Namespace.ProcessId));
            Assert.Equal(3ul, row.Value.OutDatagrams.Value);
            Assert.Single(sample.Rows.ToArray(), static r => r.Namespace!.Name is not null && r.Value.Version == IpVersion.IPv4);
        }
        finally
        {
            // Not by .NET: such names are no strings.
            await Command.RunAsync("bash", ["-c", "umount -l \"$0\"/* 2>&-; rm -r \"$0\"", directory.FullName]);
            await ns.DisposeAsync();
        }
    }

    [LiveFact(Needs.NetNs, "mount", "umount")]
    public async Task A_bound_namespace_of_another_kind_is_none_of_ours()
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("kubeskoop-netns-");
        string name = Path.Combine(directory.FullName, "uts");
        try
        {
            await File.WriteAllTextAsync(name, "");
            await Command.OutputAsync("mount", "--bind", "/proc/self/ns/uts", name);
            var options = new ProcfsOptions();
            options.NamespaceDirectories.Clear();
            options.NamespaceDirectories.Add(directory.FullName);
            using var source = new ProcNamespaceSource(Options.Create(options));
            using IDisposable lease = source.Acquire();
            Assert.NotEmpty(source.Current);
            Assert.DoesNotContain(source.Current, static n => n.Name is not null);
        }
        finally
        {
            await Command.RunAsync("umount", ["-l", name]);
            directory.Delete(recursive: true);
        }
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_namespace_gets_its_name_when_it_is_bound_and_loses_it_with_the_binding()
    {
        using var source = new ProcNamespaceSource(Options.Create(new ProcfsOptions { RefreshInterval = TimeSpan.FromHours(1) }));
        using IDisposable lease = source.Acquire();
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        source.Refresh();
        NetworkNamespace seen = source.Current.Single(n => n.Inode == ns.Inode);
        Assert.Equal((ns.Name, ns.ProcessId), (seen.Name, seen.ProcessId));
        int version = seen.Version;
        await Command.OutputAsync("ip", "netns", "delete", ns.Name!);
        source.Refresh();
        Assert.Same(seen, source.Current.Single(n => n.Inode == ns.Inode)); // a process still lives in it
        Assert.Equal((null, "cat"), (seen.Name, seen.DisplayName));
        Assert.NotEqual(version, seen.Version);
    }
}
