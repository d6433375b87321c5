using System.Runtime.CompilerServices;
using System.Threading.Channels;
using KubeSkoop.Probes.Publishing;

namespace KubeSkoop.Probes;

/// <summary>How a subscriber wants its events.</summary>
public sealed class EventSubscriptionOptions
{
    /// <summary>Events held for a slow reader; beyond that the oldest is dropped and counted. Default 1024.</summary>
    public int Capacity { get; init; } = 1024;
}

/// <summary>One subscriber's buffer. Dispose of it to end the subscription.</summary>
/// <typeparam name="TEvent">The events it receives.</typeparam>
public sealed class EventSubscription<TEvent> : IDisposable
    where TEvent : ProbeEvent
{
    private readonly Action<EventSubscription<TEvent>> _leave;
    private readonly Channel<TEvent> _channel;
    private long _dropped;

    internal EventSubscription(EventSubscriptionOptions options, Action<EventSubscription<TEvent>> leave)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Capacity, 1, nameof(options));
        _leave = leave;
        _channel = Channel.CreateBounded<TEvent>(
            new BoundedChannelOptions(options.Capacity) { FullMode = BoundedChannelFullMode.DropOldest },
            OnDropped);
    }

    /// <summary>Where the events come out; completes when the subscription ends.</summary>
    public ChannelReader<TEvent> Reader => _channel.Reader;

    /// <summary>Events this subscriber lost because it was slow.</summary>
    public long Dropped => Interlocked.Read(ref _dropped);

    /// <summary>Ends the subscription; what is buffered can still be read.</summary>
    public void Dispose()
    {
        _leave(this);
        _channel.Writer.TryComplete();
    }

    internal void Write(TEvent e) => _channel.Writer.TryWrite(e);

    private void OnDropped(TEvent e)
    {
        Interlocked.Increment(ref _dropped);
        e.Statistics?.EventDropped();
    }
}

/// <summary>All events of all probes, for those who do not care which probe saw them.</summary>
public sealed class EventHub
{
    private readonly EventFanOut<ProbeEvent> _fanOut = new();

    /// <summary>Opens a bounded buffer of the caller's own for events of one type (or <see cref="ProbeEvent"/> for all).</summary>
    public EventSubscription<TEvent> Subscribe<TEvent>(EventSubscriptionOptions? options = null)
        where TEvent : ProbeEvent => _fanOut.Subscribe<TEvent>(options);

    /// <summary>Reads events of one type as they happen, until cancelled.</summary>
    public async IAsyncEnumerable<TEvent> ReadAllAsync<TEvent>([EnumeratorCancellation] CancellationToken cancellationToken = default)
        where TEvent : ProbeEvent
    {
        using EventSubscription<TEvent> subscription = Subscribe<TEvent>();
        await foreach (TEvent e in subscription.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false)) yield return e;
    }

    /// <summary>Whether somebody would hear events of this type, or of one derived from it.</summary>
    internal bool Wants(Type events) => _fanOut.Wants(events);

    internal void Publish(ProbeEvent e) => _fanOut.Publish(e);
}
