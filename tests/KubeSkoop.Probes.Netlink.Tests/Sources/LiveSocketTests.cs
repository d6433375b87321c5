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

    internal static NetlinkSocket Open(NetlinkProtocol protocol)
    {
        NetlinkSocket? socket = NetlinkSocket.TryOpen(protocol, new NetlinkSettings(), out Errno error);
        Assert.Equal(Errno.None, error);
        return socket!;
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
