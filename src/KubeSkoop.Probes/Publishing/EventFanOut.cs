namespace KubeSkoop.Probes.Publishing;

/// <summary>Hands each event to every subscriber's own buffer; the list is copied on change, so publishing takes no lock.</summary>
internal sealed class EventFanOut<TEvent>
    where TEvent : ProbeEvent
{
    private readonly Lock _gate = new();
    private volatile ISink[] _sinks = [];

    private interface ISink
    {
        bool Wanted { get; }

        void Offer(TEvent e);
    }

    internal bool HasSubscribers
    {
        get
        {
            foreach (ISink sink in _sinks)
                if (sink.Wanted) return true;
            return false;
        }
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
        public bool Wanted => true;

        public void Offer(TEvent e)
        {
            if (e is TWanted wanted) subscription.Write(wanted);
        }
    }

    private sealed class HubSink(EventFanOut<TEvent> owner, EventHub hub) : ISink, IDisposable
    {
        public bool Wanted => hub.HasSubscribers;

        public void Offer(TEvent e) => hub.Publish(e);

        public void Dispose() => owner.Remove(this);
    }
}
