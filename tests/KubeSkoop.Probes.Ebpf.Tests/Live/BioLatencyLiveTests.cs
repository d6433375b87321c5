using System.Diagnostics;
using System.Globalization;
using KubeSkoop.Probes.Ebpf.Tests.Interop;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace KubeSkoop.Probes.Ebpf.Tests.Live;

/// <summary>biolatency on loop devices: of known requests beside <c>/sys/block/DISK/stat</c>, and on a file system that is frozen for a known time.</summary>
public sealed class BioLatencyLiveTests
{
    private const long Size = 64 << 20;
    private static readonly TimeSpan Frozen = TimeSpan.FromMilliseconds(150);

    [LiveFact(Needs.Bpf | Needs.Loop, "losetup", "dd", "blkdiscard")]
    public async Task Requests_and_bytes_are_those_the_kernel_counts()
    {
        await using LoopDevice disk = await LoopDevice.CreateAsync(Size);
        await using var bench = new EbpfBench();
        BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p));
        ulong[] before = disk.Stat();
        await Command.OutputAsync("dd", "if=/dev/zero", $"of={disk.Path}", "bs=4096", "count=64", "oflag=direct");
        long began = Stopwatch.GetTimestamp();
        await Command.OutputAsync("dd", $"if={disk.Path}", "of=/dev/null", "bs=8192", "count=32", "iflag=direct");
        TimeSpan reading = Stopwatch.GetElapsedTime(began);
        await Command.OutputAsync("dd", "if=/dev/zero", $"of={disk.Path}", "bs=64k", "count=3", "oflag=direct", "conv=fsync");
        await Command.OutputAsync("dd", "if=/dev/zero", $"of={disk.Path}", "bs=4096", "count=5", "oflag=direct,dsync");
        await Command.OutputAsync("blkdiscard", "--force", "--offset", "0", "--length", "1048576", disk.Path);
        ulong[] after = disk.Stat();

        BioLatencyRecord read = Row(probe, disk, "read"), write = Row(probe, disk, "write"), flush = Row(probe, disk, "flush"), discard = Row(probe, disk, "discard");
        Assert.Equal((32ul, 32 * 8192ul), (read.Operations.Value, read.Bytes.Value));
        Assert.Equal((After(0), After(2) * 512), (read.Operations.Value, read.Bytes.Value));
        // A sync is an empty write to the kernel. A write that is synced as such (FUA) completes twice, and counts once.
        Assert.Equal((64 + 3 + 1 + (5 * 2ul), (64 * 4096) + (3 * 65536) + (5 * 4096ul)), (write.Operations.Value, write.Bytes.Value));
        Assert.Equal((After(4), After(6) * 512), (write.Operations.Value, write.Bytes.Value));
        Assert.Equal((After(11), After(13) * 512), (discard.Operations.Value, discard.Bytes.Value));
        Assert.Equal(1048576ul, discard.Bytes.Value);
        Assert.Equal((After(15), 0ul), (flush.Operations.Value, flush.Bytes.Value));
        Assert.True(flush.Operations.Value >= 6);
        foreach (BioLatencyRecord row in (BioLatencyRecord[])[read, write, flush, discard])
        {
            Assert.Equal((row.Operations.Value, 0ul), (row.Total.Count, row.Errors.Value));
            Assert.Equal(row.Queue.Count, row.Device.Count);
            Assert.InRange(row.Total.Sum, row.Queue.Sum, row.Total.Sum);
        }
        Assert.Equal((read.Operations.Value, discard.Operations.Value, flush.Operations.Value), (read.Queue.Count, discard.Queue.Count, flush.Queue.Count));
        // The kernel's own sum of times, in milliseconds, from about the same moments: on an emulated machine something may come between them.
        long difference = (long)(read.Total.Sum / 1000) - (long)After(3), tolerance = 33 + (Machine.IsEmulated ? (long)reading.TotalMilliseconds / 4 : 0);
        // What comes between them once does so in few of several readings; what is wrong is so in all.
        var further = new List<long>();
        for (int i = 0; i < 5; i++)
        {
            (ulong kernel, ulong ours) = (disk.Stat()[3], Row(probe, disk, "read").Total.Sum);
            await Command.OutputAsync("dd", $"if={disk.Path}", "of=/dev/null", "bs=8192", "count=32", "iflag=direct");
            further.Add((long)((Row(probe, disk, "read").Total.Sum - ours) / 1000) - (long)(disk.Stat()[3] - kernel));
        }
        string told = $"{difference} ms of {reading.TotalMilliseconds:0}; in further readings {string.Join(", ", further)}";
        Assert.True(Math.Abs(difference) <= tolerance, told);
        Assert.True(further.Order().ElementAt(further.Count / 2) is var middle && Math.Abs(middle) <= tolerance, told);

        ulong After(int column) => after[column] - before[column];
    }

    [LiveFact(Needs.Bpf | Needs.Loop, "losetup", "dd", "mkfs.ext4", "fsfreeze")]
    public async Task A_write_takes_as_long_as_its_device_is_held()
    {
        const int Bytes = 65536;
        await using var slow = await SlowDisk.CreateAsync();
        await using var bench = new EbpfBench();
        BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p));
        using var heard = new Heard<BioLatencyEvent>(probe, e => e.Disk == slow.Disk.Name);
        (TimeSpan least, TimeSpan most, int process) = await slow.HoldAsync(1, () => Command.Start("dd", Write(slow.Disk, Bytes, "seek=2")));

        BioLatencyEvent e = Assert.Single(await heard.ExactlyAsync(1));
        Assert.InRange(e.Latency, least, most);
        Assert.InRange(e.Device!.Value, least * 0.95, most);
        Assert.InRange(e.Queue!.Value, TimeSpan.Zero, e.Latency - e.Device.Value);
        Assert.Equal((BioLatencyOperation.Write, (uint)Bytes, 2ul * Bytes / 512, null), (e.Operation, e.Bytes, e.Sector, e.Error));
        Assert.Equal((process, "dd"), (e.ProcessId, e.Command));
        Assert.Equal((0u, null, null), (e.NetworkNamespaceInode, e.Flow, e.Pod));
        Assert.Contains($"write of 65536 bytes at sector 256 of {slow.Disk.Name}, dd ({process}) waits", e.Message, StringComparison.Ordinal);
        BioLatencyRecord row = Row(probe, slow.Disk, "write");
        int bucket = Log2Histogram.BucketOf((ulong)(e.Latency.Ticks / TimeSpan.TicksPerMicrosecond));
        Assert.Equal((1ul, 1ul, (ulong)Bytes), (row.Operations.Value, row.Total[bucket], row.Bytes.Value));
        Assert.Equal(1ul, row.Device[bucket] + row.Device[bucket - 1]);
    }

    [LiveFact(Needs.Bpf | Needs.Loop, "losetup", "dd", "mkfs.ext4", "fsfreeze")]
    public async Task What_finds_the_driver_busy_waits_in_the_queue()
    {
        const int Requests = 192;
        await using var slow = await SlowDisk.CreateAsync();
        await using var queue = await Queue.CreateAsync(slow.Disk);
        await using var bench = new EbpfBench();
        BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p, Options.Create(new BioLatencyOptions { EventsPerSecond = 0, Threshold = TimeSpan.Zero })));
        using var heard = new Heard<BioLatencyEvent>(probe, e => e.Disk == slow.Disk.Name);
        (TimeSpan least, TimeSpan most, _) = await slow.HoldAsync(queue.Tags, () => Command.Start("dd", Write(slow.Disk, Requests * 4096)));
        IReadOnlyList<BioLatencyEvent> events = await heard.ExactlyAsync(Requests);
        // Without a scheduler there are no more requests than the driver takes, and what waits for one to be free is not seen.
        int waiting = queue.IsScheduled ? Requests - queue.Tags : 0;
        Assert.Equal(queue.Tags + waiting, events.Count(e => e.Latency >= least * 0.9)); // the last ones begin when the driver has all it takes
        Assert.All(events, e =>
        {
            Assert.True(e.Latency <= most);
            Assert.Equal((4096u, "dd"), (e.Bytes, e.Command));
        });
        Assert.InRange(queue.Tags, 1, Requests - 1);
        BioLatencyEvent[] queued = [.. events.Where(e => e.Queue >= least * 0.8)];
        Assert.Equal(waiting, queued.Length);
        Assert.Equal(Requests, events.Select(static e => e.Sector).Distinct().Count());
        BioLatencyRecord row = Row(probe, slow.Disk, "write");
        Assert.Equal((ulong)Requests, row.Queue.Count);
        Assert.Equal((ulong)queued.Length, Enumerable.Range(17, Log2Histogram.BucketCount - 17).Aggregate(0ul, (sum, i) => sum + row.Queue[i])); // over 65 ms
    }

    // Who hands a request on to the driver is not who waits for it.
    [LiveFact(Needs.RequestStarts | Needs.Loop, "losetup", "dd", "mkfs.ext4", "fsfreeze")]
    public async Task What_waited_for_the_driver_when_the_probe_started_has_its_times_and_no_process()
    {
        const int Requests = 192;
        await using var slow = await SlowDisk.CreateAsync();
        await using var queue = await Queue.CreateAsync(slow.Disk);
        await using var bench = new EbpfBench();
        var probe = new BioLatencyProbe(bench.Programs, Options.Create(new BioLatencyOptions { EventsPerSecond = 0, Threshold = TimeSpan.Zero }));
        Heard<BioLatencyEvent>? heard = null;
        (TimeSpan least, TimeSpan most, _) = await slow.HoldAsync(queue.Tags, () => Command.Start("dd", Write(slow.Disk, Requests * 4096)), async () =>
        {
            await bench.StartAsync(_ => probe);
            heard = new Heard<BioLatencyEvent>(probe, e => e.Disk == slow.Disk.Name);
        });
        using (heard)
        {
            IReadOnlyList<BioLatencyEvent> events = await heard!.ExactlyAsync(Requests);
            Assert.True(queue.IsScheduled);
            Assert.All(events, e =>
            {
                Assert.InRange(e.Latency, least, most);
                Assert.Equal((null, null), (e.ProcessId, e.Command));
            });
            BioLatencyEvent[] queued = [.. events.Where(static e => e.Queue is not null)];
            Assert.Equal(Requests - queue.Tags, queued.Length);
            Assert.All(queued, e => Assert.InRange(e.Queue!.Value, least * 0.9, e.Latency));
        }
    }

    // The kernel notes the start just after it has told it, unless something comes between.
    [LiveFact(Needs.RequestStarts | Needs.Loop, "losetup", "dd")]
    public async Task An_interrupt_while_a_request_starts_takes_nothing_from_it()
    {
        const int Requests = 20;
        TimeSpan pause = TimeSpan.FromMilliseconds(3);
        await using LoopDevice disk = await LoopDevice.CreateAsync(Size);
        await using var bench = new EbpfBench();
        BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p, Options.Create(new BioLatencyOptions { EventsPerSecond = 0, Threshold = TimeSpan.Zero })));
        using var heard = new Heard<BioLatencyEvent>(probe, e => e.Disk == disk.Name && e.Operation == BioLatencyOperation.Write);
        using var interrupted = new TestObject("interrupted");
        using (interrupted.Attach("start"))
            await Command.OutputAsync("dd", "if=/dev/zero", $"of={disk.Path}", "bs=4096", "count=20", "oflag=direct");
        Assert.All(await heard.ExactlyAsync(Requests), e =>
        {
            Assert.True(e.Queue >= pause && e.Latency >= pause, e.Message);
            Assert.Equal("dd", e.Command);
        });
        Assert.Equal((ulong)Requests, Row(probe, disk, "write").Queue.Count);
    }

    [LiveFact(Needs.Bpf | Needs.Loop | Needs.IoCgroup, "losetup", "dd", "mkfs.ext4")]
    public async Task A_request_names_the_cgroup_it_is_for_also_when_a_worker_of_the_kernel_makes_it()
    {
        await using var stack = await SlowDisk.CreateAsync();
        await stack.Disk.UseDirectIoAsync();
        await using var bench = new EbpfBench(pods: new KnownAddresses { PodOfCgroups = new PodIdentity("shop", "writer"), Container = "main" });
        BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p, Options.Create(new BioLatencyOptions { Threshold = TimeSpan.Zero })));
        using var heard = new Heard<BioLatencyEvent>(probe, e => e.Disk == stack.Disk.Name);
        using var below = new Heard<BioLatencyEvent>(probe, e => e.Disk == stack.Below.Name && e.Bytes == 16384);
        using IoCgroup cgroup = await IoCgroup.CreateAsync();
        using Process dd = cgroup.Start("dd", Write(stack.Disk, 16384));
        await dd.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));

        BioLatencyEvent asked = Assert.Single(await heard.ExactlyAsync(1));
        Assert.Equal((cgroup.Id, dd.Id, "dd"), (asked.CgroupId, asked.ProcessId, asked.Command));
        // The loop device's worker writes it to the file, which is on a disk again.
        await Eventually.TrueAsync(() => below.Take().Count > 0, "the request to the disk below");
        Assert.All(below.Take(), e => Assert.Equal((cgroup.Id, null, null), (e.CgroupId, e.ProcessId, e.Command)));
        // A hierarchy of version 1 has numbers of its own; in that of version 2 they are other groups'.
        (PodIdentity?, string?) owner = IoCgroup.IsUnified ? (new PodIdentity("shop", "writer"), "main") : (null, null);
        Assert.All(below.Take().Append(asked), e => Assert.Equal(owner, (e.Pod, e.Container)));
    }

    [LiveFact(Needs.Bpf | Needs.Loop | Needs.WriterCgroup, "losetup", "dd", "mkfs.ext4", "fsfreeze")]
    public async Task What_the_kernel_writes_back_later_is_its_writers()
    {
        const int Bytes = 4 << 20;
        await using LoopDevice disk = await LoopDevice.CreateAsync(64 << 20);
        await disk.MountAsync();
        await using var bench = new EbpfBench();
        BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p, Options.Create(new BioLatencyOptions { Threshold = TimeSpan.Zero, EventsPerSecond = 0 })));
        using IoCgroup cgroup = await IoCgroup.CreateAsync();
        using var heard = new Heard<BioLatencyEvent>(probe, e => e.Disk == disk.Name && e.CgroupId == cgroup.Id && e.Bytes > 0);
        using Process dd = cgroup.Start("dd", "if=/dev/zero", $"of={disk.Mounted}/file", "bs=65536", "count=64");
        await dd.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(0, dd.ExitCode);

        // Somebody else has all of the file system written out.
        await disk.FreezeAsync();
        await disk.ThawAsync();
        long written = 0;
        await Eventually.TrueAsync(() => Task.FromResult((written = heard.Take().Sum(static e => e.Bytes)) >= Bytes), () => $"the file to be written out for its writer's cgroup; {written} bytes were");
        Assert.InRange(written, Bytes, Bytes + 65536); // with some blocks that say where it is
        Assert.Contains(heard.Take(), static e => e is { ProcessId: null, Command: null });
    }

    // The kernel's own note of the start is all there is of it. A disk without statistics has none, or that of another request, hours ago.
    [LiveTheory(Needs.Bpf | Needs.Loop, "losetup", "dd", "mkfs.ext4", "fsfreeze")]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_request_that_was_on_its_way_before_has_no_queue_time(bool statistics)
    {
        await using var slow = await SlowDisk.CreateAsync();
        await Command.OutputAsync("dd", $"if={slow.Disk.Path}", "of=/dev/null", "bs=4096", "count=500", "iflag=direct"); // each of the disk's requests has been one
        string setting = $"/sys/block/{slow.Disk.Name}/queue/iostats";
        await File.WriteAllTextAsync(setting, statistics ? "1" : "0");
        try
        {
            await using var bench = new EbpfBench();
            var probe = new BioLatencyProbe(bench.Programs);
            Heard<BioLatencyEvent>? heard = null;
            (TimeSpan least, TimeSpan most, _) = await slow.HoldAsync(statistics ? 1 : 0, () => Command.Start("dd", Write(slow.Disk, 4096)), async () =>
            {
                await bench.StartAsync(_ => probe);
                heard = new Heard<BioLatencyEvent>(probe, e => e.Disk == slow.Disk.Name);
            });
            using (heard)
            {
                foreach (BioLatencyEvent e in await heard!.ExactlyAsync(statistics ? 1 : 0))
                {
                    Assert.InRange(e.Latency, least, most);
                    Assert.Equal((null, null, null), (e.Queue, e.Device, e.ProcessId));
                }
                BioLatencyRecord row = Row(probe, slow.Disk, "write");
                Assert.Equal((1ul, statistics ? 1ul : 0, 0ul, 0ul), (row.Operations.Value, row.Total.Count, row.Queue.Count, row.Device.Count));
            }
        }
        finally
        {
            await File.WriteAllTextAsync(setting, "1");
        }
    }

    [LiveFact(Needs.Bpf | Needs.Loop, "losetup", "dd", "mkfs.ext4", "fsfreeze")]
    public async Task What_fails_says_so()
    {
        // More than the file system below has room for.
        await using LoopDevice below = await LoopDevice.CreateAsync(8 << 20);
        await below.MountAsync();
        await using LoopDevice disk = await LoopDevice.CreateAsync(Size, below.Mounted);
        await using var bench = new EbpfBench();
        BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p, Options.Create(new BioLatencyOptions { Threshold = TimeSpan.Zero, EventsPerSecond = 0 })));
        using var heard = new Heard<BioLatencyEvent>(probe, e => e.Disk == disk.Name && e.Error is not null);
        CommandResult result = await Command.RunAsync("dd", ["if=/dev/urandom", $"of={disk.Path}", "bs=1M", "count=16", "oflag=direct"]);
        Assert.NotEqual(0, result.ExitCode);
        await Eventually.TrueAsync(() => heard.Take().Count > 0, "an event with an error");
        // What is counted is told a moment later.
        await Eventually.EqualAsync(Row(probe, disk, "write").Errors.Value, () => (ulong)heard.Take().Count, "an event of each error");
        Assert.All(heard.Take(), static e => Assert.Contains(e.Error, (string[])["NOSPC", "IOERR"]));
    }

    [LiveFact(Needs.Bpf | Needs.Loop, "losetup", "dd")]
    public async Task A_fast_disk_is_counted_and_not_told()
    {
        await using LoopDevice disk = await LoopDevice.CreateAsync(Size), idle = await LoopDevice.CreateAsync(Size);
        await using var bench = new EbpfBench();
        BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p));
        using var heard = new Heard<BioLatencyEvent>(probe, e => e.Disk == disk.Name || e.Disk == idle.Name);
        // Holes of a sparse file are in memory; still the machine may run something else for 10 ms. Most times it does not.
        for (int i = 1; ; i++)
        {
            int told = heard.Take().Count;
            await Command.OutputAsync("dd", $"if={disk.Path}", "of=/dev/null", "bs=4096", "count=500", "iflag=direct");
            BioLatencyRecord row = Row(probe, disk, "read");
            Assert.Equal((500ul * (ulong)i, 500ul * (ulong)i), (row.Operations.Value, row.Total.Count));
            await Task.Delay(50);
            if (heard.Take().Count == told) break;
            Assert.True(i < 10, heard.Take()[^1].Message);
        }
        Assert.DoesNotContain(probe.Sample().Rows.ToArray(), r => r.Subject.Attributes[0].Value == idle.Name);
        Assert.All(heard.Take(), static e => Assert.True(e.Latency >= TimeSpan.FromMilliseconds(10)));
    }

    [LiveFact(Needs.Bpf | Needs.Loop, "losetup", "dd")]
    public async Task A_disk_that_is_gone_has_no_rows_any_more()
    {
        int number = 1000 + (Environment.ProcessId % 1000);
        LoopDevice.Control(number, add: true);
        bool there = true;
        try
        {
            await using var bench = new EbpfBench();
            var clock = new FakeTimeProvider();
            BioLatencyProbe probe = await bench.StartAsync(p => new BioLatencyProbe(p, clock: clock));
            await using (LoopDevice disk = await LoopDevice.CreateAsync(Size, path: $"/dev/loop{number}"))
            {
                await Command.OutputAsync("dd", $"if={disk.Path}", "of=/dev/null", "bs=4096", "count=7", "iflag=direct");
                clock.Advance(TimeSpan.FromMinutes(1));
                Assert.Equal(7ul, Row(probe, disk, "read").Operations.Value);
            }
            await Eventually.TrueAsync(() =>
            {
                try
                {
                    LoopDevice.Control(number, add: false);
                    return true;
                }
                catch (System.ComponentModel.Win32Exception)
                {
                    return false; // somebody still looks at it
                }
            }, "the device to be free");
            there = false;
            Assert.Contains(probe.Sample().Rows.ToArray(), r => r.Subject.Attributes[0].Value == $"loop{number}");
            clock.Advance(TimeSpan.FromMinutes(1));
            Assert.DoesNotContain(probe.Sample().Rows.ToArray(), r => r.Subject.Attributes[0].Value == $"loop{number}");
        }
        finally
        {
            if (there) LoopDevice.Control(number, add: false);
        }
    }

    // A disk that takes exactly as long as it is told, by a timer of the kernel's.
    [LiveFact(Needs.Bpf | Needs.SlowDisks, "dd")]
    public async Task A_disk_of_a_known_slowness_takes_as_long_as_it_was_told()
    {
        const int Requests = 12;
        TimeSpan slowness = TimeSpan.FromMilliseconds(30);
        await Command.OutputAsync("modprobe", "null_blk", "nr_devices=1", "queue_mode=2", "irqmode=2", "completion_nsec=30000000");
        try
        {
            await Eventually.TrueAsync(static () => File.Exists("/dev/nullb0"), "the disk to be there");
            await using var bench = new EbpfBench();
            BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p));
            using var heard = new Heard<BioLatencyEvent>(probe, static e => e.Disk == "nullb0" && e.Operation == BioLatencyOperation.Write);
            long began = Stopwatch.GetTimestamp();
            await Command.OutputAsync("dd", "if=/dev/zero", "of=/dev/nullb0", "bs=4096", "count=12", "oflag=direct");
            TimeSpan all = Stopwatch.GetElapsedTime(began);
            IReadOnlyList<BioLatencyEvent> events = await heard.ExactlyAsync(Requests);
            Assert.All(events, e =>
            {
                Assert.InRange(e.Device!.Value, slowness, all / 2);
                Assert.InRange(e.Queue!.Value, TimeSpan.Zero, e.Latency - e.Device.Value);
                Assert.Equal((4096u, "dd", null), (e.Bytes, e.Command, e.Error));
            });
            Assert.InRange(events.Aggregate(TimeSpan.Zero, static (sum, e) => sum + e.Latency), slowness * Requests, all); // one after the other
            BioLatencyRecord row = Assert.Single(probe.Sample().Rows.ToArray(), static r => r.Subject.Attributes[0].Value == "nullb0" && r.Subject.Attributes[1].Value == "write").Value;
            Assert.Equal(((ulong)Requests, Requests * 4096ul, (ulong)Requests), (row.Operations.Value, row.Bytes.Value, row.Device.Count));
            Assert.Equal(0ul, Enumerable.Range(0, Log2Histogram.BucketOf((ulong)slowness.TotalMicroseconds)).Aggregate(0ul, (sum, i) => sum + row.Device[i]));
        }
        finally
        {
            await Command.RunAsync("rmmod", ["null_blk"]);
        }
    }

    // What device mapper holds back is no request yet: the process waits, and no disk is slow.
    [LiveFact(Needs.Bpf | Needs.SlowDisks | Needs.Loop, "dd", "dmsetup")]
    public async Task What_device_mapper_delays_is_not_the_disks_time()
    {
        TimeSpan delay = TimeSpan.FromMilliseconds(100);
        await Command.OutputAsync("modprobe", "dm-delay");
        await using LoopDevice disk = await LoopDevice.CreateAsync(Size);
        await Command.OutputAsync("dmsetup", "create", "ksdelay", "--noudevsync", "--table", string.Create(CultureInfo.InvariantCulture, $"0 {Size / 512} delay {disk.Path} 0 100"));
        try
        {
            await Command.OutputAsync("dmsetup", "mknodes", "--noudevsync", "ksdelay");
            await using var bench = new EbpfBench();
            BioLatencyProbe probe = await bench.StartAsync(static p => new BioLatencyProbe(p, Options.Create(new BioLatencyOptions { Threshold = TimeSpan.FromMilliseconds(90) })));
            using var heard = new Heard<BioLatencyEvent>(probe, e => e.Disk == disk.Name);
            long began = Stopwatch.GetTimestamp();
            await Command.OutputAsync("dd", "if=/dev/mapper/ksdelay", "of=/dev/null", "bs=4096", "count=3", "iflag=direct");
            Assert.True(Stopwatch.GetElapsedTime(began) >= delay * 3);
            BioLatencyRecord row = Row(probe, disk, "read");
            Assert.Equal((3ul, 3 * 4096ul), (row.Operations.Value, row.Bytes.Value));
            await heard.ExactlyAsync(0);
            Assert.DoesNotContain(probe.Sample().Rows.ToArray(), static r => r.Subject.Attributes[0].Value.StartsWith("dm-", StringComparison.Ordinal));
        }
        finally
        {
            await Command.RunAsync("dmsetup", ["remove", "--noudevsync", "ksdelay"]);
        }
    }

    [Theory]
    [InlineData(0, null)]
    [InlineData(10, "IOERR")]
    [InlineData(2, "TIMEOUT")]
    [InlineData(-28, "NOSPC")]
    [InlineData(-5, "IOERR")]
    [InlineData(-13, "EACCES")]
    [InlineData(200, "status 200")]
    public void Errors_have_names(int status, string? name) => Assert.Equal(name, BioLatencyEvent.ErrorOf(status));

    [Fact]
    public void A_threshold_that_is_none_is_refused() => Assert.Single(new BioLatencyOptions { Threshold = TimeSpan.FromSeconds(-1) }.Validate());

    private static string[] Write(LoopDevice disk, int bytes, params string[] more) => ["if=/dev/zero", $"of={disk.Path}", string.Create(CultureInfo.InvariantCulture, $"bs={bytes}"), "count=1", "oflag=direct", .. more];

    private static BioLatencyRecord Row(BioLatencyProbe probe, LoopDevice disk, string operation) =>
        Assert.Single(probe.Sample().Rows.ToArray(), r => r.Namespace is null && r.Subject.Attributes[0].Value == disk.Name && r.Subject.Attributes[1].Value == operation).Value;

    /// <summary>A disk on a file of a file system that can be frozen.</summary>
    private sealed class SlowDisk(LoopDevice below, LoopDevice disk) : IAsyncDisposable
    {
        internal LoopDevice Disk => disk;

        internal LoopDevice Below => below;

        internal static async Task<SlowDisk> CreateAsync()
        {
            LoopDevice below = await LoopDevice.CreateAsync(Size * 2);
            try
            {
                await below.MountAsync();
                return new SlowDisk(below, await LoopDevice.CreateAsync(Size, below.Mounted));
            }
            catch
            {
                await below.DisposeAsync();
                throw;
            }
        }

        /// <summary>Holds what a program writes, until so many requests are with the driver and the program waits for all of them. Tells the least and the most time its requests can have taken, and the program's process.</summary>
        internal async Task<(TimeSpan Least, TimeSpan Most, int Process)> HoldAsync(int requests, Func<Process> start, Func<Task>? meanwhile = null)
        {
            await below.FreezeAsync();
            long before = Stopwatch.GetTimestamp(), there, thawing;
            Process program = start();
            try
            {
                await Eventually.TrueAsync(() => disk.InFlight >= requests && IsWaiting(program), "the requests to be on their way");
                there = Stopwatch.GetTimestamp();
                if (meanwhile is not null) await meanwhile();
                await Task.Delay(Frozen);
                thawing = Stopwatch.GetTimestamp();
            }
            finally
            {
                await below.ThawAsync();
            }
            await program.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(30));
            long after = Stopwatch.GetTimestamp();
            int id = program.Id;
            Assert.True(program.ExitCode == 0, await program.StandardError.ReadToEndAsync());
            Command.Close(program);
            return (Stopwatch.GetElapsedTime(there, thawing), Stopwatch.GetElapsedTime(before, after), id);
        }

        // In write(2) to its standard output, which dd has made the disk, asleep for a device.
        private static bool IsWaiting(Process program) => File.ReadAllText($"/proc/{program.Id}/syscall").StartsWith("1 0x1 ", StringComparison.Ordinal)
            && File.ReadAllText($"/proc/{program.Id}/stat").Contains(") D ", StringComparison.Ordinal);

        public async ValueTask DisposeAsync()
        {
            await disk.DisposeAsync();
            await below.DisposeAsync();
        }
    }

    /// <summary>A disk's queue of small requests, with a scheduler.</summary>
    private sealed class Queue(string folder, string largest, int tags, bool isScheduled) : IAsyncDisposable
    {
        /// <summary>How many requests the driver takes at once.</summary>
        internal int Tags => tags;

        /// <summary>Not by 5.10.</summary>
        internal bool IsScheduled => isScheduled;

        internal static async Task<Queue> CreateAsync(LoopDevice disk)
        {
            string folder = $"/sys/block/{disk.Name}/queue/";
            string largest = await File.ReadAllTextAsync(folder + "max_sectors_kb");
            await File.WriteAllTextAsync(folder + "scheduler", "mq-deadline");
            bool isScheduled = (await File.ReadAllTextAsync(folder + "scheduler")).Contains("[mq-deadline]", StringComparison.Ordinal);
            await File.WriteAllTextAsync(folder + "max_sectors_kb", "4");
            return new Queue(folder, largest, int.Parse(await File.ReadAllTextAsync($"/sys/block/{disk.Name}/mq/0/nr_tags"), CultureInfo.InvariantCulture), isScheduled);
        }

        public async ValueTask DisposeAsync()
        {
            await File.WriteAllTextAsync(folder + "max_sectors_kb", largest);
            await File.WriteAllTextAsync(folder + "scheduler", "none");
        }
    }
}
