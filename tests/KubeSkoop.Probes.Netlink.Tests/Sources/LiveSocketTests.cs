using System.Runtime.InteropServices;
using System.Text;
using KubeSkoop.Probes.Procfs.Interop;

namespace KubeSkoop.Probes.Netlink.Tests;

/// <summary>The transport against the kernel.</summary>
public class LiveSocketTests
{
    private const ushort NewLink = 16; // include/uapi/linux/rtnetlink.h
    private const ushort GetLink = 18;
    private const ushort InterfaceName = 3;
    private const int LinkGroup = 1; // RTNLGRP_LINK

    [LiveFact(Needs.NetNs)]
    public async Task A_dump_shows_the_devices_of_the_namespace_the_socket_was_opened_in()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.IpAsync("link", "add", "left", "type", "veth", "peer", "name", "right");
        using NetlinkSocket socket = await ns.RunAsync(() => Open(NetlinkProtocol.Route));

        var names = new LinkNames { Names = [] };
        NetlinkResult result = socket.Dump(new NetlinkBuffer(), LinkRequest(), ref names);

        Assert.Equal(NetlinkOutcome.Ok, result.Outcome);
        Assert.Equal(["left", "lo", "right"], names.Names.Order(StringComparer.Ordinal));
    }

    [LiveFact]
    public void The_kernels_own_words_about_a_bad_request_reach_the_caller()
    {
        using NetlinkSocket socket = Open(NetlinkProtocol.Route);
        var writer = new NetlinkWriter(new byte[128], GetLink);
        writer.Header(new LinkHeader { Index = 1, Change = 77 }); // strict checking wants zero here
        var names = new LinkNames { Names = [] };

        NetlinkResult result = socket.Request(new NetlinkBuffer(), writer.Finish(), ref names);

        Assert.Equal(NetlinkOutcome.Refused, result.Outcome);
        Assert.Equal(Errno.InvalidArgument, result.Errno);
        Assert.NotNull(result.Error!.Message);
        NetlinkException exception = result.ToException("RTM_GETLINK");
        Assert.Equal(22, exception.ErrorNumber);
        Assert.Contains(result.Error.Message, exception.Message, StringComparison.Ordinal);
    }

    [LiveFact(Needs.NetNs)]
    public async Task A_socket_that_lost_messages_asks_again()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        var settings = new NetlinkSettings();
        using NetlinkSocket socket = await ns.RunAsync(() =>
        {
            NetlinkSocket opened = NetlinkSocket.TryOpen(NetlinkProtocol.Route, settings, out _)!;
            Assert.True(opened.TrySetReceiveBuffer(4096));
            Assert.True(opened.TryJoin(LinkGroup, out _));
            return opened;
        });
        // More notices than the receive buffer has room for, and nobody reads them.
        await ns.IpAsync("link", "add", "left", "type", "veth", "peer", "name", "right");
        for (int i = 0; i < 20; i++) await ns.IpAsync("link", "set", "left", i % 2 == 0 ? "up" : "down");

        var names = new LinkNames { Names = [] };
        NetlinkResult result = socket.Dump(new NetlinkBuffer(), LinkRequest(), ref names);

        Assert.Equal(NetlinkOutcome.Ok, result.Outcome);
        Assert.Equal(["left", "lo", "right"], names.Names.Order(StringComparer.Ordinal));
        // Notices of the carrier may follow late, and be lost in turn.
        Assert.InRange(settings.Counts.Overruns, 1, settings.Attempts);
        Assert.InRange(settings.Counts.Requests, 2, settings.Attempts);
    }

    [LiveFact(Needs.NetNs)]
    public async Task Requests_and_dumps_allocate_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        using NetlinkSocket socket = await ns.RunAsync(() => Open(NetlinkProtocol.Route));
        var buffer = new NetlinkBuffer();
        byte[] request = LinkRequest().ToArray();
        byte[] single = SingleRequest().ToArray();

        Check.Quiet(() =>
        {
            var counter = new MessageCounter();
            socket.Dump(buffer, request, ref counter);
            if (counter.Messages != 1) throw new InvalidOperationException("The loopback device alone should be there.");
            socket.Request(buffer, single, ref counter);
            if (counter.Messages != 1) throw new InvalidOperationException("The loopback device should be found.");
        });
    }

    [LiveFact]
    public void A_request_for_what_is_not_there_is_refused_and_the_socket_works_on()
    {
        using NetlinkSocket socket = Open(NetlinkProtocol.Route);
        var writer = new NetlinkWriter(new byte[128], GetLink);
        writer.Header(new LinkHeader { Index = int.MaxValue });
        var names = new LinkNames { Names = [] };

        NetlinkResult result = socket.Request(new NetlinkBuffer(), writer.Finish(), ref names);

        Assert.Equal((NetlinkOutcome.Refused, 19), (result.Outcome, (int)result.Errno)); // ENODEV
        Assert.False(socket.IsBroken);
        Assert.Equal(NetlinkOutcome.Ok, socket.Dump(new NetlinkBuffer(), LinkRequest(), ref names).Outcome);
        Assert.Contains("lo", names.Names);
    }

    internal static NetlinkSocket Open(NetlinkProtocol protocol)
    {
        NetlinkSocket? socket = NetlinkSocket.TryOpen(protocol, new NetlinkSettings(), out Errno error);
        Assert.Equal(Errno.None, error);
        return socket!;
    }

    private static Span<byte> SingleRequest()
    {
        var writer = new NetlinkWriter(new byte[64], GetLink);
        writer.Header(new LinkHeader { Index = 1 });
        return writer.Finish();
    }

    private static Span<byte> LinkRequest()
    {
        var writer = new NetlinkWriter(new byte[64], GetLink);
        writer.Header(new LinkHeader());
        return writer.Finish();
    }

    /// <summary>struct ifinfomsg.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 16)]
    private struct LinkHeader
    {
        [FieldOffset(4)] internal int Index;
        [FieldOffset(12)] internal uint Change;
    }


    private struct LinkNames : INetlinkVisitor
    {
        internal List<string> Names;

        public readonly void Begin() => Names.Clear();

        public readonly bool Visit(in NetlinkMessage message)
        {
            if (message.Type != NewLink || !message.TryRead(out LinkHeader _, out NetlinkAttributes attributes)) return false;
            while (attributes.MoveNext())
                if (attributes.Type == InterfaceName) Names.Add(Encoding.UTF8.GetString(attributes.Text()));
            return attributes.Fault == NetlinkFault.None;
        }
    }
}
