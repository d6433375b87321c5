namespace KubeSkoop.Exporter.Tests;

/// <summary>A theory for Prometheus's own checker; skipped where it is not installed.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class PromtoolTheoryAttribute : TheoryAttribute
{
    public PromtoolTheoryAttribute()
    {
        string[] path = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        if (!path.Any(static p => File.Exists(Path.Combine(p, "promtool")))) Skip = "promtool is missing: apt-get install prometheus.";
    }
}
