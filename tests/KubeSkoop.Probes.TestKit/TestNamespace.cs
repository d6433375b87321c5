using System.Diagnostics;
using System.Globalization;
using System.Net;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.TestKit;

/// <summary>
/// A network namespace of the test's own, with the loopback device up and one process in it. Gone when disposed of; what
/// a killed test run left behind is removed by the next one.
/// </summary>
public sealed partial class TestNamespace : IAsyncDisposable
{
    private const string Prefix = "kst-";
    private const string BindDirectory = "/run/netns";

    private static readonly string OwnerPrefix = string.Create(
        CultureInfo.InvariantCulture, $"{Prefix}{Environment.ProcessId}-{StartTimeOf(Environment.ProcessId)}-");
    private static readonly Lazy<Task> Sweep = new(RemoveStaleAsync);
    private static int _last;

    private readonly Process _resident;
    private int _disposed;

    private TestNamespace(string? name, Process resident)
    {
        Name = name;
        _resident = resident;
        Inode = InodeOf(string.Create(CultureInfo.InvariantCulture, $"/proc/{resident.Id}/ns/net"));
    }

    /// <summary>The inode number of this test process's own network namespace.</summary>
    public static uint OwnInode { get; } = InodeOf("/proc/self/ns/net");

    /// <summary>Its name below <c>/run/netns</c>; <see langword="null"/> when it is not bound there.</summary>
    public string? Name { get; }

    /// <summary>The inode number of the namespace.</summary>
    public uint Inode { get; }

    /// <summary>The process that lives in it (its command is <c>cat</c>).</summary>
    public int ProcessId => _resident.Id;

    /// <summary>A namespace bound below <c>/run/netns</c>, as <c>ip netns</c> and most container runtimes make it.</summary>
    public static async Task<TestNamespace> CreateAsync()
    {
        await Sweep.Value;
        string name = OwnerPrefix + Interlocked.Increment(ref _last).ToString(CultureInfo.InvariantCulture);
        await Command.OutputAsync("ip", "netns", "add", name);
        try
        {
            return await WithResidentAsync(name, () => In($"{BindDirectory}/{name}", () => Command.Start("cat", [])));
        }
        catch
        {
            await Command.RunAsync("ip", ["netns", "delete", name]);
            throw;
        }
    }

    /// <summary>A namespace that only its process holds, as <c>unshare -n</c> makes it.</summary>
    /// <param name="cgroup">A directory of a cgroup that the process enters first, as a container's does.</param>
    public static async Task<TestNamespace> CreateUnboundAsync(string? cgroup = null)
    {
        await Sweep.Value;
        string[] command = ["--net", Command.PathOf("cat") ?? "cat"];
        if (cgroup is not null) return await WithResidentAsync(null, () => Command.Start("sh", ["-c", "echo $$ > \"$0/cgroup.procs\" && exec unshare \"$@\"", cgroup, .. command]));
        return await WithResidentAsync(null, () => Command.Start("unshare", command));
    }

    /// <summary>Two namespaces, joined by a veth pair.</summary>
    public static async Task<(TestNamespace Left, TestNamespace Right)> CreatePairAsync()
    {
        TestNamespace left = await CreateAsync();
        try
        {
            TestNamespace right = await CreateAsync();
            try
            {
                await left.ConnectAsync(right);
                return (left, right);
            }
            catch
            {
                await right.DisposeAsync();
                throw;
            }
        }
        catch
        {
            await left.DisposeAsync();
            throw;
        }
    }

    /// <summary>
    /// Joins two namespaces with a veth pair: <c>eth0</c> on both sides, 10.99.0.1 and fd99::1 here, 10.99.0.2 and fd99::2
    /// there. Neighbours are permanent and address detection is off, so that the only packets are the test's own.
    /// </summary>
    public async Task ConnectAsync(TestNamespace other)
    {
        ArgumentNullException.ThrowIfNull(other);
        string join = string.Create(CultureInfo.InvariantCulture, $"link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns {other.ProcessId}");
        await IpBatchAsync([join, .. Configuration(1, 2)]);
        await other.IpBatchAsync(Configuration(2, 1));
        await Eventually.TrueAsync(
            async () => await CarrierAsync() && await other.CarrierAsync(), "both ends of the veth pair to be up");

        static List<string> Configuration(int own, int peer)
        {
            List<string> commands = ["link set eth0 up", $"address add 10.99.0.{own}/24 dev eth0", $"neighbour replace 10.99.0.{peer} lladdr 02:00:00:00:00:0{peer} dev eth0 nud permanent"];
            if (Machine.Lacks(Needs.Ipv6) is not null) return commands;
            return ["link set eth0 addrgenmode none", .. commands, $"address add fd99::{own}/64 dev eth0 nodad", $"neighbour replace fd99::{peer} lladdr 02:00:00:00:00:0{peer} dev eth0 nud permanent"];
        }
    }

    /// <summary>This side's IPv4 address after <see cref="ConnectAsync"/>, for the namespace that called it.</summary>
    public static IPAddress LeftIPv4 { get; } = IPAddress.Parse("10.99.0.1");

    /// <summary>The other side's IPv4 address.</summary>
    public static IPAddress RightIPv4 { get; } = IPAddress.Parse("10.99.0.2");

    /// <summary>This side's IPv6 address.</summary>
    public static IPAddress LeftIPv6 { get; } = IPAddress.Parse("fd99::1");

    /// <summary>The other side's IPv6 address.</summary>
    public static IPAddress RightIPv6 { get; } = IPAddress.Parse("fd99::2");

    /// <summary>Runs a program inside and returns its output.</summary>
    public Task<string> ExecuteAsync(string program, params string[] arguments) => Command.OutputOfAsync(() => Start(program, arguments), program, arguments);

    /// <summary>Starts a program inside; it is the caller's to end. Its streams are redirected.</summary>
    // Without nsenter in between: in an emulated machine that takes as long as the program.
    public Process Start(string program, params string[] arguments) => In(Link, () => Command.Start(program, arguments));

    /// <summary>Runs <c>ip</c> inside.</summary>
    public Task<string> IpAsync(params string[] arguments) => ExecuteAsync("ip", arguments);

    /// <summary>Runs several commands of <c>ip</c> inside, up to the first that fails.</summary>
    public Task<string> IpBatchAsync(IEnumerable<string> commands) =>
        Command.OutputOfAsync(() => Start("ip", "-batch", "-"), "ip", ["-batch", "-"], string.Concat(commands.Select(static c => c + "\n")));

    /// <summary>
    /// Runs <paramref name="body"/> inside, on a thread of its own that ends with it. Sockets made there stay in the
    /// namespace and may be returned and used anywhere.
    /// </summary>
    public Task<T> RunAsync<T>(Func<T> body)
    {
        ArgumentNullException.ThrowIfNull(body);
        return InAsync(Link, body);
    }

    /// <summary>Runs <paramref name="body"/> inside, on a thread of its own that ends with it.</summary>
    public Task RunAsync(Action body) => RunAsync(() =>
    {
        body();
        return true;
    });

    /// <summary>Ends the process and removes the namespace.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0) return;
        await EndProcessAsync();
        Command.Close(_resident);
        if (Name is not null && File.Exists($"{BindDirectory}/{Name}")) await Command.OutputAsync("ip", "netns", "delete", Name);
    }

    /// <summary>Ends the process only; a bound namespace lives on without one.</summary>
    public async Task EndProcessAsync()
    {
        if (_resident.HasExited) return;
        _resident.Kill();
        await _resident.WaitForExitAsync().WaitAsync(Eventually.DefaultTimeout);
    }

    /// <summary>The inode number behind a namespace link or bind mount.</summary>
    public static uint InodeOf(string path)
    {
        if (File.ResolveLinkTarget(path, returnFinalTarget: false) is { } target)
        {
            string link = target.Name; // net:[4026531840]
            int open = link.IndexOf('[', StringComparison.Ordinal);
            if (open >= 0 && uint.TryParse(link.AsSpan(open + 1, link.Length - open - 2), CultureInfo.InvariantCulture, out uint inode)) return inode;
        }
        throw new InvalidOperationException($"'{path}' is no network namespace.");
    }

    private string Link => string.Create(CultureInfo.InvariantCulture, $"/proc/{ProcessId}/ns/net");

    private static T In<T>(string link, Func<T> body) => InAsync(link, body).GetAwaiter().GetResult();

    private static Task<T> InAsync<T>(string link, Func<T> body)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() =>
        {
            try
            {
                T result;
                using (SafeFileHandle home = File.OpenHandle("/proc/thread-self/ns/net"))
                {
                    using (SafeFileHandle handle = File.OpenHandle(link)) Libc.EnterNetworkNamespace(handle);
                    try
                    {
                        result = body();
                    }
                    finally
                    {
                        Libc.EnterNetworkNamespace(home); // nothing keeps the namespace once the caller goes on
                    }
                }
                done.SetResult(result);
            }
#pragma warning disable CA1031 // Whatever it is, the test that awaits shall have it.
            catch (Exception e)
#pragma warning restore CA1031
            {
                done.SetException(e);
            }
        }, 512 * 1024)
        { IsBackground = true, Name = "in namespace" };
        thread.Start();
        return done.Task;
    }

    // cat ends when its input does, and its input ends when this process does, however it dies: nothing is left behind.
    private static async Task<TestNamespace> WithResidentAsync(string? name, Func<Process> start)
    {
        Process resident = start();
        try
        {
            string comm = string.Create(CultureInfo.InvariantCulture, $"/proc/{resident.Id}/comm");
            await Eventually.TrueAsync(
                () => !resident.HasExited && File.ReadAllText(comm).Trim() == "cat",
                "a process to enter its namespace");
            var ns = new TestNamespace(name, resident);
            await ns.IpAsync("link", "set", "lo", "up");
            return ns;
        }
        catch
        {
            if (!resident.HasExited) resident.Kill();
            Command.Close(resident);
            throw;
        }
    }

    private async Task<bool> CarrierAsync() =>
        (await IpAsync("-o", "link", "show", "eth0")).Contains("LOWER_UP", StringComparison.Ordinal);

    /// <summary>Removes namespaces of test runs that are no more.</summary>
    // A name says whose it is: pid and the moment that process began, because pids come round again.
    public static async Task RemoveStaleAsync()
    {
        if (!Directory.Exists(BindDirectory)) return;
        foreach (string path in Directory.EnumerateFileSystemEntries(BindDirectory, Prefix + "*"))
        {
            string[] parts = Path.GetFileName(path).Split('-');
            bool alive = parts.Length == 4
                && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int pid)
                && StartTimeOf(pid) == parts[2];
            if (!alive) await Command.RunAsync("ip", ["netns", "delete", Path.GetFileName(path)]);
        }
    }

    private static string? StartTimeOf(int pid)
    {
        try
        {
            string stat = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/stat"));
            return stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[19]; // field 22, starttime, in clock ticks since boot
        }
        catch (IOException)
        {
            return null;
        }
    }
}
