using System.Net;
using CsCheck;

namespace KubeSkoop.Probes.Tests.Records;

public sealed class EndpointTests
{
    private static readonly Gen<byte[]> Addresses = Gen.OneOf(Gen.Byte.Array[4], Gen.Byte.Array[16]);

    [Fact]
    public void Addresses_and_ports_come_out_as_they_went_in() => Gen.Select(Addresses, Gen.UShort).Sample((address, port) =>
    {
        var endpoint = new Endpoint(address, port);
        var expected = new IPAddress(address);
        if (expected.IsIPv4MappedToIPv6) expected = expected.MapToIPv4();
        return endpoint.Address.Equals(expected)
            && endpoint.Port == port
            && endpoint.IsIPv4 == (expected.GetAddressBytes().Length == 4)
            && endpoint.ToString() == new IPEndPoint(expected, port).ToString()
            && endpoint == new Endpoint(address, port)
            && endpoint.GetHashCode() == new Endpoint(address, port).GetHashCode()
            && endpoint != new Endpoint(address, unchecked((ushort)(port + 1)));
    });

    [Fact]
    public void An_address_of_another_length_is_refused() => Gen.Int[0, 40].Where(static n => n is not (4 or 16)).Sample(static length =>
        Assert.Throws<ArgumentException>(() => new Endpoint(new byte[length], 1)).Message.StartsWith("An address has 4 or 16 bytes.", StringComparison.Ordinal));

    [Theory]
    [InlineData("10.0.0.1", 80, "10.0.0.1:80")]
    [InlineData("fd00::1", 443, "[fd00::1]:443")]
    [InlineData("::ffff:192.0.2.7", 65535, "192.0.2.7:65535")]
    [InlineData("::", 0, "[::]:0")]
    [InlineData("0.0.0.0", 0, "0.0.0.0:0")]
    public void Endpoints_read_as_people_write_them(string address, ushort port, string expected) =>
        Assert.Equal(expected, Make(address, port).ToString());

    [Theory]
    [InlineData(6, "TCP")]
    [InlineData(17, "UDP")]
    [InlineData(1, "ICMP")]
    [InlineData(58, "ICMPv6")]
    [InlineData(132, "SCTP")]
    [InlineData(255, "255")]
    public void Flows_name_their_protocol(byte protocol, string name)
    {
        var flow = new FlowTuple(Make("10.0.0.1", 4711), Make("fd00::2", 80), protocol);
        Assert.Equal($"{name} 10.0.0.1:4711 -> [fd00::2]:80", flow.ToString());
    }

    [Fact]
    public void Making_and_comparing_flows_allocates_nothing()
    {
        byte[] address = [10, 0, 0, 1];
        bool same = true;
        Allocations.AssertNone(() =>
        {
            var flow = new FlowTuple(new Endpoint(address, 1), new Endpoint(address, 2), 6);
            same &= flow == new FlowTuple(new Endpoint(address, 1), new Endpoint(address, 2), 6) && flow.GetHashCode() != 0;
        });
        Assert.True(same);
    }

    private static Endpoint Make(string address, ushort port) => new(IPAddress.Parse(address).GetAddressBytes(), port);
}
