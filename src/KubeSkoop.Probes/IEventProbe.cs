namespace KubeSkoop.Probes;

/// <summary>A probe that yields events. See <see cref="IEventProbe{TEvent}"/> for the typed side.</summary>
public interface IEventProbe : IProbe
{
    /// <summary>The type of this probe's events.</summary>
    Type EventType { get; }

    /// <summary>Forwards every event to <paramref name="hub"/> as well, until the result is disposed of.</summary>
    IDisposable ConnectTo(EventHub hub);
}

/// <summary>A probe that yields events as they happen.</summary>
/// <typeparam name="TEvent">The event record.</typeparam>
public interface IEventProbe<TEvent> : IEventProbe
    where TEvent : ProbeEvent
{
    /// <summary>Opens a bounded buffer of the caller's own. What does not fit is dropped, oldest first, and counted.</summary>
    EventSubscription<TEvent> Subscribe(EventSubscriptionOptions? options = null);
}
