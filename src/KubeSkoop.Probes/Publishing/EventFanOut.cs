namespace KubeSkoop.Probes.Publishing;

/// <summary>Hands each event to every subscriber's own buffer; the list is copied on change, so publishing takes no lock.</summary>
internal sealed class EventFanOut<TEvent>
    where TEvent : ProbeEvent
{
    private readonly Lock _gate = new();
    private volatile ISink[] _sinks = [];

    private interface ISink
    {
        /// <summary>Whether events of this type, or of one derived from it, would be heard.</summary>
        bool Wants(Type events);

        void Offer(TEvent e);
    }

    /// <summary>Whether somebody would hear what is published here.</summary>
    internal bool HasSubscribers => Wants(typeof(TEvent));

    /// <summary>Whether somebody would hear events of this type, or of one derived from it.</summary>
    internal bool Wants(Type events)
    {
        foreach (ISink sink in _sinks)
            if (sink.Wants(events)) return true;
        return false;
    }

    internal void Publish(TEvent e)
    {
        foreach (ISink sink in _sinks) sink.Offer(e);
    }

    internal EventSubscription<TWanted> Subscribe<TWanted>(EventSubscriptionOptions? options)
        where TWanted : ProbeEvent
    {
        SubscriptionSink<TWanted>? sink = null;
        var subscription = new EventSubscription<TWanted>(options ?? new EventSubscriptionOptions(), _ => Remove(sink!));
        sink = new SubscriptionSink<TWanted>(subscription);
        Add(sink);
        return subscription;
    }

    internal IDisposable Connect(EventHub hub)
    {
        var sink = new HubSink(this, hub);
        Add(sink);
        return sink;
    }

    private void Add(ISink sink)
    {
        lock (_gate) _sinks = [.. _sinks, sink];
    }

    private void Remove(ISink sink)
    {
        lock (_gate) _sinks = [.. _sinks.Where(s => !ReferenceEquals(s, sink))];
    }

    private sealed class SubscriptionSink<TWanted>(EventSubscription<TWanted> subscription) : ISink
        where TWanted : ProbeEvent
    {
        public bool Wants(Type events) => events.IsAssignableTo(typeof(TWanted)) || typeof(TWanted).IsAssignableTo(events);

        public void Offer(TEvent e)
        {
            if (e is TWanted wanted) subscription.Write(wanted);
        }
    }

    private sealed class HubSink(EventFanOut<TEvent> owner, EventHub hub) : ISink, IDisposable
    {
        public bool Wants(Type events) => hub.Wants(events);

        public void Offer(TEvent e) => hub.Publish(e);

        public void Dispose() => owner.Remove(this);
    }
}
