using System.Buffers.Binary;
using System.Runtime.InteropServices;
using CsCheck;
using KubeSkoop.Probes.Ebpf.Events;
using KubeSkoop.Probes.Ebpf.Kernel;
using KubeSkoop.Probes.Ebpf.Loading;
using KubeSkoop.Probes.Ebpf.Sources;

namespace KubeSkoop.Probes.Ebpf.Tests.Kernel;

/// <summary>Type information: of the running kernel beside bpftool, of our own objects beside the structs in C#, and of bytes that are none.</summary>
public sealed class BtfTests
{
    [LiveFact(Needs.Bpf, "bpftool")]
    public async Task Enumerators_and_arguments_are_what_bpftool_says()
    {
        Btf btf = Btf.OfKernel()!;
        string[] dump = (await Command.OutputAsync("bpftool", "btf", "dump", "file", Btf.KernelPath, "format", "c")).Split('\n');
        foreach (string name in (string[])["tcp_ca_state", "skb_drop_reason", "sk_rst_reason"])
        {
            int begin = Array.IndexOf(dump, $"enum {name} {{");
            if (begin < 0 && name != "tcp_ca_state") // younger than some kernels
            {
                Assert.Null(btf.Enumerators(name));
                continue;
            }
            Assert.True(begin > 0, $"bpftool shows no enum {name}.");
            Dictionary<long, string> expected = dump[(begin + 1)..].TakeWhile(static l => l != "};")
                .Select(static l => l.Trim().TrimEnd(',').Split(" = "))
                .ToDictionary(static p => long.Parse(p[1], System.Globalization.CultureInfo.InvariantCulture), static p => p[0]);
            Assert.Equal(expected.OrderBy(static p => p.Key), btf.Enumerators(name)!.OrderBy(static p => p.Key));
        }
        // typedef void (*btf_trace_tcp_send_reset)(void *, const struct sock *, ...);
        foreach (string name in (string[])["tcp_send_reset", "tcp_receive_reset", "kfree_skb", "sched_switch", "inet_sock_set_state"])
        {
            string line = dump.Single(l => l.Contains($"(*btf_trace_{name})", StringComparison.Ordinal));
            Assert.Equal(line.Count(static c => c == ','), btf.TracepointArguments(name));
        }
        Assert.Null(btf.TracepointArguments("no_such_thing"));
        Assert.Null(btf.Enumerators("no_such_thing"));
        Assert.True(btf.HasFunction("tcp_connect"));
        Assert.False(btf.HasFunction("tcp_conn"));
        Assert.False(btf.HasFunction("tcp_connect_not_there"));
    }

    [Fact]
    public void Shared_structs_are_laid_out_as_the_programs_have_them()
    {
        Btf reset = OfObject("tcpreset");
        Same<RawFlow>(reset, "ks_flow");
        Same<RawEvent>(reset, "ks_event");
        Same<RawTcpReset>(reset, "tcpreset_event");
        Same<ProbeSettings>(reset, "ks_settings");
        Same<ProbeTally>(reset, "ks_tally");
        Same<RawTcpRetrans>(OfObject("tcpretrans"), "tcpretrans_event");
        Same<RawSocketLatency>(OfObject("socketlatency"), "socketlatency_event");
        Same<SocketLatencySettings>(OfObject("socketlatency"), "socketlatency_settings");
        Same<RawNetifTxLatency>(OfObject("netiftxlatency"), "netiftxlatency_event");
        Same<RawKernelLatency>(OfObject("kernellatency"), "kernellatency_event");
        Same<KernelLatencySettings>(OfObject("kernellatency"), "kernellatency_settings");
        Btf softirq = OfObject("net_softirq");
        Same<RawNetSoftirq>(softirq, "net_softirq_event");
        Same<NetSoftirqSettings>(softirq, "net_softirq_settings");
        Same<RawVirtCmdLatency>(OfObject("virtcmdlatency"), "virtcmdlatency_event");
        Btf flow = OfObject("flow");
        Same<RawFlowKey>(flow, "flow_key");
        Same<RawFlowRow>(flow, "flow_row");
        Same<FlowOtherKey>(flow, "flow_other_key");
        Same<FlowSettings>(flow, "flow_settings");
        Btf disks = OfObject("biolatency");
        Same<RawBioLatency>(disks, "biolatency_event");
        Same<BioLatencyKey>(disks, "biolatency_key");
        Same<BioLatencySettings>(disks, "biolatency_settings");
        Same<NetifTxLatencySettings>(OfObject("netiftxlatency"), "netiftxlatency_settings");
        Btf loss = OfObject("packetloss");
        Same<RawPacketLoss>(loss, "packetloss_event");
        Same<PacketLossKey>(loss, "packetloss_key");
        Same<PacketLossSettings>(loss, "packetloss_settings");
        Same<RawMibs>(OfObject("mibs"), "mibs");
        Same<MibRequest>(OfObject("mibs"), "mibs_request");
        Same<RawTcpSockets>(OfObject("tcpsockets"), "tcpsockets");
        Same<TcpSocketsRequest>(OfObject("tcpsockets"), "tcpsockets_request");
    }

    [Fact]
    public void Bytes_that_are_none_are_refused_in_words()
    {
        foreach (byte[] bytes in (byte[][])[[], new byte[10], new byte[24], [0x9f, 0xeb, .. new byte[22]]])
            Assert.NotEmpty(Assert.Throws<BtfException>(() => Btf.Parse(bytes)).Message);
    }

    [Fact]
    public void Damaged_bytes_are_refused_or_read_but_never_run_out()
    {
        byte[] good = SectionOf(BpfObject.Image("tcpreset"), ".BTF");
        Gen.Select(Gen.Int[0, good.Length - 1], Gen.Byte, Gen.Int[0, good.Length - 1], Gen.Byte, Gen.Int[24, good.Length]).Sample((at, value, at2, value2, length) =>
        {
            byte[] bytes = good[..length];
            bytes[Math.Min(at, length - 1)] = value;
            bytes[Math.Min(at2, length - 1)] = value2;
            if (length < good.Length && length > 24) BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(20), (uint)Math.Max(1, length - 24 - (int)BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(16))));
            Btf btf;
            try
            {
                btf = Btf.Parse(bytes);
            }
            catch (BtfException)
            {
                return;
            }
            _ = btf.Enumerators("tcpreset_kind");
            _ = btf.EnumerationWith("TCPRESET_KINDS");
            _ = btf.Struct("tcpreset_event");
            _ = btf.Struct("ks_settings");
            _ = btf.TracepointArguments("x");
            _ = btf.HasFunction("send_reset");
        }, iter: 5000);
    }

    /// <summary>Every member that has a name in C# too lies where it lies there, and both have the same size.</summary>
    private static void Same<T>(Btf btf, string name)
        where T : unmanaged
    {
        (int size, IReadOnlyList<Btf.Member> members) = btf.Struct(name) ?? throw new InvalidOperationException($"The object has no struct {name}.");
        Assert.Equal(size, Marshal.SizeOf<T>());
        // Fields in the order of their offsets; names differ in spelling only by design, so the layouts are compared.
        int[] theirs = [.. members.Select(static m => m.Offset)];
        int[] ours = [.. typeof(T).GetFields(System.Reflection.BindingFlags.Instance | System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.NonPublic)
            .Where(static f => !f.Name.StartsWith("_pad", StringComparison.Ordinal)).Select(static f => (int)Marshal.OffsetOf<T>(f.Name)).Order()];
        Assert.Equal(theirs.Where((_, i) => !members[i].Name.StartsWith("pad", StringComparison.Ordinal)), ours);
    }

    private static Btf OfObject(string probe) => Btf.Parse(SectionOf(BpfObject.Image(probe), ".BTF"));

    // ELF64, little endian: the section headers name the sections through the table of strings.
    private static byte[] SectionOf(byte[] elf, string name)
    {
        ReadOnlySpan<byte> all = elf;
        long table = BinaryPrimitives.ReadInt64LittleEndian(all[40..]);
        int size = BinaryPrimitives.ReadUInt16LittleEndian(all[58..]), count = BinaryPrimitives.ReadUInt16LittleEndian(all[60..]), names = BinaryPrimitives.ReadUInt16LittleEndian(all[62..]);
        long strings = BinaryPrimitives.ReadInt64LittleEndian(all[(int)(table + names * size + 24)..]);
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> header = all[(int)(table + i * size)..];
            ReadOnlySpan<byte> text = all[(int)(strings + BinaryPrimitives.ReadUInt32LittleEndian(header))..];
            if (System.Text.Encoding.UTF8.GetString(text[..text.IndexOf((byte)0)]) != name) continue;
            return elf.AsSpan((int)BinaryPrimitives.ReadInt64LittleEndian(header[24..]), (int)BinaryPrimitives.ReadInt64LittleEndian(header[32..])).ToArray();
        }
        throw new InvalidOperationException($"The object has no section {name}.");
    }
}
