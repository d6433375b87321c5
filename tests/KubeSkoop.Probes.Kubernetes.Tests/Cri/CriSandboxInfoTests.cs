using CsCheck;
using KubeSkoop.Probes.Kubernetes.Cri;

namespace KubeSkoop.Probes.Kubernetes.Tests.Cri;

public sealed class CriSandboxInfoTests
{
    // As containerd 1.6 answers, without what is not read.
    private const string Containerd = """
        {"pid":4711,"processStatus":"running","netNamespaceClosed":false,"image":"pause","config":{"metadata":{"name":"web"},"linux":{"cgroup_parent":"/kubepods/burstable/pod1"}},
        "runtimeSpec":{"ociVersion":"1.0.2","linux":{"namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"mount"},{"type":"network","path":"/var/run/netns/cni-1234"}],"cgroupsPath":"/kubepods/x"}},
        "cniResult":{"Interfaces":{"eth0":{"IPConfigs":[{"IP":"10.88.0.2"}]}}}}
        """;

    // As CRI-O answers for a pod without a process of its own (pinned namespaces, no pause).
    private const string CrioWithoutProcess = """{"runtimeSpec":{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri-o.ContainerType":"sandbox"},"linux":{"namespaces":[{"type":"network","path":"/var/run/netns/7e0d"}]}}}""";

    [Fact]
    public void Containerd_tells_all() =>
        Assert.Equal(new CriSandboxInfo(4711, "/var/run/netns/cni-1234", "/kubepods/burstable/pod1"), CriSandboxInfo.Parse(Containerd));

    [Fact]
    public void Crio_tells_the_namespace() => Assert.Equal(new CriSandboxInfo(null, "/var/run/netns/7e0d", null), CriSandboxInfo.Parse(CrioWithoutProcess));

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("\"info\"")]
    [InlineData("{")]
    [InlineData("""{"pid":"4711"}""")]
    [InlineData("""{"pid":4711.5}""")]
    [InlineData("""{"pid":-1}""")]
    [InlineData("""{"pid":99999999999999}""")]
    [InlineData("""{"runtimeSpec":[]}""")]
    [InlineData("""{"runtimeSpec":{"linux":{"namespaces":{"type":"network"}}}}""")]
    [InlineData("""{"runtimeSpec":{"linux":{"namespaces":[1,null,"network",{"type":7},{"type":"network","path":7}]}}}""")]
    [InlineData("""{"runtimeSpec":{"linux":{"namespaces":[{"type":"network","path":"relative"}]}}}""")]
    [InlineData("""{"runtimeSpec":{"linux":{"namespaces":[{"type":"network","path":"/a\u0000b"}]}}}""")]
    [InlineData("""{"runtimeSpec":{"linux":{"namespaces":[{"type":"network","path":"/\ud800"}]}}}""")]
    [InlineData("""{"config":{"linux":{"cgroup_parent":""}}}""")]
    public void What_is_of_another_form_is_left_out(string json) => Assert.Equal(new CriSandboxInfo(null, null, null), CriSandboxInfo.Parse(json));

    [Fact]
    public void Depth_and_size_are_bounded()
    {
        Assert.Equal(new CriSandboxInfo(null, null, null), CriSandboxInfo.Parse(new string('[', 100_000)));
        Assert.Equal(new CriSandboxInfo(null, null, null), CriSandboxInfo.Parse("{\"pid\":1,\"x\":\"" + new string('x', 2_000_000) + "\"}"));
        Assert.Equal(new CriSandboxInfo(null, null, null), CriSandboxInfo.Parse("{\"config\":{\"linux\":{\"cgroup_parent\":\"/" + new string('x', 5_000) + "\"}}}"));
    }

    [Fact]
    public void Damaged_answers_never_throw() =>
        Gen.Select(Gen.Int[0, Containerd.Length - 1], Gen.Char, Gen.Int[0, Containerd.Length]).Sample(static (at, c, cut) =>
        {
            string damaged = Containerd[..at] + c + Containerd[(at + 1)..];
            CriSandboxInfo.Parse(damaged);
            CriSandboxInfo.Parse(Containerd[..cut]);
        }, iter: 3_000);
}
