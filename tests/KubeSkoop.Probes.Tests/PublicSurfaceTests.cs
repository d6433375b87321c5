using System.Reflection;
using KubeSkoop.Probes.Ebpf;
using KubeSkoop.Probes.Kubernetes;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;
using PublicApiGenerator;
using Snapshooter.Xunit;

namespace KubeSkoop.Probes.Tests;

/// <summary>What others compile against. A change is a decision: the difference is read, then accepted.</summary>
public sealed class PublicSurfaceTests
{
    private static readonly ApiGeneratorOptions Options = new()
    {
        IncludeAssemblyAttributes = false,
        DenyNamespacePrefixes = [],
        ExcludeAttributes = ["System.Runtime.CompilerServices.CompilerGeneratedAttribute", "System.CodeDom.Compiler.GeneratedCodeAttribute"],
    };

    [Fact]
    public void Core() => Check(typeof(IProbe).Assembly);

    [Fact]
    public void Procfs() => Check(typeof(ProcfsOptions).Assembly);

    [Fact]
    public void Netlink() => Check(typeof(NetlinkSockets).Assembly);

    [Fact]
    public void Ebpf() => Check(typeof(EbpfPrograms).Assembly);

    [Fact]
    public void Kubernetes() => Check(typeof(PodDirectory).Assembly);

    private static void Check(Assembly assembly)
    {
        string name = assembly.GetName().Name!;
        string surface = assembly.GeneratePublicApi(Options).ReplaceLineEndings("\n");
        try
        {
            Snapshot.Match(surface, $"PublicSurface.{name}");
        }
        catch (Exception e)
        {
            Assert.Fail($"The public surface of {name} has changed. If that is meant, accept it with './test.sh --update-docs' and commit the snapshot.\n{e.Message}");
        }
    }
}
