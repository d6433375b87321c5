using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using KubeSkoop.Probes.Kubernetes.Api;
using KubeSkoop.Probes.Kubernetes.Tests.Cri;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Kubernetes.Tests.Api;

/// <summary>What is kept of the cluster, object by object: whose an address was, what found no room, which image is a static pod's.</summary>
public sealed class ClusterStateTests
{
    private const string NodeA = "node-a";
    private const string NodeB = "node-b";
    private const string Hash = "3f2b8a1c4d5e6f708192a3b4c5d6e7f8";

    private readonly FakeTimeProvider _clock = new(DateTimeOffset.UnixEpoch.AddYears(60));

    [Fact]
    public void Whose_word_counts_less_does_not_win_by_ending()
    {
        ClusterState state = Make();
        state.Set(ApiKind.Nodes, Read(FakeApi.Node(NodeB, FakePod.UidOf(1), "192.168.0.11")));
        state.Set(ApiKind.Pods, Read(FakeApi.Pod("web", FakePod.UidOf(2), NodeB, "10.244.2.5")));
        state.Set(ApiKind.Services, Service("thief", 3, "192.168.0.11", "10.244.2.5", "198.51.100.1"));
        DateTimeOffset then = _clock.GetUtcNow();
        Assert.Equal(["node node-b", "pod shop/web", "service shop/thief"], Names());
        _clock.Advance(TimeSpan.FromSeconds(1));
        state.Remove(ApiKind.Services, Service("thief", 3));
        Assert.Equal(["node node-b", "pod shop/web", "service shop/thief"], Names());

        IEnumerable<string?> Names() => new[] { "192.168.0.11", "10.244.2.5", "198.51.100.1" }.Select(address => Name(state, address, then));
    }

    [Fact]
    public void An_address_is_nobodys_before_it_was_given_to_somebody()
    {
        ClusterState state = Make();
        DateTimeOffset told = _clock.GetUtcNow();
        state.Set(ApiKind.Services, Service("web", 1, "203.0.113.1"));
        state.Set(ApiKind.Pods, Read(Young("young", 2, told - TimeSpan.FromSeconds(20), "10.244.2.5")));
        state.Set(ApiKind.Pods, Read(Young("of a server whose clock is fast", 3, told + TimeSpan.FromHours(1), "10.244.2.6")));
        _clock.Advance(TimeSpan.FromSeconds(1));
        state.Set(ApiKind.Services, Service("web", 1, "203.0.113.1", "203.0.113.2"));
        foreach (var (address, first) in new[] { ("10.244.2.5", told - TimeSpan.FromSeconds(30)), ("10.244.2.6", told - TimeSpan.FromSeconds(10)), ("203.0.113.2", told - TimeSpan.FromSeconds(9)) })
        {
            Assert.NotNull(Name(state, address, first)); // first packets come before the word
            Assert.Null(Name(state, address, first - TimeSpan.FromMilliseconds(1)));
        }
        Assert.Equal("service shop/web", Name(state, "203.0.113.1", told - TimeSpan.FromDays(1))); // it is as old as the service
    }

    [Fact]
    public void Who_had_an_address_has_it_rather_than_who_got_it_later()
    {
        ClusterState state = Make();
        state.Set(ApiKind.Pods, Read(FakeApi.Pod("old", FakePod.UidOf(1), NodeB, "10.244.2.5")));
        _clock.Advance(TimeSpan.FromSeconds(30));
        DateTimeOffset end = _clock.GetUtcNow();
        state.Remove(ApiKind.Pods, Read(FakeApi.Pod("old", FakePod.UidOf(1), NodeB)));
        _clock.Advance(TimeSpan.FromSeconds(3));
        state.Set(ApiKind.Pods, Read(FakeApi.Pod("heir", FakePod.UidOf(2), NodeB, "10.244.2.5"))); // made long ago, it has waited for a node
        _clock.Advance(TimeSpan.FromSeconds(3));
        state.Remove(ApiKind.Pods, Read(FakeApi.Pod("heir", FakePod.UidOf(2), NodeB)));
        foreach (var (after, name) in new[] { (-20.0, "old"), (0, "old"), (0.1, "heir"), (6, "heir"), (7.9, "heir") })
            Assert.Equal((after, $"pod shop/{name}"), (after, Name(state, "10.244.2.5", end + TimeSpan.FromSeconds(after))));
        Assert.Null(Name(state, "10.244.2.5", end + TimeSpan.FromSeconds(8.1)));
    }

    [Fact]
    public void Of_many_who_share_an_address_somebody_is_named_until_the_last_has_gone()
    {
        const int many = 3000;
        ClusterState state = Make(static o => o.RememberEnded = TimeSpan.Zero);
        for (int i = 0; i < many; i++) state.Set(ApiKind.Services, Service($"s{i}", i, "203.0.113.7"));
        Assert.Equal((many, 0, true), (state.AddressCount, state.LeftOut, state.IsComplete));
        Assert.StartsWith("service shop/s", Name(state, "203.0.113.7", _clock.GetUtcNow()), StringComparison.Ordinal);
        state.Set(ApiKind.Nodes, Read(FakeApi.Node(NodeB, FakePod.UidOf(many), "203.0.113.7"))); // k3s: each service is on every node's address
        Assert.Equal("node node-b", Name(state, "203.0.113.7", _clock.GetUtcNow()));
        state.Remove(ApiKind.Nodes, Read(FakeApi.Node(NodeB, FakePod.UidOf(many), "203.0.113.7")));
        for (int i = 0; i < many; i++)
        {
            _clock.Advance(TimeSpan.FromSeconds(3));
            Assert.StartsWith("service shop/s", Name(state, "203.0.113.7", _clock.GetUtcNow()), StringComparison.Ordinal);
            state.Remove(ApiKind.Services, Service($"s{i}", i));
        }
        _clock.Advance(TimeSpan.FromSeconds(3));
        state.Prune();
        Assert.Equal((0, null), (state.AddressCount, Name(state, "203.0.113.7", _clock.GetUtcNow())));
    }

    [Fact]
    public void The_end_of_one_of_many_who_share_an_address_costs_no_more_than_that_of_one_of_few()
    {
        var book = new AddressBook(100_000, TimeSpan.FromSeconds(60));
        DateTimeOffset now = _clock.GetUtcNow();
        for (int i = 0; i < 5000; i++) Assert.True(book.Add(7, $"s{i}", PeerIdentity.Outside, AddressBook.Rank.Chosen, now));
        long before = GC.GetAllocatedBytesForCurrentThread();
        book.Remove(7, "s0", now);
        book.Prune(now + TimeSpan.FromSeconds(60));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, 16 * 1024);
        Assert.Equal(4999, book.Count);
    }

    [Fact]
    public void Many_short_owners_of_an_address_do_not_hide_one_whose_word_counts_more()
    {
        var book = new AddressBook(1000, TimeSpan.FromSeconds(60));
        DateTimeOffset begin = _clock.GetUtcNow();
        var pod = new PeerIdentity(PeerKind.Pod, "web", "shop", NodeB);
        book.Add(7, "pod", pod, AddressBook.Rank.Pod, begin);
        book.Remove(7, "pod", begin + TimeSpan.FromSeconds(10));
        for (int i = 1; i <= 100; i++)
        {
            book.Add(7, $"s{i}", PeerIdentity.Outside, AddressBook.Rank.Chosen, begin + TimeSpan.FromSeconds(10));
            book.Remove(7, $"s{i}", begin + TimeSpan.FromSeconds(10 + i / 10.0));
        }
        Assert.Same(pod, book.Find(7, begin + TimeSpan.FromSeconds(10)));
        Assert.Equal(101, book.Count); // all that are still remembered, so that nobody can fill the memory with them
        book.Prune(begin + TimeSpan.FromSeconds(71));
        Assert.Equal(90, book.Count);
        Assert.Same(PeerIdentity.Outside, book.Find(7, begin + TimeSpan.FromSeconds(20)));
        book.Prune(begin + TimeSpan.FromSeconds(81));
        Assert.Equal((0, null), (book.Count, book.Find(7, begin + TimeSpan.FromSeconds(20))));
    }

    [Fact]
    public void A_service_that_is_given_an_address_it_had_chosen_is_believed_from_then_on()
    {
        ClusterState state = Make();
        state.Set(ApiKind.Services, Service("first", 1, "203.0.113.7"));
        state.Set(ApiKind.Services, Service("second", 2, "203.0.113.7"));
        Assert.Equal("service shop/second", Name(state, "203.0.113.7", _clock.GetUtcNow()));
        JsonObject given = FakeApi.Make("services", static s =>
        {
            s["metadata"]!["name"] = "first";
            s["metadata"]!["uid"] = FakePod.UidOf(1);
            s["spec"] = new JsonObject { ["clusterIP"] = "None" };
            s["status"] = new JsonObject { ["loadBalancer"] = new JsonObject { ["ingress"] = new JsonArray(new JsonObject { ["ip"] = "203.0.113.7" }) } };
        });
        state.Set(ApiKind.Services, Read(given));
        Assert.Equal("service shop/first", Name(state, "203.0.113.7", _clock.GetUtcNow()));
    }

    [Fact]
    public void What_was_left_out_and_has_gone_unseen_is_not_waited_for()
    {
        ClusterState state = Make(static o => o.MaxAddresses = 2);
        List(state, 1, 2, 3);
        Assert.Equal((1, false, false), (state.LeftOut, state.IsComplete, state.HasRoomAgain(ApiKind.Pods)));
        List(state, 1);
        Assert.Equal((0, true, false), (state.LeftOut, state.IsComplete, state.HasRoomAgain(ApiKind.Pods)));
    }

    [Fact]
    public void There_is_room_again_only_for_what_was_left_out()
    {
        ClusterState state = Make(static o =>
        {
            o.MaxAddresses = 10;
            o.RememberEnded = TimeSpan.Zero;
        });
        List(state, [.. Enumerable.Range(1, 11)]);
        Assert.Equal((1, false), (state.LeftOut, state.HasRoomAgain(ApiKind.Pods)));
        foreach (int i in (int[])[1, 2]) state.Remove(ApiKind.Pods, Read(Pod(i)));
        state.Prune();
        Assert.Equal((true, false, false), (state.HasRoomAgain(ApiKind.Pods), state.HasRoomAgain(ApiKind.Nodes), state.HasRoomAgain(ApiKind.Services)));
        for (int i = 20; i < 22; i++) state.Set(ApiKind.Pods, Read(FakeApi.Pod($"p{i}", FakePod.UidOf(i), NodeB))); // they have no addresses, but take places
        Assert.False(state.HasRoomAgain(ApiKind.Pods));
    }

    [Fact]
    public void The_image_of_a_static_pod_made_anew_between_two_lists_takes_the_place_of_the_one_before()
    {
        ClusterState state = Make();
        List(state, Image("etcd", 1));
        Assert.Equal(("etcd", Hash), (state.FindPod(Hash)?.Name, state.FindPod(Hash)?.Uid));
        List(state, Image("etcd", 2));
        Assert.Equal(("etcd", null, 1), (state.FindPod(Hash)?.Name, state.FindPod(Hash)?.Ended, state.CountOf(ApiKind.Pods)));
        Assert.Equal([Hash], state.PodsOfNode().Select(static p => p.Uid));
        state.Set(ApiKind.Pods, Read(Image("etcd", 2)));
        Assert.Equal(1, state.CountOf(ApiKind.Pods));
        state.Remove(ApiKind.Pods, Read(Image("etcd", 1))); // it had gone before
        Assert.Null(state.FindPod(Hash)!.Ended);
        Assert.Equal("pod shop/etcd", Name(state, "10.244.1.9", _clock.GetUtcNow() + TimeSpan.FromSeconds(5)));
        state.Remove(ApiKind.Pods, Read(Image("etcd", 2)));
        Assert.Equal((0, _clock.GetUtcNow()), (state.CountOf(ApiKind.Pods), state.FindPod(Hash)?.Ended));
        Assert.Null(Name(state, "10.244.1.9", _clock.GetUtcNow() + TimeSpan.FromSeconds(5)));
        _clock.Advance(TimeSpan.FromSeconds(61));
        Assert.True(state.Prune());
        Assert.Null(state.FindPod(Hash));
    }

    [Fact]
    public void A_pod_that_is_called_an_image_or_none_later_is_one_pod_all_the_time()
    {
        ClusterState state = Make();
        JsonObject plain = Image("etcd", 1);
        plain["metadata"]!.AsObject().Remove("annotations");
        foreach (var (given, uid) in new[] { (plain, FakePod.UidOf(1)), (Image("etcd", 1), Hash), (plain, FakePod.UidOf(1)), (Image("etcd", 1), Hash) })
        {
            Assert.True(state.Set(ApiKind.Pods, Read(given)));
            Assert.Equal([uid], state.PodsOfNode().Select(static p => p.Uid));
            Assert.Equal((1, "etcd"), (state.CountOf(ApiKind.Pods), state.FindPod(uid)?.Name));
        }
        state.Remove(ApiKind.Pods, Read(plain));
        Assert.Equal(0, state.CountOf(ApiKind.Pods));
        Assert.Null(Name(state, "10.244.1.9", _clock.GetUtcNow() + TimeSpan.FromSeconds(5)));
    }

    private ClusterState Make(Action<KubernetesOptions>? configure = null)
    {
        var options = new KubernetesOptions();
        configure?.Invoke(options);
        return new ClusterState(options, NodeA, _clock);
    }

    private static ApiObject Read(JsonObject given) => given.Deserialize(ApiJson.Default.ApiObject)!;

    private static void List(ClusterState state, params int[] pods) => List(state, [.. pods.Select(Pod)]);

    private static void List(ClusterState state, params JsonObject[] pods)
    {
        state.BeginList(ApiKind.Pods);
        foreach (JsonObject pod in pods) state.Set(ApiKind.Pods, Read(pod));
        state.EndList(ApiKind.Pods);
    }

    private static JsonObject Pod(int number) => FakeApi.Pod($"p{number}", FakePod.UidOf(number), NodeB, $"10.244.2.{number}");

    private static JsonObject Young(string name, int number, DateTimeOffset made, string address)
    {
        JsonObject pod = FakeApi.Pod(name, FakePod.UidOf(number), NodeB, address);
        pod["metadata"]!["creationTimestamp"] = made;
        return pod;
    }

    private static JsonObject Image(string name, int number)
    {
        JsonObject pod = FakeApi.Pod(name, FakePod.UidOf(number), NodeA, "10.244.1.9");
        pod["metadata"]!["annotations"] = new JsonObject { ["kubernetes.io/config.mirror"] = Hash };
        pod["metadata"]!["ownerReferences"] = new JsonArray(new JsonObject { ["kind"] = "Node", ["name"] = NodeA, ["controller"] = true });
        return pod;
    }

    private static ApiObject Service(string name, int number, params string[] chosen) => new()
    {
        Metadata = new ApiMetadata { Name = name, Namespace = "shop", Uid = FakePod.UidOf(number), CreationTimestamp = DateTimeOffset.UnixEpoch.AddYears(59) },
        Spec = new ApiSpec { ClusterIp = "None", ExternalIps = [.. chosen] },
    };

    private static string? Name(ClusterState state, string address, DateTimeOffset at) => state.Addresses.Find(ClusterState.ValueOf(IPAddress.Parse(address)), at)?.ToString();
}
