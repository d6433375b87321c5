using System.Diagnostics.CodeAnalysis;
using System.Diagnostics.Metrics;
using KubeSkoop.Probes;
using KubeSkoop.Probes.Lifecycle;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Wires the SDK into a host.</summary>
public static class ProbesServiceCollectionExtensions
{
    /// <summary>
    /// Adds the probe manager and starts the enabled probes with the host. Every part is registered with <c>TryAdd</c>,
    /// so a host may replace it. Probes come with their packages: <c>.AddProcfs()</c>.
    /// </summary>
    public static IProbesBuilder AddKubeSkoopProbes(this IServiceCollection services, Action<ProbesOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.AddMetrics();
        services.AddOptions<ProbesOptions>().Configure(configure ?? (static _ => { })).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<ProbesOptions>, ProbesOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<IPodResolver>(NoPodResolver.Instance);
        services.TryAddSingleton(static provider => new ProbeManager(
            provider.GetServices<IProbe>(),
            provider.GetRequiredService<IOptions<ProbesOptions>>(),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetService<IMeterFactory>(),
            provider.GetService<ILogger<ProbeManager>>(),
            provider.GetService<INetworkNamespaceSource>()));
        services.TryAddSingleton<IProbeManager>(static provider => provider.GetRequiredService<ProbeManager>());
        services.TryAddSingleton(static provider => provider.GetRequiredService<IProbeManager>().Events);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, ProbesHostedService>());
        return new ProbesBuilder(services);
    }

    /// <summary>Adds a health check that is degraded when a probe failed or is unavailable, and unhealthy when none runs.</summary>
    public static IHealthChecksBuilder AddKubeSkoopProbes(this IHealthChecksBuilder builder, string name = "kubeskoop_probes",
        HealthStatus? failureStatus = null, IEnumerable<string>? tags = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.Add(new HealthCheckRegistration(
            name, static provider => new ProbesHealthCheck(provider.GetRequiredService<IProbeManager>()), failureStatus, tags));
    }

    private sealed class ProbesBuilder(IServiceCollection services) : IProbesBuilder
    {
        public IServiceCollection Services => services;

        public IProbesBuilder AddProbe<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TProbe>()
            where TProbe : class, IProbe
        {
            services.TryAddSingleton<TProbe>();
            services.TryAddEnumerable(ServiceDescriptor.Singleton<IProbe, TProbe>(static provider => provider.GetRequiredService<TProbe>()));
            return this;
        }
    }
}

/// <summary>Adds probes. Packages extend it: <c>AddProcfs()</c>, <c>AddNetlink()</c>, ...</summary>
public interface IProbesBuilder
{
    /// <summary>The host's services.</summary>
    IServiceCollection Services { get; }

    /// <summary>Adds one probe: it gets lifecycle, hot plug, meters, self-metrics, and its place in lists and docs.</summary>
    IProbesBuilder AddProbe<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TProbe>()
        where TProbe : class, IProbe;
}

/// <summary>A probe's settings in a host.</summary>
public static class ProbesBuilderExtensions
{
    /// <summary>Registers a probe's settings with their validation, to be injected as <see cref="IOptions{TOptions}"/>.</summary>
    public static IProbesBuilder AddProbeOptions<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicParameterlessConstructor)] TOptions>(
        this IProbesBuilder builder, Action<TOptions>? configure = null)
        where TOptions : ProbeOptions
    {
        ArgumentNullException.ThrowIfNull(builder);
        OptionsBuilder<TOptions> options = builder.Services.AddOptions<TOptions>();
        if (configure is not null) options.Configure(configure);
        options.ValidateOnStart();
        builder.Services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<TOptions>, ProbeOptionsValidator<TOptions>>());
        return builder;
    }

    /// <summary>
    /// As above, with the settings read from the host's configuration first, if it has one. The package of the options
    /// class passes <c>static (section, options) =&gt; section.Bind(options)</c>, so that the configuration binding
    /// generator sees the class and no reflection is needed.
    /// </summary>
    /// <param name="builder">The builder.</param>
    /// <param name="section">The section, for example <c>KubeSkoop:Probes:fd</c>.</param>
    /// <param name="bind">Copies the section into the options.</param>
    /// <param name="configure">Settings in code; they win over the configuration.</param>
    public static IProbesBuilder AddProbeOptions<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicParameterlessConstructor)] TOptions>(
        this IProbesBuilder builder, string section, Action<IConfigurationSection, TOptions> bind, Action<TOptions>? configure = null)
        where TOptions : ProbeOptions
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentException.ThrowIfNullOrEmpty(section);
        ArgumentNullException.ThrowIfNull(bind);
        builder.Services.AddOptions<TOptions>().Configure<IServiceProvider>((options, provider) =>
        {
            if (provider.GetService<IConfiguration>() is { } configuration) bind(configuration.GetSection(section), options);
        });
        return builder.AddProbeOptions(configure);
    }

    private sealed class ProbeOptionsValidator<TOptions> : IValidateOptions<TOptions>
        where TOptions : ProbeOptions
    {
        public ValidateOptionsResult Validate(string? name, TOptions options)
        {
            string[] mistakes = [.. options.Validate()];
            return mistakes.Length == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(mistakes);
        }
    }
}
