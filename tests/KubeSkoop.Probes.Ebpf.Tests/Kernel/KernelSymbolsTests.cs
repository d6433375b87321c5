using System.Globalization;
using KubeSkoop.Probes.Ebpf.Kernel;

namespace KubeSkoop.Probes.Ebpf.Tests.Kernel;

/// <summary>Names of places: on the running kernel, and on files that hide, end early or make no sense.</summary>
public sealed class KernelSymbolsTests
{
    [LiveFact(Needs.Root)]
    public void Functions_of_the_running_kernel_are_found_by_any_address_in_them()
    {
        var lines = File.ReadLines("/proc/kallsyms").Select(static l => l.Split(' ', 3)).Where(static p => p[1] is "t" or "T" or "w" or "W").ToArray();
        var byName = lines.GroupBy(static p => p[2]).Where(static g => g.Count() == 1).ToDictionary(static g => g.Key, static g => ulong.Parse(g.First()[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture));
        var symbols = new KernelSymbols();
        foreach (string name in (string[])["tcp_connect", "ip_rcv", "nf_hook_slow", "udp_sendmsg"])
        {
            Assert.Equal(new KernelSymbol(name, 0, null), symbols.Find(byName[name]));
            Assert.Equal(new KernelSymbol(name, 5, null), symbols.Find(byName[name] + 5));
        }
        Assert.Null(symbols.Problem);
        Assert.Equal("ip_rcv+0x5", symbols.Find(byName["ip_rcv"] + 5).ToString());
        Assert.Equal("?", symbols.Find(0x1000).ToString());
    }

    [Theory]
    [InlineData("0000000000000000 T a\n0000000000000000 t b\n", "kptr_restrict")]
    [InlineData("", "CONFIG_KALLSYMS")]
    [InlineData("nonsense\n\n \n", "CONFIG_KALLSYMS")]
    public void A_kernel_that_hides_its_addresses_is_recognised_and_names_nothing(string text, string why)
    {
        var symbols = new KernelSymbols(Write(text));
        Assert.Equal(default, symbols.Find(0xffffffff81000010));
        Assert.Contains(why, symbols.Problem, StringComparison.Ordinal);
    }

    [Fact]
    public void Modules_data_and_gaps_are_told_apart()
    {
        var symbols = new KernelSymbols(Write("ffffffff81000000 T first\nffffffff81000000 T alias\nffffffff81000100 d data\nffffffff81000200 t second\nffffffffc0000000 t inside\t[veth]\nzz\nffffffffc0000010 t"));
        Assert.Equal("first+0x1ff", symbols.Find(0xffffffff810001ff).ToString());
        Assert.Equal("second+0x0", symbols.Find(0xffffffff81000200).ToString());
        Assert.Equal("inside+0x20 [veth]", symbols.Find(0xffffffffc0000020).ToString());
        Assert.Equal("?", symbols.Find(0xffffffff90000000).ToString()); // nothing with a name is that large
        Assert.Equal("?", symbols.Find(0xffffffff80ffffff).ToString());
    }

    [Fact]
    public void A_module_that_came_since_is_found_and_one_that_went_names_nothing_more()
    {
        string file = Write("ffffffff81000000 T first\nffffffffc0000000 t old\t[old]\n"), modules = Write("old 1\n");
        var symbols = new KernelSymbols(file, modules);
        Assert.Equal("old+0x8 [old]", symbols.Find(0xffffffffc0000008).ToString());
        File.WriteAllText(file, "ffffffff81000000 T first\nffffffffc1000000 t fresh\t[new]\n");
        File.WriteAllText(modules, "new 1\n");
        Assert.Equal("fresh+0x8 [new]", symbols.Find(0xffffffffc1000008).ToString());
        Assert.Equal("?", symbols.Find(0xffffffffc0000008).ToString());
    }

    [Fact]
    public void A_file_that_is_not_there_is_a_reason_and_no_crash()
    {
        var symbols = new KernelSymbols("/nonexistent/kallsyms");
        Assert.Equal(default, symbols.Find(1));
        Assert.Contains("/nonexistent/kallsyms cannot be read", symbols.Problem, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("nf_hook_slow", "netfilter")]
    [InlineData("tcp_v4_rcv", "tcp")]
    [InlineData("__udp4_lib_rcv", "udp")]
    [InlineData("ip_rcv_finish_core", "ip")]
    [InlineData("__dev_queue_xmit", "device")]
    [InlineData("something_else", "other")]
    [InlineData(null, "unknown")]
    public void Functions_have_a_part(string? function, string part) => Assert.Equal(part, KernelParts.Of(function));

    private static string Write(string text)
    {
        string path = Path.Combine(AppContext.BaseDirectory, $"kallsyms-{Guid.NewGuid():N}");
        File.WriteAllText(path, text);
        return path;
    }
}
