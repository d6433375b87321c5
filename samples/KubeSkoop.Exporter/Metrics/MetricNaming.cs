namespace KubeSkoop.Exporter.Metrics;

/// <summary>How series are called.</summary>
internal enum MetricNaming
{
    /// <summary>The instrument's name by the OpenTelemetry rules for Prometheus; every row is a series.</summary>
    OpenTelemetry,

    /// <summary>KubeSkoop's own exporter's names, labels and types; one series per node, namespace and pod.</summary>
    KubeSkoop,
}

/// <summary>How an answer is written.</summary>
internal enum ExpositionFormat
{
    /// <summary>Prometheus text 0.0.4.</summary>
    PrometheusText,

    /// <summary>OpenMetrics 1.0.0.</summary>
    OpenMetrics,
}
