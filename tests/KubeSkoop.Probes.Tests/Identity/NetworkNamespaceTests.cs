namespace KubeSkoop.Probes.Tests.Identity;

public sealed class NetworkNamespaceTests
{
    [Theory]
    [InlineData("blue", true, "app", "blue")]
    [InlineData(null, true, "systemd", "host")]
    [InlineData(null, false, "app", "app")]
    [InlineData(null, false, null, "4711")]
    public void A_namespace_without_a_pod_is_called_by_what_is_known(string? name, bool host, string? command, string expected)
    {
        var ns = new NetworkNamespace(4711, host, new NamespaceFacts(name, 1, command, null));
        Assert.Equal(expected, ns.DisplayName);
        Assert.Equal($"{expected} (net:[4711])", ns.ToString());
    }

    [Fact]
    public void Its_version_grows_only_when_its_naming_changes()
    {
        var ns = new NetworkNamespace(1, false, new NamespaceFacts(null, 1, "a", null));
        int version = ns.Version;
        ns.Update(new NamespaceFacts(null, 1, "a", null));
        ns.Update(new NamespaceFacts(null, 2, "a", null));
        Assert.Equal((version, 2), (ns.Version, ns.ProcessId));
        ns.Update(new NamespaceFacts("blue", 2, "a", null));
        ns.Update(new NamespaceFacts("blue", 2, "b", null));
        ns.Update(new NamespaceFacts("blue", 2, "b", new PodIdentity("shop", "web-1")));
        Assert.Equal((version + 3, version + 3), (ns.Version, ns.Subject.Version));
        Assert.Equal("shop/web-1", ns.Subject.Pod!.ToString());
    }

    [Fact]
    public void Its_end_tells_those_who_hold_something_of_it()
    {
        var ns = new NetworkNamespace(1, false, new NamespaceFacts(null, 1, "a", null));
        int released = 0;
        using (ns.Ended.Register(() => released++))
        {
            ns.End();
            ns.End();
        }
        Assert.Equal(1, released);
        Assert.True(ns.Ended.IsCancellationRequested);
    }

    [Fact]
    public void Without_kubernetes_nobody_knows_a_pod()
    {
        Assert.Null(NoPodResolver.Instance.Resolve(new NetworkNamespace(1, false, new NamespaceFacts(null, 1, "a", null))));
        Assert.Null(NoPodResolver.Instance.ResolveCgroup("/kubepods/pod1/c"));
    }
}
