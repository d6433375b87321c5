using System.Globalization;
using System.IO.Compression;
using System.Reflection.Metadata;
using System.Runtime.InteropServices;
using System.Text;
using System.Xml.Linq;

namespace KubeSkoop.Probes.IntegrationTests.Packaging;

[Collection(PackagesGroup.Name)]
public sealed class PackageTests(PackagesFixture packages)
{
    // Roslyn's kind of custom debug information for Source Link.
    private static readonly Guid SourceLink = new("CC110556-A091-4D38-9FEC-25AB9A351A6A");

    public static TheoryData<string> Names => [.. PackagesFixture.Names];

    [LiveTheory(Needs.Sources)]
    [MemberData(nameof(Names))]
    public void A_package_has_readme_docs_licence_and_symbols(string name)
    {
        using ZipArchive package = ZipFile.OpenRead(Path.Combine(packages.Feed, $"{name}.{packages.Version}.nupkg"));
        string[] files = [.. package.Entries.Select(static e => e.FullName)];
        Assert.Contains("README.md", files);
        Assert.Contains($"lib/net10.0/{name}.dll", files);
        Assert.Contains($"lib/net10.0/{name}.xml", files);
        XDocument docs = Load(package, $"lib/net10.0/{name}.xml");
        Assert.NotEmpty(docs.Descendants("summary"));

        XElement metadata = Load(package, $"{name}.nuspec").Root!.Elements().Single();
        string? Text(string element) => metadata.Elements().SingleOrDefault(e => e.Name.LocalName == element)?.Value;
        XElement licence = metadata.Elements().Single(static e => e.Name.LocalName == "license");
        Assert.Equal(("Apache-2.0", "expression"), (licence.Value, licence.Attribute("type")?.Value));
        Assert.Equal("README.md", Text("readme"));
        Assert.Equal((name, packages.Version), (Text("id"), Text("version")));
        Assert.True(Text("description")!.Length > 40);
        // No package brings what only the build needs; but KubernetesClient.Aot does, by a version that no feed has, which users would be warned of.
        Assert.Equal(name == "KubeSkoop.Probes.Kubernetes" ? ["Vecc.YamlDotNet.Analyzers.StaticGenerator"] : [],
            metadata.Descendants().Select(static e => e.Attribute("id")?.Value).OfType<string>().Where(static id => id.Contains("Analyzers", StringComparison.Ordinal)));

        using ZipArchive symbols = ZipFile.OpenRead(Path.Combine(packages.Feed, $"{name}.{packages.Version}.snupkg"));
        Assert.Contains($"lib/net10.0/{name}.pdb", symbols.Entries.Select(static e => e.FullName));
    }

    [LiveFact(Needs.Sources)]
    public async Task The_ebpf_package_brings_libbpf_for_whoever_builds_or_publishes_with_it()
    {
        const string name = "KubeSkoop.Probes.Ebpf";
        string runtime = RuntimeInformation.OSArchitecture == Architecture.Arm64 ? "linux-arm64" : "linux-x64";
        using ZipArchive package = ZipFile.OpenRead(Path.Combine(packages.Feed, $"{name}.{packages.Version}.nupkg"));
        using var packed = new MemoryStream();
        await using (Stream entry = package.GetEntry($"runtimes/{runtime}/native/libbpf.so")!.Open()) await entry.CopyToAsync(packed);
        Assert.NotNull(package.GetEntry("THIRD-PARTY-NOTICES.md"));
        using var sources = new StreamReader(package.GetEntry($"third-party/{runtime}/libbpf.sources.txt")!.Open());
        Assert.Matches(@"^libbpf \S+\nelfutils \S+\nzlib \S+\n?$", await sources.ReadToEndAsync());

        string program = await packages.BuildAsync("Ebpf", "System.Console.WriteLine(new KubeSkoop.Probes.Ebpf.EbpfOptions().Validate().Count());", name);
        Assert.Equal(packed.ToArray(), await File.ReadAllBytesAsync(Path.Combine(Path.GetDirectoryName(program)!, "runtimes", runtime, "native", "libbpf.so")));
        string published = Path.Combine(Path.GetDirectoryName(program)!, "published");
        await PackagesFixture.DotnetAsync(packages.DirectoryOf("Ebpf"), "publish", "-c", "Release", "-r", runtime, "--self-contained", "false", "-o", published);
        Assert.Equal(packed.ToArray(), await File.ReadAllBytesAsync(Path.Combine(published, "libbpf.so")));
    }

    // Where there is no cross compiler the package is made without it (Libbpf.targets), and this is skipped.
    [LiveFact(Needs.Sources, "aarch64-linux-gnu-gcc")]
    public async Task The_ebpf_package_brings_libbpf_for_arm64_as_well()
    {
        using ZipArchive package = ZipFile.OpenRead(Path.Combine(packages.Feed, $"KubeSkoop.Probes.Ebpf.{packages.Version}.nupkg"));
        Assert.Contains("runtimes/linux-arm64/native/libbpf.so", package.Entries.Select(static e => e.FullName));
        Assert.NotNull(package.GetEntry("third-party/linux-arm64/libbpf.sources.txt"));
        byte[] header = new byte[20];
        await using Stream library = package.GetEntry("runtimes/linux-arm64/native/libbpf.so")!.Open();
        await library.ReadExactlyAsync(header);
        Assert.Equal(183, BitConverter.ToUInt16(header, 18)); // e_machine, EM_AARCH64
    }

    [LiveFact(Needs.Checkout)]
    public async Task With_a_remote_the_package_names_it_and_its_symbols_link_to_the_sources()
    {
        // The checkout may have no remote; git reads one from the user's configuration as well, so it is given there.
        DirectoryInfo home = Directory.CreateTempSubdirectory("kubeskoop-sourcelink-");
        try
        {
            Directory.CreateDirectory(Path.Combine(home.FullName, "git"));
            const string remote = "https://github.com/example/kubeskoop-probes";
            await File.WriteAllTextAsync(Path.Combine(home.FullName, "git", "config"), $"[remote \"origin\"]\n\turl = {remote}.git\n");
            string own = (await Command.RunAsync("git", ["-C", Repository.Root, "remote", "get-url", "origin"])).Output.Trim();
            await PackagesFixture.DotnetAsync(Repository.Root, new Dictionary<string, string?> { ["XDG_CONFIG_HOME"] = home.FullName },
                "pack", "src/KubeSkoop.Probes", "-c", "Release", "-p:RunAnalyzers=false", "--artifacts-path", Path.Combine(home.FullName, "artifacts"), "-o", home.FullName);

            using ZipArchive package = ZipFile.OpenRead(Path.Combine(home.FullName, $"KubeSkoop.Probes.{packages.Version}.nupkg"));
            XElement repository = Load(package, "KubeSkoop.Probes.nuspec").Descendants().Single(static e => e.Name.LocalName == "repository");
            string commit = (await Command.OutputAsync("git", "-C", Repository.Root, "rev-parse", "HEAD")).Trim();
            Assert.Equal(("git", commit), (repository.Attribute("type")?.Value, repository.Attribute("commit")?.Value));
            if (own.Length > 0) return; // then git takes the checkout's own, whatever it is
            Assert.Equal(remote + ".git", repository.Attribute("url")?.Value);

            using ZipArchive symbols = ZipFile.OpenRead(Path.Combine(home.FullName, $"KubeSkoop.Probes.{packages.Version}.snupkg"));
            using var pdb = new MemoryStream();
            await using (Stream entry = symbols.GetEntry("lib/net10.0/KubeSkoop.Probes.pdb")!.Open()) await entry.CopyToAsync(pdb);
            pdb.Position = 0;
            using MetadataReaderProvider provider = MetadataReaderProvider.FromPortablePdbStream(pdb);
            MetadataReader reader = provider.GetMetadataReader();
            string[] links = [.. reader.CustomDebugInformation.Select(reader.GetCustomDebugInformation)
                .Where(i => reader.GetGuid(i.Kind) == SourceLink).Select(i => Encoding.UTF8.GetString(reader.GetBlobBytes(i.Value)))];
            Assert.Contains($"https://raw.githubusercontent.com/example/kubeskoop-probes/{commit}/*", Assert.Single(links), StringComparison.Ordinal);
        }
        finally
        {
            home.Delete(recursive: true);
        }
    }

    [LiveFact(Needs.Sources | Needs.NetNs, "nstat")]
    public async Task A_fresh_project_restores_the_packages_and_runs_a_probe()
    {
        string program = await packages.BuildAsync("Fresh", """
            using KubeSkoop.Probes;
            using KubeSkoop.Probes.Procfs;

            await using var tcp = await TcpProbe.StartNewAsync();
            foreach (ref readonly var row in tcp.Sample())
                Console.WriteLine($"{row.Namespace!.Inode} {row.Value.ActiveOpens}");
            """, "KubeSkoop.Probes.Procfs");
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.TcpConnectionsAsync(5);
        string output = await Command.OutputAsync(program);
        string row = Assert.Single(output.Split('\n'), l => l.StartsWith(ns.Inode.ToString(CultureInfo.InvariantCulture) + " ", StringComparison.Ordinal));
        Assert.Equal(string.Create(CultureInfo.InvariantCulture, $"{ns.Inode} 5"), row);
        Assert.Equal(5ul, await ns.NstatAsync("TcpActiveOpens"));
    }

    [LiveFact(Needs.Sources | Needs.NetNs | Needs.Bpf)]
    public async Task A_fresh_project_runs_a_BPF_probe_with_the_packaged_library()
    {
        string program = await packages.BuildAsync("FreshBpf", """
            using KubeSkoop.Probes;
            using KubeSkoop.Probes.Ebpf;

            await using var probe = await TcpResetProbe.StartNewAsync();
            using var events = probe.Subscribe();
            using var client = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.InterNetwork, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Tcp);
            try { client.Connect("127.0.0.1", 9); } catch (System.Net.Sockets.SocketException) { }
            using var limit = new CancellationTokenSource(10_000);
            do Console.WriteLine((await events.Reader.ReadAsync(limit.Token)).Message); while (!limit.IsCancellationRequested && events.Reader.Count > 0);
            foreach (string path in File.ReadLines("/proc/self/maps").Where(static l => l.Contains("libbpf")).Select(static l => l[l.IndexOf('/')..]).Distinct()) Console.WriteLine(path);
            """, "KubeSkoop.Probes.Ebpf");
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        string output = await ns.ExecuteAsync(program);
        Assert.Contains("reset sent TCP 127.0.0.1:9 -> 127.0.0.1:", output, StringComparison.Ordinal);
        Assert.Contains("/runtimes/linux-", Assert.Single(output.Split('\n'), static l => l.StartsWith('/')), StringComparison.Ordinal); // not the system's
        using ZipArchive package = ZipFile.OpenRead(Path.Combine(packages.Feed, $"KubeSkoop.Probes.Ebpf.{packages.Version}.nupkg"));
        Assert.Contains("THIRD-PARTY-NOTICES.md", package.Entries.Select(static e => e.FullName));
        Assert.Contains("runtimes/linux-x64/native/libbpf.so", package.Entries.Select(static e => e.FullName));
    }

    [LiveFact(Needs.Sources)]
    public async Task The_readmes_example_compiles_and_runs()
    {
        string[] examples = await ReadmeExamplesAsync();
        string program = await packages.BuildAsync("Readme", examples[0], "KubeSkoop.Probes.Procfs", "Microsoft.Extensions.Hosting");
        CommandResult result = await Command.RunAsync(program, []);
        Assert.True(result.ExitCode == 0, result.Output + result.Error);
        Assert.Contains("segments retransmitted", result.Output, StringComparison.Ordinal);
    }

    // The second goes on from the first. It has no end, so it is only compiled.
    [LiveFact(Needs.Sources)]
    public async Task The_readmes_example_of_events_compiles()
    {
        string[] examples = await ReadmeExamplesAsync();
        string[] lines = examples[1].Split('\n');
        string usings = string.Join('\n', lines.TakeWhile(static line => line.Length > 0)), rest = string.Join('\n', lines.SkipWhile(static line => line.Length > 0));
        string whole = $"{usings}\n{examples[0].Replace(".AddProcfs();", ".AddProcfs().AddEbpf();", StringComparison.Ordinal).Replace("await host.StopAsync();", rest, StringComparison.Ordinal)}";
        Assert.Contains(".AddEbpf();", whole, StringComparison.Ordinal);
        Assert.Contains("ReadAllAsync", whole, StringComparison.Ordinal);
        await packages.BuildAsync("ReadmeEvents", whole, "KubeSkoop.Probes.Procfs", "KubeSkoop.Probes.Ebpf", "Microsoft.Extensions.Hosting");
    }

    private static async Task<string[]> ReadmeExamplesAsync()
    {
        string readme = await File.ReadAllTextAsync(Path.Combine(Repository.Root, "README.md"));
        string[] examples = [.. readme.Split("```csharp\n").Skip(1).Select(static part => part[..part.IndexOf("```", StringComparison.Ordinal)])];
        Assert.Equal(2, examples.Length);
        return examples;
    }

    private static XDocument Load(ZipArchive archive, string entry)
    {
        using Stream stream = archive.GetEntry(entry)!.Open();
        return XDocument.Load(stream);
    }
}
