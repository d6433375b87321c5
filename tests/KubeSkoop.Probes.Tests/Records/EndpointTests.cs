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
    public void Addresses_are_equal_by_their_number_whatever_the_port() => Gen.Select(Addresses, Addresses, Gen.UShort).Sample(static (one, other, port) =>
        new Endpoint(one, 0).AddressValue == new Endpoint(one, port).AddressValue
        && (new Endpoint(one, port).AddressValue == new Endpoint(other, port).AddressValue) == new Endpoint(one, port).Address.Equals(new Endpoint(other, port).Address)
        && (one.Length != 4 || new Endpoint(one, 0).AddressValue == new Endpoint(new IPAddress(one).MapToIPv6().GetAddressBytes(), 0).AddressValue));

    [Theory]
    [InlineData("127.0.0.1", true, true)]
    [InlineData("127.255.255.255", true, true)]
    [InlineData("::ffff:127.0.0.1", true, true)]
    [InlineData("::1", true, true)]
    [InlineData("::", false, true)]
    [InlineData("0.0.0.0", false, true)]
    [InlineData("0.1.2.3", false, true)]
    [InlineData("169.254.0.1", false, true)]
    [InlineData("224.0.0.1", false, true)]
    [InlineData("239.255.255.255", false, true)]
    [InlineData("255.255.255.255", false, true)]
    [InlineData("fe80::1", false, true)]
    [InlineData("febf::1", false, true)]
    [InlineData("ff02::1", false, true)]
    [InlineData("126.0.0.1", false, false)]
    [InlineData("128.0.0.1", false, false)]
    [InlineData("223.255.255.255", false, false)]
    [InlineData("169.253.0.1", false, false)]
    [InlineData("10.0.0.1", false, false)]
    [InlineData("::2", false, false)]
    [InlineData("fec0::1", false, false)]
    [InlineData("fd00::1", false, false)]
    [InlineData("7f00::1", false, false)]
    [InlineData("2001:db8::1", false, false)]
    public void Some_addresses_are_nobodys_in_particular(string address, bool isLoopback, bool isOfNobody) =>
        Assert.Equal((isLoopback, isOfNobody), (Make(address, 80).IsLoopback, Make(address, 80).IsOfNobody));

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
