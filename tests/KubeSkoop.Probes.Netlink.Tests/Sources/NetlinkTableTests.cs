using System.Globalization;
using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Netlink.Tests;

/// <summary>One socket per namespace and family: opened once, kept, released.</summary>
public class NetlinkTableTests
{
    private readonly NetlinkSettings _settings = new();

    [LiveFact(Needs.NetNs)]
    public async Task A_socket_is_opened_once_in_its_namespace_and_the_thread_that_entered_it_is_gone()
    {
        await using TestNamespace one = await TestNamespace.CreateAsync();
        await using TestNamespace two = await TestNamespace.CreateAsync();
        await one.IpAsync("link", "add", "left", "type", "veth", "peer", "name", "right");
        var source = new FakeNamespaceSource { Opener = Opener(one, two) };
        source.Add(one.Inode);
        source.Add(two.Inode);
        using var sockets = new NetlinkSockets(source, _settings);
        NetlinkTable table = sockets.Route;
        table.Acquire();

        for (int i = 0; i < 50; i++)
        {
            Assert.Equal(3, Devices(table, 0));
            Assert.Equal(1, Devices(table, 1));
        }

        Assert.Equal(2, _settings.Counts.Opened);
        Assert.Equal(TestNamespace.OwnInode, TestNamespace.InodeOf("/proc/thread-self/ns/net"));
        await Eventually.EqualAsync(0, static () => Directory.EnumerateDirectories("/proc/self/task").Count(IsOpener), "threads that opened a socket");
        Assert.Equal(1, source.Leases);
        table.Release();
        Assert.Equal(0, source.Leases);
    }

    [LiveFact(Needs.NetNs)]
    public async Task The_end_of_a_namespace_closes_its_socket_at_once()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        var source = new FakeNamespaceSource { Opener = Opener(ns) };
        NetworkNamespace known = source.Add(ns.Inode);
        using var table = new NetlinkTable(source, NetlinkProtocol.Route, _settings);
        table.Acquire();
        NamespaceSocket slot = table.Current[0];
        NetlinkSocket socket = slot.TryOpen(out _)!;

        source.Remove(known);

        Assert.True(socket.Handle.IsClosed);
        Assert.Null(slot.TryOpen(out SkipReason reason));
        Assert.Equal(SkipReason.Vanished, reason);
        Assert.Null(slot.Problem);
        Assert.True(table.Current.IsEmpty);
        Assert.Equal(1, _settings.Counts.Opened);
    }

    [LiveFact(Needs.NetNs)]
    public async Task The_last_release_closes_every_socket_and_a_new_use_opens_them_again()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        var source = new FakeNamespaceSource { Opener = Opener(ns) };
        source.Add(ns.Inode);
        using var table = new NetlinkTable(source, NetlinkProtocol.Route, _settings);
        table.Acquire();
        table.Acquire();
        NetlinkSocket socket = table.Current[0].TryOpen(out _)!;

        table.Release();
        Assert.False(socket.Handle.IsClosed);
        table.Release();
        Assert.True(socket.Handle.IsClosed);
        table.Release(); // one too many does no harm

        table.Acquire();
        Assert.Equal(1, Devices(table, 0));
        Assert.Equal(2, _settings.Counts.Opened);
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_broken_socket_is_opened_again()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        var source = new FakeNamespaceSource { Opener = Opener(ns) };
        source.Add(ns.Inode);
        using var table = new NetlinkTable(source, NetlinkProtocol.Route, _settings);
        table.Acquire();
        NetlinkSocket socket = table.Current[0].TryOpen(out _)!;
        var counter = new MessageCounter();
        socket.Dispose();
        byte[] request = new byte[32];
        Assert.Equal(NetlinkOutcome.Closed, socket.Dump(table.Buffer, new NetlinkWriter(request, 18).Finish(), ref counter).Outcome);

        Assert.Equal(1, Devices(table, 0));
        Assert.Equal(2, _settings.Counts.Opened);
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_namespace_that_may_not_be_entered_is_denied_and_tried_again_now_and_then()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        int opens = 0;
        Func<NetworkNamespace, SafeFileHandle?> opener = Opener(ns);
        var source = new FakeNamespaceSource
        {
            Opener = n =>
            {
                opens++;
                return opener(n);
            },
        };
        source.Add(ns.Inode, "left");
        using var table = new NetlinkTable(source, NetlinkProtocol.Netfilter, _settings);
        table.Acquire();
        NamespaceSocket slot = table.Current[0];

        (NetlinkSocket? Socket, SkipReason Reason) answer = await Capabilities.RunWithoutAsync(
            () => (slot.TryOpen(out SkipReason reason), reason), Capability.SysAdmin);

        Assert.Null(answer.Socket);
        Assert.Equal(SkipReason.Denied, answer.Reason);
        Assert.Equal($"netlink Netfilter socket of left (net:[{ns.Inode}]): the namespace cannot be entered: EPERM, CAP_SYS_ADMIN is missing", slot.Problem);
        for (int i = 0; i < 32; i++)
        {
            Assert.Null(slot.TryOpen(out SkipReason again));
            Assert.Equal(SkipReason.Denied, again);
        }
        Assert.Equal(1, opens);
        Assert.NotNull(slot.TryOpen(out _));
        Assert.Null(slot.Problem);
        Assert.Equal(2, opens);
    }

    [LiveFact]
    public void A_family_the_kernel_lacks_is_denied_and_named()
    {
        var source = new FakeNamespaceSource { Opener = static _ => File.OpenHandle("/proc/self/ns/net") };
        source.Add(TestNamespace.OwnInode, isHost: true);
        using var table = new NetlinkTable(source, (NetlinkProtocol)27, _settings); // no kernel has had one of this number
        table.Acquire();
        NamespaceSocket slot = table.Current[0];

        Assert.Null(slot.TryOpen(out SkipReason reason));
        Assert.Equal(SkipReason.Denied, reason);
        Assert.EndsWith(": EPROTONOSUPPORT, the kernel was built without this netlink family, or its module is not loaded", slot.Problem, StringComparison.Ordinal);
    }

    [LiveFact(Needs.Root)]
    public async Task Our_own_namespace_needs_no_capability_to_be_entered()
    {
        var source = new FakeNamespaceSource { Opener = static _ => File.OpenHandle("/proc/self/ns/net") };
        source.Add(TestNamespace.OwnInode, isHost: true);
        using var table = new NetlinkTable(source, NetlinkProtocol.Route, _settings);
        table.Acquire();
        NamespaceSocket slot = table.Current[0];

        Assert.NotNull(await Capabilities.RunWithoutAsync(() => slot.TryOpen(out _), Capability.SysAdmin, Capability.NetAdmin, Capability.SysPtrace));
    }

    [Fact]
    public void A_namespace_that_cannot_be_opened_is_denied_and_one_that_ended_meanwhile_vanished()
    {
        var source = new FakeNamespaceSource();
        NetworkNamespace known = source.Add(1, "gone");
        using var table = new NetlinkTable(source, NetlinkProtocol.Route, _settings);
        table.Acquire();
        NamespaceSocket slot = table.Current[0];

        Assert.Null(slot.TryOpen(out SkipReason reason));
        Assert.Equal(SkipReason.Denied, reason);
        Assert.Equal("netlink Route socket of gone (net:[1]): its namespace cannot be opened; it has just ended, or CAP_SYS_PTRACE is missing", slot.Problem);

        source.Opener = _ =>
        {
            source.Remove(known);
            return null;
        };
        for (int i = 0; i < 32; i++) Assert.Null(slot.TryOpen(out reason));
        Assert.Null(slot.TryOpen(out reason));
        Assert.Equal(SkipReason.Vanished, reason);
    }

    [LiveFact(Needs.NetNs)]
    public async Task Namespaces_may_end_in_the_middle_of_a_dump()
    {
        for (int round = 0; round < 20; round++)
        {
            TestNamespace ns = await TestNamespace.CreateUnboundAsync();
            var source = new FakeNamespaceSource { Opener = Opener(ns) };
            NetworkNamespace known = source.Add(ns.Inode);
            using var table = new NetlinkTable(source, NetlinkProtocol.Route, _settings);
            table.Acquire();
            IReadOnlyList<NetworkNamespace> snapshot = source.Current;
            byte[] request = new byte[64];
            using var begun = new ManualResetEventSlim();

            Task<NetlinkOutcome> dumping = Task.Run(() =>
            {
                var counter = new MessageCounter();
                while (true)
                {
                    lock (table.Gate)
                    {
                        if (table.Of(snapshot)[0].TryOpen(out SkipReason reason) is not { } socket) return reason == SkipReason.Vanished ? NetlinkOutcome.Closed : NetlinkOutcome.Refused;
                        var writer = new NetlinkWriter(request, 18);
                        writer.Header(default(UInt128));
                        NetlinkResult result = socket.Dump(table.Buffer, writer.Finish(), ref counter);
                        if (!result.IsComplete) return result.Outcome;
                    }
                    begun.Set();
                }
            });
            begun.Wait(TimeSpan.FromSeconds(10));
            await ns.DisposeAsync();
            source.Remove(known);

            Assert.Equal(NetlinkOutcome.Closed, await dumping.WaitAsync(TimeSpan.FromSeconds(10)));
        }
    }

    /// <summary>Opens the namespaces the test made.</summary>
    internal static Func<NetworkNamespace, SafeFileHandle?> Opener(params TestNamespace[] namespaces) => known =>
        namespaces.FirstOrDefault(n => n.Inode == known.Inode) is { } found
            ? File.OpenHandle(string.Create(CultureInfo.InvariantCulture, $"/proc/{found.ProcessId}/ns/net"))
            : null;

    private static int Devices(NetlinkTable table, int index)
    {
        lock (table.Gate)
        {
            NetlinkSocket? socket = table.Current[index].TryOpen(out _);
            Assert.NotNull(socket);
            var writer = new NetlinkWriter(new byte[64], 18);
            writer.Header(default(UInt128)); // struct ifinfomsg
            var counter = new MessageCounter();
            Assert.Equal(Errno.None, socket.Dump(table.Buffer, writer.Finish(), ref counter).Errno);
            return counter.Messages;
        }
    }

    private static bool IsOpener(string task)
    {
        try
        {
            return File.ReadAllText(task + "/comm").StartsWith("kubeskoop-netli", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }
}

/// <summary>Counts messages.</summary>
internal struct MessageCounter : INetlinkVisitor
{
    internal int Messages;

    public void Begin() => Messages = 0;

    public bool Visit(in NetlinkMessage message)
    {
        Messages++;
        return true;
    }
}
