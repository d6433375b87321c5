using System.Diagnostics;
using System.Globalization;

namespace KubeSkoop.Probes.TestKit;

/// <summary>A disk of the test's own: a loop device on a file. Gone when disposed of; what a killed test run left behind is removed by the next one.</summary>
public sealed class LoopDevice : IAsyncDisposable
{
    private const string Prefix = "kst-loop-";
    private static readonly Lazy<Task> Sweep = new(RemoveStaleAsync);
    private static int _last;

    private readonly string _file;
    private string? _mounted;

    private LoopDevice(string path, string file)
    {
        Path = path;
        _file = file;
    }

    /// <summary>The device, for example <c>/dev/loop0</c>.</summary>
    public string Path { get; }

    /// <summary>The disk's name.</summary>
    public string Name => System.IO.Path.GetFileName(Path);

    /// <summary>Where it is mounted.</summary>
    public string Mounted => _mounted ?? throw new InvalidOperationException("It is not mounted.");

    /// <summary>Requests that are on their way. Kernel: /sys/block/DISK/inflight.</summary>
    public int InFlight => File.ReadAllText($"/sys/block/{Name}/inflight").Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
        .Sum(static n => int.Parse(n, CultureInfo.InvariantCulture));

    /// <summary>The kernel's own counters. Kernel: Documentation/block/stat.rst.</summary>
    public ulong[] Stat() => [.. File.ReadAllText($"/sys/block/{Name}/stat").Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
        .Select(static n => ulong.Parse(n, CultureInfo.InvariantCulture))];

    /// <summary>A disk on a sparse file.</summary>
    /// <param name="bytes">The disk's size.</param>
    /// <param name="directory">Where its file is; by default where temporary files are.</param>
    /// <param name="path">The device to use, instead of any that is free.</param>
    public static async Task<LoopDevice> CreateAsync(long bytes, string? directory = null, string? path = null)
    {
        await Sweep.Value;
        string file = System.IO.Path.Combine(directory ?? System.IO.Path.GetTempPath(),
            string.Create(CultureInfo.InvariantCulture, $"{Prefix}{Environment.ProcessId}-{Interlocked.Increment(ref _last)}"));
        await using (FileStream stream = File.Create(file)) stream.SetLength(bytes);
        try
        {
            string found = path is null ? await Command.OutputAsync("losetup", "--find", "--show", file) : $"{path}{await Command.OutputAsync("losetup", path, file)}";
            return new LoopDevice(found.Trim(), file);
        }
        catch
        {
            File.Delete(file);
            throw;
        }
    }

    /// <summary>Makes a file system on it and mounts that.</summary>
    public async Task MountAsync()
    {
        await Command.OutputAsync("mkfs.ext4", "-q", "-E", "nodiscard", Path);
        string directory = Directory.CreateTempSubdirectory(Prefix).FullName;
        await Command.OutputAsync("mount", Path, directory);
        _mounted = directory;
    }

    /// <summary>Has the kernel write past the page cache to its file.</summary>
    public Task UseDirectIoAsync() => Command.OutputAsync("losetup", "--direct-io=on", Path);

    /// <summary>Holds back what is written to the mounted file system, until <see cref="ThawAsync"/>.</summary>
    public Task FreezeAsync() => Command.OutputAsync("fsfreeze", "--freeze", Mounted);

    /// <summary>Lets it go on.</summary>
    public Task ThawAsync() => Command.OutputAsync("fsfreeze", "--unfreeze", Mounted);

    /// <summary>Makes, or removes, the loop device with a number of its own.</summary>
    public static void Control(int number, bool add) => Libc.ControlLoop(number, add);

    /// <inheritdoc />
    public async ValueTask DisposeAsync()
    {
        if (_mounted is { } directory)
        {
            await Command.RunAsync("fsfreeze", ["--unfreeze", directory]);
            await Command.RunAsync("umount", [directory]);
            Directory.Delete(directory);
        }
        await Command.RunAsync("losetup", ["--detach", Path]);
        File.Delete(_file);
    }

    private static async Task RemoveStaleAsync()
    {
        foreach (string device in Directory.GetDirectories("/sys/block", "loop*"))
        {
            string backing = System.IO.Path.Combine(device, "loop/backing_file");
            if (!File.Exists(backing)) continue;
            string file = System.IO.Path.GetFileName((await File.ReadAllTextAsync(backing)).Trim());
            if (!file.StartsWith(Prefix, StringComparison.Ordinal) || !int.TryParse(file.AsSpan(Prefix.Length).ToString().Split('-')[0], CultureInfo.InvariantCulture, out int owner) || Directory.Exists($"/proc/{owner}")) continue;
            string path = $"/dev/{System.IO.Path.GetFileName(device)}";
            foreach (string mount in (await File.ReadAllLinesAsync("/proc/self/mounts")).Where(l => l.StartsWith(path + " ", StringComparison.Ordinal)).Select(static l => l.Split(' ')[1]))
            {
                await Command.RunAsync("fsfreeze", ["--unfreeze", mount]);
                await Command.RunAsync("umount", [mount]);
            }
            await Command.RunAsync("losetup", ["--detach", path]);
        }
    }
}

/// <summary>A control group of the io controller. Gone when disposed of.</summary>
public sealed class IoCgroup : IDisposable
{
    private static int _last;

    private readonly string _directory;

    private IoCgroup(string directory) => _directory = directory;

    /// <summary>Where the controller's groups are; <see langword="null"/> when nowhere.</summary>
    public static string? Root { get; } = Directory.Exists("/sys/fs/cgroup/blkio") ? "/sys/fs/cgroup/blkio"
        : File.Exists("/sys/fs/cgroup/cgroup.controllers") && File.ReadAllText("/sys/fs/cgroup/cgroup.controllers").Split(' ', '\n').Contains("io") ? "/sys/fs/cgroup" : null;

    /// <summary>Whether that is the hierarchy of version 2.</summary>
    public static bool IsUnified => Root == "/sys/fs/cgroup";

    /// <summary>Whether the kernel knows whose the pages are that it writes back: it takes the memory controller in the same hierarchy.</summary>
    public static bool KnowsWriters => IsUnified && File.ReadAllText("/sys/fs/cgroup/cgroup.controllers").Split(' ', '\n').Contains("memory");

    /// <summary>The group's number.</summary>
    public ulong Id { get; private init; }

    /// <summary>Makes one.</summary>
    public static async Task<IoCgroup> CreateAsync()
    {
        string root = Root ?? throw new InvalidOperationException("There is no io controller.");
        string subtree = Path.Combine(root, "cgroup.subtree_control");
        if (File.Exists(subtree)) await File.WriteAllTextAsync(subtree, KnowsWriters ? "+io +memory" : "+io");
        string directory = Path.Combine(root, string.Create(CultureInfo.InvariantCulture, $"kst-{Environment.ProcessId}-{Interlocked.Increment(ref _last)}"));
        Directory.CreateDirectory(directory);
        return new IoCgroup(directory) { Id = ulong.Parse(await Command.OutputAsync("stat", "-c", "%i", directory), CultureInfo.InvariantCulture) };
    }

    /// <summary>Starts a program in it.</summary>
    public Process Start(string program, params string[] arguments) =>
        Command.Start("sh", ["-c", "echo $$ > \"$1\"/cgroup.procs; shift; exec \"$@\"", "sh", _directory, program, .. arguments]);

    /// <inheritdoc />
    public void Dispose() => Directory.Delete(_directory);
}
