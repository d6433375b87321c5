using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using Grpc.Net.Client;
using KubeSkoop.Probes.Kubernetes.Tests.Cri.Kubelet;

namespace KubeSkoop.Probes.Kubernetes.Tests.Live;

/// <summary>
/// A node of its own: containerd with its CRI plugin, runc and a CNI bridge in a network namespace that is not the machine's,
/// with images made by hand. Everything lies below one scratch directory, or is found by what lies there; what a killed run left is removed by the next.
/// </summary>
public sealed class ContainerdNode : IAsyncDisposable
{
    private const string Prefix = "kubeskoop-node-";
    private const string CniResults = "/var/lib/cni/results";
    private const string PauseImage = "local.test/pause:1";
    private const string BusyboxImage = "local.test/busybox:1";
    private static readonly Lazy<Task> Sweep = new(RemoveStaleAsync);

    private readonly string _directory;
    private readonly bool _inHostNetwork;
    private GrpcChannel? _channel;
    private Process? _containerd;

    private ContainerdNode(string directory, bool inHostNetwork)
    {
        _directory = directory;
        _inHostNetwork = inHostNetwork;
        _channel = Connect(Socket);
    }

    /// <summary>The runtime's socket.</summary>
    public string Socket => Path.Combine(_directory, "run/containerd.sock");

    internal RuntimeService.RuntimeServiceClient Kubelet => new(_channel!);

    // Not the machine's own kubepods, if it has some.
    private string CgroupRoot => "/" + NetNs;

    private string NetNs => Path.GetFileName(_directory);

    /// <summary>Starts the node; about a second.</summary>
    /// <param name="inHostNetwork">In the machine's own network namespace, for pods in the host's network; no other pod may be made then.</param>
    public static async Task<ContainerdNode> StartNewAsync(bool inHostNetwork = false)
    {
        await Sweep.Value;
        string directory = Directory.CreateTempSubdirectory(string.Create(CultureInfo.InvariantCulture, $"{Prefix}{Environment.ProcessId}-")).FullName;
        var node = new ContainerdNode(directory, inHostNetwork);
        try
        {
            await node.PrepareAsync();
            await node.StartContainerdAsync();
            foreach (string image in (string[])["pause", "busybox"]) await node.CtrAsync("images", "import", Path.Combine(directory, image + ".tar"));
            return node;
        }
        catch
        {
            await node.DisposeAsync();
            throw;
        }
    }

    /// <summary>Runs ctr in the namespace of Kubernetes.</summary>
    public Task<string> CtrAsync(params string[] arguments) => Command.OutputAsync("ctr", ["-a", Socket, "-n", "k8s.io", .. arguments]);

    /// <summary>Makes a sandbox as a kubelet does.</summary>
    internal async Task<LivePod> RunPodAsync(string name, string ns = "shop", bool hostNetwork = false, Action<PodSandboxConfig>? configure = null)
    {
        if (_inHostNetwork && !hostNetwork) throw new InvalidOperationException("A pod's network would become part of the machine's.");
        string uid = Guid.NewGuid().ToString("D", CultureInfo.InvariantCulture);
        string cgroup = $"{CgroupRoot}/kubepods/burstable/pod{uid}";
        var config = new PodSandboxConfig
        {
            Metadata = new PodSandboxMetadata { Name = name, Namespace = ns, Uid = uid },
            Hostname = hostNetwork ? "" : "pod",
            LogDirectory = Path.Combine(_directory, "log", uid),
            Linux = new LinuxPodSandboxConfig
            {
                CgroupParent = cgroup,
                SecurityContext = new LinuxSandboxSecurityContext { NamespaceOptions = new NamespaceOption { Network = hostNetwork ? 2 : 0, Pid = 1 } },
            },
        };
        configure?.Invoke(config);
        string id = (await Kubelet.RunPodSandboxAsync(new RunPodSandboxRequest { Config = config })).PodSandboxId;
        return new LivePod(id, name, ns, uid, cgroup, NetnsOf(BundleOf(_directory, id)), await PidOfAsync(id), config);
    }

    /// <summary>Starts a container with a busybox shell's command in a pod.</summary>
    internal async Task<(string Id, int ProcessId)> RunContainerAsync(LivePod pod, string name, string command)
    {
        string id = (await Kubelet.CreateContainerAsync(new CreateContainerRequest
        {
            PodSandboxId = pod.SandboxId,
            SandboxConfig = pod.Config,
            Config = new ContainerConfig
            {
                Metadata = new ContainerMetadata { Name = name },
                Image = new ImageSpec { Image = BusyboxImage },
                Command = { "/bin/sh", "-c", command },
                LogPath = name + ".log",
                Linux = new LinuxContainerConfig { SecurityContext = new LinuxContainerSecurityContext { NamespaceOptions = pod.Config.Linux.SecurityContext.NamespaceOptions.Clone() } },
            },
        })).ContainerId;
        await Kubelet.StartContainerAsync(new StartContainerRequest { ContainerId = id });
        return (id, await PidOfAsync(id));
    }

    /// <summary>Stops and removes a pod as a kubelet does, its cgroup too.</summary>
    internal async Task RemovePodAsync(LivePod pod)
    {
        await Kubelet.StopPodSandboxAsync(new StopPodSandboxRequest { PodSandboxId = pod.SandboxId });
        await Kubelet.RemovePodSandboxAsync(new RemovePodSandboxRequest { PodSandboxId = pod.SandboxId });
        await RemoveCgroupAsync(pod.CgroupParent);
    }

    /// <summary>Kills containerd; its pods live on.</summary>
    public async Task KillAsync()
    {
        _containerd!.Kill();
        await _containerd.WaitForExitAsync();
        Command.Close(_containerd);
        _containerd = null;
        _channel!.Dispose();
    }

    /// <summary>Starts containerd again, on the same state.</summary>
    public async Task RestartAsync()
    {
        _channel = Connect(Socket);
        await StartContainerdAsync();
    }

    /// <inheritdoc />
    public async ValueTask DisposeAsync()
    {
        _channel?.Dispose();
        if (_containerd is not null)
        {
            _containerd.Kill();
            await _containerd.WaitForExitAsync();
            Command.Close(_containerd);
        }
        await RemoveAsync(_directory); // politely, pod by pod, takes as long as making them did
    }

    // What the runtime was told and what the shim noted: an answer of ctr takes as long as a pod.
    private async Task<int> PidOfAsync(string id) => int.Parse(await File.ReadAllTextAsync(Path.Combine(BundleOf(_directory, id), "init.pid")), CultureInfo.InvariantCulture);

    private static string BundleOf(string directory, string id) => Path.Combine(directory, "run/io.containerd.runtime.v2.task/k8s.io", id);

    private static string? NetnsOf(string bundle)
    {
        string path = Path.Combine(bundle, "config.json"), told = File.Exists(path) ? File.ReadAllText(path) : "";
        int at = told.IndexOf("/var/run/netns/cni-", StringComparison.Ordinal);
        return at < 0 ? null : told[at..told.IndexOf('"', at)];
    }

    private static GrpcChannel Connect(string path) => GrpcChannel.ForAddress("http://localhost", new GrpcChannelOptions
    {
        DisposeHttpClient = true,
        HttpHandler = new SocketsHttpHandler
        {
            UseProxy = false,
            ConnectCallback = async (_, cancellation) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellation);
                return new NetworkStream(socket, ownsSocket: true);
            },
        },
    });

    private async Task PrepareAsync()
    {
        foreach (string name in (string[])["root", "run", "cni"]) Directory.CreateDirectory(Path.Combine(_directory, name));
        // restrict_oom_score_adj: without CAP_SYS_RESOURCE runc may not lower the score and dies.
        await File.WriteAllTextAsync(Path.Combine(_directory, "containerd.toml"), $"""
            version = 2
            root = "{_directory}/root"
            state = "{_directory}/run"
            disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
            [grpc]
              address = "{Socket}"
            [plugins."io.containerd.grpc.v1.cri"]
              sandbox_image = "{PauseImage}"
              disable_tcp_service = true
              stream_server_address = "127.0.0.1"
              stream_server_port = "0"
              restrict_oom_score_adj = true
              [plugins."io.containerd.grpc.v1.cri".containerd]
                snapshotter = "overlayfs"
                default_runtime_name = "runc"
                [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
                  runtime_type = "io.containerd.runc.v2"
                  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
                    SystemdCgroup = false
                    Root = "{_directory}/runc"
              [plugins."io.containerd.grpc.v1.cri".cni]
                bin_dir = "/usr/lib/cni"
                conf_dir = "{_directory}/cni"
                max_conf_num = 1

            """);
        string ranges = """[{"subnet":"10.88.0.0/16"}]""" + (Machine.Lacks(Needs.Ipv6) is null ? """,[{"subnet":"fd88::/64"}]""" : "");
        await File.WriteAllTextAsync(Path.Combine(_directory, "cni/10-bridge.conflist"), $$$"""
            {"cniVersion":"0.4.0","name":"node","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,
             "ipam":{"type":"host-local","dataDir":"{{{_directory}}}/ipam","ranges":[{{{ranges}}}],"routes":[{"dst":"0.0.0.0/0"}]}}]}
            """);
        await MakeImageAsync("pause", PauseImage, """["/bin/busybox","sleep","2147483647"]""");
        await MakeImageAsync("busybox", BusyboxImage, "null");
        await Command.OutputAsync("ip", "netns", "add", NetNs);
        await Command.OutputAsync("ip", "-n", NetNs, "link", "set", "lo", "up");
    }

    // An archive as docker saves it: one layer with busybox and its names.
    private async Task MakeImageAsync(string name, string reference, string entry)
    {
        string work = Path.Combine(_directory, "image"), root = Path.Combine(work, "root"), image = Path.Combine(work, "image");
        Directory.CreateDirectory(image);
        foreach (string directory in (string[])["bin", "etc", "tmp", "proc", "sys", "dev", "root"]) Directory.CreateDirectory(Path.Combine(root, directory));
        File.Copy(Command.PathOf("busybox")!, Path.Combine(root, "bin/busybox"), overwrite: true);
        foreach (string applet in (string[])["sh", "sleep", "cat", "nc", "true", "echo", "wget", "kill"])
        {
            string link = Path.Combine(root, "bin", applet);
            if (!File.Exists(link)) File.CreateSymbolicLink(link, "busybox");
        }
        await File.WriteAllTextAsync(Path.Combine(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
        string layer = Path.Combine(image, "layer.tar");
        await Command.OutputAsync("tar", "--owner=0", "--group=0", "--numeric-owner", "-C", root, "-cf", layer, ".");
        string hash = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(await File.ReadAllBytesAsync(layer)));
        await File.WriteAllTextAsync(Path.Combine(image, "config.json"),
            $$$"""{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Env":["PATH=/bin"],"Entrypoint":{{{entry}}}},"rootfs":{"type":"layers","diff_ids":["sha256:{{{hash}}}"]},"history":[{"created":"1970-01-01T00:00:00Z"}]}""");
        await File.WriteAllTextAsync(Path.Combine(image, "manifest.json"), $$"""[{"Config":"config.json","RepoTags":["{{reference}}"],"Layers":["layer.tar"]}]""");
        await Command.OutputAsync("tar", "-C", image, "-cf", Path.Combine(_directory, name + ".tar"), "manifest.json", "config.json", "layer.tar");
        Directory.Delete(work, recursive: true);
    }

    private async Task StartContainerdAsync()
    {
        // Not 'ip netns exec': that makes a mount namespace of its own, and what is bound for the pods would stay inside.
        string[] arguments = ["-c", Path.Combine(_directory, "containerd.toml"), "--log-level", "error"];
        _containerd = _inHostNetwork ? Command.Start("containerd", arguments) : Command.Start("nsenter", [$"--net=/var/run/netns/{NetNs}", Command.PathOf("containerd")!, .. arguments]);
        Process process = _containerd;
        _ = process.StandardOutput.ReadToEndAsync();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        await Eventually.TrueAsync(async () =>
        {
            if (process.HasExited) throw new InvalidOperationException($"containerd has ended: {await errors}");
            try
            {
                await Kubelet.ListPodSandboxAsync(new ListPodSandboxRequest(), deadline: TimeProvider.System.GetUtcNow().UtcDateTime.AddSeconds(1));
                return true;
            }
            catch (Grpc.Core.RpcException)
            {
                return false;
            }
        }, "containerd to answer", TimeSpan.FromSeconds(30));
    }

    private static async Task RemoveStaleAsync()
    {
        foreach (string directory in Directory.GetDirectories(Path.GetTempPath(), Prefix + "*"))
        {
            string[] parts = Path.GetFileName(directory)[Prefix.Length..].Split('-');
            if (int.TryParse(parts[0], CultureInfo.InvariantCulture, out int pid) && Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}"))) continue;
            try
            {
                await RemoveAsync(directory);
            }
            catch (TimeoutException)
            {
                // not even killed: the next one may
            }
        }
    }

    private static async Task RemoveAsync(string directory)
    {
        // containerd and its shims: everything that was started with a path of ours. The pods' processes are found in their cgroups.
        foreach (string process in Directory.EnumerateDirectories("/proc").Where(static p => char.IsAsciiDigit(Path.GetFileName(p)[0])))
        {
            try
            {
                string[] words = (await File.ReadAllTextAsync(Path.Combine(process, "cmdline"))).Split('\0');
                bool isOurs = Path.GetFileName(words[0]) switch
                {
                    "containerd" => words.Contains(Path.Combine(directory, "containerd.toml")),
                    "containerd-shim-runc-v2" => words.Contains(Path.Combine(directory, "run/containerd.sock")),
                    _ => false,
                };
                if (isOurs) Kill(int.Parse(Path.GetFileName(process), CultureInfo.InvariantCulture));
            }
            catch (IOException)
            {
                // ended meanwhile
            }
        }
        string[] bundles = Directory.Exists(BundleOf(directory, "")) ? Directory.GetDirectories(BundleOf(directory, "")) : [];
        string?[] networks = [.. bundles.Select(NetnsOf).Distinct(), Path.GetFileName(directory)];
        foreach (string ns in networks.OfType<string>().Select(static n => Path.GetFileName(n)))
            if (File.Exists($"/run/netns/{ns}")) await Command.RunAsync("ip", ["netns", "delete", ns]);
        // What containerd and CNI keep elsewhere: each shim's socket, and what each sandbox's plugins had said.
        foreach (string bundle in bundles)
        {
            const string Scheme = "unix://";
            string path = Path.Combine(bundle, "address"), address = File.Exists(path) ? (await File.ReadAllTextAsync(path)).Trim() : "";
            if (address.StartsWith(Scheme, StringComparison.Ordinal)) File.Delete(address[Scheme.Length..]);
            if (!Directory.Exists(CniResults)) continue;
            foreach (string result in Directory.GetFiles(CniResults, $"*{Path.GetFileName(bundle)}*")) File.Delete(result);
        }
        foreach (string mount in (await File.ReadAllLinesAsync("/proc/mounts")).Select(static l => l.Split(' ')[1]).Where(m => m.StartsWith(directory + "/", StringComparison.Ordinal)).OrderDescending())
            await Command.RunAsync("umount", ["-l", mount]);
        await RemoveCgroupAsync("/" + Path.GetFileName(directory));
        if (Directory.Exists(directory)) Directory.Delete(directory, recursive: true);
    }

    private static void Kill(int pid)
    {
        try
        {
            using var process = Process.GetProcessById(pid);
            process.Kill();
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            // ended meanwhile
        }
    }

    // A pod's own cgroup is the kubelet's to remove; ours, then.
    private static async Task RemoveCgroupAsync(string path)
    {
        string[] roots = ["/sys/fs/cgroup", .. Directory.GetDirectories("/sys/fs/cgroup").Where(static d => File.Exists(Path.Combine(d, "cgroup.procs")))];
        foreach (string directory in roots.Select(root => root + path).Where(Directory.Exists))
            await Eventually.TrueAsync(() => TryRemove(directory), $"{directory} to be empty");
    }

    private static bool TryRemove(string cgroup)
    {
        try
        {
            string[] all = [.. Directory.EnumerateDirectories(cgroup, "*", SearchOption.AllDirectories).OrderDescending(), cgroup];
            foreach (string process in all.SelectMany(static c => File.ReadAllLines(Path.Combine(c, "cgroup.procs")))) Kill(int.Parse(process, CultureInfo.InvariantCulture));
            foreach (string one in all) Directory.Delete(one);
            return true;
        }
        catch (IOException)
        {
            return !Directory.Exists(cgroup); // its processes are on their way out
        }
    }
}

/// <summary>A real pod, as its maker knows it.</summary>
internal sealed record LivePod(string SandboxId, string Name, string Namespace, string Uid, string CgroupParent, string? NetnsPath, int ProcessId, PodSandboxConfig Config);
