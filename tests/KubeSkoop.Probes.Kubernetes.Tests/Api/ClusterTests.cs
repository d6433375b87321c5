using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using CsCheck;
using KubeSkoop.Probes.Kubernetes.Api;
using KubeSkoop.Probes.Kubernetes.Tests.Cri;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Kubernetes.Tests.Api;

/// <summary>What the Kubernetes API tells: whose an address is, and what has made a pod.</summary>
public sealed class ClusterTests
{
    private const string NodeA = "node-a";
    private const string NodeB = "node-b";

    [Fact]
    public async Task Every_address_of_the_cluster_has_a_name()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        foreach (var (address, owner) in new (string, PeerIdentity?)[]
        {
            ("10.244.1.17", new(PeerKind.Pod, "web-7d4b9c6f5-x2x9p", "shop", NodeA)), ("fd00:10:244:1::11", new(PeerKind.Pod, "web-7d4b9c6f5-x2x9p", "shop", NodeA)),
            ("10.244.2.5", new(PeerKind.Pod, "far", "shop", NodeB)),
            ("192.168.0.10", new(PeerKind.Node, NodeA, Node: NodeA)), ("fd00:1::10", new(PeerKind.Node, NodeA, Node: NodeA)), // and the pods in its network
            ("192.168.0.11", new(PeerKind.Node, NodeB, Node: NodeB)),
            ("10.244.1.0", new(PeerKind.Node, NodeA, Node: NodeA)), ("10.244.1.1", new(PeerKind.Node, NodeA, Node: NodeA)), ("fd00:10:244:1::1", new(PeerKind.Node, NodeA, Node: NodeA)), // its tunnel and bridge
            ("10.244.2.1", new(PeerKind.Pod, "first", "shop", NodeB)), // there, the first address is a pod's
            ("10.96.14.2", new(PeerKind.Service, "web", "shop")), ("fd00:10:96::1402", new(PeerKind.Service, "web", "shop")),
            ("203.0.113.7", new(PeerKind.Service, "web", "shop")), ("203.0.113.80", new(PeerKind.Service, "web", "shop")),
            ("10.244.1.99", null), ("fd00:10:244:1::99", null), // a pod that was not told of yet
            ("198.51.100.1", PeerIdentity.Outside), ("2001:db8::1", PeerIdentity.Outside), ("10.0.0.9", PeerIdentity.Outside),
            ("127.0.0.1", null), ("::1", null), ("169.254.169.254", null), ("fe80::1", null), ("224.0.0.1", null), ("ff02::1", null), ("255.255.255.255", null), ("0.0.0.0", null), ("::", null),
        })
        {
            Assert.Equal((address, owner), (address, directory.ResolveAddress(End(address), Now)));
        }
        ClusterStatus status = directory.Status.Cluster!;
        Assert.Equal((5, 2, 2, 0, 3), (status.Pods, status.Nodes, status.Services, status.LeftOut, status.Lists));
        Assert.Equal((null, null), (status.Problem, status.StaleSince));
        Assert.InRange(status.LastAnswer!.Value, Now - TimeSpan.FromMinutes(1), Now);
        Assert.StartsWith("http://127.0.0.1:", status.Server, StringComparison.Ordinal);
        Assert.All(api.Lists, static r => Assert.Contains("resourceVersion=0", r, StringComparison.Ordinal)); // no load on the cluster's storage
        Assert.DoesNotContain(api.Requests, static r => r.Contains("fieldSelector", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Names_follow_what_happens()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        api.Set("pods", FakeApi.Pod("new", FakePod.UidOf(50), NodeB)); // it has no address yet
        api.Set("pods", FakeApi.Pod("new", FakePod.UidOf(50), NodeB, "10.244.2.50"));
        await NamedAsync(directory, "10.244.2.50", "pod shop/new");
        api.Set("pods", FakeApi.Pod("new", FakePod.UidOf(50), NodeB, "10.244.2.51"));
        await NamedAsync(directory, "10.244.2.51", "pod shop/new");
        api.Set("services", FakeApi.Make("services", static s =>
        {
            s["metadata"]!["name"] = "other";
            s["metadata"]!["uid"] = FakePod.UidOf(60);
            s["spec"]!["clusterIP"] = "10.96.0.60";
            s["spec"]!["clusterIPs"] = null; // before 1.20
            s["spec"]!["externalIPs"] = null;
            s["status"] = new JsonObject();
        }));
        await NamedAsync(directory, "10.96.0.60", "service shop/other");
        api.Set("nodes", FakeApi.Node("node-c", FakePod.UidOf(61), "192.168.0.12", "10.244.3.0/24"));
        await NamedAsync(directory, "192.168.0.12", "node node-c");
        Assert.Null(directory.ResolveAddress(End("10.244.3.9"), Now));
        api.Remove("nodes", FakePod.UidOf(61));
        await NamedAsync(directory, "10.244.3.9", "outside");
        Assert.Equal(3, directory.Status.Cluster!.Lists); // nothing was listed again
    }

    [Fact]
    public async Task An_address_used_again_is_the_new_pods_and_what_came_before_is_the_old_ones()
    {
        var clock = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(60));
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api, static o => o.RememberEnded = TimeSpan.FromSeconds(60), clock: clock);
        await api.WatchedAsync();
        DateTimeOffset first = clock.GetUtcNow();
        clock.Advance(TimeSpan.FromSeconds(5));
        api.Remove("pods", FakePod.UidOf(1));
        await Eventually.TrueAsync(() => directory.ResolveAddress(End("10.244.1.17"), clock.GetUtcNow() + TimeSpan.FromSeconds(3)) is null, "the end");
        Assert.Equal("pod shop/web-7d4b9c6f5-x2x9p", $"{directory.ResolveAddress(End("10.244.1.17"), clock.GetUtcNow() + TimeSpan.FromSeconds(1))}"); // its last packets
        clock.Advance(TimeSpan.FromSeconds(5));
        api.Set("pods", FakeApi.Pod("heir", FakePod.UidOf(51), NodeA, "10.244.1.17"));
        await Eventually.TrueAsync(() => Name(directory, "10.244.1.17", clock.GetUtcNow()) == "pod shop/heir", "the heir");
        Assert.Equal("pod shop/web-7d4b9c6f5-x2x9p", Name(directory, "10.244.1.17", first));
        Assert.Equal("pod shop/web-7d4b9c6f5-x2x9p", Name(directory, "10.244.1.17", first + TimeSpan.FromSeconds(5)));
        Assert.Equal("pod shop/heir", Name(directory, "10.244.1.17", first + TimeSpan.FromSeconds(5.1)));
        clock.Advance(TimeSpan.FromSeconds(61));
        int addresses = directory.Status.Cluster!.Addresses;
        api.Bookmark();
        await Eventually.EqualAsync(addresses - 2, () => directory.Status.Cluster!.Addresses, "addresses"); // what nobody can ask for any more is forgotten
        Assert.Equal("pod shop/heir", Name(directory, "10.244.1.17", first));
    }

    [Theory]
    [InlineData("Succeeded")]
    [InlineData("Failed")]
    public async Task A_pod_that_is_over_has_no_address_any_more(string phase)
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        Assert.Equal("pod shop/far", Name(directory, "10.244.2.5", Now));
        JsonObject over = FakeApi.Pod("far", FakePod.UidOf(2), NodeB, "10.244.2.5");
        over["status"]!["phase"] = phase;
        api.Set("pods", over);
        await Eventually.TrueAsync(() => directory.ResolveAddress(End("10.244.2.5"), Now + TimeSpan.FromSeconds(3)) is null, "the end");
        api.Set("pods", FakeApi.Pod("heir", FakePod.UidOf(51), NodeB, "10.244.2.5"));
        await NamedAsync(directory, "10.244.2.5", "pod shop/heir");
        api.Remove("pods", FakePod.UidOf(2)); // deleted long after its address is another's
        api.Set("pods", FakeApi.Pod("last", FakePod.UidOf(52), NodeB, "10.244.2.52"));
        await NamedAsync(directory, "10.244.2.52", "pod shop/last");
        Assert.Equal("pod shop/heir", Name(directory, "10.244.2.5", Now));
    }

    [Fact]
    public async Task A_broken_watch_is_taken_up_where_it_broke()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        for (int i = 0; i < 3; i++)
        {
            await api.WatchedAsync();
            api.Set("pods", FakeApi.Pod("seen", FakePod.UidOf(70 + i), NodeB, $"10.244.2.{70 + i}"));
            api.Disconnect();
            api.Set("pods", FakeApi.Pod("missed", FakePod.UidOf(80 + i), NodeB, $"10.244.2.{80 + i}"));
            await NamedAsync(directory, $"10.244.2.{80 + i}", "pod shop/missed");
            Assert.Equal("pod shop/seen", Name(directory, $"10.244.2.{70 + i}", Now));
        }
        await Eventually.TrueAsync(() => directory.Status.Cluster is { StaleSince: null, Problem: null }, "all watches");
        Assert.Equal(3, directory.Status.Cluster!.Lists);
    }

    [Fact]
    public async Task What_ends_as_it_should_is_no_problem_and_bookmarks_keep_it_from_being_too_old()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        for (int i = 0; i < 3; i++)
        {
            await api.WatchedAsync();
            await Task.Delay(600); // longer than a watch that is no good
            api.Set("pods", FakeApi.Pod("any", FakePod.UidOf(70 + i), NodeB, $"10.244.2.{70 + i}"));
            await NamedAsync(directory, $"10.244.2.{70 + i}", "pod shop/any");
            DateTimeOffset? before = directory.Status.Cluster!.LastAnswer;
            api.Bookmark();
            api.Forget(); // only who was told of this moment can go on
            await Eventually.TrueAsync(() => directory.Status.Cluster!.LastAnswer > before, "the bookmark");
            await Task.Delay(100);
            api.EndWatches();
            Assert.Null(directory.Status.Cluster!.StaleSince);
        }
        await api.WatchedAsync();
        Assert.Equal((3, null), (directory.Status.Cluster!.Lists, directory.Status.Cluster!.Problem));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_is_too_old_is_listed_anew_and_nothing_that_ended_meanwhile_stays(bool inStream)
    {
        await using FakeApi api = await FakeApi.StartNewAsync(a =>
        {
            Fill(a);
            a.GoneInStream = inStream;
        });
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        api.Silently(() =>
        {
            api.Remove("pods", FakePod.UidOf(2));
            api.Remove("nodes", FakePod.UidOf(0xa2));
            api.Remove("services", FakePod.UidOf(0xb1));
            api.Set("pods", FakeApi.Pod("new", FakePod.UidOf(50), NodeA, "10.244.1.50"));
        });
        await NamedAsync(directory, "10.244.1.50", "pod shop/new");
        DateTimeOffset later = Now + TimeSpan.FromSeconds(5);
        await Eventually.TrueAsync(() => Name(directory, "192.168.0.11", later) == "outside" && Name(directory, "10.96.14.2", later) == "outside" && Name(directory, "10.244.2.5", later) == "outside", "the ends");
        Assert.Equal("pod shop/web-7d4b9c6f5-x2x9p", Name(directory, "10.244.1.17", later));
        Assert.Contains(api.Lists, static r => !r.Contains("resourceVersion=0", StringComparison.Ordinal)); // the server's memory was too old
        await Eventually.TrueAsync(() => directory.Status.Cluster is { StaleSince: null, Problem: null, Lists: 6 }, "all kinds");
    }

    [Theory]
    [InlineData(429, "the server is overloaded")]
    [InlineData(500, "etcd is gone")]
    [InlineData(503, "the server is starting")]
    [InlineData(504, "no answer behind this gateway")]
    public async Task A_watch_that_is_refused_is_taken_up_where_it_was(int code, string message)
    {
        var clock = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(60));
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api, clock: clock);
        await api.WatchedAsync();
        int asked = 0;
        api.Instead = async context =>
        {
            if (Interlocked.Increment(ref asked) > 12) return false;
            await FakeApi.RefuseAsync(context, code, "Any", message);
            return true;
        };
        clock.Advance(TimeSpan.FromSeconds(1));
        api.EndWatches();
        api.Set("pods", FakeApi.Pod("missed", FakePod.UidOf(50), NodeB, "10.244.2.50"));
        await AdvanceAsync(clock, TimeSpan.FromSeconds(0.5), () => Volatile.Read(ref asked) >= 12 && api.WatchCount == 3 && Name(directory, "10.244.2.50", clock.GetUtcNow()) == "pod shop/missed", "the watches");
        Assert.Equal(3, api.Lists.Count());
    }

    [Theory]
    [InlineData(400, "resourceVersion: Invalid value")]
    [InlineData(504, "Too large resource version: 1005, current: 3")]
    public async Task A_place_that_the_server_does_not_know_is_given_up(int code, string message)
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        int asked = 0;
        api.Instead = async context =>
        {
            if (!context.Request.Path.Value!.EndsWith("/pods", StringComparison.Ordinal) || Interlocked.Increment(ref asked) > 1) return false;
            await FakeApi.RefuseAsync(context, code, "Any", message);
            return true;
        };
        api.Disconnect();
        await Eventually.TrueAsync(() => directory.Status.Cluster is { Lists: 4, StaleSince: null, Problem: null }, "a new list");
    }

    [Theory]
    [InlineData("10", 10)]
    [InlineData("100000", 60)]
    public async Task A_server_that_says_when_to_come_back_is_left_alone_until_then_within_bounds(string said, int seconds)
    {
        var clock = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(60));
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api, clock: clock);
        await api.WatchedAsync();
        long refused = 0, again = 0;
        api.Instead = async context =>
        {
            if (!context.Request.Path.Value!.EndsWith("/pods", StringComparison.Ordinal)) return false;
            long now = clock.GetUtcNow().UtcTicks;
            if (Interlocked.CompareExchange(ref refused, now, 0) != 0)
            {
                Interlocked.CompareExchange(ref again, now, 0);
                return false;
            }
            context.Response.Headers.RetryAfter = said;
            await FakeApi.RefuseAsync(context, 429, "TooManyRequests", "the server is overloaded");
            return true;
        };
        clock.Advance(TimeSpan.FromSeconds(1));
        api.EndWatches();
        await AdvanceAsync(clock, TimeSpan.FromSeconds(seconds / 50.0), () => Interlocked.Read(ref again) != 0, "the next request");
        Assert.InRange(TimeSpan.FromTicks(again - refused), TimeSpan.FromSeconds(seconds), TimeSpan.FromSeconds(999));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Watches_that_end_at_once_are_not_taken_up_without_pause(bool move)
    {
        var clock = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(60));
        int watches = 0;
        await using FakeApi api = await FakeApi.StartNewAsync(a =>
        {
            Fill(a);
            a.Instead = async context =>
            {
                if (!context.Request.Path.Value!.EndsWith("/pods", StringComparison.Ordinal) || !context.Request.Query.ContainsKey("watch")) return false;
                int version = 5000 + (Interlocked.Increment(ref watches) is var number && move ? number : 0);
                await context.Response.WriteAsync($$$"""{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"{{{version}}}" } } }""" + "\n");
                return true;
            };
        });
        await using PodDirectory directory = await StartAsync(api, clock: clock);
        DateTimeOffset began = clock.GetUtcNow();
        await AdvanceAsync(clock, TimeSpan.FromSeconds(0.1), () => Volatile.Read(ref watches) >= 4, "four watches");
        Assert.InRange(watches, 4, 1 + (clock.GetUtcNow() - began) / TimeSpan.FromSeconds(0.375));
        if (move) Assert.Null(directory.Status.Cluster!.Problem);
        else await Eventually.EqualAsync("The Kubernetes API: pods: it ends watches at once.", () => directory.Status.Cluster!.Problem, "the problem");
    }

    [Fact]
    public async Task Long_lists_come_in_pages_and_a_page_that_is_too_old_begins_them_anew()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(static a =>
        {
            Fill(a);
            for (int i = 0; i < 1203; i++) a.Set("pods", FakeApi.Pod($"p{i}", FakePod.UidOf(1000 + i), NodeB, $"10.245.{i / 250}.{(i % 250) + 1}"));
        });
        int continued = 0;
        api.Instead = async context =>
        {
            if (context.Request.Query["resourceVersion"] == "0" && context.Request.Path.Value!.EndsWith("/pods", StringComparison.Ordinal))
            {
                await FakeApi.RefuseAsync(context, 504, "Timeout", "Too large resource version");
                return true;
            }
            if (context.Request.Query.ContainsKey("continue") && Interlocked.Increment(ref continued) == 2)
            {
                await FakeApi.RefuseAsync(context, 410, "Expired", "The provided continue parameter is too old");
                return true;
            }
            return false;
        };
        await using PodDirectory directory = await StartAsync(api);
        await Eventually.TrueAsync(() => directory.Status.Cluster is { Pods: 1208, Problem: null }, "all pods");
        Assert.Equal("pod shop/p1202", Name(directory, "10.245.4.203", Now));
        Assert.Equal(4, continued); // 500 and 500, which was too old; and 500, 500, 208
        Assert.Equal(7, api.Lists.Count(static r => r.Contains("/pods", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_stream_that_comes_byte_by_byte_is_understood()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(static a =>
        {
            Fill(a);
            a.BytesAtATime = 7;
        });
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        for (int i = 0; i < 5; i++) api.Set("pods", FakeApi.Pod($"slow-{i}", FakePod.UidOf(50 + i), NodeB, $"10.244.2.{50 + i}"));
        for (int i = 0; i < 5; i++) await NamedAsync(directory, $"10.244.2.{50 + i}", $"pod shop/slow-{i}");
        Assert.Equal(3, directory.Status.Cluster!.Lists);
    }

    [Fact]
    public async Task A_server_that_falls_silent_in_a_watch_is_asked_again()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api, static o =>
        {
            o.ApiWatchLength = TimeSpan.FromMilliseconds(300);
            o.ApiPatience = TimeSpan.FromMilliseconds(200);
        });
        await api.WatchedAsync();
        int before = api.Requests.Count;
        await Eventually.TrueAsync(() => api.Requests.Count >= before + 6, "further watches"); // the fake one never ends them itself
        Assert.Equal(3, directory.Status.Cluster!.Lists);
    }

    [Theory]
    [InlineData("no JSON at all\n")]
    [InlineData("[1,2,3]\n")]
    [InlineData("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":17}}}\n")]
    [InlineData("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"half\n")]
    [InlineData("{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":500,\"message\":\"etcd is gone\"}}\n")]
    [InlineData("{\"type\":\"ERROR\"}\n")]
    [InlineData("\uD800\n")]
    public async Task Nonsense_in_a_watch_is_said_and_everything_listed_anew(string line)
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        api.Say("pods", line);
        await Eventually.TrueAsync(() => directory.Status.Cluster!.Lists == 4, "a new list");
        await api.WatchedAsync();
        api.Set("pods", FakeApi.Pod("new", FakePod.UidOf(50), NodeB, "10.244.2.50"));
        await NamedAsync(directory, "10.244.2.50", "pod shop/new");
        Assert.Equal("pod shop/far", Name(directory, "10.244.2.5", Now));
    }

    [Theory]
    [InlineData("{}\n\n{\"type\":\"NEWS\",\"object\":{}}\n")]
    [InlineData("{\"type\":\"ADDED\"}\n{\"object\":null,\"type\":\"ADDED\"}\n")]
    [InlineData("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"uid\":\"\",\"name\":\"x\"}}}\n{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"uid\":\"nobody\"}}}\n")]
    [InlineData("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"uid\":\"u\",\"name\":\"x\",\"labels\":{\"a\":null},\"ownerReferences\":[null,{}]},\"spec\":null,\"status\":{\"podIPs\":[null,{},{\"ip\":\"no address\"},{\"ip\":\"\"}],\"containerStatuses\":[null,{}]}}}\n")]
    public async Task What_says_nothing_is_passed_over(string line)
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        api.Say("pods", line);
        api.Set("pods", FakeApi.Pod("new", FakePod.UidOf(50), NodeB, "10.244.2.50"));
        await NamedAsync(directory, "10.244.2.50", "pod shop/new");
        Assert.Equal((3, null), (directory.Status.Cluster!.Lists, directory.Status.Cluster!.Problem));
    }

    [Fact]
    public async Task A_line_without_end_is_cut_off()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        string piece = new('x', 1024 * 1024);
        for (int i = 0; i < 10; i++) api.Say("nodes", i == 0 ? "{\"type\":\"" + piece : piece);
        await Eventually.TrueAsync(() => directory.Status.Cluster!.Lists == 4, "a new list");
    }

    [Theory]
    [InlineData(401, "Renew the kubeconfig or the service account's token")]
    [InlineData(403, "ClusterRole with the verbs list and watch")]
    [InlineData(500, "500 InternalServerError: the server's \"words\"")]
    public async Task A_refusal_says_what_to_do_and_only_its_kind_is_missing(int code, string said)
    {
        bool refuse = true;
        await using FakeApi api = await FakeApi.StartNewAsync(a =>
        {
            Fill(a);
            a.Instead = async context =>
            {
                if (!Volatile.Read(ref refuse) || !context.Request.Path.Value!.EndsWith("/services", StringComparison.Ordinal)) return false;
                await FakeApi.RefuseAsync(context, code, "Any", "the server's \\\"words\\\"");
                return true;
            };
        });
        await using PodDirectory directory = await StartAsync(api);
        Assert.Contains(said, directory.Status.Cluster!.Problem, StringComparison.Ordinal);
        Assert.StartsWith("The Kubernetes API: services: ", directory.Status.Cluster!.Problem, StringComparison.Ordinal);
        Assert.Equal("pod shop/far", Name(directory, "10.244.2.5", Now));
        Assert.Null(directory.ResolveAddress(End("198.51.100.1"), Now)); // it may be a service's
        Volatile.Write(ref refuse, false);
        await NamedAsync(directory, "10.96.14.2", "service shop/web");
        await NamedAsync(directory, "198.51.100.1", "outside");
        Assert.Null(directory.Status.Cluster!.Problem);
    }

    [Fact]
    public async Task A_server_that_goes_leaves_all_as_it_was_and_comes_back()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        await api.StopAsync();
        await Eventually.TrueAsync(() => directory.Status.Cluster is { StaleSince: not null, Problem: not null }, "the loss");
        Assert.Equal("pod shop/far", Name(directory, "10.244.2.5", Now));
        await Eventually.TrueAsync(() => directory.Status.Cluster!.Problem!.Contains("refused", StringComparison.Ordinal), "the refusal");
        api.Set("pods", FakeApi.Pod("new", FakePod.UidOf(50), NodeB, "10.244.2.50"));
        await api.StartAsync();
        await NamedAsync(directory, "10.244.2.50", "pod shop/new");
        await Eventually.TrueAsync(() => directory.Status.Cluster is { StaleSince: null, Problem: null }, "its return");
    }

    [Fact]
    public async Task Nobody_is_called_outside_while_the_server_is_gone()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        await api.StopAsync();
        await Eventually.TrueAsync(() => directory.Status.Cluster!.StaleSince is not null, "the loss");
        DateTimeOffset lost = directory.Status.Cluster!.StaleSince!.Value;
        Assert.Equal("outside", Name(directory, "198.51.100.1", lost)); // all were known then
        Assert.Equal("outside", Name(directory, "198.51.100.1", lost + TimeSpan.FromSeconds(4)));
        Assert.Null(Name(directory, "198.51.100.1", lost + TimeSpan.FromSeconds(6))); // it may be a new pod's
        await api.StartAsync();
        await Eventually.EqualAsync("outside", () => Name(directory, "198.51.100.1", lost + TimeSpan.FromSeconds(6)), "its return");
    }

    [Fact]
    public async Task A_server_that_accepts_and_never_answers_hangs_nothing()
    {
        var never = new TaskCompletionSource();
        await using FakeApi api = await FakeApi.StartNewAsync(a => a.Instead = async context =>
        {
            await never.Task.WaitAsync(context.RequestAborted);
            return true;
        });
        await using PodDirectory directory = await StartAsync(api, static o => o.CallTimeout = TimeSpan.FromMilliseconds(200));
        await Eventually.TrueAsync(() => directory.Status.Cluster!.Problem?.Contains("did not answer within 00:00:00.2000000", StringComparison.Ordinal) == true, "the problem");
        Assert.Null(directory.ResolveAddress(End("10.244.1.17"), Now));
        Fill(api);
        api.Instead = null;
        await NamedAsync(directory, "10.244.1.17", "pod shop/web-7d4b9c6f5-x2x9p");
    }

    [Fact]
    public async Task A_kubeconfig_that_is_not_there_or_no_good_is_said_and_tried_again()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        string good = await File.ReadAllTextAsync(api.Kubeconfig);
        File.Delete(api.Kubeconfig);
        await using PodDirectory directory = await StartAsync(api);
        Assert.Contains($"the kubeconfig {api.Kubeconfig} cannot be used", directory.Status.Cluster!.Problem, StringComparison.Ordinal);
        await File.WriteAllTextAsync(api.Kubeconfig, "]: no YAML\n\t");
        await Task.Delay(700);
        Assert.Contains("cannot be used", directory.Status.Cluster!.Problem, StringComparison.Ordinal);
        await File.WriteAllTextAsync(api.Kubeconfig, good);
        await NamedAsync(directory, "10.244.1.17", "pod shop/web-7d4b9c6f5-x2x9p");
    }

    [Fact]
    public async Task Credentials_that_are_refused_are_read_again()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        string good = await File.ReadAllTextAsync(api.Kubeconfig);
        await File.WriteAllTextAsync(api.Kubeconfig, good.Replace("a token", "an old token", StringComparison.Ordinal));
        await using PodDirectory directory = await StartAsync(api);
        Assert.Contains("401", directory.Status.Cluster!.Problem, StringComparison.Ordinal);
        await File.WriteAllTextAsync(api.Kubeconfig, good);
        await NamedAsync(directory, "10.244.1.17", "pod shop/web-7d4b9c6f5-x2x9p");
    }

    [Fact]
    public async Task What_finds_no_room_is_counted_and_taken_in_when_there_is_room_again()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(static a =>
        {
            a.Set("nodes", FakeApi.Node(NodeA, FakePod.UidOf(0xa1), "192.168.0.10"));
            for (int i = 0; i < 30; i++) a.Set("pods", FakeApi.Pod($"p{i:00}", FakePod.UidOf(100 + i), NodeB, $"10.244.2.{100 + i}"));
        });
        await using PodDirectory directory = await StartAsync(api, static o =>
        {
            o.MaxAddresses = 20;
            o.RememberEnded = TimeSpan.Zero;
        });
        await api.WatchedAsync();
        ClusterStatus status = directory.Status.Cluster!;
        Assert.Equal((20, 11), (status.Addresses, status.LeftOut)); // 31, the node too, whichever came first
        Assert.Contains("11 pods, nodes and services of the cluster are left out: raise KubeSkoop:Probes:Kubernetes:MaxAddresses, which is 20", status.Problem, StringComparison.Ordinal);
        Assert.Null(directory.ResolveAddress(End("198.51.100.1"), Now)); // it may be one of those
        for (int i = 0; i < 15; i++) api.Remove("pods", FakePod.UidOf(100 + i));
        await Task.Delay(600);
        api.EndWatches();
        await Eventually.TrueAsync(() => directory.Status.Cluster is { LeftOut: 0, Problem: null, Pods: 15 }, $"room; {directory.Status.Cluster}");
        for (int i = 15; i < 30; i++) Assert.Equal($"pod shop/p{i:00}", Name(directory, $"10.244.2.{100 + i}", Now));
        Assert.Equal("outside", Name(directory, "198.51.100.1", Now));
    }

    [Fact]
    public async Task Only_this_nodes_pods_are_asked_for_if_that_is_wanted()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api, static o => o.ApiScope = ApiScope.Node);
        await api.WatchedAsync();
        Assert.Equal("pod shop/web-7d4b9c6f5-x2x9p", Name(directory, "10.244.1.17", Now));
        Assert.Equal("node node-b", Name(directory, "192.168.0.11", Now));
        Assert.Equal("service shop/web", Name(directory, "10.96.14.2", Now));
        Assert.Null(directory.ResolveAddress(End("10.244.2.5"), Now));
        Assert.Null(directory.ResolveAddress(End("198.51.100.1"), Now)); // it may be another node's pod
        Assert.All(api.Requests.Where(static r => r.Contains("/pods", StringComparison.Ordinal)), static r => Assert.Contains("fieldSelector=spec.nodeName%3Dnode-a", r, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_node_that_the_cluster_calls_otherwise_is_said()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(static a => a.Set("nodes", FakeApi.Node("ip-10-0-0-7", FakePod.UidOf(0xa1), "192.168.0.10")));
        await using PodDirectory directory = await StartAsync(api);
        Assert.Equal("The cluster has no node 'node-a': set KubeSkoop:Probes:NodeName to this node's name there (spec.nodeName).", directory.Status.Cluster!.Problem);
    }

    [Fact]
    public async Task Nobody_is_asked_where_nobody_shall_be()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api, static o => o.ApiScope = ApiScope.None);
        Assert.Null(directory.Status.Cluster);
        Assert.Empty(api.Requests);
        await using PodDirectory without = TestDirectory.Of(KubernetesOptions.NoRuntime);
        await without.StartAsync(CancellationToken.None);
        Assert.Null(without.Status.Cluster);
    }

    [Fact]
    public async Task The_api_tells_of_owners_and_of_labels_as_they_are_now()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod pod = FakePod.Make("web-7d4b9c6f5-x2x9p") with { ProcessId = 20, Labels = new() { ["app"] = "as it was made" }, Containers = [(FakePod.Id(77), "main")] };
        proc.AddProcess(1, 100, "init").AddProcess(20, 200, "pause", $"0::/kubepods/pod{pod.Uid}/{pod.SandboxId}\n");
        cri.Add(pod);
        await using FakeApi api = await FakeApi.StartNewAsync(a =>
        {
            Fill(a);
            a.Remove("pods", FakePod.UidOf(1));
        });
        await using PodDirectory directory = await StartAsync(api, static o =>
        {
            o.PodOwner = true;
            o.PodLabels.Add("app");
        }, cri, proc);
        PodInfo before = await directory.FindAsync("web-7d4b9c6f5-x2x9p");
        Assert.Equal([new SampleAttribute("k8s.pod.label.app", "as it was made")], before.Identity.Attributes);
        Assert.Equal((null, false), (before.Owner, before.IsInApi));
        int told = 0;
        directory.Changed += () => Interlocked.Increment(ref told);
        await api.WatchedAsync();
        JsonObject given = FakeApi.Pod("web-7d4b9c6f5-x2x9p", pod.Uid, NodeA, "10.88.0.2");
        api.Set("pods", given);
        await Eventually.TrueAsync(() => directory.Find(pod.Uid)!.IsInApi, "the API's words");
        PodInfo after = directory.Find(pod.Uid)!;
        Assert.Equal(new PodOwner("Deployment", "web"), after.Owner);
        Assert.Equal([new SampleAttribute("k8s.deployment.name", "web"), new SampleAttribute("k8s.pod.label.app", "web")], after.Identity.Attributes);
        Assert.Equal((PodSource.Runtime, 200u, pod.SandboxId), (after.Source, after.NamespaceInode, after.SandboxId));
        Assert.Single(directory.Pods);
        Assert.Equal(after.Identity, directory.Resolve(new NetworkNamespace(200, false, new NamespaceFacts(null, 20, null, null))));
        Assert.True(Volatile.Read(ref told) > 0);
        JsonObject relabelled = given.DeepClone().AsObject();
        relabelled["metadata"]!["labels"]!["app"] = "another";
        api.Set("pods", relabelled);
        await Eventually.TrueAsync(() => directory.Find(pod.Uid)!.Labels["app"] == "another", "the label");
        int quiet = Volatile.Read(ref told);
        api.Set("pods", relabelled.DeepClone().AsObject()); // says nothing new
        api.Set("pods", FakeApi.Pod("elsewhere", FakePod.UidOf(90), NodeB, "10.244.2.90"));
        await NamedAsync(directory, "10.244.2.90", "pod shop/elsewhere");
        Assert.Equal(quiet, Volatile.Read(ref told)); // other nodes' pods do not concern this one's
    }

    [Theory]
    [InlineData("ReplicaSet", "web-7d4b9c6f5", "Deployment", "web", "k8s.deployment.name")]
    [InlineData("ReplicaSet", "by-hand", "ReplicaSet", "by-hand", "k8s.replicaset.name")]
    [InlineData("ReplicaSet", "-7d4b9c6f5", "ReplicaSet", "-7d4b9c6f5", "k8s.replicaset.name")]
    [InlineData("StatefulSet", "db", "StatefulSet", "db", "k8s.statefulset.name")]
    [InlineData("DaemonSet", "agent", "DaemonSet", "agent", "k8s.daemonset.name")]
    [InlineData("Job", "night-29384720", "Job", "night-29384720", "k8s.job.name")]
    [InlineData("Rollout", "own", "Rollout", "own", null)]
    public async Task Owners_are_the_controllers_as_people_know_them(string kind, string name, string shownKind, string shownName, string? attribute)
    {
        await using FakeApi api = await FakeApi.StartNewAsync(a =>
        {
            JsonObject pod = FakeApi.Pod("any", FakePod.UidOf(1), NodeA, "10.244.1.17");
            pod["metadata"]!["ownerReferences"] = new JsonArray(new JsonObject { ["kind"] = "Other", ["name"] = "no controller" }, new JsonObject { ["kind"] = kind, ["name"] = name, ["controller"] = true });
            a.Set("pods", pod);
        });
        await using PodDirectory directory = await StartAsync(api, static o => o.PodOwner = true);
        PodInfo known = directory.Find(FakePod.UidOf(1))!;
        Assert.Equal(new PodOwner(shownKind, shownName), known.Owner);
        Assert.Equal(attribute is null ? [] : [new SampleAttribute(attribute, shownName)], known.Identity.Attributes);
    }

    [Fact]
    public async Task Without_a_runtime_the_api_names_the_pods_of_cgroups()
    {
        using var proc = new FakeProc();
        string uid = FakePod.UidOf(1), mirrored = "0123456789abcdef0123456789abcdef";
        proc.AddProcess(1, 100, "init")
            .AddProcess(20, 200, "web", $"0::/kubepods/burstable/pod{uid}/5d1c0f0c7c2c1c7ad1d7b5b7a35f0b9ea92f13fd9a3b2c1e0f9d8c7b6a594837\n")
            .AddProcess(30, 100, "etcd", $"0::/kubepods/burstable/pod{mirrored}/{FakePod.Id(3)}\n");
        await using FakeApi api = await FakeApi.StartNewAsync(a =>
        {
            Fill(a);
            JsonObject etcd = FakeApi.Pod("etcd-node-a", FakePod.UidOf(40), NodeA, "192.168.0.10");
            etcd["spec"]!["hostNetwork"] = true;
            etcd["metadata"]!["annotations"] = new JsonObject { ["kubernetes.io/config.mirror"] = mirrored };
            etcd["metadata"]!["ownerReferences"] = new JsonArray(new JsonObject { ["kind"] = "Node", ["name"] = NodeA, ["controller"] = true });
            a.Set("pods", etcd);
        });
        await using PodDirectory directory = await StartAsync(api, proc: proc);
        PodIdentity web = directory.Resolve(new NetworkNamespace(200, false, new NamespaceFacts(null, 20, null, null)))!;
        Assert.Equal(("shop", "web-7d4b9c6f5-x2x9p", uid), (web.Namespace, web.Name, web.Uid));
        Assert.Equal("main", directory.FindContainer($"/kubepods/burstable/pod{uid}/5d1c0f0c7c2c1c7ad1d7b5b7a35f0b9ea92f13fd9a3b2c1e0f9d8c7b6a594837")?.Name);
        Assert.Equal("etcd-node-a", directory.ResolveCgroup($"/kubepods/burstable/pod{mirrored}/{FakePod.Id(3)}")?.Name);
        Assert.Equal("node node-a", Name(directory, "192.168.0.10", Now)); // the address stays the node's
        PodProcesses[] seen = [.. directory.Survey().OrderBy(static p => p.Pod.Identity.Name)];
        Assert.Equal(["etcd-node-a", "web-7d4b9c6f5-x2x9p"], seen.Select(static p => p.Pod.Identity.Name));
        Assert.Equal((PodSource.Api, true, null), (seen[0].Pod.Source, seen[0].Pod.IsHostNetwork, seen[0].Pod.NamespaceInode));
        Assert.Equal((PodSource.Api, false, 200u, 20), (seen[1].Pod.Source, seen[1].Pod.IsHostNetwork, seen[1].Pod.NamespaceInode, seen[1].Pod.ProcessId));
        Assert.Equal([20], seen[1].ProcessIds);
        Assert.Equal(IPAddress.Parse("10.244.1.17"), seen[1].Pod.Addresses[0]);
    }

    [Fact]
    public async Task A_pod_that_ends_is_known_to_cgroups_for_a_minute_without_a_runtime()
    {
        var clock = new FakeTimeProvider(DateTimeOffset.UnixEpoch.AddYears(60));
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api, clock: clock);
        await api.WatchedAsync();
        string cgroup = $"/kubepods/pod{FakePod.UidOf(1)}";
        api.Remove("pods", FakePod.UidOf(1));
        await Eventually.TrueAsync(() => directory.Find(FakePod.UidOf(1))?.Ended is not null, "the end");
        clock.Advance(TimeSpan.FromSeconds(59));
        api.Bookmark();
        Assert.Equal("web-7d4b9c6f5-x2x9p", directory.ResolveCgroup(cgroup)?.Name);
        clock.Advance(TimeSpan.FromSeconds(2));
        api.Bookmark();
        await Eventually.TrueAsync(() => directory.ResolveCgroup(cgroup) is { IsNamed: false }, "to be forgotten");
    }

    [Fact]
    public async Task This_nodes_pods_are_known_by_the_runtime_before_the_api_tells_of_them()
    {
        using var proc = new FakeProc();
        await using FakeCri cri = await FakeCri.StartNewAsync();
        FakePod pod = FakePod.Make("early") with { ProcessId = 20, Ips = ["10.88.0.7", "fd88::7"] };
        proc.AddProcess(1, 100, "init").AddProcess(20, 200, "pause", $"0::/kubepods/pod{pod.Uid}/{pod.SandboxId}\n");
        cri.Add(pod);
        await using PodDirectory directory = await TestDirectory.StartAsync(cri, hostProc: proc.Root);
        await directory.FindAsync("early");
        Assert.Equal("pod shop/early", Name(directory, "10.88.0.7", Now));
        Assert.Equal("pod shop/early", Name(directory, "fd88::7", Now));
        Assert.Null(directory.ResolveAddress(End("10.88.0.8"), Now));
        cri.Remove(pod.SandboxId);
        await Eventually.TrueAsync(() => directory.ResolveAddress(End("10.88.0.7"), Now + TimeSpan.FromSeconds(5)) is null, "the end");
        Assert.Equal("pod shop/early", Name(directory, "10.88.0.7", Now - TimeSpan.FromSeconds(1)));
    }

    [Fact]
    public async Task Hostile_names_stay_what_they_are_within_bounds()
    {
        string hostile = "a\"b\n{}\\\u0000\u202E\ud83d\ude80", late = new('x', 3000);
        await using FakeApi api = await FakeApi.StartNewAsync(a =>
        {
            JsonObject pod = FakeApi.Pod(hostile, FakePod.UidOf(1), NodeA, "10.244.1.17");
            pod["metadata"]!["namespace"] = late;
            pod["metadata"]!["labels"] = new JsonObject { [hostile] = late, ["app"] = hostile };
            a.Set("pods", pod);
            JsonObject many = FakeApi.Pod("many", FakePod.UidOf(2), NodeA, [.. Enumerable.Range(0, 500).Select(static i => $"10.250.{i / 250}.{i % 250}")]);
            many["metadata"]!["labels"] = new JsonObject([.. Enumerable.Range(0, 500).Select(static i => KeyValuePair.Create($"l{i}", (JsonNode?)"v"))]);
            a.Set("pods", many);
        });
        await using PodDirectory directory = await StartAsync(api, o => o.PodLabels.Add("app"));
        PeerIdentity owner = directory.ResolveAddress(End("10.244.1.17"), Now)!;
        Assert.Equal((hostile, late[..256]), (owner.Name, owner.Namespace));
        PodInfo known = directory.Find(FakePod.UidOf(1))!;
        Assert.Equal([new SampleAttribute("k8s.pod.label.app", hostile)], known.Identity.Attributes);
        Assert.Equal(late[..256], known.Labels[hostile]);
        Assert.Equal((64, 64), (directory.Find(FakePod.UidOf(2))!.Labels.Count, directory.Find(FakePod.UidOf(2))!.Addresses.Count));
    }

    [Fact]
    public async Task Nobody_can_pass_for_another()
    {
        string mirrored = "0123456789abcdef0123456789abcdef";
        await using FakeApi api = await FakeApi.StartNewAsync(a =>
        {
            Fill(a);
            a.Set("pods", Image("etcd", FakePod.UidOf(40), mirrored, "Node"));
        });
        await using PodDirectory directory = await StartAsync(api);
        await api.WatchedAsync();
        // Whoever may make a pod may write these annotations.
        api.Set("pods", Image("thief-of-a-static-pod", FakePod.UidOf(41), mirrored, "Node"));
        api.Set("pods", Image("thief-of-a-pod", FakePod.UidOf(42), FakePod.UidOf(1), "Node"));
        api.Set("pods", Image("no-image", FakePod.UidOf(43), "0123456789abcdef0123456789abcde0", "ReplicaSet"));
        // Whoever may make a service may choose its external addresses.
        api.Set("services", FakeApi.Make("services", static s =>
        {
            s["metadata"]!["name"] = "thief-of-addresses";
            s["metadata"]!["uid"] = FakePod.UidOf(44);
            s["spec"] = new JsonObject { ["clusterIP"] = "10.96.0.44", ["externalIPs"] = new JsonArray("10.244.1.17", "192.168.0.10", "10.96.14.2", "10.244.1.1", "203.0.113.80", "198.51.100.1") };
            s["status"] = new JsonObject();
        }));
        await NamedAsync(directory, "10.96.0.44", "service shop/thief-of-addresses");
        Assert.Equal("service shop/thief-of-addresses", Name(directory, "198.51.100.1", Now)); // nobody else says that it is his
        Assert.Equal(["pod shop/web-7d4b9c6f5-x2x9p", "node node-a", "service shop/web", "node node-a", "service shop/web"],
            new[] { "10.244.1.17", "192.168.0.10", "10.96.14.2", "10.244.1.1", "203.0.113.80" }.Select(address => Name(directory, address, Now)));
        await Eventually.TrueAsync(() => directory.Find(FakePod.UidOf(43)) is not null, "the last of them");
        Assert.Equal(["etcd", "web-7d4b9c6f5-x2x9p", "thief-of-a-static-pod", "thief-of-a-pod", "no-image"],
            new[] { mirrored, FakePod.UidOf(1), FakePod.UidOf(41), FakePod.UidOf(42), FakePod.UidOf(43) }.Select(uid => directory.Find(uid)?.Identity.Name));
        api.Remove("pods", FakePod.UidOf(41));
        await Eventually.TrueAsync(() => directory.Find(FakePod.UidOf(41))?.Ended is not null, "its end");
        Assert.Equal(("etcd", null), (directory.Find(mirrored)!.Identity.Name, directory.Find(mirrored)!.Ended));
        api.Remove("pods", FakePod.UidOf(40));
        await Eventually.TrueAsync(() => directory.Find(mirrored)!.Ended is not null, "the end of the image");

        static JsonObject Image(string name, string uid, string of, string owner)
        {
            JsonObject pod = FakeApi.Pod(name, uid, NodeA);
            pod["metadata"]!["annotations"] = new JsonObject { ["kubernetes.io/config.mirror"] = of };
            pod["metadata"]!["ownerReferences"] = new JsonArray(new JsonObject { ["kind"] = owner, ["name"] = "any", ["controller"] = true });
            return pod;
        }
    }

    [Fact]
    public void Damaged_objects_are_refused_as_such_or_taken_as_far_as_they_go() => Gen.Select(Gen.Int[0, 2], Gen.Int[0, 1 << 20], Gen.Byte, Gen.Int[0, 1 << 20], Gen.Int[1, 64]).Sample(static (kind, at, value, from, length) =>
    {
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(new JsonObject { ["type"] = "ADDED", ["object"] = FakeApi.Make(((ApiKind)kind).ToString().ToLowerInvariant()) });
        json[at % json.Length] = value;
        json.AsSpan(from % json.Length, Math.Min(length, json.Length - from % json.Length)).Reverse();
        var state = new ClusterState(new KubernetesOptions(), NodeA, TimeProvider.System);
        try
        {
            ApiObject? given = JsonSerializer.Deserialize(json, ApiJson.Default.ApiEvent)?.Object;
            foreach (ApiKind each in Enum.GetValues<ApiKind>())
            {
                if (given is null) break;
                state.Set(each, given);
                state.Set(each, given);
                state.PodsOfNode();
                state.Remove(each, given);
                Assert.Equal(0, state.CountOf(each));
            }
        }
        catch (JsonException)
        {
            // Said so.
        }
    }, iter: 3000);

    [Fact]
    public async Task A_look_at_an_address_allocates_nothing()
    {
        await using FakeApi api = await FakeApi.StartNewAsync(Fill);
        await using PodDirectory directory = await StartAsync(api);
        Endpoint[] ends = [End("10.244.1.17"), End("10.244.2.5"), End("192.168.0.10"), End("10.96.14.2"), End("198.51.100.1"), End("10.244.1.99"), End("fd00:10:244:1::11"), End("::1")];
        DateTimeOffset now = Now;
        for (int i = 0; i < 100; i++)
            foreach (Endpoint end in ends) directory.ResolveAddress(in end, now);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
            foreach (Endpoint end in ends) directory.ResolveAddress(in end, now);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    private static DateTimeOffset Now => TimeProvider.System.GetUtcNow();

    private static void Fill(FakeApi api)
    {
        api.Set("nodes", FakeApi.Make("nodes"));
        api.Set("nodes", FakeApi.Node(NodeB, FakePod.UidOf(0xa2), "192.168.0.11", "10.244.2.0/24"));
        api.Set("services", FakeApi.Make("services"));
        api.Set("services", FakeApi.Make("services", static s =>
        {
            s["metadata"]!["name"] = "headless";
            s["metadata"]!["uid"] = FakePod.UidOf(0xb2);
            s["spec"] = new JsonObject { ["clusterIP"] = "None", ["clusterIPs"] = new JsonArray("None") };
            s["status"] = new JsonObject { ["loadBalancer"] = new JsonObject() };
        }));
        api.Set("pods", FakeApi.Make("pods"));
        api.Set("pods", FakeApi.Pod("far", FakePod.UidOf(2), NodeB, "10.244.2.5"));
        api.Set("pods", FakeApi.Pod("first", FakePod.UidOf(3), NodeB, "10.244.2.1"));
        JsonObject proxy = FakeApi.Pod("proxy", FakePod.UidOf(4), NodeB, "192.168.0.11");
        proxy["spec"]!["hostNetwork"] = true;
        api.Set("pods", proxy);
        JsonObject over = FakeApi.Pod("over", FakePod.UidOf(5), NodeB, "10.244.2.5"); // its address is far's now
        over["status"]!["phase"] = "Succeeded";
        api.Set("pods", over);
    }

    private static Endpoint End(string address) => new(IPAddress.Parse(address).GetAddressBytes(), 80);

    private static string? Name(PodDirectory directory, string address, DateTimeOffset at) => directory.ResolveAddress(End(address), at)?.ToString();

    private static Task NamedAsync(PodDirectory directory, string address, string name) =>
        Eventually.EqualAsync(name, () => Name(directory, address, Now), address);

    private static Task AdvanceAsync(FakeTimeProvider clock, TimeSpan step, Func<bool> condition, string what) => Eventually.TrueAsync(() =>
    {
        if (condition()) return true;
        clock.Advance(step);
        return false;
    }, what, TimeSpan.FromSeconds(60));

    private static async Task<PodDirectory> StartAsync(FakeApi api, Action<KubernetesOptions>? configure = null, FakeCri? cri = null, FakeProc? proc = null, TimeProvider? clock = null)
    {
        PodDirectory directory = TestDirectory.Of(cri?.Socket ?? KubernetesOptions.NoRuntime, options =>
        {
            options.Kubeconfig = api.Kubeconfig;
            configure?.Invoke(options);
        }, proc?.Root, clock);
        await directory.StartAsync(CancellationToken.None);
        return directory;
    }
}
