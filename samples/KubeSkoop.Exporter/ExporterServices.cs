using KubeSkoop.Exporter.Configuration;

namespace KubeSkoop.Exporter;

/// <summary>The probes and their settings, the same for the server and the commands.</summary>
internal static class ExporterServices
{
    /// <summary>Sections below <c>KubeSkoop:Probes</c> that belong to a package rather than to a probe.</summary>
    internal static readonly Dictionary<string, string[]> PackageSections = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>Adds the manager, the settings from <paramref name="configuration"/> and the probes of every package.</summary>
    /// <param name="services">Where to.</param>
    /// <param name="configuration">All settings.</param>
    /// <param name="more">Further probes, or other ones: tests bring their own.</param>
    internal static IServiceCollection AddExporterProbes(this IServiceCollection services, IConfiguration configuration, Action<IProbesBuilder>? more)
    {
        services.AddSingleton(configuration);
        IProbesBuilder probes = services.AddKubeSkoopProbes(options =>
        {
            configuration.GetSection(ProbesOptions.SectionName).Bind(options);
            options.Enabled.Clear();
            options.Enable(ConfigurationLoader.EnabledProbes(configuration));
        });
        if (more is not null) more(probes);
        return services;
    }
}
