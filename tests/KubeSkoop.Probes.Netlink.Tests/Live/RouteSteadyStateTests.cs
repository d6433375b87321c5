using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using KubeSkoop.Probes.Procfs;

namespace KubeSkoop.Probes.Netlink.Tests.Live;

/// <summary>What a pass over many namespaces costs once their sockets are open.</summary>
public sealed partial class RouteSteadyStateTests
{
    private const int Namespaces = 100;
    private const int Passes = 5;

    [LiveFact(Needs.NetNs, "tc")]
    public async Task A_pass_allocates_nothing()
    {
        await using TestNamespace ns = await TestNamespace.CreateAsync();
        await ns.AddPairAsync(queues: 4);
        await ns.TcAsync("qdisc replace dev left root handle 1: htb default 10");
        await ns.TcAsync("class add dev left parent 1: classid 1:10 htb rate 1mbit");
        await ns.TcAsync("qdisc replace dev right root handle 1: mq");
        await using TestNamespace idle = await TestNamespace.CreateAsync();
        await using QdiscBench bench = await QdiscBench.StartAsync(ns, idle);
        var qdiscs = new SampleBatch<QdiscRecord>();
        Check.Quiet(() => bench.Probe.Sample(qdiscs));
        Assert.InRange(qdiscs.Count, 7, 20);

        var devices = new SampleBatch<NetDevRecord>();
        Check.Quiet(() => bench.NetDev.Sample(devices));
        Assert.Equal(4, devices.Rows.ToArray().Count(static r => r.Subject.Attributes[0].Value is "lo" or "left" or "right"));
    }

    [TracedFact]
    public async Task A_pass_over_a_hundred_namespaces_opens_no_socket_and_enters_no_namespace()
    {
        Task<TestNamespace>[] making = [.. Enumerable.Range(0, Namespaces).Select(static _ => TestNamespace.CreateUnboundAsync())];
        try
        {
            TestNamespace[] namespaces = await Task.WhenAll(making);
            await using QdiscBench bench = await QdiscBench.StartAsync(namespaces);
            var batch = new SampleBatch<QdiscRecord>();
            bench.Probe.Sample(batch);
            Assert.Equal(2 * Namespaces, batch.Count); // noqueue of the loopback device, and the namespace's totals
            Assert.Equal(Namespaces, bench.Settings.Counts.Opened);

            // The runtime may have work of its own on a thread, such as memory for compiled code: not each time.
            await Eventually.ExactlyOnceInFiveAsync(async () =>
            {
                Dictionary<string, int> calls = await CallsAsync(() => bench.Probe.Sample(batch));

                Assert.Equal(Namespaces, bench.Settings.Counts.Opened);
                Assert.Equal(2 * Namespaces, batch.Count);
                Assert.Equal(Passes * Namespaces, calls["sendto"]);
                Assert.Equal(Passes * Namespaces * 2, calls["recvfrom"]); // the answer, and its end
                foreach (string forbidden in (string[])["socket", "setns", "unshare", "clone", "clone3", "open", "openat", "close", "bind", "connect", "setsockopt", "ioctl", "poll", "mmap"])
                    Assert.DoesNotContain(forbidden, calls.Keys);
            });
        }
        finally
        {
            foreach (Task<TestNamespace> made in making)
                if (made.IsCompletedSuccessfully) await made.Result.DisposeAsync();
        }
    }

    /// <summary>The system calls of some passes, by name, as <c>strace</c> counts them on the one thread that makes them.</summary>
    private static async Task<Dictionary<string, int>> CallsAsync(Action pass)
    {
        int thread = 0;
        using var ready = new SemaphoreSlim(0);
        using var begin = new SemaphoreSlim(0);
        using var done = new SemaphoreSlim(0);
        using var end = new SemaphoreSlim(0);
        var worker = new Thread(() =>
        {
            thread = GetThreadId();
            for (int i = 0; i < 50; i++) pass();
            ready.Release();
            begin.Wait();
            for (int i = 0; i < Passes; i++) pass();
            done.Release();
            end.Wait();
        })
        { IsBackground = true, Name = "traced" };
        worker.Start();
        string output = Path.GetTempFileName();
        try
        {
            Assert.True(await ready.WaitAsync(TimeSpan.FromSeconds(30)));
            Process tracer = Command.Start("strace", ["-qq", "-c", "-o", output, "-p", thread.ToString(CultureInfo.InvariantCulture)]);
            try
            {
                await Eventually.TrueAsync(
                    () => !tracer.HasExited && File.ReadLines($"/proc/self/task/{thread}/status").Single(static l => l.StartsWith("TracerPid:", StringComparison.Ordinal)).Split('\t')[1] != "0",
                    "strace to attach");
                begin.Release();
                Assert.True(await done.WaitAsync(TimeSpan.FromSeconds(30)));
                await Command.OutputAsync("kill", "-INT", tracer.Id.ToString(CultureInfo.InvariantCulture));
                await tracer.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
            }
            finally
            {
                if (!tracer.HasExited) tracer.Kill();
                Command.Close(tracer);
            }
            // "  0.00    0.000000           0       500           sendto", with a column of errors before the name if there were any
            return File.ReadLines(output).Select(static l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries))
                .Where(static w => w.Length >= 5 && char.IsAsciiDigit(w[0][0]) && w[^1] != "total")
                .ToDictionary(static w => w[^1], static w => int.Parse(w[3], CultureInfo.InvariantCulture));
        }
        finally
        {
            begin.Release();
            end.Release();
            worker.Join();
            File.Delete(output);
        }
    }

    [LibraryImport("libc", EntryPoint = "gettid")]
    private static partial int GetThreadId();
}

/// <summary>A live fact that watches system calls; skipped, with its reason, where that is refused.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class TracedFactAttribute : FactAttribute
{
    private static readonly Lazy<string?> Problem = new(static () =>
    {
        if (Machine.Lacks(Needs.NetNs, "strace") is { } reason) return reason;
        CommandResult result = Command.RunAsync("strace", ["-qq", "-c", "-o", "/dev/null", "true"]).GetAwaiter().GetResult();
        return result.ExitCode == 0 ? null : $"Needs ptrace, which this machine refuses: {result.Error.Trim()}";
    });

    public TracedFactAttribute() => Skip = Problem.Value;
}
