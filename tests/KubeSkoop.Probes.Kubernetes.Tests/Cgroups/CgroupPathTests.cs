using System.Globalization;
using CsCheck;

namespace KubeSkoop.Probes.Kubernetes.Tests.Cgroups;

public sealed class CgroupPathTests
{
    private const string Uid = "0c4a1b7e-5f6d-4d52-9d3b-2f4b8c1a7e90";
    private const string Underlined = "0c4a1b7e_5f6d_4d52_9d3b_2f4b8c1a7e90";
    private const string Hash = "3f2b8a1c4d5e6f708192a3b4c5d6e7f8";
    private const string Id = "1f0e9d8c7b6a59483726150493827160f1e2d3c4b5a697887766554433221100";
    private const string Outer = "ffffffff-0000-4000-8000-000000000001";

    [Theory]
    // cgroupfs driver: version 1 and 2 alike
    [InlineData($"/kubepods/pod{Uid}/{Id}", Uid, Id, PodQualityOfService.Guaranteed)]
    [InlineData($"/kubepods/burstable/pod{Uid}/{Id}", Uid, Id, PodQualityOfService.Burstable)]
    [InlineData($"/kubepods/besteffort/pod{Uid}/{Id}", Uid, Id, PodQualityOfService.BestEffort)]
    [InlineData($"/kubepods/besteffort/pod{Uid}", Uid, null, PodQualityOfService.BestEffort)]
    [InlineData($"/kubepods/burstable/pod{Uid}/crio-{Id}", Uid, Id, PodQualityOfService.Burstable)]
    [InlineData($"/kubepods/burstable/pod{Uid}/crio-conmon-{Id}", Uid, null, PodQualityOfService.Burstable)]
    [InlineData($"/kubepods/burstable/pod{Uid}/{Id}/init.scope", Uid, Id, PodQualityOfService.Burstable)] // systemd in a container
    // systemd driver
    [InlineData($"/kubepods.slice/kubepods-pod{Underlined}.slice/cri-containerd-{Id}.scope", Uid, Id, PodQualityOfService.Guaranteed)]
    [InlineData($"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{Underlined}.slice/cri-containerd-{Id}.scope", Uid, Id, PodQualityOfService.Burstable)]
    [InlineData($"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{Underlined}.slice/crio-{Id}.scope", Uid, Id, PodQualityOfService.BestEffort)]
    [InlineData($"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{Underlined}.slice/crio-{Id}.scope/container", Uid, Id, PodQualityOfService.BestEffort)]
    [InlineData($"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{Underlined}.slice/crio-conmon-{Id}.scope", Uid, null, PodQualityOfService.BestEffort)]
    [InlineData($"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{Underlined}.slice/docker-{Id}.scope", Uid, Id, PodQualityOfService.Burstable)]
    [InlineData($"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{Underlined}.slice", Uid, null, PodQualityOfService.Burstable)]
    // a runtime with the cgroupfs driver below a kubelet with systemd's
    [InlineData($"/system.slice/containerd.service/kubepods-burstable-pod{Underlined}.slice:cri-containerd:{Id}", Uid, Id, PodQualityOfService.Burstable)]
    [InlineData($"/kubepods-pod{Underlined}.slice:cri-containerd:{Id}/x", Uid, Id, PodQualityOfService.Guaranteed)]
    // static pods: the hash of their configuration
    [InlineData($"/kubepods/burstable/pod{Hash}/{Id}", Hash, Id, PodQualityOfService.Burstable)]
    [InlineData($"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{Hash}.slice/cri-containerd-{Id}.scope", Hash, Id, PodQualityOfService.Burstable)]
    // nested: kind, k3s in docker, a cgroup namespace that shows its parents
    [InlineData($"/docker/{Id}/kubelet/kubepods/burstable/pod{Uid}/{Id}", Uid, Id, PodQualityOfService.Burstable)]
    [InlineData($"/system.slice/docker-{Id}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{Underlined}.slice/cri-containerd-{Id}.scope", Uid, Id, PodQualityOfService.BestEffort)]
    [InlineData($"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{Underlined}.slice/cri-containerd-{Id}.scope", Uid, Id, PodQualityOfService.Guaranteed)]
    [InlineData($"/k3s/kubepods/besteffort/pod{Uid}/{Id}", Uid, Id, PodQualityOfService.BestEffort)]
    [InlineData($"/../../kubepods/burstable/pod{Uid}/{Id}", Uid, Id, PodQualityOfService.Burstable)]
    // seen from a container, in a cgroup namespace of its own
    [InlineData($"/../../../burstable/pod{Uid}/{Id}", Uid, Id, PodQualityOfService.Burstable)]
    [InlineData($"/../../besteffort/pod{Uid}", Uid, null, PodQualityOfService.BestEffort)]
    [InlineData($"/../../pod{Uid}/{Id}", Uid, Id, null)] // of the same class as the container's own pod
    [InlineData($"/../../../pod{Uid}/{Id}", Uid, Id, null)]
    [InlineData($"/../../kubepods-besteffort-pod{Underlined}.slice/cri-containerd-{Id}.scope", Uid, Id, PodQualityOfService.BestEffort)]
    [InlineData($"/../../../../kubepods/pod{Uid}/{Id}", Uid, Id, PodQualityOfService.Guaranteed)]
    // a cluster in a pod: the pod that this node runs
    [InlineData($"/kubepods/burstable/pod{Outer}/{Id}/kubelet/kubepods/besteffort/pod{Uid}/{Id}", Outer, Id, PodQualityOfService.Burstable)]
    public void Paths_of_pods(string path, string uid, string? container, PodQualityOfService? qos)
    {
        Assert.True(CgroupPath.TryParse(path, out CgroupPath read));
        Assert.Equal((uid, container, qos), (read.PodUid, read.ContainerId, read.QualityOfService));
        // What names the pod's own cgroup names the same pod, and no container.
        Assert.True(CgroupPath.TryParse(path.AsSpan(0, read.PodLength), out CgroupPath own));
        Assert.Equal(new CgroupPath(uid, null, qos, read.PodLength), own);
    }

    [Theory]
    [InlineData("")]
    [InlineData("/")]
    [InlineData("/system.slice/sshd.service")]
    [InlineData("/user.slice/user-0.slice/session-1.scope")]
    [InlineData($"/docker/{Id}")]
    [InlineData("/kubepods")]
    [InlineData("/kubepods/burstable")]
    [InlineData("/kubepods.slice/kubepods-burstable.slice")]
    [InlineData($"/pod{Uid}/{Id}")] // not the kubelet's
    [InlineData($"/../{Id}")] // another container of our own pod
    [InlineData("/../../../system.slice/sshd.service")]
    [InlineData($"/../../user.slice/pod{Uid}")]
    [InlineData($"/x/../pod{Uid}")]
    [InlineData($"/...../pod{Uid}")]
    [InlineData($"/kubepods/system/pod{Uid}/{Id}")]
    [InlineData($"/mykubepods.slice/mykubepods-pod{Underlined}.slice/cri-containerd-{Id}.scope")]
    [InlineData($"/kubepods/pod{Uid}x/{Id}")]
    [InlineData("/kubepods/pod0c4a1b7e-5f6d-4d52-9d3b-2f4b8c1a7e9g/x")]
    [InlineData("/kubepods/pod0c4a1b7e-5f6d_4d52-9d3b-2f4b8c1a7e90/x")] // both kinds of dashes
    [InlineData("/kubepods/pod\"}\n evil/x")]
    [InlineData("/kubepods/pod/x")]
    [InlineData($"/kubepods.slice/kubepods-pod{Underlined}.slices/x")]
    public void Paths_of_no_pod(string path) => Assert.False(CgroupPath.TryParse(path, out _));

    [Theory]
    [InlineData("nothex")]
    [InlineData("cri-containerd-short.scope")]
    [InlineData($"cri-containerd-{Id}0.scope")]
    [InlineData("")]
    [InlineData("\"\n{}")]
    public void A_container_is_64_digits_or_none(string below)
    {
        Assert.True(CgroupPath.TryParse($"/kubepods/burstable/pod{Uid}/{below}", out CgroupPath read));
        Assert.Equal((Uid, null), (read.PodUid, read.ContainerId));
    }

    [Fact]
    public void A_path_longer_than_the_kernel_allows_is_refused() =>
        Assert.False(CgroupPath.TryParse("/" + new string('a', 4096) + $"/kubepods/pod{Uid}", out _));

    [Fact]
    public void Whatever_the_text_it_is_read_or_refused_and_what_is_read_is_clean()
    {
        string[] known = ["kubepods", "kubepods.slice", "burstable", "besteffort", "pod", $"pod{Uid}", $"pod{Hash}", Id, $"crio-{Id}.scope", "..", "", ":", $"kubepods-pod{Underlined}.slice", "-", ".slice", ".scope",
                $"kubepods-burstable-pod{Underlined}.slice:cri-containerd:{Id}"];
        Gen<string> piece = Gen.OneOf(
            Gen.Int[0, known.Length - 1].Select(i => known[i]),
            Gen.String[0, 80], Gen.String[Gen.Char["0123456789abcdef-_/.:podkubes"], 0, 90]);
        piece.Array[0, 8].Select(Gen.Bool.Array[8], static (pieces, joins) =>
            string.Concat(pieces.Select((p, i) => joins[i] ? "/" + p : p))).Sample(static path =>
        {
            if (!CgroupPath.TryParse(path, out CgroupPath read)) return;
            Assert.Matches("^([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$", read.PodUid);
            if (read.ContainerId is { } container) Assert.Matches("^[0-9a-fA-F]{64}$", container);
            Assert.InRange(read.PodLength, 1, path.Length);
        }, iter: 20_000);
    }

    [Fact]
    public void A_made_path_gives_back_what_it_was_made_of() =>
        Gen.Select(Gen.Guid, Gen.Byte.Array[32], Gen.Int[0, 2], Gen.Int[0, 3]).Sample(static (uid, id, qos, form) =>
        {
            string text = uid.ToString("D", CultureInfo.InvariantCulture), container = Convert.ToHexStringLower(id), lined = text.Replace('-', '_');
            string name = ((string[])["", "burstable", "besteffort"])[qos];
            string middle = name.Length == 0 ? "" : "/" + name, dashed = name.Length == 0 ? "" : "-" + name;
            string path = form switch
            {
                0 => $"/kubepods{middle}/pod{text}/{container}",
                1 => $"/kubepods.slice{(name.Length == 0 ? "" : $"/kubepods-{name}.slice")}/kubepods{dashed}-pod{lined}.slice/cri-containerd-{container}.scope",
                2 => $"/x.slice/kubepods{dashed}-pod{lined}.slice:cri-containerd:{container}",
                _ => $"/docker/{container}/kubelet/kubepods{middle}/pod{text}/crio-{container}",
            };
            Assert.True(CgroupPath.TryParse(path, out CgroupPath read));
            Assert.Equal((text, container, (PodQualityOfService?)qos), (read.PodUid, read.ContainerId, read.QualityOfService));
        }, iter: 2_000);
}
