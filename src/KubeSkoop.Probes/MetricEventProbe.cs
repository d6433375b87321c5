using KubeSkoop.Probes.Publishing;

namespace KubeSkoop.Probes;

/// <summary>Base of probes that yield numbers and events: a <see cref="MetricProbe{TRecord}"/> that may <see cref="Publish"/>, too.</summary>
/// <typeparam name="TRecord">The typed record.</typeparam>
/// <typeparam name="TEvent">The event record, or what the probe's event records derive from.</typeparam>
public abstract class MetricEventProbe<TRecord, TEvent> : MetricProbe<TRecord>, IEventProbe<TEvent>
    where TRecord : struct
    where TEvent : ProbeEvent
{
    private readonly EventFanOut<TEvent> _fanOut = new();

    /// <summary>Makes a stopped probe.</summary>
    protected MetricEventProbe(ProbeDescriptor descriptor, TimeProvider? clock = null)
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

    /// <inheritdoc cref="EventProbe{TEvent}.HasSubscribers" />
    protected bool HasSubscribers => _fanOut.HasSubscribers;

    /// <inheritdoc cref="EventProbe{TEvent}.Publish" />
    protected void Publish(TEvent e)
    {
        ArgumentNullException.ThrowIfNull(e);
        e.Statistics = Statistics;
        Statistics.EventSent();
        _fanOut.Publish(e);
    }
}
