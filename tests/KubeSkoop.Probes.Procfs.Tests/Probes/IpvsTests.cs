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
        proc.AddProcess(1, 100, "init").Link("self/ns/net", "net:[100]").Write("1/net/snmp", "");
        ProbeUnavailableException e = await Assert.ThrowsAsync<ProbeUnavailableException>(() => IpvsProbe.StartNewAsync(Options(proc)));
        Assert.Contains("modprobe ip_vs", e.Message, StringComparison.Ordinal);
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

    private static ProcfsOptions Options(FakeProc proc)
    {
        var options = new ProcfsOptions { HostProc = proc.Root };
        options.NamespaceDirectories.Clear();
        return options;
    }
}
