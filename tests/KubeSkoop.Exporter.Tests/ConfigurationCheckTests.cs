using System.Reflection;
using KubeSkoop.Exporter.Configuration;
using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Kubernetes;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Exporter.Tests;

public class ConfigurationCheckTests
{
    private static readonly Lazy<Task<ProbeDescriptor[]>> Descriptors = new(DescribeAsync);

    /// <summary>Every section and key that a class of settings has, by what the compiler has made of it.</summary>
    public static TheoryData<string> Settings()
    {
        var settings = new TheoryData<string>();
        Type[] types =
        [
            .. new[] { typeof(ProbesOptions), typeof(ProcfsOptions), typeof(EbpfOptions), typeof(KubernetesOptions), typeof(ConntrackOptions) }.SelectMany(static t => t.Assembly.GetExportedTypes()),
            typeof(ExporterOptions),
        ];
        foreach (Type type in types.Distinct())
        {
            if (type.GetField("SectionName", BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic)?.GetRawConstantValue() is not string section) continue;
            foreach (PropertyInfo property in type.GetProperties(BindingFlags.Public | BindingFlags.Instance))
            {
                if (property.Name == nameof(ProbesOptions.ResolvedNodeName)) continue; // told, not set
                settings.Add(typeof(System.Collections.IEnumerable).IsAssignableFrom(property.PropertyType) && property.PropertyType != typeof(string) ? $"{section}:{property.Name}:0" : $"{section}:{property.Name}");
            }
        }
        return settings;
    }

    [Theory]
    [MemberData(nameof(Settings))]
    public async Task Every_public_setting_is_known(string key) => Assert.Empty(await ProblemsAsync(key));

    [Theory]
    [InlineData("KubeSkoop:Probes:Kubernetes:Kubeconfigs", "Did you mean Kubeconfig?")]
    [InlineData("KubeSkoop:Probes:Kubernetes:KnownEndpoints:0", "Known: RuntimeEndpoint,")] // a list of constants
    [InlineData("KubeSkoop:Probes:ResolvedNodeName", "Known: Enabled,")]
    [InlineData("KubeSkoop:Exporter:Keys", "Known: Port,")]
    public async Task What_nothing_reads_is_said(string key, string help) => Assert.Contains(help, Assert.Single(await ProblemsAsync(key)), StringComparison.Ordinal);

    [Fact]
    public async Task No_label_of_a_pod_may_be_named_as_an_attribute_of_a_row()
    {
        string[] names = [.. (await Descriptors.Value).SelectMany(static d => d.Attributes).Select(static a => a.Name).Concat(typeof(AttributeNames).GetFields().Select(static f => (string)f.GetRawConstantValue()!)).Distinct()];
        Assert.Contains("network.interface.name", names);
        foreach (string name in names)
        {
            // Those that others begin with are none themselves.
            if (name is AttributeNames.PodLabelPrefix or AttributeNames.Source or AttributeNames.Destination) continue;
            Assert.Contains("choose another name", Assert.Single(new KubernetesOptions { PodLabels = { $"{name}=app" } }.Validate()), StringComparison.Ordinal);
        }
    }

    private static async Task<IReadOnlyList<string>> ProblemsAsync(string key) =>
        ConfigurationCheck.UnknownKeys(new ConfigurationBuilder().AddInMemoryCollection([new(key, "1")]).Build(), await Descriptors.Value, ExporterServices.PackageSections);

    private static async Task<ProbeDescriptor[]> DescribeAsync()
    {
        await using ServiceProvider services = new ServiceCollection().AddExporterProbes(new ConfigurationBuilder().Build(), ExporterServices.AllProbes).BuildServiceProvider();
        return [.. services.GetRequiredService<IProbeManager>().Probes.Select(static p => p.Descriptor)];
    }
}
