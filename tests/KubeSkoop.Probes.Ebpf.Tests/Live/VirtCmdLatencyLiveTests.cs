using System.Diagnostics;
using System.Globalization;
using KubeSkoop.Probes.Ebpf.Kernel;
using Microsoft.Extensions.Options;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>virtcmdlatency: the receive mode of the virtual machine's own device changes, and the kernel's tracer counts calls of the driver's function, too.</summary>
public sealed class VirtCmdLatencyLiveTests
{
    private const int Changes = 10;

    [LiveFact(Needs.VirtioDevice | Needs.OwnMachine, "ip")]
    public async Task Every_command_is_counted_timed_and_told()
    {
        string device = Machine.VirtioDevice!;
        await Command.OutputAsync("ip", "link", "set", device, "up");
        await using var calls = new CallCounter(Machine.VirtioFunction!);
        await using var bench = new EbpfBench();
        VirtCmdLatencyProbe probe = await bench.StartAsync(static p => new VirtCmdLatencyProbe(p, Options.Create(new VirtCmdLatencyOptions { Threshold = TimeSpan.Zero, EventsPerSecond = 0 })));
        using var heard = new Heard<VirtCmdLatencyEvent>(probe, static _ => true);
        Assert.Equal((0ul, 0ul, 0ul), (Row(probe).Commands.Value, Row(probe).Failed.Value, Row(probe).Duration.Count));
        long before = calls.Read();
        var time = Stopwatch.StartNew();
        for (int i = 0; i < Changes; i++)
        {
            long seen = calls.Read();
            await Command.OutputAsync("ip", "link", "set", device, "promisc", i % 2 == 0 ? "on" : "off");
            // Newer drivers do it in the background, for several changes at once.
            await Eventually.TrueAsync(() => calls.Read() >= seen + 2, "the driver to tell the device");
        }
        await Task.Delay(500); // the last one's last command
        await Eventually.TrueAsync(() => Row(probe).Commands.Value == (ulong)(calls.Read() - before), "as many commands as the tracer has seen calls");

        VirtCmdLatencyRecord row = Row(probe);
        IReadOnlyList<VirtCmdLatencyEvent> events = await heard.ExactlyAsync((int)row.Commands.Value);
        Assert.Equal(0ul, row.Failed.Value);
        Assert.All(events, e =>
        {
            Assert.Equal((device, false), (e.Device, e.Failed));
            Assert.InRange(e.Latency, TimeSpan.FromTicks(1), time.Elapsed);
            Assert.Equal(bench.Programs.Namespaces.Current.Single(static n => n.IsHost).Inode, e.NetworkNamespaceInode);
            Assert.Matches(@$"^\d+\.\d ms: command (rx_mode|mac)/\d to {device}(, ip \({e.ProcessId}\) waited)?$", e.Message);
        });
        // VIRTIO_NET_CTRL_RX_PROMISC, VIRTIO_NET_CTRL_RX_ALLMULTI: each change sets both, for the mode and again for the flag.
        int promiscuous = events.Count(static e => e is { Class: "rx_mode", Code: 0 });
        Assert.InRange(promiscuous, Changes, Changes * 2);
        Assert.Equal(promiscuous, events.Count(static e => e is { Class: "rx_mode", Code: 1 }));
        Assert.Equal(events.Count, events.Count(static e => e.Class is "rx_mode" or "mac"));
        Assert.Equal((ulong)events.Count(static e => e.Latency >= TimeSpan.FromMilliseconds(10)), row.Over10Ms.Value);
        Assert.Equal((ulong)events.Count(static e => e.Latency >= TimeSpan.FromMilliseconds(100)), row.Over100Ms.Value);
        // Each event's time loses less than 100 ns, and the sum less than 1 us.
        Assert.InRange(row.Duration.Sum - (ulong)events.Sum(static e => e.Latency.TotalMicroseconds), -1.0, (0.1 * events.Count) + 1);
    }

    [LiveFact(Needs.VirtioDevice | Needs.OwnMachine, "ip")]
    public async Task A_command_within_the_threshold_is_counted_and_not_told()
    {
        string device = Machine.VirtioDevice!;
        await Command.OutputAsync("ip", "link", "set", device, "up");
        await using var bench = new EbpfBench();
        VirtCmdLatencyProbe probe = await bench.StartAsync(static p => new VirtCmdLatencyProbe(p, Options.Create(new VirtCmdLatencyOptions { Threshold = TimeSpan.FromHours(1) })));
        using var heard = new Heard<VirtCmdLatencyEvent>(probe, static _ => true);
        await Command.OutputAsync("ip", "link", "set", device, "promisc", "on");
        await Eventually.TrueAsync(() => Row(probe).Commands.Value >= 2, "the driver to tell the device");
        probe.Configure(new VirtCmdLatencyOptions { Threshold = TimeSpan.Zero });
        ulong before = Row(probe).Commands.Value;
        await Command.OutputAsync("ip", "link", "set", device, "promisc", "off");
        await Eventually.TrueAsync(() => Row(probe).Commands.Value >= before + 2, "the driver to tell the device");
        await heard.ExactlyAsync((int)(Row(probe).Commands.Value - before));
    }

    [Fact]
    public void A_function_that_is_not_there_is_said_so_and_a_module_that_is_not_loaded()
    {
        KernelFeatures features = KernelFeatures.Of(new EbpfOptions());
        if (features.KprobeRefusal is { } none)
        {
            Assert.Equal(none, features.KprobeInModule("tcp_connect", "tcp"));
            return;
        }
        Assert.Null(features.KprobeInModule("tcp_connect", "tcp"));
        Assert.Equal("there is no function tcp_connec, and the module tcp_co is not loaded", features.KprobeInModule("tcp_connec", "tcp_co"));
        Assert.Equal("there is no function no_such", features.KprobeInModule("no_such", "kernel"));
    }

    private static VirtCmdLatencyRecord Row(VirtCmdLatencyProbe probe) => Assert.Single(probe.Sample().Rows.ToArray()).Value;

    /// <summary>The kernel's tracer, which counts how often a function is called.</summary>
    private sealed class CallCounter : IAsyncDisposable
    {
        private const string Tracing = "/sys/kernel/tracing/";
        private const string Name = "ks_calls";

        internal CallCounter(string function)
        {
            File.AppendAllText(Tracing + "kprobe_events", $"p:{Name} {function}\n");
            File.WriteAllText($"{Tracing}events/kprobes/{Name}/enable", "1");
        }

#pragma warning disable CA1822 // as long as there is one, it counts
        internal long Read() => File.ReadLines(Tracing + "kprobe_profile")
            .Select(static line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(static words => words is [Name, ..])
            .Sum(static words => long.Parse(words[1], CultureInfo.InvariantCulture) + long.Parse(words[2], CultureInfo.InvariantCulture));
#pragma warning restore CA1822

        public ValueTask DisposeAsync()
        {
            File.WriteAllText($"{Tracing}events/kprobes/{Name}/enable", "0");
            File.AppendAllText(Tracing + "kprobe_events", $"-:{Name}\n");
            return ValueTask.CompletedTask;
        }
    }
}
