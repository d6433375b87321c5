namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>
/// A pair of namespaces whose right side forwards: to 198.51.100.0/24 and 2001:db8::/64 by a wire that nobody listens on, with an MTU
/// of 1,280 bytes, and nowhere else. The left side sends everything through it.
/// </summary>
internal static class Router
{
    internal static async Task<(TestNamespace Left, TestNamespace Router)> CreateAsync()
    {
        (TestNamespace left, TestNamespace router) = await TestNamespace.CreatePairAsync();
        try
        {
            await left.IpAsync("route", "add", "default", "via", TestNamespace.RightIPv4.ToString());
            await left.IpAsync("route", "add", "default", "via", TestNamespace.RightIPv6.ToString());
            await router.IpAsync("link", "add", "out", "mtu", "1280", "type", "veth", "peer", "name", "far");
            foreach (string device in (string[])["out", "far"])
            {
                await router.IpAsync("link", "set", device, "addrgenmode", "none");
                await router.IpAsync("link", "set", device, "up");
            }
            await router.ExecuteAsync("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
                "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"); // each message is answered
            foreach ((string net, string host) in ((string, string)[])[("198.51.100.0/24", "198.51.100.9"), ("2001:db8::/64", "2001:db8::9")])
            {
                await router.IpAsync("route", "add", net, "dev", "out");
                await router.IpAsync("neighbour", "add", host, "lladdr", "02:00:00:00:00:09", "dev", "out", "nud", "permanent");
            }
            return (left, router);
        }
        catch
        {
            await left.DisposeAsync();
            await router.DisposeAsync();
            throw;
        }
    }
}
