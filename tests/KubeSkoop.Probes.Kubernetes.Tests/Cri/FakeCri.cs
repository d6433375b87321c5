using System.Buffers.Binary;
using System.Collections.Concurrent;
using Google.Protobuf;
using KubeSkoop.Probes.Kubernetes.Tests.Cri.Kubelet;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace KubeSkoop.Probes.Kubernetes.Tests.Cri;

/// <summary>
/// A container runtime that says what the test tells it: gRPC by hand over a unix socket, so that it can also say what no
/// runtime should. The live tests hold it to what containerd says.
/// </summary>
internal sealed class FakeCri : IAsyncDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("kubeskoop-cri-");
    private readonly ConcurrentDictionary<string, int> _calls = [];
    private readonly ConcurrentDictionary<int, System.Threading.Channels.Channel<bool>> _listeners = [];
    private readonly Lock _gate = new();
    private readonly Dictionary<string, FakePod> _pods = [];
    private WebApplication? _app;
    private int _lastListener;

    internal string Socket => Path.Combine(_directory.FullName, "cri.sock");

    internal string Name { get; set; } = "containerd";

    internal string Version { get; set; } = "1.6.20";

    /// <summary>Whether there is an event stream.</summary>
    internal bool HasEvents { get; set; }

    /// <summary>Answers in place of the runtime: a payload, or an exception of a status; <see langword="null"/> to let it answer.</summary>
    internal Func<string, ReadOnlyMemory<byte>, Task<byte[]?>>? Instead { get; set; }

    internal int ListenerCount => _listeners.Count;

    internal int Calls(string method) => _calls.GetValueOrDefault(method);

    internal static async Task<FakeCri> StartNewAsync(Action<FakeCri>? configure = null)
    {
        var cri = new FakeCri();
        configure?.Invoke(cri);
        await cri.StartAsync();
        return cri;
    }

    internal async Task StartAsync()
    {
        File.Delete(Socket);
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.ListenUnixSocket(Socket, static listen => listen.Protocols = HttpProtocols.Http2));
        builder.Services.Configure<HostOptions>(static host => host.ShutdownTimeout = TimeSpan.FromMilliseconds(100));
        _app = builder.Build();
        _app.Run(AnswerAsync);
        await _app.StartAsync();
    }

    /// <summary>The runtime is killed: its connections break, its socket goes.</summary>
    internal async Task StopAsync()
    {
        if (_app is null) return;
        foreach (var listener in _listeners.Values) listener.Writer.TryComplete();
        await _app.DisposeAsync();
        _app = null;
        File.Delete(Socket);
    }

    internal FakePod Add(FakePod pod, bool tell = true)
    {
        lock (_gate) _pods.Add(pod.SandboxId, pod);
        if (tell) Tell();
        return pod;
    }

    internal void Remove(string sandboxId, bool tell = true)
    {
        lock (_gate) _pods.Remove(sandboxId);
        if (tell) Tell();
    }

    /// <summary>The same sandbox, in another state.</summary>
    internal void Replace(FakePod pod)
    {
        lock (_gate) _pods[pod.SandboxId] = pod;
        Tell();
    }

    /// <summary>An event to all who listen.</summary>
    internal void Tell()
    {
        foreach (var listener in _listeners.Values) listener.Writer.TryWrite(true);
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _directory.Delete(recursive: true);
    }

    private async Task AnswerAsync(HttpContext context)
    {
        string method = context.Request.Path.Value!["/runtime.v1.RuntimeService/".Length..];
        _calls.AddOrUpdate(method, 1, static (_, n) => n + 1);
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body);
        ReadOnlyMemory<byte> request = body.GetBuffer().AsMemory(5, (int)body.Length - 5);
        context.Response.ContentType = "application/grpc";
        try
        {
            if (Instead is not null && await Instead(method, request) is { } raw)
            {
                await WriteAsync(context, raw);
            }
            else if (method == "GetContainerEvents" && HasEvents)
            {
                await StreamAsync(context);
            }
            else
            {
                await WriteAsync(context, Answer(method, request).ToByteArray());
            }
            context.Response.AppendTrailer("grpc-status", "0");
        }
        catch (FakeStatusException status)
        {
            context.Response.Headers["grpc-status"] = status.Code.ToString(System.Globalization.CultureInfo.InvariantCulture);
            context.Response.Headers["grpc-message"] = Uri.EscapeDataString(status.Message);
        }
    }

    private IMessage Answer(string method, ReadOnlyMemory<byte> request)
    {
        lock (_gate)
        {
            return method switch
            {
                "Version" => new VersionResponse { Version = "0.1.0", RuntimeName = Name, RuntimeVersion = Version, RuntimeApiVersion = "v1" },
                "ListPodSandbox" => new ListPodSandboxResponse { Items = { _pods.Values.Select(static p => p.ToSandbox()) } },
                "ListContainers" => new ListContainersResponse { Containers = { InAnotherOrder(_pods.Values.SelectMany(static p => p.ToContainers())) } },
                "PodSandboxStatus" => PodSandboxStatusRequest.Parser.ParseFrom(request.Span) is { Verbose: true } asked
                    ? _pods.TryGetValue(asked.PodSandboxId, out FakePod? pod) ? pod.ToStatus() : throw new FakeStatusException(5, "no such sandbox")
                    : throw new FakeStatusException(3, "the status is of use only when it is verbose"),
                _ => throw new FakeStatusException(12, $"unknown method {method}"),
            };
        }
    }

    // containerd lists from a map, and sorts nothing.
    private IEnumerable<Container> InAnotherOrder(IEnumerable<Container> containers) => Calls("ListContainers") % 2 == 0 ? containers.Reverse() : containers;

    private async Task StreamAsync(HttpContext context)
    {
        int number = Interlocked.Increment(ref _lastListener);
        var events = System.Threading.Channels.Channel.CreateUnbounded<bool>();
        _listeners[number] = events;
        try
        {
            await foreach (bool _ in events.Reader.ReadAllAsync(context.RequestAborted))
            {
                await WriteAsync(context, new ContainerEventResponse { ContainerId = "x", ContainerEventType = 1, PodSandboxStatus = new PodSandboxStatus { Id = "x" } }.ToByteArray());
                await context.Response.Body.FlushAsync(context.RequestAborted);
            }
        }
        catch (OperationCanceledException)
        {
        }
        finally
        {
            _listeners.TryRemove(number, out _);
        }
    }

    private static async Task WriteAsync(HttpContext context, byte[] payload)
    {
        byte[] head = new byte[5];
        BinaryPrimitives.WriteInt32BigEndian(head.AsSpan(1), payload.Length);
        await context.Response.Body.WriteAsync(head);
        await context.Response.Body.WriteAsync(payload);
    }
}

/// <summary>An answer that is a status of gRPC.</summary>
internal sealed class FakeStatusException(int code, string message) : Exception(message)
{
    internal int Code => code;
}

/// <summary>A pod as the fake runtime tells it.</summary>
internal sealed record FakePod(string SandboxId, string Namespace, string Name, string Uid)
{
    private static int _last;

    internal bool IsReady { get; init; } = true;

    internal long CreatedAt { get; init; } = 1_700_000_000_000_000_000;

    internal bool IsHostNetwork { get; init; }

    internal string? NetnsPath { get; init; }

    internal int? ProcessId { get; init; }

    internal string? CgroupParent { get; init; }

    internal string[] Ips { get; init; } = ["10.88.0.2"];

    internal string? Info { get; init; }

    internal Dictionary<string, string> Labels { get; init; } = [];

    internal (string Id, string Name)[] Containers { get; init; } = [];

    /// <summary>A pod with ids of its own.</summary>
    internal static FakePod Make(string name, string ns = "shop")
    {
        int number = Interlocked.Increment(ref _last);
        return new FakePod(Id(number), ns, name, UidOf(number));
    }

    internal static string Id(int number) => number.ToString("x64", System.Globalization.CultureInfo.InvariantCulture);

    internal static string UidOf(int number) => $"00000000-0000-4000-8000-{number.ToString("x12", System.Globalization.CultureInfo.InvariantCulture)}";

    internal PodSandbox ToSandbox() => new()
    {
        Id = SandboxId,
        Metadata = new PodSandboxMetadata { Name = Name, Namespace = Namespace, Uid = Uid },
        State = IsReady ? 0 : 1,
        CreatedAt = CreatedAt,
        Labels = { Labels },
        Annotations = { ["kubernetes.io/config.source"] = "api" },
        RuntimeHandler = "runc",
    };

    internal IEnumerable<Container> ToContainers() => Containers.Select(c => new Container
    {
        Id = c.Id,
        PodSandboxId = SandboxId,
        Metadata = new ContainerMetadata { Name = c.Name },
        Image = new ImageSpec { Image = "busybox" },
        State = 1,
    });

    internal PodSandboxStatusResponse ToStatus() => new()
    {
        Status = new PodSandboxStatus
        {
            Id = SandboxId,
            Metadata = new PodSandboxMetadata { Name = Name, Namespace = Namespace, Uid = Uid },
            Network = new PodSandboxNetworkStatus { Ip = Ips.FirstOrDefault(""), AdditionalIps = { Ips.Skip(1).Select(static ip => new PodIP { Ip = ip }) } },
            Linux = new LinuxPodSandboxStatus { Namespaces = new Namespace { Options = new NamespaceOption { Network = IsHostNetwork ? 2 : 0 } } },
        },
        Info = { ["info"] = Info ?? MakeInfo() },
    };

    private string MakeInfo()
    {
        var members = new List<string>();
        if (ProcessId is { } pid) members.Add(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"\"pid\":{pid}"));
        if (CgroupParent is { } parent) members.Add($"\"config\":{{\"linux\":{{\"cgroup_parent\":\"{parent}\"}}}}");
        string path = NetnsPath is null ? "" : $",\"path\":\"{NetnsPath}\"";
        members.Add($"\"runtimeSpec\":{{\"linux\":{{\"namespaces\":[{{\"type\":\"pid\"}},{{\"type\":\"network\"{path}}}]}}}}");
        return $"{{{string.Join(',', members)}}}";
    }
}
