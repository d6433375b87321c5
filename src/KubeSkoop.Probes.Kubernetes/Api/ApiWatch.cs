using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Text.Json;
using KubeSkoop.Probes.Kubernetes.Cri;
using Microsoft.Extensions.Logging;

namespace KubeSkoop.Probes.Kubernetes.Api;

/// <summary>
/// Follows one kind of object: lists them, then watches from there. A watch that ends or is refused is taken up again where
/// it ended; only when the server does not know that moment any more, or its words are not understood, is everything listed
/// anew. What is known stays meanwhile.
/// </summary>
internal sealed partial class ApiWatch
{
    private const int PageSize = 500;
    private const int LongestLine = 8 * 1024 * 1024; // an object has 1.5 MiB in etcd
    private const long LargestList = 1L << 30;
    private static readonly TimeSpan FirstRetry = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan LongestRetry = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan LongestList = TimeSpan.FromMinutes(5);

    private readonly ApiKind _kind;
    private readonly string _path;
    private readonly string _selector;
    private readonly KubernetesOptions _options;
    private readonly ApiConnection _connection;
    private readonly ClusterState _state;
    private readonly TimeProvider _clock;
    private readonly ILogger? _logger;
    private readonly Action<bool> _changed;
    private volatile ApiWatchStatus _status = new();
    private string? _version;
    private bool _mayBeOld = true;
    private bool _hasMoved; // the version, in this watch

    /// <param name="kind">What to follow.</param>
    /// <param name="node">Of pods: only this node's; <see langword="null"/> for all.</param>
    /// <param name="options">Times.</param>
    /// <param name="connection">Whom to ask.</param>
    /// <param name="state">Takes what is told.</param>
    /// <param name="clock">The clock of waits and ages.</param>
    /// <param name="logger">Told when the server comes and goes.</param>
    /// <param name="changed">Called after each list, and after each event that changes this node's pods (then with true), from the following task.</param>
    internal ApiWatch(ApiKind kind, string? node, KubernetesOptions options, ApiConnection connection, ClusterState state, TimeProvider clock, ILogger? logger, Action<bool> changed)
    {
        _kind = kind;
        _path = $"api/v1/{Name}";
        _selector = kind == ApiKind.Pods && node is not null ? $"&fieldSelector={Uri.EscapeDataString($"spec.nodeName={node}")}" : string.Empty;
        _options = options;
        _connection = connection;
        _state = state;
        _clock = clock;
        _logger = logger;
        _changed = changed;
    }

    /// <summary>How it goes.</summary>
    internal ApiWatchStatus Status => _status;

    private string Name => _kind switch
    {
        ApiKind.Pods => "pods",
        ApiKind.Nodes => "nodes",
        _ => "services",
    };

    /// <summary>Follows until cancelled; nothing a server does ends it.</summary>
    internal async Task RunAsync(CancellationToken cancellationToken)
    {
        TimeSpan retry = FirstRetry;
        while (!cancellationToken.IsCancellationRequested)
        {
            _hasMoved = false;
            TimeSpan asked = TimeSpan.Zero;
            try
            {
                if (_version is null) await ListAsync(cancellationToken).ConfigureAwait(false);
                long began = _clock.GetTimestamp();
                await WatchAsync(cancellationToken).ConfigureAwait(false);
                if (_state.Prune()) _changed(true);
                if (_state.HasRoomAgain(_kind)) _version = null;
                TimeSpan lasted = _clock.GetElapsedTime(began);
                if (lasted >= FirstRetry || _hasMoved)
                {
                    retry = FirstRetry;
                    if (lasted < FirstRetry) await Task.Delay(FirstRetry - lasted, _clock, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                    continue;
                }
                Lost("it ends watches at once.");
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                return;
            }
            catch (ApiException e)
            {
                asked = e.RetryAfter;
                if (e.IsGone) _mayBeOld = false;
                if (e.IsGone || e.Status == HttpStatusCode.BadRequest) _version = null; // else it has only no time, or no mind, to tell
                Lost(e.Message, e.IsGone);
            }
            catch (JsonException e)
            {
                _version = null;
                Lost($"its answer is not understood: {CriText.Bounded(e.Message)}");
            }
            catch (Exception e) when (e is IOException or HttpRequestException)
            {
                Lost($"the connection broke: {CriText.Bounded(e.Message)}");
            }
#pragma warning disable CA1031 // Whatever a server provokes: it is tried again, and the host's process goes on.
            catch (Exception e)
#pragma warning restore CA1031
            {
                _version = null;
                Lost($"{e.GetType().Name}: {CriText.Bounded(e.Message)}");
            }
            if (_hasMoved && _version is not null) retry = FirstRetry; // lists are dear, however far a watch has come
            // Many nodes lose a server at the same moment.
            await Task.Delay(asked + retry * (0.75 + Random.Shared.NextDouble() / 2), _clock, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            retry = retry * 2 < LongestRetry ? retry * 2 : LongestRetry;
        }
    }

    private async Task ListAsync(CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(LongestList);
        _state.BeginList(_kind);
        bool changed = false;
        string? next = null, version = null;
        try
        {
            do
            {
                // From the server's memory, if that will do: a whole cluster of nodes asks at the same time.
                string from = next is not null ? $"&continue={Uri.EscapeDataString(next)}" : _mayBeOld ? "&resourceVersion=0" : string.Empty;
                using HttpResponseMessage response = await _connection.GetAsync($"{_path}?limit={PageSize}{from}{_selector}", limit.Token).ConfigureAwait(false);
                await using var body = new BoundedStream(await response.Content.ReadAsStreamAsync(limit.Token).ConfigureAwait(false), LargestList);
                ApiList page = await JsonSerializer.DeserializeAsync(body, ApiJson.Default.ApiList, limit.Token).ConfigureAwait(false) ?? throw new JsonException("A list is null.");
                foreach (ApiObject? item in page.Items ?? [])
                    if (item is not null) changed |= _state.Set(_kind, item);
                version = page.Metadata?.ResourceVersion;
                next = page.Metadata?.Next is { Length: > 0 } more && page.Items is { Count: > 0 } ? more : null;
            }
            while (next is not null);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new ApiException($"it has not told all {Name} within {LongestList:c}.");
        }
        if (version is not { Length: > 0 }) throw new JsonException("A list has no resourceVersion.");
        changed |= _state.EndList(_kind);
        _version = version;
        _mayBeOld = true;
        _status = _status with { IsKnown = true, HasLooked = true, Lists = _status.Lists + 1, LastAnswer = _clock.GetUtcNow(), StaleSince = null, Problem = null };
        _changed(changed);
    }

    private async Task WatchAsync(CancellationToken cancellationToken)
    {
        // Not all at the same time again, either.
        TimeSpan length = _options.ApiWatchLength * (1 + Random.Shared.NextDouble() / 2);
        string query = $"{_path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={(int)Math.Ceiling(length.TotalSeconds)}&resourceVersion={Uri.EscapeDataString(_version!)}{_selector}";
        using HttpResponseMessage response = await _connection.GetAsync(query, cancellationToken).ConfigureAwait(false);
        if (_status.StaleSince is not null && _logger is not null) LogFound(_logger, Name, _connection.Server);
        _status = _status with { LastAnswer = _clock.GetUtcNow(), StaleSince = null, Problem = null };
        using var limit = new CancellationTokenSource(length + _options.ApiPatience, _clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, limit.Token);
        PipeReader lines = PipeReader.Create(await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false));
        try
        {
            while (true)
            {
                ReadResult read = await lines.ReadAsync(either.Token).ConfigureAwait(false);
                ReadOnlySequence<byte> rest = read.Buffer;
                bool changed = false;
                while (rest.PositionOf((byte)'\n') is { } end)
                {
                    changed |= Take(rest.Slice(0, end));
                    rest = rest.Slice(rest.GetPosition(1, end));
                }
                bool isTooLong = rest.Length > LongestLine;
                lines.AdvanceTo(rest.Start, rest.End);
                if (changed) _changed(true);
                if (isTooLong) throw new JsonException($"A line is longer than {LongestLine} bytes.");
                if (read.IsCompleted) return;
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new ApiException("it has not ended a watch when it should have.");
        }
        finally
        {
            await lines.CompleteAsync().ConfigureAwait(false);
        }
    }

    private bool Take(ReadOnlySequence<byte> line)
    {
        if (line.IsEmpty) return false;
        if (IsError(line))
        {
            var error = new Utf8JsonReader(line);
            ApiError? said = JsonSerializer.Deserialize(ref error, ApiJson.Default.ApiErrorEvent)?.Object;
            _version = null; // what it cannot go on telling, it may tell from the beginning
            throw ApiConnection.Refusal((HttpStatusCode)(said?.Code ?? 500), said?.Message);
        }
        var reader = new Utf8JsonReader(line);
        ApiEvent? told = JsonSerializer.Deserialize(ref reader, ApiJson.Default.ApiEvent);
        if (told?.Object is not { } given) return false;
        bool changed = told.Type switch
        {
            "ADDED" or "MODIFIED" => _state.Set(_kind, given),
            "DELETED" => _state.Remove(_kind, given),
            _ => _state.Prune(), // BOOKMARK: nothing has happened until this version
        };
        if (given.Metadata?.ResourceVersion is { Length: > 0 } version && version != _version) (_version, _hasMoved) = (version, true);
        _status = _status with { LastAnswer = _clock.GetUtcNow() };
        return changed;
    }

    // An error's object is of another form, so its type is read before it is.
    private static bool IsError(ReadOnlySequence<byte> line)
    {
        var reader = new Utf8JsonReader(line);
        if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) throw new JsonException("A line of a watch is no object.");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            bool isType = reader.ValueTextEquals("type"u8);
            if (!reader.Read()) break;
            if (isType) return reader.TokenType == JsonTokenType.String && reader.ValueTextEquals("ERROR"u8);
            reader.Skip();
        }
        return false;
    }

    private void Lost(string problem, bool isGone = false)
    {
        ApiWatchStatus before = _status;
        // What is too old is an ordinary end of a watch.
        if (before.StaleSince is null && before.IsKnown && !isGone && _logger is not null) LogLost(_logger, Name, problem);
        _status = before with
        {
            HasLooked = true,
            StaleSince = before.IsKnown ? before.StaleSince ?? _clock.GetUtcNow() : null,
            Problem = $"{Name}: {problem}",
        };
        _changed(false);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "The Kubernetes API tells of {Kind} again ({Server})")]
    private static partial void LogFound(ILogger logger, string kind, string? server);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The Kubernetes API does not tell of {Kind}; they stay as they were last known. {Problem}")]
    private static partial void LogLost(ILogger logger, string kind, string problem);
}

/// <summary>How following one kind of object goes.</summary>
internal sealed record ApiWatchStatus
{
    /// <summary>Whether all were listed once.</summary>
    internal bool IsKnown { get; init; }

    /// <summary>Whether the first list, or the first failure, is in.</summary>
    internal bool HasLooked { get; init; }

    internal int Lists { get; init; }

    internal DateTimeOffset? LastAnswer { get; init; }

    internal DateTimeOffset? StaleSince { get; init; }

    internal string? Problem { get; init; }
}
