namespace KubeSkoop.Probes.Tests.Identity;

public sealed class PodIdentityTests
{
    [Fact]
    public void Identities_are_equal_when_all_that_is_said_of_the_pod_is()
    {
        PodIdentity plain = new("shop", "web-0", "uid"), labelled = plain with { Attributes = [new SampleAttribute("team", "core")] };
        Assert.Equal(plain, new PodIdentity("shop", "web-0", "uid"));
        Assert.Equal(labelled, new PodIdentity("shop", "web-0", "uid") { Attributes = [new SampleAttribute("team", "core")] });
        Assert.Equal(labelled.GetHashCode(), new PodIdentity("shop", "web-0", "uid") { Attributes = [new SampleAttribute("team", "core")] }.GetHashCode());
        Assert.NotEqual(plain, labelled);
        Assert.NotEqual(labelled, plain with { Attributes = [new SampleAttribute("team", "edge")] });
        Assert.NotEqual(plain, plain with { Uid = "other" });
        Assert.Equal("shop/web-0", plain.ToString());
    }

    [Fact]
    public void What_was_given_as_attributes_cannot_change_afterwards()
    {
        var attributes = new List<SampleAttribute> { new("team", "core") };
        var pod = new PodIdentity("shop", "web-0") { Attributes = attributes };
        attributes.Clear();
        Assert.Single(pod.Attributes);
    }

    [Fact]
    public void A_pod_without_a_name_says_its_uid_on_every_row()
    {
        PodIdentity pod = PodIdentity.OfUid("4711");
        Assert.Equal((false, "", "", "uid 4711"), (pod.IsNamed, pod.Namespace, pod.Name, pod.ToString()));
        Assert.Equal([new SampleAttribute("k8s.pod.uid", "4711")], pod.Attributes);
    }

    [Fact]
    public void Labels_are_made_anew_only_when_something_changes()
    {
        var ns = new NetworkNamespace(4711, false, new NamespaceFacts(null, 1, "app", PodIdentity.OfUid("uid")));
        int version = ns.Version;
        ns.Update(ns.Facts with { Pod = PodIdentity.OfUid("uid") });
        Assert.Equal(version, ns.Version);
        ns.Update(ns.Facts with { Pod = new PodIdentity("shop", "web-0", "uid") });
        Assert.Equal(version + 1, ns.Version);
        ns.Update(ns.Facts with { Pod = new PodIdentity("shop", "web-0", "uid") { Attributes = [new SampleAttribute("team", "core")] } });
        Assert.Equal(version + 2, ns.Version);
    }

    [Fact]
    public void A_rows_subject_says_whose_it_is()
    {
        var unknown = new NetworkNamespace(4711, false, new NamespaceFacts("blue", null, null, null));
        var known = new NetworkNamespace(4712, false, new NamespaceFacts("cni-1", null, null, new PodIdentity("shop", "web-0")));
        Assert.Equal("node", SampleSubject.Node.ToString());
        Assert.Equal("node cpu=1", new SampleSubject(null, new SampleAttribute("cpu", "1")).ToString());
        Assert.Equal("blue (net:[4711])", unknown.Subject.ToString());
        Assert.Equal("shop/web-0 network.interface.name=eth0 network.type=ipv4", new SampleSubject(known, new SampleAttribute("network.interface.name", "eth0"), new SampleAttribute("network.type", "ipv4")).ToString());
        Assert.Equal("uid 1", new SampleSubject(unknown, PodIdentity.OfUid("1")).ToString());
    }
}
