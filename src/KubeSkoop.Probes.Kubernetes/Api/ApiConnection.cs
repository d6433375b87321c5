using System.Net;
using System.Security.Authentication;
using System.Text.Json;
using k8s;
using KubeSkoop.Probes.Kubernetes.Cri;

namespace KubeSkoop.Probes.Kubernetes.Api;

/// <summary>What the API server has answered in place of what was asked for, or what kept it from being asked.</summary>
internal sealed class ApiException(string message, HttpStatusCode status = 0, Exception? inner = null) : Exception(message, inner)
{
    internal HttpStatusCode Status => status;

    /// <summary>Whether the server does not know the moment that was asked for, be it too old or too new for it: everything must be listed anew.</summary>
    internal bool IsGone { get; init; }

    /// <summary>How long the server wants to be left alone.</summary>
    internal TimeSpan RetryAfter { get; init; }
}

/// <summary>
/// The way to the API server: address, certificates and credentials by KubernetesClient, from a kubeconfig or from the
/// service account. Made anew when they are refused: they may have changed.
/// </summary>
internal sealed class ApiConnection(KubernetesOptions options) : IDisposable
{
    private const int LargestError = 64 * 1024;
    private const string TooNew = "Too large resource version"; // as the server says it, and its own clients look for it
    private static readonly TimeSpan LongestRetryAfter = TimeSpan.FromMinutes(1);

    private readonly Lock _gate = new();
    private k8s.Kubernetes? _client;
    private bool _isDisposed;

    /// <summary>Whether there is a server to be asked, by what is configured and where the process runs.</summary>
    internal static bool IsWanted(KubernetesOptions options) =>
        options.ApiScope != ApiScope.None && (options.Kubeconfig is { Length: > 0 } || KubernetesClientConfiguration.IsInCluster());

    /// <summary>The server's address; <see langword="null"/> while there is none.</summary>
    internal string? Server
    {
        get
        {
            lock (_gate) return _client?.BaseUri.ToString();
        }
    }

    /// <summary>Asks; the answer's headers are in, its body is not.</summary>
    /// <exception cref="ApiException">It was not answered, or refused.</exception>
    internal async Task<HttpResponseMessage> GetAsync(string pathAndQuery, CancellationToken cancellationToken)
    {
        k8s.Kubernetes client = Client();
        HttpResponseMessage? response = null;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(options.CallTimeout);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(client.BaseUri, pathAndQuery)) { Version = HttpVersion.Version20, VersionPolicy = HttpVersionPolicy.RequestVersionOrLower };
            request.Headers.Accept.ParseAdd("application/json");
            if (client.Credentials is { } credentials) await credentials.ProcessHttpRequestAsync(request, limit.Token).ConfigureAwait(false);
            response = await client.HttpClient.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, limit.Token).ConfigureAwait(false);
            if (response.IsSuccessStatusCode) return response;
            throw await RefusalAsync(response, limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            response?.Dispose();
            throw new ApiException($"it did not answer within {options.CallTimeout:c}.");
        }
        catch (ApiException e)
        {
            response?.Dispose();
            if (e.Status == HttpStatusCode.Unauthorized) Discard(client);
            throw;
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            response?.Dispose();
            if (Cause(e) is AuthenticationException) Discard(client);
            throw new ApiException($"{CriText.Bounded(Cause(e).Message)}.".Replace("..", ".", StringComparison.Ordinal), 0, e);
        }
    }

    /// <summary>What an error that the server tells of means, for people.</summary>
    internal static ApiException Refusal(HttpStatusCode status, string? message, TimeSpan retryAfter = default) => new(status switch
    {
        HttpStatusCode.Unauthorized => "401 Unauthorized: the credentials are not accepted. Renew the kubeconfig or the service account's token.",
        HttpStatusCode.Forbidden => $"403 Forbidden: {CriText.Bounded(message ?? "no reason given")}. Give the account a ClusterRole with the verbs list and watch on pods, nodes and services.",
        _ => $"{(int)status} {status}: {CriText.Bounded(message ?? "no reason given")}.",
    }, status)
    {
        // A 504 may also come from whatever stands before the server, and then says nothing about the moment.
        IsGone = status == HttpStatusCode.Gone || (status == HttpStatusCode.GatewayTimeout && message?.Contains(TooNew, StringComparison.Ordinal) == true),
        RetryAfter = retryAfter < LongestRetryAfter ? retryAfter : LongestRetryAfter,
    };

    public void Dispose()
    {
        lock (_gate)
        {
            _isDisposed = true;
            _client?.Dispose();
            _client = null;
        }
    }

    private static Exception Cause(Exception e) => e.InnerException is { } inner ? Cause(inner) : e;

    private static async Task<ApiException> RefusalAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        string? message = null;
        try
        {
            await using Stream body = new BoundedStream(await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false), LargestError);
            message = (await JsonSerializer.DeserializeAsync(body, ApiJson.Default.ApiError, cancellationToken).ConfigureAwait(false))?.Message;
        }
        catch (Exception e) when (e is JsonException or IOException or HttpRequestException)
        {
            // A proxy's own page. The number says enough.
        }
        return Refusal(response.StatusCode, message, response.Headers.RetryAfter?.Delta ?? TimeSpan.Zero);
    }

    private k8s.Kubernetes Client()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            if (_client is not null) return _client;
            try
            {
                KubernetesClientConfiguration configuration = options.Kubeconfig is { Length: > 0 } file
                    ? KubernetesClientConfiguration.BuildConfigFromConfigFile(new FileInfo(file))
                    : KubernetesClientConfiguration.InClusterConfig();
                return _client = new k8s.Kubernetes(configuration);
            }
#pragma warning disable CA1031 // Whatever a file holds: it is said, and tried again.
            catch (Exception e)
#pragma warning restore CA1031
            {
                string what = options.Kubeconfig is { Length: > 0 } given ? $"the kubeconfig {given}" : "the service account";
                throw new ApiException($"{what} cannot be used: {CriText.Bounded(Cause(e).Message)}", 0, e);
            }
        }
    }

    // Not disposed of: others may be in the midst of an answer. It has nothing open when those have ended.
    private void Discard(k8s.Kubernetes client)
    {
        lock (_gate)
        {
            if (ReferenceEquals(_client, client)) _client = null;
        }
    }
}

/// <summary>A stream that fails when it holds more than it may.</summary>
internal sealed class BoundedStream(Stream inner, long most) : Stream
{
    private long _left = most;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        Counted(await inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false));

    public override int Read(byte[] buffer, int offset, int count) => Counted(inner.Read(buffer, offset, count));

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing) inner.Dispose();
        base.Dispose(disposing);
    }

    private int Counted(int read)
    {
        _left -= read;
        return _left >= 0 ? read : throw new IOException("The answer is larger than it may be.");
    }
}
