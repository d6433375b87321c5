using System.Globalization;
using System.Text;

namespace KubeSkoop.Probes.TestKit;

/// <summary>A tree of files that stands in for <c>/proc</c>; removed when disposed of.</summary>
public sealed class FakeProc : IDisposable
{
    private readonly DirectoryInfo _root = Directory.CreateTempSubdirectory("kubeskoop-proc-");

    /// <summary>The directory to give as <c>HostProc</c>.</summary>
    public string Root => _root.FullName;

    /// <summary>Writes a file below the root; its directories are made.</summary>
    public FakeProc Write(string path, string content) => Write(path, Encoding.UTF8.GetBytes(content));

    /// <summary>Writes a file of any bytes below the root.</summary>
    public FakeProc Write(string path, byte[] content)
    {
        string full = PathOf(path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllBytes(full, content);
        return this;
    }

    /// <summary>Makes a symbolic link that, like those of the real <c>/proc</c>, need not lead anywhere.</summary>
    public FakeProc Link(string path, string target)
    {
        string full = PathOf(path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.Delete(full);
        File.CreateSymbolicLink(full, target);
        return this;
    }

    /// <summary>Removes a file or a directory with all in it, if it is there.</summary>
    public FakeProc Remove(string path)
    {
        string full = PathOf(path);
        if (Directory.Exists(full)) Directory.Delete(full, recursive: true);
        else if (Directory.Exists(Path.GetDirectoryName(full))) File.Delete(full);
        return this;
    }

    /// <summary>A process with its command, its namespace link, its cgroup and an empty <c>fd</c>. Its files below <c>net</c> are the caller's to write.</summary>
    public FakeProc AddProcess(int pid, uint networkNamespace, string command = "app", string cgroup = "0::/\n", int parent = 1)
    {
        Write(Of(pid, "comm"), command + "\n");
        Write(Of(pid, "cgroup"), cgroup);
        Write(Of(pid, "stat"), string.Create(CultureInfo.InvariantCulture, $"{pid} ({command}) S {parent} {pid} {pid} 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 {pid}00 0 0\n"));
        Link(Of(pid, "ns/net"), string.Create(CultureInfo.InvariantCulture, $"net:[{networkNamespace}]"));
        Directory.CreateDirectory(PathOf(Of(pid, "fd")));
        return this;
    }

    /// <summary>A file of a process.</summary>
    public static string Of(int pid, string file) => string.Create(CultureInfo.InvariantCulture, $"{pid}/{file}");

    /// <inheritdoc />
    public void Dispose() => _root.Delete(recursive: true);

    private string PathOf(string path) => Path.Combine(Root, path);
}
