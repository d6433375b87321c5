using System.IO.Compression;
using System.Text;

namespace KubeSkoop.Probes.Procfs.Tests.Probes;

/// <summary>ipvs: without the module it says so; with it, packets are packets and bytes are bytes, and pods with their own IPVS have rows.</summary>
public sealed class IpvsTests
{
    private const string Stats = """
           Total Incoming Outgoing         Incoming         Outgoing
           Conns  Packets  Packets            Bytes            Bytes
              1F       2A       3B             4C5D             6E7F

         Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
               1        2        3                4                5

        """;

    [Fact]
    public async Task Without_the_module_it_is_unavailable_and_says_what_to_do()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").Link("self/ns/net", "net:[100]").Write("1/net/snmp", "").Write("modules", "");
        ProbeUnavailableException e = await Assert.ThrowsAsync<ProbeUnavailableException>(() => IpvsProbe.StartNewAsync(Options(proc)));
        Assert.Contains("modprobe ip_vs", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("CONFIG_IP_VS=m\nCONFIG_IP_VS_RR=m\n", true, "the kernel module ip_vs is not loaded")]
    [InlineData("CONFIG_IP_VSX=m\n# CONFIG_IP_VS is not set\n", true, "built without IPVS (CONFIG_IP_VS is not set)")]
    [InlineData("# CONFIG_MODULES is not set\n# CONFIG_IP_VS is not set\n", false, "built without IPVS (CONFIG_IP_VS is not set)")]
    [InlineData(null, false, "built without IPVS (CONFIG_IP_VS), and takes no modules")]
    [InlineData(null, true, "the kernel module ip_vs is not loaded")]
    public void A_kernel_that_was_built_without_IPVS_is_not_told_to_load_it(string? settings, bool modules, string reason)
    {
        using var proc = new FakeProc();
        if (settings is not null) proc.Write("config.gz", Packed(settings));
        if (modules) proc.Write("modules", "veth 45056 0 - Live 0x0000000000000000\n");
        ProbeUnavailableException e = IpvsAbsence.Explain("ipvs", "it is not there", proc.Root);
        Assert.Contains(reason, e.Why, StringComparison.Ordinal);
        Assert.Equal(e.Why.Contains("loaded", StringComparison.Ordinal), e.Message.Contains("modprobe", StringComparison.Ordinal));
    }

    [Fact]
    public void Settings_that_cannot_be_read_are_as_none()
    {
        using var proc = new FakeProc();
        proc.Write("config.gz", "no archive").Write("modules", "");
        Assert.Contains("modprobe ip_vs", IpvsAbsence.Explain("ipvs", "it is not there", proc.Root).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Each_namespace_with_IPVS_has_its_own_row()
    {
        using var proc = new FakeProc();
        proc.AddProcess(1, 100, "init").AddProcess(20, 200, "lb").AddProcess(30, 300, "plain").Link("self/ns/net", "net:[100]");
        proc.Write("1/net/ip_vs_stats", Stats.ReplaceLineEndings("\n")).Write("20/net/ip_vs_stats", Stats.ReplaceLineEndings("\n").Replace("1F", "2F", StringComparison.Ordinal));
        proc.Write("30/net/snmp", "");
        await using IpvsProbe probe = await IpvsProbe.StartNewAsync(Options(proc));
        SampleRow<IpvsRecord>[] rows = probe.Sample().Rows.ToArray();
        Assert.Equal([100u, 200u], rows.Select(static r => r.Namespace!.Inode));
        IpvsRecord host = rows[0].Value;
        Assert.Equal((0x1Ful, 0x2Aul, 0x3Bul, 0x4C5Dul, 0x6E7Ful), (host.Connections.Value, host.IncomingPackets.Value, host.OutgoingPackets.Value, host.IncomingBytes.Value, host.OutgoingBytes.Value));
        Assert.Equal(0x2Ful, rows[1].Value.Connections.Value);
    }

    private static byte[] Packed(string text)
    {
        using var bytes = new MemoryStream();
        using (var gzip = new GZipStream(bytes, CompressionLevel.Fastest)) gzip.Write(Encoding.UTF8.GetBytes(text));
        return bytes.ToArray();
    }

    private static ProcfsOptions Options(FakeProc proc)
    {
        var options = new ProcfsOptions { HostProc = proc.Root };
        options.NamespaceDirectories.Clear();
        return options;
    }
}
