using System.Net;
using CsCheck;

namespace KubeSkoop.Probes.Netlink.Tests;

/// <summary>Messages of the family IPVS, made by hand: every number is another one.</summary>
public sealed class IpvsMessagesTests
{
    private const ushort Family = 37;

    private static readonly IpvsServiceKey Service = new(1, 80, 0, IpvsServiceKey.IPv4, 6);
    private static readonly byte[] Old = Nest((1, U32(1)), (2, U32(2)), (3, U32(3)), (4, U64(4)), (5, U64(5)), (6, U32(6)));
    private static readonly byte[] Wide = Nest((1, U64(11)), (2, U64(1UL << 40)), (3, U64(13)), (4, U64(14)), (5, U64(15)), (6, U64(16)));

    [Theory]
    [InlineData("10.96.0.1", 2, "TCP 10.96.0.1:443")]
    [InlineData("fd00::1", 10, "TCP [fd00::1]:443")]
    public void A_service_is_known_by_protocol_address_and_port(string address, ushort family, string name)
    {
        byte[] bytes = [.. IPAddress.Parse(address).GetAddressBytes(), .. new byte[16]];
        IpvsService service = Read([(1, U16(family)), (2, U16(6)), (3, bytes[..16]), (4, [1, 187]), (6, "wrr\0"u8.ToArray()), (10, Old), (12, Wide)]);
        Assert.Equal((name, "wrr"), (service.Key.ToString(), IpvsMessages.NameOf(service.Scheduler)));
        Assert.Equal((11ul, 1UL << 40, 13ul, 14ul, 15ul), Numbers(service.Counts));
    }

    // What IPv4 leaves of the sixteen bytes is the kernel's.
    [Fact]
    public void What_follows_an_IPv4_address_makes_no_other_service()
    {
        byte[] junk = [10, 96, 0, 1, .. Enumerable.Repeat((byte)7, 12)], clean = [10, 96, 0, 1, .. new byte[12]];
        Assert.Equal(Read([(1, U16(2)), (2, U16(6)), (3, junk), (4, [0, 80])]).Key, Read([(1, U16(2)), (2, U16(6)), (3, clean), (4, [0, 80])]).Key);
    }

    [Fact]
    public void Wide_numbers_win_whatever_the_order_and_the_old_ones_serve_where_there_are_none()
    {
        (ushort, byte[])[] head = [(1, U16(2)), (2, U16(17)), (3, new byte[16]), (4, [0, 53])];
        Assert.Equal((11ul, 1UL << 40, 13ul, 14ul, 15ul), Numbers(Read([.. head, (12, Wide), (10, Old)]).Counts));
        Assert.Equal((1ul, 2ul, 3ul, 4ul, 5ul), Numbers(Read([.. head, (10, Old)]).Counts));
        Assert.False(Read(head).Counts.Connections.HasValue);
    }

    [Fact]
    public void A_mark_is_a_service_of_its_own_in_each_family()
    {
        Assert.Equal("FWM 7", Read([(1, U16(2)), (5, U32(7))]).Key.ToString());
        Assert.Equal("FWM 7 IPv6", Read([(1, U16(10)), (5, U32(7))]).Key.ToString());
    }

    [Fact]
    public void A_server_has_all_its_numbers()
    {
        Assert.True(TryRead(Message(2, (1, [10, 0, 0, 9, .. new byte[12]]), (2, [31, 144]), (3, U32(0x102)), (4, U32(41)), (7, U32(42)), (8, U32(43)), (9, U32(44)), (11, U16(2)), (12, Wide)), out IpvsServer server));
        Assert.Equal(("10.0.0.9:8080", IpvsForwarding.Tunnel, Service), (server.Key.ToString(), server.Key.Forwarding, server.Key.Service));
        IpvsServicesRecord record = server.Record;
        Assert.Equal((41ul, 42ul, 43ul, 44ul), (record.Weight.Value, record.ActiveConnections.Value, record.InactiveConnections.Value, record.PersistentConnections.Value));
        Assert.Equal((11ul, 1UL << 40, 13ul, 14ul, 15ul), Numbers(record.Server));
        Assert.False(record.Service.Connections.HasValue || record.Servers.HasValue);
        // Before 4.0 it has its service's family.
        Assert.True(TryRead(Message(2, (1, [10, 0, 0, 9, .. new byte[12]]), (2, [31, 144])), out server));
        Assert.Equal("10.0.0.9:8080", server.Key.ToString());
    }

    // What is put in while the kernel tells a list moves the place it goes on from.
    [Fact]
    public void What_comes_twice_is_asked_for_again_and_has_one_row()
    {
        using var fake = new FakeNetlink(q => q.Number == 1 ? [Told(q, 1, 2), Told(q, 2, 3), q.Done()] : [Told(q, 9, 1), Told(q, 2, 3), q.Done()]);
        List<IpvsService> services = [];
        var visitor = new IpvsServiceVisitor(services, [], Family, 100);
        Assert.Equal(NetlinkOutcome.Ok, IpvsMessages.Ask(fake.Client, fake.Settings, new NetlinkBuffer(), IpvsMessages.ServicesRequest(Family), ref visitor).Outcome);
        Assert.Equal(["TCP 10.0.0.9:80", "TCP 10.0.0.1:80", "TCP 10.0.0.2:80", "TCP 10.0.0.3:80"], services.Select(static s => s.Key.ToString()));
        Assert.Equal((2, 1L), (fake.Requests, fake.Settings.Counts.Interrupted));
    }

    [Fact]
    public void Services_that_always_come_twice_have_one_row_each_and_the_answer_is_not_whole()
    {
        using var fake = new FakeNetlink(q => [Told(q, 1, 2), Told(q, 2, 3), Told(q, 3, 4), q.Done()]);
        List<IpvsService> services = [];
        var visitor = new IpvsServiceVisitor(services, [], Family, 3);
        Assert.Equal(NetlinkOutcome.Inconsistent, IpvsMessages.Ask(fake.Client, fake.Settings, new NetlinkBuffer(), IpvsMessages.ServicesRequest(Family), ref visitor).Outcome);
        Assert.Equal(["TCP 10.0.0.1:80", "TCP 10.0.0.2:80", "TCP 10.0.0.3:80"], services.Select(static s => s.Key.ToString()));
        Assert.Equal((1, fake.Settings.Attempts), (visitor.Surplus, fake.Requests));
    }

    [Fact]
    public void Servers_that_always_come_twice_have_one_row_each()
    {
        (ushort, byte[])[] one = [(1, [10, 0, 0, 9, .. new byte[12]]), (2, [31, 144])], other = [(1, [10, 0, 0, 9, .. new byte[12]]), (2, [31, 145])];
        using var fake = new FakeNetlink(q => [Part(q, Message(2, one)), [.. Part(q, Message(2, other)), .. Part(q, Message(2, one))], q.Done()]);
        List<IpvsServer> servers = [];
        var visitor = new IpvsServerVisitor(servers, [], Family, Service);
        Assert.Equal(NetlinkOutcome.Inconsistent, IpvsMessages.Ask(fake.Client, fake.Settings, new NetlinkBuffer(), IpvsMessages.ServersRequest(new byte[128], Family, Service), ref visitor).Outcome);
        Assert.Equal(["10.0.0.9:8080", "10.0.0.9:8081"], servers.Select(static s => s.Key.ToString()));
    }

    [Fact]
    public void What_is_no_service_is_refused()
    {
        (ushort, byte[])[] good = [(1, U16(2)), (2, U16(6)), (3, new byte[16]), (4, [0, 80])];
        Assert.True(TryRead(Message(1, good), out IpvsService _));
        Assert.False(TryRead(Message(2, good), out IpvsService _));
        Assert.False(TryRead(Message(1, [(1, U16(9)), .. good[1..]]), out IpvsService _));
        Assert.False(TryRead(Message(1, [.. good[..2], (3, new byte[3]), good[3]]), out IpvsService _));
        Assert.False(TryRead(Message(1, [.. good, (6, "a name that is too long\0"u8.ToArray())]), out IpvsService _));
        Assert.False(TryRead(Message(1, [.. good, (12, Nest((1, U32(1))))]), out IpvsService _)); // too short
        Assert.False(TryRead(FakeNetlink.Message(Family + 1, NetlinkFlags.Multipart, 1, 1, Message(1, good).AsSpan(16)), out IpvsService _));
    }

    [Fact]
    public void Cut_or_changed_anywhere_nothing_breaks_and_no_name_has_control_characters()
    {
        byte[][] good =
        [
            Message(1, (1, U16(2)), (2, U16(6)), (3, new byte[16]), (4, [0, 80]), (6, "rr\0"u8.ToArray()), (10, Old), (12, Wide)),
            Message(2, (1, new byte[16]), (2, [31, 144]), (3, U32(0)), (4, U32(41)), (10, Old), (12, Wide)),
        ];
        Gen.Select(Gen.Int[0, 1], Gen.Int[16, 200], Gen.Byte, Gen.Bool).Sample((which, at, value, cut) =>
        {
            byte[] payload = good[which][16..];
            at = (at - 16) % payload.Length;
            if (cut) payload = payload[..at];
            else payload[at] = value;
            byte[] message = FakeNetlink.Message(Family, NetlinkFlags.Multipart, 1, 1, payload);
            if (TryRead(message, out IpvsService service) && (service.Key.ToString() + IpvsMessages.NameOf(service.Scheduler)).Any(char.IsControl)) return false;
            return !TryRead(message, out IpvsServer server) || !server.Key.ToString().Any(char.IsControl);
        }, iter: 20_000);
    }

    [Fact]
    public void Every_metric_reads_a_field_of_its_own()
    {
        var record = new IpvsServicesRecord
        {
            Servers = 1,
            Service = new IpvsCounts { Connections = 2, IncomingPackets = 3, OutgoingPackets = 4, IncomingBytes = 5, OutgoingBytes = 6 },
            Server = new IpvsCounts { Connections = 7, IncomingPackets = 8, OutgoingPackets = 9, IncomingBytes = 10, OutgoingBytes = 11 },
            ActiveConnections = 12,
            InactiveConnections = 13,
            PersistentConnections = 14,
            Weight = 15,
        };
        Assert.Equal([2, 3, 4, 5, 6, 1, 7, 8, 9, 10, 11, 12, 13, 14, 15], IpvsServicesRecord.Metrics.Select(m => int.Parse(m.Read!(in record).ToString()!, System.Globalization.CultureInfo.InvariantCulture)));
    }

    // A datagram with services at these addresses.
    private static byte[] Told(FakeNetlink.Question question, params byte[] last) =>
        [.. last.SelectMany(n => Part(question, Message(1, (1, U16(2)), (2, U16(6)), (3, [10, 0, 0, n, .. new byte[12]]), (4, [0, 80]))))];

    private static byte[] Part(FakeNetlink.Question question, byte[] message) =>
        FakeNetlink.Message(Family, NetlinkFlags.Multipart, question.Header.Sequence, question.Header.Port, message.AsSpan(NetlinkHeader.Size));

    private static IpvsService Read((ushort, byte[])[] attributes)
    {
        Assert.True(TryRead(Message(1, attributes), out IpvsService service));
        return service;
    }

    private static bool TryRead(byte[] message, out IpvsService service)
    {
        var messages = new NetlinkMessages(message);
        Assert.True(messages.MoveNext());
        return IpvsMessages.TryRead(messages.Current, Family, out service);
    }

    private static bool TryRead(byte[] message, out IpvsServer server)
    {
        var messages = new NetlinkMessages(message);
        Assert.True(messages.MoveNext());
        return IpvsMessages.TryRead(messages.Current, Family, Service, out server);
    }

    private static byte[] Message(ushort what, params (ushort, byte[])[] attributes)
    {
        var writer = new NetlinkWriter(new byte[4096], Family);
        writer.Header(0x0101u); // a command, a version
        writer.Attribute(what, Nest(attributes));
        return writer.Finish().ToArray();
    }

    private static byte[] Nest(params (ushort Type, byte[] Value)[] attributes)
    {
        var writer = new NetlinkWriter(new byte[4096], 1);
        foreach ((ushort type, byte[] value) in attributes) writer.Attribute(type, value);
        return writer.Finish()[NetlinkHeader.Size..].ToArray();
    }

    private static (ulong, ulong, ulong, ulong, ulong) Numbers(IpvsCounts c) =>
        (c.Connections.Value, c.IncomingPackets.Value, c.OutgoingPackets.Value, c.IncomingBytes.Value, c.OutgoingBytes.Value);

    private static byte[] U16(ushort value) => BitConverter.GetBytes(value);

    private static byte[] U32(uint value) => BitConverter.GetBytes(value);

    private static byte[] U64(ulong value) => BitConverter.GetBytes(value);
}
