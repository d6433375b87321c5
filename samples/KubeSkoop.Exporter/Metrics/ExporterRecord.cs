namespace KubeSkoop.Exporter.Metrics;

/// <summary>What the exporter reports about itself; about the scrapes before the present one unless said otherwise.</summary>
internal struct ExporterRecord
{
    /// <summary>Scrapes begun, the present one included.</summary>
    internal ulong Scrapes;

    /// <summary>Seconds from the present scrape's begin until this line was written.</summary>
    internal double ScrapeSeconds;

    /// <summary>Size of the last scrape in bytes, before compression. Absent in the first scrape.</summary>
    internal Reading ScrapeBytes;

    /// <summary>Series dropped because an earlier one of the same scrape had the same name and labels.</summary>
    internal ulong Duplicates;

    /// <summary>Metrics left out of a scrape because reading them from the record threw.</summary>
    internal ulong Faults;

    /// <summary>Network namespaces left out of the present scrape because no pod is known for them. Only upstream's naming leaves any out.</summary>
    internal Reading UnattributedNamespaces;

    internal static MetricTable<ExporterRecord> Metrics { get; } = new()
    {
        { "kubeskoop.exporter.scrapes", MetricKind.Counter, "{scrape}", "Scrapes begun.", static (in ExporterRecord r) => r.Scrapes },
        { "kubeskoop.exporter.scrape.duration", MetricKind.Gauge, "s", "Time this scrape took, sending excluded.", static (in ExporterRecord r) => r.ScrapeSeconds },
        { "kubeskoop.exporter.scrape.size", MetricKind.Gauge, "By", "Size of the last scrape before compression.", static (in ExporterRecord r) => r.ScrapeBytes },
        { "kubeskoop.exporter.duplicates", MetricKind.Counter, "{series}", "Series dropped because the same name and labels had been written already.", static (in ExporterRecord r) => r.Duplicates },
        { "kubeskoop.exporter.faults", MetricKind.Counter, "{fault}", "Metrics left out because reading them failed; /status has the last reason.", static (in ExporterRecord r) => r.Faults },
        { "kubeskoop.exporter.unattributed_namespaces", MetricKind.Gauge, "{namespace}", "Network namespaces left out because no pod is known for them.", static (in ExporterRecord r) => r.UnattributedNamespaces },
    };
}
