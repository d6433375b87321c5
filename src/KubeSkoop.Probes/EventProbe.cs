using KubeSkoop.Probes.Publishing;

namespace KubeSkoop.Probes;

/// <summary>Base of probes that yield events: call <see cref="Publish"/>; buffers, fan-out and drop counting are here.</summary>
/// <typeparam name="TEvent">The event record.</typeparam>
public abstract class EventProbe<TEvent> : Probe, IEventProbe<TEvent>
    where TEvent : ProbeEvent
{
    private readonly EventFanOut<TEvent> _fanOut = new();

    /// <summary>Makes a stopped probe.</summary>
    protected EventProbe(ProbeDescriptor descriptor, TimeProvider? clock = null)
        : base(descriptor, clock)
    {
    }

    /// <inheritdoc />
    public Type EventType => typeof(TEvent);

    /// <inheritdoc />
    public EventSubscription<TEvent> Subscribe(EventSubscriptionOptions? options = null) => _fanOut.Subscribe<TEvent>(options);

    /// <inheritdoc />
    public IDisposable ConnectTo(EventHub hub)
    {
        ArgumentNullException.ThrowIfNull(hub);
        return _fanOut.Connect(hub);
    }

    /// <summary>Whether anybody listens; an expensive event need not be built for no one.</summary>
    protected bool HasSubscribers => _fanOut.HasSubscribers;

    /// <summary>Hands an event to every subscriber. Never blocks; what a full buffer loses is counted.</summary>
    protected void Publish(TEvent e)
    {
        ArgumentNullException.ThrowIfNull(e);
        e.Statistics = Statistics;
        Statistics.EventSent();
        _fanOut.Publish(e);
    }
}
