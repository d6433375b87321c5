namespace KubeSkoop.Probes.Tests;

public sealed class EndpointTests
{
    [Fact]
    public void An_address_of_another_length_is_refused() =>
        Assert.Throws<ArgumentException>(() => new Endpoint(new byte[5], 1));
}
