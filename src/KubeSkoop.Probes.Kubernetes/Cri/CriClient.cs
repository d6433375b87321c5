using System.Net;
using System.Net.Sockets;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using KubeSkoop.Probes.Kubernetes.Cri.V1;

namespace KubeSkoop.Probes.Kubernetes.Cri;

/// <summary>What the runtime calls itself.</summary>
internal sealed record CriRuntime(string Name, string Version)
{
    /// <summary>
    /// Whether its events go to everybody who asks. Before containerd 2.0 there is one queue that all who listen read from, so
    /// whoever else listens takes events away from the kubelet.
    /// </summary>
    internal bool BroadcastsEvents =>
        Name == "containerd" && Version.AsSpan().TrimStart('v') is var version && version.IndexOf('.') is var dot and > 0
        && int.TryParse(version[..dot], System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int major) && major >= 2;
}

/// <summary>
/// The few calls of the Container Runtime Interface (runtime.v1) that tell pods, over the runtime's unix socket. Every call
/// has a deadline and every answer a limit, so a runtime that hangs or lies costs no more than that.
/// </summary>
internal sealed class CriClient : IDisposable
{
    internal const string Service = "runtime.v1.RuntimeService";
    private const int LargestAnswer = 16 * 1024 * 1024;

    private static readonly Method<VersionRequest, VersionResponse> VersionCall = Call("Version", VersionRequest.Parser, VersionResponse.Parser);
    private static readonly Method<ListPodSandboxRequest, ListPodSandboxResponse> SandboxesCall = Call("ListPodSandbox", ListPodSandboxRequest.Parser, ListPodSandboxResponse.Parser);
    private static readonly Method<ListContainersRequest, ListContainersResponse> ContainersCall = Call("ListContainers", ListContainersRequest.Parser, ListContainersResponse.Parser);
    private static readonly Method<PodSandboxStatusRequest, PodSandboxStatusResponse> StatusCall = Call("PodSandboxStatus", PodSandboxStatusRequest.Parser, PodSandboxStatusResponse.Parser);
    private static readonly Method<GetEventsRequest, ContainerEventResponse> EventsCall = Call("GetContainerEvents", GetEventsRequest.Parser, ContainerEventResponse.Parser, MethodType.ServerStreaming);

    private readonly GrpcChannel _channel;
    private readonly CallInvoker _invoker;
    private readonly TimeSpan _timeout;

    /// <summary>Connects at the first call.</summary>
    internal CriClient(string socketPath, TimeSpan timeout)
    {
        _timeout = timeout;
        var handler = new SocketsHttpHandler
        {
            UseProxy = false, // the environment's is for other addresses
            ConnectTimeout = timeout,
            ConnectCallback = (_, cancellation) => ConnectAsync(socketPath, cancellation),
        };
        _channel = GrpcChannel.ForAddress("http://localhost", new GrpcChannelOptions
        {
            HttpHandler = handler,
            DisposeHttpClient = true,
            MaxReceiveMessageSize = LargestAnswer,
            MaxRetryAttempts = 1,
        });
        _invoker = _channel.CreateCallInvoker();
    }

    /// <summary>Asks who is there.</summary>
    internal async Task<CriRuntime> VersionAsync(CancellationToken cancellationToken)
    {
        VersionResponse answer = await AskAsync(VersionCall, new VersionRequest(), cancellationToken).ConfigureAwait(false);
        return new CriRuntime(CriText.Bounded(answer.RuntimeName), CriText.Bounded(answer.RuntimeVersion));
    }

    /// <summary>All sandboxes, ended ones too.</summary>
    internal async Task<IReadOnlyList<PodSandbox>> ListSandboxesAsync(CancellationToken cancellationToken) =>
        (await AskAsync(SandboxesCall, new ListPodSandboxRequest(), cancellationToken).ConfigureAwait(false)).Items;

    /// <summary>All containers, ended ones too.</summary>
    internal async Task<IReadOnlyList<Container>> ListContainersAsync(CancellationToken cancellationToken) =>
        (await AskAsync(ContainersCall, new ListContainersRequest(), cancellationToken).ConfigureAwait(false)).Containers;

    /// <summary>Everything about one sandbox; <see langword="null"/> when it is gone.</summary>
    internal async Task<PodSandboxStatusResponse?> SandboxStatusAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            return await AskAsync(StatusCall, new PodSandboxStatusRequest { PodSandboxId = id, Verbose = true }, cancellationToken).ConfigureAwait(false);
        }
        catch (RpcException e) when (e.StatusCode == StatusCode.NotFound)
        {
            return null;
        }
    }

    /// <summary>Calls <paramref name="happened"/> for every event, until the runtime ends the stream or has none.</summary>
    internal async Task FollowEventsAsync(Action happened, CancellationToken cancellationToken)
    {
        using AsyncServerStreamingCall<ContainerEventResponse> call = _invoker.AsyncServerStreamingCall(EventsCall, null, new CallOptions(cancellationToken: cancellationToken), new GetEventsRequest());
        while (await call.ResponseStream.MoveNext(cancellationToken).ConfigureAwait(false)) happened();
    }

    public void Dispose() => _channel.Dispose();

    private async Task<TResponse> AskAsync<TRequest, TResponse>(Method<TRequest, TResponse> method, TRequest request, CancellationToken cancellationToken)
        where TRequest : class
        where TResponse : class
    {
        // The machine's own clock, whatever clock the rest was given: a socket knows no other.
        var options = new CallOptions(deadline: TimeProvider.System.GetUtcNow().UtcDateTime + _timeout, cancellationToken: cancellationToken);
        using AsyncUnaryCall<TResponse> call = _invoker.AsyncUnaryCall(method, null, options, request);
        return await call.ResponseAsync.ConfigureAwait(false);
    }

    private static async ValueTask<Stream> ConnectAsync(string path, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    // Made here and not generated, so that fields this package does not know (annotations, images, mounts) are skipped and not kept.
    private static Method<TRequest, TResponse> Call<TRequest, TResponse>(string name, MessageParser<TRequest> request, MessageParser<TResponse> response, MethodType type = MethodType.Unary)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse> =>
        new(type, Service, name, MarshallerOf(request), MarshallerOf(response));

    private static Marshaller<T> MarshallerOf<T>(MessageParser<T> parser)
        where T : class, IMessage<T>
    {
        MessageParser<T> sparing = parser.WithDiscardUnknownFields(true);
        return new Marshaller<T>(
            static (message, context) =>
            {
                context.SetPayloadLength(message.CalculateSize());
                message.WriteTo(context.GetBufferWriter());
                context.Complete();
            },
            context => sparing.ParseFrom(context.PayloadAsReadOnlySequence()));
    }
}

/// <summary>What a runtime says is believed, but not in any length.</summary>
internal static class CriText
{
    /// <summary>More than the longest name Kubernetes allows (253).</summary>
    private const int Longest = 256;

    /// <summary>The text, cut where it is longer than any name can be.</summary>
    internal static string Bounded(string text)
    {
        if (text.Length <= Longest) return text;
        return text[..(char.IsHighSurrogate(text[Longest - 1]) ? Longest - 1 : Longest)];
    }

    /// <summary>An address, or nothing where it is none.</summary>
    internal static IPAddress? Address(string text) => text.Length is > 0 and <= 64 && IPAddress.TryParse(text, out IPAddress? address) ? address : null;
}
