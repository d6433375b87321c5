using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace KubeSkoop.Probes.Kubernetes.Tests.Api;

/// <summary>
/// An API server for pods, nodes and services: lists in pages, watches from a version, forgets old versions, breaks
/// connections, and says what no server should, as the test wants it.
/// </summary>
internal sealed class FakeApi : IAsyncDisposable
{
    internal const string Token = "a token";

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("kubeskoop-api-");
    private readonly Lock _gate = new();
    private readonly Dictionary<string, SortedDictionary<string, JsonObject>> _objects = new() { ["pods"] = [], ["nodes"] = [], ["services"] = [] };
    private readonly List<(long Version, string Kind, string Type, string Json)> _history = [];
    private readonly ConcurrentDictionary<int, Watch> _watches = [];
    private readonly ConcurrentQueue<string> _requests = [];
    private WebApplication? _app;
    private int _lastWatch;
    private long _version = 1000;
    private long _oldest;

    /// <summary>Where the clients find it, and who they are.</summary>
    internal string Kubeconfig => Path.Combine(_directory.FullName, "config");

    /// <summary>Path and query of all requests so far.</summary>
    internal IReadOnlyCollection<string> Requests => _requests;

    internal IEnumerable<string> Lists => _requests.Where(static r => !r.Contains("watch=1", StringComparison.Ordinal));

    internal int WatchCount => _watches.Count;

    /// <summary>Answers in place of the server; whether it did.</summary>
    internal Func<HttpContext, Task<bool>>? Instead { get; set; }

    /// <summary>Whether a version that is too old is told of in the stream, or by the status.</summary>
    internal bool GoneInStream { get; set; }

    /// <summary>Whether it speaks TLS, with a certificate of <see cref="Authority"/>.</summary>
    internal bool IsSecure { get; set; }

    /// <summary>The certificate of whoever vouches for the server.</summary>
    internal string Authority => Path.Combine(_directory.FullName, "ca.crt");

    /// <summary>The certificate of somebody who does not.</summary>
    internal string OtherAuthority => Path.Combine(_directory.FullName, "other.crt");

    internal int Port { get; private set; }

    /// <summary>How many bytes of a watch are sent at a time; 0: all.</summary>
    internal int BytesAtATime { get; set; }

    internal static async Task<FakeApi> StartNewAsync(Action<FakeApi>? configure = null)
    {
        var api = new FakeApi();
        configure?.Invoke(api);
        await api.StartAsync();
        return api;
    }

    internal async Task StartAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        X509Certificate2? certificate = IsSecure ? Certify() : null;
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, Port, listen =>
        {
            listen.Protocols = certificate is null ? HttpProtocols.Http1 : HttpProtocols.Http1AndHttp2;
            if (certificate is not null) listen.UseHttps(certificate);
        }));
        builder.Services.Configure<HostOptions>(static host => host.ShutdownTimeout = TimeSpan.FromMilliseconds(100));
        _app = builder.Build();
        _app.Run(AnswerAsync);
        await _app.StartAsync();
        string address = _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        Port = new Uri(address).Port;
        await File.WriteAllTextAsync(Kubeconfig, $"""
            apiVersion: v1
            kind: Config
            current-context: test
            clusters:
            - name: test
              cluster:
                server: {address}{(IsSecure ? $"\n    certificate-authority: {Authority}" : "")}
            users:
            - name: test
              user:
                token: {Token}
            contexts:
            - name: test
              context:
                cluster: test
                user: test
            """);
    }

    /// <summary>The server is killed: its connections break.</summary>
    internal async Task StopAsync()
    {
        if (_app is null) return;
        Disconnect();
        await _app.DisposeAsync();
        _app = null;
    }

    /// <summary>An object as a server tells it, changed.</summary>
    internal static JsonObject Make(string kind, Action<JsonObject>? change = null)
    {
        string file = Path.Combine(AppContext.BaseDirectory, "Fixtures", "kubernetes-api", kind[..^1] + ".json");
        JsonObject made = JsonNode.Parse(File.ReadAllText(file))!.AsObject();
        change?.Invoke(made);
        return made;
    }

    internal static JsonObject Pod(string name, string uid, string node, params string[] addresses) => Make("pods", pod =>
    {
        pod["metadata"]!["name"] = name;
        pod["metadata"]!["uid"] = uid;
        pod["spec"]!["nodeName"] = node;
        pod["status"]!["podIP"] = addresses.FirstOrDefault();
        pod["status"]!["podIPs"] = new JsonArray([.. addresses.Select(static a => new JsonObject { ["ip"] = a })]);
    });

    internal static JsonObject Node(string name, string uid, string address, params string[] ranges) => Make("nodes", node =>
    {
        node["metadata"]!["name"] = name;
        node["metadata"]!["uid"] = uid;
        node["spec"]!["podCIDR"] = ranges.FirstOrDefault();
        node["spec"]!["podCIDRs"] = new JsonArray([.. ranges.Select(static r => (JsonNode)r)]);
        node["status"]!["addresses"] = new JsonArray(new JsonObject { ["type"] = "InternalIP", ["address"] = address });
    });

    /// <summary>The object is new, or is another now.</summary>
    internal void Set(string kind, JsonObject given)
    {
        lock (_gate)
        {
            bool isNew = !_objects[kind].ContainsKey(KeyOf(given));
            given["metadata"]!["resourceVersion"] = (++_version).ToString(CultureInfo.InvariantCulture);
            _objects[kind][KeyOf(given)] = given;
            Tell(kind, isNew ? "ADDED" : "MODIFIED", given);
        }
    }

    internal void Remove(string kind, string uid)
    {
        lock (_gate)
        {
            if (!_objects[kind].Remove(uid, out JsonObject? given)) throw new ArgumentException($"There is no {uid}.", nameof(uid));
            given["metadata"]!["resourceVersion"] = (++_version).ToString(CultureInfo.InvariantCulture);
            Tell(kind, "DELETED", given);
        }
    }

    /// <summary>Changes something that nobody who watches is told of.</summary>
    internal void Silently(Action change)
    {
        lock (_gate)
        {
            Disconnect();
            change();
            Forget();
        }
    }

    /// <summary>What has happened until now cannot be watched any more.</summary>
    internal void Forget()
    {
        lock (_gate)
        {
            _history.Clear();
            _oldest = _version;
        }
    }

    /// <summary>Tells all watches that nothing has happened until now.</summary>
    internal void Bookmark()
    {
        lock (_gate)
        {
            foreach (Watch watch in _watches.Values)
                watch.Lines.Writer.TryWrite($$$"""{"type":"BOOKMARK","object":{"kind":"{{{watch.Kind}}}","apiVersion":"v1","metadata":{"resourceVersion":"{{{_version}}}","creationTimestamp":null},"spec":{"containers":null},"status":{ } } }""" + "\n");
        }
    }

    /// <summary>Says something to all watches of a kind.</summary>
    internal void Say(string kind, string line)
    {
        foreach (Watch watch in _watches.Values)
            if (watch.Kind == kind) watch.Lines.Writer.TryWrite(line);
    }

    /// <summary>All watches end as the server wants it.</summary>
    internal void EndWatches()
    {
        foreach (Watch watch in _watches.Values) watch.Lines.Writer.TryComplete();
    }

    /// <summary>All watches break in the middle.</summary>
    internal void Disconnect()
    {
        foreach (Watch watch in _watches.Values)
        {
            try
            {
                watch.Context.Abort();
            }
            catch (ObjectDisposedException)
            {
                // It has just ended by itself.
            }
        }
    }

    internal Task WatchedAsync(int count = 3) => Eventually.EqualAsync(count, () => WatchCount, "watches");

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _directory.Delete(recursive: true);
    }

    // An authority, another one, and a server of the first.
    private X509Certificate2 Certify()
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        using X509Certificate2 authority = Authorize(Authority), other = Authorize(OtherAuthority);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=kube-apiserver", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using X509Certificate2 signed = request.Create(authority, now.AddMinutes(-1), now.AddHours(1), [1, 2, 3, 4]);
        using X509Certificate2 whole = signed.CopyWithPrivateKey(key);
        return X509CertificateLoader.LoadPkcs12(whole.Export(X509ContentType.Pkcs12), null);

        X509Certificate2 Authorize(string file)
        {
            using var own = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            var asked = new CertificateRequest("CN=kubernetes", own, HashAlgorithmName.SHA256);
            asked.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
            X509Certificate2 made = asked.CreateSelfSigned(now.AddMinutes(-2), now.AddHours(2));
            File.WriteAllText(file, made.ExportCertificatePem());
            return made;
        }
    }

    private static string KeyOf(JsonObject given) => (string?)given["metadata"]!["uid"] ?? throw new ArgumentException("An object has a uid.", nameof(given));

    private void Tell(string kind, string type, JsonObject given)
    {
        string line = $$"""{"type":"{{type}}","object":{{given.ToJsonString()}}}""" + "\n";
        _history.Add((_version, kind, type, line));
        foreach (Watch watch in _watches.Values)
            if (watch.Kind == kind && watch.Wants(given)) watch.Lines.Writer.TryWrite(line);
    }

    private async Task AnswerAsync(HttpContext context)
    {
        HttpRequest request = context.Request;
        _requests.Enqueue(request.Path + request.QueryString);
        if (Instead is not null && await Instead(context)) return;
        if (request.Headers.Authorization != $"Bearer {Token}")
        {
            await RefuseAsync(context, 401, "Unauthorized", "Unauthorized");
            return;
        }
        string kind = request.Path.Value!["/api/v1/".Length..];
        if (request.Query["watch"] == "1") await WatchAsync(context, kind);
        else await ListAsync(context, kind);
    }

    internal static async Task RefuseAsync(HttpContext context, int code, string reason, string message)
    {
        context.Response.StatusCode = code;
        await context.Response.WriteAsync($$"""{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"{{message}}","reason":"{{reason}}","code":{{code}}}""");
    }

    private async Task ListAsync(HttpContext context, string kind)
    {
        string body;
        lock (_gate)
        {
            string? selector = context.Request.Query["fieldSelector"];
            int limit = int.Parse(context.Request.Query["limit"]!, CultureInfo.InvariantCulture);
            bool fromMemory = context.Request.Query["resourceVersion"] == "0"; // then there are no pages
            string[] all = [.. _objects[kind].Where(o => Watch.Wants(o.Value, selector)).Select(static o => o.Value.ToJsonString())];
            string? next = context.Request.Query["continue"];
            int first = 0;
            if (next is not null)
            {
                string[] parts = next.Split('/');
                if (long.Parse(parts[1], CultureInfo.InvariantCulture) < _oldest)
                {
                    body = string.Empty;
                    first = -1;
                }
                else
                {
                    first = int.Parse(parts[0], CultureInfo.InvariantCulture);
                }
            }
            if (first < 0)
            {
                body = string.Empty;
            }
            else
            {
                string[] page = fromMemory ? all : [.. all.Skip(first).Take(limit)];
                string more = first + page.Length < all.Length ? string.Create(CultureInfo.InvariantCulture, $",\"continue\":\"{first + page.Length}/{_version}\",\"remainingItemCount\":{all.Length - first - page.Length}") : "";
                body = $$"""{"kind":"{{kind}}List","apiVersion":"v1","metadata":{"resourceVersion":"{{_version}}"{{more}}},"items":[{{string.Join(',', page)}}]}""";
            }
        }
        if (body.Length == 0) await RefuseAsync(context, 410, "Expired", "The provided continue parameter is too old");
        else await context.Response.WriteAsync(body);
    }

    private async Task WatchAsync(HttpContext context, string kind)
    {
        long from = long.Parse(context.Request.Query["resourceVersion"]!, CultureInfo.InvariantCulture);
        var watch = new Watch(kind, context, context.Request.Query["fieldSelector"]);
        bool isGone;
        int number = Interlocked.Increment(ref _lastWatch);
        lock (_gate)
        {
            isGone = from < _oldest;
            foreach (var (version, of, _, line) in _history)
                if (version > from && of == kind && watch.Wants(JsonNode.Parse(line)!["object"]!.AsObject())) watch.Lines.Writer.TryWrite(line);
            if (!isGone) _watches[number] = watch;
        }
        if (isGone && !GoneInStream)
        {
            await RefuseAsync(context, 410, "Expired", "too old resource version");
            return;
        }
        if (isGone)
        {
            await context.Response.WriteAsync("""{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}""" + "\n");
            return;
        }
        try
        {
            await context.Response.Body.FlushAsync(context.RequestAborted);
            await foreach (string line in watch.Lines.Reader.ReadAllAsync(context.RequestAborted))
            {
                byte[] bytes = Encoding.UTF8.GetBytes(line);
                int step = BytesAtATime == 0 ? bytes.Length : BytesAtATime;
                for (int i = 0; i < bytes.Length; i += step)
                {
                    await context.Response.Body.WriteAsync(bytes.AsMemory(i, Math.Min(step, bytes.Length - i)), context.RequestAborted);
                    await context.Response.Body.FlushAsync(context.RequestAborted);
                }
            }
        }
        catch (OperationCanceledException)
        {
        }
        finally
        {
            _watches.TryRemove(number, out _);
        }
    }

    private sealed record Watch(string Kind, HttpContext Context, string? Selector)
    {
        internal Channel<string> Lines { get; } = Channel.CreateUnbounded<string>();

        internal bool Wants(JsonObject given) => Wants(given, Selector);

        internal static bool Wants(JsonObject given, string? selector) =>
            selector is null || (string?)given["spec"]!["nodeName"] == selector["spec.nodeName=".Length..];
    }
}
